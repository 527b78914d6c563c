"""`consumidor up` around what it starts: what fails beside the serving, and signals that come while it stops."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from consumidor.errors import NotFound
from consumidor.local import stack
from consumidor.local.stack import Stack


def fails(error: BaseException) -> Callable[[], None]:
    """A task that fails."""

    def task() -> None:
        raise error

    return task


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFound("nobody of that number"), "nobody of that number"),
        (TimeoutError("no response within 30 s"), "no response within 30 s"),
        (KeyError("score"), "KeyError: 'score'"),
        (SystemExit(1), "SystemExit: 1"),
    ],
)
def test_what_fails_when_ready_is_said_and_served_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, said: str
) -> None:
    """A demo that fails is one line, and no reason to stop what runs."""
    served: list[str] = []
    for name, does in (("start", lambda *_: None), ("keep", lambda _: served.append("served"))):
        monkeypatch.setattr(Stack, name, does)
    monkeypatch.setattr(stack, "given_settings", dict)
    monkeypatch.setattr(stack, "_until_signalled", nullcontext)
    stack.up(tmp_path, port=0, on_ready=fails(error))
    assert served == ["served"]
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("before", ["raise CommandError('it cannot be started')", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_signal_while_it_stops_is_ignored(before: str) -> None:
    """However the block ended, the stop that follows is whole: it is not interrupted by another signal."""
    script = f"""
import os, signal, time
from consumidor.errors import CommandError
from consumidor.local.stack import _until_signalled
try:
    with _until_signalled():
        {before}
        time.sleep(10)
except CommandError as error:
    print(error)
finally:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    time.sleep(0.1)
    print("stopped whole")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "stopped whole")
