"""`consumidor up`: every server and service on this machine, started in order, watched, and stopped together.

A server whose setting is already in the environment is not started; the services then use the one that it names.
"""

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
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from consumidor.errors import CommandError, SettingsError
from consumidor.local.aws import REGION, Aws, Resources, aws_server
from consumidor.local.credentials import read_clients, registry_path
from consumidor.local.files import write_private
from consumidor.local.home import Home, claim_port, explained, public_jwks
from consumidor.local.issuer import AUDIENCE, issuer_server
from consumidor.local.postgres import postgres
from consumidor.local.running import ENVIRONMENT_FILE, STACK_FILE, Environment, forget, read_environment, read_stack, register_client
from consumidor.local.supervisor import Server, Supervisor, http_ready
from consumidor.settings import KEYS, Settings

__all__ = ["read_environment", "read_stack", "register_client", "up"]

_OF_THIS_COMMAND = {"HOST", "PORT", "METRICS_PORT", "WORKER_THREADS"}  # not taken from the environment: shells set HOST
_HEALTH_SECONDS = 30.0


def up(home: Path, port: int = 8080, people: int = 10000, worker_threads: int = 4, on_ready: Callable[[], object] | None = None) -> None:
    """Start everything, call `on_ready`, and serve until Ctrl-C or SIGTERM; then stop everything. The data stays in `home`.

    Raises:
        CommandError: something cannot be started, with the reason in one line; what had been started is stopped again.
        SettingsError: a setting in the environment is wrong.
    """
    folder = Home(home)
    with folder.lock() as lock, explained(folder.path):
        stack = Stack(folder, claim_port(port), lock)
        try:
            with _until_signalled():
                stack.start(people, worker_threads)
                if on_ready:
                    on_ready()
                stack.keep()
        finally:
            stack.stop()


class Stack:
    """One stack in one home, whose lock is held through the file descriptor `lock`."""

    def __init__(self, home: Home, port: int, lock: int) -> None:
        self._home, self._port = home, port
        self._console = Console(stderr=True, highlight=False)
        self._given = _given_settings()
        self._ports = home.ports("postgres", "aws", "issuer", "worker-metrics")
        self._settings: dict[str, str] = {}
        self._base_b_owner = ""
        self._clients: dict[str, dict[str, str]] = {}
        self._ready = False
        self._writing = threading.Lock()
        forget(home.path)
        self._supervisor = Supervisor(home.logs, self._announce, self._write_stack, held=(lock,))

    def start(self, people: int, worker_threads: int) -> None:
        """Servers, then what they hold, then the services; ready on return."""
        started = time.monotonic()
        self._settings = self._own_settings(worker_threads)
        servers = self._servers()
        with self._step("servers: " + ", ".join(server.name for server in servers)):
            self._supervisor.start(*servers)
        with self._step("queues, buckets and keys"):
            self._set_up_aws()
        environment = self._environment()
        with self._step("bases"):
            self._fill(environment, people)
        with self._step("services"):
            self._supervisor.start(*self._services(environment))
            self._await_health()
        write_private(self._home.path / ENVIRONMENT_FILE, environment._asdict())
        self._ready = True
        self._write_stack()
        self._say_ready(time.monotonic() - started)

    def keep(self) -> NoReturn:
        """Keep `stack.json` up to date with the clients; the supervisor does the rest."""
        while True:
            time.sleep(0.5)
            if self._registered() != self._clients:
                self._write_stack()

    def stop(self) -> None:
        """End all of it."""
        self._ready = False
        forget(self._home.path)
        if self._supervisor.pids():
            self._announce("stopping")
        self._supervisor.stop()

    def _own_settings(self, worker_threads: int) -> dict[str, str]:
        """What needs no server: fixed values and this home's secrets."""
        kept = self._home.secrets()
        signing = kept["PEOPLE_SIGNING_KEY"]
        return {
            "ENVIRONMENT": "dev", "AWS_REGION": REGION, "JWT_AUDIENCE": AUDIENCE, "HOST": "127.0.0.1", "PORT": str(self._port),
            "METRICS_PORT": str(self._ports["worker-metrics"]), "WORKER_THREADS": str(worker_threads),
            "PSEUDONYM_KEY": kept["PSEUDONYM_KEY"], "PEOPLE_SIGNING_KEY": json.dumps(signing),
            "PEOPLE_SIGNING_PUBLIC_KEYS": json.dumps(public_jwks(signing)), **self._given,
        }  # fmt: skip

    def _servers(self) -> list[Server]:
        """The servers that the environment does not name; each adds what others need to know of it to the settings."""
        servers, ports, home = [], self._ports, self._home.path
        if "BASE_A_DSN" not in self._given:
            base_a = postgres(home / "postgres", ports["postgres"])
            self._settings |= {"BASE_A_OWNER_DSN": base_a.owner_dsn, "BASE_A_DSN": base_a.worker_dsn}
            servers.append(base_a.server)
        if "AWS_ENDPOINT_URL" not in self._given:
            self._settings["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{ports['aws']}"
            servers.append(replace(aws_server(home, ports["aws"]), after_restart=lambda: None if self._ensure_resources() else None))
        if "JWT_ISSUER" not in self._given:
            url = f"http://127.0.0.1:{ports['issuer']}"
            self._settings |= {"JWT_ISSUER": url, "JWKS_URL": f"{url}/.well-known/jwks.json", "CLIENTS": f"file:{registry_path(home)}"}
            servers.append(issuer_server(home, ports["issuer"]))
        return servers

    def _aws(self) -> Aws:
        own = "AWS_ENDPOINT_URL" in self._given
        return Aws(self._settings["AWS_ENDPOINT_URL"], self._settings["AWS_REGION"], own_credentials=own)

    def _ensure_resources(self) -> Resources:
        return self._aws().ensure(self._client_names())

    def _set_up_aws(self) -> None:
        """Queues, buckets and key; saved at once where the key is new, since Base A is lost without it."""
        aws = self._aws()
        new = not aws.has_key()
        made = self._ensure_resources()
        if new and "AWS_ENDPOINT_URL" not in self._given:
            self._supervisor.restart("aws")
        named = {
            "PEOPLE_REQUESTS_QUEUE_URL": made.people_requests, "PEOPLE_REQUESTS_DLQ_URL": made.people_requests_dlq,
            "PEOPLE_RESPONSES_QUEUE_PREFIX": made.responses_prefix, "PEOPLE_RESULTS_BUCKET": made.results_bucket,
            "EVENTS_FEED_QUEUE_URL": made.events_feed, "EVENTS_FEED_DLQ_URL": made.events_feed_dlq,
            "AUDIT_CHECKPOINT_BUCKET": made.checkpoint_bucket, "BASE_A_KMS_KEY": made.base_a_key,
        }  # fmt: skip
        self._settings = named | {"INQUIRY_SENDERS": aws.inquiry_senders()} | self._settings

    def _client_names(self) -> list[str]:
        """All names of the registry, ours or another's."""
        spec = self._settings["CLIENTS"]
        text = Path(spec.removeprefix("file:")).read_text("utf-8") if spec.startswith("file:") else spec
        return list(json.loads(text).values())

    def _registered(self) -> dict[str, dict[str, str]]:
        return {} if "JWT_ISSUER" in self._given else read_clients(self._home.path)

    def _environment(self) -> Environment:
        return Environment(self._settings, own_credentials="AWS_ENDPOINT_URL" in self._given, base_b_owner=self._base_b_owner)

    def _fill(self, environment: Environment, people: int) -> None:
        """Migrate every base and seed it where it has fewer people than asked for."""
        from consumidor.migrate import migrate_all  # noqa: PLC0415 - drivers load while the servers start

        settings = environment.of("migrate")
        os.environ.update({name: value for name, value in settings.items() if name.startswith("AWS_")})  # boto3 reads its own
        migrate_all(Settings.from_env("migrate", settings))

    def _services(self, environment: Environment) -> list[Server]:
        metrics = f"http://127.0.0.1:{self._ports['worker-metrics']}/metrics"
        return [
            _service("gateway", "consumidor.local.gateway", env=environment.of("api"), ready=http_ready(f"{self._api}/live")),
            _service("people-worker", "consumidor.cli", "worker", env=environment.of("worker"), ready=http_ready(metrics)),
        ]

    @property
    def _api(self) -> str:
        return f"http://127.0.0.1:{self._port}"

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

    def _write_stack(self) -> None:
        """Replace `stack.json`, once there is one; a process id or a client has changed."""
        with self._writing:
            if self._ready:
                self._clients = self._registered()
                write_private(self._home.path / STACK_FILE, self._description())

    def _description(self) -> dict[str, Any]:
        """`stack.json`, as the contract has it."""
        settings = self._settings
        return {
            "api": self._api, "issuer": settings["JWT_ISSUER"], "jwks_url": settings["JWKS_URL"],
            "aws_endpoint_url": settings["AWS_ENDPOINT_URL"], "aws_region": settings["AWS_REGION"], "clients": self._clients,
            "people_requests_queue": settings["PEOPLE_REQUESTS_QUEUE_URL"], "people_requests_dlq": settings["PEOPLE_REQUESTS_DLQ_URL"],
            "people_responses_prefix": settings["PEOPLE_RESPONSES_QUEUE_PREFIX"],
            "people_results_bucket": settings["PEOPLE_RESULTS_BUCKET"], "audit_checkpoint_bucket": settings["AUDIT_CHECKPOINT_BUCKET"],
            "events_feed_queue": settings["EVENTS_FEED_QUEUE_URL"], "events_feed_dlq": settings["EVENTS_FEED_DLQ_URL"],
            "base_a_dsn": settings["BASE_A_OWNER_DSN"], "base_a_worker_dsn": settings["BASE_A_DSN"],
            "base_b_uri": self._base_b_owner or settings.get("BASE_B_URI"), "base_c_url": settings.get("BASE_C_URL"),
            "worker_metrics_url": f"http://127.0.0.1:{self._ports['worker-metrics']}/metrics",
            "logs": str(self._home.logs), "pids": self._supervisor.pids(),
        }  # fmt: skip

    @contextlib.contextmanager
    def _step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        with self._console.status(title):
            yield
        self._console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")

    def _announce(self, text: str) -> None:
        self._console.print(text, style="yellow", markup=False)

    def _say_ready(self, seconds: float) -> None:
        self._console.print(
            f"[bold green]ready[/] in {seconds:.1f} s: {self._api} [dim](/docs, /health, /metrics; logs in {self._home.logs})[/]"
        )
        self._console.print("[dim]Ctrl-C stops everything; the data stays.[/]")


def _given_settings() -> dict[str, str]:
    """Settings from our own environment, which go before those that the stack would make.

    Raises:
        SettingsError: lists every wrong one, and those that stand alone but belong together.
    """
    given = {name: os.environ[name] for name in KEYS if os.environ.get(name) and name not in _OF_THIS_COMMAND}
    wrong = []
    for name, text in given.items():
        try:
            KEYS[name].parse(text)
        except ValueError as error:
            wrong.append(f"{name} {error}")
    for together in (("BASE_A_DSN", "BASE_A_OWNER_DSN"), ("JWT_ISSUER", "JWKS_URL", "CLIENTS")):
        missing = [name for name in together if name not in given]
        if len(missing) < len(together) and missing:
            wrong.append(f"{', '.join(missing)} must be set too where {together[0]} or another of its kind is")
    if wrong:
        raise SettingsError("up: " + "; ".join(wrong))
    return given


def _service(name: str, module: str, *arguments: str, env: dict[str, str], ready: Callable[[], None]) -> Server:
    """One of our own processes."""
    return Server(name=name, command=[sys.executable, "-m", module, *arguments], env=env, ready=ready, stop_seconds=6)


class _Signalled(BaseException):
    """Ctrl-C or SIGTERM came."""


@contextlib.contextmanager
def _until_signalled() -> Iterator[None]:
    """End the block at the first SIGINT, SIGTERM or SIGHUP; those after it are ignored, so that the stop itself is whole."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(*_: object) -> NoReturn:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise _Signalled

    for number in numbers:
        signal.signal(number, end)
    with contextlib.suppress(_Signalled):
        yield


if __name__ == "__main__":
    up(Path(sys.argv[1]), port=0)
