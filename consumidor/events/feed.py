"""The feed Lambda: a batch of the feed queue's messages into Base C by one bulk request, each event with a fate of its own.

An event is done, retried or dead. A message is retried while any of its events is retryable; once none is, its dead ones go singly to
the dead letters, so that no retry but that of a failed dead letter leaves a second one behind. Sending a batch twice, or in another
order, changes nothing.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from consumidor import cpf
from consumidor.errors import ConsumidorError, DependencyDown, MalformedMessage, UnknownVersion
from consumidor.events.base_c import BaseC, EventStore, written
from consumidor.events.dead_letters import LETTER_BYTES, DeadLetters, Letter, fingerprint
from consumidor.events.model import MESSAGE_VERSION, PERSON, Event, read_event, read_message
from consumidor.settings import Settings

DEADLINE = 20.0  # seconds for the bulk request: under the queue's visibility timeout of 30 s
log = logging.getLogger(__name__)
Lambda = Callable[[Mapping[str, Any], object], dict[str, Any]]
SendDead = Callable[[Sequence[Letter]], Sequence[bool]]  # per letter, whether it is safe there


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
        causes = [_cause(items) for items in messages]
        finished = [place for place, cause in enumerate(causes) if cause is None]
        dead = [(place, letter) for place in finished for letter in _letters(records[place], messages[place], doors)]
        for place in _unsent(dead, send_dead):
            causes[place] = DependencyDown("sqs")
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
    trusted = _sender(record) in doors.inquiry_senders
    return [_read_item(raw, doors, trusted=trusted) for raw in raws]


def _sender(record: Mapping[str, Any]) -> str:
    """Who sent a message, in SQS's word: an access key's or role's id, without the name of its session."""
    return str(record.get("attributes", {}).get("SenderId", "")).partition(":")[0]


def _read_item(raw: msgspec.Raw, doors: Doors, *, trusted: bool) -> Item:
    try:
        return Item(raw, read_event(raw, doors.now_ms(), doors.person, trusted=trusted))
    except ConsumidorError as error:
        return Item(raw, error=error)


def _write(base_c: EventStore, items: list[Item]) -> None:
    verdicts = written(base_c, [item.event for item in items if item.event])
    for item, verdict in zip(items, verdicts, strict=True):
        item.error = verdict


def _cause(items: list[Item]) -> ConsumidorError | None:
    """Why a message must come again, if it must."""
    return next((item.error for item in items if item.error and item.error.retryable), None)


def _letters(record: Mapping[str, Any], items: list[Item], doors: Doors) -> list[Letter]:
    """The dead letters of a message that need not come again."""
    sender = _sender(record) or "unknown"  # SQS takes no empty attribute
    reasons = [(item, type(item.error).__name__) for item in items if item.error]
    for _, reason in reasons:
        log.warning("dead letter: %s", reason)
    return [Letter(dead_letter(item, reason, doors), reason, sender) for item, reason in reasons]


def _unsent(dead: Sequence[tuple[int, Letter]], send_dead: SendDead) -> set[int]:
    """The places of the messages whose dead letters did not all get through."""
    sent = send_dead([letter for _, letter in dead])
    return {place for (place, _), safe in zip(dead, sent, strict=True) if not safe}


def dead_letter(item: Item, reason: str, doors: Doors) -> str:
    """What is kept of a dead event: a feed message of it alone, fit to be sent again, with `cpf` replaced by `person`.

    Of what cannot be read, and of what is over the queue's limit with pseudonyms in the place of CPFs, only reason, sha256 and length
    are kept.
    """
    try:
        kept = msgspec.json.encode(_resendable(item, doors))
    except Exception:  # noqa: BLE001 - whatever it holds that cannot be read or written, nobody knows what else it holds
        return fingerprint(item.raw, reason)
    return kept.decode() if len(kept) <= LETTER_BYTES else fingerprint(item.raw, reason)


def _resendable(item: Item, doors: Doors) -> dict[str, Any]:
    content = None if isinstance(item.error, MalformedMessage) else msgspec.json.decode(item.raw)
    if not isinstance(content, dict):
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
