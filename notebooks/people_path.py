"""What 03_people_path watches: the hops of one request, reports of any length, and what becomes of requests when the worker is killed."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

import jwt
import msgspec
import psycopg
from bureau import HOME, aws, bureau, call, command, responses_queue, stack, until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumidor import cpf, queues
from consumidor.local.running import read_stack
from consumidor.people.model import Delivery, Response
from consumidor.people.request_token import Signer

HOPS = ("POST to 202", "202 to logged in Base A", "logged to response queue", "response queue to client", "logged to Base C")
_sqs = aws("sqs")


class Entry(NamedTuple):
    """One request and its response, and the moments it passed, in seconds since 1970."""

    request_id: str
    response: Response
    posted: float
    accepted: float
    logged: float
    responded: float
    received: float
    told: float

    def hops(self) -> dict[str, tuple[float, float]]:
        """From when to when each hop took, in seconds since the POST."""
        ends = ((self.posted, self.accepted), (self.accepted, self.logged), (self.logged, self.responded), (self.responded, self.received))
        return {
            name: (start - self.posted, end - self.posted)
            for name, (start, end) in zip(HOPS, (*ends, (self.logged, self.told)), strict=True)
        }


def follow(number: str, base_a: psycopg.Connection) -> Entry:
    """Ask about one CPF and note when it passes each hop; the response is read straight from its queue, as a client's IAM role would."""
    posted = time.time()
    request_id = call("POST", "/v1/people/requests", {"cpf": number, "purpose": "credit"})["request_id"]
    accepted = time.time()
    message, received = next((message, time.time()) for message in _taken() if _read(message).request_id == request_id)
    until(lambda: (call("GET", f"/v1/events/latest?cpf={number}")["bureau_inquiry"] or {}).get("event_id") == request_id)
    told = time.time()
    (logged,) = base_a.execute("select extract(epoch from at)::float8 from inquiry_log where request_id = %s", (request_id,)).fetchone()
    return Entry(request_id, _read(message), posted, accepted, logged, message.sent_at, received, told)


def _taken() -> Iterator[queues.Received]:
    """Messages of our response queue as they come, deleted as they are handed out."""
    while True:
        for message in queues.receive(_sqs, responses_queue, wait=2):
            queues.delete(_sqs, responses_queue, [message.receipt])
            yield message


def _read(message: queues.Received) -> Response:
    return msgspec.json.decode(message.body, type=Response)


def load_debtors(counts: list[int]) -> list[str]:
    """Load made-up people with so many debts each, by `consumidor load`; their CPFs."""
    numbers = [base + cpf.check_digits(base) for base in (f"{900_000_000 + count:09}" for count in counts)]
    address = {"street": "Rua Inventada, 1", "city": "Recife", "state": "PE", "postal_code": "50010-000"}
    debt = {"creditor": "Banco Exemplo", "amount_cents": 12_990, "due_on": "2026-03-10", "status": "open"}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for number, count in zip(numbers, counts, strict=True):
            file.write(json.dumps({"cpf": number, "name": "Pessoa Inventada", "address": address, "debts": [debt] * count}) + "\n")
        file.flush()
        assert command("load", file.name)["people"] == len(counts)
    return numbers


def deliveries(numbers: list[str]) -> list[Delivery]:
    """The response about each CPF as the API hands it out; reports behind links are fetched and checked."""
    with bureau() as client:
        pending = client.submit_many([(number, "own") for number in numbers])
        assert all(one.result(60).report for one in pending)
        return [one.future.result() for one in pending]


class Killed(NamedTuple):
    """What became of requests whose worker was killed. Moments in seconds since the first POST; a response is (when sent, id)."""

    accepted: list[str]
    responses: list[tuple[float, str]]
    killed: float
    logged: int


def kill_the_worker(number: str, requests: int, base_a: psycopg.Connection) -> Killed:
    """Send requests, kill -9 the worker once a fifth of them is in Base A's log, and take responses until each request has one."""
    started = time.time()
    body = {"requests": [{"cpf": number, "purpose": "credit"}] * 100}
    accepted = [one["request_id"] for _ in range(requests // 100) for one in call("POST", "/v1/people/requests", body)["requests"]]
    until(lambda: _logged(base_a, accepted) >= requests // 5)
    worker = read_stack(HOME)["pids"]["people-worker"]
    os.kill(worker, signal.SIGKILL)
    killed = time.time() - started
    responses: list[tuple[float, str]] = []
    for message in _taken():
        responses.append((message.sent_at - started, _read(message).request_id))
        if {request_id for _, request_id in responses} >= set(accepted):
            break
    return Killed(accepted, sorted(responses), killed, _logged(base_a, accepted))


def _logged(base_a: psycopg.Connection, request_ids: list[str]) -> int:
    (count,) = base_a.execute("select count(*) from inquiry_log where request_id = any(%s)", (request_ids,)).fetchone()
    return count


def forge(person: str) -> str:
    """A request message that is right in all but its key: made and signed as the people API does, by a key of our own."""
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    return Signer(json.dumps({**jwk, "kid": "ours"})).sign("notebook", "00000000-0000-4000-8000-000000000000", person, "credit")


def dead_letter(message: str) -> str:
    """Send a message straight to the request queue and wait for it among the dead letters, out of which it is taken: the reason."""
    _sqs.send_message(QueueUrl=stack["people_requests_queue"], MessageBody=message)
    found = until(lambda: [one for one in queues.receive(_sqs, stack["people_requests_dlq"], wait=1, visibility=2) if one.body == message])
    queues.delete(_sqs, stack["people_requests_dlq"], [found[0].receipt])
    return found[0].attributes["reason"]


def shows(number: str, content: object) -> bool:
    """Whether a CPF, with or without punctuation, stands somewhere in what is kept."""
    return cpf.parse(number) in json.dumps(content).translate(str.maketrans("", "", ".-"))
