"""What 06_load_report reads of `benchmarks/results`, and its charts: one claim each. Nothing is measured here."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from drawing import INK, PATHS, QUIET, draw_percentiles
from IPython.display import Markdown, display
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the benchmarks are no part of the package

from benchmarks.load_results import read_run
from benchmarks.measure import RESULTS
from consumidor.errors import CommandError
from tests.faults import table

# What names of entries and figures begin with, longest first where two would do, and the path they are about.
_PATHS = {"people": "people", "worker": "people", "seeding": "people", "size-people": "people", "size-base-a": "people", "base-a": "people",
          "score": "score", "token": "score", "extraction": "score", "size-score": "score"}  # fmt: skip
_CHANGED = " with uncommitted changes"
_FATES = {"accepted": "answered", "refused": "429, backlog over its limit", "throttled": "429, gateway"}


class Run(NamedTuple):
    """A load run: its run.json, and second by second users, requests a second and p95 in ms."""

    facts: dict[str, Any]
    course: list[dict[str, float]]


def load_runs() -> dict[str, Run]:
    """Every run of Locust there is, by its name, the longest first; says of each what it is.

    Raises:
        CommandError: there is none, or one is not whole; says what is missing.
    """
    found = {file.parent.name: _load_run(file.parent) for file in RESULTS.glob("*/run.json")}
    runs = dict(sorted(found.items(), key=lambda one: -one[1].facts["duration_s"]))
    for name, (facts, _) in runs.items():
        model = facts["model"].partition(":")[0]
        print(f"{name:12} {where(facts)}; {model} model, {facts['mix']} mix, {facts['duration_s']:.0f} s")
    if not runs:
        raise CommandError("no load was measured: `make load` does")
    return runs


def _load_run(folder: Path) -> Run:
    facts = read_run(folder)
    with (folder / "stats_history.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["Name"] == "Aggregated" and row["95%"] != "N/A"]
    course = [
        {"second": float(row["Timestamp"]) - float(rows[0]["Timestamp"]), "users": float(row["User Count"]),
         "per_s": float(row["Requests/s"]), "p95_ms": float(row["95%"])}
        for row in rows
    ]  # fmt: skip
    return Run(facts, course)


def results(name: str) -> dict[str, Any]:
    """A results file; says where it was measured, and of what.

    Raises:
        CommandError: there is none, or it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{name} was not measured: `make {'faults' if name == 'faults' else 'bench'}` does") from error
    for text in dict.fromkeys(map(where, found.get("contexts", {"": found} if "commit" in found else {}).values())):
        print(f"{name:12} {text}")
    return found


def where(facts: Mapping[str, Any]) -> str:
    """Machine and commit of a result, in words."""
    machine, commit = facts["machine"], facts["commit"] + _CHANGED * facts["changed"]
    return f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, {facts['at'][:10]}, commit {commit}"


def percentiles_of(run: Run) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 of each entry that a caller would notice."""
    return {
        name: {each: entry[f"{each}_ms"] for each in ("p50", "p95", "p99")}
        for name, entry in run.facts["entries"].items()
        if "receiver" not in name
    }


def colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of the path that each entry or figure is about: events, where no other."""
    paths = {name: next((path for beginning, path in _PATHS.items() if name.startswith(beginning)), "events") for name in names}
    return {name: PATHS[path] for name, path in paths.items()}


def draw_entries(run: Run, title: str) -> None:
    """Each entry's latency, and the threshold of its p95 where it has one."""
    rows = percentiles_of(run)
    _, axes = plt.subplots(figsize=(8, 0.9 + 0.5 * len(rows)))
    limits = {name: run.facts["thresholds"][name]["p95_ms"] for name in rows if name in run.facts["thresholds"]}
    axes.plot(limits.values(), [list(rows).index(name) for name in limits], "k4", ms=12, mew=2, label="most p95 may be")
    draw_percentiles(axes, rows, colours(rows))
    axes.set_title(title)


def draw_course(run: Run) -> None:
    """The run second by second: users, requests a second, p95."""
    _, panels = plt.subplots(3, 1, figsize=(8, 5), sharex=True)
    seconds = [one["second"] for one in run.course]
    labels = {"users": "users", "per_s": "requests/s", "p95_ms": "p95 of the last 10 s, ms"}
    for axes, (key, label) in zip(panels, labels.items(), strict=True):
        axes.plot(seconds, [one[key] for one in run.course], color=INK, lw=2, drawstyle="steps-post" if key == "users" else "default")
        axes.set(ylim=(0, None))
        axes.set_title(label, weight="normal", fontsize=9)
    panels[-1].set_xlabel("seconds since the start")
    panels[0].figure.tight_layout()


def draw_ratios(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """How each figure stands to its target: its median over the target, or the target over it where less is better."""
    judged = {name: row for name, row in figures.items() if row["verdict"] != "reported"}
    _, axes = plt.subplots(figsize=(8, 0.8 + 0.27 * len(judged)))
    for place, (name, row) in enumerate(judged.items()):
        sign, bound = row["target"].split()
        middle, *ends = (
            value / float(bound) if sign == ">=" else float(bound) / value for value in (row["median"], row["low"], row["high"])
        )
        axes.plot(ends, [place, place], color=colours([name])[name], lw=2, alpha=0.4)
        axes.plot(middle, place, "o", color=colours([name])[name], mfc=None if row["verdict"] == "pass" else "white", ms=7, mew=2)
    axes.axvline(1, color=INK, lw=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(judged)), judged)
    axes.set_ylim(len(judged) - 0.5, -0.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("times as good as the target (log axis); hollow: falls short")
    axes.set_title("Each figure beside its target, with its spread")


def draw_sizes(scale: Mapping[str, Any]) -> None:
    """p50 of each path against people, both axes logarithmic."""
    _, axes = plt.subplots(figsize=(8, 3.6))
    people, paths = [row["people"] for row in scale["sizes"]], list(scale["sizes"][0]["paths"])
    for path, colour in colours(paths).items():
        p50 = [row["paths"][path]["p50_us"] / 1000 for row in scale["sizes"]]
        axes.loglog(people, p50, marker="o", color=colour, ls="--" if path in {"base-a", "search"} else "-", label=path)
    axes.set(xlabel="people in the bases, log axis", ylabel="p50, milliseconds, log axis")
    axes.set_title("A hundred times the people change no path's p50 much")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def draw_threads(scale: Mapping[str, Any]) -> None:
    """Messages a second of one worker against its threads."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    for clients, line in ((1, "-"), (20, "--")):
        mine = [row for row in scale["threads"] if row["clients"] == clients]
        bars = [[row["median"] - row["low"] for row in mine], [row["high"] - row["median"] for row in mine]]
        label = f"requests of {clients} client{'s' * (clients > 1)}"
        threads, medians = [row["threads"] for row in mine], [row["median"] for row in mine]
        axes.errorbar(threads, medians, bars, color=PATHS["people"], ls=line, marker="o", capsize=3, label=label)
    axes.set(xlabel="threads of the worker", ylabel="messages a second", ylim=(0, None), xticks=threads)
    axes.set_title("More threads stop helping where the cores end")
    axes.legend(loc="lower right")


def draw_simulation(simulation: Mapping[str, Any]) -> None:
    """What became of an hour's requests, and how long the oldest waited, a row a scenario."""
    _, (fates, waits) = plt.subplots(1, 2, figsize=(10, 2.6), sharey=True, width_ratios=(2, 1))
    for place, one in enumerate(simulation["scenarios"].values()):
        parts = (("accepted", PATHS["people"]), ("refused", QUIET), ("throttled", "#D5D9DE"))
        left = 0.0
        for key, colour in parts:
            fates.barh(place, one[key] / 1e6, left=left, color=colour, height=0.6, label=_FATES[key] if place == 0 else None)
            left += one[key] / 1e6
        waits.barh(place, one["longest_age_s"], color=PATHS["people"], height=0.6)
    fates.set_yticks(range(len(simulation["scenarios"])), simulation["scenarios"])
    fates.set(xlabel="requests of the hour, millions", ylim=(len(simulation["scenarios"]) - 0.5, -0.5))
    waits.set(xlabel="longest wait, seconds")
    fates.set_title("A burst of ten times is refused at the door, or waits")
    fates.legend(loc="lower center", bbox_to_anchor=(0.5, -0.55), ncols=3)


def show_faults(faults: Mapping[str, Any]) -> None:
    """The tables of the README: each crash and each outage."""
    display(Markdown(table.draw(dict(faults))))


def growth(scale: Mapping[str, Any]) -> dict[str, float]:
    """p50 of each path with most people over that with fewest."""
    fewest, most = scale["sizes"][0]["paths"], scale["sizes"][-1]["paths"]
    return {path: round(most[path]["p50_us"] / fewest[path]["p50_us"], 2) for path in fewest}
