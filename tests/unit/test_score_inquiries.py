"""Inquiry events: packed, never waited for, kept while the queue is down, counted when they are lost."""

import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import REGISTRY

from consumidor.events.model import Event, read_event
from consumidor.score import inquiries
from consumidor.score.inquiries import Inquiries
from tests.score_doubles import FakeQueue

PERSON = "ab" * 16


@pytest.fixture
def queue() -> FakeQueue:
    """The feed queue."""
    return FakeQueue()


def buffer_of(queue: FakeQueue, **limits: Any) -> Inquiries:
    """A buffer that sends to it."""
    return Inquiries(cast("Any", queue), "http://queue.test/feed", **limits)


def dropped() -> float:
    """The metric of lost events."""
    return REGISTRY.get_sample_value("consumidor_score_inquiries_dropped_total") or 0.0


def test_an_inquiry_is_an_event_the_feed_takes(queue: FakeQueue) -> None:
    """What is sent reads as a bureau_inquiry of the person by the client, on the score path."""
    buffer = buffer_of(queue)
    buffer.add(PERSON, "acme")
    assert buffer.flush()
    [raw] = queue.events()
    event = read_event(raw, time.time_ns() // 1_000_000, str)
    assert (event.person, event.kind, event.institution, event.amount) == (PERSON, "bureau_inquiry", "acme", None)
    assert msgspec.json.decode(event.details) == {"path": "score"}


def test_many_go_in_few_messages(queue: FakeQueue) -> None:
    """2,350 events take 24 messages in 3 calls, in order and each with an id of its own."""
    buffer = buffer_of(queue)
    for number in range(2350):
        buffer.add(f"{number:032x}", "acme")
    assert buffer.flush()
    events = [msgspec.json.decode(raw, type=Event) for raw in queue.events()]
    assert [len(call) for call in queue.calls] == [10, 10, 4]
    assert [int(event.person, 16) for event in events] == list(range(2350))
    assert len({event.event_id for event in events}) == 2350


def test_nothing_waits_nothing_is_sent(queue: FakeQueue) -> None:
    """An idle service makes no calls."""
    assert buffer_of(queue).flush()
    assert queue.calls == []


def test_events_wait_while_the_queue_is_down(queue: FakeQueue) -> None:
    """A refused sending keeps its events, in order and with their ids, for the next one."""
    buffer = buffer_of(queue)
    queue.down = True
    for number in range(150):
        buffer.add(f"{number:032x}", "acme")
    assert not buffer.flush()
    queue.down = False
    buffer.add(f"{150:032x}", "acme")
    assert buffer.flush()
    assert [int(msgspec.json.decode(raw)["person"], 16) for raw in queue.events()] == list(range(151))


def test_only_what_failed_is_sent_again(queue: FakeQueue) -> None:
    """Where SQS takes one message of a batch and not the other, only the other's events are sent again."""
    buffer = buffer_of(queue)
    for number in range(150):
        buffer.add(f"{number:032x}", "acme")
    queue.failing = {"0"}
    assert not buffer.flush()
    queue.failing = set()
    assert buffer.flush()
    assert sorted(int(msgspec.json.decode(raw)["person"], 16) for raw in queue.events()) == list(range(150))


def test_beyond_the_bound_events_are_dropped_and_counted(queue: FakeQueue) -> None:
    """The buffer never grows over its bound; each event too many is counted."""
    buffer, before = buffer_of(queue, bound=100), dropped()
    for _ in range(130):
        buffer.add(PERSON, "acme")
    assert dropped() - before == 30
    assert buffer.flush()
    assert len(queue.events()) == 100


def test_drops_are_logged_once_a_second(queue: FakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests find the buffer full, there is a line a second at most, and the lines' counts add up to what was dropped."""
    lines: list[tuple[float, int]] = []
    log = SimpleNamespace(error=lambda _, count: lines.append((time.monotonic(), count)))
    for name, value in {"log": log, "PAUSE": 0.01, "LOG_SECONDS": 0.2, "FLUSH_SECONDS": 0.0}.items():
        monkeypatch.setattr(inquiries, name, value)
    buffer, before, added, queue.down = buffer_of(queue, bound=10), dropped(), 0, True
    buffer.start()
    while len(lines) < 3 and added < 100_000:
        buffer.add(PERSON, "acme")
        added += 1
        time.sleep(0.0001)
    buffer.stop()
    assert sum(count for _, count in lines) == dropped() - before == added
    *running, _ = lines  # the last is the stop's: what was dropped since, and what still waited
    assert len(running) >= 3
    assert min(later - earlier for (earlier, _), (later, _) in pairwise(running)) >= 0.2


def test_it_sends_by_itself_and_flushes_at_the_end(queue: FakeQueue) -> None:
    """A started buffer sends within a few tenths of a second; a stop sends what came last."""
    buffer = buffer_of(queue)
    buffer.start()
    buffer.add(PERSON, "acme")
    deadline = time.monotonic() + 2
    while not queue.calls and time.monotonic() < deadline:
        time.sleep(0.01)
    buffer.add(PERSON, "globex")
    buffer.stop()
    assert [msgspec.json.decode(raw)["institution"] for raw in queue.events()] == ["acme", "globex"]


def test_a_stop_gives_up_on_a_dead_queue(queue: FakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop ends within its time even where the queue is down, and what is left is counted."""
    monkeypatch.setattr(inquiries, "FLUSH_SECONDS", 0.2)
    buffer, before = buffer_of(queue), dropped()
    queue.down = True
    buffer.start()
    buffer.add(PERSON, "acme")
    started = time.monotonic()
    buffer.stop()
    assert time.monotonic() - started < 2
    assert dropped() - before == 1
