"""Brings Base A to this version: numbered migrations, each applied once, and the worker's role with its two functions.

Run by the role of BASE_A_OWNER_DSN, which needs no more than RDS's master has (NOSUPERUSER CREATEROLE, owner of the database). All of it
is one transaction under an advisory lock: two runs at once are safe, and a failed one leaves nothing.
"""

from hashlib import sha256
from pathlib import Path
from typing import LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from consumidor.errors import CommandError
from consumidor.people.queries import QUERIES

FOLDER = Path(__file__).with_name("migrations")


class Migration(NamedTuple):
    """One numbered file, `<number>_<name>.sql`, and the SHA-256 of its text."""

    number: int
    name: str
    text: LiteralString

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return sha256(self.text.encode()).hexdigest()


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder, in order.

    Raises:
        CommandError: their numbers do not run 1, 2, 3 ...
    """
    found = []
    for file in sorted(folder.glob("*.sql")):
        number, _, name = file.stem.partition("_")
        found.append(Migration(int(number), name, file.read_text("utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise CommandError(f"the migrations in {folder.name} are not numbered 1, 2, 3 and so on")
    return found


def migrate(owner_dsn: str, worker_dsn: str, migrations: list[Migration] | None = None) -> list[str]:
    """Apply what is missing and set the worker's role up; returns what was applied, by name.

    Name and password of the worker's role are those in `worker_dsn`.

    Raises:
        CommandError: an applied migration was altered, the database is of a newer version, it cannot be reached, or it refuses.
    """
    try:
        with psycopg.connect(owner_dsn, connect_timeout=10) as connection:
            connection.execute(QUERIES["lock_migrations"])
            connection.execute(QUERIES["create_schema_migration"])
            applied = _apply(connection, read_migrations() if migrations is None else migrations)
            _set_up_worker(connection, worker_dsn)
            return applied
    except psycopg.Error as error:
        raise CommandError(f"Base A cannot be migrated: {str(error).strip().splitlines()[0]}") from error


def _apply(connection: psycopg.Connection, migrations: list[Migration]) -> list[str]:
    applied = {number: (name, checksum) for number, name, checksum in connection.execute(QUERIES["applied_migrations"])}
    if len(applied) > len(migrations):
        raise CommandError(f"Base A has {len(applied)} migrations, this version knows {len(migrations)}: it is too old for this database")
    for migration in migrations[: len(applied)]:
        name, checksum = applied[migration.number]
        if checksum != migration.checksum:
            raise CommandError(f"migration {migration.number:04}_{name} was altered after it was applied; write a new one instead")
    missing = migrations[len(applied) :]
    for migration in missing:
        connection.execute(migration.text)
        connection.execute(QUERIES["record_migration"], (migration.number, migration.name, migration.checksum))
    return [f"{migration.number:04}_{migration.name}" for migration in missing]


def _set_up_worker(connection: psycopg.Connection, worker_dsn: str) -> None:
    """A role that may connect, log inquiries and have them answered, no more. Its password goes to the server as a SCRAM verifier."""
    login = conninfo_to_dict(worker_dsn)
    name, password = str(login.get("user") or ""), str(login.get("password") or "")
    if not name or not password or name == connection.info.user:
        raise CommandError("BASE_A_DSN must name a role of its own, with a password")
    if connection.execute(QUERIES["role_exists"], (name,)).fetchone() == (False,):
        connection.execute(sql.SQL("create role {}").format(sql.Identifier(name)))
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    for statement in (
        "alter role {role} login password {verifier}",
        "grant connect on database {database} to {role}",
        "grant usage on schema public to {role}",
        "grant execute on function log_inquiries, answer_inquiries to {role}",
    ):
        connection.execute(sql.SQL(statement).format(
            role=sql.Identifier(name), verifier=sql.Literal(verifier), database=sql.Identifier(connection.info.dbname)
        ))  # fmt: skip
