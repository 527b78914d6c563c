"""The worker killed again and again under load: every accepted request is answered, and logged once."""

import os
import signal
import time
import uuid
from collections import Counter
from functools import partial
from typing import Any

import msgspec
import psycopg
import pytest

from consumidor import queues
from consumidor.people.model import Response
from tests.e2e.test_people_path import ELDER, Http, drain
from tests.faults.results import record
from tests.servers.stack import RunningStack

REQUESTS = int(os.environ.get("FAULT_REQUESTS", "1000"))  # the README's figures are of 5,000
KILLS = int(os.environ.get("FAULT_KILLS", "2"))  # ... and of five kills
SILENCE = 90  # seconds without an answer after which no more are waited for: thrice the visibility of what a killed worker had in hand
pytestmark = pytest.mark.stack


def test_kills_under_load_lose_nothing(stack: RunningStack) -> None:
    """By kill -9 in the midst of answering, again and again: each accepted id is answered, and the log has each once and verifies."""
    http = Http(stack, "acme")
    drain(http)
    body = {"requests": [{"cpf": ELDER, "purpose": "credit"}] * 100}
    accepted = [one["request_id"] for _ in range(REQUESTS // 100) for one in http("POST", "/v1/people/requests", body)[1]["requests"]]
    with psycopg.connect(stack.info["base_a_dsn"], autocommit=True) as connection:
        kills = _kill_while_answering(stack, connection, accepted)
        answered: Counter[str] = Counter()
        sqs, url, came = stack.sqs(), stack.info["people_responses_prefix"] + "acme", time.monotonic()
        while len(answered) < len(accepted) and time.monotonic() < came + SILENCE:
            if taken := _take(sqs, url):
                answered.update(taken)
                came = time.monotonic()
        rows = _logged(connection, accepted)
    lost, repeated = set(accepted) - set(answered), sum(answered.values()) - len(answered)
    found = {"accepted": len(accepted), "answered": len(answered), "lost": len(lost), "repeated": repeated, "log_rows": rows}
    found["kills"] = kills
    record("kills_under_load", found)
    assert (lost, kills, rows) == (set(), KILLS, len(accepted))
    assert set(answered) == set(accepted)
    assert '"differences": []' in stack.run("audit", "verify", "--json")
    stack.wait_until(stack.is_healthy, 20)


def _kill_while_answering(stack: RunningStack, connection: psycopg.Connection, accepted: list[str]) -> int:
    """Kill the worker each time another part of the requests is in the log, which is between the SQL and the delete."""
    killed: set[int | None] = {None}
    for kill in range(KILLS):
        wanted = (kill + 1) * len(accepted) // (KILLS + 2)
        stack.wait_until(partial(_has_logged, connection, accepted, wanted), 90)
        stack.wait_until(lambda: _worker(stack) not in killed, 10)  # the next one, where the last was killed a moment ago
        killed.add(_worker(stack))
        os.kill(stack.info["pids"]["people-worker"], signal.SIGKILL)
    return len(killed) - 1


def _worker(stack: RunningStack) -> int | None:
    """The process id of the worker, None while there is none."""
    pid: int | None = stack.info["pids"].get("people-worker")
    return pid


def _has_logged(connection: psycopg.Connection, request_ids: list[str], wanted: int) -> bool:
    return _logged(connection, request_ids) >= wanted


def _logged(connection: psycopg.Connection, request_ids: list[str]) -> int:
    found = connection.execute("select count(*) from inquiry_log where request_id = any(%s)", (request_ids,)).fetchone()
    assert found
    return int(found[0])


def _take(sqs: Any, url: str) -> list[str]:
    """Request ids in a response queue now, straight from SQS as a client with a role of its own would."""
    received = queues.receive(sqs, url, wait=1)
    queues.delete(sqs, url, [message.receipt for message in received])
    return [msgspec.json.decode(message.body, type=Response).request_id for message in received]


def test_a_stop_under_load_drains(stack: RunningStack) -> None:
    """SIGTERM while requests wait: what is in hand is answered first, and the rest by the next worker."""
    http = Http(stack, "globex")
    drain(http)
    body = {"requests": [{"cpf": ELDER, "purpose": "own"}] * 100}
    accepted = {
        one["request_id"] for one in http("POST", "/v1/people/requests", body, **{"idempotency-key": uuid.uuid4().hex})[1]["requests"]
    }
    os.kill(stack.info["pids"]["people-worker"], signal.SIGTERM)
    answered: Counter[str] = Counter()
    deadline = time.monotonic() + 60
    while set(answered) < accepted and time.monotonic() < deadline:
        answered.update(one["request_id"] for one in drain(http))
    assert set(answered) == accepted
    assert sum(answered.values()) == len(accepted)  # nothing was repeated: in hand means answered and deleted
