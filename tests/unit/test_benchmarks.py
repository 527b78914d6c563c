"""Benchmarks: figures in prose that cannot rot, thresholds, ratios, and the simulated hour."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import figures, load_results, ratios, simulation, slo
from benchmarks.measure import RESULTS, Took, in_turns, ratio
from consumidor.errors import CommandError


@pytest.mark.parametrize("path", figures.texts(), ids=lambda path: path.name)
def test_every_figure_in_a_text_is_what_its_file_says(path: Path) -> None:
    """Each number of README, notebooks and the other texts that names a results file agrees with it."""
    assert list(figures.wrong_figures(path.read_text("utf-8"), path.name)) == []


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results with a few numbers."""
    content = {"ratio": 0.8642, "rows": [{"people": 10_000}], "on": True, "name": "x", "small": 1.3, "less": -2}
    (tmp_path / "made.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("text", [
    "0.86<!-- figure: made.json#ratio -->",
    "**0.864**<!-- figure: made.json#ratio --> times",
    "10,000<!-- figure: made.json#rows.0.people -->",
    "-2<!-- figure: made.json#less -->",
    "no figure at all, 12 of them",
])  # fmt: skip
def test_right_figures(results: Path, text: str) -> None:
    """The text chooses decimals, and stands as it is."""
    assert list(figures.wrong_figures(text, "text", results)) == []
    assert figures.refreshed(text, results) == text


@pytest.mark.parametrize(("text", "said"), [
    ("0.87<!-- figure: made.json#ratio -->", "0.86"),
    ("100,000<!-- figure: made.json#rows.0.people -->", "10,000"),
    ("1<!-- figure: made.json#gone -->", "no number at made.json#gone"),
    ("1<!-- figure: made.json#name -->", "no number at made.json#name"),
    ("1<!-- figure: made.json#rows.7.people -->", "no number at made.json#rows.7.people"),
    ("1<!-- figure: gone.json#ratio -->", "no number at gone.json#ratio"),
    ("word <!-- figure: made.json#ratio -->", "a comment of this shape must stand right behind a number"),
])  # fmt: skip
def test_wrong_figures(results: Path, text: str, said: str) -> None:
    """A number that differs, or a comment that leads nowhere, is found, with what it should be."""
    assert [one.expected for one in figures.wrong_figures(text, "text", results)] == [said]


def test_refreshing_changes_the_number_alone(results: Path) -> None:
    """The same words with the file's number, in the decimals of the old one."""
    stale = "from **1.20**<!-- figure: made.json#ratio --> to 9<!-- figure: made.json#rows.0.people -->"
    assert (
        figures.refreshed(stale, results)
        == "from **0.86**<!-- figure: made.json#ratio --> to 10,000<!-- figure: made.json#rows.0.people -->"
    )


def test_the_table_is_the_file() -> None:
    """RESULTS.md is what `ratios.json` renders to, and every target has a row in it."""
    committed = json.loads(ratios.FILE.read_text("utf-8"))
    assert ratios.TABLE.read_text("utf-8") == ratios.render(committed)
    assert set(committed["figures"]) == set(ratios.TARGETS)
    for name, row in committed["figures"].items():
        assert row["repetitions"] >= 5, name
        assert row["verdict"] == ratios.verdict(name, row["median"]), name


def test_what_falls_short_is_explained() -> None:
    """No row of the table misses its target without a word on why."""
    rows = json.loads(ratios.FILE.read_text("utf-8"))["figures"]
    assert {name for name, row in rows.items() if row["verdict"] == "short"} <= set(ratios.REMARKS)


def test_committed_runs_are_whole() -> None:
    """The committed load runs can be read, say which model ran, and name no machine."""
    for name in ("load", "open"):
        run = load_results.read_run(RESULTS / name)
        assert run["model"].startswith("open" if name == "open" else "closed")
        assert set(run["machine"]) == {"cpu", "cores", "memory_gib", "system"}
        assert all(one["requests"] > 0 for one in run["entries"].values())


@pytest.mark.parametrize("missing", ["run.json", "stats.csv", "stats_history.csv"])
def test_an_incomplete_results_folder(tmp_path: Path, missing: str) -> None:
    """One line that says what is missing."""
    for name in {"run.json", "stats.csv", "stats_history.csv"} - {missing}:
        (tmp_path / name).write_text("{}")
    with pytest.raises(CommandError, match=f"{missing} missing"):
        load_results.read_run(tmp_path)


def test_thresholds() -> None:
    """What is kept is silent; what is over, or was never measured, is named."""
    limits = {"score": {"p95_ms": 50.0, "failures_percent": 0.0}}
    assert slo.broken(limits, {"score": {"requests": 9, "p95_ms": 50.0, "failures_percent": 0}}, {"score"}) == []
    over = slo.broken(limits, {"score": {"requests": 9, "p95_ms": 51.0, "failures_percent": 1.5}}, {"score"})
    assert over == ["score: p95_ms 51 is over 50", "score: failures_percent 1.5 is over 0"]
    assert slo.broken(limits, {}, {"score"}) == ["score: nothing was measured"]


@pytest.mark.parametrize("content", ["", "[]", '{"score": 1}', '{"score": {"p95_ms": "fast"}}'])
def test_a_wrong_file_of_thresholds(tmp_path: Path, content: str) -> None:
    """Refused with what it should be, before any load."""
    (tmp_path / "slo.json").write_text(content)
    with pytest.raises(CommandError, match="must map entries to numbers"):
        slo.read(str(tmp_path / "slo.json"))


def test_ways_take_turns() -> None:
    """Every second turn runs in the reverse order; the first one warms up; ratios are taken turn by turn."""
    ran: list[str] = []

    def way(name: str, seconds: float) -> Took:
        ran.append(name)
        return Took(seconds * len(ran), seconds, 10)

    took = in_turns({"a": lambda: way("a", 2.0), "b": lambda: way("b", 1.0)}, 5)
    assert "".join(ran) == "baabbaabbaab"
    assert ratio(took["a"], took["b"], "cpu") == (2.0, 2.0, 2.0, 5)


SCALING = simulation.ENVIRONMENTS["prd"].worker_scaling
TEN_TASKS = simulation.Deployment(SCALING, 100.0)  # for 1,000 requests a second


def steps(low: float, high: float) -> Callable[[int], float]:
    """`high` for five minutes, ten minutes into the hour; else `low`."""
    return lambda second: high if 600 <= second < 900 else low


def test_a_steady_hour() -> None:
    """At a constant rate that the first tasks just can do nothing waits, then or later: busy tasks are not taken away."""
    hour = simulation.simulate(TEN_TASKS, coming=steps(1_000, 1_000))
    assert (max(hour.backlog), max(hour.age)) == (0, 0)
    assert min(hour.tasks) == 10


def test_by_the_backlog_alone_busy_tasks_would_go() -> None:
    """Why there is a second policy: an empty queue alone would take tasks away until it fills."""
    backlog_alone = replace(TEN_TASKS, scaling=replace(SCALING, cpu_percent=100_000))
    assert max(simulation.simulate(backlog_alone, coming=steps(1_000, 1_000)).backlog) > 100_000


def test_a_burst_is_worked_off_and_nothing_is_lost() -> None:
    """What was let in is answered or still waits; more tasks come, never over the limit, and later they go."""
    coming = steps(800, 5_000)
    hour = simulation.simulate(TEN_TASKS, coming=coming)
    came = [coming(second) for second in range(simulation.HOUR)]
    before = [0.0, *hour.backlog[:-1]]
    done = sum(min(tasks * 100.0, waited + new) for tasks, waited, new in zip(hour.tasks, before, came, strict=True))
    assert hour.accepted == sum(came) == pytest.approx(done + hour.backlog[-1])
    assert (max(hour.tasks), hour.backlog[-1]) == (SCALING.max_tasks, 0)
    assert hour.tasks[-1] < SCALING.max_tasks
    assert max(hour.age) > 60


def test_doors_refuse_what_would_wait_too_long() -> None:
    """The gateway's bucket and the backlog limit each turn requests away, and every one of them is counted."""
    limited = replace(TEN_TASKS, throttle_rate=2_500, throttle_burst=5_000, backlog_limit=20_000)
    hour = simulation.simulate(limited, coming=steps(3_000, 3_000))
    assert hour.throttled > 0
    assert hour.refused > 0
    assert hour.accepted + hour.throttled + hour.refused == pytest.approx(3_600 * 3_000)
    assert max(hour.backlog) <= 20_000 + 5_000


def test_scaling_waits_for_three_minutes_of_evidence() -> None:
    """One bad minute adds no task; three do, a minute after the third can be read."""
    scaler = simulation.Autoscaler(SCALING)
    wanted = [scaler.look(second, 10, 100_000, 100) for second in range(0, 601, 60)]
    assert wanted[:4] == [10, 10, 10, SCALING.max_tasks]
