"""Base A as the worker sees it: two functions, of which one logs a batch of inquiries and the other answers what is logged."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

import psycopg
from psycopg_pool import ConnectionPool

from consumidor.errors import DependencyDown
from consumidor.people.queries import QUERIES

# These end a wait on a server that is gone without a word (a fail-over); whatever else takes too long PostgreSQL ends itself.
_TCP = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
_POOL_TIMEOUT = 3.0  # seconds to wait for a connection
_RECONNECT_TIMEOUT = 2.0  # seconds before the pool gives an attempt up; the next caller starts a new one, with no back-off left over
Columns = tuple[list[str], list[str], list[str], list[str]]  # request ids, clients, persons, purposes


class PeopleRequest(Protocol):
    """What is asked."""

    @property
    def request_id(self) -> str:
        """A UUID."""

    @property
    def client(self) -> str:
        """Who asks, by registered name."""

    @property
    def person(self) -> str:
        """About whom: the pseudonym, 32 hex digits."""

    @property
    def purpose(self) -> str:
        """What for: one of `model.PURPOSES`."""


class Outcome(NamedTuple):
    """What became of one request: the columns of the function `answer_inquiries`, then those of `log_inquiries`.

    `at` is when the request was first logged; after 13 hours it is `expired`. `sealed`, `key_id`, `wrapped_key` and `debts` (JSON text,
    the contract's fields) are empty unless found. `position` and `hash` are the head of the client's chain after this batch.
    """

    request_id: str
    outcome: Literal["found", "not_found", "conflict", "expired"]
    at: datetime
    sealed: bytes
    key_id: str
    wrapped_key: bytes
    debts: str
    total_open_cents: int
    client: str
    position: int
    hash: bytes


class PeopleStore:
    """Base A over a pool of connections. Threads may share it."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    @classmethod
    def connect(cls, dsn: str, threads: int, statement_seconds: float = 5.0) -> "PeopleStore":
        """A store with a connection for each thread; does not wait for the server to be there.

        `statement_seconds` bounds each of a batch's two calls on the server, waiting for the chains' locks included.
        """
        options = f"-c statement_timeout={int(statement_seconds * 1000)} -c timezone=UTC -c default_transaction_isolation=read\\ committed"
        pool = ConnectionPool(
            dsn, min_size=1, max_size=threads, open=True, timeout=_POOL_TIMEOUT, reconnect_timeout=_RECONNECT_TIMEOUT, name="base_a",
            kwargs={**_TCP, "autocommit": True, "connect_timeout": 3, "options": options},
        )  # fmt: skip
        return cls(pool)

    def inquire(self, batch: Sequence[PeopleRequest]) -> list[Outcome]:
        """Log a batch, commit, and answer it, one outcome a request, in order. Asking again is safe: a request is logged once.

        Raises:
            DependencyDown: Base A is down, too slow, or broke a deadlock; nothing of the batch counts as answered, it may be logged.
        """
        columns = ([asked.request_id for asked in batch], [asked.client for asked in batch],
                   [asked.person for asked in batch], [asked.purpose for asked in batch])  # fmt: skip
        try:
            with self._pool.connection() as connection:
                heads, answers = _log_then_answer(connection, columns)
        except psycopg.OperationalError as error:  # a time-out of the pool is one too
            self._pool.check()
            raise DependencyDown("base_a") from error
        return [Outcome(*answer, *heads[asked.client]) for asked, answer in zip(batch, answers, strict=True)]

    def ping(self) -> None:
        """Raises DependencyDown where Base A does not answer."""
        try:
            with self._pool.connection() as connection:
                connection.execute(QUERIES["ping"])
        except psycopg.OperationalError as error:
            raise DependencyDown("base_a") from error

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def _log_then_answer(connection: psycopg.Connection, columns: Columns) -> tuple[dict[str, tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Heads (client, position, hash) by client, and answers. One round trip: the pipeline carries the commit between the two calls.

    `Pipeline.sync` would commit too, but it waits for all results before it returns. A failure skips what comes after it.
    """
    with connection.pipeline():
        connection.execute("begin")
        logged = connection.execute(QUERIES["log_inquiries"], columns, prepare=True, binary=True)
        connection.execute("commit")
        answered = connection.execute(QUERIES["answer_inquiries"], columns, prepare=True, binary=True)
    return {head[0]: head for head in logged}, answered.fetchall()
