"""The worker's SQS and PostgreSQL calls in batches of the same size, with no logic around them: the least that the path can cost.

Nothing is verified, unsealed, packed, logged or counted, and answers are the same text for all.
"""

import uuid
from typing import Any

from consumidor.packing import BATCH
from consumidor.people.request_token import Request
from consumidor.people.store import PeopleStore
from consumidor.people.worker import GATHER
from consumidor.queues import VISIBILITY
from consumidor.settings import Settings

_RESPONSE, _EVENT = "." * 600, "." * 280  # characters, as many as the worker sends for one of these people
_SYSTEM, _ALL = ["ApproximateReceiveCount", "SentTimestamp"], ["All"]


class RawCalls:
    """Boto3's own methods and one call of the store; `clients` and `persons` stand for what true requests would name."""

    def __init__(self, settings: Settings, sqs: Any, store: PeopleStore, clients: list[str], persons: list[str]) -> None:
        self._requests, self._feed = settings.people_requests_queue_url, settings.events_feed_queue_url
        self._prefix, self._clients, self._persons = settings.people_responses_queue_prefix, clients, persons
        self._sqs, self._store = sqs, store

    def work(self) -> int:
        """Until the queue is empty; returns how many."""
        answered = 0
        while receipts := self._receive():
            self._inquire(len(receipts))
            self._respond(len(receipts))
            self._sqs.send_message_batch(QueueUrl=self._feed, Entries=[{"Id": "0", "MessageBody": _EVENT * len(receipts)}])
            for start in range(0, len(receipts), BATCH):
                entries = [{"Id": str(number), "ReceiptHandle": one} for number, one in enumerate(receipts[start : start + BATCH])]
                self._sqs.delete_message_batch(QueueUrl=self._requests, Entries=entries)
            answered += len(receipts)
        return answered

    def _receive(self) -> list[str]:
        receipts: list[str] = []
        for _ in range(GATHER):
            answer = self._sqs.receive_message(
                QueueUrl=self._requests, MaxNumberOfMessages=BATCH, VisibilityTimeout=VISIBILITY,
                MessageSystemAttributeNames=_SYSTEM, MessageAttributeNames=_ALL,
            )  # fmt: skip
            found = answer.get("Messages", [])
            receipts += [message["ReceiptHandle"] for message in found]
            if len(found) < BATCH:
                break
        return receipts

    def _inquire(self, count: int) -> None:
        clients = self._clients
        self._store.inquire([
            Request(clients[number % len(clients)], str(uuid.uuid4()), self._persons[number], "credit", 0) for number in range(count)
        ])  # fmt: skip

    def _respond(self, count: int) -> None:
        """As many sends as the clients make necessary."""
        each = -(-count // len(self._clients))
        for client in self._clients:
            for start in range(0, each, BATCH):
                entries = [{"Id": str(number), "MessageBody": _RESPONSE} for number in range(min(BATCH, each - start))]
                self._sqs.send_message_batch(QueueUrl=f"{self._prefix}{client}", Entries=entries)
