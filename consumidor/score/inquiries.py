"""Publishes a `bureau_inquiry` event for each answered score request, without the request waiting for it.

Events wait in a bounded buffer; a thread sends what a tenth of a second brought as messages of up to 100. While the feed queue is down
they wait; beyond the bound they are dropped: each is counted, and a line a second says how many. What a kill -9 can lose: the events of
the last tenth of a second, or all that were waiting while the queue was down; a graceful stop sends them first.
"""

import threading
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from consumidor.events.model import MESSAGE_EVENTS, Event, inquiry_event
from consumidor.events.producer import pack
from consumidor.packing import BATCH
from consumidor.queues import Outgoing, send

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

BOUND = 20_000  # events that may wait: about 10 MB, and ten seconds of one core's work
EVERY = 0.1  # seconds between two sendings
PAUSE = 1.0  # seconds before the next try where the queue is down
FLUSH_SECONDS = 5.0  # what a stop may take to send what waits
LOG_SECONDS = 1.0  # at least, between two lines about what was dropped: else each request would write one

DROPPED = Counter("consumidor_score_inquiries_dropped_total", "Inquiry events lost because the feed queue was down for too long")
SENT = Counter("consumidor_score_inquiries_sent_total", "Inquiry events sent to the feed queue")
log = structlog.get_logger()


class Inquiries:
    """The buffer and the thread that empties it. `add` is for one thread, the event loop's."""

    def __init__(self, sqs: "SQSClient", url: str, bound: int = BOUND) -> None:
        self._sqs, self._url, self._bound = sqs, url, bound
        self._waiting: deque[Event] = deque()
        self._ids = (f"{run}-{number}" for run in [uuid.uuid4().hex] for number in count())  # a fifth of the cost of a UUID each
        self._dropped = self._logged = 0  # the first is written by who adds, the second by the thread
        self._log_again = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inquiries", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, for a few seconds at most, and end; what is left then is counted as dropped."""
        self._stop.set()
        self._thread.join()

    def add(self, person: str, client: str) -> None:
        """Note that `client` got this person's score now; never waits, never raises."""
        if len(self._waiting) < self._bound:
            self._waiting.append(inquiry_event(next(self._ids), person, client, datetime.now(UTC), {"path": "score"}))
        else:
            self._drop(1)

    def _run(self) -> None:
        pause = EVERY
        while not self._stop.wait(pause):
            pause = EVERY if self.flush() else PAUSE
            if time.monotonic() >= self._log_again:
                self._log_drops()
        deadline = time.monotonic() + FLUSH_SECONDS
        while self._waiting and not self.flush() and time.monotonic() < deadline:
            time.sleep(EVERY)
        self._drop(len(self._waiting))
        self._log_drops()

    def flush(self) -> bool:
        """Send all that waits now; False where the queue did not take all of it, and what it did not take waits again."""
        return all(self._send_some() for _ in range(1 + len(self._waiting) // (BATCH * MESSAGE_EVENTS)))

    def _send_some(self) -> bool:
        """One call to SQS: up to 10 messages of up to 100 events. A repeated event does no harm: it keeps its id."""
        groups = [group for _ in range(BATCH) if (group := self._take())]
        messages = [Outgoing(body) for group in groups for body in pack(group)]
        outcomes = send(self._sqs, self._url, messages)
        unsent = [event for group, failed in zip(groups, outcomes, strict=True) if failed for event in group]
        self._waiting.extendleft(reversed(unsent))
        SENT.inc(sum(map(len, groups)) - len(unsent))
        return not unsent

    def _take(self) -> list[Event]:
        return [self._waiting.popleft() for _ in range(min(MESSAGE_EVENTS, len(self._waiting)))]

    def _drop(self, events: int) -> None:
        DROPPED.inc(events)
        self._dropped += events

    def _log_drops(self) -> None:
        """One line about all that were dropped since the last one."""
        if new := self._dropped - self._logged:
            log.error("inquiries_dropped", count=new)
            self._logged += new
            self._log_again = time.monotonic() + LOG_SECONDS
