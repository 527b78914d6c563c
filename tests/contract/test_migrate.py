"""Migrations as RDS's master role runs them, and what the worker's role can do afterwards: log inquiries and have them answered."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumidor.errors import CommandError
from consumidor.people.migrate import Migration, migrate, read_migrations
from tests.servers.postgres import BaseA

TABLES = ("person", "debt", "data_key", "inquiry_log", "chain_head", "load_progress", "schema_migration")


def run(base: BaseA, *more: Migration) -> list[str]:
    """Migrate to this version, and beyond it by `more`."""
    return migrate(base.owner_dsn, base.worker_dsn, [*read_migrations(), *more])


def test_a_role_like_rds_master_is_enough(empty_base_a: BaseA) -> None:
    """No superuser anywhere: the role that migrates is NOSUPERUSER, and owns and reads all it made."""
    assert run(empty_base_a) == ["0001_base_a"]
    with empty_base_a.as_owner() as owner:
        rights = owner.execute("select rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = current_user").fetchone()
        assert rights == (False, False, True)
        for table in TABLES:
            owner.execute(psycopg.sql.SQL("select * from {}").format(psycopg.sql.Identifier(table)))
        owner.execute("alter table inquiry_log set (fillfactor = 90)")


def test_a_second_run_changes_nothing(base_a: BaseA) -> None:
    """Running again applies nothing, and the worker still gets in."""
    assert run(base_a) == []
    with base_a.as_worker() as worker:
        assert worker.execute("select * from answer_inquiries('{}', '{}', '{}', '{}')").fetchall() == []


def test_two_runs_at_once_apply_each_migration_once(empty_base_a: BaseA) -> None:
    """Two deployments that start together wait for each other."""
    applied: list[list[str]] = []
    threads = [threading.Thread(target=lambda: applied.append(run(empty_base_a))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [[], [], ["0001_base_a"]]


def test_an_altered_migration_is_refused_by_name(base_a: BaseA) -> None:
    """What a database was built from may not change under it; the message says which and what to do."""
    first = read_migrations()[0]
    with pytest.raises(CommandError, match="0001_base_a was altered after it was applied; write a new one instead"):
        migrate(base_a.owner_dsn, base_a.worker_dsn, [first._replace(text=f"{first.text}\n-- a word more")])


def test_a_newer_database_is_refused(empty_base_a: BaseA) -> None:
    """An older version does not run on what a newer one built."""
    run(empty_base_a, Migration(2, "later", "select 1"))
    with pytest.raises(CommandError, match="it is too old for this database"):
        run(empty_base_a)


def test_a_failed_migration_leaves_nothing(empty_base_a: BaseA) -> None:
    """All of a run is one transaction: the tables made before the failure are gone with it, and it can be run again."""
    with pytest.raises(CommandError, match="cannot be migrated: division by zero"):
        run(empty_base_a, Migration(2, "broken", "create table half (i int); select 1 / 0"))
    with empty_base_a.as_owner() as owner:
        assert owner.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone() == (0,)
    assert run(empty_base_a) == ["0001_base_a"]


def test_numbers_must_run_without_a_gap(tmp_path: Path) -> None:
    """A forgotten or doubled number is found before anything is applied."""
    (tmp_path / "0001_one.sql").write_text("select 1")
    (tmp_path / "0003_three.sql").write_text("select 1")
    with pytest.raises(CommandError, match="not numbered 1, 2, 3"):
        read_migrations(tmp_path)


def test_no_server_is_one_line_without_the_password() -> None:
    """A wrong address is a message for people, and never holds the password."""
    with pytest.raises(CommandError, match="Base A cannot be migrated") as caught:
        migrate("postgresql://owner:s3cret@127.0.0.1:1/none", "postgresql://worker:w@127.0.0.1:1/none")
    assert "s3cret" not in str(caught.value)


def test_a_worker_dsn_must_name_a_role_of_its_own(empty_base_a: BaseA) -> None:
    """Running the worker as the owner would undo every right taken from it."""
    with pytest.raises(CommandError, match="a role of its own, with a password"):
        migrate(empty_base_a.owner_dsn, empty_base_a.owner_dsn)
    with pytest.raises(CommandError, match="a role of its own, with a password"):
        migrate(empty_base_a.owner_dsn, "postgresql://worker@127.0.0.1/none")


def test_the_worker_password_follows_its_dsn(base_a: BaseA) -> None:
    """Changing BASE_A_DSN and migrating changes the password; the old one is refused."""
    changed = make_conninfo(base_a.worker_dsn, password='another one\'s "secret"')
    migrate(base_a.owner_dsn, changed)
    try:
        psycopg.connect(changed).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            base_a.as_worker()
    finally:
        run(base_a)


@pytest.fixture
def worker(base_a: BaseA) -> Iterator[psycopg.Connection]:
    """Someone who holds the worker's credentials."""
    with base_a.as_worker() as connection:
        yield connection


@pytest.mark.parametrize("table", TABLES)
def test_the_worker_is_refused_on_every_table(worker: psycopg.Connection, table: str) -> None:
    """No reading, no writing, no emptying, of any table."""
    for statement in (
        "select * from {}",
        "select count(*) from {}",
        "delete from {}",
        "truncate {}",
        "copy {} to stdout",
        "drop table {}",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute(psycopg.sql.SQL(statement).format(psycopg.sql.Identifier(table)))


def test_the_list_of_tables_is_whole(base_a: BaseA) -> None:
    """A table added later has to be added to the test above too."""
    with base_a.as_owner() as owner:
        names = owner.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert {name for (name,) in names} == set(TABLES)


def executable(owner: psycopg.Connection, role: str) -> set[str]:
    """The functions of ours that a role may execute."""
    query = "select proname from pg_proc where pronamespace = 'public'::regnamespace and has_function_privilege(%s, oid, 'execute')"
    return {name for (name,) in owner.execute(query, (role,))}


def test_the_worker_may_execute_two_functions(base_a: BaseA, worker: psycopg.Connection) -> None:
    """To log inquiries, and to have them answered; no other."""
    with base_a.as_owner() as owner:
        assert executable(owner, worker.info.user) == {"log_inquiries", "answer_inquiries"}


@pytest.mark.parametrize(
    "statement",
    [
        "insert into inquiry_log values ('acme', 'r', repeat('a', 32), 'own', now(), 1, repeat('a', 32)::bytea, repeat('a', 32)::bytea)",
        "update inquiry_log set purpose = 'own'",
        "create temp table person (person text)",  # would shadow the table inside a function with a careless search_path
        "create table mine (i int)",
        "create schema mine",
        "create function public.sha256(bytea) returns bytea language sql return $1",
        "create function pg_temp.now() returns timestamptz language sql return '2000-01-01'",
        "create or replace function log_inquiries(text[], text[], text[], text[]) returns int language sql return 1",
        "alter function answer_inquiries security invoker",
        "select link_hash('', 'a', 'b', 'c', 'd', now(), 1)",
        "set role base_a_owner",
        "set role base_a_master",
        "set session authorization base_a_owner",
        "grant base_a_owner to base_a_worker",
        "alter role base_a_worker createrole",
        "create role another",
        "copy (select 1) to program 'true'",
        "select pg_read_file('postgresql.conf')",
        "set log_statement = 'all'",
    ],
)
def test_the_worker_is_refused_every_other_way(worker: psycopg.Connection, statement: str) -> None:
    """No writing to the log but through its function, no shadowing, no becoming another, no way to the server's files."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute(statement)


def test_a_hostile_search_path_changes_nothing(worker: psycopg.Connection) -> None:
    """The functions look names up in their own path, whatever the session's."""
    worker.execute("set search_path = pg_temp, nowhere")
    one = "'{r}', '{acme}', array[repeat('a', 32)], '{own}'"
    worker.execute(f"select public.log_inquiries({one})")
    answered = worker.execute(f"select outcome from public.answer_inquiries({one})").fetchone()
    assert answered == ("not_found",)


def test_statistics_show_the_worker_no_values(base_a: BaseA, worker: psycopg.Connection) -> None:
    """The planner's statistics hold sample values; the worker sees none of them."""
    with base_a.as_owner() as owner:
        owner.execute(
            "insert into inquiry_log values ('acme', 'r', repeat('a', 32), 'own', now(), 1, repeat('a', 32)::bytea, repeat('a', 32)::bytea)"
        )
        owner.execute("analyze inquiry_log")
        assert owner.execute("select count(*) from pg_stats where tablename = 'inquiry_log'").fetchone() != (0,)
    assert worker.execute("select count(*) from pg_stats where schemaname = 'public'").fetchone() == (0,)


def test_a_role_of_someone_else_may_not_even_connect(base_a: BaseA) -> None:
    """Nothing is left to PUBLIC: a role made for another purpose gets no connection to Base A."""
    with base_a.as_owner() as owner:
        owner.execute("create role stranger login password 'stranger'")
        try:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(make_conninfo(base_a.owner_dsn, user="stranger", password="stranger"))
            assert executable(owner, "stranger") == set()
        finally:
            owner.execute("drop role stranger")
