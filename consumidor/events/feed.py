"""The feed Lambda: a batch of the feed queue's messages into Base C by one bulk request, each event with a fate of its own.

An event is done, retried or dead. A message is retried while any of its events is retryable; once none is, its dead ones go singly to
the dead letters, so that a retry leaves no second dead letter behind. Sending a batch twice, or in another order, changes nothing.
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from consumidor import cpf
from consumidor.errors import ConsumidorError, DependencyDown, InvalidInput, MalformedMessage, UnknownVersion, UntrustedSender
from consumidor.events.base_c import BaseC, EventStore
from consumidor.events.model import MESSAGE_EVENTS, MESSAGE_VERSION, PERSON, Event, read_event, read_message
from consumidor.settings import Settings

DEADLINE = 20.0  # seconds for the bulk request: under the queue's visibility timeout of 30 s
log = logging.getLogger(__name__)
Lambda = Callable[[Mapping[str, Any], object], dict[str, Any]]
SendDead = Callable[[str, str], None]  # body, reason


class Item(msgspec.Struct):
    """One event on its way, or a message that could not be taken apart; `error` says what became of it, None is done."""

    raw: bytes | msgspec.Raw
    event: Event | None = None
    error: ConsumidorError | None = None


class Doors(NamedTuple):
    """What turns outside events into ours: the pseudonym key, whose inquiries count, and the time in ms."""

    key: bytes
    inquiry_senders: frozenset[str]
    now_ms: Callable[[], int] = lambda: int(time.time() * 1000)

    def person(self, text: str) -> str:
        """The person's pseudonym; InvalidCpf if it is no CPF."""
        return cpf.pseudonym(self.key, cpf.parse(text))


def build_feed(settings: Settings, base_c: EventStore | None = None, send_dead: SendDead | None = None) -> Lambda:
    """The feed's handler, from the settings of the process `feed`."""
    base_c = base_c or BaseC(settings.base_c_url, DEADLINE)
    send_dead = send_dead or DeadLetters(settings)
    doors = Doors(settings.pseudonym_key, settings.inquiry_senders)

    def handler(batch: Mapping[str, Any], _context: object) -> dict[str, Any]:
        records = batch["Records"]
        messages = [_read_record(record, doors) for record in records]
        _write(base_c, [item for items in messages for item in items if item.event])
        causes = [_settle(items, doors, send_dead) for items in messages]
        if all(causes) and causes[0]:
            raise causes[0]  # an error makes the poller itself slow down; a full list of failures does not
        failed = [record["messageId"] for record, cause in zip(records, causes, strict=True) if cause]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    return handler


@cache
def _built() -> Lambda:
    """Made by the first invocation and kept: until there is one, Amazon's secrets extension answers 400."""
    return build_feed(Settings.from_env("feed"))


def _handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    return _built()(batch, context)


def __getattr__(name: str) -> Lambda:
    """`handler`, for the Lambda runtime, which asks for it while it starts: wrong settings show then. An import asks for none."""
    if name != "handler":
        raise AttributeError(name)
    Settings.from_env("feed", secrets=False)
    return _handler


def _read_record(record: Mapping[str, Any], doors: Doors) -> list[Item]:
    body = record["body"]
    try:
        raws = read_message(body)
    except (MalformedMessage, UnknownVersion) as error:
        return [Item(body.encode(errors="surrogatepass"), error=error)]
    if len(raws) > MESSAGE_EVENTS:
        too_many = InvalidInput([{"field": "events", "detail": f"a message holds at most {MESSAGE_EVENTS}"}])
        return [Item(raw, error=too_many) for raw in raws]
    trusted = record.get("attributes", {}).get("SenderId", "").partition(":")[0] in doors.inquiry_senders
    return [_read_item(raw, doors, trusted=trusted) for raw in raws]


def _read_item(raw: msgspec.Raw, doors: Doors, *, trusted: bool) -> Item:
    try:
        event = read_event(raw, doors.now_ms(), doors.person)
        if event.kind == "bureau_inquiry" and not trusted:
            raise UntrustedSender("only the bureau's own services report inquiries")
    except ConsumidorError as error:
        return Item(raw, error=error)
    return Item(raw, event)


def _write(base_c: EventStore, items: list[Item]) -> None:
    try:
        verdicts = base_c.write([item.event for item in items if item.event])
    except DependencyDown as error:
        verdicts = [error] * len(items)
    for item, verdict in zip(items, verdicts, strict=True):
        item.error = verdict


def _settle(items: list[Item], doors: Doors, send_dead: SendDead) -> ConsumidorError | None:
    """Finish with a message, its dead events safe among the dead letters; else why it must come again."""
    failed = [(item, item.error) for item in items if item.error]
    for _, error in failed:
        if error.retryable:
            return error
    try:
        for item, error in failed:
            reason = type(error).__name__
            log.warning("dead letter: %s", reason)
            send_dead(dead_letter(item, reason, doors), reason)
    except Exception as error:  # noqa: BLE001 - whatever kept a dead letter from being sent, the message stays in the queue
        log.error("dead letter not sent: %s", type(error).__name__)  # no trace: it could show the message
        return DependencyDown("sqs")
    return None


def dead_letter(item: Item, reason: str, doors: Doors) -> str:
    """What is kept of a dead event: a feed message of it alone, fit to be sent again, with `cpf` replaced by `person`.

    Of what cannot be parsed only reason, sha256 and length are kept: nobody knows what it holds.
    """
    try:
        return msgspec.json.encode(_resendable(item, doors)).decode()
    except (MalformedMessage, msgspec.DecodeError, UnicodeError, RecursionError):
        kept = {"reason": reason, "sha256": hashlib.sha256(item.raw).hexdigest(), "length": len(bytes(item.raw))}
        return msgspec.json.encode(kept).decode()


def _resendable(item: Item, doors: Doors) -> dict[str, Any]:
    content = msgspec.json.decode(item.raw)
    if not isinstance(content, dict) or isinstance(item.error, MalformedMessage):
        raise MalformedMessage
    kept = _without_cpf(content, doors)
    return kept if isinstance(item.error, UnknownVersion) else {"version": MESSAGE_VERSION, "events": [kept]}


def _without_cpf(content: Any, doors: Doors) -> Any:
    """The same JSON with each `cpf` member replaced by `person`, and no `person` that is not a pseudonym."""
    if isinstance(content, list):
        return [_without_cpf(part, doors) for part in content]
    if not isinstance(content, dict):
        return content
    kept = {name: _without_cpf(value, doors) for name, value in content.items() if name.lower() != "cpf"}
    if "person" in kept and not PERSON.fullmatch(str(kept["person"])):
        del kept["person"]
    with contextlib.suppress(KeyError, cpf.InvalidCpf):
        kept.setdefault("person", doors.person(content["cpf"]))
    return kept


class DeadLetters:
    """Sends to the feed's dead-letter queue. boto3 is loaded with the first dead letter: a batch without one never pays for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sqs: Any = None

    def __call__(self, body: str, reason: str) -> None:
        """Send one, with the message attribute `reason`; raises what boto3 raises."""
        if self._sqs is None:
            from consumidor import aws  # noqa: PLC0415 - see the class

            self._sqs = aws.client(self._settings, "sqs")
        self._sqs.send_message(
            QueueUrl=self._settings.events_feed_dlq_url,
            MessageBody=body,
            MessageAttributes={"reason": {"DataType": "String", "StringValue": reason}},
        )
