"""SQS in batches: receive, send packed by count and bytes, delete, change visibility, dead letters, and the heartbeat.

Every helper handles partial failures per entry; a queue that does not answer is `DependencyDown("sqs")`, one that is not there its
subclass `NoSuchQueue`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from consumidor.errors import DependencyDown, NoSuchQueue
from consumidor.packing import BATCH, as_entry, packed, size_of

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

VISIBILITY = 30  # seconds a received message stays with its receiver
HEARTBEAT = 10.0  # seconds between extensions: two may fail before a message is seen twice
_NO_QUEUE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}  # SQS's two protocols, query and JSON

log = structlog.get_logger()
Entry = TypeVar("Entry")


class Received(NamedTuple):
    """One received message. `sent_at` is in seconds since 1970."""

    body: str
    receipt: str
    receive_count: int
    sent_at: float
    attributes: Mapping[str, str]


class Outgoing(NamedTuple):
    """One message to send, with its string attributes."""

    body: str
    attributes: Mapping[str, str] = {}

    @property
    def size(self) -> int:
        """Bytes as SQS counts them."""
        return size_of(self.body, self.attributes)


def receive(sqs: "SQSClient", url: str, *, limit: int = BATCH, wait: int = 0, visibility: int = VISIBILITY) -> list[Received]:
    """Up to `limit` (1-10) messages, waiting `wait` seconds (0-20) for the first.

    Raises:
        DependencyDown: the queue does not answer.
    """
    answer = _call(
        sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=limit, WaitTimeSeconds=wait, VisibilityTimeout=visibility,
        MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"], MessageAttributeNames=["All"],
    )  # fmt: skip
    return [_received(message) for message in answer.get("Messages", [])]


def _received(message: Mapping[str, Any]) -> Received:
    system = message.get("Attributes", {})
    attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items() if "StringValue" in value}
    sent_at = int(system.get("SentTimestamp", 0)) / 1000
    return Received(message["Body"], message["ReceiptHandle"], int(system.get("ApproximateReceiveCount", 1)), sent_at, attributes)


def send(sqs: "SQSClient", url: str, messages: Sequence[Outgoing]) -> list[DependencyDown | None]:
    """Send all, as few calls as count and bytes allow; an entry per message says None (sent) or why not. Never raises for the queue."""
    outcomes: list[DependencyDown | None] = []
    for group in packed(messages):
        entries = [as_entry(number, message.body, message.attributes) for number, message in enumerate(group)]
        try:
            done = _successful(_call(sqs.send_message_batch, QueueUrl=url, Entries=entries))
        except DependencyDown as error:
            outcomes += [error] * len(group)
            continue
        outcomes += [None if str(number) in done else DependencyDown("sqs") for number in range(len(group))]
    return outcomes


def _successful(answer: Mapping[str, Any]) -> set[str]:
    """What the queue says it did: an entry that is not named, as in an answer that is none of the queue's, counts as not done."""
    return {entry["Id"] for entry in answer.get("Successful", [])}


def send_all(sqs: "SQSClient", url: str, messages: Sequence[Outgoing]) -> None:
    """Send all or say so.

    Raises:
        DependencyDown: at least one was not sent; the others may have been.
    """
    for failed in send(sqs, url, messages):
        if failed is not None:
            raise failed


def delete(sqs: "SQSClient", url: str, receipts: Sequence[str]) -> list[bool]:
    """Delete by receipt; per receipt, whether the queue knew it.

    Raises:
        DependencyDown: the queue does not answer.
    """
    return _each(sqs.delete_message_batch, url, [{"ReceiptHandle": receipt} for receipt in receipts])


def change_visibility(sqs: "SQSClient", url: str, seconds: Mapping[str, int]) -> list[bool]:
    """Let each receipt's message be seen again after its seconds; per receipt, whether the queue knew it in flight.

    Raises:
        DependencyDown: the queue does not answer.
    """
    entries = [{"ReceiptHandle": receipt, "VisibilityTimeout": value} for receipt, value in seconds.items()]
    return _each(sqs.change_message_visibility_batch, url, entries)


def _each(call: Callable[..., Any], url: str, entries: list[dict[str, Any]]) -> list[bool]:
    known: list[bool] = []
    for group in chunks(entries, BATCH):
        numbered = [{"Id": str(number), **entry} for number, entry in enumerate(group)]
        done = _successful(_call(call, QueueUrl=url, Entries=numbered))
        known += [str(number) in done for number in range(len(group))]
    return known


def backlog(sqs: "SQSClient", url: str) -> int | None:
    """Messages waiting, roughly; None where the queue does not say."""
    try:
        answer = _call(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])
    except (DependencyDown, KeyError, ValueError):
        return None


def chunks(entries: Sequence[Entry], size: int) -> Iterator[Sequence[Entry]]:
    """Consecutive slices of at most `size`."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def _call(call: Callable[..., Any], **arguments: object) -> Any:  # boto3's answers are untyped here on purpose: one place for all calls
    try:
        return call(**arguments)
    except (ClientError, BotoCoreError, ResponseParserError) as error:  # the last: an answer that is not the queue's at all
        log.warning("sqs_refused", operation=getattr(call, "__name__", "?"), error=_code(error))
        raise (NoSuchQueue() if _code(error) in _NO_QUEUE else DependencyDown("sqs")) from error


def _code(error: Exception) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__


class Heartbeat:
    """Extends the visibility of every message in hand until it is let go; one thread a process.

    A message is in hand from `hold` to `release`, so that one waiting for its turn is as safe as one being answered.
    """

    def __init__(self, sqs: "SQSClient", url: str, every: float = HEARTBEAT) -> None:
        self._sqs, self._url, self._every = sqs, url, every
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End after the beat under way."""
        self._stop.set()
        self._thread.join()

    def hold(self, receipts: Iterable[str]) -> None:
        """Keep these invisible to others from now on."""
        with self._lock:
            self._held.update(receipts)

    def release(self, receipts: Iterable[str]) -> None:
        """Let these go: they are deleted, or their visibility is now someone else's to set."""
        with self._lock:
            self._held.difference_update(receipts)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.beat()

    def beat(self) -> None:
        """Extend all that is in hand, holding the lock a batch long so that nothing released is extended after."""
        with self._lock:
            held = list(self._held)
        for group in chunks(held, BATCH):
            with self._lock:
                now = {receipt: VISIBILITY for receipt in group if receipt in self._held}
                try:
                    if now:
                        change_visibility(self._sqs, self._url, now)
                except DependencyDown:
                    return  # the next beat tries again; two may fail before anything is seen twice
