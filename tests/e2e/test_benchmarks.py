"""The load test as it is run: against a stack that is there, against what is not, and against a bureau of canned answers."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load_results, ratios
from benchmarks.load_results import read_run
from benchmarks.locust_tables import ENTRIES, LATEST, PAGE, SCORE
from benchmarks.locust_tables import PEOPLE as PEOPLE_ENTRY
from consumidor.errors import CommandError
from consumidor.local.running import register_client
from consumidor.local.supervisor import free_port
from tests.servers.stack import PEOPLE, RunningStack

ROOT = Path(__file__).parents[2]
ALL_HEADLINES = {PEOPLE_ENTRY, SCORE, LATEST, PAGE}


def python(*arguments: str, secret: str = "") -> subprocess.CompletedProcess[str]:
    """Python with these arguments."""
    environment = {**os.environ, "CLIENT_SECRET": secret, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def load(*arguments: str, secret: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks.load` with these arguments."""
    return python("-m", "benchmarks.load", *arguments, secret=secret)


class Bureau(ThreadingHTTPServer):
    """Answers every path, and the issuer's, at once and always the same; of people requests no response ever comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Canned)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.statuses: dict[str, int] = {}  # by the beginning of a path, where it is not the right one
        self.accepts = 1_000_000  # so many people requests; a later one waits for an answer until all is over
        self.over = threading.Event()
        self.asked: list[str] = []

    def options(self) -> tuple[str, ...]:
        """Whom `load` is to ask."""
        return ("--api", self.url, "--token-url", f"{self.url}/token", "--client-id", "me")

    def answer(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        self.asked.append(f"{method} {path}")
        if self.posted() > self.accepts and method == "POST" and path == "/v1/people/requests":
            self.over.wait(60)
        if wrong := next((status for start, status in self.statuses.items() if path.startswith(start)), None):
            return wrong, {"title": "no"}
        body: dict[str, tuple[int, dict[str, Any]]] = {
            "/token": (200, {"access_token": "token", "expires_in": 3600}),
            "/v1/people/requests": (202, {"request_id": str(uuid.uuid4())}),
            "/v1/people/responses": (200, {"responses": []}),
            "/v1/events/latest": (200, {"bureau_inquiry": None, "financial_movement": None, "card_purchase": None}),
            "/v1/events": (200, {"events": [], "next": None}),
        }
        return body.get(path.partition("?")[0], (200, {"score": 500, "band": "C", "model": "m", "reasons": []}))

    def posted(self) -> int:
        """People requests that came."""
        return self.asked.count("POST /v1/people/requests")


class Canned(BaseHTTPRequestHandler):
    """Its connections."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        assert isinstance(self.server, Bureau)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, body = self.server.answer(self.command, self.path)
        sent = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)
        except ConnectionError:  # a request that was given up
            self.close_connection = True

    do_GET = do_POST = _answer  # noqa: N815 - the names it is called by

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def bureau() -> Iterator[Bureau]:
    """One that listens."""
    with Bureau() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.mark.stack
@pytest.mark.parametrize("arrivals", ["0", "15"])
def test_a_short_run_on_all_three_paths(stack: RunningStack, tmp_path: Path, arrivals: str) -> None:
    """Closed and open: every path is asked and answered rightly, the run says which model it was, its three files are there."""
    client = register_client(stack.home, f"load-{arrivals}")  # nobody else takes its responses
    whom = ("--api", stack.info["api"], "--token-url", f"{stack.info['issuer']}/oauth2/token", "--client-id", client["client_id"])
    options = ("--stages", "smoke", "--arrivals", arrivals, "--people", str(PEOPLE), "--name", "run", "--to", str(tmp_path))
    ran = load(*whom, *options, "--slo", str(generous(tmp_path)), secret=client["client_secret"])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run = read_run(tmp_path / "run")
    assert run["model"].startswith("closed" if arrivals == "0" else "open: at most 15 arrivals")
    assert run["model"] in ran.stdout
    assert run["entries"].keys() == set(ENTRIES)
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


@pytest.mark.parametrize("status", [404, 401, 403, 500, 503])
@pytest.mark.parametrize(("path", "asked"), [
    ("people", "/v1/people/responses"), ("score", "/v1/score/{cpf}"), ("events", "/v1/events/latest"),
])  # fmt: skip
def test_a_path_that_does_not_answer(bureau: Bureau, path: str, asked: str, status: int) -> None:
    """Each path of the mix is asked once, by a read; the first that is missing or refuses is named, and the person is not."""
    bureau.statuses = {asked.partition("{")[0]: status}
    with pytest.raises(CommandError, match=f"^the {path} path cannot be loaded: GET {asked} answers {status}") as raised:
        load_results.check_paths(bureau.url, "token", ("people", "score", "events"), "46509208172")
    assert "465" not in raised.value.detail
    assert all(one.startswith("GET ") for one in bureau.asked)


def test_a_mix_is_asked_for_its_own_paths_alone(bureau: Bureau) -> None:
    """A stack without Base C can be loaded with what it has."""
    bureau.statuses = {"/v1/events": 404}
    load_results.check_paths(bureau.url, "token", ("people", "score"), "46509208172")
    assert len(bureau.asked) == 2


def test_no_load_on_a_stack_without_events(bureau: Bureau, tmp_path: Path) -> None:
    """One line and status 1 before any load; an earlier run's results stay."""
    bureau.statuses = {"/v1/events": 404}
    (tmp_path / "load").mkdir()
    ran = load(*bureau.options(), "--to", str(tmp_path), secret="secret")
    refused(ran, "the events path cannot be loaded: GET /v1/events/latest answers 404: there is no such path")
    assert len(ran.stderr.splitlines()) == 1
    assert list(tmp_path.glob("**/*")) == [tmp_path / "load"]
    assert sum("/v1/score" in one for one in bureau.asked) <= 1


def test_a_broken_run_does_not_replace_a_good_one(bureau: Bureau, tmp_path: Path) -> None:
    """Where nobody named it, a run that breaks a threshold leaves the results as they were, and says so."""
    (tmp_path / "slo.json").write_text('{"score: GET score": {"p95_ms": 0}}')
    (tmp_path / "load").mkdir()
    (tmp_path / "load" / "run.json").write_text("good")
    options = ("--mix", "score", "--stages", "smoke", "--slo", str(tmp_path / "slo.json"), "--to", str(tmp_path))
    ran = load(*bureau.options(), *options, secret="secret")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "broken: score: GET score: p95_ms" in ran.stdout
    assert f"{tmp_path / 'load'} is as it was" in ran.stdout
    assert [file.read_text() for file in (tmp_path / "load").iterdir()] == ["good"]


def test_an_interrupted_run(bureau: Bureau, tmp_path: Path) -> None:
    """Ctrl-C under load ends it with one line and writes nothing."""
    command = [sys.executable, "-m", "benchmarks.load", *bureau.options(), "--mix", "score", "--stages", "soak", "--to", str(tmp_path)]
    environment = {**os.environ, "CLIENT_SECRET": "secret"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as running:  # fmt: skip
        while sum("/v1/score" in one for one in bureau.asked) < 10 and running.poll() is None:
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "interrupted: nothing was written" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


# The locustfile as it is, but for how long it waits.
IMPATIENT = """
from benchmarks import locustfile
from benchmarks.locustfile import *
locustfile.RESPONSE_SECONDS = 1.0
"""


@pytest.mark.parametrize("arrivals", ["0", "2"])
def test_every_people_request_counts(bureau: Bureau, tmp_path: Path, arrivals: str) -> None:
    """Closed and open: one that gets no response is a failure, and so is one still under way when the end has been waited for."""
    bureau.accepts = 3  # whose response is waited for in vain; the others wait to be accepted
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    options = ("--mix", "people", "--stages", "smoke", "--arrivals", arrivals, "--results", str(tmp_path))
    ran = python("-m", "locust", "-f", str(tmp_path / "impatient.py"), "--headless", "--skip-log", *bureau.options(), *options,
                 secret="secret")  # fmt: skip
    assert ran.returncode == 1, ran.stdout + ran.stderr
    entry = json.loads((tmp_path / "run.json").read_text())["entries"][PEOPLE_ENTRY]
    assert entry["requests"] >= bureau.posted() > 3
    assert entry["failures_percent"] == 100
    assert f"{PEOPLE_ENTRY}: no response in time" in ran.stdout
    assert f"{PEOPLE_ENTRY}: not answered when the run was over" in ran.stdout


# Prints, by entry, the milliseconds of a request that was due three seconds before it could be sent.
LATE = """
import json, sys, time
from types import SimpleNamespace
from benchmarks import locustfile
from locust.env import Environment
locustfile.RESPONSE_SECONDS = 0.1
locustfile._target = SimpleNamespace(token=lambda: "token", cpfs=["46509208172"], waiting={}, early={}, receivers=(1, 2))
environment, found = Environment(), {}
environment.events.request.add_listener(lambda name, response_time, **_: found.setdefault(name, response_time))
for kind in (locustfile.PeopleUser, locustfile.ScoreUser, locustfile.EventsUser):
    kind.host = sys.argv[1]
    user = kind(environment)
    user.on_start()
    for _ in range(3):
        user.ask(time.perf_counter() - 3)
print(json.dumps(found))
"""


def test_a_request_is_timed_from_when_it_was_due(bureau: Bureau) -> None:
    """On all three paths what the generator is late with counts."""
    ran = python("-c", LATE, bureau.url)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert {name for name, milliseconds in found.items() if milliseconds >= 3_000} == ALL_HEADLINES


@pytest.mark.parametrize("arguments", [
    ("--mix", "everything"), ("--stages", "forever"), ("--name", "../up"),
    ("--arrivals", "many"), ("--arrivals", "-1"), ("--arrivals", "nan"),
])  # fmt: skip
def test_wrong_use(arguments: tuple[str, str]) -> None:
    """Status 2, with what can be chosen."""
    refused(load(*arguments), "usage:", status=2)


def test_an_unknown_comparison() -> None:
    """Status 2, and the names there are."""
    ran = subprocess.run([sys.executable, "-m", "benchmarks.ratios", "faster"], cwd=ROOT, capture_output=True, text=True, check=False)
    refused(ran, f"no such comparison: faster; there are {', '.join(ratios.COMPARISONS)}", status=2)
