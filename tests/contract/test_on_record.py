"""Someone who holds the worker's credentials, at a prompt of their own: they read nobody without a row in the log that stays."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.servers.postgres import BaseA

ONE = "array['r'], array['acme'], array[repeat('a', 32)], array['credit']"
LOG, ANSWER = f"select * from log_inquiries({ONE})", f"select * from answer_inquiries({ONE})"
TRICKS: dict[str, list[str]] = {
    "not logged": [ANSWER],
    "rolled back": ["begin", LOG, ANSWER],
    "rolled back before": ["begin", LOG, "rollback", ANSWER],
    "in a savepoint": ["begin", "savepoint s", LOG, ANSWER],
    "savepoint rolled back": ["begin", "savepoint s", LOG, "rollback to s", ANSWER],
    "savepoint released": ["begin", "savepoint s", LOG, "release s", ANSWER],
    "one snapshot for both": ["begin isolation level serializable", LOG, ANSWER],
    "one statement": [f"select * from log_inquiries({ONE}), answer_inquiries({ONE})"],
    "one statement, answer first": [f"select answer_inquiries({ONE}), log_inquiries({ONE})"],
    "logged by an argument": [f"select * from answer_inquiries(array(select 'r' from log_inquiries({ONE})), {ONE.partition(', ')[2]})"],
    "cursor": ["begin", f"declare c cursor for {ANSWER}", LOG, "fetch c"],
    "cursor filled by the commit": ["begin", f"declare c cursor with hold for {ANSWER}", LOG, "commit"],
    "block that undoes": [
        f"""do $$ begin
            begin perform log_inquiries({ONE}); raise 'undo'; exception when others then null; end;
            perform answer_inquiries({ONE});
        end $$"""
    ],
    "block that rolls back": [f"do $$ begin perform log_inquiries({ONE}); rollback; perform answer_inquiries({ONE}); end $$"],
}
REFUSED = (psycopg.errors.ActiveSqlTransaction, psycopg.errors.ObjectNotInPrerequisiteState)


@pytest.fixture
def ana(base_a: BaseA) -> BaseA:
    """A Base A with one person."""
    with base_a.as_owner() as owner:
        owner.execute("insert into data_key values ('0b8e2f0e-6f39-4d3c-9a39-0d7c53f6f001', 'wrapped')")
        owner.execute("insert into person values (repeat('a', 32), '0b8e2f0e-6f39-4d3c-9a39-0d7c53f6f001', 'sealed ana')")
    return base_a


@pytest.fixture
def worker(ana: BaseA) -> Iterator[psycopg.Connection]:
    """The prompt."""
    with ana.as_worker() as connection:
        yield connection
        connection.rollback()


def rows(base_a: BaseA) -> int:
    """How many inquiries are on record."""
    with base_a.as_owner() as owner:
        return len(owner.execute("select from inquiry_log").fetchall())


def outcome(connection: psycopg.Connection) -> tuple[object, ...] | None:
    """What the answer says of Ana."""
    return connection.execute(f"select outcome, sealed from answer_inquiries({ONE})").fetchone()


def test_what_was_read_stays_on_record(ana: BaseA, worker: psycopg.Connection) -> None:
    """The one way that works: logged, committed, answered. Rolling the answer back takes nothing off the record."""
    worker.execute(LOG)
    worker.execute("begin")
    assert outcome(worker) == ("found", b"sealed ana")
    worker.execute("rollback")
    assert rows(ana) == 1


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS.keys())
def test_no_trick_reads_without_a_row_that_stays(ana: BaseA, worker: psycopg.Connection, trick: list[str]) -> None:
    """Whatever could still be undone is not answered: the last statement of each is refused, and no row is left of it."""
    *before, last = trick
    for statement in before:
        worker.execute(statement)
    with pytest.raises(REFUSED, match="inquiries are answered after they are committed"):
        worker.execute(last)
    worker.execute("rollback")
    assert rows(ana) == 0


def test_a_second_session_sees_only_what_is_committed(ana: BaseA, worker: psycopg.Connection) -> None:
    """One session logs, another asks for the answer: refused until the first has committed, and under a snapshot older than that."""
    with ana.as_worker() as second, ana.as_worker() as older:
        older.execute("begin isolation level repeatable read")
        older.execute("select 1 from pg_class limit 1")  # takes the snapshot
        worker.execute("begin")
        worker.execute(LOG)
        with pytest.raises(REFUSED):
            second.execute(ANSWER)
        worker.execute("commit")
        with pytest.raises(REFUSED):
            older.execute(ANSWER)
        older.execute("rollback")
        assert outcome(second) == ("found", b"sealed ana")


def test_a_row_without_an_own_request_is_not_answered(worker: psycopg.Connection) -> None:
    """A request that is not in the log gets the whole batch refused, whatever else is in it."""
    worker.execute(LOG)
    with pytest.raises(REFUSED):
        worker.execute(
            "select * from answer_inquiries(array['r', 's'], array['acme', 'acme'],"
            " array[repeat('a', 32), repeat('a', 32)], array['credit', 'credit'])"
        )


def test_what_is_answered_is_on_disk(worker: psycopg.Connection) -> None:
    """With synchronous_commit off a row could be seen, answered and lost by a crash: the answer waits until the log is written."""
    worker.execute("set synchronous_commit = off")
    for number in range(20):  # the server's own writer comes round each 0.2 s: seldom first
        one = ONE.replace("'r'", f"'r{number}'")
        worker.execute(f"select log_inquiries({one})")
        written = worker.execute("select pg_current_wal_insert_lsn()").fetchone()
        assert worker.execute(f"select outcome from answer_inquiries({one})").fetchone() == ("found",)
        assert worker.execute("select pg_current_wal_flush_lsn() >= %s::pg_lsn", written).fetchone() == (True,)
