"""How cost grows: each path with more and more people, the worker with more and more threads. Writes results/scale.json and two plots.

    python -m benchmarks.scale [--sizes 10000,100000] [--million]

One stack a size, all running at once and asked in turns, so that what else the machine does falls on all of them. Elasticsearch then
holds about six events a person: a million of them at 170,000 people.
"""

import argparse
import random
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import psutil
import urllib3

from benchmarks.measure import RESULTS, Took, context, cpu_of, in_turns, logged_aside, spread, timed, write_json
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
SIZES = (10_000, 100_000)
PATHS = ("people", "base-a", "score", "latest", "search")
_LABELS = {"people": "people: POST to response", "base-a": "people: SQL of a batch of 10", "score": "score: GET score",
           "latest": "events: GET latest", "search": "events: GET page"}  # fmt: skip
_COLOUR = {"people": "people", "base-a": "people", "score": "score", "latest": "events", "search": "events"}
THREADS = (1, 2, 4, 8)
ASKED = 200  # requests of a path and size in a turn; people requests a tenth of it, since the emulator's long poll takes 0.1 s a hop
MESSAGES = 2_000
_PROCESSES = ("gateway", "people-worker", "events-feed", "postgres", "mongodb", "elasticsearch")


class Asker:
    """Asks one stack's paths about people drawn from all it has."""

    def __init__(self, stack: Stack, people: int, exits: ExitStack) -> None:
        token = token_of(stack)
        self.stack, self.people, self._random = stack, people, random.Random(7)
        self._api, self._pool, self._headers = stack.info["api"], urllib3.PoolManager(), {"authorization": f"Bearer {token}"}
        self._cpfs = [person.cpf for person in synthetic.people(SEED, people, 2026)]
        self._client = exits.enter_context(Consumidor(self._api, lambda: token))
        self._store = PeopleStore.connect(stack.settings("worker").base_a_dsn, 1)
        exits.callback(self._store.close)
        self._key = stack.settings("api").pseudonym_key
        self.processes = [stack.process(name) for name in _PROCESSES]

    def ask(self, path: str) -> None:
        """One request; its answer is checked."""
        if path == "people":
            assert self._client.ask(self._cpf(), "credit").status == "found"
        elif path == "base-a":
            self._inquire()
        else:
            where = {"score": "/v1/score/{}", "latest": "/v1/events/latest?cpf={}", "search": "/v1/events?cpf={}&limit=20"}[path]
            answer = self._pool.request("GET", self._api + where.format(quote(self._cpf())), headers=self._headers)
            assert answer.status == 200, answer.status

    def _cpf(self) -> str:
        return self._random.choice(self._cpfs)

    def _inquire(self) -> None:
        """As the worker does it, without queues."""
        batch = [Request("bench", str(uuid.uuid4()), cpf.pseudonym(self._key, self._cpf()), "credit", 0) for _ in range(10)]
        assert all(outcome.outcome == "found" for outcome in self._store.inquire(batch))


def measure_sizes(sizes: Iterable[int]) -> list[dict[str, Any]]:
    """A row a size: p50 of each path in microseconds with its spread over the turns, CPU of each process a request."""
    with ExitStack() as exits:
        askers = []
        for people in sizes:
            print(f"a stack with {people:,} people", flush=True)
            askers.append(Asker(exits.enter_context(own_stack(people)), people, exits))
        time.sleep(5)  # what merges and vacuums are still under way
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for path in PATHS:
            notes = {asker.people: _Notes(asker, path) for asker in askers}
            in_turns({str(people): note.turn for people, note in notes.items()})
            found |= {(path, people): note.result() for people, note in notes.items()}
            print(f"{_LABELS[path]:32}" + "".join(f"{found[path, asker.people]['p50_us']:>10,.0f} us" for asker in askers), flush=True)
        return [{"people": asker.people, "paths": {path: found[path, asker.people] for path in PATHS}} for asker in askers]


class _Notes:
    """What the turns of one path on one stack came to."""

    def __init__(self, asker: Asker, path: str) -> None:
        self._asker, self._path = asker, path
        self._count = ASKED // 10 if path == "people" else ASKED
        self._medians: list[float] = []
        self._cpu: dict[str, list[float]] = {name: [] for name in _PROCESSES}

    def turn(self) -> Took:
        """Sequential requests, the time of each; CPU of each process over all of them."""
        seconds = []
        with ExitStack() as exits:
            spent = {name: exits.enter_context(cpu_of([one])) for name, one in zip(_PROCESSES, self._asker.processes, strict=True)}
            for _ in range(self._count):
                started = time.perf_counter()
                self._asker.ask(self._path)
                seconds.append(time.perf_counter() - started)
        self._medians.append(statistics.median(seconds))
        for name, each in spent.items():
            self._cpu[name].append(each[0] / self._count)
        return Took(sum(seconds), sum(each[0] for each in spent.values()), self._count)

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
    latency.set(title="p50 of a request", ylabel="milliseconds", xscale="log", yscale="log", xlabel="people in the bases")
    cost.set(
        title="CPU of all processes, a request", ylabel="milliseconds of CPU", xscale="log", yscale="log", xlabel="people in the bases"
    )
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


def main(given: list[str]) -> int:
    """0 measured and drawn, 1 not, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), type=lambda text: sorted({int(part) for part in text.split(",")}))
    parser.add_argument("--million", action="store_true", help="also with 1,000,000 people: a quarter of an hour of seeding, 10 GB of disk")
    options = parser.parse_args(given)
    sizes = [*options.sizes, 1_000_000] if options.million else options.sizes
    try:
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
