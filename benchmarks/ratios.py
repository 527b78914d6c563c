"""Every claim about speed as a ratio: ours beside the same work done otherwise, both in one run, in turns.

python -m benchmarks.ratios               all of them; rewrites RESULTS.md and results/ratios.json
python -m benchmarks.ratios score worker  only these; the other rows stay as they were measured, each with its own commit
python -m benchmarks.ratios --list        their names
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from benchmarks import ratios_events, ratios_http, ratios_people, ratios_score, ratios_size
from benchmarks.measure import RESULTS, ROOT, Figure, context, logged_aside, write_json, write_text
from benchmarks.stack import Place
from consumidor.errors import ConsumidorError

FILE = RESULTS / "ratios.json"
TABLE = ROOT / "benchmarks" / "RESULTS.md"
Comparison = Callable[[Place], Iterable[Figure]]

COMPARISONS: dict[str, Comparison] = {
    "score": ratios_http.score,
    "connections": ratios_http.connections,
    "tokens": ratios_http.tokens,
    "worker": ratios_people.worker,
    "worker-many": ratios_people.worker_of_many_clients,
    "seeding": ratios_people.seeding,
    "feed": ratios_events.feed_ratio,
    "search": ratios_events.search_ratio,
    "imports": ratios_events.imports_ratio,
    "extraction": ratios_score.extraction,
    "scorecard": ratios_score.scorecard,
    "size": ratios_size.size,
}


class Target(NamedTuple):
    """What a figure is to be: `at_least` or at most `bound`; no bound: reported only. `what` says it in words."""

    what: str
    bound: float | None = None
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether a median is on the right side."""
        return self.bound is None or (value >= self.bound if self.at_least else value <= self.bound)

    def __str__(self) -> str:
        return "reported" if self.bound is None else f"{'>=' if self.at_least else '<='} {self.bound:g}"


TARGETS: dict[str, Target] = {
    "score-bare": Target(
        "score request (token, checks, score, event, metrics, log) over a bare Starlette read, requests per CPU-second", 0.85
    ),
    "score-alike": Target("the same over a bare route with our own read, which takes the questions of one moment together"),
    "score-at-1": Target("score-bare with one connection, where no two questions come together"),
    "score-at-16": Target("score-bare with 16 connections"),
    "score-at-64": Target("score-bare with 64 connections"),
    "score-fastapi": Target("the same over FastAPI + pydantic doing the same work as its users would", 1.5),
    "score-flask": Target("the same over Flask + gunicorn doing the same work as its users would", 4.0),
    "token-cache-hit": Target("a token verified before, again", 1.5, at_least=False),
    "token-cache": Target("verifying a token over finding it verified", 80.0),
    "worker-one": Target("people worker over one that receives, answers, sends and deletes one by one", 6.0),
    "worker-raw": Target("people worker over the same SQS and PostgreSQL calls with no logic", 0.85),
    "worker-raw-many": Target("the same with 20 clients at once"),
    "seeding-copy": Target("seeding Base A over a raw COPY of the same bytes", 0.9),
    "feed-bulk": Target("feed handler over a raw bulk of the same actions", 0.9),
    "feed-helpers": Target("feed handler over the official client's helpers.bulk"),
    "search-raw": Target("p50 of a page of events over the same call by urllib3", 1.10, at_least=False),
    "latest-raw": Target("p50 of the latest events over the same call by urllib3", 1.10, at_least=False),
    "search-imports": Target("CPU time of the search Lambda's imports over elasticsearch + jwt + boto3", 0.25, at_least=False),
    "extraction-pandas": Target("extraction of 200,000 documents over pandas from a pymongo cursor, rows per second", 2.0),
    "extraction-cpu": Target("the same by CPU time of the process that extracts"),
    "extraction-drain": Target("the same over taking all documents from the server and looking at none"),
    "extraction-memory": Target("peak memory of the same", 0.4, at_least=False),
    "extraction-workers": Target("extraction with 2 Dask workers over one", 1.7),
    "scorecard-optbinning": Target("one score over optbinning's Scorecard.score on one row", 100.0),
    "size-people": Target("p50 of a people request, with 1,000,000 people over 10,000", 1.2, at_least=False),
    "size-base-a": Target("p50 of the SQL of a batch of 10 people requests, the same sizes", 1.2, at_least=False),
    "size-score": Target("p50 of a score request, the same sizes", 1.2, at_least=False),
    "size-latest": Target("p50 of the latest events, the same sizes", 1.2, at_least=False),
    "size-search": Target("p50 of a page of events, the same sizes", 1.2, at_least=False),
}


def measure(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Run comparisons; each figure as its row of `ratios.json`."""
    rows = {}
    with ExitStack() as exits:
        place = Place(exits)
        for name in names:
            for figure in COMPARISONS[name](place):
                rows[figure.name] = _row(name, figure)
                print(f"{figure.name:22} {_shown(rows[figure.name])}  target {TARGETS[figure.name]}", flush=True)
    return rows


def _row(comparison: str, figure: Figure) -> dict[str, Any]:
    values = {name: round(value, 4) for name, value in figure.value._asdict().items()}
    judged = {"unit": figure.unit, "target": str(TARGETS[figure.name]), "verdict": verdict(figure.name, figure.value.median)}
    return {"comparison": comparison, **values, **judged, "beside": dict(figure.beside)}


def verdict(name: str, median: float) -> str:
    """`pass`, `short`, or `reported` where there is no target."""
    target = TARGETS[name]
    return "reported" if target.bound is None else "pass" if target.met(median) else "short"


def _shown(row: Mapping[str, Any]) -> str:
    spread = f"{row['low']:.3g} to {row['high']:.3g}"
    return f"{row['median']:.3g} {row['unit']} ({spread}, n={row['repetitions']})"


_INTRODUCTION = (
    "Written by `make bench`; the numbers are those of `results/ratios.json`. Each is a ratio of two ways to do the same work, run in",
    "turns on the same servers; median and spread are over the turns. The machine is small and **was shared with other work while this",
    "ran**: absolute numbers would be better on a quiet one, ratios about the same.",
)


def render(results: Mapping[str, Any]) -> str:
    """RESULTS.md: the table, where it was measured, absolute numbers, and why what falls short does."""
    rows = results["figures"]
    known = [name for name in TARGETS if name in rows]
    lines = [
        "# Measured", "",
        *_INTRODUCTION, "",
        "| figure | what | target | measured | spread | n | verdict |", "|---|---|---|---|---|---|---|",
        *(_line(name, rows[name]) for name in known), "",
        "## Where", "",
        *(f"- {text}" for text in _where(results["contexts"])), "",
        "## Beside the ratios", "", "Medians of the same runs; `cpu` is CPU time of the server or worker alone.", "",
        *_beside(rows, known),
    ]  # fmt: skip
    short = [name for name in known if rows[name]["verdict"] == "short" and name in REMARKS]
    if short:
        lines += ["", "## What falls short, and why", "", *(f"- **{name}**: {REMARKS[name]}" for name in short)]
    return "\n".join(lines) + "\n"


def _line(name: str, row: Mapping[str, Any]) -> str:
    measured, spread = f"**{row['median']:.3g}** {row['unit']}", f"{row['low']:.3g} to {row['high']:.3g}"
    return f"| {name} | {TARGETS[name].what} | {row['target']} | {measured} | {spread} | {row['repetitions']} | {row['verdict']} |"


def _where(contexts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each set of comparisons that ran together."""
    together: dict[str, list[str]] = {}
    for name, one in contexts.items():
        machine, versions = one["machine"], ", ".join(f"{key} {value}" for key, value in one["versions"].items())
        uncommitted = " with uncommitted changes" if one["changed"] else ""
        text = f"{one['at'][:10]}, commit {one['commit']}{uncommitted}; {machine['cores']} cores of {machine['cpu']}, "
        text += f"{machine['memory_gib']} GiB, {machine['system']}; {versions}"
        together.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in together.items()]


def _beside(rows: Mapping[str, Any], known: list[str]) -> list[str]:
    shown: dict[str, str] = {}
    for name in known:
        numbers = ", ".join(f"{key} {value:,}" for key, value in rows[name]["beside"].items())
        if numbers:
            shown.setdefault(numbers, name)
    return [f"- {rows[name]['comparison']} ({name}): {numbers}" for numbers, name in shown.items()]


# Why a figure misses its target, where a profile told (results/profiles.json, by benchmarks.profiles); shown only while it does.
REMARKS: dict[str, str] = {
    "score-bare": "with few connections no two questions come in one turn, and the read is the bare route's own; see score-at-1.",
    "score-flask": "by CPU a blocking driver is cheaper a read than an asynchronous one; what Flask itself takes hides that or does not.",
    "token-cache-hit": "hashing the token is three quarters of it; on a core to itself it is under the target.",
    "token-cache": (
        "verifying a 2048-bit signature is too quick on this machine (miss and hit stand beside): to find a token in less than its SHA-256 "
        "and a look-up take would be another cache. Mended: two calls fewer a hit."
    ),
    "worker-raw": (
        "what the worker does beside SQS and PostgreSQL is, by profile, verifying each message (Ed25519), unsealing and JSON, the log line "
        "and metrics. Mended: a message's header and claims were parsed three times."
    ),
    "seeding-copy": (
        "psycopg's binary rows are most of it, by profile, and sealing in the thread beside them takes what is left of two cores from "
        "PostgreSQL; the raw COPY has all bytes ready."
    ),
    "feed-bulk": (
        "more than half of the handler's own CPU, by profile, is reading and checking the events, a seventh is the bulk's body: Python "
        "beside a server that is busy on the same two cores."
    ),
    "extraction-pandas": (
        "Base B's stand-in is the limit: taking all documents from it and looking at none takes nine tenths of our time "
        "(extraction-drain), so that hardly more can be had here. By CPU of the process that extracts: "
        "extraction-cpu. Not measured on mongod."
    ),
    "extraction-memory": "of a base this small the constant part (threads' buffers, Parquet's writer) is most of it; see the peak beside.",
    "extraction-workers": "the same server feeds both workers, from the same two cores; two workers together reach what it can send.",
    "size-people": "the emulator's queue is nearly all of it; see size-base-a for what the base adds. Not profiled further.",
    "size-base-a": (
        "the plan is the same (index look-ups), and a million's pages were cold: turn by turn the figure falls to half as they are read "
        "(`turns_us` in results/scale.json). Mended since: a load ends with a vacuum, so that first readers need not mark pages as written."
    ),
    "size-score": "a look-up by `_id` all the same; more of the base is out of SecantusDB's cache of 256 MB. Not profiled further.",
    "size-latest": "three documents by id all the same; more segments on one node. Not profiled further.",
    "size-search": "more segments to look into, on one node with two shards. Not profiled further.",
}


def save(rows: Mapping[str, Any], names: Iterable[str]) -> None:
    """Put new rows beside those of other comparisons, and write table and file anew."""
    kept = json.loads(FILE.read_text()) if FILE.exists() else {"contexts": {}, "figures": {}}
    now = context()
    figures = {name: row for name, row in (kept["figures"] | dict(rows)).items() if name in TARGETS}
    results = {"contexts": {**kept["contexts"], **dict.fromkeys(names, now)}, "figures": figures}
    write_json(FILE, results)
    write_text(TABLE, render(results))


def main(arguments: list[str]) -> int:
    """0 all measured (whatever the verdicts), 1 something failed, 2 wrong use."""
    if arguments == ["--list"]:
        print("\n".join(COMPARISONS))
        return 0
    if unknown := [name for name in arguments if name not in COMPARISONS]:
        print(f"no such comparison: {', '.join(unknown)}; there are {', '.join(COMPARISONS)}", file=sys.stderr)
        return 2
    names = arguments or list(COMPARISONS)
    try:
        with logged_aside():
            rows = measure(names)
    except ConsumidorError as error:
        print(f"nothing was written: {error.detail}", file=sys.stderr)
        return 1
    save(rows, names)
    print(f"\n{TABLE.relative_to(ROOT)} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
