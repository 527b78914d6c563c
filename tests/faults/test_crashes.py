"""The worker ended at each point of its work, by kill -9 and by SIGTERM, on a real PostgreSQL and a real queue emulator."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product

import msgspec
import pytest

from consumidor import cpf, queues
from consumidor.local.aws import REGION
from consumidor.people import load
from consumidor.people.model import Address, Debt, Person, Response
from consumidor.people.request_token import Signer
from consumidor.people.vault import Vault
from consumidor.people.worker import build_worker
from consumidor.settings import Settings
from tests.faults.doomed_worker import POINTS
from tests.faults.results import LONG, record
from tests.servers.aws import AwsServer
from tests.servers.postgres import BaseA
from tests.unit.test_request_token import KEY

REQUESTS = 40  # a cell; two clients
# Seconds until what a worker had in hand is seen again. Only a kill's may be shorter than the heartbeat's 10: who stops in peace keeps it.
VISIBILITY = {"SIGKILL": 30 if LONG else 3, "SIGTERM": 30}
AT_ONCE = 3  # cells
STOPPED = POINTS if LONG else ("after SQL", "while draining")
CELLS = [*product(POINTS, ("SIGKILL",)), *product(STOPPED, ("SIGTERM",))]
PSEUDONYM_KEY = bytes(32)
CLIENTS = ("acme", "globex")
KNOWN, BIG, UNKNOWN = "46509208172", "52998224725", "11144477735"


@dataclass
class Cell:
    """What became of one cell of the matrix."""

    point: str
    signal: str
    accepted: int
    answered: int
    lost: int
    repeated: int
    foreign: int
    log_rows: int
    events: int
    seconds_to_recover: float


class Place:
    """Queues and buckets of one cell, over a Base A for all."""

    def __init__(self, server: AwsServer, base_a: BaseA, kms_key: str) -> None:
        self.run = uuid.uuid4().hex[:8]
        self.sqs, self._base_a = server.client("sqs"), base_a
        urls = {name: server.queue(f"{self.run}-{name}") for name in ("requests", "dlq", "feed", *(f"to-{client}" for client in CLIENTS))}
        for bucket in ("results", "checks"):
            server.client("s3").create_bucket(Bucket=f"{bucket}-{self.run}", CreateBucketConfiguration={"LocationConstraint": REGION})
        self.requests, self.feed, self.prefix = urls["requests"], urls["feed"], urls["to-acme"].removesuffix("acme")
        self.environment = {
            "ENVIRONMENT": "dev", "AWS_REGION": REGION, "AWS_ENDPOINT_URL": server.endpoint, "PEOPLE_REQUESTS_QUEUE_URL": urls["requests"],
            "PEOPLE_REQUESTS_DLQ_URL": urls["dlq"], "PEOPLE_RESPONSES_QUEUE_PREFIX": self.prefix, "EVENTS_FEED_QUEUE_URL": urls["feed"],
            "PEOPLE_RESULTS_BUCKET": f"results-{self.run}", "AUDIT_CHECKPOINT_BUCKET": f"checks-{self.run}",
            "PEOPLE_RESPONSE_LIMIT_BYTES": "2048", "BASE_A_DSN": base_a.worker_dsn, "BASE_A_KMS_KEY": kms_key, "METRICS_PORT": "0",
            "WORKER_THREADS": "2", "PEOPLE_SIGNING_PUBLIC_KEYS": json.dumps({"keys": [KEY.public]}),
        }  # fmt: skip

    def ask(self) -> dict[str, str]:
        """Put the requests on the queue; id -> client."""
        signer, asked = Signer(json.dumps(KEY.private)), {}
        messages = []
        for number in range(REQUESTS):
            request_id, client = str(uuid.uuid4()), CLIENTS[number % 2]
            person = cpf.pseudonym(PSEUDONYM_KEY, (KNOWN, BIG, UNKNOWN, KNOWN)[number % 4])
            asked[request_id] = client
            messages.append(queues.Outgoing(signer.sign(client, request_id, person, "credit")))
        queues.send_all(self.sqs, self.requests, messages)
        return asked

    def take(self) -> list[tuple[str, str]]:
        """(client, request id) of all responses that are there now."""
        taken = []
        for client in CLIENTS:
            while received := queues.receive(self.sqs, self.prefix + client):
                queues.delete(self.sqs, self.prefix + client, [message.receipt for message in received])
                taken += [(client, msgspec.json.decode(message.body, type=Response).request_id) for message in received]
        return taken

    def told(self) -> set[str]:
        """Ids of the inquiry events in the feed queue."""
        found = set()
        while received := queues.receive(self.sqs, self.feed):
            found |= {event["event_id"] for message in received for event in msgspec.json.decode(message.body)["events"]}
            queues.delete(self.sqs, self.feed, [message.receipt for message in received])
        return found

    def log_rows(self, request_ids: list[str]) -> int:
        """Rows of the inquiry log."""
        with self._base_a.as_owner() as owner:
            found = owner.execute("select count(*) from inquiry_log where request_id = any(%s)", (request_ids,)).fetchone()
        assert found
        return int(found[0])


@pytest.fixture
def places(ministack: AwsServer, base_a: BaseA, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """A place for each cell, and three people: one known, one with a report too big for the queue, one whom nobody knows."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    kms = ministack.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    address, debt = Address("Rua Um, 1", "Campinas", "SP", "13010-000"), Debt("Banco A", 100, "2026-03-10", "open")
    people = [Person(KNOWN, "Ana Silva", address, [debt]), Person(BIG, "Rui Souza", address, [debt] * 60)]
    load.load(base_a.owner_dsn, people, vault=Vault(kms, key), pseudonym_key=PSEUDONYM_KEY)
    return [Place(ministack, base_a, key) for _ in CELLS]


def _end_at(place: Place, point: str, name: str) -> int:
    """Let a worker run until its end; returns how it ended."""
    environment = {**os.environ, **place.environment, "FAULT_VISIBILITY": str(VISIBILITY[name])}
    command = [sys.executable, "-m", "tests.faults.doomed_worker", point, name]
    return subprocess.run(command, env=environment, timeout=120, check=False, stdout=subprocess.DEVNULL).returncode


@contextmanager
def _next_worker(place: Place) -> Iterator[None]:
    """The worker that ECS starts in its place, in threads of our own."""
    worker = build_worker(Settings.from_env("worker", place.environment))
    worker.heartbeat.start()
    threads = [threading.Thread(target=worker.run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        worker.stopping.set()
        for thread in threads:
            thread.join()
        worker.heartbeat.stop()
        worker._store.close()


def _cell(place: Place, point: str, name: str) -> Cell:
    asked = place.ask()
    ended = _end_at(place, point, name)
    assert ended == (-signal.SIGKILL if name == "SIGKILL" else 0), f"{point}, {name}: the worker ended with {ended}"
    started, answers, last = time.monotonic(), Counter(place.take()), 0.0
    with _next_worker(place):
        while len(answers) < len(asked) and time.monotonic() - started < VISIBILITY[name] + 60:
            before = len(answers)
            answers.update(place.take())
            last = time.monotonic() - started if len(answers) > before else last
            time.sleep(0.2)
    answers.update(place.take())
    foreign = sum(asked.get(request_id) != client for client, request_id in answers)
    answered = {request_id for _, request_id in answers}
    rows, events = place.log_rows(list(asked)), len(place.told() & set(asked))
    lost, repeated = len(set(asked) - answered), sum(answers.values()) - len(answers)
    return Cell(point, name, len(asked), len(answered), lost, repeated, foreign, rows, events, round(last, 1))


@pytest.mark.timeout(900)
def test_no_crash_loses_a_request(places: list[Place]) -> None:
    """Seven points, two signals: all requests answered, to their own clients, logged once and told of, whatever the worker was doing."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        cells = list(pool.map(_cell, places, *zip(*CELLS, strict=True)))
    record("crashes", [asdict(cell) for cell in cells])
    for cell in cells:
        assert (cell.answered, cell.lost, cell.foreign, cell.log_rows, cell.events) == (REQUESTS, 0, 0, REQUESTS, REQUESTS), cell
    assert not any(cell.repeated for cell in cells if cell.signal == "SIGTERM"), "a graceful stop repeats nothing"
    assert any(cell.repeated for cell in cells if cell.signal == "SIGKILL"), "a crash after the response must show"
