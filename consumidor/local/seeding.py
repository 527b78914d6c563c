"""Fills the bases with synthetic people: the same ones in each, as many as asked for, continuing where there are fewer."""

import datetime as dt
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from consumidor import cpf
from consumidor.local import synthetic, synthetic_credit, synthetic_events
from consumidor.local.files import write_private
from consumidor.local.supervisor import side_by_side
from consumidor.people import load
from consumidor.people.vault import Vault

SEED = 20261122  # any number; another one makes other people
_SOURCE = f"synthetic-{SEED}"


class Bases(NamedTuple):
    """Where the bases are, as their owner; `vault` seals for Base A. `embedded` are those whose data lies in the home, at whatever port."""

    base_a: str
    vault: Vault
    base_b: str
    base_c: str
    pseudonym_key: bytes
    embedded: frozenset[str] = frozenset()

    def place(self, base: str) -> str:
        """What one base is told from another by: where it is, less credentials."""
        if base == "base_a" or base in self.embedded:
            return "embedded"  # or Base A, which says by itself how far it is
        return re.sub(r"//[^/,]*@", "//", self.base_b if base == "base_b" else self.base_c)


class Plan(NamedTuple):
    """Whom to seed: people `start` to `end` - 1, as of `day`, the first seeding's; `progress` is told of each batch's size."""

    bases: Bases
    day: dt.date
    start: int
    end: int
    progress: Callable[[int], None]

    def people(self) -> Iterator[synthetic.SyntheticPerson]:
        """The people themselves."""
        return synthetic.people(SEED, self.end, self.day.year, self.start)


def _base_a(plan: Plan) -> None:
    bases = plan.bases
    load.load(
        bases.base_a, plan.people(), vault=bases.vault, pseudonym_key=bases.pseudonym_key, source=_SOURCE, progress=plan.progress
    )  # fmt: skip


def _base_b(plan: Plan) -> None:
    synthetic_credit.seed_base_b(plan.bases.base_b, plan.people(), plan.bases.pseudonym_key, SEED, plan.day, plan.progress)


def _base_c(plan: Plan) -> None:
    persons = ((person.index, cpf.pseudonym(plan.bases.pseudonym_key, person.cpf)) for person in plan.people())
    events = (event for index, person in persons for event in synthetic_events.events(SEED, index, person, plan.day.year))
    synthetic_events.load_events(plan.bases.base_c, events, plan.progress)


# What fills each base, and what its batches count.
SEEDERS: dict[str, tuple[Callable[[Plan], None], str]] = {
    "base_a": (_base_a, "people in Base A"),
    "base_b": (_base_b, "people in Base B"),
    "base_c": (_base_c, "events in Base C"),
}


class Seeding:
    """How far each base is. For Base A that stands in Base A, in the same transactions; for the others in `home`/seeded.json, by place."""

    def __init__(self, home: Path, bases: Bases) -> None:
        self._file = home / "seeded.json"
        self._bases = bases
        self._lock = threading.Lock()
        self._day = dt.datetime.now(dt.UTC).date()
        self._done: dict[str, dict[str, int]] = {}
        if self._file.exists():
            kept = json.loads(self._file.read_text())
            self._day = dt.date.fromisoformat(kept["day"])
            self._done = {base: done if isinstance(done, dict) else {"embedded": done} for base, done in kept["done"].items()}
        self._note("base_a", load.loaded(bases.base_a, _SOURCE))

    def _note(self, base: str, people: int) -> None:
        self._done.setdefault(base, {})[self._bases.place(base)] = people

    def _seeded(self, base: str) -> int:
        return self._done.get(base, {}).get(self._bases.place(base), 0)

    def run(self, people: int, console: Console) -> None:
        """Fill every base that has fewer than `people` of these people, all at once, with a bar each.

        Raises:
            DependencyDown, CommandError: a base does not answer, or refuses.
        """
        lacking = [base for base in SEEDERS if self._seeded(base) < people and (base != "base_c" or self._bases.base_c)]
        if not lacking:
            return
        self._keep()  # the day, before the first of them
        columns = (TextColumn("  {task.completed:,} {task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
            side_by_side(*(self._task(base, people, bars) for base in lacking))

    def _task(self, base: str, people: int, bars: Progress) -> Callable[[], None]:
        fill, counted = SEEDERS[base]
        start = self._seeded(base)
        bar = bars.add_task(counted, total=None if base == "base_c" else people - start)  # nobody knows how many events beforehand
        plan = Plan(self._bases, self._day, start, people, lambda size: bars.advance(bar, size))

        def task() -> None:
            fill(plan)
            with self._lock:
                self._note(base, people)
                self._keep()

        return task

    def _keep(self) -> None:
        write_private(self._file, {"day": self._day.isoformat(), "done": self._done})
