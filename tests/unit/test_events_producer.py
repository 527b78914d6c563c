"""Packing and publishing: every event once, in order, within SQS's limits; wrong lines named before anything is sent."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumidor.errors import CommandError, DependencyDown
from consumidor.events.model import Event, inquiry_event, read_message
from consumidor.events.producer import pack, publish, publish_file
from tests.events_doubles import ELDER, wire


class Queue:
    """Takes what it is sent; `down` refuses everything."""

    def __init__(self, *, down: bool = False) -> None:
        self.bodies: list[str] = []
        self.down = down

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803, ARG002 - boto3's names
        """As SQS."""
        if self.down:
            return {"Failed": [{"Id": entry["Id"]} for entry in Entries]}
        self.bodies += [entry["MessageBody"] for entry in Entries]
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def ids(self) -> list[str]:
        """The ids of all events sent."""
        return [json.loads(bytes(raw))["event_id"] for body in self.bodies for raw in read_message(body)]


def made(event_id: str, filler: int = 0) -> Event:
    """One of our own events."""
    return inquiry_event(event_id, "0" * 32, "acme", datetime(2026, 1, 1, tzinfo=UTC), {"purpose": "é" * filler})


@given(st.lists(st.integers(0, 4_000), max_size=400))
@settings(max_examples=30)
def test_packing_keeps_everything_in_order(fillers: list[int]) -> None:
    """Every event comes out once, in order, in messages of at most 100 events and less than 1 MiB."""
    events = [made(str(number), filler) for number, filler in enumerate(fillers)]
    bodies = list(pack(events))
    unpacked = [msgspec.json.decode(raw, type=Event).event_id for body in bodies for raw in read_message(body)]
    assert unpacked == [event.event_id for event in events]
    assert all(len(read_message(body)) <= 100 and len(body.encode()) < 1024 * 1024 for body in bodies)


def test_publishing(tmp_path: Path) -> None:
    """A file's events are sent packed, and their number returned; so are our own events."""
    file, queue = tmp_path / "events.jsonl", Queue()
    file.write_text("\n".join(json.dumps(wire(str(number))) for number in range(250)) + "\n\n")
    assert publish_file(file, queue, "url") == 250  # type: ignore[arg-type]  # a double of the one call that is used
    assert queue.ids() == [str(number) for number in range(250)]
    assert len(queue.bodies) == 3
    publish(queue, "url", [made("ours")])  # type: ignore[arg-type]  # as above
    assert queue.ids()[-1] == "ours"


def test_a_wrong_line_stops_the_file(tmp_path: Path) -> None:
    """Each wrong line is named with its number and fault, never its values, and nothing at all is sent."""
    file, queue = tmp_path / "events.jsonl", Queue()
    lines = [json.dumps(wire("a")), "", json.dumps(wire("b", cpf="465.092.081-73")), "{", json.dumps(wire("c", kind=ELDER))]
    file.write_text("\n".join(lines))
    with pytest.raises(CommandError) as refused:
        publish_file(file, queue, "url")  # type: ignore[arg-type]  # as above
    text = str(refused.value)
    assert all(part in text for part in ("line 3: cpf", "line 4: event", "line 5: kind"))
    assert "465" not in text
    assert queue.bodies == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (json.dumps(wire(colour="x")).encode().replace(b'"x"', b'"\xff"'), "event: is not UTF-8"),
        (json.dumps(wire("x")).encode().replace(b'"x"', b'"\xff"'), "event: is not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "event: is not UTF-8"),
        (json.dumps(wire(details=0)).replace(" 0", '{"a":' * 150 + "1" + "}" * 150).encode(), "details: must be an object"),
        (json.dumps(wire(details=0)).replace(" 0", "[" * 9000 + "]" * 9000).encode(), "(details|event): "),
    ],
)
def test_a_line_that_could_not_be_sent_or_read_again(tmp_path: Path, line: bytes, fault: str) -> None:
    """Bytes that are no text, in whatever member, and details without end are one line that says so."""
    file, queue = tmp_path / "events.jsonl", Queue()
    file.write_bytes(json.dumps(wire("a")).encode() + b"\n" + line + b"\n")
    with pytest.raises(CommandError, match=rf"^{file}: nothing was sent. line 2: {fault}[^\n]*$"):
        publish_file(file, queue, "url")  # type: ignore[arg-type]  # as above
    assert queue.bodies == []


def test_only_the_first_wrong_lines_are_named(tmp_path: Path) -> None:
    """A file that is wrong throughout gives one readable line."""
    file = tmp_path / "events.jsonl"
    file.write_text("{}\n" * 500)
    with pytest.raises(CommandError, match=r"line 10: .*and 490 more$"):
        publish_file(file, Queue(), "url")  # type: ignore[arg-type]  # as above


def test_what_cannot_be_sent_is_said(tmp_path: Path) -> None:
    """No such file is a command error; a queue that refuses is a dependency that is down."""
    with pytest.raises(CommandError, match="No such file"):
        publish_file(tmp_path / "none", Queue(), "url")  # type: ignore[arg-type]  # as above
    with pytest.raises(DependencyDown):
        publish(Queue(down=True), "url", [made("x")])  # type: ignore[arg-type]  # as above
