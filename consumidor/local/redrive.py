"""Dead letters back to their queue: receive, send and delete, since the local AWS has no StartMessageMoveTask.

A letter of the feed goes again as one whose word on inquiries counts exactly as its first sender's did: what an outsider sent gains
nothing by having been dead, and what our own services sent loses nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from consumidor import packing, queues
from consumidor.errors import ConsumidorError, DependencyDown, UntrustedSender
from consumidor.events.dead_letters import REASON, SENDER, is_fingerprint
from consumidor.events.model import read_event, read_message

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient


class Letter(NamedTuple):
    """A received dead letter; `put_by` is who put it there, in SQS's own word."""

    body: str
    receipt: str
    attributes: Mapping[str, str]
    put_by: str

    def again(self) -> queues.Outgoing:
        """The message that it was."""
        return queues.Outgoing(self.body, {name: value for name, value in self.attributes.items() if name not in (REASON, SENDER)})


Choose = Callable[[Letter], "SQSClient | None"]  # who sends a letter again; None: it stays


class Senders(NamedTuple):
    """Whose inquiries count, the feed's own sender id, and who can send in a sender's place: its sender id and a client that is it."""

    trusted: frozenset[str]
    feed: str
    stand_in: Callable[[str], tuple[str, "SQSClient"]]

    def choose(self, letter: Letter) -> "SQSClient | None":
        """Who sends a letter of the feed again: nobody where it has no content, or an inquiry in it would gain or lose its trust."""
        if is_fingerprint(letter.body):
            return None
        first = self.first(letter)
        sender, client = self.stand_in(first)
        same = (sender in self.trusted) == (first in self.trusted)
        return client if same or not _may_hold_inquiry(letter.body) else None

    def first(self, letter: Letter) -> str:
        """Who sent what a letter is about; "" where that is not known.

        Only the feed's letters have its attributes: whoever else sets them is not believed. One without came by SQS itself
        (maxReceiveCount), which keeps a message's sender.
        """
        if letter.attributes.keys().isdisjoint((REASON, SENDER)):
            return letter.put_by
        return letter.attributes.get(SENDER, "") if letter.put_by == self.feed else ""


def _may_hold_inquiry(body: str) -> bool:
    """Whether the feed would find an inquiry in it, by the feed's own reading."""
    try:
        return any(_is_inquiry(raw) for raw in read_message(body))
    except ConsumidorError:  # of a version to come, perhaps: nobody here can tell
        return True


def _is_inquiry(raw: msgspec.Raw) -> bool:
    try:
        read_event(raw, 0, str, trusted=False)
    except UntrustedSender:
        return True
    except ConsumidorError:
        return False
    return False


def send_back(sqs: "SQSClient", source: str, target: str, choose: Choose, progress: Callable[[int], None]) -> dict[str, int]:
    """Send dead letters back to their queue, each by whom `choose` names, and then delete it; how many were redriven, and left.

    A stop in between repeats a message and loses none.

    Raises:
        DependencyDown: a queue does not answer.
    """
    left: list[str] = []
    redriven, total = 0, queues.backlog(sqs, source) or 0
    while redriven + len(left) < total and (letters := _receive(sqs, source)):
        chosen: dict[SQSClient | None, list[Letter]] = defaultdict(list)
        for letter in letters:
            chosen[choose(letter)].append(letter)
        staying = [letter.receipt for letter in chosen.pop(None, [])]
        sent = [receipt for client, group in chosen.items() for receipt in _send(client or sqs, target, group)]
        queues.delete(sqs, source, sent)
        left += staying
        redriven += len(sent)
        progress(len(letters))
        if len(sent) + len(staying) < len(letters):
            raise DependencyDown("sqs")
    queues.change_visibility(sqs, source, dict.fromkeys(left, 0))  # so that a list right after this shows them
    return {"redriven": redriven, "left": len(left)}


def _send(sqs: "SQSClient", url: str, letters: list[Letter]) -> list[str]:
    """The receipts of those that were sent."""
    failures = queues.send(sqs, url, [letter.again() for letter in letters])
    return [letter.receipt for letter, failed in zip(letters, failures, strict=True) if failed is None]


def _receive(sqs: "SQSClient", url: str) -> list[Letter]:
    """Up to ten, with who put each there, which `queues.receive` does not ask for."""
    try:
        answer: Any = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=packing.BATCH, VisibilityTimeout=queues.VISIBILITY,
            MessageSystemAttributeNames=["SenderId"], MessageAttributeNames=["All"],
        )  # fmt: skip
    except (ClientError, BotoCoreError) as error:
        raise DependencyDown("sqs") from error
    return [_letter(message) for message in answer.get("Messages", [])]


def _letter(message: Mapping[str, Any]) -> Letter:
    attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items() if "StringValue" in value}
    put_by = message.get("Attributes", {}).get("SenderId", "").partition(":")[0]
    return Letter(message["Body"], message["ReceiptHandle"], attributes, put_by)
