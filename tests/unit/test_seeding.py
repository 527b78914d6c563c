"""Which people each base is seeded with, from one start to the next; the bases themselves are recorded calls."""

from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from consumidor.errors import DependencyDown
from consumidor.local import seeding
from consumidor.local.seeding import Bases, Plan, Seeding
from consumidor.people.vault import Vault


class Recorder:
    """Stands for the bases: notes who is seeded where, and fails where told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.days: set[Any] = set()
        self.failing = ""
        self.loaded = 0  # what Base A itself says
        self.base_b, self.base_c, self.embedded = "mongodb://base-b.test", "http://base-c.test", frozenset[str]()
        monkeypatch.setattr("consumidor.people.load.loaded", lambda *_: self.loaded)
        monkeypatch.setattr(seeding, "side_by_side", lambda *tasks: [task() for task in tasks])  # in order, for a test
        monkeypatch.setattr(seeding, "SEEDERS", {base: (self._seeder(base), base) for base in ("base_a", "base_b", "base_c")})

    def _seeder(self, base: str) -> Any:
        def fill(plan: Plan) -> None:
            if base == self.failing:
                raise DependencyDown(base)
            self.calls.append((base, plan.start, plan.end))
            self.days.add(plan.day)
            if base == "base_a":
                self.loaded = plan.end

        return fill

    def run(self, home: Path, people: int) -> list[tuple[str, int, int]]:
        """One start's seeding: (base, first, end) of each."""
        self.calls = []
        bases = Bases("", cast("Vault", None), self.base_b, self.base_c, b"", self.embedded)
        Seeding(home, bases).run(people, Console(quiet=True))
        return sorted(self.calls)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A recorder in the place of the bases."""
    return Recorder(monkeypatch)


def test_each_base_once(recorder: Recorder, tmp_path: Path) -> None:
    """The first start fills all three with the same people, the second none."""
    assert recorder.run(tmp_path, 100) == [("base_a", 0, 100), ("base_b", 0, 100), ("base_c", 0, 100)]
    assert recorder.run(tmp_path, 100) == []


def test_more_people_later(recorder: Recorder, tmp_path: Path) -> None:
    """A later start that asks for more adds those alone, as of the same day; one that asks for fewer takes none away."""
    recorder.run(tmp_path, 100)
    assert recorder.run(tmp_path, 150) == [("base_a", 100, 150), ("base_b", 100, 150), ("base_c", 100, 150)]
    assert recorder.run(tmp_path, 10) == []
    assert len(recorder.days) == 1


def test_another_base(recorder: Recorder, tmp_path: Path) -> None:
    """A base that a home has not been on before is seeded from the first, one it has been on is not, whoever logs in to it."""
    recorder.run(tmp_path, 100)
    recorder.base_b, recorder.base_c = "mongodb://other:secret@base-b.test/other", "https://a:b@one.test,https://a:b@two.test"
    assert recorder.run(tmp_path, 100) == [("base_b", 0, 100), ("base_c", 0, 100)]
    recorder.base_b, recorder.base_c = "mongodb://third:secret@base-b.test/other", "http://base-c.test"
    assert recorder.run(tmp_path, 120) == [("base_a", 100, 120), ("base_b", 100, 120), ("base_c", 100, 120)]
    assert not {"secret", "a:b"} & set((tmp_path / "seeded.json").read_text().replace("/", " ").replace("@", " ").split())


def test_an_embedded_base_has_another_port(recorder: Recorder, tmp_path: Path) -> None:
    """What lies in the home is the same base at any port; progress that an earlier version noted is that of the embedded bases."""
    recorder.embedded = frozenset({"base_b", "base_c"})
    (tmp_path / "seeded.json").write_text('{"day": "2026-01-01", "done": {"base_a": 100, "base_b": 100, "base_c": 60}}')
    recorder.loaded = 100
    assert recorder.run(tmp_path, 100) == [("base_c", 60, 100)]
    recorder.base_b, recorder.base_c = "mongodb://base-b.test:2", "http://base-c.test:2"
    assert recorder.run(tmp_path, 100) == []


def test_broken_off(recorder: Recorder, tmp_path: Path) -> None:
    """Where one base was not filled, the next start fills that one, and goes on in Base A where Base A says it stopped."""
    recorder.failing = "base_b"
    with pytest.raises(DependencyDown):
        recorder.run(tmp_path, 100)
    recorder.failing, recorder.loaded = "", 40
    again = recorder.run(tmp_path, 100)
    assert ("base_a", 40, 100) in again
    assert ("base_b", 0, 100) in again
