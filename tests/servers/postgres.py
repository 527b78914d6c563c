"""A real PostgreSQL once a session; an empty Base A for each test that asks."""

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import boto3
import psycopg
import pytest
from moto import mock_aws
from psycopg import sql
from psycopg.conninfo import make_conninfo

from consumidor.local.postgres import Postgres, postgres
from consumidor.local.supervisor import Supervisor, free_port
from consumidor.people.migrate import migrate
from consumidor.people.vault import Vault


class BaseA(NamedTuple):
    """A database: how its owner (RDS's master role) and the worker log in."""

    owner_dsn: str
    worker_dsn: str

    def as_owner(self) -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(self.owner_dsn, autocommit=True)

    def as_worker(self) -> psycopg.Connection:
        """The same with the worker's rights."""
        return psycopg.connect(self.worker_dsn, autocommit=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The server. In a folder right under the temporary one: pytest's own is closed to PostgreSQL's system user."""
    home = Path(tempfile.mkdtemp(prefix="consumidor-postgres-"))
    supervisor = Supervisor(home, announce=print)
    try:
        running = postgres(home / "postgres", free_port())
        supervisor.start(running.server)
        yield running
    finally:
        supervisor.stop()
        shutil.rmtree(home)


@pytest.fixture
def empty_base_a(postgres_server: Postgres) -> Iterator[BaseA]:
    """A new database of the master role's, with nothing in it."""
    with _new_database(postgres_server) as base:
        yield base


@pytest.fixture(scope="session")
def _migrated(postgres_server: Postgres) -> Iterator[BaseA]:
    with _new_database(postgres_server) as base:
        migrate(base.owner_dsn, base.worker_dsn)
        yield base


@pytest.fixture
def base_a(_migrated: BaseA) -> BaseA:
    """A migrated Base A without a row in it; one database for all, since a new one costs 0.3 s."""
    with _migrated.as_owner() as owner:
        owner.execute("truncate inquiry_log, chain_head, debt, person, data_key, load_progress")
    return _migrated


@contextlib.contextmanager
def _new_database(server: Postgres) -> Iterator[BaseA]:
    name = f"test_{uuid.uuid4().hex}"
    database = sql.Identifier(name)
    with psycopg.connect(server.owner_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(database))
        yield BaseA(*(make_conninfo(dsn, dbname=name) for dsn in (server.owner_dsn, server.worker_dsn)))
        connection.execute(sql.SQL("drop database {}").format(database))


@pytest.fixture
def vault() -> Iterator[Vault]:
    """A vault over an in-process KMS; keys do not outlive the test."""
    with mock_aws():
        kms = boto3.client("kms", region_name="sa-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        yield Vault(kms, kms.create_key()["KeyMetadata"]["KeyId"])
