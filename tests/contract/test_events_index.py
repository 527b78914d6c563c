"""Base C's indices on the real server: created, upgraded in place, and never changed behind one's back."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from consumidor.errors import CommandError, DependencyDown
from consumidor.events import index
from consumidor.events.index import INDICES, Index, migrate_base_c
from tests.servers.elasticsearch import Node


@pytest.fixture
def alias(base_c: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The alias of an index of our own, mapped as history, that migrations here are about."""
    name = f"t{secrets.token_hex(4)}"
    monkeypatch.setattr(index, "INDICES", (Index(name, INDICES[0].mapping),))
    yield name
    base_c.ask("DELETE", f"/{name}-v*?expand_wildcards=all")
    base_c.ask("DELETE", f"/_index_template/{name}")


def test_created_then_left_alone(base_c: Node, alias: str) -> None:
    """The first run makes index, settings and alias; the second changes nothing."""
    assert migrate_base_c(base_c.url, shards=3) == [f"{alias}-v1: created, in use as {alias}"]
    made = base_c.ask("GET", f"/{alias}?flat_settings=true")
    assert migrate_base_c(base_c.url, shards=3) == [f"{alias}-v1: up to date, in use as {alias}"]
    again = base_c.ask("GET", f"/{alias}?flat_settings=true")
    settings = made[f"{alias}-v1"]["settings"]
    chosen = [settings[f"index.{name}"] for name in ("number_of_shards", "auto_expand_replicas", "refresh_interval")]
    assert chosen == ["3", "0-1", "1s"]
    assert settings == again[f"{alias}-v1"]["settings"]
    assert made[f"{alias}-v1"]["mappings"] == again[f"{alias}-v1"]["mappings"]


def test_one_node_is_green(base_c: Node, alias: str) -> None:
    """Copies are made where there are nodes for them: one node has none, and lacks none."""
    migrate_base_c(base_c.url)
    health = base_c.ask("GET", f"/_cluster/health/{alias},events,latest?wait_for_status=green&timeout=20s")
    assert (health["status"], health["unassigned_shards"]) == ("green", 0)


@pytest.mark.parametrize(
    "chosen",
    [
        {"auto_expand_replicas": "0-all"},
        {"auto_expand_replicas": "false", "number_of_replicas": "2"},
        {"auto_expand_replicas": "false", "number_of_replicas": "0"},
        {"auto_expand_replicas": None, "number_of_replicas": "1"},
    ],
)
def test_an_operators_copies_are_left_alone(base_c: Node, alias: str, chosen: dict[str, str | None]) -> None:
    """What an operator has said of an index's copies outlives every migration."""
    migrate_base_c(base_c.url)
    base_c.ask("PUT", f"/{alias}/_settings", {"index": chosen})
    migrate_base_c(base_c.url)
    held = base_c.ask("GET", f"/{alias}?flat_settings=true")[f"{alias}-v1"]["settings"]
    assert {name: held.get(f"index.{name}") for name in chosen} == chosen


def test_upgraded_in_place(base_c: Node, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies, where nobody has said how many, and one field more need no rebuild."""
    migrate_base_c(base_c.url)
    mapping = INDICES[0].mapping
    more = mapping | {"properties": mapping["properties"] | {"channel": {"type": "keyword"}}}
    monkeypatch.setattr(index, "INDICES", (Index(alias, more),))
    base_c.ask("PUT", f"/{alias}/_settings", {"index": {"auto_expand_replicas": None, "number_of_replicas": 0}})  # as it once was made
    migrate_base_c(base_c.url)
    held = base_c.ask("GET", f"/{alias}?flat_settings=true")[f"{alias}-v1"]
    assert (held["settings"]["index.auto_expand_replicas"], held["mappings"]["properties"]["channel"]) == ("0-1", {"type": "keyword"})


@pytest.mark.parametrize("change", [{"amount": {"type": "double"}}, {"person": {"type": "text"}}])
def test_what_needs_a_rebuild_is_refused(base_c: Node, alias: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A field of another type is refused with what to do, and nothing is changed."""
    migrate_base_c(base_c.url)
    before = base_c.ask("GET", f"/{alias}")
    mapping = INDICES[0].mapping
    monkeypatch.setattr(index, "INDICES", (Index(alias, mapping | {"properties": mapping["properties"] | change}),))
    with pytest.raises(CommandError, match=r"cannot be upgraded in place: .*Raise VERSION .*move the alias"):
        migrate_base_c(base_c.url)
    assert base_c.ask("GET", f"/{alias}") == before


def test_another_number_of_shards_is_refused(base_c: Node, alias: str) -> None:
    """Shards cannot be changed in place."""
    migrate_base_c(base_c.url, shards=2)
    with pytest.raises(CommandError, match=f"{alias}-v1 cannot be upgraded in place: it has 2 shards and not 4"):
        migrate_base_c(base_c.url, shards=4)


def test_a_rebuild_goes_live_by_its_alias(base_c: Node, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With VERSION raised the new index is made beside the old one, which stays in use until its alias is moved."""
    migrate_base_c(base_c.url)
    monkeypatch.setattr(index, "VERSION", 2)
    assert migrate_base_c(base_c.url) == [f"{alias}-v2: created, not in use: the alias {alias} is still on {alias}-v1"]
    remove, add = ({"index": f"{alias}-v{version}", "alias": alias} for version in (1, 2))
    base_c.ask("POST", "/_aliases", {"actions": [{"remove": remove}, {"add": add | {"is_write_index": True}}]})
    assert migrate_base_c(base_c.url) == [f"{alias}-v2: up to date, in use as {alias}"]


def test_the_mapping_is_strict(base_c: Node) -> None:
    """A field nobody declared is refused, and so is a document without routing."""
    document = {"event_id": "x", "person": "0" * 32}
    strict = base_c.ask("PUT", "/events/_doc/strict?routing=x", document | {"colour": "blue"})
    assert strict["error"]["type"] == "strict_dynamic_mapping_exception"
    assert base_c.ask("PUT", "/events/_doc/unrouted", document)["error"]["type"] == "routing_missing_exception"


def test_latest_can_be_searched_by_person_and_kind(base_c: Node) -> None:
    """Both are keywords in both indices: an operator may ask for all of a person's, or count by kind."""
    person = secrets.token_hex(16)
    document = {"event_id": "x", "person": person, "kind": "card_purchase", "occurred_at": "2026-01-01T00:00:00.000Z", "institution": "b"}
    for alias in ("events", "latest"):
        base_c.ask("PUT", f"/{alias}/_doc/{person}?routing={person}&refresh=true", document)
        term = {"bool": {"filter": [{"term": {"person": person}}, {"term": {"kind": "card_purchase"}}]}}
        kinds = {"kinds": {"terms": {"field": "kind"}}}
        found = base_c.ask("POST", f"/{alias}/_search", {"query": term, "aggs": kinds})
        assert [hit["_id"] for hit in found["hits"]["hits"]] == [person]
        assert found["aggregations"]["kinds"]["buckets"] == [{"key": "card_purchase", "doc_count": 1}]


def test_nobody_answers() -> None:
    """Without a server the migration says that Base C is down."""
    with pytest.raises(DependencyDown):
        migrate_base_c("http://127.0.0.1:1")
