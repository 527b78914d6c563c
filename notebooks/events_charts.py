"""The charts of `05_events_path`: one claim each."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from drawing import PATHS, QUIET, draw_latency

EVENTS = PATHS["events"]


def draw_reads(rows: Mapping[str, Sequence[float]]) -> None:
    """How long each kind of question takes."""
    _, axes = plt.subplots(figsize=(8, 2.4))
    draw_latency(axes, rows, {name: EVENTS if name.startswith("latest") else QUIET for name in rows})
    axes.set_title("Reading three documents by id is less work than a search")


def draw_freshness(seen: Sequence[tuple[float, float]]) -> None:
    """For each event, when latest and when a search showed it."""
    _, axes = plt.subplots(figsize=(8, 3))
    by_latest, by_search = zip(*((1000 * first, 1000 * second) for first, second in sorted(seen, key=lambda pair: pair[1])), strict=True)
    axes.hlines(range(len(seen)), by_latest, by_search, color=QUIET, lw=1, zorder=1)
    axes.scatter(by_latest, range(len(seen)), color=EVENTS, label="seen by latest")
    axes.scatter(by_search, range(len(seen)), ec=EVENTS, fc="white", lw=1.5, label="seen by search")
    axes.set(xlabel="milliseconds since the event was sent", ylabel="event", yticks=[], xlim=(0, None))
    axes.set_title("A search sees an event when the index is refreshed, once a second")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def draw_disorder(arrived: Sequence[float], said: Sequence[float]) -> None:
    """Times of the events as they arrive, and of the latest after each, in minutes."""
    _, axes = plt.subplots(figsize=(8, 3.6))
    order = range(1, len(arrived) + 1)
    axes.plot(order, arrived, ".:", color=QUIET, lw=1, label="the event that arrives, and what an overwrite would keep")
    axes.step(order, said, where="post", color=EVENTS, lw=2.5, label="what latest says")
    axes.set(xlabel="order of arrival", ylabel="time of the event, minutes")
    axes.set_title("Latest only ever moves forward")
    axes.legend(loc="lower right", fontsize=9)


def draw_duplicates(sent: Mapping[int, int], stored: Mapping[int, int]) -> None:
    """By how many times each event was sent: events sent, and events in the history."""
    _, axes = plt.subplots(figsize=(8, 3))
    axes.bar([times - 0.2 for times in sent], sent.values(), 0.38, color="#D5D9DE", label="events sent")
    axes.bar([times + 0.2 for times in stored], stored.values(), 0.38, color=EVENTS, label="events in the history")
    axes.set(xlabel="times that each event was sent", ylabel="events")
    axes.set_title("However often an event is sent, it is there once")
    axes.legend(loc="upper left")
