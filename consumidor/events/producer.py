"""Sends events to the feed queue, many to a message: one for what a tenth of a second brings costs a tenth of a message each."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from consumidor.events.model import MESSAGE_EVENTS, MESSAGE_VERSION, Event

MESSAGE_BYTES = 1024 * 1024 - 16 * 1024  # under SQS's limit, with room for attributes
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


def publish(sqs: Any, queue_url: str, events: Iterable[Event]) -> None:
    """Send `events` to the feed queue through a boto3 SQS client; its errors are the caller's to judge."""
    for body in pack(events):
        sqs.send_message(QueueUrl=queue_url, MessageBody=body)
