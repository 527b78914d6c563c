"""An SQS in memory with a clock of its own: visibility, receipts, receive counts. Held to `tests/contract/test_queues.py`."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

LIMIT = 10  # messages of one call


@dataclass
class Message:
    """One message; `receipt` is of its last receive, and only that one is good."""

    body: str
    attributes: dict[str, Any]
    visible_at: float
    sent_at: float
    receives: int = 0
    receipt: str = ""
    old_receipts: set[str] = field(default_factory=set)


class FakeSqs:
    """The calls that `consumidor.queues` makes. `now` is its clock, in seconds; nothing waits. Any queue is there until it is deleted."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.queues: dict[str, list[Message]] = defaultdict(list)
        self._deleted: set[str] = set()
        self._receipts = count(1)

    def delete_queue(self, QueueUrl: str) -> None:  # noqa: N803 - boto3's names
        """As SQS."""
        self._deleted.add(QueueUrl)

    def _require(self, url: str) -> None:
        if url in self._deleted:
            raise ClientError({"Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue", "Message": ""}}, "call")

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's names
        """As SQS."""
        assert 0 < len(Entries) <= LIMIT
        self._require(QueueUrl)
        for entry in Entries:
            self.queues[QueueUrl].append(Message(entry["MessageBody"], entry.get("MessageAttributes", {}), self.now, self.now))
        return _all_of(Entries)

    def receive_message(self, QueueUrl: str, MaxNumberOfMessages: int = 1, VisibilityTimeout: int = 30, **_: object) -> dict[str, Any]:  # noqa: N803 - as above
        """As SQS, without waiting."""
        self._require(QueueUrl)
        visible = [message for message in self.queues[QueueUrl] if message.visible_at <= self.now][:MaxNumberOfMessages]
        for message in visible:
            message.old_receipts.add(message.receipt)
            message.receipt = f"receipt-{next(self._receipts)}"
            message.receives += 1
            message.visible_at = self.now + VisibilityTimeout
        return {"Messages": [_received(message) for message in visible]}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - as above
        """As SQS. An old receipt is accepted and does nothing, which SQS leaves open and is the worse case."""
        self._require(QueueUrl)
        known = [entry for entry in Entries if self._of(QueueUrl, entry["ReceiptHandle"], old=True)]
        for entry in Entries:
            if message := self._of(QueueUrl, entry["ReceiptHandle"]):
                self.queues[QueueUrl].remove(message)
        return _all_of(known, Entries)

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - as above
        """As SQS: only what is in flight can be changed."""
        self._require(QueueUrl)
        known = []
        for entry in Entries:
            message = self._of(QueueUrl, entry["ReceiptHandle"])
            if message and message.visible_at > self.now:
                message.visible_at = self.now + entry["VisibilityTimeout"]
                known.append(entry)
        return _all_of(known, Entries)

    def get_queue_attributes(self, QueueUrl: str, **_: object) -> dict[str, Any]:  # noqa: N803 - as above
        """The number of visible messages."""
        self._require(QueueUrl)
        visible = sum(message.visible_at <= self.now for message in self.queues[QueueUrl])
        return {"Attributes": {"ApproximateNumberOfMessages": str(visible)}}

    def _of(self, url: str, receipt: str, *, old: bool = False) -> Message | None:
        found = (message for message in self.queues[url] if message.receipt == receipt or (old and receipt in message.old_receipts))
        return next(found, None)


def _received(message: Message) -> dict[str, Any]:
    system = {"ApproximateReceiveCount": str(message.receives), "SentTimestamp": str(int(message.sent_at * 1000))}
    return {"Body": message.body, "ReceiptHandle": message.receipt, "Attributes": system, "MessageAttributes": message.attributes}


def _all_of(known: list[dict[str, Any]], entries: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    done = {entry["Id"] for entry in known}
    failed = [{"Id": entry["Id"]} for entry in entries or [] if entry["Id"] not in done]
    return {"Successful": [{"Id": each} for each in sorted(done)], "Failed": failed}
