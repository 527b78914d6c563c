"""People, their names and streets, and tokens, sent down all paths and their failures: none of it rests anywhere in clear."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest
import urllib3

from consumidor import cpf, queues
from consumidor.local import credentials, synthetic
from consumidor.local.issuer import AUDIENCE, SCOPES
from consumidor.local.seeding import SEED
from consumidor.local.synthetic import SyntheticPerson
from consumidor.people import worker
from tests.e2e.test_people_path import NEVER, Http, drain
from tests.faults.results import record
from tests.servers.stack import PEOPLE, RunningStack
from tests.sinks import everything, message_text
from tests.tokens import Issuer, b64_json, good_claims

PLANTED = int(os.environ.get("FAULT_CPFS", "100"))  # `make faults`: 10,000
POLL = worker.WAIT + 2  # seconds after which a long poll under way has ended
CALLS = [
    ("POST", "/v1/people/requests"), ("GET", "/v1/people/responses"), ("POST", "/v1/people/responses/ack"),
    ("GET", f"/v1/score/{NEVER}"), ("GET", "/v1/events"), ("GET", "/v1/events/latest"),
]  # fmt: skip
_CPF = re.compile(r"(?<![0-9])[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}(?![0-9])")
pytestmark = pytest.mark.stack


class Secrets:
    """What must not be found."""

    def __init__(self, people: list[SyntheticPerson], tokens: list[str]) -> None:
        self.cpfs = {person.cpf for person in people}
        self.words = {person.name for person in people} | {person.address.street for person in people}
        self._first = re.compile("|".join(sorted({re.escape(words.split()[0]) for words in self.words})))
        self._lengths = {len(words) for words in self.words}
        self.tokens = tokens + [token.rpartition(".")[2] for token in tokens]

    def found_in(self, text: str) -> str:
        """What kind of secret the text holds, if any; never which."""
        if any(re.sub("[.-]", "", match) in self.cpfs for match in _CPF.findall(text)):
            return "a CPF"
        if any(token in text for token in self.tokens):
            return "a token"
        return "a name or street" if any(self._words_at(text, match.start()) for match in self._first.finditer(text)) else ""

    def _words_at(self, text: str, place: int) -> bool:
        return any(text[place : place + length] in self.words for length in self._lengths)


@pytest.mark.timeout(1800)
def test_nothing_is_found_in_any_sink(stack: RunningStack, tmp_path: Path) -> None:
    """Neither CPF, name, street nor token in logs, metrics, traces, queues, dead letters, keys, dumps, Parquet, errors or notebooks."""
    people = list(islice(synthetic.people(SEED, PEOPLE, 2026, start=synthetic.FIXED_PEOPLE), PLANTED))
    http = Http(stack, "acme")
    drain(http)
    errors = _ask_rightly_and_wrongly(stack, http, people)
    tokens = [http._token, stack.token("globex"), *_bad_tokens(stack)]
    errors += _sent_where_they_count_for_nothing(stack, http, tokens)
    secrets = Secrets(people, tokens)
    sinks = [("error bodies", error) for error in errors] + [("waiting requests", text) for text in _caught_requests(stack, http, people)]
    scanned, count = 0, 0
    for sink, text in (*sinks, *everything(stack, tmp_path)):
        scanned, count = scanned + len(text), count + 1
        assert not secrets.found_in(text), f"{secrets.found_in(text)} in {sink}"
    planted = {"cpfs": len(secrets.cpfs), "names_and_streets": len(secrets.words), "tokens": len(tokens)}
    record("leaks", {**planted, "sinks": count, "characters": scanned, "found": 0})
    assert scanned > 1_000_000
    drain(http)


def test_the_scan_finds_what_is_there() -> None:
    """Each kind of secret, planted in the midst of other text, is found."""
    person = next(synthetic.people(SEED, 10, 2026, start=5))
    secrets = Secrets([person], ["aaa.bbb.ccc"])
    for text in (person.cpf, cpf.punctuate(person.cpf), person.name, person.address.street, "aaa.bbb.ccc"):
        assert secrets.found_in(f"x\0{text} {{y}} of 12345678901234")
    assert not secrets.found_in(f"9{person.cpf} {person.name.split()[0]} 2026-01-01")


def _ask_rightly_and_wrongly(stack: RunningStack, http: Http, people: list[SyntheticPerson]) -> list[str]:
    """Send everybody down all paths; returns the bodies of all that was refused."""
    answered: set[str] = set()
    asked: set[str] = set()
    for some in queues.chunks(people, 100):
        body = {"requests": [{"cpf": person.cpf, "purpose": "credit"} for person in some]}
        asked |= {one["request_id"] for one in http("POST", "/v1/people/requests", body)[1]["requests"]}
        answered |= {one["request_id"] for one in drain(http)}
    errors = [error for person in people for error in _wrongly(http, person)]
    for person in people:
        http("GET", f"/v1/score/{cpf.punctuate(person.cpf)}")
        http("GET", f"/v1/events/latest?cpf={person.cpf}")
    _put_on_queues(stack, people[:10])
    deadline = time.monotonic() + 120
    while not asked <= answered and time.monotonic() < deadline:
        answered |= {one["request_id"] for one in drain(http)}
    assert asked <= answered
    return errors


def _wrongly(http: Http, person: SyntheticPerson) -> list[str]:
    """Refusals that would repeat what they refuse, if any did."""
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/v1/people/requests", {"cpf": person.cpf, "purpose": person.name}),
        ("POST", "/v1/people/requests", {person.cpf: 1, "cpf": person.name, "purpose": "credit"}),
        ("GET", f"/v1/score/{person.cpf}/", None),
        ("GET", f"/v1/events?cpf={person.cpf}&kind={person.cpf}&cursor={person.cpf}", None),
        ("GET", f"/v1/events?{person.cpf}=1", None),
        ("POST", "/v1/people/responses/ack", {"receipts": person.cpf}),
    ]
    refused = []
    for method, path, body in calls:
        status, answer, headers = http(method, path, body)
        assert status in (400, 404, 422), (path.split("/")[2], status)
        refused.append(json.dumps(answer, ensure_ascii=False) + str({**headers, "date": ""}))
    return refused


def _bad_tokens(stack: RunningStack) -> list[str]:
    """Expired, of a client that is not registered, of another's key, altered: each names the issuer's key and is otherwise as ours."""
    keys = credentials.parse_keys(json.loads(credentials.keys_path(stack.home).read_text()))
    ours, foreign = Issuer(keys.kid), Issuer(keys.kid)
    ours.key = keys.private
    client_id, now = stack.info["clients"]["acme"]["client_id"], int(time.time())
    good = {"iss": stack.info["issuer"], "aud": AUDIENCE, "client_id": client_id, "sub": client_id, "scope": " ".join(SCOPES)}
    head, _, signature = ours.token({**good, "jti": "true"}).split(".")
    claims = b64_json({**good_claims(), **good, "jti": "altered"})
    return [
        ours.token({**good, "iat": now - 7200, "exp": now - 3600}), ours.token({**good, "client_id": "nobody"}), foreign.token(good),
        f"{head}.{claims}.{signature}",
    ]  # fmt: skip


def _sent_where_they_count_for_nothing(stack: RunningStack, http: Http, tokens: list[str]) -> list[str]:
    """The first two are good, and go in the query string alone; bad ones in the header too. Returns what is answered."""
    answers = []
    for token, (method, path) in product(tokens, CALLS):
        query = f"{stack.info['api']}{path}?access_token={token}"
        sent = [urllib3.request(method, query)]
        if token not in tokens[:2]:
            sent.append(urllib3.request(method, stack.info["api"] + path, headers={"authorization": f"Bearer {token}"}))
        assert {answer.status for answer in sent} <= {401, 403}
        beside = http(method, f"{path}?access_token={token}")  # a good one in the header: the query is read then
        assert beside[0] in (200, 400, 404, 422), (path, beside[0])
        answers += [answer.data.decode() + str(answer.headers) for answer in sent] + [json.dumps(beside[1]) + str(beside[2])]
    return answers


def _put_on_queues(stack: RunningStack, people: list[SyntheticPerson]) -> None:
    """Events that are good and that are not, as an outside producer sends them, with the CPF in clear; and requests that are none."""
    for person in people:
        good = {"event_id": f"leak-{person.index}", "cpf": person.cpf, "kind": "card_purchase", "occurred_at": "2026-01-01T00:00:00Z",
                "institution": "Loja", "amount": 1, "currency": "BRL"}  # fmt: skip
        events = [good, {**good, "amount": None}, {**good, "kind": "bureau_inquiry"}, {"cpf": person.cpf}]
        message = queues.Outgoing(json.dumps({"version": 1, "events": events}))
        queues.send_all(stack.sqs(), stack.info["events_feed_queue"], [message, queues.Outgoing(person.cpf)])
    queues.send_all(stack.sqs(), stack.info["people_requests_queue"], [queues.Outgoing("forged")])
    stack.wait_until(lambda: not queues.backlog(stack.sqs(), stack.info["events_feed_queue"]), 60)
    time.sleep(1)


def _caught_requests(stack: RunningStack, http: Http, people: list[SyntheticPerson]) -> list[str]:
    """Request messages as they wait for the worker."""
    found: list[str] = []
    with _standing_still(stack.info["pids"]["people-worker"]):
        time.sleep(POLL)
        http("POST", "/v1/people/requests", {"requests": [{"cpf": person.cpf, "purpose": "own"} for person in people[:20]]})
        while received := queues.receive(stack.sqs(), stack.info["people_requests_queue"], visibility=1):
            found += [message_text(message) for message in received]
            if len(found) >= 20:
                break
    assert len(found) >= 20
    return found


@contextmanager
def _standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
