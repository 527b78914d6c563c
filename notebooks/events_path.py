"""What 05_events_path does to the feed and watches in Base C."""

import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from bureau import aws, call, stack, until

from consumidor import cpf, queues
from consumidor.events.base_c import BaseC
from consumidor.events.model import KINDS, Event, format_ms, parse_time, to_ms
from consumidor.events.producer import pack_encoded

KIND = "card_purchase"
_START = datetime(2026, 3, 1, tzinfo=UTC)
_PLACE = KINDS.index(KIND)
_sqs = aws("sqs")
_base_c = BaseC(stack["base_c_url"], deadline=5)


def somebody() -> str:
    """The CPF of a made-up person who has no events yet."""
    base = f"{random.SystemRandom().randrange(10**9):09}"
    return base + cpf.check_digits(base)


def purchases(number: str, count: int) -> list[str]:
    """A made-up person's purchases of the last hours, a minute apart, as an outside producer writes them: with the CPF."""
    start, mark = datetime.now(UTC) - timedelta(minutes=count), random.SystemRandom().randrange(10**9)
    return [
        json.dumps(_purchase(f"notebook-{mark}-{minute}", start + timedelta(minutes=minute)) | {"cpf": number}) for minute in range(count)
    ]


def _purchase(event_id: str, at: datetime) -> dict[str, object]:
    made = {"kind": KIND, "occurred_at": format_ms(to_ms(at)), "institution": "Loja Exemplo", "amount": 4_990, "currency": "BRL"}
    return {"event_id": event_id, **made, "details": {"merchant_category": "5411"}}


def send(events: Sequence[str]) -> None:
    """Put events on the feed queue as an outside producer does, many to a message."""
    queues.send_all(_sqs, stack["events_feed_queue"], [queues.Outgoing(body) for body in pack_encoded(events)])


def latest(number: str) -> str | None:
    """Id of the latest purchase, by the API."""
    return (call("GET", f"/v1/events/latest?cpf={number}")[KIND] or {}).get("event_id")


def history(number: str) -> list[str]:
    """Ids of the newest hundred events, by the API."""
    return [event["event_id"] for event in call("GET", f"/v1/events?cpf={number}&limit=100")["events"]]


def seen_after(number: str) -> tuple[float, float]:
    """Seconds from sending one event to its being seen by latest, and by search; after a random pause, to meet no rhythm of the index."""
    time.sleep(random.SystemRandom().random())
    (event,) = purchases(number, 1)
    event_id, started, seen = json.loads(event)["event_id"], time.perf_counter(), []
    send([event])
    for by in (latest, lambda who: event_id if event_id in history(who) else None):
        until(lambda by=by: by(number) == event_id)
        seen.append(time.perf_counter() - started)
    return seen[0], seen[1]


def one_by_one(person: str, events: Sequence[Event]) -> list[str]:
    """Write events one after the other; what Base C says is the latest after each, as its time."""
    said = []
    for event in events:
        assert _base_c.write([event]) == [None]
        said.append(_base_c.latest(person)[_PLACE].occurred_at)
    return said


def minutes_of(occurred_at: str) -> float:
    """Minutes from the first of the made-up events."""
    return (parse_time(occurred_at) - to_ms(_START)) / 60_000


def made_up_events(person: str, count: int) -> list[Event]:
    """A person's purchases, a minute apart, each up to 25 minutes late, so in another order; the same each time."""
    late = random.Random(3).random  # noqa: S311 - an order, no secret
    arriving = sorted(range(count), key=lambda number: number + 25 * late())
    made = [_purchase(f"{person[:8]}-{number}", _START + timedelta(minutes=number)) for number in arriving]
    return [msgspec.json.decode(json.dumps({"person": person, **one}), type=Event) for one in made]


def refused() -> str:
    """Why an inquiry that an outsider sends is refused: its reason among the dead letters, out of which it is taken."""
    (event,) = purchases(somebody(), 1)
    event_id = json.loads(event)["event_id"]
    send([json.dumps(json.loads(event) | {"kind": "bureau_inquiry", "amount": None, "currency": None})])
    found = until(lambda: [one for one in queues.receive(_sqs, stack["events_feed_dlq"], wait=1, visibility=2) if event_id in one.body])
    queues.delete(_sqs, stack["events_feed_dlq"], [found[0].receipt])
    return found[0].attributes["reason"]
