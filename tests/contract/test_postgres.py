"""The embedded PostgreSQL: what it keeps over kill -9, and whom it lets in."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumidor.errors import CommandError
from consumidor.local.postgres import Postgres, _prepare, postgres
from consumidor.local.supervisor import Supervisor, free_port


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that PostgreSQL's system user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="consumidor-postgres-"))
    yield folder
    shutil.rmtree(folder)


def wait_for(dsn: str) -> psycopg.Connection:
    """A connection, as soon as there is one."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True, connect_timeout=2)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_acknowledged_commits_survive_kill_9_and_the_next_start(home: Path) -> None:
    """Killed twice under load with sessions open, then stopped and started anew: every row it ever acknowledged is there."""
    supervisor, running = Supervisor(home, announce=lambda _: None), postgres(home / "postgres", free_port())
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            try:
                with wait_for(running.owner_dsn) as connection:
                    while not stop.is_set():
                        number += 1
                        connection.execute("insert into kept values (%s)", (number,))
                        acknowledged.append(number)
            except psycopg.OperationalError:
                continue

    try:
        supervisor.start(running.server)
        with wait_for(running.owner_dsn) as connection:
            connection.execute("create table kept (number integer)")
        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(2):
            before = len(acknowledged)
            while len(acknowledged) < before + 30:
                time.sleep(0.01)
            os.kill(supervisor.pids()["postgres"], signal.SIGKILL)
        while len(acknowledged) < before + 40:
            time.sleep(0.01)
        stop.set()
        writer.join()
    finally:
        stop.set()
        supervisor.stop()

    again, supervisor = postgres(home / "postgres", free_port()), Supervisor(home, announce=lambda _: None)
    try:
        supervisor.start(again.server)
        with wait_for(again.owner_dsn) as connection:
            kept = {number for (number,) in connection.execute("select number from kept")}
        assert set(acknowledged) <= kept
    finally:
        supervisor.stop()


def test_what_a_killed_server_left_is_cleared_away(home: Path) -> None:
    """A lock file whose process id is somebody else's by now does not keep the next server from starting."""
    (home / "data").mkdir()
    lock = home / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{home}\n")
    _prepare(home / "data", "unused")
    assert not lock.exists()


def test_a_second_server_on_the_same_data_is_refused(postgres_server: Postgres) -> None:
    """Two servers on one folder would destroy it; the message names the one that runs."""
    data = Path(postgres_server.server.command[2])
    with pytest.raises(CommandError, match=r"another PostgreSQL \(pid \d+\) is running"):
        _prepare(data, "unused")
    psycopg.connect(postgres_server.owner_dsn).close()


def test_the_superuser_gets_no_connection(postgres_server: Postgres) -> None:
    """Once the database and its master role are made, the superuser is of no more use to anyone."""
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        psycopg.connect(make_conninfo(postgres_server.owner_dsn, user="postgres"))


def test_passwords_are_checked_by_scram_and_are_of_each_role_alone(postgres_server: Postgres) -> None:
    """A wrong password, none, and the other role's are refused."""
    worker_password = psycopg.conninfo.conninfo_to_dict(postgres_server.worker_dsn)["password"]
    for wrong in ("", "guess", worker_password):
        with pytest.raises(psycopg.OperationalError, match=r"password authentication failed|no password supplied"):
            psycopg.connect(make_conninfo(postgres_server.owner_dsn, password=wrong))
    with psycopg.connect(postgres_server.owner_dsn) as connection:
        assert connection.execute("show password_encryption").fetchone() == ("scram-sha-256",)
        assert connection.execute("show fsync").fetchone() == ("on",)
        assert connection.execute("show listen_addresses").fetchone() == ("127.0.0.1",)


def test_only_their_owners_can_read_passwords_and_data(postgres_server: Postgres) -> None:
    """The password file is 0600, the data folder 0700."""
    data = Path(postgres_server.server.command[2])
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data.parent / "passwords.json").stat().st_mode & 0o777 == 0o600


def test_values_stay_out_of_the_servers_log(postgres_server: Postgres) -> None:
    """A statement that fails over somebody's value leaves its kind in the log, not the value."""
    with psycopg.connect(postgres_server.owner_dsn, autocommit=True) as connection:
        connection.execute("create temp table secret (name text primary key check (name <> 'Ana Nóbrega'))")
        for statement in ("insert into secret values ('Ana Nóbrega')", "insert into secret values ('Rui Barbosa'), ('Rui Barbosa')"):
            with pytest.raises(psycopg.IntegrityError):
                connection.execute(statement)
    log = (Path(postgres_server.server.command[2]).parent.parent / "postgres.log").read_text("utf-8")
    assert "secret" in log
    assert "Nóbrega" not in log
    assert "Barbosa" not in log
