"""The stack that is measured: one of our own, started for the run and gone after it, or one that runs already."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from consumidor.errors import CommandError
from consumidor.local.running import Environment, read_environment, read_stack
from consumidor.settings import Settings

_START_SECONDS = 120.0


class Stack(NamedTuple):
    """A running stack: its home, and what its stack.json and environment.json say."""

    home: Path
    info: dict[str, Any]
    environment: Environment

    def settings(self, process: str, **other: str) -> Settings:
        """The settings of one of its processes, some of them other than the stack's own."""
        return Settings.from_env(process, self.environment.of(process) | other)

    def act_as(self, process: str) -> None:
        """Take that process's credentials for AWS clients made here from now on, which boto3 looks for in the environment."""
        environment = self.environment.of(process)
        os.environ.update({name: environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")})

    def process(self, name: str) -> psutil.Process:
        """One of its processes, by its name in stack.json."""
        return psutil.Process(self.info["pids"][name])


class Place:
    """Where comparisons run: one stack for all of them, started when the first one asks for it."""

    def __init__(self, exits: ExitStack, people: int = 10_000) -> None:
        self._exits, self._people = exits, people

    @cached_property
    def stack(self) -> Stack:
        """Its data goes with it."""
        return self._exits.enter_context(own_stack(self._people))


def running_stack(home: Path) -> Stack:
    """The stack that runs in `home`.

    Raises:
        CommandError: none runs there.
    """
    return Stack(home, read_stack(home), read_environment(home))


@contextmanager
def own_stack(people: int, home: Path | None = None, **environment: str) -> Iterator[Stack]:
    """A stack of our own with synthetic people, stopped at the end; its data stays only where a `home` is named.

    Raises:
        CommandError: it does not start; the message is its own last line.
    """
    with tempfile.TemporaryDirectory(prefix="consumidor-bench-", ignore_cleanup_errors=True) as scratch:
        place = home or Path(scratch) / "home"
        output = Path(scratch) / "output"
        command = [sys.executable, "-m", "consumidor.cli", "up", "--home", str(place), "--port", "0", "--people", str(people)]
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
        try:
            _await(process, place, output, people)
            yield running_stack(place)
        finally:
            process.terminate()
            process.wait(60)


def _await(process: "subprocess.Popen[bytes]", home: Path, output: Path, people: int) -> None:
    deadline = time.monotonic() + _START_SECONDS + people / 100
    while not (home / "stack.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = output.read_text(errors="replace").strip().splitlines()
            raise CommandError(f"the stack did not start: {lines[-1] if lines else 'it said nothing'}")
        time.sleep(0.1)
