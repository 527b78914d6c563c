"""Sends events to the feed queue, many to a message: one for what a tenth of a second brings costs a tenth of a message each."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from consumidor import cpf
from consumidor.errors import CommandError, InvalidInput
from consumidor.events.model import MESSAGE_EVENTS, MESSAGE_VERSION, Event, read_event
from consumidor.queues import Outgoing, send_all

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

MESSAGE_BYTES = 1024 * 1024 - 16 * 1024  # under SQS's limit, with room for attributes
_SHOWN = 10  # wrong lines named in one error
_HEAD, _TAIL = f'{{"version":{MESSAGE_VERSION},"events":[', "]}"


def pack(events: Iterable[Event]) -> Iterator[str]:
    """Feed messages that together carry `events` in order, each of at most 100 events and under 1 MiB."""
    return pack_encoded(msgspec.json.encode(event).decode() for event in events)


def pack_encoded(events: Iterable[str]) -> Iterator[str]:
    """As `pack`, of events that are JSON objects already."""
    batch: list[str] = []
    size = 0
    for event in events:
        length = len(event.encode()) + 1
        if batch and (len(batch) == MESSAGE_EVENTS or size + length > MESSAGE_BYTES):
            yield _HEAD + ",".join(batch) + _TAIL
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield _HEAD + ",".join(batch) + _TAIL


def publish(sqs: "SQSClient", queue_url: str, events: Iterable[Event]) -> None:
    """Send events to the feed queue.

    Raises:
        DependencyDown: some were not sent; to send them all again does no harm.
    """
    send_all(sqs, queue_url, [Outgoing(body) for body in pack(events)])


def publish_file(path: Path, sqs: "SQSClient", queue_url: str) -> int:
    """Send the events of a JSON-lines file, as an outside producer does; returns how many. Nothing is sent if any line is wrong.

    Raises:
        CommandError: no such file, or wrong lines, each named with what is wrong (the first ten).
        DependencyDown: some were not sent.
    """
    try:
        lines = {number: line for number, line in enumerate(path.read_bytes().split(b"\n"), 1) if line.strip()}
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    now_ms = int(time.time() * 1000)
    wrong = [f"line {number}: {fault}" for number, line in lines.items() if (fault := _fault(line, now_ms))]
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise CommandError(f"{path}: nothing was sent. " + "; ".join(wrong[:_SHOWN] + more))
    send_all(sqs, queue_url, [Outgoing(body) for body in pack_encoded(line.decode() for line in lines.values())])
    return len(lines)


def _fault(line: bytes, now_ms: int) -> str | None:
    try:
        line.decode()  # a reader skips over what it ignores
        read_event(line, now_ms, cpf.parse)
    except UnicodeDecodeError:
        return "event: is not UTF-8"
    except InvalidInput as error:
        return error.detail
    return None
