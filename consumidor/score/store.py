"""Base B in MongoDB: the collection with its validator, and the one read that the score path makes."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import structlog
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import CollectionInvalid, ConfigurationError, ConnectionFailure, InvalidURI, OperationFailure, PyMongoError

from consumidor.errors import CommandError, DependencyDown, SettingsError
from consumidor.score.records import validator

COLLECTION = "scoredata"
DEADLINE = 2.0  # seconds for a read with all its retries, finding a server and waiting for a connection included
TOGETHER = 64  # people in one read
_POOL = 64  # connections of one process, shared by the requests of its event loop
_CONNECT_MS = 1000
_IDLE_MS = 120_000  # then a connection is closed here: what is between, or the server, drops idle ones unseen after 5 minutes or so

log = structlog.get_logger()
Document = Mapping[str, Any]


class Store(Protocol):
    """What the score API needs of Base B."""

    async def find(self, person: str) -> Document | None:
        """The person's document, None where there is none.

        Raises:
            DependencyDown: Base B does not answer within the deadline.
        """

    async def ping(self) -> None:
        """Returns where Base B answers; raises DependencyDown otherwise."""

    async def close(self) -> None:
        """Let go of all connections."""


class _Asked(NamedTuple):
    """One request's question: about whom, and where its answer goes."""

    person: str
    answer: "asyncio.Future[Document | None]"


class MongoStore:
    """Base B by pymongo: one client a process, its pool and time-outs set.

    Questions that come in the same turn of the event loop are one read: a busy process asks for many people at the price of one, and
    nobody waits for it, since the read leaves as soon as the turn is over. For the driver's work is by the call: 165 us of CPU for one
    person, 222 us for eight, and the server answers eight in the time of two.

    The read is the command `find` itself, tried once more where a connection breaks or the primary changes, inside one timer. Through
    a cursor it costs a fifth more, and the driver's own timer around each of its steps a seventh.
    """

    def __init__(self, uri: str) -> None:
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            uri, connectTimeoutMS=_CONNECT_MS, maxIdleTimeMS=_IDLE_MS, maxPoolSize=_POOL, appname="consumidor-score"
        )
        self._database = self._client[database_of(uri)]
        self._asked: list[_Asked] = []
        self._reads: set[asyncio.Task[None]] = set()  # the event loop itself holds tasks only weakly

    async def find(self, person: str) -> Document | None:
        """As `Store.find`."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._read_all)
        answer: asyncio.Future[Document | None] = loop.create_future()
        self._asked.append(_Asked(person, answer))
        return await answer

    def _read_all(self) -> None:
        """What was asked in this turn, as one read or, where it is a lot, a few."""
        asked, self._asked = self._asked, []
        for first in range(0, len(asked), TOGETHER):
            read = asyncio.create_task(self._answer(asked[first : first + TOGETHER]))
            self._reads.add(read)
            read.add_done_callback(self._reads.discard)

    async def _answer(self, asked: list[_Asked]) -> None:
        """Answer everyone whose request still waits; the log line of a failure holds the error's class, never a person."""
        found: dict[str, Document] | None = None
        try:
            found = await self._read([one.person for one in asked])
        except (PyMongoError, TimeoutError) as error:
            log.warning("base_b_failed", error=type(error).__name__, people=len(asked))
        finally:  # whatever it was, nobody is left waiting
            for one in asked:
                if one.answer.done():
                    continue
                if found is None:
                    one.answer.set_exception(DependencyDown("base_b"))
                else:
                    one.answer.set_result(found.get(one.person))

    async def _read(self, persons: list[str]) -> dict[str, Document]:
        async with asyncio.timeout(DEADLINE):
            try:
                return await self._find(persons)
            except ConnectionFailure:
                return await self._find(persons)

    async def _find(self, persons: list[str]) -> dict[str, Document]:
        who: object = persons[0] if len(persons) == 1 else {"$in": persons}
        command = {"find": COLLECTION, "filter": {"_id": who}, "batchSize": len(persons), "singleBatch": True}
        reply = await self._database.command(command, read_preference=self._client.read_preference)
        return {document["_id"]: document for document in reply["cursor"]["firstBatch"]}

    async def ping(self) -> None:
        """As `Store.ping`."""
        try:
            async with asyncio.timeout(DEADLINE):
                await self._database.command("ping")
        except (PyMongoError, TimeoutError) as error:
            raise DependencyDown("base_b") from error

    async def close(self) -> None:
        """As `Store.close`."""
        await self._client.close()


def database_of(uri: str) -> str:
    """The database that the URI names.

    Raises:
        SettingsError: it names none, or is no MongoDB URI.
    """
    from pymongo.uri_parser import parse_uri  # noqa: PLC0415 - imports dnspython for mongodb+srv

    try:
        name = parse_uri(uri)["database"]
    except (ConfigurationError, InvalidURI, ValueError) as error:
        raise SettingsError("BASE_B_URI is not a MongoDB URI") from error
    if not name:
        raise SettingsError("BASE_B_URI names no database (mongodb://host/database)")
    return str(name)


def connect(uri: str, timeout_ms: int = 30_000) -> MongoClient[dict[str, Any]]:
    """A blocking client for jobs: migrating, loading, extracting. The time is for each call."""
    return MongoClient(uri, timeoutMS=timeout_ms, connectTimeoutMS=_CONNECT_MS * 5, appname="consumidor-jobs")


def migrate_base_b(uri: str) -> None:
    """Create the collection with its validator and its index, or bring an older one's up to date. Safe to repeat.

    Raises:
        DependencyDown: Base B does not answer.
        CommandError: it refuses (rights, a server that knows no validators).
    """
    try:
        with connect(uri) as client:
            database = client[database_of(uri)]
            try:
                database.create_collection(COLLECTION, validator=validator())
            except CollectionInvalid:  # it is there
                database.command("collMod", COLLECTION, validator=validator())
            database[COLLECTION].create_index("bucket")
    except OperationFailure as error:
        raise CommandError(f"Base B refuses to be migrated: code {error.code}") from error
    except PyMongoError as error:
        raise DependencyDown("base_b") from error
