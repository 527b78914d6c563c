"""Benchmarks: figures in prose that cannot rot, thresholds, ratios, and the simulated hour."""

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks import figures, load_bodies, load_results, measure, profiles, ratios, scale, simulation, slo
from benchmarks.locust_tables import ENTRIES, HEADLINES, MIXES
from benchmarks.measure import RESULTS, ROOT, Took, in_turns, ratio
from consumidor.errors import CommandError
from consumidor.local import synthetic
from consumidor.local.seeding import SEED


@pytest.mark.parametrize("path", figures.texts(), ids=lambda path: path.name)
def test_every_figure_in_a_text_is_what_its_file_says(path: Path) -> None:
    """Each number of README, notebooks and the other texts that names a results file agrees with it."""
    assert list(figures.wrong_figures(path.read_text("utf-8"), path.name)) == []


def test_the_readme_names_where_its_figures_come_from() -> None:
    """What it costs and what it survives are figures of results files, none of them typed in by hand."""
    text = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"<!-- figure: (\S+?)#", text))
    assert named == {"ratios.json", "load/run.json", "faults.json"}
    assert text.count("<!-- figure:") > 40


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


def test_thresholds_are_near_what_was_measured() -> None:
    """The committed runs keep each threshold, and none is so wide that a path fifteen times slower would keep it too."""
    runs = [load_results.read_run(RESULTS / name)["entries"] for name in ("load", "open")]
    for entries in runs:
        assert slo.broken(slo.THRESHOLDS, entries, {name for path in MIXES["even"] for name in HEADLINES[path]}) == []
    for name, limits in slo.THRESHOLDS.items():
        for key, limit in limits.items():
            assert limit <= 15 * max(entries[name][key] for entries in runs), (name, key)


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


def test_four_failures_in_a_hundred_thousand() -> None:
    """They are not rounded to none: a threshold of 0 is broken, and the table shows them."""
    entry = SimpleNamespace(fail_ratio=4 / 100_000, num_requests=100_000, total_rps=1.0, max_response_time=9.0,
                            get_response_time_percentile=lambda _: 5)  # fmt: skip
    numbers = load_results.entry_numbers(entry)
    assert slo.broken({"score": {"failures_percent": 0}}, {"score": numbers}, {"score"}) == ["score: failures_percent 0.004 is over 0"]
    run = {"entries": {"score": numbers}, "broken": [], "model": "closed", "mix": "score", "stages": "smoke", "duration_s": 5.0}
    assert " 0.004 " in load_results.table(run, [])


@pytest.mark.parametrize(("content", "said"), [
    ("", "must map entries to numbers"),
    ("[]", "must map entries to numbers"),
    ('{"score": 1}', "must map entries to numbers"),
    ('{"score: GET score": {"p95_ms": "fast"}}', "must map entries to numbers"),
    ('{"score: GET score": {"p95_ms": true}}', "must map entries to numbers"),
    ('{"score: GET score": {"p95_ms": NaN}}', "must map entries to numbers"),
    ('{"score: GET score": {"p95_ms": -1}}', "must map entries to numbers"),
    ('{"score: GET scores": {"p95_ms": 1}}', "there is no entry 'score: GET scores'; there are 'people: POST to response'"),
    ('{"score: GET score": {"p95": 1}}', "there is no number 'p95' of an entry; there are p50_ms, p95_ms"),
])  # fmt: skip
def test_a_wrong_file_of_thresholds(tmp_path: Path, content: str, said: str) -> None:
    """Refused in one line with what it should be, before any load: a misspelt entry or number would never be broken."""
    (tmp_path / "slo.json").write_text(content)
    with pytest.raises(CommandError, match=said) as raised:
        slo.read(str(tmp_path / "slo.json"))
    assert len(raised.value.detail.splitlines()) == 1


def test_a_right_file_of_thresholds(tmp_path: Path) -> None:
    """Our own thresholds, and one on every entry and number there is, can be read from a file."""
    for thresholds in (slo.THRESHOLDS, {name: dict.fromkeys(slo.KEYS, 1.5) for name in ENTRIES}):
        (tmp_path / "slo.json").write_text(json.dumps(thresholds))
        assert slo.read(str(tmp_path / "slo.json")) == thresholds


DEBTS = [{"amount_cents": 700, "status": "open"}, {"amount_cents": 300, "status": "paid"}]
REPORT = {"cpf": "465.092.081-72", "name": "x", "debts": DEBTS, "total_open_cents": 700}
LARGE = {"status": "found", "report_url": "https://...", "bytes": 1_310_720, "sha256": "0" * 64}


@pytest.mark.parametrize(("delivery", "said"), [
    ({"status": "found", "report": REPORT}, None),
    ({"status": "found", "report": {**REPORT, "cpf": "524.432.897-29"}}, "a report on somebody else"),
    ({"status": "found", "report": {**REPORT, "total_open_cents": 1_000}}, "a report that does not add up"),
    ({"status": "found", "report": {}}, "another body than promised (KeyError)"),
    ({"status": "found"}, "another body than promised (KeyError)"),
    ({"status": "not_found"}, "status not_found"),
    (LARGE, None),
    ({**LARGE, "bytes": 9}, "a link to no large report"),
])  # fmt: skip
def test_what_is_wrong_with_a_delivery(delivery: dict[str, Any], said: str | None) -> None:
    """It must be a whole report, and on the very person that was asked about."""
    assert load_bodies.fault(load_bodies.delivery, delivery, "46509208172") == said


def test_ways_take_turns() -> None:
    """Every second turn runs in the reverse order; the first one warms up; ratios are taken turn by turn."""
    ran: list[str] = []

    def way(name: str, seconds: float) -> Took:
        ran.append(name)
        return Took(seconds * len(ran), seconds, 10)

    took = in_turns({"a": lambda: way("a", 2.0), "b": lambda: way("b", 1.0)}, 5)
    assert "".join(ran) == "baabbaabbaab"
    assert ratio(took["a"], took["b"], "cpu") == (2.0, 2.0, 2.0, 5)


def test_the_simulated_hour_is_the_committed_one() -> None:
    """Running the simulation gives `simulation.json`: neither the deployment's policy nor the measured rate has moved on without it."""
    committed = json.loads(simulation.FILE.read_text("utf-8"))
    assert committed["measured_task_rate"] == simulation.measured_rate()
    hours = {name: simulation.simulate(deployment) for name, deployment in simulation.scenarios(simulation.measured_rate()).items()}
    assert {name: hour.summary() for name, hour in hours.items()} == committed["scenarios"]


def test_what_is_let_in_waits_for_seconds() -> None:
    """What the text says of the simulated hour: with the deployed doors the oldest waits for seconds, with open ones for minutes."""
    committed = json.loads(simulation.FILE.read_text("utf-8"))["scenarios"]
    deployed, opened = ([hour for name, hour in committed.items() if name.startswith(doors)] for doors in ("as deployed", "doors open"))
    assert len(deployed) == len(opened) == 2
    assert all(hour["longest_age_s"] < 20 and hour["throttled"] > 0 for hour in deployed)
    assert all(120 < hour["longest_age_s"] < 300 and hour["refused"] == 0 for hour in opened)


@pytest.mark.parametrize(("given", "sizes"), [
    ([], [10_000, 100_000]),
    (["--million"], [10_000, 100_000, 1_000_000]),
    (["--sizes", "1000000,10000", "--million"], [10_000, 1_000_000]),
    (["--sizes", "300,20,300"], [20, 300]),
])  # fmt: skip
def test_sizes(given: list[str], sizes: list[int]) -> None:
    """Each size once, the fewest people first: the first and the last one are compared."""
    assert scale.wanted(given) == sizes


@pytest.mark.parametrize("sizes", ["10000", "5,5", "2,10000", "-5,10000", "many", ""])
def test_wrong_sizes(sizes: str) -> None:
    """One size alone would be as fast as itself; status 2."""
    with pytest.raises(SystemExit) as raised:
        scale.wanted([f"--sizes={sizes}"])
    assert raised.value.code == 2


def test_no_room_for_a_million(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that would fill up is named before anything is started."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000_000))
    scale.check_room([10_000, 100_000])
    with pytest.raises(CommandError, match=r"^11\.1 GB are needed in .*, which has 10\.0 GB: name another folder in TMPDIR$"):
        scale.check_room([10_000, 100_000, 1_000_000])


def test_anyone_is_asked_about() -> None:
    """The people drawn are those of the stack, the first and the last of them too, without making all of them."""
    asker = object.__new__(scale.Asker)
    asker.people, asker._random = 20, random.Random(7)
    assert set(asker.cpfs(1_000)) == {person.cpf for person in synthetic.people(SEED, 20, 2026)}


def test_the_cpu_time_of_children_that_are_gone() -> None:
    """PostgreSQL's come and go: what they took counts, and no one falls over them."""
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    with subprocess.Popen([sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); input()"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:  # fmt: skip
        process, seen = psutil.Process(parent.pid), 0
        while seen == 0 or process.children():
            seen += len(process.children())
        spent = measure.cpu_seconds(process)
        parent.communicate(b"\n")
    assert spent >= 0.5


def test_a_profile_is_of_our_side() -> None:
    """Shares are of the samples below our function alone; a function counts once a stack, and glue not at all."""
    stacks = """\
<module> (x.py:1);round (consumidor/people/worker.py:9);verify (consumidor/people/request_token.py:5);run (threading.py:1) 30
<module> (x.py:1);round (consumidor/people/worker.py:9);send (consumidor/queues.py:5);send (consumidor/queues.py:7) 10
<module> (x.py:1);fill (benchmarks/ratios_people.py:9);sign (jwt/api.py:5) 500
"""
    found = profiles.shares(stacks, "round (consumidor/people/worker.py")
    assert found == {
        "samples": 40, "shares": {"verify (consumidor/people/request_token.py)": 0.75, "send (consumidor/queues.py)": 0.25},
    }  # fmt: skip


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
