"""What an extraction is, in the words that a second run must find again, and what each of its tasks asks of Base B."""

import datetime as dt
import json
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from consumidor.errors import CommandError
from consumidor.score import extraction
from consumidor.score.extraction import BUCKETS, Job, extract, read_partition
from consumidor.score.folder import Folder


def job(uri: str = "mongodb://b.test:1,a.test:2/base_b", **filters: Any) -> Job:
    """An extraction of all columns."""
    return Job(uri, Folder.at("."), None, filters)


def test_filters_are_described_in_extended_json() -> None:
    """Dates, tuples and 64-bit numbers have a JSON of their own, which reads back as it was written: so a second run finds its own job."""
    asked = job(
        birth_date={"$lt": dt.datetime(1990, 1, 1, tzinfo=dt.UTC)}, bucket_of={"$in": (1, 2**40)}, **{"address.state": "SP"}
    ).description()
    assert asked["filters"] == {
        "birth_date": {"$lt": {"$date": {"$numberLong": "631152000000"}}},
        "bucket_of": {"$in": [{"$numberInt": "1"}, {"$numberLong": "1099511627776"}]},
        "address.state": "SP",
    }
    assert json.loads(json.dumps(asked)) == asked


@pytest.mark.parametrize("value", [dt.date(1990, 1, 1), {1, 2}, 2**70, uuid.UUID(int=1), "\ud800", object()])
def test_filters_that_mongodb_has_no_types_for(value: Any) -> None:
    """One line that says so, before anything is begun, and that does not repeat the value."""
    with pytest.raises(CommandError, match=r"^filters hold a value that MongoDB has no type for; a day is a datetime$"):
        job(birth_date=value).description()


@pytest.mark.parametrize("nodes", [[("b.test", 1), ("a.test", 2)], [("a.test", 2), ("b.test", 1)]])
@pytest.mark.parametrize(("fqdn", "hosts"), [(None, "a.test:2,b.test:1"), ("cluster.test", "cluster.test")])
def test_the_source_has_one_name(monkeypatch: pytest.MonkeyPatch, nodes: Any, fqdn: str | None, hosts: str) -> None:
    """However its servers are listed, by whom writes the URI or by DNS on that day, Base B is the same source."""
    monkeypatch.setattr(extraction, "parse_uri", lambda _: {"nodelist": nodes, "fqdn": fqdn})
    assert job().description()["source"] == f"{hosts}/base_b.scoredata"


def test_no_columns_are_no_extraction() -> None:
    """An empty list is refused in words, and nothing is begun."""
    with pytest.raises(CommandError, match="needs a column at least"):
        extract("mongodb://base-b.test/base_b", "/nowhere/at-all", columns=[])


@pytest.mark.parametrize(("buckets", "within"), [(range(BUCKETS), [{}]), (range(64, 67), [{"bucket": 64}, {"bucket": 65}, {"bucket": 66}])])
def test_a_partition_asks_for_its_buckets(monkeypatch: pytest.MonkeyPatch, buckets: range, within: list[dict[str, Any]]) -> None:
    """One look-up a bucket; and none where it is all of them: a server need not look at each person's bucket to leave nobody out."""
    asked: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(extraction, "read", lambda _, queries, __: asked.append(queries))
    monkeypatch.setattr(extraction, "_CLIENTS", SimpleNamespace(collection=lambda _: None))
    read_partition(job(birth_date=None), buckets)
    assert asked == [[one | {"birth_date": None} for one in within]]
