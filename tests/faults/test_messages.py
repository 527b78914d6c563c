"""What comes in is read or refused, whatever it is: messages, cursors, bodies and tokens by hypothesis; messages against their schemas."""

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumidor import cpf, queues
from consumidor.errors import InvalidInput, MalformedMessage, MalformedRequest, Unauthenticated, UnknownVersion
from consumidor.events.feed import Doors, Item, _read_record, dead_letter
from consumidor.events.model import read_event, read_message
from consumidor.events.queries import Cursors, Query
from consumidor.people import worker
from consumidor.people.model import Debt
from consumidor.people.request_token import RefusedRequest, Request, RequestVerifier
from consumidor.schemas import schemas
from tests.e2e.test_people_path import BIG, ELDER, NEVER, Http, drain
from tests.faults.results import record
from tests.servers.stack import RunningStack
from tests.tokens import Issuer, b64, b64_json
from tests.unit.test_auth import verifier_of
from tests.unit.test_request_token import KEY, good_claims

EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "200"))  # of each; `make faults`: 5,000
NOW = int(time.time() * 1000)
SCHEMAS = schemas()
POLL = worker.WAIT + 2  # seconds after which a long poll under way has ended, and takes nothing more
PASSED: set[str] = set()  # properties that held for all their examples
few_or_many = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize="FAULT_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8
)
EVENT = {"event_id": "e-1", "cpf": "465.092.081-72", "kind": "card_purchase", "occurred_at": "2026-01-02T03:04:05Z", "institution": "Loja",
         "amount": 100, "currency": "BRL", "details": {"a": 1}}  # fmt: skip
DOORS = Doors(bytes(32), frozenset({"111111111111"}), lambda: NOW)


def fuzzed(*examples: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """A property of any such examples, noted once it has held for all."""

    def to_property(test: Callable[..., None]) -> Callable[[], None]:
        tried = few_or_many(given(*examples)(test))

        @wraps(tried)
        def run() -> None:
            tried()
            PASSED.add(test.__name__)

        return run

    return to_property


def altered(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A good object with some members replaced by anything, taken out or added."""
    changes = st.dictionaries(st.sampled_from([*good, "more", "person"]), anything, max_size=3)
    return st.tuples(changes, st.sets(st.sampled_from(list(good)), max_size=2)).map(
        lambda change: {name: value for name, value in (good | change[0]).items() if name not in change[1]}
    )


@fuzzed(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | anything.map(json.dumps))
def test_any_text_as_a_request_message(text: str) -> None:
    """Whatever stands in the request queue is refused for a reason, and nobody is told of it."""
    refused = RequestVerifier(json.dumps({"keys": [KEY.public]})).verify(text)
    assert isinstance(refused, RefusedRequest)
    assert (refused.client, refused.request_id) == (None, None)


@fuzzed(altered({"alg": "EdDSA", "typ": "people-request+jwt", "kid": "sign-1"}), altered(good_claims()))
def test_any_signed_claims(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """With a true signature over any header and claims, the outcome is a request exactly where the schema says so."""
    signing_input = f"{b64_json(header)}.{b64_json(claims)}"
    outcome = RequestVerifier(json.dumps({"keys": [KEY.public]})).verify(f"{signing_input}.{b64(KEY.key.sign(signing_input.encode()))}")
    if isinstance(outcome, Request):
        jsonschema.validate(claims, SCHEMAS["people-requests"])
        assert (outcome.client, outcome.request_id) == (claims["sub"], claims["jti"])
    else:
        assert not outcome.error.retryable


@fuzzed(st.text() | anything.map(json.dumps) | altered({"version": 1, "events": [EVENT]}).map(json.dumps))
def test_any_text_as_a_feed_message(text: str) -> None:
    """Whatever stands in the feed queue is events or a dead letter, and no dead letter has the CPF."""
    items = _read_record({"body": text, "attributes": {"SenderId": "test"}}, DOORS)
    assert items
    for item in items:
        assert item.event or item.error
        _check_letter(item)


@fuzzed(altered(EVENT))
def test_any_event(event: dict[str, Any]) -> None:
    """An event is refused for a named field or fits the schema; what is kept of a refused one has no CPF and can be sent again."""
    raw = json.dumps(event).encode()
    refused: InvalidInput | None = None
    try:
        read_event(raw, NOW, DOORS.person)
    except InvalidInput as error:
        refused = error
    if refused is None:
        jsonschema.validate({"version": 1, "events": [event]}, SCHEMAS["events-feed"])
    else:
        assert refused.fields
        _check_letter(Item(raw, error=refused))


def _check_letter(item: Item) -> None:
    if item.error is None:
        return
    letter = dead_letter(item, type(item.error).__name__, DOORS)
    for text in ("465.092.081-72", "46509208172"):
        assert text not in letter
    if '"events"' in letter and not isinstance(item.error, UnknownVersion):
        assert len(read_message(letter)) == 1


@fuzzed(st.text())
def test_any_text_as_a_cursor(text: str) -> None:
    """A cursor that was not given is a 400, whatever it is."""
    query = Query("acme", "ab" * 16, None, None, None, 20)
    with pytest.raises(MalformedRequest):
        Cursors(bytes(32)).read(query, text)


ISSUER_OF_TOKENS = Issuer()
VERIFIER = verifier_of(ISSUER_OF_TOKENS)


@fuzzed(st.text(), st.integers(0, 2000), st.characters())
def test_any_text_as_a_token(text: str, place: int, letter: str) -> None:
    """Text is no token, and a token with any one letter altered, added or left out is none either."""
    token = ISSUER_OF_TOKENS.token({"jti": "fixed"})
    place %= len(token)
    for wrong in (
        text,
        token[:place] + letter + token[place:],
        token[:place] + token[place + 1 :],
        token[:place] + letter + token[place + 1 :],
    ):
        if wrong == token:
            continue
        with pytest.raises(Unauthenticated):
            VERIFIER.verify(wrong)


@fuzzed(st.text(max_size=20) | st.from_regex(r"\A[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}\Z"))
def test_any_text_as_a_cpf(text: str) -> None:
    """A CPF is eleven digits or it is refused, in words that do not repeat it."""
    refusal = ""
    try:
        assert cpf.parse(text) == text.replace(".", "").replace("-", "")
    except cpf.InvalidCpf as error:
        refusal = error.detail
    assert len(text) < 4 or text not in refusal


def test_the_fuzz_is_told() -> None:
    """How many properties there are here, that each has held, and how many examples it was tried on."""
    properties = [name for name, test in globals().items() if name.startswith("test_any") and hasattr(test, "hypothesis")]
    assert len(properties) == 7
    failures = len(set(properties) - PASSED)
    assert failures == 0, "run the whole file: it tells of properties that have held in this run"
    examples = EXAMPLES * len(properties)
    record("parsing_fuzz", {"properties": len(properties), "examples_of_each": EXAMPLES, "examples": examples, "failures": failures})


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"version": 1}', '{"version": 2, "events": []}', '{"version": "1", "events": [{}]}'])
def test_messages_that_are_none(body: str) -> None:
    """What is no message of version 1 is said to be malformed or of another version."""
    with pytest.raises((MalformedMessage, UnknownVersion)):
        read_message(body)


@pytest.mark.parametrize("field", ["creditor", "due_on"])
def test_a_line_break_at_the_end_is_no_part_of_a_field(field: str) -> None:
    """Patterns hold to the very end of a text."""
    good = {"creditor": "Banco", "amount_cents": 1, "due_on": "2026-01-01", "status": "open"}
    assert msgspec.convert(good, Debt)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**good, field: good[field] + "\n"}, Debt)  # type: ignore[operator]  # both are text


@pytest.mark.stack
def test_messages_of_the_real_queues_fit_their_schemas(stack: RunningStack) -> None:
    """A request, its response and its event, caught in their queues while whoever would take them stands still."""
    http, sqs = Http(stack, "acme"), stack.sqs()
    drain(http)
    with _standing_still(stack, "events-feed"):
        with _standing_still(stack, "people-worker"):
            time.sleep(POLL)
            http("POST", "/v1/people/requests", {"requests": [{"cpf": each, "purpose": "credit"} for each in (ELDER, BIG, NEVER)]})
            for request in _caught(sqs, stack.info["people_requests_queue"], 3):
                _check("people-requests", json.loads(base64.urlsafe_b64decode(request.split(".")[1] + "==")))
        for response in _caught(sqs, stack.info["people_responses_prefix"] + "acme", 3):
            _check("people-responses", json.loads(response))
        for feed in _caught(sqs, stack.info["events_feed_queue"], 1):
            _check("events-feed", json.loads(feed))
    assert len({response["request_id"] for response in drain(http, 3)}) == 3


@contextmanager
def _standing_still(stack: RunningStack, name: str) -> Iterator[None]:
    pid = stack.info["pids"][name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _caught(sqs: Any, url: str, count: int) -> list[str]:
    """The bodies of at least so many messages, which are back in the queue a second later."""
    found: dict[str, str] = {}
    deadline = time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        found |= {message.body: message.body for message in queues.receive(sqs, url, wait=1, visibility=1)}
    assert len(found) >= count
    return list(found)


def _check(queue: str, message: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMAS[queue]).validate(message)
