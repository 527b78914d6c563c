"""Every dependency stopped, slow or losing its answers, under load on all three paths."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.outages import SECONDS, FaultyStack, Load, faulty_stack
from tests.faults.results import LONG, record
from tests.servers.proxy import Mode

DEPENDENCIES = ["base_a", "base_b", "base_c", "sqs", "s3", "kms", "issuer"]
MODES: tuple[Mode, ...] = ("stopped", "slow", "failing")
OUTAGES: list[tuple[str, Mode]] = [(name, mode) for name in DEPENDENCIES for mode in MODES] if LONG else [("all", "stopped")]
EXPECTED = {200, 202, 429, 503}  # 429: polls that hang behind a slow queue are bounded
found: list[dict[str, Any]] = []


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyStack]:
    """A stack of its own, behind proxies."""
    with faulty_stack() as stack:
        yield stack
    if found:
        record("outages", found)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "mode"), OUTAGES)
def test_an_outage_loses_nothing(faulty: FaultyStack, name: str, mode: Mode) -> None:
    """What was accepted before, during and after is answered, to its asker, logged once; published events arrive; 503 is the worst."""
    down = DEPENDENCIES if name == "all" else [name]
    faulty.running.wait_until(faulty.running.is_healthy, 60)
    with Load(faulty) as load:
        time.sleep(2.0)
        faulty.set(down, mode)
        time.sleep(SECONDS)
        faulty.set(down, "pass")
        ended = time.monotonic()
        time.sleep(1.0)
        load.stop_asking()
        while (load.owed() or load.not_indexed() or not faulty.running.is_healthy()) and time.monotonic() < ended + 180:
            time.sleep(0.2)
        recovered = time.monotonic() - ended
    row = {
        "dependency": name, "mode": mode, "seconds": SECONDS, "accepted": len(load.accepted), "answered": len(load.accepted) - load.owed(),
        "lost": load.owed(), "repeated": load.repeated(), "foreign": load.foreign(), "log_rows": load.log_rows(),
        "events_published": len(load.published), "events_lost": load.not_indexed(), "seconds_to_recover": round(recovered, 1),
        "slowest_answer_seconds": round(load.slowest, 1),
        "statuses": {path: {str(status): count for status, count in sorted(counts.items())} for path, counts in load.statuses.items()},
    }  # fmt: skip
    found.append(row)
    print(row)
    assert (row["lost"], row["foreign"], row["events_lost"]) == (0, 0, 0)
    assert row["log_rows"] == row["accepted"]
    assert len(load.accepted) > 20
    assert set().union(*load.statuses.values()) <= EXPECTED, load.statuses
