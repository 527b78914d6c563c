"""The charts of `03_people_path`: one claim each."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from drawing import INK, PATHS, QUIET, draw_latency

PEOPLE, EVENTS = PATHS["people"], PATHS["events"]


def draw_hops(hops: Mapping[str, tuple[float, float]]) -> None:
    """When each hop of one request began and ended; what goes to Base C is of the events path."""
    _, axes = plt.subplots(figsize=(9, 2.8))
    for place, (name, (start, end)) in enumerate(hops.items()):
        axes.barh(place, 1000 * (end - start), left=1000 * start, color=_colour(name), height=0.55)
    axes.set(yticks=range(len(hops)), yticklabels=hops, ylim=(len(hops) - 0.4, -0.6), xlabel="milliseconds since the POST")
    axes.set_title("One request, from hop to hop (the median one)")


def draw_waiting(rows: Mapping[str, Sequence[float]]) -> None:
    """How long each hop took, over all requests."""
    _, axes = plt.subplots(figsize=(8, 3.6))
    draw_latency(axes, rows, {name: _colour(name) for name in rows})
    axes.set_title("Most of an answer's time is waiting for queues, not work")


def _colour(name: str) -> str:
    return EVENTS if "Base C" in name else PEOPLE


def draw_limit(debts: Sequence[int], sizes: Sequence[int], linked: Sequence[bool], limit: int) -> None:
    """How long each report is, and which way it came."""
    _, axes = plt.subplots(figsize=(8, 3.8))
    for way, fill, label in ((False, PEOPLE, "in the queue"), (True, "white", "by link from S3")):
        chosen = [(count, size / 1024) for count, size, link in zip(debts, sizes, linked, strict=True) if link == way]
        axes.plot(*zip(*chosen, strict=True), "o", color=PEOPLE, mfc=fill, mew=2, ms=8, label=label)
    axes.axhline(limit / 1024, color=INK, lw=1, ls="--")
    axes.text(0, limit / 1024 + 25, f"limit of a message: {limit / 1024:,.0f} KiB", fontsize=9)
    axes.set(xlabel="debts of the person", ylabel="report, KiB", ylim=(0, None))
    axes.set_title("Over the limit a report goes to S3, and only then")
    axes.legend(loc="lower right")


def draw_kill(answered: Sequence[float], accepted: int, killed: float, visible: float) -> None:
    """Requests that have a response, over time."""
    _, axes = plt.subplots(figsize=(8, 3.6))
    axes.step([0, *sorted(answered)], range(len(answered) + 1), where="post", color=PEOPLE, lw=2.5, label="requests with a response")
    axes.axhline(accepted, color=QUIET, ls="--", lw=1, label="requests accepted")
    axes.axvline(killed, color=INK, lw=1.5, label="kill -9")
    axes.axvline(killed + visible, color=INK, lw=1.5, ls=":", label="visibility timeout after it")
    axes.set(xlabel="seconds since the first POST", ylabel="requests", ylim=(0, None))
    axes.set_title("A kill -9 delays some answers and loses none")
    axes.legend(loc="lower center")
