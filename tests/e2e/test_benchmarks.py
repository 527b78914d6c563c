"""The load test as it is run: against a stack that is there, and against what is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load_results import read_run
from consumidor.local.supervisor import free_port
from tests.servers.stack import PEOPLE, RunningStack

ROOT = Path(__file__).parents[2]


def load(*arguments: str, secret: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks.load` with these arguments."""
    command = [sys.executable, "-m", "benchmarks.load", *arguments]
    environment = {**os.environ, "CLIENT_SECRET": secret}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.stack
@pytest.mark.parametrize("arrivals", ["0", "15"])
def test_a_short_run_on_all_three_paths(stack: RunningStack, tmp_path: Path, arrivals: str) -> None:
    """Closed and open: every path is asked and answered rightly, the run says which model it was, its three files are there."""
    options = ("--stages", "smoke", "--arrivals", arrivals, "--people", str(PEOPLE), "--name", "run", "--to", str(tmp_path))
    ran = load("--home", str(stack.home), *options, "--slo", str(generous(tmp_path)))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run = read_run(tmp_path / "run")
    assert run["model"].startswith("closed" if arrivals == "0" else "open: 15 arrivals")
    assert run["model"] in ran.stdout
    headlines = {"people: POST to response", "score: GET score", "events: GET latest"}
    assert headlines <= run["entries"].keys()
    assert {name: numbers["failures_percent"] for name, numbers in run["entries"].items() if numbers["failures_percent"]} == {}


@pytest.mark.stack
def test_a_broken_threshold_is_an_exit_status(stack: RunningStack, tmp_path: Path) -> None:
    """The run is kept, the threshold is named, the status is 1."""
    (tmp_path / "slo.json").write_text('{"score: GET score": {"p95_ms": 0.001}}')
    ran = load("--home", str(stack.home), "--stages", "smoke", "--mix", "score", "--name", "run", "--to", str(tmp_path), "--slo",
               str(tmp_path / "slo.json"), "--people", str(PEOPLE))  # fmt: skip
    assert ran.returncode == 1
    assert "broken: score: GET score: p95_ms" in ran.stdout
    assert read_run(tmp_path / "run")["broken"]


def generous(folder: Path) -> Path:
    """Thresholds that a machine busy with other tests keeps: no failures, and no more."""
    file = folder / "slo.json"
    file.write_text(json.dumps({name: {"failures_percent": 0} for name in ("people: POST to response", "score: GET score")}))
    return file


def refused(ran: subprocess.CompletedProcess[str], line: str, status: int = 1) -> None:
    """One line, that status, no trace."""
    assert line in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.returncode == status


@pytest.mark.stack
def test_a_refused_token(stack: RunningStack, tmp_path: Path) -> None:
    """With a wrong secret no load is made, and nothing is written."""
    info = stack.info
    ran = load("--api", info["api"], "--token-url", f"{info['issuer']}/oauth2/token", "--client-id", info["clients"]["acme"]["client_id"],
               "--to", str(tmp_path), secret="wrong")  # fmt: skip
    refused(ran, "the issuer refuses a token: 401")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack
def test_no_api(stack: RunningStack, tmp_path: Path) -> None:
    """An address where nothing answers is said before any load is made."""
    client = stack.info["clients"]["acme"]
    ran = load("--api", f"http://127.0.0.1:{free_port()}", "--token-url", f"{stack.info['issuer']}/oauth2/token", "--client-id",
               client["client_id"], "--to", str(tmp_path), secret=client["client_secret"])  # fmt: skip
    refused(ran, "nothing answers at http://127.0.0.1:")
    assert list(tmp_path.iterdir()) == []


def test_no_stack(tmp_path: Path) -> None:
    """One line says how to start one; nothing is written."""
    refused(load("--home", str(tmp_path / "none"), "--to", str(tmp_path / "results")), "no stack is running in")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--mix", "everything"), ("--stages", "forever"), ("--name", "../up"), ("--arrivals", "many")])
def test_wrong_use(arguments: tuple[str, str]) -> None:
    """Status 2, with what can be chosen."""
    refused(load(*arguments), "usage:", status=2)


def test_an_unknown_comparison() -> None:
    """Status 2, and the names there are."""
    ran = subprocess.run([sys.executable, "-m", "benchmarks.ratios", "faster"], cwd=ROOT, capture_output=True, text=True, check=False)
    refused(ran, "no such comparison: faster; there are score, tokens", status=2)
