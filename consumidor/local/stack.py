"""`consumidor up`: every server and service on this machine, started in order, watched, and stopped together."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from consumidor.errors import CommandError, ConsumidorError
from consumidor.local.events_feed import events_feed_server
from consumidor.local.files import write_private
from consumidor.local.home import Home, claim_port, explained
from consumidor.local.running import ENVIRONMENT_FILE, STACK_FILE, described_in, forget, read_environment, read_stack, register_client
from consumidor.local.servers import Servers, given_settings
from consumidor.local.supervisor import Server, Supervisor, http_ready
from consumidor.settings import Settings

__all__ = ["read_environment", "read_stack", "register_client", "up"]

_HEALTH_SECONDS = 30.0


def up(home: Path, port: int = 8080, people: int = 10000, worker_threads: int = 4, on_ready: Callable[[], object] | None = None) -> None:
    """Start everything, call `on_ready`, and serve until Ctrl-C or SIGTERM; then stop everything. The data stays in `home`.

    What goes wrong in `on_ready` is said, and served all the same.

    Raises:
        CommandError: something cannot be started, with the reason in one line; what had been started is stopped again.
        SettingsError: a setting in the environment is wrong.
    """
    given, folder = given_settings(), Home(home)
    with folder.lock() as lock, explained(folder.path):
        stack = Stack(folder, given, claim_port(port), worker_threads, lock)
        try:
            with _until_signalled():
                stack.start(people)
                if on_ready:
                    stack.attempt(on_ready)
                stack.keep()
        finally:
            stack.stop()


class Stack:
    """One stack in one home, whose lock is held through the file descriptor `lock`."""

    def __init__(self, home: Home, given: dict[str, str], port: int, worker_threads: int, lock: int) -> None:
        self._home = home
        self._api = f"http://127.0.0.1:{port}"
        metrics_port = home.ports("worker-metrics")["worker-metrics"]
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        chosen = {"HOST": "127.0.0.1", "PORT": port, "METRICS_PORT": metrics_port, "WORKER_THREADS": worker_threads}
        self._servers = Servers(home, given, {name: str(value) for name, value in chosen.items()})
        self._console = Console(stderr=True, highlight=False)
        self._clients: dict[str, dict[str, str]] = {}
        self._ready = False
        self._writing = threading.Lock()
        forget(home.path)
        self._supervisor = Supervisor(home.logs, self._announce, self._on_change, held=(lock,), files=described_in(home.path))

    def start(self, people: int) -> None:
        """Servers, then what they hold, then the services; ready on return."""
        started = time.monotonic()
        servers = self._servers.embedded()
        if self._servers.lacking:
            self._announce(self._servers.lacking)
        with self._step("servers: " + ", ".join(server.name for server in servers)):
            self._supervisor.start(*servers)
        with self._step("queues, buckets and keys"):
            self._set_up_aws()
        with self._step("migrations"):
            self._migrate()
        with self._step(f"{people:,} synthetic people"):
            self._seed(people)
        with self._step("services"):
            self._supervisor.start(*self._services())
            self._await_health()
        self._ready = True
        self._write_stack()
        self._say_ready(time.monotonic() - started)

    def attempt(self, task: Callable[[], object]) -> None:
        """Do something beside the serving, which goes on whatever becomes of it."""
        try:
            task()
        except ConsumidorError as error:
            self._announce(error.detail)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the latter is what rich makes of a standard output that is gone
            self._announce(str(error) if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}")

    def keep(self) -> NoReturn:
        """Keep `stack.json` up to date with the clients; the supervisor does the rest."""
        while True:
            time.sleep(0.5)
            if self._servers.clients() != self._clients:
                self._on_change()

    def stop(self) -> None:
        """End all of it."""
        with self._writing:
            self._ready = False
            forget(self._home.path)
        if self._supervisor.pids():
            self._announce("stopping")
        self._supervisor.stop()

    def _set_up_aws(self) -> None:
        """A new key is saved at once, by a clean stop: Base A is lost without it."""
        known = self._servers.has_key()
        self._servers.ensure_resources()
        if not known and not self._servers.own_aws:
            self._supervisor.restart("aws")

    def _migrate(self) -> None:
        from consumidor.migrate import migrate_all  # noqa: PLC0415 - drivers load once the servers have started

        environment = self._servers.environment().of("migrate")
        os.environ.update({name: value for name, value in environment.items() if name.startswith("AWS_")})  # boto3 looks there
        migrate_all(Settings.from_env("migrate", environment))

    def _seed(self, people: int) -> None:
        from consumidor.local.seeding import Seeding  # noqa: PLC0415 - as above

        if people:
            Seeding(self._home.path, self._servers.bases()).run(people, self._console)

    def _services(self) -> list[Server]:
        environment, settings, home = self._servers.environment(), self._servers.settings, self._home.path
        gateway = {**environment.of("search"), **environment.of("score-api"), **environment.of("api")}
        return [
            _service("gateway", "consumidor.local.gateway", env=gateway, ready=http_ready(f"{self._api}/live")),
            _service("people-worker", "consumidor.cli", "worker", env=environment.of("worker"), ready=http_ready(self._metrics)),
            *([] if self._servers.lacking else [events_feed_server(environment.of("feed"), settings["EVENTS_FEED_QUEUE_URL"], home)]),
        ]

    def _await_health(self) -> None:
        """Wait until /health is 200.

        Raises:
            CommandError: it is not in time; names what is down.
        """
        deadline, down = time.monotonic() + _HEALTH_SECONDS, ["gateway"]
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self._api}/health", timeout=5):  # noqa: S310 - our own URL
                    return
            except urllib.error.HTTPError as error:
                with error:
                    down = json.load(error)["down"]
            except OSError:
                pass
            time.sleep(0.05)
        raise CommandError(f"not healthy within {_HEALTH_SECONDS:.0f} s: {', '.join(down)} (logs: {self._home.logs})")

    def _on_change(self) -> None:
        """A process id or a client has changed. A full disk is no reason to stop what runs."""
        try:
            self._write_stack()
        except OSError as error:
            self._announce(f"stack.json is out of date: {error}")

    def _write_stack(self) -> None:
        """Replace the files that describe the running stack."""
        with self._writing:
            if self._ready:
                self._clients = self._servers.clients()
                write_private(self._home.path / ENVIRONMENT_FILE, self._servers.environment()._asdict())
                write_private(self._home.path / STACK_FILE, self._description())

    def _description(self) -> dict[str, Any]:
        """`stack.json`, as the contract has it."""
        settings = self._servers.settings
        return {
            "api": self._api, "issuer": settings["JWT_ISSUER"], "jwks_url": settings["JWKS_URL"], "clients": self._clients,
            "aws_endpoint_url": settings["AWS_ENDPOINT_URL"], "aws_region": settings["AWS_REGION"],
            "people_requests_queue": settings["PEOPLE_REQUESTS_QUEUE_URL"], "people_requests_dlq": settings["PEOPLE_REQUESTS_DLQ_URL"],
            "people_responses_prefix": settings["PEOPLE_RESPONSES_QUEUE_PREFIX"],
            "people_results_bucket": settings["PEOPLE_RESULTS_BUCKET"], "audit_checkpoint_bucket": settings["AUDIT_CHECKPOINT_BUCKET"],
            "events_feed_queue": settings["EVENTS_FEED_QUEUE_URL"], "events_feed_dlq": settings["EVENTS_FEED_DLQ_URL"],
            "base_a_dsn": settings["BASE_A_OWNER_DSN"], "base_a_worker_dsn": settings["BASE_A_DSN"],
            "base_b_uri": self._servers.base_b_owner, "base_c_url": settings.get("BASE_C_URL"),
            "worker_metrics_url": self._metrics, "logs": str(self._home.logs), "pids": self._supervisor.pids(),
        }  # fmt: skip

    def _say_ready(self, seconds: float) -> None:
        hint = f"docs at {self._api}/docs, logs in {self._home.logs}; Ctrl-C stops everything, the data stays"
        self._console.print(f"[bold green]ready[/] in {seconds:.1f} s: {self._api}\n[dim]{hint}[/]", soft_wrap=True)

    @contextlib.contextmanager
    def _step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        with self._console.status(title):
            yield
        self._console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")

    def _announce(self, text: str) -> None:
        with contextlib.suppress(OSError, SystemExit):  # the terminal is gone, which rich makes an exit of
            self._console.print(text, style="yellow", markup=False, soft_wrap=True)


def _service(name: str, module: str, *arguments: str, env: dict[str, str], ready: Callable[[], None]) -> Server:
    """One of our own processes."""
    return Server(name=name, command=[sys.executable, "-m", module, *arguments], env=env, ready=ready, stop_seconds=6)


class _Signalled(BaseException):
    """Ctrl-C or SIGTERM came."""


@contextlib.contextmanager
def _until_signalled() -> Iterator[None]:
    """End the block at the first SIGINT, SIGTERM or SIGHUP; those after it, or after a block that failed, are ignored, so that the stop
    itself is whole.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def end(*_: object) -> NoReturn:
        ignore()
        raise _Signalled

    for number in numbers:
        signal.signal(number, end)
    with contextlib.suppress(_Signalled):
        try:
            yield
        finally:
            ignore()
