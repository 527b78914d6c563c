"""Starts, watches and stops child processes, as ECS does for the deployed services.

A child that dies is started again, any number of times. Nothing outlives the supervisor, not even its own kill -9 (`Watchdog`).
"""

import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from consumidor.errors import CommandError
from consumidor.local.child import Child, Server, Watchdog

__all__ = ["Server", "Supervisor", "free_port", "http_ready", "side_by_side"]

_POLL_SECONDS = 0.05
_STEADY_SECONDS = 10.0  # a child that was ready this long had started well: its next restart is immediate again
_LONGEST_PAUSE = 1.0  # before a restart: with the start itself this stays under 2 s


class Supervisor:
    """Runs servers in stages; stops them in the reverse order.

    `announce` is told, in words, of each death and restart; `changed` is called after each change of `pids()`.
    `held` are file descriptors (a lock) that stay open until the last child is gone, whatever becomes of us, and `files` are gone
    by then.
    """

    def __init__(
        self,
        logs: Path,
        announce: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        held: tuple[int, ...] = (),
        files: tuple[Path, ...] = (),
    ) -> None:
        self._logs = logs
        self._announce = announce
        self._changed = changed
        self._children: dict[str, Child] = {}
        self._stages: list[list[Child]] = []
        self._lock = threading.RLock()  # around every change of which processes there are
        self._stopping = threading.Event()
        self._watchdog = Watchdog(held, files)
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
        """Stop one server cleanly and start it again; returns when it is ready.

        Raises:
            CommandError: as `start`.
        """
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
        self._watchdog.end()

    def _adopt(self, server: Server) -> Child:
        log = self._logs / f"{server.name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))  # the last run's, kept once
        log.touch(mode=0o600)
        child = self._children[server.name] = Child(server, log)
        return child

    def _first_start(self, child: Child) -> None:
        self._begin(child)
        self._await_ready(child)
        child.ready_since = time.monotonic()
        child.watched = True
        self._changed()

    def _begin(self, child: Child) -> None:
        if child.server.before_start:
            child.server.before_start()
        with self._lock:
            self._refuse_when_stopping()
            child.spawn()
            self._guard()
        child.proceed()

    def _refuse_when_stopping(self) -> None:
        if self._stopping.is_set():
            raise CommandError("stopped while starting")

    def _guard(self) -> None:
        self._watchdog.guard(self.pids().values())

    def _await_ready(self, child: Child) -> None:
        deadline = time.monotonic() + child.server.ready_seconds
        while True:
            if not child.running():
                last = (child.last_lines(1) or ["it wrote nothing"])[0]
                raise CommandError(f"{child.name} {child.death()} before it was ready: {last} (log: {child.log})")
            try:
                return child.server.ready()
            except Exception as error:  # whatever it raises, it is not ready yet
                if time.monotonic() > deadline:
                    waited = f"{child.server.ready_seconds:g} s"
                    raise CommandError(f"{child.name} was not ready within {waited}: {error} (log: {child.log})") from error
            self._stopping.wait(_POLL_SECONDS)
            self._refuse_when_stopping()

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            for child in list(self._children.values()):
                if child.watched and not child.running():
                    child.watched = False
                    threading.Thread(target=self._revive, args=(child,), name=f"revive {child.name}", daemon=True).start()
            with self._lock:
                if not self._watchdog.running():
                    self._guard()

    def _revive(self, child: Child) -> None:
        """One restart, with a pause before it where the child keeps dying or does not even start. Failed ones are followed by another."""
        lines = child.last_lines()
        last = f"; last lines of {child.log}:" + "".join(f"\n    {line}" for line in lines) if lines else ""
        self._announce(f"{child.name} {child.death()}, starting it again{last}")
        child.sweep()
        child.quick_deaths = child.quick_deaths + 1 if child.ready_for() < _STEADY_SECONDS else 1
        child.ready_since = None
        if self._stopping.wait(min(_LONGEST_PAUSE, 0.5 * (child.quick_deaths - 1))):
            return
        try:
            self._begin(child)
            self._changed()
            self._await_ready(child)
            if child.server.after_restart:
                child.server.after_restart()
            child.ready_since = time.monotonic()
            self._announce(f"{child.name} is back")
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the answer is another restart
            if not self._stopping.is_set():
                self._announce(f"{child.name} did not come back: {error}")
                child.sweep()
        child.watched = True

    def _end(self, stage: list[Child]) -> None:
        """Ask all to end, wait for each, kill those that do not, and sweep up after them."""
        for child in stage:
            child.ask_to_end()
        for child in stage:
            if not child.ended_in_time():
                self._announce(f"{child.name} did not end within {child.server.stop_seconds:g} s: killed")
            child.sweep()
        with self._lock:
            self._guard()


def side_by_side(*tasks: Callable[[], None]) -> None:
    """Run tasks in threads and wait for all, or for the first error, which is raised; the other tasks then go on alone."""
    outcomes: SimpleQueue[BaseException | None] = SimpleQueue()

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            outcomes.put(error)
        else:
            outcomes.put(None)

    for task in tasks:
        threading.Thread(target=run, args=(task,), daemon=True).start()
    for _ in tasks:
        error = outcomes.get()
        if error is not None:
            raise error


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
