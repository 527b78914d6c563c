"""How cost grows: each path with more and more people, the worker with more and more threads. Writes results/scale.json and two plots.

    python -m benchmarks.scale               10,000 and 100,000 people: about 10 minutes
    python -m benchmarks.scale --million     and 1,000,000, as `make scale` does: about 40 minutes, 11 GB of disk in TMPDIR, 5 GB of memory
    python -m benchmarks.scale --sizes 1000,5000

One stack a size, all running at once and asked in turns, so that what else the machine does falls on all of them. Elasticsearch holds
about eight events a person: a million of them at 125,000 people. Each output names the sizes it was taken at.
"""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import psutil
import urllib3

from benchmarks.measure import RESULTS, Took, context, cpu_seconds, in_turns, logged_aside, spread, timed, write_json
from benchmarks.ratios_http import token_of
from benchmarks.ratios_people import Bench, bench
from benchmarks.stack import Stack, own_stack
from consumidor import cpf
from consumidor.client import Consumidor
from consumidor.errors import CommandError, ConsumidorError
from consumidor.local import synthetic
from consumidor.local.seeding import SEED
from consumidor.people.request_token import Request
from consumidor.people.store import PeopleStore
from consumidor.people.worker import Worker
from notebooks.drawing import PATHS as COLOURS

FILE = RESULTS / "scale.json"
SIZES, MILLION = (10_000, 100_000), 1_000_000
PATHS = ("people", "base-a", "score", "latest", "search")
_LABELS = {"people": "people: POST to response", "base-a": "people: SQL of a batch of 10", "score": "score: GET score",
           "latest": "events: GET latest", "search": "events: GET page"}  # fmt: skip
_COLOUR = {"people": "people", "base-a": "people", "score": "score", "latest": "events", "search": "events"}
THREADS = (1, 2, 4, 8)
ASKED = 200  # requests of a path and size in a turn; people requests a tenth of it, since the emulator's long poll takes 0.1 s a hop
MESSAGES = 2_000
_PROCESSES = ("gateway", "people-worker", "events-feed", "postgres", "mongodb", "elasticsearch")
_BASES = ("postgres", "mongodb", "elasticsearch")
_DISK = 10_000  # bytes a person in the three bases, with room for logs and merges; 6,300 were found at 100,000 people
_QUIET_CORES, _QUIET_SECONDS, _MOST_QUIET_SECONDS = 0.1, 65, 900  # autovacuum looks for work once a minute


class Asker:
    """Asks one stack's paths about people drawn from all it has."""

    def __init__(self, stack: Stack, people: int, exits: ExitStack) -> None:
        token = token_of(stack)
        self.stack, self.people, self._random = stack, people, random.Random(7)
        self._api, self._pool, self._headers = stack.info["api"], urllib3.PoolManager(), {"authorization": f"Bearer {token}"}
        self._client = exits.enter_context(Consumidor(self._api, lambda: token))
        self._store = PeopleStore.connect(stack.settings("worker").base_a_dsn, 1)
        exits.callback(self._store.close)
        self._key = stack.settings("api").pseudonym_key
        self.processes = [stack.process(name) for name in _PROCESSES]

    def cpfs(self, count: int) -> list[str]:
        """Of anyone, each as likely. Made up here and now: nobody has to hold a million of them."""
        drawn = (self._random.randrange(self.people) for _ in range(count))
        return [next(synthetic.people(SEED, index + 1, 2026, index)).cpf for index in drawn]

    def events(self) -> int:
        """How many events its Base C holds."""
        return int(self._pool.request("GET", f"{self.stack.info['base_c_url']}/events/_count").json()["count"])

    def ask(self, path: str, digits: list[str]) -> None:
        """One request about one person, of `base-a` about ten.

        Raises:
            CommandError: no answer, or another than promised; names the path and the size.
        """
        try:
            right = self._inquire(digits) if path == "base-a" else self._ask(path, digits[0])
        except (ConsumidorError, TimeoutError, urllib3.exceptions.HTTPError) as error:
            raise CommandError(f"{_LABELS[path]} with {self.people:,} people: {type(error).__name__}") from error
        if not right:
            raise CommandError(f"{_LABELS[path]} with {self.people:,} people: another answer than promised")

    def _ask(self, path: str, digits: str) -> bool:
        if path == "people":
            return self._client.ask(digits, "credit").status == "found"
        where = {"score": "/v1/score/{}", "latest": "/v1/events/latest?cpf={}", "search": "/v1/events?cpf={}&limit=20"}[path]
        return self._pool.request("GET", self._api + where.format(digits), headers=self._headers).status == 200

    def _inquire(self, digits: list[str]) -> bool:
        """As the worker does it, without queues."""
        batch = [Request("bench", str(uuid.uuid4()), cpf.pseudonym(self._key, one), "credit", 0) for one in digits]
        return all(outcome.outcome == "found" for outcome in self._store.inquire(batch))


def measure_sizes(sizes: Iterable[int]) -> list[dict[str, Any]]:
    """A row a size: events in Base C, p50 of each path in microseconds with its spread over the turns, CPU of each process a request."""
    with ExitStack() as exits:
        stacks = [(people, _started(people, exits)) for people in sizes]
        askers = [Asker(stack, people, exits) for people, stack in stacks]  # now: a token is good for an hour, seeding may take one
        _settle([stack.process(name) for _, stack in stacks for name in _BASES])
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for path in PATHS:
            notes = {asker.people: _Notes(asker, path) for asker in askers}
            in_turns({str(people): note.turn for people, note in notes.items()})
            found |= {(path, people): note.result() for people, note in notes.items()}
            told = (f"{found[path, asker.people]['p50_us']:,.0f} us at {asker.people:,}" for asker in askers)
            print(f"{_LABELS[path]:32}" + ", ".join(told), flush=True)
        return [
            {"people": asker.people, "events": asker.events(), "paths": {path: found[path, asker.people] for path in PATHS}}
            for asker in askers
        ]


def _started(people: int, exits: ExitStack) -> Stack:
    started = time.monotonic()
    stack = exits.enter_context(own_stack(people))
    if "elasticsearch" not in stack.info["pids"]:
        raise CommandError("the events path is measured too, and this stack has no Elasticsearch")
    print(f"a stack with {people:,} people, after {time.monotonic() - started:,.0f} s", flush=True)
    return stack


def check_room(sizes: Iterable[int]) -> None:
    """Raises CommandError where the disk has not the room for so many people: better now than after an hour."""
    needed, folder = sum(sizes) * _DISK, tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CommandError(f"{needed / 1e9:.1f} GB are needed in {folder}, which has {free / 1e9:.1f} GB: name another folder in TMPDIR")


def _settle(bases: list[psutil.Process]) -> None:
    """Wait until merges and vacuums are over: no base takes more than a tenth of a core for a minute; or for a quarter of an hour."""
    started = quiet_since = time.monotonic()
    before = [cpu_seconds(base) for base in bases]
    while (now := time.monotonic()) - quiet_since < _QUIET_SECONDS and now - started < _MOST_QUIET_SECONDS:
        time.sleep(5)
        after = [cpu_seconds(base) for base in bases]
        if max(new - old for new, old in zip(after, before, strict=True)) > _QUIET_CORES * 5:
            quiet_since = time.monotonic()
        before = after
    print(f"settled after {time.monotonic() - started:,.0f} s", flush=True)


class _Notes:
    """What the turns of one path on one stack came to."""

    def __init__(self, asker: Asker, path: str) -> None:
        self._asker, self._path = asker, path
        self._count = ASKED // 10 if path == "people" else ASKED
        self._medians: list[float] = []
        self._cpu: dict[str, list[float]] = {name: [] for name in _PROCESSES}

    def turn(self) -> Took:
        """Sequential requests, the time of each; CPU of each process over all of them."""
        asked = [self._asker.cpfs(10 if self._path == "base-a" else 1) for _ in range(self._count)]
        seconds, before = [], [cpu_seconds(one) for one in self._asker.processes]
        for digits in asked:
            started = time.perf_counter()
            self._asker.ask(self._path, digits)
            seconds.append(time.perf_counter() - started)
        spent = [cpu_seconds(one) - earlier for one, earlier in zip(self._asker.processes, before, strict=True)]
        self._medians.append(statistics.median(seconds))
        for name, each in zip(_PROCESSES, spent, strict=True):
            self._cpu[name].append(each / self._count)
        return Took(sum(seconds), sum(spent), self._count)

    def result(self) -> dict[str, Any]:
        """The first turn warmed up."""
        p50 = spread(self._medians[1:])
        cpu = {name: round(statistics.median(each[1:]) * 1e6) for name, each in self._cpu.items()}
        return {"p50_us": round(p50.median * 1e6), "turns_us": [round(one * 1e6) for one in self._medians[1:]], "cpu_us": cpu}


def measure_threads(stack: Stack, repetitions: int = 3) -> list[dict[str, int]]:
    """Messages a second of one worker process by threads, over 1 client and over 20."""
    rows = []
    for clients in (1, 20):
        with bench(stack, clients, threads=max(THREADS)) as at:
            took = in_turns({str(threads): _drain(at, threads) for threads in THREADS}, repetitions)
            for threads, each in took.items():
                speed = spread(one.units / one.wall for one in each)
                numbers = {"median": round(speed.median), "low": round(speed.low), "high": round(speed.high)}
                cpu = round(statistics.median(one.each("cpu") for one in each) * 1e6)
                rows.append({"clients": clients, "threads": int(threads), **numbers, "cpu_us": cpu})
                print(f"{clients:>3} clients, {threads} threads: {numbers['median']:,} messages/s", flush=True)
    return rows


def _drain(at: Bench, threads: int) -> Callable[[], Took]:
    def once() -> Took:
        at.fill(MESSAGES)
        worker, left, lock = Worker(at.settings, **at.collaborators), [MESSAGES], threading.Lock()

        def rounds() -> None:
            while left[0] > 0 and (messages := worker.gather()):
                worker.round(messages)
                with lock:
                    left[0] -= len(messages)

        running = [threading.Thread(target=rounds, daemon=True) for _ in range(threads)]

        def work() -> int:
            for thread in running:
                thread.start()
            while left[0] > 0 and any(thread.is_alive() for thread in running):
                time.sleep(0.001)
            return MESSAGES

        took = timed(work)
        for thread in running:  # some still wait for what comes next, which is the next turn's
            thread.join()
        if left[0] > 0:
            raise CommandError(f"{left[0]} of {MESSAGES} messages were not answered")
        return took

    return once


def draw_sizes(rows: list[dict[str, Any]], file: Path) -> None:
    """p50 and CPU a request against people, both axes logarithmic."""
    figure, (latency, cost) = plt.subplots(1, 2, figsize=(11, 4))
    people = [row["people"] for row in rows]
    for path in PATHS:
        style = {
            "color": COLOURS[_COLOUR[path]],
            "marker": "o",
            "ls": "--" if path in ("base-a", "search") else "-",
            "label": _LABELS[path],
        }
        found = [row["paths"][path] for row in rows]
        latency.plot(people, [one["p50_us"] / 1000 for one in found], **style)
        cost.plot(people, [sum(one["cpu_us"].values()) / 1000 for one in found], **style)
    latency.set(title="p50 of a request", ylabel="milliseconds")
    cost.set(title="CPU of all processes, a request", ylabel="milliseconds of CPU")
    for axes in (latency, cost):
        axes.set(xscale="log", yscale="log", xlabel="people in the bases")
        axes.set_xticks(people, [f"{one:,}" for one in people])
        axes.set_xticks([], minor=True)
    cost.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_threads(rows: list[dict[str, int]], file: Path) -> None:
    """Messages a second against threads."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    for clients, line in ((1, "-"), (20, "--")):
        mine = [row for row in rows if row["clients"] == clients]
        bars = [[row["median"] - row["low"] for row in mine], [row["high"] - row["median"] for row in mine]]
        label = f"{clients} client{'s' if clients > 1 else ''}"
        style: dict[str, Any] = {"color": COLOURS["people"], "ls": line, "marker": "o", "capsize": 3, "label": label}
        axes.errorbar([row["threads"] for row in mine], [row["median"] for row in mine], bars, **style)
    axes.set(title="One people worker on two shared cores", xlabel="threads", ylabel="messages a second", ylim=0, xticks=THREADS)
    axes.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def wanted(given: list[str]) -> list[int]:
    """The sizes that a command line asks for, in order; wrong use ends the process with status 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default=SIZES, type=_sizes, help="numbers of people, with commas between them (10000,100000)")
    parser.add_argument("--million", action="store_true", help="also with 1,000,000 people: half an hour more, 11 GB of disk")
    options = parser.parse_args(given)
    sizes = sorted({*options.sizes, *([MILLION] if options.million else [])})
    if len(sizes) < 2:
        parser.error("two sizes at least, to compare them")
    return sizes


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",")]
    if min(sizes) < synthetic.FIXED_PEOPLE:
        raise argparse.ArgumentTypeError(f"a size is {synthetic.FIXED_PEOPLE} people at least")
    return sizes


def main(given: list[str]) -> int:
    """0 measured and drawn, 1 not, 2 wrong use."""
    sizes = wanted(given)
    try:
        check_room(sizes)
        print("sizes: " + ", ".join(f"{people:,}" for people in sizes) + " people", flush=True)
        with logged_aside(), own_stack(2_000) as stack:
            threads = measure_threads(stack)
        results = {**context(), "processes": list(_PROCESSES), "threads": threads, "sizes": measure_sizes(sizes)}
    except (ConsumidorError, psutil.Error) as error:
        print(f"nothing was written: {error}", file=sys.stderr)
        return 1
    write_json(FILE, results)
    draw_sizes(results["sizes"], RESULTS / "scale-sizes.png")
    draw_threads(threads, RESULTS / "scale-threads.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
