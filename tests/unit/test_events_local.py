"""The local stand-ins of the events path: synthetic history, and the mapping between queue and handler."""

from typing import Any

import msgspec
import pytest

from consumidor import cpf
from consumidor.errors import DependencyDown
from consumidor.events.model import read_event
from consumidor.local.events_feed import SourceMapping
from consumidor.local.synthetic_events import LONGEST, count_of, events

PERSON = "0" * 32


def test_synthetic_events_are_the_same_again() -> None:
    """A person's events depend on seed and index alone, are valid, distinct and in order of time."""
    made = list(events(1, 7, PERSON, 2026))
    assert made == list(events(1, 7, PERSON, 2026)) != list(events(2, 7, PERSON, 2026))
    assert [read_event(msgspec.json.encode(event), 2**41, cpf.parse) for event in made] == made
    assert sorted(event.occurred_at for event in made) == [event.occurred_at for event in made]
    assert len({event.event_id for event in made}) == len(made)


def test_history_has_a_long_tail() -> None:
    """Most people have a handful of events, a few have ten thousand, nobody has none."""
    counts = sorted(count_of(1, index) for index in range(10_000))
    assert counts[0] >= 1
    assert counts[5_000] <= 5
    assert counts.count(LONGEST) == 3


class Queue:
    """Hands out one batch and remembers what is deleted of it."""

    def __init__(self, count: int) -> None:
        self.messages = [
            {"MessageId": f"m{n}", "ReceiptHandle": f"r{n}", "Body": f"body {n}", "Attributes": {"SenderId": "1"}} for n in range(count)
        ]
        self.deleted: list[str] = []

    def receive_message(self, **_: object) -> dict[str, Any]:
        """As SQS."""
        return {"Messages": self.messages}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803, ARG002 - boto3's names
        """As SQS."""
        self.deleted += [entry["ReceiptHandle"] for entry in Entries]
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


def test_failed_messages_stay_in_the_queue() -> None:
    """What the handler names as failed is not deleted; the rest is. The handler gets what AWS would give it."""
    queue, batches = Queue(3), []

    def handler(batch: Any, _: object) -> dict[str, Any]:
        batches.append(batch)
        return {"batchItemFailures": [{"itemIdentifier": "m1"}]}

    assert SourceMapping(queue, "url", handler).poll() == 2  # type: ignore[arg-type]  # a double of the two calls that are used
    assert queue.deleted == ["r0", "r2"]
    assert {name: batches[0]["Records"][0][name] for name in ("messageId", "body", "attributes")} == {
        "messageId": "m0",
        "body": "body 0",
        "attributes": {"SenderId": "1"},
    }


@pytest.mark.parametrize("fault", [DependencyDown("base_c"), RuntimeError()])
def test_when_the_handler_fails_polling_slows_down(fault: Exception) -> None:
    """Nothing is deleted, and the pause before the next poll grows up to ten seconds; a good batch ends it."""
    queue, faults = Queue(1), [fault] * 6

    def handler(_: object, __: object) -> dict[str, Any]:
        if faults:
            raise faults.pop()
        return {"batchItemFailures": []}

    mapping = SourceMapping(queue, "url", handler)  # type: ignore[arg-type]  # as above
    pauses = []
    for _ in range(7):
        mapping.poll()
        pauses.append(mapping.pause)
    assert pauses == [1, 2, 4, 8, 10, 10, 0]
    assert queue.deleted == ["r0"]
