"""The events store's contract, over its double and over Elasticsearch: what is written is read, once, in one order."""

import json
import random
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumidor.errors import DependencyDown, InvalidInput
from consumidor.events.base_c import BaseC, EventStore
from consumidor.events.feed import build_feed
from consumidor.events.model import KINDS, Event, FoundEvent, format_ms, parse_time
from consumidor.events.queries import Query
from consumidor.events.search import build_search
from consumidor.local.synthetic_events import events, load_events
from tests import events_doubles as doubles
from tests.events_doubles import Buried, MemoryBaseC
from tests.servers.elasticsearch import Node

Refresh = Callable[[], None]


@pytest.fixture(params=["memory", "elasticsearch"])
def store(request: pytest.FixtureRequest) -> tuple[EventStore, Refresh]:
    """The double, then the real thing."""
    if request.param == "memory":
        return MemoryBaseC(), lambda: None
    node: Node = request.getfixturevalue("base_c")
    return BaseC(node.url, deadline=20), node.refresh


def person() -> str:
    """Somebody whom no other test knows."""
    return secrets.token_hex(16)


def purchase(owner: str, event_id: str, at: str = "2026-01-02T03:04:05.678Z", **changes: Any) -> Event:
    """An event as the feed writes it."""
    given: dict[str, Any] = {"kind": "card_purchase", "institution": "Banco", "amount": 1, "currency": "BRL"}
    return Event(event_id=event_id, person=owner, occurred_at=at, **given | changes)


def page(store: EventStore, owner: str, after: Any = None, limit: int = 100, **chosen: Any) -> list[FoundEvent]:
    """A page of somebody's history."""
    query = {"client": "acme", "person": owner, "kind": None, "since": None, "until": None, "limit": limit} | chosen
    return store.history(Query(**query), after)


def test_what_is_written_is_read(store: tuple[EventStore, Refresh]) -> None:
    """An event comes back whole from both reads, and one person's is not another's."""
    base_c, refresh = store
    owner = person()
    assert base_c.write([purchase(owner, "a"), purchase(person(), "a")]) == [None, None]
    refresh()
    [found] = page(base_c, owner)
    assert (found.event_id, found.kind, found.institution, found.amount, bytes(found.details)) == ("a", "card_purchase", "Banco", 1, b"{}")
    assert [one and one.event_id for one in base_c.latest(owner)] == [None, None, "a"]
    assert base_c.latest(person()) == [None, None, None]


def test_latest_needs_no_refresh(store: tuple[EventStore, Refresh]) -> None:
    """The latest documents are real-time: read right after they are written."""
    base_c, _ = store
    owner = person()
    for number in range(20):
        base_c.write([purchase(owner, f"e{number}", format_ms(number))])
        assert [one and one.event_id for one in base_c.latest(owner)] == [None, None, f"e{number}"]


def test_pages_filters_and_order(store: tuple[EventStore, Refresh]) -> None:
    """Newest first, ties by id, from after a given event on; by kind, from `since` on and up to `until`."""
    base_c, refresh = store
    owner = person()
    kinds: tuple[Any, ...] = ("card_purchase", "financial_movement")
    base_c.write([purchase(owner, f"e{number}", format_ms(number // 2), kind=kinds[number % 2]) for number in range(10)])
    refresh()
    everything = [f"e{number}" for number in range(9, -1, -1)]
    assert [one.event_id for one in page(base_c, owner)] == everything
    assert [one.event_id for one in page(base_c, owner, limit=3)] == everything[:4]  # one more says that there is more
    assert [one.event_id for one in page(base_c, owner, (3, "e6"))] == everything[4:]
    assert [one.event_id for one in page(base_c, owner, kind="financial_movement", since=1, until=4)] == ["e7", "e5", "e3"]
    assert page(base_c, owner, since=10**15) == page(base_c, owner, until=-(10**13)) == []


def test_ids_of_any_printable_characters(store: tuple[EventStore, Refresh]) -> None:
    """An id may hold what JSON escapes and what Elasticsearch counts in bytes; it comes back, repeats meet it, and pages go on after it."""
    base_c, refresh = store
    owner, ids = person(), sorted(['"', '"},{"x":"', "\\", "a\u2028b", "pedido nº 7", "注文", "😀" * 119, "\uffff", "x" * 128])
    for _ in range(2):
        assert base_c.write([purchase(owner, event_id) for event_id in ids]) == [None] * len(ids)
    refresh()
    at = parse_time("2026-01-02T03:04:05.678Z")
    assert [one.event_id for one in page(base_c, owner)] == ids[::-1]
    assert [[one.event_id for one in page(base_c, owner, (at, after), limit=1)][:1] for after in ids[1:]] == [[one] for one in ids[:-1]]


ARRIVALS = st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 10**6))  # kind, time in ms, id


@given(st.lists(ARRIVALS, min_size=1, max_size=8, unique_by=lambda one: one[2]), st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # the store is shared on purpose
def test_any_order_and_repetition_ends_in_the_same_state(
    store: tuple[EventStore, Refresh], chosen: list[tuple[Any, int, int]], chance: random.Random
) -> None:
    """Whatever order a set of events arrives in, in whatever batches and however often, history and latest are the same."""
    base_c, refresh = store
    one, other = person(), person()
    states = []
    for owner, arrivals in ((one, chosen), (other, chance.choices(chosen, k=len(chosen)) + chance.sample(chosen, len(chosen)))):
        written = [purchase(owner, f"e{tie}", format_ms(ms), kind=kind) for kind, ms, tie in arrivals]
        while written:
            size = chance.randint(1, len(written))
            assert base_c.write(written[:size]) == [None] * size
            written = written[size:]
        refresh()
        states.append((page(base_c, owner), base_c.latest(owner)))
    assert [_comparable(part) for part in states[0]] == [_comparable(part) for part in states[1]]
    newest = max(parse_time(found.occurred_at) for found in states[0][0])
    assert newest == max(parse_time(found.occurred_at) for found in states[0][1] if found)


def _comparable(found: list[Any]) -> list[Any]:
    return [one and (one.event_id, one.kind, one.occurred_at, bytes(one.details)) for one in found]


def test_a_walk_while_events_arrive(base_c: Node) -> None:
    """Cursors lead through 10,000 events, each once, while newer ones arrive between the pages."""
    handler = build_search(doubles.settings("search", base_c.url))
    cpf = doubles.somebody()
    owner = doubles.person_of(cpf)
    before = list(events(1, 1_999, owner, 2026))
    load_events(base_c.url, before)
    base_c.refresh()
    real, seen, cursor = BaseC(base_c.url, 20), [], ""
    while True:
        asked = doubles.request("/v1/events", f"cpf={cpf}&limit=100{cursor}")
        answer = json.loads(handler(asked, None)["body"])
        seen += [event["event_id"] for event in answer["events"]]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
        if len(seen) % 500 == 0:
            real.write([purchase(owner, f"new-{len(seen)}", "2026-06-01T00:00:00.000Z")])
            base_c.refresh()
    assert len(before) == 10_000
    assert seen == [event.event_id for event in sorted(before, key=lambda event: (event.occurred_at, event.event_id), reverse=True)]


def test_the_feed_in_one_bulk(base_c: Node) -> None:
    """Through the handler, a batch with a poison item, a repeat and a wrong message: the good are stored, the bad dead, none retried."""
    dead = Buried()
    feed = build_feed(doubles.settings("feed", base_c.url), send_dead=dead)
    owner = person()
    good = [doubles.message(doubles.wire(f"e{number}", cpf=None, person=owner)) for number in range(8)]
    poison = doubles.message(doubles.wire("p", cpf=None, person=owner, kind="x"))
    assert feed(doubles.batch(*good, good[0], poison, "junk"), None) == {"batchItemFailures": []}
    base_c.refresh()
    assert len(page(BaseC(base_c.url, 20), owner)) == 8
    assert dead.reasons == ["InvalidInput", "MalformedMessage"]


def test_a_mapping_error_is_dead_alone(base_c: Node) -> None:
    """What Elasticsearch itself refuses in a bulk is final for that item and nothing to its neighbours."""
    owner = person()
    wrong = purchase(owner, "b", amount="a lot")
    verdicts = BaseC(base_c.url, 20).write([purchase(owner, "a"), wrong, purchase(owner, "c")])
    assert [type(verdict) for verdict in verdicts] == [type(None), InvalidInput, type(None)]


def test_nobody_answers() -> None:
    """A node that is not there is DependencyDown for every call."""
    nobody = BaseC("http://127.0.0.1:1,http://127.0.0.1:2", deadline=1)
    for call in (lambda: nobody.write([purchase(person(), "a")]), lambda: nobody.latest(person()), lambda: page(nobody, person())):
        with pytest.raises(DependencyDown):
            call()


def test_another_node_answers(base_c: Node) -> None:
    """With one node of two down, every request is answered by the other within its deadline."""
    half = BaseC(f"http://127.0.0.1:1,{base_c.url}", deadline=10)
    owner = person()
    assert half.write([purchase(owner, "a")]) == [None]
    for _ in range(5):
        assert [one and one.event_id for one in half.latest(owner)] == [None, None, "a"]


def test_without_indices_nothing_is_made_up(base_c: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the migration the feed retries and reads answer 503: no index springs up by itself, no person seems to have no events."""
    monkeypatch.setattr("consumidor.events.base_c.HISTORY", "absent")
    monkeypatch.setattr("consumidor.events.base_c.LATEST", "absent")
    real = BaseC(base_c.url, 20)
    [verdict] = real.write([purchase(person(), "a")])
    assert isinstance(verdict, DependencyDown)
    for call in (lambda: real.latest(person()), lambda: page(real, person())):
        with pytest.raises(DependencyDown):
            call()
    assert "absent" not in base_c.ask("GET", "/_all")


ODD = [
    '{"a":1,"a":2}',
    '{"":{"":0}}',
    '{"a.b":1,"a":{"b":2}}',
    '{"n":1e400}',
    '{"n":123456789012345678901234567890}',
    '{"s":"\\u0000\\ud83d\\ude00"}',
    '{"s":"\\ud83d"}',
    '{"n":NaN}',
    '{"person":"x","_id":"y","index":{}}',
    '{"s":"\u2028"}',
    "{ \n\r\t}",
    '{"deep":' + "[" * 400 + "]" * 400 + "}",
]


@pytest.mark.parametrize("details", ODD)
def test_odd_details_hurt_nobody(base_c: Node, details: str) -> None:
    """Whatever JSON an outsider puts in the details, its neighbour in the message is stored, and it is itself stored as it came or dead."""
    dead = Buried()
    feed = build_feed(doubles.settings("feed", base_c.url), send_dead=dead)
    cpf = doubles.somebody()
    odd = json.dumps(doubles.wire("odd", cpf=cpf, details=0)).replace('"details": 0', f'"details": {details}')
    body = f'{{"version": 1, "events": [{odd}, {json.dumps(doubles.wire("good", cpf=cpf))}]}}'
    assert feed(doubles.batch(body), None) == {"batchItemFailures": []}
    base_c.refresh()
    answer = build_search(doubles.settings("search", base_c.url))(doubles.request("/v1/events", f"cpf={cpf}"), None)
    stored = [event["event_id"] for event in json.loads(answer["body"])["events"]]
    assert (answer["statusCode"], sorted(stored)) == (200, ["good"] if dead.reasons else ["good", "odd"])
