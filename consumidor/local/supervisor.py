"""Starts, watches and stops child processes, as ECS does for the deployed services.

A child that dies is started again, any number of times. Nothing outlives the supervisor, not even its own kill -9: a
watchdog (one `sh`) holds the list of process groups and kills them when its pipe from the supervisor ends.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from consumidor.errors import CommandError

_INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "USER")  # all that a child has of our own environment
_POLL_SECONDS = 0.05
_STEADY_SECONDS = 10.0  # a child that lived this long had started well: its next restart is immediate again
_LONGEST_PAUSE = 1.5  # before a restart: with the start itself this stays under 2 s
# A child begins only once the watchdog knows its group, so that no kill -9 in between can leave one behind.
_LAUNCHER = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "launcher")
_WATCHDOG = ("/bin/sh", "-c", 'while read -r line; do groups=$line; done; for group in $groups; do kill -s KILL -- "-$group"; done')


@dataclass(frozen=True)
class Server:
    """One child process: what to run, how to know it is ready, how to end it.

    `ready` raises until the server answers; give its own calls short timeouts. `before_start` runs before every start
    (idempotent: make a data folder, download what is missing). `after_restart` runs once a restarted server is ready
    again. `env` is all the child gets beside PATH and the like. `user` is a system user to run as, where we are root.
    """

    name: str
    command: list[str]
    ready: Callable[[], None]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 5.0
    ready_seconds: float = 60.0
    before_start: Callable[[], None] | None = None
    after_restart: Callable[[], None] | None = None


class _Child:
    """A server and the process that runs it now."""

    def __init__(self, server: Server, log: Path) -> None:
        self.server = server
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.quick_deaths = 0
        self.watched = False  # whether the watching thread may start it again

    def spawn(self) -> subprocess.Popen[bytes]:
        """Lay the launcher in a process group of its own, waiting for its word to go on."""
        server = self.server
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_LAUNCHER, *server.command], env={**kept, **server.env}, cwd="/", start_new_session=True,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                user=server.user, group=server.user, extra_groups=() if server.user else None,
            )  # fmt: skip
        self.started = time.monotonic()
        return self.process

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def sweep(self) -> None:
        """Kill what an ended process has left in its group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
                os.killpg(self.process.pid, signal.SIGKILL)

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of the log, empty lines left out."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 8192))
            lines = log.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]


class Supervisor:
    """Runs servers in stages; stops them in the reverse order.

    `announce` is told, in words, of each death and restart; `changed` is called after each change of `pids()`.
    `held` are file descriptors (a lock) that stay open until the last child is gone, whatever becomes of us.
    """

    def __init__(
        self,
        logs: Path,
        announce: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        held: tuple[int, ...] = (),
    ) -> None:
        self._logs = logs
        self._announce = announce
        self._changed = changed
        self._held = held
        self._children: dict[str, _Child] = {}
        self._stages: list[list[_Child]] = []
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._watchdog = self._start_watchdog()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def start(self, *servers: Server) -> None:
        """Start servers side by side, as one stage, and return when all are ready.

        Raises:
            CommandError: one of them ended or was not ready in time; names its log and last line.
        """
        stage = [self._adopt(server) for server in servers]
        self._stages.append(stage)
        side_by_side(*(lambda child=child: self._first_start(child) for child in stage))

    def restart(self, name: str) -> None:
        """Stop one server cleanly and start it again; returns when it is ready."""
        child = self._children[name]
        child.watched = False
        self._end([child])
        self._first_start(child)

    def pids(self) -> dict[str, int]:
        """Process id of each running server, by name."""
        with self._lock:
            return {name: child.process.pid for name, child in self._children.items() if child.process and child.running()}

    def stop(self) -> None:
        """End everything, last stage first: gracefully, then by SIGKILL to its group. Safe to call twice."""
        with self._lock:
            self._stopping.set()
        for stage in reversed(self._stages):
            self._end(stage)
        self._watcher.join()
        with self._lock:
            if self._watchdog.stdin and not self._watchdog.stdin.closed:
                self._watchdog.stdin.write(b"\n")  # no group is left to kill
                self._watchdog.stdin.close()
            self._watchdog.wait()

    def _adopt(self, server: Server) -> _Child:
        log = self._logs / f"{server.name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))  # the last run's, kept once
        log.touch(mode=0o600)
        child = self._children[server.name] = _Child(server, log)
        return child

    def _first_start(self, child: _Child) -> None:
        self._begin(child)
        self._await_ready(child)
        child.watched = True
        self._changed()

    def _begin(self, child: _Child) -> None:
        if child.server.before_start:
            child.server.before_start()
        with self._lock:
            if self._stopping.is_set():
                raise CommandError("stopped while starting")
            process = child.spawn()
            self._tell_watchdog()
        assert process.stdin is not None
        try:
            process.stdin.write(b"go\n")
            process.stdin.close()
        except BrokenPipeError:  # already dead; whoever waits for it will see
            pass

    def _await_ready(self, child: _Child) -> None:
        name, process = child.server.name, child.process
        deadline = time.monotonic() + child.server.ready_seconds
        while True:
            if process is None or process.poll() is not None or child.process is not process:
                raise CommandError(f"{name} ended before it was ready: {_last(child)} (see {child.log})")
            try:
                return child.server.ready()
            except Exception as error:  # whatever it raises, it is not ready yet
                if time.monotonic() > deadline:
                    waited = f"{child.server.ready_seconds:.0f} s"
                    raise CommandError(f"{name} was not ready within {waited}: {error} (see {child.log})") from error
            if self._stopping.wait(_POLL_SECONDS):
                raise CommandError("stopped while starting")

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            for child in list(self._children.values()):
                if child.watched and not child.running():
                    child.watched = False
                    threading.Thread(target=self._revive, args=(child,), name=f"revive {child.server.name}", daemon=True).start()
            with self._lock:
                if self._watchdog.poll() is not None and not self._stopping.is_set():
                    self._watchdog = self._start_watchdog()
                    self._tell_watchdog()

    def _revive(self, child: _Child) -> None:
        """One restart. Where it fails the watching thread sees the child dead and calls again."""
        assert child.process is not None
        self._report_death(child)
        child.sweep()
        child.quick_deaths = child.quick_deaths + 1 if time.monotonic() - child.started < _STEADY_SECONDS else 0
        if self._stopping.wait(min(_LONGEST_PAUSE, 0.5 * child.quick_deaths)):
            return
        try:
            self._begin(child)
            self._changed()
            self._await_ready(child)
            if child.server.after_restart:
                child.server.after_restart()
            self._announce(f"{child.server.name} is back (pid {child.process.pid})")
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the answer is another restart
            if not self._stopping.is_set():
                self._announce(f"{child.server.name} did not come back: {error}")
                child.sweep()
        child.watched = True

    def _report_death(self, child: _Child) -> None:
        assert child.process is not None
        code = child.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        lines = "".join(f"\n    {line}" for line in child.last_lines())
        self._announce(f"{child.server.name} {how}; starting it again. Last lines of {child.log}:{lines}")

    def _end(self, stage: list[_Child]) -> None:
        """Ask all to end, wait for each, kill those that do not, and sweep up after them."""
        for child in stage:
            if child.process is not None:
                child.process.send_signal(child.server.stop_signal)
        for child in stage:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, child.server.stop_seconds))
            except subprocess.TimeoutExpired:
                self._announce(f"{child.server.name} did not end within {child.server.stop_seconds:.0f} s: killed")
            child.sweep()
            child.process.wait()
        with self._lock:
            self._tell_watchdog()

    def _start_watchdog(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            _WATCHDOG, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            pass_fds=self._held, bufsize=0,
        )  # fmt: skip

    def _tell_watchdog(self) -> None:
        """Hand over the groups of all running children, in place of what it knew; ended ones it thereby forgets."""
        line = " ".join(str(pid) for pid in self.pids().values())
        try:
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.write(f"{line}\n".encode())
        except BrokenPipeError:  # the watching thread will start another
            pass


def side_by_side(*tasks: Callable[[], None]) -> None:
    """Run tasks in threads and wait for all; raises the first error. A signal handler that raises ends the wait at once."""
    errors: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def free_port(preferred: int = 0) -> int:
    """`preferred` where it is free on 127.0.0.1, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CommandError("no free port on 127.0.0.1")


def http_ready(url: str) -> Callable[[], None]:
    """A ready check: GET `url` answers 2xx within 2 s."""

    def check() -> None:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a URL of our own, on 127.0.0.1
            pass

    return check


def _last(child: _Child) -> str:
    return (child.last_lines(1) or ["it wrote nothing"])[0]
