"""Events: what is read, what is refused and how it is named, and the order that does not depend on arrival."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumidor import cpf
from consumidor.errors import InvalidInput, MalformedMessage, UnknownVersion, UntrustedSender
from consumidor.events.model import (
    CLOCK_SKEW_MS,
    DETAILS_BYTES,
    DETAILS_NESTING,
    Event,
    format_ms,
    inquiry_event,
    latest_version,
    parse_time,
    read_event,
    read_message,
    to_ms,
)
from consumidor.schemas import schemas
from tests.events_doubles import ELDER, inquiry, message, person_of, wire

NOW = to_ms(datetime(2026, 11, 22, 20, 15, tzinfo=UTC))
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware by `timezones`


def nested(depth: int) -> dict[str, Any]:
    """An object with `depth` lists in it, one in the other."""
    inner: list[Any] = []
    for _ in range(depth - 1):
        inner = [inner]
    return {"deep": inner}


def read(event: dict[str, Any] | str | bytes, *, trusted: bool = True) -> Event:
    """The event as the feed reads it."""
    raw = json.dumps(event).encode() if isinstance(event, dict) else event.encode() if isinstance(event, str) else event
    return read_event(raw, NOW, lambda text: person_of(cpf.parse(text)), trusted=trusted)


def test_an_outside_event_becomes_ours() -> None:
    """The CPF becomes the pseudonym, the time UTC in milliseconds, details compact; unknown fields are ignored."""
    event = read(wire(occurred_at="2026-01-02T00:04:05.6789-03:00", details={"a": [1, 2]}, colour="blue"))
    assert (event.person, event.occurred_at, bytes(event.details)) == (person_of(ELDER), "2026-01-02T03:04:05.678Z", b'{"a":[1,2]}')


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": None}, "event_id"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "x" * 129}, "event_id"),
        ({"event_id": "😀" * 120}, "event_id"),
        ({"event_id": "a\n"}, "event_id"),
        ({"event_id": "\ta"}, "event_id"),
        ({"event_id": "a\x9fb"}, "event_id"),
        ({"event_id": 7}, "event_id"),
        ({"cpf": None}, "person"),
        ({"person": "0" * 32}, "person"),
        ({"cpf": None, "person": "0" * 31}, "person"),
        ({"cpf": None, "person": "A" * 32}, "person"),
        ({"cpf": "465.092.081-73"}, "cpf"),
        ({"cpf": 46509208172}, "cpf"),
        ({"kind": "46509208172"}, "kind"),
        ({"occurred_at": "2026-01-02"}, "occurred_at"),
        ({"occurred_at": "2026-01-02T03:04:05"}, "occurred_at"),
        ({"occurred_at": 1}, "occurred_at"),
        ({"occurred_at": "1969-12-31T23:59:59.999Z"}, "occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+10:00"}, "occurred_at"),
        ({"occurred_at": format_ms(NOW + CLOCK_SKEW_MS + 1)}, "occurred_at"),
        ({"institution": ""}, "institution"),
        ({"institution": "x" * 201}, "institution"),
        ({"amount": 129.9}, "amount"),
        ({"amount": "129"}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 2**53}, "amount"),
        ({"amount": None}, "amount"),
        ({"currency": None}, "currency"),
        ({"currency": "brl"}, "currency"),
        ({"details": []}, "details"),
        ({"details": 7}, "details"),
        ({"details": {"a": "x" * DETAILS_BYTES}}, "details"),
        ({"details": nested(DETAILS_NESTING)}, "details"),
        ({"details": nested(400)}, "details"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], field: str) -> None:
    """Each wrong field is named, and its value, which may be a CPF, is not repeated."""
    with pytest.raises(InvalidInput) as refused:
        read(wire(**changes))
    assert [wrong["field"] for wrong in refused.value.fields] == [field]
    assert "46509208172" not in str(refused.value)


@pytest.mark.parametrize("money", [{}, {"amount": 1}, {"currency": "BRL"}, {"amount": 1, "currency": "BRL"}])
def test_an_inquiry_may_name_an_amount(money: dict[str, Any]) -> None:
    """A bureau inquiry has amount and currency, or one of them, or neither; a null is as good as nothing."""
    event = read(inquiry() | {"amount": None, "currency": None} | money)
    assert (event.amount, event.currency) == (money.get("amount"), money.get("currency"))
    assert read(inquiry() | money) == event


@pytest.mark.parametrize("wrong", [{}, {"institution": ""}, {"person": "x", "amount": "a lot"}, {"details": "\ud83d"}, {"occurred_at": 1}])
def test_an_untrusted_sender_is_told_before_all_else(wrong: dict[str, Any]) -> None:
    """An inquiry of a sender who may report none is refused for that, whatever else is wrong with it; other events are read as ever."""
    with pytest.raises(UntrustedSender):
        read(inquiry() | wrong, trusted=False)
    assert read(wire(), trusted=False) == read(wire())


@pytest.mark.parametrize("event_id", ["", "a\n", "\x00", "\x85", "a" * 129, '"', "注文-1", "😀" * 119])
def test_the_schema_says_the_same_of_an_id(event_id: str) -> None:
    """The published JSON Schema takes an id exactly where the feed does; an inquiry with an amount fits it too."""
    schema = jsonschema.Draft202012Validator(schemas()["events-feed"])
    readable = True
    try:
        read(wire(event_id))
    except InvalidInput:
        readable = False
    assert schema.is_valid({"version": 1, "events": [wire(event_id)]}) == readable
    assert schema.is_valid({"version": 1, "events": [inquiry() | {"amount": 1, "currency": None}]})


@pytest.mark.parametrize("event_id", ['"quoted"', "a\\b", " ", "pedido nº 7", "注文-1", "😀" * 119, "a" * 128, "</script>", "e\u2028"])
def test_any_printable_id(event_id: str) -> None:
    """An id is any 1 to 128 characters that are no control characters, as far as Elasticsearch can take it."""
    assert read(wire(event_id)).event_id == event_id


@pytest.mark.parametrize("raw", ["", "[]", "7", "{", '{"a":' * 100_000, b'{"event_id":"\xff"}', '{"details":' + "[" * 100_000])
def test_what_is_no_event_at_all(raw: str | bytes) -> None:
    """Anything that cannot be read is bad input, however deep or broken."""
    with pytest.raises(InvalidInput):
        read(raw)


def test_the_edges_of_what_is_allowed() -> None:
    """The first and last moment, the longest id, details of exactly 8 KiB and the deepest nesting are all good."""
    filler = {"a": "x" * (DETAILS_BYTES - len('{"a":""}'))}
    deep = nested(DETAILS_NESTING - 1) | {"text": "[{" * 200 + '\\"'}
    for changes in ({"occurred_at": "1970-01-01T00:00:00Z"}, {"occurred_at": format_ms(NOW + CLOCK_SKEW_MS)}, {"details": filler}):
        read(wire("x" * 128, **changes))
    read(wire("é" * 128, details=deep))


def test_our_own_inquiry_is_read_as_it_was_made() -> None:
    """What our producers construct passes the feed's own validation unchanged."""
    made = inquiry_event(
        "r-1", person_of(ELDER), "acme", datetime(2026, 1, 2, 3, 4, 5, 678999, UTC), {"purpose": "credit", "path": "people"}
    )
    [raw] = read_message('{"version":1,"events":[' + _encoded(made) + "]}")
    assert read(bytes(raw)) == made
    assert made.occurred_at == "2026-01-02T03:04:05.678Z"


def _encoded(event: Event) -> str:
    import msgspec  # noqa: PLC0415 - only here

    return msgspec.json.encode(event).decode()


@pytest.mark.parametrize(
    "body",
    ["", "[]", "7", '"{}"', message(), '{"version":1,"events":{}}', '{"version":1}', "\ud800", '{"version":2', message(*range(101))],
)
def test_what_is_no_message(body: str) -> None:
    """What is no JSON object, or whose events are not a list of 1 to 100, is malformed."""
    with pytest.raises(MalformedMessage):
        read_message(body)


@pytest.mark.parametrize("version", ["2", "0", '"1"', "2.5", "1.0", "null", "true", "[1]", '"\\ud83d"'])
@pytest.mark.parametrize("events", ["[{}]", '"of another shape"', '["\\ud83d"]'])
def test_an_unknown_version(version: str, events: str) -> None:
    """An object whose version is anything but the integer 1 is of another version, whatever its events look like."""
    for body in (f'{{"version":{version},"events":{events}}}', f'{{"events":{events}}}', "{}"):
        with pytest.raises(UnknownVersion):
            read_message(body)


@pytest.mark.parametrize("body", [message(wire(), version=2), '{"version":0}', '{"version":2,"events":"of another shape"}'])
def test_a_version_to_come(body: str) -> None:
    """Another version is told apart from a broken message, whatever its events look like."""
    with pytest.raises(UnknownVersion):
        read_message(body)


@given(MOMENTS, MOMENTS, st.text("abc123", min_size=1), st.text("abc123", min_size=1))
def test_the_later_event_has_the_higher_version(one: datetime, other: datetime, first_id: str, second_id: str) -> None:
    """Versions order events by time, and are whole numbers that Elasticsearch can hold."""
    first, second = (latest_version(event_id, format_ms(to_ms(moment))) for event_id, moment in ((first_id, one), (second_id, other)))
    if to_ms(one) < to_ms(other):
        assert first < second
    assert 0 <= first < 2**63


@given(MOMENTS)
def test_times_come_back(moment: datetime) -> None:
    """Writing and reading a time loses nothing but what is finer than a millisecond."""
    assert parse_time(format_ms(to_ms(moment))) == to_ms(moment)
    assert parse_time(moment.isoformat()) == to_ms(moment)
