"""The people path in ratios: the worker against one that works one by one, and against the same calls with no logic around them."""

import itertools
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.measure import Figure, Took, in_turns, microseconds, ratio, timed
from benchmarks.peers import one_by_one_worker
from benchmarks.peers.raw_calls import RawCalls
from benchmarks.stack import Place, Stack
from consumidor import aws, cpf, packing, queues
from consumidor.local import synthetic
from consumidor.local.aws import Aws
from consumidor.local.seeding import SEED
from consumidor.people import load
from consumidor.people.migrate import migrate
from consumidor.people.request_token import RequestVerifier, Signer
from consumidor.people.store import PeopleStore
from consumidor.people.vault import Vault
from consumidor.people.worker import Worker
from consumidor.settings import Settings

PEOPLE = 1_000  # asked about in turn: all with a report that fits the queue
MESSAGES = 1_000


class Bench(NamedTuple):
    """Queues of our own beside a stack's, and the worker's collaborators."""

    settings: Settings
    signer: Signer
    sqs: Any
    collaborators: dict[str, Any]
    persons: list[str]
    clients: list[str]

    def fill(self, count: int) -> None:
        """Requests in the queue, of the clients in turn, no two alike; nothing else in any queue."""
        for url in (self.settings.people_requests_queue_url, self.settings.events_feed_queue_url, *self.response_queues()):
            self.sqs.purge_queue(QueueUrl=url)
        asked = zip(itertools.cycle(self.clients), itertools.cycle(self.persons), range(count), strict=False)
        messages = [queues.Outgoing(self.signer.sign(client, str(uuid.uuid4()), person, "credit")) for client, person, _ in asked]
        queues.send_all(self.sqs, self.settings.people_requests_queue_url, messages)

    def response_queues(self) -> list[str]:
        """One a client."""
        return [f"{self.settings.people_responses_queue_prefix}{client}" for client in self.clients]


@contextmanager
def bench(stack: Stack, clients: int, threads: int = 1) -> Iterator[Bench]:
    """Its queues are named `bench-`, so that the stack's own worker and feed leave them alone."""
    stack.act_as("worker")
    api = Aws(stack.info["aws_endpoint_url"])
    base = stack.info["people_requests_queue"].removesuffix("people-requests")
    names = [f"c{number}" for number in range(clients)]
    for name in ("bench-requests", "bench-feed", *(f"bench-responses-{client}" for client in names)):
        api.sqs.create_queue(QueueName=name, Attributes={"MaximumMessageSize": str(packing.BATCH_BYTES)})
    settings = stack.settings(
        "worker", PEOPLE_REQUESTS_QUEUE_URL=f"{base}bench-requests", EVENTS_FEED_QUEUE_URL=f"{base}bench-feed",
        PEOPLE_RESPONSES_QUEUE_PREFIX=f"{base}bench-responses-", WORKER_THREADS=str(threads),
    )  # fmt: skip
    people = itertools.islice(synthetic.people(SEED, PEOPLE + 100, 2026), 3, PEOPLE)
    key = stack.settings("api").pseudonym_key
    persons = [cpf.pseudonym(key, person.cpf) for person in people if len(person.debts) < 1_000]
    store = PeopleStore.connect(settings.base_a_dsn, threads)
    made = {
        "sqs": aws.client(settings, "sqs", pool=threads + 4), "s3": aws.client(settings, "s3"), "store": store,
        "vault": Vault(aws.client(settings, "kms"), settings.base_a_kms_key),
        "verifier": RequestVerifier(settings.people_signing_public_keys),
    }  # fmt: skip
    try:
        yield Bench(settings, Signer(stack.settings("api").people_signing_key), api.sqs, made, persons, names)
    finally:
        store.close()


def worker(place: Place) -> Iterator[Figure]:
    """One thread of each, in this process, until the queue is empty."""
    with bench(place.stack, clients=1) as at:
        took = in_turns({"ours": lambda: _worker(at), "raw": lambda: _raw(at), "one_by_one": lambda: _one_by_one(at)})
    beside = _beside(took)
    yield Figure("worker-one", ratio(took["one_by_one"], took["ours"]), "x", beside)
    yield Figure("worker-raw", ratio(took["raw"], took["ours"]), "x", beside)


def worker_of_many_clients(place: Place) -> Iterator[Figure]:
    """Each batch needs a send per client."""
    with bench(place.stack, clients=20) as at:
        took = in_turns({"ours": lambda: _worker(at), "raw": lambda: _raw(at)})
    yield Figure("worker-raw-many", ratio(took["raw"], took["ours"]), "x", _beside(took))


def _beside(took: dict[str, list[Took]]) -> dict[str, float]:
    per_second = {f"{name}_messages_per_s": round(1e6 / microseconds(each)) for name, each in took.items()}
    return per_second | {f"{name}_cpu_us": microseconds(each, "cpu") for name, each in took.items()}


def _worker(at: Bench) -> Took:
    at.fill(MESSAGES)
    worker = Worker(at.settings, **at.collaborators)

    def work() -> int:
        answered = 0
        while answered < MESSAGES and (messages := worker.gather()):
            worker.round(messages)
            answered += len(messages)
        return answered

    return timed(work)


def _raw(at: Bench) -> Took:
    at.fill(MESSAGES)
    raw = RawCalls(at.settings, at.collaborators["sqs"], at.collaborators["store"], at.clients, at.persons)
    return timed(raw.work)


def _one_by_one(at: Bench) -> Took:
    at.fill(MESSAGES // 5)
    return timed(lambda: one_by_one_worker.work(at.settings, **at.collaborators))


def seeding(place: Place, people: int = 20_000) -> Iterator[Figure]:
    """Loading people into an empty Base A, against COPY of the very bytes that it then holds; both in a database of their own."""
    stack, made = place.stack, list(synthetic.people(SEED, people, 2026))
    stack.act_as("migrate")
    vault = Vault(aws.client(stack.settings("worker"), "kms"), stack.settings("worker").base_a_kms_key)
    key = stack.settings("api").pseudonym_key
    with _empty_base_a(stack) as dsn, psycopg.connect(dsn, autocommit=True) as connection:

        def ours() -> Took:
            connection.execute("truncate debt, person")
            return timed(lambda: load.load(dsn, made, vault=vault, pseudonym_key=key))

        ours()
        copied = {table: _dump(connection, table) for table in ("person", "debt")}

        def raw() -> Took:
            connection.execute("truncate debt, person")
            return timed(lambda: _copy(connection, copied, people))

        took = in_turns({"ours": ours, "raw": raw})
    beside = {f"{name}_people_per_s": round(1e6 / microseconds(each)) for name, each in took.items()}
    yield Figure("seeding-copy", ratio(took["raw"], took["ours"]), "x", beside)


def _dump(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor() as cursor, cursor.copy(f"copy {table} to stdout (format binary)") as copy:
        return b"".join(copy)


def _copy(connection: psycopg.Connection, copied: dict[str, bytes], people: int) -> int:
    """In one transaction, then vacuumed and analyzed, as a load is."""
    with connection.transaction(), connection.cursor() as cursor:
        for table, content in copied.items():
            with cursor.copy(f"copy {table} from stdin (format binary)") as copy:
                copy.write(content)
    connection.execute("vacuum (analyze) person, debt")
    return people


@contextmanager
def _empty_base_a(stack: Stack) -> Iterator[str]:
    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(stack.info["base_a_dsn"], autocommit=True) as connection:
        connection.execute(f"create database {name}")
        try:
            dsn = make_conninfo(stack.info["base_a_dsn"], dbname=name)
            migrate(dsn, make_conninfo(stack.info["base_a_worker_dsn"], dbname=name))
            yield dsn
        finally:
            connection.execute(f"drop database {name} with (force)")
