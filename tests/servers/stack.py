"""The whole stack, started as a user starts it, once a session."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import boto3
import pytest
import urllib3

PEOPLE = int(os.environ.get("FAULT_PEOPLE", "300"))  # `make faults` looks for 10,000 of them
_START_SECONDS = 120


class RunningStack:
    """A `consumidor up` of our own; `info` is its stack.json as it is now."""

    def __init__(self, home: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.output = home.with_suffix(".output")
        command = [sys.executable, "-m", "consumidor.cli", "up", "--home", str(home), "--port", "0", *options]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=output, stderr=output)
        try:
            self.wait_until(lambda: self.process.poll() is not None or (home / "stack.json").exists(), _START_SECONDS)
            assert self.process.poll() is None, self.output.read_text()
        except BaseException:
            self.__exit__()
            raise

    @property
    def info(self) -> dict[str, Any]:
        """What stack.json says now."""
        return dict(json.loads((self.home / "stack.json").read_text()))

    def wait_until(self, condition: Callable[[], object], seconds: float) -> None:
        """Fail with the stack's own output where the condition does not come about in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.02)

    def run(self, *arguments: str) -> str:
        """The standard output of a command against this stack; it must succeed."""
        command = [sys.executable, "-m", "consumidor.cli", *arguments, "--home", str(self.home)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def token(self, client: str = "acme", *scopes: str) -> str:
        """A token of one of the registered clients, with all scopes unless some are named."""
        info = self.info
        form = {"grant_type": "client_credentials", **info["clients"][client]} | ({"scope": " ".join(scopes)} if scopes else {})
        as_form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = urllib3.request("POST", f"{info['issuer']}/oauth2/token", body=urlencode(form), headers=as_form)
        return str(answer.json()["access_token"])

    def get(self, path: str, token: str = "") -> tuple[int, Any]:
        """Status and JSON of a GET on the API."""
        answer = urllib3.request(
            "GET", self.info["api"] + path, headers={"Authorization": f"Bearer {token}"} if token else {}, retries=False
        )
        return answer.status, answer.json()

    def is_healthy(self) -> bool:
        """Whether /health is 200."""
        try:
            return self.get("/health")[0] == 200
        except (urllib3.exceptions.HTTPError, ValueError):
            return False

    def client(self, service: str, account: str = "test") -> Any:
        """A boto3 client of the stack's AWS, an outsider's unless an account is named."""
        info = self.info
        session: Any = boto3.Session(aws_access_key_id=account, aws_secret_access_key="test", region_name=info["aws_region"])
        return session.client(service, endpoint_url=info["aws_endpoint_url"])

    def sqs(self) -> Any:
        """An outsider's SQS client."""
        return self.client("sqs")

    def s3(self) -> Any:
        """An outsider's S3 client."""
        return self.client("s3")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running, whatever the test found."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal; no child, nor its stack.json, may outlive it."""
        children = processes_in(self.info["pids"].values())
        self.process.send_signal(number)
        self.process.wait(30)
        self.wait_until(lambda: not processes_in(children) and not (self.home / "stack.json").exists(), 3)


def processes_in(groups: Any) -> list[int]:
    """Of these process groups, those that still have a process that is not a zombie."""
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    alive = {int(group) for group, state in (line.split() for line in listed.splitlines()) if not state.startswith("Z")}
    return [group for group in groups if group in alive]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Everything, with 300 synthetic people; shared, so leave it healthy. At the end nothing of it may be left."""
    with RunningStack(tmp_path_factory.mktemp("stack") / "home", "--people", str(PEOPLE)) as running:
        yield running
        running.stop()
