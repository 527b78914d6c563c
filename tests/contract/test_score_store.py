"""Base B: the real server and the double that other tests use, held to the same sentences; what the server refuses."""

import asyncio
import datetime as dt
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest
from pymongo.errors import AutoReconnect, OperationFailure, WriteError

from consumidor.errors import CommandError, DependencyDown, SettingsError
from consumidor.local.supervisor import free_port
from consumidor.local.synthetic import FIXED_PEOPLE, people
from consumidor.local.synthetic_credit import documents, profiles, record, seed_base_b
from consumidor.score.loading import insert_base_b, load_base_b
from consumidor.score.model import Scorecard, attributes, score
from consumidor.score.records import Address, Asset, Income, Record, document, profile, validator
from consumidor.score.store import TOGETHER, Document, MongoStore, Store, database_of, migrate_base_b
from tests.score_doubles import FakeStore
from tests.servers.mongodb import BaseB, scoredata

DAY = dt.date(2026, 11, 22)
ANA, NOBODY = "a" * 32, "c" * 32
RECORD = Record(
    dt.date(1953, 1, 1),
    [Asset("real_estate", 2**40, dt.date(1990, 1, 1)), Asset("savings", 0)],
    Address("SP", "São Paulo", "01000-000", "own", dt.date(2004, 2, 29)),
    Income("pension", dt.date(2018, 1, 1), 250_000),
)
KEY = b"k" * 32
Opened = Callable[[], Any]


@asynccontextmanager
async def real_store(uri: str) -> AsyncIterator[Store]:
    """The store over a server, closed at the end."""
    store = MongoStore(uri)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def fake_store() -> AsyncIterator[Store]:
    """The double, with Ana in it."""
    yield FakeStore([document(ANA, RECORD)])


@pytest.fixture(params=["real", "double"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """A way to open a store that holds Ana, read with the readers' rights."""
    if request.param == "double":
        return fake_store
    base_b: BaseB = request.getfixturevalue("base_b")
    insert_base_b(base_b.owner_uri, [document(ANA, RECORD)])
    return lambda: real_store(base_b.reader_uri)


def ask(opened: Opened, question: Callable[[Store], Awaitable[Any]]) -> Any:
    """One question to a store."""

    async def asked() -> Any:
        async with opened() as store:
            return await question(store)

    return anyio.run(asked)


def test_a_known_person(opened: Opened) -> None:
    """What was written is what is scored and shown."""
    found = ask(opened, lambda store: store.find(ANA))
    card = Scorecard.current()
    assert profile(found, DAY) == profile(document(ANA, RECORD), DAY)
    assert score(found, DAY, card) == score(document(ANA, RECORD), DAY, card)


def test_an_unknown_person(opened: Opened) -> None:
    """None, not an error."""
    assert ask(opened, lambda store: store.find(NOBODY)) is None


def test_ping(opened: Opened) -> None:
    """A store that is there says so by returning."""
    assert ask(opened, lambda store: store.ping()) is None


# pymongo 4.20 leaves a socket to the garbage collector when its monitor is cancelled while it connects.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("question", [lambda store: store.find(ANA), lambda store: store.ping()])
def test_a_server_that_is_not_there(question: Callable[[Store], Awaitable[Any]]) -> None:
    """DependencyDown within the deadline, never a driver's error."""
    uri = f"mongodb://127.0.0.1:{free_port()}/base_b"
    started = time.monotonic()
    with pytest.raises(DependencyDown, match="base_b"):
        ask(lambda: real_store(uri), question)
    assert time.monotonic() - started < 4
    gc.collect()


@pytest.mark.parametrize(("broken", "answers"), [(1, True), (2, False)])
def test_a_broken_connection_is_tried_once_more(base_b: BaseB, monkeypatch: pytest.MonkeyPatch, broken: int, answers: bool) -> None:
    """A read that meets a fail-over is repeated once; where that fails too, Base B is down."""
    insert_base_b(base_b.owner_uri, [document(ANA, RECORD)])
    calls = []

    async def ask_twice() -> Document:
        async with real_store(base_b.reader_uri) as store:
            command = store._database.command  # type: ignore[attr-defined]  # the real store's

            async def breaking(*arguments: Any, **options: Any) -> Any:
                calls.append(arguments)
                if len(calls) <= broken:
                    raise AutoReconnect("connection closed")
                return await command(*arguments, **options)

            monkeypatch.setattr(store._database, "command", breaking)  # type: ignore[attr-defined]  # as above
            return await store.find(ANA) or {}

    if answers:
        assert profile(anyio.run(ask_twice), DAY) == profile(document(ANA, RECORD), DAY)
    else:
        with pytest.raises(DependencyDown):
            anyio.run(ask_twice)
    assert len(calls) == 2


def test_questions_of_one_turn_are_one_read(base_b: BaseB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks at the same time is answered by one command, each with their own person, and more than fit into one by a few."""
    persons = [f"{number:032x}" for number in range(TOGETHER + 6)]
    insert_base_b(base_b.owner_uri, [document(person, RECORD) for person in persons[:-1]])
    sizes: list[int] = []

    async def ask_all() -> list[Document | None]:
        async with real_store(base_b.reader_uri) as store:
            command = store._database.command  # type: ignore[attr-defined]  # the real store's

            async def counted(asked: dict[str, Any], **options: Any) -> Any:
                sizes.append(asked["batchSize"])
                return await command(asked, **options)

            monkeypatch.setattr(store._database, "command", counted)  # type: ignore[attr-defined]  # as above
            return await asyncio.gather(*(store.find(person) for person in [*persons, persons[0]]))

    found = anyio.run(ask_all)
    assert [one and one["_id"] for one in found] == [*persons[:-1], None, persons[0]]
    assert sizes == [TOGETHER, 7]


def test_who_gives_up_takes_nobody_along(base_b: BaseB) -> None:
    """A request that is cancelled while its read is under way leaves the others of that read their answers."""
    insert_base_b(base_b.owner_uri, [document(ANA, RECORD)])

    async def ask_and_leave() -> Document | None:
        async with real_store(base_b.reader_uri) as store:
            leaving, staying = (asyncio.create_task(store.find(ANA)) for _ in range(2))
            await asyncio.sleep(0)
            leaving.cancel()
            return await staying

    found = anyio.run(ask_and_leave)
    assert found is not None
    assert found["_id"] == ANA


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # as above
def test_a_server_that_fails_fails_everyone_who_asked() -> None:
    """Each of a read's questions gets its own DependencyDown."""
    uri = f"mongodb://127.0.0.1:{free_port()}/base_b?serverSelectionTimeoutMS=200"

    async def ask_all() -> list[Any]:
        async with real_store(uri) as store:
            return await asyncio.gather(*(store.find(ANA) for _ in range(3)), return_exceptions=True)

    errors = anyio.run(ask_all)
    assert [type(error) for error in errors] == [DependencyDown] * 3
    assert len(set(map(id, errors))) == 3
    gc.collect()


def test_migrating_again_changes_nothing(base_b: BaseB) -> None:
    """Documents stay, the index is there once, and an older collection gets today's validator."""
    insert_base_b(base_b.owner_uri, [document(ANA, RECORD)])
    with base_b.as_owner() as client:
        client["base_b"].command("collMod", "scoredata", validator={})
        migrate_base_b(base_b.owner_uri)
        options = next(iter(client["base_b"].list_collections())).get("options", {})
        assert options["validator"] == validator()
        assert sorted(scoredata(client).index_information()) == ["_id_", "bucket_1"]
        assert scoredata(client).count_documents({}) == 1


@pytest.mark.parametrize("change", [
    {"cpf": "46509208172"},
    {"_id": "46509208172"},
    {"_id": "A" * 32},
    {"bucket": 256},
    {"bucket": "10"},
    {"birth_date": "1953-01-01"},
    {"assets": [{"kind": "boat", "value_cents": 1}]},
    {"assets": [{"kind": "vehicle", "value_cents": -1}]},
    {"assets": [{"kind": "vehicle"}]},
    {"assets": [{"kind": "vehicle", "value_cents": 1, "colour": "red"}]},
    {"address": {"street": "Rua das Flores, 1"}},
    {"address": {"state": "Rio"}},
    {"income": {"source": "gold"}},
    {"income": {"monthly_cents": 0.5}},
])  # fmt: skip
def test_the_server_refuses_what_extraction_would_drop(base_b: BaseB, change: dict[str, Any]) -> None:
    """An unknown field at any depth, or one of the wrong kind, is refused at writing: a CPF could not even be stored by mistake."""
    with base_b.as_owner() as client, pytest.raises(WriteError):
        scoredata(client).insert_one(document(ANA, RECORD) | change)


def test_readers_cannot_write(base_b: BaseB) -> None:
    """Who scores and extracts may read, and nothing more."""
    with base_b.as_reader() as client, pytest.raises(OperationFailure, match="not authorized"):
        scoredata(client).insert_one(document(ANA, RECORD))


def test_a_refused_document_is_not_quoted(base_b: BaseB) -> None:
    """Loading what the validator refuses fails in one line that holds none of its values."""
    with pytest.raises(CommandError, match=r"refuses 1 documents: code 121$") as caught:
        insert_base_b(base_b.owner_uri, [document(ANA, RECORD) | {"cpf": "46509208172"}])
    assert caught.value.__suppress_context__


def test_loading_replaces_and_inserting_does_not(base_b: BaseB) -> None:
    """A user's own people replace what was there; seeding again leaves it alone. Both may be repeated."""
    newer = Record(income=Income("unemployed"))
    insert_base_b(base_b.owner_uri, [document(ANA, RECORD)])
    assert insert_base_b(base_b.owner_uri, [document(ANA, newer)]) == 1
    with base_b.as_owner() as client:
        assert scoredata(client).find_one()["income"]["source"] == "pension"  # type: ignore[index]  # it is there
        assert load_base_b(base_b.owner_uri, [(ANA, newer), (NOBODY, RECORD)]) == 2
        assert scoredata(client).find_one({"_id": ANA}) == {"_id": ANA, "bucket": 0xAA, "income": {"source": "unemployed"}}
        assert scoredata(client).count_documents({}) == 2


def test_seeding(base_b: BaseB) -> None:
    """Synthetic people arrive whole, whatever was there of a broken run, and progress tells of each."""
    insert_base_b(base_b.owner_uri, documents(people(5, 700, 2026), KEY, 5, DAY))
    told: list[int] = []
    assert seed_base_b(base_b.owner_uri, people(5, 1500, 2026), KEY, 5, DAY, told.append) == 1500
    assert sum(told) == 1500
    with base_b.as_owner() as client:
        stored = {one["_id"]: one for one in scoredata(client).find()}
    card = Scorecard.current()
    expected = {one["_id"]: score(one, DAY, card) for one in documents(people(5, 1500, 2026), KEY, 5, DAY)}
    assert {person: score(one, DAY, card) for person, one in stored.items()} == expected


def test_the_sample_people() -> None:
    """The elder is 73 with two properties, the younger 33 with nothing, on any day of the seeding year."""
    for day in (dt.date(2026, 1, 1), dt.date(2026, 12, 31)):
        elder, younger, _ = documents(people(1, FIXED_PEOPLE, 2026), KEY, 1, day)
        assert [asset["kind"] for asset in elder["assets"]] == ["real_estate", "real_estate"]
        assert younger["assets"] == []
        assert [attributes(one, day)["age"] for one in (elder, younger)] == [73, 33]


@pytest.mark.parametrize("day", [DAY, dt.date(2026, 1, 1), dt.date(2028, 2, 29), dt.date(2026, 12, 31)])
def test_a_made_up_person_is_their_profile(day: dt.date) -> None:
    """On the day of seeding the scorecard sees in each document exactly the attributes it was drawn from."""
    for number, drawn_from in enumerate(profiles()):
        draw = Random(number).random
        seen = attributes(document(ANA, record(drawn_from, day, draw)), day)
        assert (seen["age"], seen["property"], seen["housing"], seen["job"]) == (
            drawn_from.age, drawn_from.property, drawn_from.housing, drawn_from.job
        )  # fmt: skip
        assert (seen["savings"] is None) == (drawn_from.savings is None)
        assert isinstance(seen["residence"], int)
        assert seen["residence"] >= drawn_from.residence


@pytest.mark.parametrize("uri", ["mongodb://127.0.0.1", "http://127.0.0.1/base_b", "mongodb://[/base_b"])
def test_a_uri_that_names_no_database(uri: str) -> None:
    """Said at once, in words, without the URI (it holds a password)."""
    with pytest.raises(SettingsError, match="BASE_B_URI") as caught:
        database_of(uri)
    assert "127.0.0.1" not in str(caught.value)
