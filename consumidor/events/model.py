"""What the events path speaks of: an event, the message that carries events, the ids and versions that make the feed exact. Pure."""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec

from consumidor.errors import ConsumidorError, FieldError, InvalidInput, MalformedMessage, UnknownVersion

Kind = Literal["bureau_inquiry", "financial_movement", "card_purchase"]
KINDS: tuple[str, ...] = get_args(Kind)
MESSAGE_VERSION = 1
MESSAGE_EVENTS = 100  # events in one message, at most
DETAILS_BYTES = 8 * 1024  # of compact JSON
CLOCK_SKEW_MS = 5 * 60 * 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Patterns as JSON Schema knows them; a `$` of Python's also stands before a line break at the end, and none may follow.
PERSON = re.compile(r"^[0-9a-f]{32}$(?!\n)")
_SAFE_INTEGER = 2**53 - 1  # RFC 8259: the largest integer that every JSON reader agrees on
_NOTHING = msgspec.Raw(b"{}")
_RFC3339 = Annotated[datetime, msgspec.Meta(tz=True)]
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class Event(msgspec.Struct, frozen=True):
    """One event of a person, as Base C stores it and our own producers send it.

    `occurred_at` is RFC 3339 UTC in milliseconds, `amount` integer cents; both `amount` and `currency` are null for an inquiry.
    """

    event_id: str
    person: str
    kind: Kind
    occurred_at: str
    institution: str
    amount: int | None
    currency: str | None
    details: msgspec.Raw = _NOTHING


class WireEvent(msgspec.Struct):
    """An event as any producer sends it, unknown fields ignored; `read_event` makes it an Event."""

    event_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:~-]{1,128}$(?!\n)")]
    kind: Kind
    occurred_at: _RFC3339
    institution: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    person: Annotated[str, msgspec.Meta(pattern=PERSON.pattern)] | None = None
    cpf: str | None = None
    amount: Annotated[int, msgspec.Meta(ge=-_SAFE_INTEGER, le=_SAFE_INTEGER)] | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")] | None = None
    details: msgspec.Raw = _NOTHING


class Envelope(msgspec.Struct):
    """A message of the feed queue, its events still to be read."""

    version: int
    events: msgspec.Raw = _NOTHING


_wire = msgspec.json.Decoder(WireEvent)
_envelope = msgspec.json.Decoder(Envelope)
_event_list = msgspec.json.Decoder(list[msgspec.Raw])


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970 (what is finer is cut off)."""
    return (moment - _EPOCH) // _MILLISECOND


def format_ms(ms: int) -> str:
    """`1795378500000` -> `2026-11-22T20:15:00.000Z`."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time with its offset; ValueError for anything else."""
    try:
        return to_ms(msgspec.convert(text, _RFC3339))
    except msgspec.ValidationError:
        raise ValueError("must be an RFC 3339 time such as 2026-11-22T20:15:00Z") from None


def inquiry_event(event_id: str, person: str, institution: str, occurred_at: datetime, details: dict[str, Any]) -> Event:
    """The event of an answered people or score request; `institution` is the client who asked, `details` hold purpose and path."""
    return Event(
        event_id=event_id,
        person=person,
        kind="bureau_inquiry",
        occurred_at=format_ms(to_ms(occurred_at)),
        institution=institution,
        amount=None,
        currency=None,
        details=msgspec.Raw(msgspec.json.encode(details)),
    )


def read_message(body: str | bytes) -> list[msgspec.Raw]:
    """The events of a feed message, each still to be read on its own.

    Raises:
        MalformedMessage: not JSON of that shape, or no event in it.
        UnknownVersion: a version other than 1.
    """
    try:
        envelope = _envelope.decode(body)
        version, events = envelope.version, _event_list.decode(envelope.events) if envelope.version == MESSAGE_VERSION else []
    except _UNREADABLE:
        version, events = _read_loosely(body)
    if version != MESSAGE_VERSION:
        raise UnknownVersion(f"version {version} is not known here")
    if not events:
        raise MalformedMessage("a message holds at least one event")
    return events


def _read_loosely(body: str | bytes) -> tuple[int, list[msgspec.Raw]]:
    """The way in for a message of which msgspec refuses a part, such as an escape that is half a character.

    The json module lets that pass, so that one such event is refused by itself and not with its neighbours.
    """
    try:
        content = json.loads(body)
        version, events = content["version"], content["events"]
        if type(version) is int and type(events) is list:
            return version, [msgspec.Raw(json.dumps(event).encode()) for event in events]
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise MalformedMessage('not {"version": 1, "events": [...]}')


def read_event(raw: bytes | msgspec.Raw, now_ms: int, person_of: Callable[[str], str]) -> Event:
    """Validate one event; `person_of` turns a CPF into the person's pseudonym (or refuses it).

    Raises:
        InvalidInput: names the wrong field, never its value.
    """
    try:
        wire = _wire.decode(raw)
    except _UNREADABLE as error:
        raise InvalidInput([_fault(str(error))]) from None
    ms = to_ms(wire.occurred_at)
    details = msgspec.json.format(wire.details, indent=-1)
    _check_values(wire, ms, now_ms, details)
    return Event(
        event_id=wire.event_id,
        person=wire.person or _person(wire.cpf, person_of),
        kind=wire.kind,
        occurred_at=format_ms(ms),
        institution=wire.institution,
        amount=wire.amount,
        currency=wire.currency,
        details=msgspec.Raw(details),
    )


def _check_values(wire: WireEvent, ms: int, now_ms: int, details: bytes) -> None:
    """What a field's type alone cannot say."""
    wrong: list[FieldError] = []
    if (wire.person is None) == (wire.cpf is None):
        wrong.append({"field": "person", "detail": "exactly one of person and cpf must be given"})
    if not 0 <= ms <= now_ms + CLOCK_SKEW_MS:
        wrong.append({"field": "occurred_at", "detail": "must be from 1970 to five minutes from now"})
    if not details.startswith(b"{") or len(details) > DETAILS_BYTES:
        wrong.append({"field": "details", "detail": f"must be an object of at most {DETAILS_BYTES} bytes"})
    inquiry = wire.kind == "bureau_inquiry"
    for field, value in (("amount", wire.amount), ("currency", wire.currency)):
        if (value is None) != inquiry:
            wrong.append({"field": field, "detail": f"must {'' if inquiry else 'not '}be null for a {wire.kind}"})
    if wrong:
        raise InvalidInput(wrong)


def _person(cpf: str | None, person_of: Callable[[str], str]) -> str:
    try:
        return person_of(cpf or "")
    except ConsumidorError as error:
        raise InvalidInput([{"field": "cpf", "detail": error.detail}]) from None


def _fault(message: str) -> FieldError:
    """A sentence of msgspec as a field and a detail; a value it may quote is left out."""
    if missing := re.match(r"Object missing required field `(\w+)`", message):
        return {"field": missing[1], "detail": "is missing"}
    detail, _, path = message.partition(" - at `$.")
    if detail.startswith("Invalid enum value"):
        detail = f"must be one of {', '.join(KINDS)}"
    return {"field": path.rstrip("`") or "event", "detail": detail}


def history_id(person: str, event_id: str) -> str:
    """`_id` in the history index: a repeated event meets itself."""
    return f"{person}:{event_id}"


def latest_id(person: str, kind: str) -> str:
    """`_id` in the latest index: one document a person and kind."""
    return f"{person}:{kind}"


def latest_version(event_id: str, occurred_at: str) -> int:
    """Which of two events is the later, whatever order they arrive in: the time in ms << 20 | 20 bits of the id's SHA-256.

    So events of the same millisecond have an order of their own too. Fits Elasticsearch's 63-bit external versions until 2248.
    """
    tie = int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:3]) >> 4
    return to_ms(datetime.fromisoformat(occurred_at)) << 20 | tie


class FoundEvent(msgspec.Struct):
    """An event as a caller gets it: without the person, whom the caller named."""

    event_id: str
    kind: Kind
    occurred_at: str
    institution: str
    amount: int | None
    currency: str | None
    details: msgspec.Raw = msgspec.field(default_factory=lambda: _NOTHING)  # a plain default could not be shown in OpenAPI


class EventsPage(msgspec.Struct):
    """A page of a person's events, newest first; `next` is the cursor of the page after, null at the end."""

    events: list[FoundEvent]
    next: str | None


class LatestEvents(msgspec.Struct):
    """The latest event of each kind, null where there is none."""

    bureau_inquiry: FoundEvent | None
    financial_movement: FoundEvent | None
    card_purchase: FoundEvent | None
