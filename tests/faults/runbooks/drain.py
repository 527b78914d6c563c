"""After an outage: watch the queues being worked off.

    python -m tests.faults.runbooks.drain HOME [SECONDS]

Nothing is to be done for that to happen: messages come again by themselves, the longest waiting after five minutes. Exit status 0 once
both queues have been empty for three looks in a row, 1 where they are not in time.
"""

import sys
import time
from pathlib import Path
from typing import Any

from consumidor.local.operations import _aws
from consumidor.local.running import read_stack

QUEUES = ("people_requests_queue", "events_feed_queue")
COUNTS: tuple[Any, ...] = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


def waiting(home: Path) -> dict[str, int]:
    """Messages of each queue, in hand or not."""
    sqs, stack = _aws(home).sqs, read_stack(home)
    counted = {queue: sqs.get_queue_attributes(QueueUrl=stack[queue], AttributeNames=list(COUNTS))["Attributes"] for queue in QUEUES}
    return {queue: sum(int(counts[name]) for name in COUNTS if name in counts) for queue, counts in counted.items()}


def drain(home: Path, seconds: float = 600.0) -> bool:
    """Whether both queues were worked off in time."""
    deadline, empty = time.monotonic() + seconds, 0
    while empty < 3 and time.monotonic() < deadline:
        now = waiting(home)
        print(", ".join(f"{queue}: {count:,}" for queue, count in now.items()))
        empty = 0 if any(now.values()) else empty + 1
        time.sleep(1)
    return empty == 3


if __name__ == "__main__":
    sys.exit(not drain(Path(sys.argv[1]), *map(float, sys.argv[2:3])))
