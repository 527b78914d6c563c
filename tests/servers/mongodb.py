"""A real MongoDB-protocol server once a session; an empty, migrated Base B for each test that asks."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from consumidor.local.mongodb import DATABASE, mongodb
from consumidor.local.supervisor import Supervisor, free_port
from consumidor.score.store import COLLECTION, migrate_base_b


class BaseB(NamedTuple):
    """How Base B's owner and its readers log in, and the supervisor that keeps it running."""

    owner_uri: str
    reader_uri: str
    supervisor: Supervisor

    def as_owner(self) -> MongoClient[dict[str, Any]]:
        """A client with the owner's rights; close it."""
        return MongoClient(self.owner_uri, tz_aware=False)

    def as_reader(self) -> MongoClient[dict[str, Any]]:
        """A client with the readers' rights; close it."""
        return MongoClient(self.reader_uri)


def scoredata(client: MongoClient[dict[str, Any]]) -> Collection[dict[str, Any]]:
    """The collection."""
    return client[DATABASE][COLLECTION]


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseB]:
    """The server, shared by all tests."""
    home = tmp_path_factory.mktemp("mongodb")
    supervisor = Supervisor(home, announce=print)
    try:
        running = mongodb(home / "mongodb", free_port())
        supervisor.start(running.server)
        yield BaseB(running.owner_uri, running.reader_uri, supervisor)
    finally:
        supervisor.stop()


@pytest.fixture
def base_b(mongodb_server: BaseB) -> BaseB:
    """A migrated Base B without people."""
    with mongodb_server.as_owner() as client:
        client[DATABASE].drop_collection(COLLECTION)
    migrate_base_b(mongodb_server.owner_uri)
    return mongodb_server
