"""Base A back from a dump, audited before it is used; requests wait in the queue meanwhile.

    python -m tests.faults.runbooks.restore dump HOME FILE
    python -m tests.faults.runbooks.restore restore HOME FILE

A new database is migrated, so that roles and rights come from the code and not from the dump; it gets the dump's rows; its inquiry log is
held against the checkpoints, which show what an older dump has lost; only then it takes the old one's place, which is kept under
another name. On AWS: the worker's service to no tasks, a snapshot restored, `consumidor audit verify` on it, the address changed.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consumidor.errors import CommandError
from consumidor.local.operations import _aws
from consumidor.local.postgres import program
from consumidor.local.running import read_stack
from consumidor.people import audit
from consumidor.people.migrate import migrate


def dump(home: Path, file: Path) -> None:
    """All rows of Base A, into a file that is for its owner alone: it names no one, yet it is what a thief would take."""
    file.touch(mode=0o600)
    _run("pg_dump", read_stack(home)["base_a_dsn"], "--data-only", "--exclude-table=schema_migration", "--format=custom", f"--file={file}")


def _run(name: str, dsn: str, *arguments: str) -> None:
    """One of PostgreSQL's programs on a database; the password is in its environment, where other users do not see it."""
    login = conninfo_to_dict(dsn)
    environment = {f"PG{key.upper()}": str(login[key]) for key in ("host", "port", "user", "password")}
    command = [str(program(name)), f"--dbname={login['dbname']}", *arguments]
    subprocess.run(command, check=True, env={**os.environ, **environment})


def restore(home: Path, file: Path) -> str:
    """Put the dump in Base A's place; returns the name under which the old one is kept.

    Raises:
        CommandError: the dump's inquiry log is not what the checkpoints say: rows are missing, or were altered. Nothing is replaced.
    """
    stack = read_stack(home)
    owner, name = stack["base_a_dsn"], str(conninfo_to_dict(stack["base_a_dsn"])["dbname"])
    new, old = f"{name}_restored", f"{name}_until_{int(time.time())}"
    restored = make_conninfo(owner, dbname=new)
    elsewhere = make_conninfo(owner, dbname="template1")
    _execute(elsewhere, "drop database if exists {new}", new=new)
    _execute(elsewhere, "create database {new}", new=new)
    migrate(restored, make_conninfo(stack["base_a_worker_dsn"], dbname=new))
    _run("pg_restore", restored, "--exit-on-error", str(file))
    _audit(home, restored)
    _execute(elsewhere, "alter database {name} with allow_connections false", name=name)
    os.kill(stack["pids"]["people-worker"], signal.SIGTERM)  # it finishes what it has in hand; the next one waits for Base A
    _await_nobody(elsewhere, name)
    _execute(elsewhere, "alter database {name} rename to {old}", name=name, old=old)
    _execute(elsewhere, "alter database {new} rename to {name}", new=new, name=name)
    return old


def _audit(home: Path, dsn: str) -> None:
    checkpoints = audit.read_checkpoints(_aws(home).s3, read_stack(home)["audit_checkpoint_bucket"])
    found = audit.verify(dsn, checkpoints)
    if found.differences:
        raise CommandError(f"the dump's inquiry log has {len(found.differences)} differences: {found.differences[0]}")


def _execute(dsn: str, statement: str, **names: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()}))


def _await_nobody(dsn: str, name: str) -> None:
    """Wait until nobody is connected to that database any more."""
    deadline = time.monotonic() + 60
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute("select count(*) from pg_stat_activity where datname = %s", (name,)).fetchone() != (0,):
            if time.monotonic() > deadline:
                raise CommandError(f"{name} is still in use: nothing was replaced; allow connections to it again")
            time.sleep(0.2)


if __name__ == "__main__":
    {"dump": dump, "restore": restore}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
