"""Base C in memory, events as producers write them, and the two handlers' settings and requests."""

import json
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from consumidor import cpf
from consumidor.errors import ConsumidorError, DependencyDown, InvalidInput
from consumidor.events.dead_letters import Letter
from consumidor.events.model import KINDS, Event, FoundEvent, history_id, latest_id, latest_version, parse_time
from consumidor.events.queries import Query
from consumidor.settings import Settings

KEY = "ab" * 32
OURS, OUTSIDER = "111111111111", "000000000000"
ELDER, YOUNGER = "46509208172", "52443289729"
SCOPE = "consumidor/events.read"


def person_of(digits: str) -> str:
    """The pseudonym under the tests' key."""
    return cpf.pseudonym(bytes.fromhex(KEY), digits)


def somebody() -> str:
    """A CPF that no other test uses, for bases that tests share."""
    base = f"{secrets.randbelow(10**9 - 1) + 1:09}"
    return base + cpf.check_digits(base)


class MemoryBaseC:
    """The store's contract in memory. `down`: does not answer; `busy` and `poison`: event ids that meet a 429 or a mapping error."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.newest: dict[str, tuple[int, Event]] = {}
        self.down = False
        self.busy: set[str] = set()
        self.poison: set[str] = set()
        self.writes = 0

    def write(self, events: Sequence[Event]) -> list[ConsumidorError | None]:
        """As BaseC."""
        self._answer()
        self.writes += 1
        return [self._write(event) for event in events]

    def history(self, query: Query, after: Sequence[Any] | None) -> list[FoundEvent]:
        """As BaseC."""
        self._answer()
        keyed = [(parse_time(event.occurred_at), event.event_id, event) for event in self.events.values() if event.person == query.person]
        chosen = [
            event
            for ms, event_id, event in sorted(keyed, key=lambda one: one[:2], reverse=True)
            if query.kind in (None, event.kind)
            and (query.since is None or ms >= query.since)
            and (query.until is None or ms < query.until)
            and (after is None or (ms, event_id) < tuple(after))
        ]
        return [_found(event) for event in chosen[: query.limit + 1]]

    def latest(self, person: str) -> list[FoundEvent | None]:
        """As BaseC."""
        self._answer()
        held = [self.newest.get(latest_id(person, kind)) for kind in KINDS]
        return [_found(one[1]) if one else None for one in held]

    def _answer(self) -> None:
        if self.down:
            raise DependencyDown("base_c")

    def _write(self, event: Event) -> ConsumidorError | None:
        if event.event_id in self.busy:
            return DependencyDown("base_c")
        if event.event_id in self.poison:
            return InvalidInput([{"field": "event", "detail": "document_parsing_exception"}])
        self.events.setdefault(history_id(event.person, event.event_id), event)
        version, place = latest_version(event.event_id, event.occurred_at), latest_id(event.person, event.kind)
        if place not in self.newest or version >= self.newest[place][0]:
            self.newest[place] = version, event
        return None


def _found(event: Event) -> FoundEvent:
    return msgspec.json.decode(msgspec.json.encode(event), type=FoundEvent)


class Buried:
    """Takes every dead letter."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self, letters: Sequence[Letter]) -> list[bool]:
        """As DeadLetters."""
        self.reasons += [letter.reason for letter in letters]
        return [True] * len(letters)


def wire(event_id: str = "e1", **changes: Any) -> dict[str, Any]:
    """A good event as an outside producer sends it, changed as given; None takes a member out."""
    event = {
        "event_id": event_id, "cpf": "465.092.081-72", "kind": "card_purchase", "occurred_at": "2026-01-02T03:04:05.678Z",
        "institution": "Banco Aurora", "amount": 12990, "currency": "BRL", "details": {"merchant_category": "5411"},
    } | changes  # fmt: skip
    return {name: value for name, value in event.items() if value is not None}


def inquiry(event_id: str = "i1", **changes: Any) -> dict[str, Any]:
    """A bureau inquiry as our own producers send it."""
    return wire(event_id, kind="bureau_inquiry", cpf=None, person=person_of(ELDER), amount=None, currency=None, **changes)


def message(*events: Any, version: int = 1) -> str:
    """A feed message."""
    return json.dumps({"version": version, "events": events})


def batch(*bodies: str, sender: str = f"{OURS}:session") -> dict[str, Any]:
    """An SQS batch as Lambda gets it; the messages are m0, m1, ..."""
    return {
        "Records": [{"messageId": f"m{number}", "body": body, "attributes": {"SenderId": sender}} for number, body in enumerate(bodies)]
    }


def settings(process: str, base_c_url: str = "http://127.0.0.1:1", **changes: str) -> Settings:
    """The settings of `search` or `feed` in the tests."""
    return Settings.from_env(process, {
        "ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "BASE_C_URL": base_c_url, "EVENTS_FEED_DLQ_URL": "http://127.0.0.1:1/dlq",
        "INQUIRY_SENDERS": OURS, "PSEUDONYM_KEY": KEY, "CLIENTS": '{"id-of-acme": "acme"}', **changes})  # fmt: skip


def request(path: str, query: str = "", claims: Any = ...) -> dict[str, Any]:
    """A payload 2.0 event as the authorizer lets it through; `claims` None leaves the authorizer out."""
    given = {"client_id": "id-of-acme", "scope": f"openid {SCOPE}"} if claims is ... else claims
    context = {} if given is None else {"authorizer": {"jwt": {"claims": given, "scopes": [SCOPE]}}}
    return {"version": "2.0", "rawPath": path, "rawQueryString": query, "requestContext": context}
