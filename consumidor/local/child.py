"""One child process: what it is, how it is started, and how nothing of it is left behind."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "USER")  # all that a child has of our own environment
# A child begins only once the watchdog knows its group, so that no kill -9 in between can leave one behind.
# What it writes is its user's alone: the emulated AWS's keys, for one.
_LAUNCHER = ("/bin/sh", "-c", 'umask 077; read -r go && exec "$@" </dev/null', "launcher")
_WATCHDOG = """\
while read -r line; do groups=$line; done
for group in $groups; do kill -s KILL -- "-$group"; done
rm -f -- "$@"
"""


@dataclass(frozen=True)
class Server:
    """What to run, how to know that it is ready, how to end it.

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


class Child:
    """A server and the process that runs it now; its output goes to `log`."""

    def __init__(self, server: Server, log: Path) -> None:
        self.server = server
        self.name = server.name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.watched = False  # whether the watching thread may start it again
        self.quick_deaths = 0
        self.ready_since: float | None = None  # by the monotonic clock; None where its last start came to nothing

    def spawn(self) -> None:
        """Lay a launcher in a process group of its own; it waits for `proceed`, then becomes the server."""
        server = self.server
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_LAUNCHER, *server.command], env={**kept, **server.env}, cwd="/", start_new_session=True,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                user=server.user, group=server.user, extra_groups=() if server.user else None,
            )  # fmt: skip

    def proceed(self) -> None:
        """Let the launcher go on."""
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as stdin:  # already dead: whoever waits for it will see
            stdin.write(b"go\n")

    def running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self.process is not None and self.process.poll() is None

    def ready_for(self) -> float:
        """For how long it has been ready, and 0 where its last start came to nothing."""
        return 0.0 if self.ready_since is None else time.monotonic() - self.ready_since

    def ask_to_end(self) -> None:
        """Send the signal that ends it gracefully."""
        if self.process is not None:
            self.process.send_signal(self.server.stop_signal)

    def ended_in_time(self) -> bool:
        """Wait for its end, at most its `stop_seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.process is not None:
                self.process.wait(self.server.stop_seconds)
        return not self.running()

    def sweep(self) -> None:
        """Kill all that is left in its process group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def death(self) -> str:
        """How the process ended, in words."""
        code = self.process.returncode if self.process is not None else 0
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of the log, empty lines left out."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 8192))
            lines = log.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]


class Watchdog:
    """One `sh` that kills the process groups it knows of when its pipe from us ends, as it does when we are killed.

    Then it removes `files`, which told others of them; it holds the file descriptors `held` (a lock) open until all is done.
    """

    def __init__(self, held: tuple[int, ...] = (), files: tuple[Path, ...] = ()) -> None:
        self._held, self._files = held, files
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", *self._files], cwd="/", start_new_session=True, pass_fds=self._held,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip

    def running(self) -> bool:
        """Whether it is there to guard anything."""
        return self._process.poll() is None

    def guard(self, groups: Iterable[int]) -> None:
        """Know these groups from now on, in place of what it knew: those that ended it thereby forgets."""
        line = " ".join(str(group) for group in groups).encode() + b"\n"
        try:
            self._write(line)
        except BrokenPipeError:  # someone killed it
            self._close()
            self._process = self._start()
            self._write(line)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    def end(self) -> None:
        """Let it go, with nothing left to kill. Safe to call twice."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self.guard(())
        self._close()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def passing(server: Server, log: Path) -> Iterator[Child]:
    """A server for as long as the block lasts, guarded by a watchdog of its own: it too ends with us, whatever becomes of us."""
    child, watchdog = Child(server, log), Watchdog()
    log.touch(mode=0o600)
    try:
        child.spawn()
        assert child.process is not None
        watchdog.guard([child.process.pid])
        child.proceed()
        yield child
    finally:
        child.ask_to_end()
        child.ended_in_time()
        child.sweep()
        watchdog.end()
