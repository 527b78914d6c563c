"""What the events path speaks of: an event, the message that carries events, the ids and versions that make the feed exact. Pure."""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Annotated, Any, Literal, get_args

import msgspec

from consumidor.errors import ConsumidorError, FieldError, InvalidInput, MalformedMessage, UnknownVersion, UntrustedSender

Kind = Literal["bureau_inquiry", "financial_movement", "card_purchase"]
KINDS: tuple[str, ...] = get_args(Kind)
MESSAGE_VERSION = 1
MESSAGE_EVENTS = 100  # events in one message, at most
DETAILS_BYTES = 8 * 1024  # of compact JSON
DETAILS_NESTING = 100  # objects and arrays in one another; far deeper ones could be stored and then not be read again
EVENT_ID_BYTES = 512 - 33  # of UTF-8: with the person before it, an `_id` may have 512 in Elasticsearch
CLOCK_SKEW_MS = 5 * 60 * 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Patterns as JSON Schema knows them; a `$` of Python's also stands before a line break at the end, and none may follow.
PERSON = re.compile(r"^[0-9a-f]{32}$(?!\n)")
_SAFE_INTEGER = 2**53 - 1  # RFC 8259: the largest integer that every JSON reader agrees on
_NOTHING = msgspec.Raw(b"{}")
_RFC3339 = Annotated[datetime, msgspec.Meta(tz=True)]
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_NO_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^"\[\]{}]+')


class Event(msgspec.Struct, frozen=True):
    """One event of a person, as Base C stores it and our own producers send it.

    `occurred_at` is RFC 3339 UTC in milliseconds, `amount` integer cents; `amount` and `currency` are null for an inquiry that names none.
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

    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)")]
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

    version: Any = None
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
        UnknownVersion: a JSON object whose version is not the integer 1, whatever else is in it.
        MalformedMessage: no JSON object, or its events are not a list of 1 to 100.
    """
    try:
        envelope = _envelope.decode(body)
        _check_version(envelope.version)
        events = _event_list.decode(envelope.events)
    except _UNREADABLE:
        events = _read_loosely(body)
    if not 0 < len(events) <= MESSAGE_EVENTS:
        raise MalformedMessage(f"a message holds 1 to {MESSAGE_EVENTS} events")
    return events


def _check_version(version: object) -> None:
    if type(version) is not int or version != MESSAGE_VERSION:
        raise UnknownVersion(f"only version {MESSAGE_VERSION} is known here")


def _read_loosely(body: str | bytes) -> list[msgspec.Raw]:
    """The way in for a message of which msgspec refuses a part, such as an escape that is half a character.

    The json module lets that pass, so that one such event is refused by itself and not with its neighbours.
    """
    try:
        content = json.loads(body)
        if isinstance(content, dict):
            _check_version(content.get("version"))
            events = content.get("events")
            if isinstance(events, list) and len(events) <= MESSAGE_EVENTS:
                return [msgspec.Raw(json.dumps(event).encode()) for event in events]
    except (ValueError, RecursionError):
        pass
    raise MalformedMessage('not {"version": 1, "events": [...]}')


def read_event(raw: bytes | msgspec.Raw, now_ms: int, person_of: Callable[[str], str], *, trusted: bool = True) -> Event:
    """Validate one event; `person_of` turns a CPF into the person's pseudonym (or refuses it), `trusted` senders may report inquiries.

    Raises:
        UntrustedSender: an inquiry from a sender who is not trusted, right or wrong otherwise.
        InvalidInput: names the wrong field, never its value.
    """
    try:
        wire = _wire.decode(raw)
    except _UNREADABLE as error:
        _check_sender(_kind_of(raw), trusted=trusted)
        raise InvalidInput([_fault(str(error))]) from None
    _check_sender(wire.kind, trusted=trusted)
    ms = to_ms(wire.occurred_at)
    details = _compact(wire.details)
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


def _check_sender(kind: object, *, trusted: bool) -> None:
    if kind == "bureau_inquiry" and not trusted:
        raise UntrustedSender("only the bureau's own services report inquiries")


def _kind_of(raw: bytes | msgspec.Raw) -> object:
    """The kind of an event that is wrong somewhere; None where even the json module, which lets more pass, cannot tell."""
    try:
        content = json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return None
    return content.get("kind") if isinstance(content, dict) else None


def _compact(details: msgspec.Raw) -> bytes:
    """Without white space; nothing where it is nested too deep even for that."""
    try:
        return msgspec.json.format(details, indent=-1)
    except _UNREADABLE:
        return b""


def _check_values(wire: WireEvent, ms: int, now_ms: int, details: bytes) -> None:
    """What a field's type alone cannot say."""
    wrong: list[FieldError] = []
    if (wire.person is None) == (wire.cpf is None):
        wrong.append({"field": "person", "detail": "exactly one of person and cpf must be given"})
    if len(wire.event_id.encode()) > EVENT_ID_BYTES:
        wrong.append({"field": "event_id", "detail": f"must have at most {EVENT_ID_BYTES} bytes in UTF-8"})
    if not 0 <= ms <= now_ms + CLOCK_SKEW_MS:
        wrong.append({"field": "occurred_at", "detail": "must be from 1970 to five minutes from now"})
    if not details.startswith(b"{") or len(details) > DETAILS_BYTES or _is_deep(details):
        wrong.append({"field": "details", "detail": f"must be an object of at most {DETAILS_BYTES} bytes, nested {DETAILS_NESTING} deep"})
    for field, value in (("amount", wire.amount), ("currency", wire.currency)):
        if value is None and wire.kind != "bureau_inquiry":
            wrong.append({"field": field, "detail": f"must not be null for a {wire.kind}"})
    if wrong:
        raise InvalidInput(wrong)


def _is_deep(details: bytes) -> bool:
    """Whether more than `DETAILS_NESTING` objects and arrays lie in one another."""
    if details.count(b"{") + details.count(b"[") <= DETAILS_NESTING:  # counted in texts too, so never too few
        return False
    brackets = _NO_BRACKETS.sub(b"", details)
    return max(accumulate(1 if bracket in b"{[" else -1 for bracket in brackets)) > DETAILS_NESTING


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
