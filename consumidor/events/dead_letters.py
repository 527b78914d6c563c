"""The feed's dead letters: how they are sent, and what is kept of a message that may not be kept itself.

A letter's attribute `sender` is who sent the event, in SQS's own word, so that a redrive can tell our inquiries from an outsider's.
"""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from consumidor.packing import as_entry, packed, size_of
from consumidor.settings import Settings

LETTER_BYTES = 1024 * 1024 - 1024  # a body's, at most: SQS's limit less room for the attributes
REASON, SENDER = "reason", "sender"  # message attributes
log = logging.getLogger(__name__)


class Letter(NamedTuple):
    """One dead letter: its body, why it is one, and who sent what it is about."""

    body: str
    reason: str
    sender: str

    @property
    def size(self) -> int:
        """Bytes as SQS counts them."""
        return size_of(self.body, self.attributes)

    @property
    def attributes(self) -> dict[str, str]:
        """Its message attributes."""
        return {REASON: self.reason, SENDER: self.sender}


class Fingerprint(msgspec.Struct, forbid_unknown_fields=True):
    """All that is kept of what nobody can read, or of what is too large: no content, and so no CPF."""

    reason: str
    sha256: str
    length: int


def fingerprint(raw: bytes | msgspec.Raw, reason: str) -> str:
    """The body of a letter without content."""
    content = bytes(raw)
    return msgspec.json.encode(Fingerprint(reason, hashlib.sha256(content).hexdigest(), len(content))).decode()


def is_fingerprint(body: str) -> bool:
    """Whether a letter has no content to be sent again."""
    try:
        msgspec.json.decode(body, type=Fingerprint)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


class DeadLetters:
    """Sends to the feed's dead-letter queue. boto3 is loaded with the first dead letter: a batch without one never pays for it.

    `queues` could send them, were it not for the libraries it loads, which the Lambda's package does without.
    """

    def __init__(self, settings: Settings, sqs: Any = None) -> None:  # boto3's client, or a double of its one call
        self._settings, self._sqs = settings, sqs

    def __call__(self, letters: Sequence[Letter]) -> list[bool]:
        """Send all, as few calls as count and bytes allow; per letter, whether the queue has it. Once it fails no more is tried."""
        sent: list[bool] = []
        try:
            for group in packed(letters):
                sent += self._send(group)
        except Exception as error:  # noqa: BLE001 - whatever it was, those letters' messages stay in the feed queue
            log.error("dead letters not sent: %s", type(error).__name__)  # no trace: it could show a message
        return sent + [False] * (len(letters) - len(sent))

    def _send(self, group: list[Letter]) -> list[bool]:
        if self._sqs is None:
            from consumidor import aws  # noqa: PLC0415 - see the class

            self._sqs = aws.client(self._settings, "sqs")
        entries = [as_entry(number, letter.body, letter.attributes) for number, letter in enumerate(group)]
        answer = self._sqs.send_message_batch(QueueUrl=self._settings.events_feed_dlq_url, Entries=entries)
        done = {one["Id"] for one in answer.get("Successful", [])}  # what is not named there is not there
        return [one["Id"] in done for one in entries]
