"""Synthetic movements and purchases of the synthetic people: the same for a given seed, each computed from (seed, index, number).

How many a person has follows a long tail: most have a handful, and one in four thousand has ten thousand.
"""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from random import Random

import msgspec

from consumidor.errors import CommandError, DependencyDown
from consumidor.events.base_c import BaseC, EventStore, written
from consumidor.events.model import Event, format_ms, to_ms
from consumidor.local.synthetic import FIXED_PEOPLE

LONGEST = 10_000  # events of the busiest people
_LONGEST_EVERY = 4_000  # people 1999, 5999, ...
_LONGEST_FIRST = 1_999
_LEAST = 2
_TAIL = 1.5  # Pareto exponent of everyone else's number of events: half have three or fewer, one in a hundred 43 or more
_MOST = 2_000
_FIXED_COUNT = 60
_YEARS = 3
_BATCH = 1_000  # events in one bulk request: about half a megabyte
_TRIES = 6
_DEADLINE = 60.0  # seconds of one bulk request
_INSTITUTIONS: list[str] = json.loads(Path(__file__).with_name("brazil.json").read_text("utf-8"))["creditors"]
_PURCHASES = [f'{{"merchant_category":"{code}"}}' for code in ("5411", "5541", "5812", "5912", "4121", "5732", "5651", "7832")]  # ISO 18245
_MOVEMENTS = [f'{{"type":"{name}"}}' for name in ("pix", "ted", "boleto", "salary", "withdrawal", "deposit")]


def count_of(seed: int, index: int) -> int:
    """How many events person `index` has; the fixed people of the examples have enough to turn pages."""
    if index < FIXED_PEOPLE:
        return _FIXED_COUNT
    if index % _LONGEST_EVERY == _LONGEST_FIRST:
        return LONGEST
    return min(_MOST, int(_LEAST * (1 - Random(f"{seed}/{index}/events").random()) ** (-1 / _TAIL)))  # noqa: S311 - made-up events, not secrets


def events(seed: int, index: int, person: str, year: int) -> Iterator[Event]:
    """The events of person `index`, newest last, in the three years before 1 January of the seeding year."""
    draw = Random(f"{seed}/{index}/event").random  # noqa: S311 - as above
    count = count_of(seed, index)
    end = to_ms(dt.datetime(year, 1, 1, tzinfo=dt.UTC))
    step = _YEARS * 365 * 86_400_000 / count
    for number in range(count):
        purchase = draw() < 2 / 3
        cents = int(10 ** (2.5 + 3 * draw()))  # from R$ 3 to R$ 3,200
        sign = 1 if purchase or draw() < 0.5 else -1
        details = _PURCHASES if purchase else _MOVEMENTS
        yield Event(
            event_id=f"seed-{seed}-{index}-{number}",
            person=person,
            kind="card_purchase" if purchase else "financial_movement",
            occurred_at=format_ms(int(end - (count - number - draw()) * step)),
            institution=_INSTITUTIONS[int(draw() * len(_INSTITUTIONS))],
            amount=sign * cents,
            currency="BRL",
            details=msgspec.Raw(details[int(draw() * len(details))].encode()),
        )


def load_events(url: str, given: Iterable[Event], progress: Callable[[int], None] = lambda _: None) -> int:
    """Put events into Base C by bulk requests, two under way at once; `progress` is told of each batch's size. Repeating does no harm.

    Raises:
        DependencyDown: Base C does not answer, after several tries.
        CommandError: it refuses an event.
    """
    base_c = BaseC(url, _DEADLINE)
    total, source = 0, iter(given)
    try:
        with ThreadPoolExecutor(2) as pool:
            while batches := [batch for _ in range(4) if (batch := list(islice(source, _BATCH)))]:
                for size in pool.map(lambda batch: _load(base_c, batch), batches):
                    total += size
                    progress(size)
    finally:
        base_c.close()
    return total


def _load(base_c: EventStore, batch: list[Event]) -> int:
    left = batch
    for attempt in range(_TRIES):
        verdicts = written(base_c, left)
        for error in verdicts:
            if error is not None and not error.retryable:
                raise CommandError(f"Base C refuses an event: {error.detail}")
        left = [event for event, error in zip(left, verdicts, strict=True) if error]
        if not left:
            return len(batch)
        time.sleep(0.1 * 2**attempt)  # it asked for less at once (429), or is away for a moment
    raise DependencyDown("base_c")
