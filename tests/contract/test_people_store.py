"""`inquire`: the real functions in PostgreSQL, and the double that other tests use, held to the same sentences."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psycopg
import pytest

from consumidor.errors import DependencyDown
from consumidor.people.audit import Head, Link, compare, verify
from consumidor.people.request_token import LEEWAY, LIFE
from consumidor.people.store import Outcome, PeopleStore
from tests.doubles import FakePeopleStore, Row
from tests.servers.postgres import BaseA

ANA, RUI, NOBODY = "a" * 32, "b" * 32, "c" * 32
KEY_ID = "0b8e2f0e-6f39-4d3c-9a39-0d7c53f6f001"
DEBTS = [
    {"creditor": 'Banco "Ipê"', "amount_cents": 12990, "due_on": "2026-03-10", "status": "open"},
    {"creditor": "Lojas Araucária", "amount_cents": 5000, "due_on": "2025-12-31", "status": "paid"},
    {"creditor": "Energia do Agreste", "amount_cents": 10, "due_on": "2026-01-01", "status": "open"},
]


class Asked(NamedTuple):
    """A request as the worker hands it over."""

    request_id: str
    client: str = "acme"
    person: str = ANA
    purpose: str = "credit"


class World(NamedTuple):
    """A store with Ana (three debts) and Rui (none) in it, and ways to read its log as the owner and to make it hours older."""

    store: PeopleStore | FakePeopleStore
    links: Callable[[], list[Link]]
    age: Callable[[float], None]

    def ask(self, *batch: Asked) -> list[Outcome]:
        """One batch."""
        return self.store.inquire(batch)


@pytest.fixture
def real(base_a: BaseA) -> Iterator[World]:
    """The functions in PostgreSQL, over a pool of eight connections."""
    with base_a.as_owner() as owner:
        owner.execute("insert into data_key values (%s, %s)", (KEY_ID, b"wrapped"))
        owner.execute("insert into person values (%s, %s, 'sealed ana'), (%s, %s, 'sealed rui')", (ANA, KEY_ID, RUI, KEY_ID))
        rows = [(ANA, number, *debt.values()) for number, debt in enumerate(DEBTS)]
        owner.cursor().executemany("insert into debt values (%s, %s, %s, %s, %s, %s)", rows)
    store = PeopleStore.connect(base_a.worker_dsn, threads=8)
    yield World(store, lambda: read_links(base_a), lambda hours: age(base_a, hours))
    store.close()


def read_links(base_a: BaseA) -> list[Link]:
    """The whole log in the order of its chains."""
    with base_a.as_owner() as owner:
        rows = owner.execute(
            "select client, request_id, person, purpose, (extract(epoch from at) * 1000000)::bigint, position, previous_hash, hash"
            " from inquiry_log order by client, position"
        )
        return [Link(*row) for row in rows]


def age(base_a: BaseA, hours: float) -> None:
    """Let all that is logged be so much older."""
    with base_a.as_owner() as owner:
        owner.execute("update inquiry_log set at = at - make_interval(secs => %s)", (hours * 3600,))


@pytest.fixture(params=["double", "real"])
def world(request: pytest.FixtureRequest) -> World:
    """Each test that asks for it runs over both."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # pytest does not know


@pytest.fixture
def double() -> World:
    """What the other tests use in its place."""
    compact = json.dumps(DEBTS, ensure_ascii=False, separators=(",", ":"))
    known = {ANA: Row(b"sealed ana", KEY_ID, b"wrapped", compact, 13000), RUI: Row(b"sealed rui", KEY_ID, b"wrapped", "[]", 0)}
    store = FakePeopleStore(known)
    return World(store, lambda: sorted(store.links, key=lambda link: (link.client, link.position)), store.age)


def new(client: str = "acme", person: str = ANA, purpose: str = "credit") -> Asked:
    """A request never made before."""
    return Asked(str(uuid.uuid4()), client, person, purpose)


def test_found_brings_the_sealed_record_its_key_and_the_debts(world: World) -> None:
    """A known person comes with blob, key, debts in the contract's fields and order, and the sum of the open ones."""
    (outcome,) = world.ask(new())
    assert outcome.outcome == "found"
    assert (outcome.sealed, outcome.key_id, outcome.wrapped_key) == (b"sealed ana", KEY_ID, b"wrapped")
    assert json.loads(outcome.debts) == DEBTS
    assert list(json.loads(outcome.debts)[0]) == ["creditor", "amount_cents", "due_on", "status"]
    assert outcome.total_open_cents == 13000


def test_found_without_debts_has_an_empty_list(world: World) -> None:
    """Owing nothing is an empty list and a sum of zero, not a missing answer."""
    (outcome,) = world.ask(new(person=RUI))
    assert (outcome.outcome, outcome.debts, outcome.total_open_cents) == ("found", "[]", 0)


def test_an_unknown_person_is_not_found_and_logged_all_the_same(world: World) -> None:
    """Asking is what the log records, whatever the answer."""
    (outcome,) = world.ask(new(person=NOBODY))
    assert (outcome.outcome, outcome.sealed, outcome.debts, outcome.key_id) == ("not_found", b"", "", "")
    assert [link.person for link in world.links()] == [NOBODY]


def test_a_batch_is_answered_in_the_order_asked(world: World) -> None:
    """Outcomes line up with requests even where clients and people are mixed."""
    batch = [new("globex", RUI), new("acme", NOBODY), new("globex", ANA), new("acme", RUI)]
    outcomes = world.ask(*batch)
    assert [(outcome.request_id, outcome.client) for outcome in outcomes] == [(asked.request_id, asked.client) for asked in batch]
    assert [outcome.outcome for outcome in outcomes] == ["found", "not_found", "found", "found"]


def test_an_empty_batch_is_no_inquiry(world: World) -> None:
    """Nothing asked, nothing answered, nothing logged."""
    assert world.ask() == []
    assert world.links() == []


def test_a_repeated_request_is_logged_once_and_answered_again(world: World) -> None:
    """A redelivered message gets the same answer with the time of the first, and the chain does not grow."""
    asked = new()
    (first,), (second,) = world.ask(asked), world.ask(asked)
    assert first == second
    assert len(world.links()) == 1


def test_a_request_twice_in_one_batch_is_logged_once(world: World) -> None:
    """Standard queues deliver twice at once too; both copies are answered."""
    asked = new()
    outcomes = world.ask(asked, new(), asked)
    assert [outcome.outcome for outcome in outcomes] == ["found"] * 3
    assert len(world.links()) == 2


@pytest.mark.parametrize(("hours", "expected"), [(12.9, ["found", "not_found"]), (13.1, ["expired", "expired"])])
def test_a_request_is_answered_for_thirteen_hours(world: World, hours: float, expected: list[str]) -> None:
    """Long enough for any message that may still be redelivered, but a row in the log does not open a person for ever."""
    assert LIFE + 2 * LEEWAY < 12.9 * 3600
    batch = [new(), new(person=NOBODY)]
    world.ask(*batch)
    world.age(hours)
    outcomes = world.ask(*batch)
    assert [outcome.outcome for outcome in outcomes] == expected
    assert [bool(outcome.sealed or outcome.wrapped_key or outcome.debts) for outcome in outcomes] == [expected[0] == "found", False]
    assert len(world.links()) == 2


def test_a_conflict_stays_one_however_old(world: World) -> None:
    """Another's request under an old id is dead-lettered without an answer, as under a new one."""
    asked = new()
    world.ask(asked)
    world.age(13.1)
    assert world.ask(asked._replace(person=RUI))[0].outcome == "conflict"


@pytest.mark.parametrize("other", [{"client": "globex"}, {"person": RUI}, {"purpose": "rental"}], ids=lambda other: next(iter(other)))
@pytest.mark.parametrize("together", [True, False])
def test_a_request_id_of_another_request_is_a_conflict_without_data(world: World, other: dict[str, str], together: bool) -> None:
    """Whoever reuses an id for another client, person or purpose learns nothing, in the same batch or later."""
    asked = new()
    forged = asked._replace(**other)
    outcomes = world.ask(asked, forged) if together else world.ask(asked) + world.ask(forged)
    assert [outcome.outcome for outcome in outcomes] == ["found", "conflict"]
    assert (outcomes[1].sealed, outcomes[1].wrapped_key, outcomes[1].debts, outcomes[1].total_open_cents) == (b"", b"", "", 0)
    assert [(link.client, link.person, link.purpose) for link in world.links()] == [(asked.client, asked.person, asked.purpose)]


def test_each_client_has_a_chain_and_the_answer_names_its_head(world: World) -> None:
    """Positions count from 1 without a gap for each client, and the head answered is the last link."""
    world.ask(new("acme"), new("globex"), new("acme"))
    outcomes = world.ask(new("acme"), new("globex"))
    assert [(outcome.client, outcome.position) for outcome in outcomes] == [("acme", 3), ("globex", 2)]
    heads = {outcome.client: Head(outcome.client, outcome.position, outcome.hash) for outcome in outcomes}
    assert compare(world.links(), heads, {}).differences == []


def test_threads_of_many_clients_neither_deadlock_nor_break_a_chain(real: World, base_a: BaseA) -> None:
    """8 threads with batches of 10 over 6 clients in any order: every call answers and every chain verifies."""
    clients = ["a", "b", "c", "d", "e", "f"]
    errors: list[Exception] = []

    def work(seed: int) -> None:
        try:
            for turn in range(15):
                order = [clients[(seed * 5 + turn + step * (1 + seed % 5)) % 6] for step in range(10)]
                assert len(real.ask(*(new(client) for client in order))) == 10
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    audit = verify(base_a.owner_dsn, [])
    assert (audit.rows, audit.clients, audit.differences) == (1200, 6, [])


def test_the_same_requests_at_once_are_logged_once(real: World) -> None:
    """Two workers that hold the same messages answer both and log each once."""
    batch = [new(client) for client in ("a", "b", "c") for _ in range(3)]
    threads = [threading.Thread(target=real.ask, args=batch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(real.links()) == 9


@pytest.mark.parametrize(
    "wrong", [{"client": "Acme"}, {"client": "a\nb"}, {"person": "46509208172"}, {"purpose": "curiosity"}, {"request_id": "a b"}], ids=str
)
def test_what_the_log_cannot_hold_is_refused(real: World, wrong: dict[str, str]) -> None:
    """Fields that could make two links read alike, or put a CPF into the log, never get in."""
    with pytest.raises(psycopg.errors.CheckViolation):
        real.ask(new()._replace(**wrong))
    assert real.links() == []


def test_a_server_that_is_away_is_a_dependency_down(real: World, base_a: BaseA) -> None:
    """A broken connection is the retryable error, and the next call finds a new one."""
    real.ask(new())
    with base_a.as_worker() as another:
        another.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and usename = current_user and datname = current_database()"
        )
    with pytest.raises(DependencyDown, match="base_a is not answering"):
        real.ask(new())
    assert real.ask(new())[0].outcome == "found"
    real.store.ping()


def test_no_server_at_all_is_a_dependency_down() -> None:
    """Nothing listening: inquire and ping say so within the pool's time-out."""
    store = PeopleStore.connect("postgresql://nobody:none@127.0.0.1:1/none", threads=1)
    with pytest.raises(DependencyDown):
        store.ping()
    store.close()


def test_a_chain_locked_for_too_long_is_a_dependency_down(real: World, base_a: BaseA) -> None:
    """The statement's time-out covers the wait for a chain's lock; nothing of that batch is logged."""
    real.ask(new())
    store = PeopleStore.connect(base_a.worker_dsn, threads=1, statement_seconds=0.2)
    with psycopg.connect(base_a.owner_dsn) as owner:
        owner.execute("select from chain_head for update")
        with pytest.raises(DependencyDown):
            store.inquire([new()])
    store.close()
    assert len(real.links()) == 1
