"""The running stack that the notebooks talk to: `CONSUMIDOR_HOME`, or `.local` beside this folder."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import urllib3

from consumidor.client import Consumidor, TokenSource
from consumidor.local.running import read_stack, register_client

HOME = Path(os.environ.get("CONSUMIDOR_HOME") or Path(__file__).resolve().parent.parent / ".local")
CLIENT = "notebook"  # a client of its own, so that nobody else takes its responses
WARM_UP = 10
ELDER, LARGE_REPORT = "465.092.081-72", "529.982.247-25"  # always among the synthetic people
stack = read_stack(HOME)
_login = register_client(HOME, CLIENT)
token = TokenSource(f"{stack['issuer']}/oauth2/token", **_login)
responses_queue = stack["people_responses_prefix"] + CLIENT
_pool = urllib3.PoolManager(retries=False)


def bureau() -> Consumidor:
    """The Python client, as `notebook`."""
    return Consumidor(stack["api"], token)


def call(method: str, path: str, body: object = None) -> Any:
    """JSON of one plain HTTP call, which must succeed."""
    headers = {"authorization": f"Bearer {token()}", "content-type": "application/json"}
    answer = _pool.request(method, stack["api"] + path, body=json.dumps(body) if body else None, headers=headers)
    assert answer.status < 300, f"{method} {path}: {answer.status}"
    return answer.json()


def aws(service: str) -> Any:
    """An outsider's client of the stack's AWS."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=stack["aws_region"])  # noqa: S106 - the emulator's
    return session.client(service, endpoint_url=stack["aws_endpoint_url"])


def command(*arguments: str) -> Any:
    """What `consumidor ... --json` prints; it must succeed. It is a process of its own, which may hold keys that a notebook may not."""
    line = [sys.executable, "-m", "consumidor.cli", *arguments, "--home", str(HOME), "--json"]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - our own command


def seconds_in_turns(works: Mapping[str, Callable[[], object]], times: int) -> dict[str, list[float]]:
    """How long each call takes, in turns, so that whatever else the machine does falls on all; the first ten do not count."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times + WARM_UP):
        for name, work in works.items():
            took[name].append(_timed(work))
    return {name: seconds[WARM_UP:] for name, seconds in took.items()}


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What the condition says once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.005)
    return found


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
