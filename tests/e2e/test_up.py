"""`consumidor up` as a user meets it: what it writes, what survives, what it says when it cannot."""

import os
import signal
import stat
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import psycopg
import pytest
import urllib3

from consumidor.local.aws import KEY_ALIAS, WORKER_ACCOUNT
from tests.servers.stack import RunningStack, processes_in
from tests.tries import best_within

pytestmark = pytest.mark.stack

KEYS = {
    "api", "issuer", "jwks_url", "aws_endpoint_url", "aws_region", "clients", "people_requests_queue", "people_requests_dlq",
    "people_responses_prefix", "people_results_bucket", "events_feed_queue", "events_feed_dlq", "audit_checkpoint_bucket",
    "base_a_dsn", "base_a_worker_dsn", "base_b_uri", "base_c_url", "worker_metrics_url", "logs", "pids",
}  # fmt: skip
PATIENCE = 30  # seconds to wait for what has no bound of its own
PROCESSES = {"postgres", "mongodb", "elasticsearch", "aws", "issuer", "gateway", "people-worker", "events-feed"}


def up(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`consumidor up` that is expected to fail."""
    command = [sys.executable, "-m", "consumidor.cli", "up", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_stack_file(stack: RunningStack) -> None:
    """stack.json has every key of the contract, real process ids, and is its owner's alone."""
    info = stack.info
    assert set(info) == KEYS
    assert set(info["pids"]) == PROCESSES
    assert len(processes_in(info["pids"].values())) == len(PROCESSES)
    assert {"acme", "globex"} <= set(info["clients"])
    for name in ("stack.json", "environment.json", "clients.json", "secrets.json", "issuer-keys.json"):
        assert stat.S_IMODE((stack.home / name).stat().st_mode) == 0o600, name


def test_one_of_each_page(stack: RunningStack) -> None:
    """The gateway serves one /live, /health and /openapi.json for all three paths."""
    assert stack.get("/live")[0] == 200
    assert stack.get("/health") == (200, {"status": "ok", "down": []})
    paths = stack.get("/openapi.json")[1]["paths"]
    assert {path.split("/")[2] for path in paths} == {"people", "score", "events"}
    assert b"consumidor_http_seconds" in urllib3.request("GET", stack.info["api"] + "/metrics").data


def test_only_token_holders_get_in(stack: RunningStack) -> None:
    """Every path wants a token, and the scope of its own."""
    assert stack.get("/v1/events/latest?cpf=46509208172")[0] == 401
    assert stack.get("/v1/events/latest?cpf=46509208172", stack.token("acme", "consumidor/score.read"))[0] == 403
    assert stack.get("/v1/events/latest?cpf=46509208172", stack.token("acme", "consumidor/events.read"))[0] == 200


def test_processes_hold_their_own_settings_only(stack: RunningStack) -> None:
    """The worker has no pseudonym key and no signing key, the gateway nothing that opens Base A."""
    environments = {name: Path(f"/proc/{pid}/environ") for name, pid in stack.info["pids"].items()}
    if not environments["gateway"].exists():
        pytest.skip("this system shows no process's environment")
    worker, gateway = (environments[name].read_text() for name in ("people-worker", "gateway"))
    assert "BASE_A_DSN" in worker
    assert "PSEUDONYM_KEY" not in worker
    assert "PEOPLE_SIGNING_KEY" not in worker
    assert "PSEUDONYM_KEY" in gateway
    assert "BASE_A" not in gateway


def killed_and_back(stack: RunningStack, name: str) -> float:
    """Kill -9 a process and wait until all is healthy again; seconds until stack.json named its new id.

    They end at the file's own time, so that it does not matter when we come to look.
    """
    before, said = stack.info["pids"][name], stack.output.stat().st_size
    killed = time.time()
    os.kill(before, signal.SIGKILL)
    stack.wait_until(lambda: stack.info["pids"].get(name, before) != before, PATIENCE)
    seconds = (stack.home / "stack.json").stat().st_mtime - killed
    stack.wait_until(lambda: f"{name} is back" in _output_from(stack, said), PATIENCE)
    assert f"{name} was killed by SIGKILL" in _output_from(stack, said)
    stack.wait_until(stack.is_healthy, PATIENCE)
    return seconds


def _output_from(stack: RunningStack, place: int) -> str:
    return stack.output.read_bytes()[place:].decode()


@pytest.mark.parametrize("name", ["issuer", "people-worker", "events-feed", "gateway"])
def test_killed_process_comes_back(stack: RunningStack, name: str) -> None:
    """Within 2 s of a kill -9 stack.json names the process's new id, and then everything is healthy again."""
    best_within(2, lambda: killed_and_back(stack, name))


def test_killed_aws_keeps_keys_and_queues(stack: RunningStack) -> None:
    """After a kill -9 of the AWS emulator what it sealed still opens, and the queues of all clients are there."""
    stack.run("token", "--client", "after-kill")
    kms, key = stack.client("kms", WORKER_ACCOUNT), "the worker's"
    sealed = kms.encrypt(KeyId=KEY_ALIAS, Plaintext=key.encode())["CiphertextBlob"]
    best_within(2, lambda: killed_and_back(stack, "aws"))
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == key.encode()
    stack.wait_until(lambda: "after-kill" in str(stack.sqs().list_queues(QueueNamePrefix="people-responses-")["QueueUrls"]), 10)


def test_new_client_is_known_at_once(stack: RunningStack) -> None:
    """`token --client` with a new name registers it: its token is good right away, and stack.json lists it."""
    names = (f"newcomer-{number}" for number in count(1))

    def listed_after() -> float:
        name = next(names)
        token = stack.run("token", "--client", name).strip()
        assert stack.get("/v1/people/responses", token) == (200, {"responses": []})
        stack.wait_until(lambda: name in stack.info["clients"], PATIENCE)
        registered, listed = ((stack.home / file).stat().st_mtime for file in ("clients.json", "stack.json"))
        return listed - registered

    best_within(2, listed_after)


def test_rotated_key(stack: RunningStack) -> None:
    """After `keys rotate` the old token is still good, and a new one, of another key, is too."""
    old = stack.token()
    stack.run("keys", "rotate")
    new = stack.token()
    assert old.split(".")[0] != new.split(".")[0]
    assert stack.get("/v1/people/responses", old)[0] == stack.get("/v1/people/responses", new)[0] == 200


def test_home_in_use(stack: RunningStack) -> None:
    """A second stack in the same home is refused in one line."""
    failed = up("--home", str(stack.home), "--port", "0")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "already runs" in failed.stderr
    assert stack.is_healthy()


def test_port_in_use(stack: RunningStack, tmp_path: Path) -> None:
    """A taken port is named in one line, and nothing is left running."""
    port = stack.info["api"].rpartition(":")[2]
    failed = up("--home", str(tmp_path / "home"), "--port", port)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert f"port {port} is in use" in failed.stderr


def test_home_that_cannot_be(tmp_path: Path) -> None:
    """A home below a file is refused in one line."""
    (tmp_path / "file").write_text("")
    failed = up("--home", str(tmp_path / "file" / "home"), "--port", "0")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "cannot write to" in failed.stderr


def test_commands_without_a_stack(tmp_path: Path) -> None:
    """A command that needs a running stack says so."""
    command = [sys.executable, "-m", "consumidor.cli", "token", "--client", "acme", "--home", str(tmp_path)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "no stack is running" in failed.stderr


def test_second_start_after_a_crash(stack: RunningStack, tmp_path: Path) -> None:
    """After a kill -9 of `up` all its children are gone; the next `up` starts on the same data, clients and keys; SIGTERM ends it whole.

    Bases B and C are the shared stack's: servers that the environment names are not started.
    """
    home, others = tmp_path / "home", {"BASE_B_URI": stack.info["base_b_uri"], "BASE_C_URL": stack.info["base_c_url"]}
    best_within(20, lambda: crashed_and_started_again(home, others))


def crashed_and_started_again(home: Path, others: dict[str, str]) -> float:
    """Seconds that the second start took."""
    with RunningStack(home, "--people", "0", environment=others) as first:
        assert set(first.info["pids"]) == PROCESSES - {"mongodb", "elasticsearch"}
        clients, token_key = first.info["clients"], first.token().split(".")[0]
        with psycopg.connect(first.info["base_a_dsn"]) as base_a:
            base_a.execute("create table if not exists mark as select 1")
        first.stop(signal.SIGKILL)

    started = time.monotonic()
    with RunningStack(home, "--people", "0", environment=others) as second:
        seconds = time.monotonic() - started
        assert second.info["clients"] == clients
        assert second.token().split(".")[0] == token_key
        with psycopg.connect(second.info["base_a_dsn"]) as base_a:
            assert base_a.execute("select * from mark").fetchone() == (1,)
        second.stop()
        assert second.process.returncode == 0
    return seconds
