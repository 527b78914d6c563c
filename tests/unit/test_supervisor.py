"""The supervisor, over children that are one line of shell each."""

import fcntl
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumidor.errors import CommandError
from consumidor.local.child import Watchdog, passing
from consumidor.local.supervisor import Server, Supervisor, free_port, side_by_side

FOREVER = "while :; do sleep 0.05; done"


class Told:
    """What a supervisor announced, and how often its process ids changed."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.changes = 0

    def changed(self) -> None:
        """Count one."""
        self.changes += 1

    def heard(self, part: str) -> bool:
        """Whether some announcement holds `part`."""
        return any(part in text for text in self.texts)


@pytest.fixture
def told() -> Told:
    """What the test's supervisor has said."""
    return Told()


@pytest.fixture
def supervisor(tmp_path: Path, told: Told) -> Iterator[Supervisor]:
    """A supervisor that is stopped after the test."""
    supervisor = Supervisor(tmp_path, told.texts.append, told.changed)
    yield supervisor
    supervisor.stop()


def shell(name: str, script: str, **options: object) -> Server:
    """A server that is a line of shell."""
    options = {"ready": lambda: None, "stop_seconds": 2.0, **options}
    return Server(name=name, command=["/bin/sh", "-c", script], **options)  # type: ignore[arg-type]  # any of its fields


def until(condition: Callable[[], object], seconds: float = 2.0) -> None:
    """Wait for a condition that must come about in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.01)


def exists(path: Path) -> Callable[[], None]:
    """A ready check: the file is there."""

    def check() -> None:
        path.stat()

    return check


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.strip().startswith("Z")


def lockable(path: Path) -> bool:
    """Whether nobody holds the lock of `path`."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_waits_until_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    """`start` returns once the ready check passes, and not before."""
    mark = tmp_path / "mark"
    supervisor.start(shell("late", f"sleep 0.2; touch {mark}; {FOREVER}", ready=exists(mark)))
    assert mark.exists()
    assert set(supervisor.pids()) == {"late"}


def test_child_sees_only_its_own_settings(supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child's environment holds its own settings and none of its parent's."""
    monkeypatch.setenv("PSEUDONYM_KEY", "secret of another")
    dump = tmp_path / "dump"
    supervisor.start(shell("one", f"env > {dump}.part; mv {dump}.part {dump}; {FOREVER}", env={"MINE": "1"}, ready=exists(dump)))
    seen = dump.read_text()
    assert "MINE=1" in seen
    assert "secret of another" not in seen


def test_what_a_child_writes_is_its_users_alone(supervisor: Supervisor, tmp_path: Path) -> None:
    """Servers that know no better (the emulated AWS writes its keys to a file) leave nothing that others may read."""
    file = tmp_path / "keys"
    supervisor.start(shell("a", f"echo secret >{file}; {FOREVER}", ready=exists(file)))
    assert file.stat().st_mode & 0o777 == 0o600


def test_dead_child_is_started_again(supervisor: Supervisor, told: Told) -> None:
    """A killed child has a new process within 2 s, and its name, end and last log lines are announced."""
    supervisor.start(shell("server", f"echo its last words; {FOREVER}"))
    first, changes = supervisor.pids()["server"], told.changes
    time.sleep(0.1)  # its words reach the log
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.pids().get("server", first) != first)
    until(lambda: told.heard("server is back"))
    assert told.heard("server was killed by SIGKILL")
    assert told.heard("its last words")
    assert told.changes > changes


def test_restarts_any_number_of_times(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that keeps ending is started again each time."""
    runs = tmp_path / "runs"
    supervisor.start(shell("weak", f"echo run >> {runs}; sleep 0.05", ready=exists(runs)))
    until(lambda: runs.read_text().count("run") >= 3, seconds=5)


def test_restart_that_fails_is_tried_again(supervisor: Supervisor, told: Told) -> None:
    """Where what follows a restart fails, the server is restarted once more."""
    outcomes = iter([RuntimeError("not yet")])

    def after_restart() -> None:
        for error in outcomes:
            raise error

    supervisor.start(shell("server", FOREVER, after_restart=after_restart))
    os.kill(supervisor.pids()["server"], signal.SIGKILL)
    until(lambda: told.heard("server is back"), seconds=3)
    assert told.heard("server did not come back: not yet")


def test_restarts_that_cannot_even_start_are_paused_ever_longer(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what comes before a start fails each time, whatever it takes, the attempts do not spin."""
    monkeypatch.setattr("consumidor.local.supervisor._STEADY_SECONDS", 0.02)
    attempts: list[float] = []

    def before_start() -> None:
        attempts.append(time.monotonic())
        if len(attempts) > 1:
            time.sleep(0.05)
            raise OSError("no room")

    supervisor.start(shell("server", FOREVER, before_start=before_start))
    time.sleep(0.05)
    os.kill(supervisor.pids()["server"], signal.SIGKILL)
    until(lambda: len(attempts) == 4, seconds=5)
    pauses = [after - before for before, after in itertools.pairwise(attempts[1:])]
    assert pauses[0] > 0.5
    assert pauses[1] > 1.0


def test_death_before_ready_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that ends before it is ready fails the start, in one line with its last words."""
    with pytest.raises(CommandError, match=r"^bad ended with status 3 before it was ready: port taken \(log: .*bad.log\)$"):
        supervisor.start(shell("bad", "echo port taken; exit 3", ready=exists(tmp_path / "never")))


def test_never_ready_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that is not ready in its time fails the start."""
    with pytest.raises(CommandError, match=r"slow was not ready within 0\.1 s"):
        supervisor.start(shell("slow", FOREVER, ready=exists(tmp_path / "never"), ready_seconds=0.1))


def test_stops_in_reverse_order(tmp_path: Path, told: Told) -> None:
    """Stages end last first, each by its own signal."""
    supervisor, order = Supervisor(tmp_path, told.texts.append), tmp_path / "order"
    for name in ("base", "service"):
        ready = tmp_path / name
        script = f"trap 'echo {name} >> {order}; exit' INT; touch {ready}; {FOREVER}"
        supervisor.start(shell(name, script, ready=exists(ready), stop_signal=signal.SIGINT))
    supervisor.stop()
    assert order.read_text().split() == ["service", "base"]
    assert supervisor.pids() == {}


def test_stubborn_child_is_killed_with_its_own_children(tmp_path: Path, told: Told) -> None:
    """What ignores the signal is killed after its time, with all that it started."""
    supervisor, note = Supervisor(tmp_path, told.texts.append), tmp_path / "grandchild"
    script = f"trap '' TERM; sleep 60 & echo $! > {note}.part; mv {note}.part {note}; {FOREVER}"
    supervisor.start(shell("deaf", script, ready=exists(note), stop_seconds=0.2))
    supervisor.stop()
    until(lambda: gone(int(note.read_text())))
    assert told.heard("deaf did not end within 0.2 s: killed")


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    """After a kill -9 of the supervisor its children and theirs are gone, and the lock it held is free only then."""
    script = f"""
import fcntl, time
from pathlib import Path
from consumidor.local.supervisor import Server, Supervisor
lock = open({str(tmp_path / "lock")!r}, "w")
fcntl.flock(lock, fcntl.LOCK_EX)
supervisor = Supervisor(Path({str(tmp_path)!r}), print, held=(lock.fileno(),))
supervisor.start(Server("one", ["/bin/sh", "-c", "trap '' TERM; sleep 60 & echo $!; {FOREVER}"], ready=lambda: None))
print(supervisor.pids()["one"], flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        until(lambda: (tmp_path / "one.log").read_text().strip())
        grandchild = int((tmp_path / "one.log").read_text())
        assert not gone(child)
        assert not lockable(tmp_path / "lock")
        process.kill()
    until(lambda: gone(child) and gone(grandchild))
    until(lambda: lockable(tmp_path / "lock"))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_passing_server_ends_with_us(tmp_path: Path, end: signal.Signals) -> None:
    """A server that is only there to set something up is gone, with its own children, when whoever runs it is killed meanwhile."""
    script = f"""
from pathlib import Path
from consumidor.local.child import passing
from consumidor.local.supervisor import Server
setup = Server("setup", ["/bin/sh", "-c", "trap '' TERM; sleep 60 & echo $!; {FOREVER}"], ready=lambda: None)
with passing(setup, Path({str(tmp_path / "log")!r})) as child:
    print(child.process.pid, flush=True)
    child.process.wait()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().strip())
        assert not gone(child)
        process.send_signal(end)
    until(lambda: gone(child) and gone(int((tmp_path / "log").read_text())))


def test_a_passing_server_is_ended_after_its_block(tmp_path: Path) -> None:
    """It is asked to end, and has ended then."""
    log = tmp_path / "log"
    with passing(shell("setup", f"trap 'echo bye; exit' TERM; echo hello; {FOREVER}"), log) as child:
        until(lambda: "hello" in log.read_text())
    assert not child.running()
    assert log.read_text().split() == ["hello", "bye"]


def test_watchdog_forgets_what_has_ended() -> None:
    """Only the groups it was told of last are killed: a process id used anew by another program is safe."""
    bystander, guarded = (subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) for _ in range(2))
    watchdog = Watchdog()
    watchdog.guard([bystander.pid])
    watchdog.guard([guarded.pid])
    assert watchdog._process.stdin is not None
    watchdog._process.stdin.close()  # as when its owner is killed
    assert guarded.wait(10) == -signal.SIGKILL
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    watchdog.end()


def test_killed_watchdog_is_replaced(supervisor: Supervisor) -> None:
    """Someone may kill the watchdog: another takes over."""
    supervisor.start(shell("one", FOREVER))
    first = supervisor._watchdog._process
    first.kill()
    until(lambda: supervisor._watchdog._process is not first and supervisor._watchdog.running())


def test_side_by_side_raises_the_first_error_at_once() -> None:
    """One failed task is reported without waiting for the others."""
    hold = threading.Event()

    def fail() -> None:
        raise CommandError("the first")

    with pytest.raises(CommandError, match="the first"):
        side_by_side(hold.wait, fail)  # type: ignore[arg-type]  # its result is not looked at
    hold.set()


def test_free_port_prefers_the_one_asked_for() -> None:
    """A port is kept where it is free, and another is taken where it is not."""
    port = free_port()
    assert free_port(port) == port
