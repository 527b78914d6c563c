"""A whole stack whose every server stands behind a proxy, and a load on all three paths that knows what it is owed."""

import contextlib
import datetime as dt
import json
import os
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import boto3
import psycopg
import urllib3
from botocore.config import Config

from consumidor import cpf
from consumidor.errors import DependencyDown
from consumidor.events import producer
from consumidor.events.model import Event, history_id
from consumidor.local.aws import REGION, aws_server
from consumidor.local.credentials import read_clients, registry_path
from consumidor.local.elasticsearch import elasticsearch_server
from consumidor.local.issuer import issuer_server
from consumidor.local.mongodb import mongodb
from consumidor.local.postgres import postgres
from consumidor.local.running import read_environment
from consumidor.local.supervisor import Supervisor, free_port
from tests.e2e.test_people_path import BIG, ELDER, NEVER
from tests.servers.proxy import Mode, Proxy, aws_kind
from tests.servers.stack import RunningStack

CLIENTS = ("acme", "globex")
ASKED = [ELDER, NEVER, ELDER, NEVER, BIG]  # of each batch; the last one goes through S3


class FaultyStack:
    """The servers, a proxy before each, and `consumidor up` on the proxies."""

    def __init__(self, home: Path) -> None:
        self._supervisor, self.home = Supervisor(home, announce=print), home
        ports = {name: free_port() for name in ("aws", "elasticsearch", "issuer")}
        base_a, base_b = postgres(home / "postgres", free_port()), mongodb(home / "mongodb", free_port())
        servers = [aws_server(home, ports["aws"]), elasticsearch_server(home, ports["elasticsearch"]), issuer_server(home, ports["issuer"])]
        self._supervisor.start(base_a.server, base_b.server, *servers)
        self.issuer = f"http://127.0.0.1:{ports['issuer']}"
        self.owner_dsn, self.base_c = base_a.owner_dsn, f"http://127.0.0.1:{ports['elasticsearch']}"
        aws = Proxy(ports["aws"], aws_kind)
        before = {name: Proxy(ports[name]) for name in ("elasticsearch", "issuer")}
        before |= {"postgres": Proxy(_port(base_a.owner_dsn)), "mongodb": Proxy(_port(base_b.owner_uri))}
        everything = "all"
        self.doors = {
            "base_a": (before["postgres"], everything), "base_b": (before["mongodb"], everything),
            "base_c": (before["elasticsearch"], everything), "issuer": (before["issuer"], everything),
            "sqs": (aws, "sqs"), "s3": (aws, "s3"), "kms": (aws, "kms"),
        }  # fmt: skip
        environment = {
            "BASE_A_OWNER_DSN": _through(base_a.owner_dsn, before["postgres"]),
            "BASE_A_DSN": _through(base_a.worker_dsn, before["postgres"]),
            "BASE_B_URI": _through(base_b.owner_uri, before["mongodb"]),
            "BASE_C_URL": f"http://127.0.0.1:{before['elasticsearch'].port}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "JWT_ISSUER": self.issuer,
            "CLIENTS": f"file:{registry_path(home)}",
            "JWKS_URL": f"http://127.0.0.1:{before['issuer'].port}/.well-known/jwks.json",
        }
        self.running = RunningStack(home / "stack", "--people", "20", environment=environment)
        self.settings = read_environment(self.running.home).settings

    def stop(self) -> None:
        """End everything."""
        with contextlib.suppress(AttributeError):  # it never came up
            self.running.__exit__()
        for proxy, _ in getattr(self, "doors", {}).values():
            proxy.close()
        self._supervisor.stop()

    def set(self, names: list[str], mode: Mode) -> None:
        """Treat these dependencies so from now on."""
        for name in names:
            proxy, kind = self.doors[name]
            proxy.set(kind, mode)

    def token(self, client: str) -> str:
        """A token, straight from the issuer."""
        form = {"grant_type": "client_credentials", **read_clients(self.home)[client]}
        as_form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = urllib3.request("POST", f"{self.issuer}/oauth2/token", body=urlencode(form), headers=as_form)
        return str(answer.json()["access_token"])


@contextlib.contextmanager
def faulty_stack() -> Iterator[FaultyStack]:
    """Right under the temporary folder: pytest's own is closed to PostgreSQL's system user."""
    with tempfile.TemporaryDirectory(prefix="consumidor-faults-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o711)
        stack = FaultyStack.__new__(FaultyStack)
        try:
            stack.__init__(home)  # type: ignore[misc]  # so that a start that fails half-way is stopped too
            yield stack
        finally:
            stack.stop()


def _port(address: str) -> int:
    """The port of `scheme://user:password@host:port/...`."""
    return int(address.rpartition("@")[2].partition("/")[0].partition(":")[2])


def _through(address: str, proxy: Proxy) -> str:
    return address.replace(f":{_port(address)}/", f":{proxy.port}/")


class Load:
    """Asks on all three paths, takes and acknowledges what comes, and keeps account. Use as a context; `owed` empties after it."""

    def __init__(self, stack: FaultyStack) -> None:
        self._stack, self._api = stack, stack.running.info["api"]
        self._tokens = {client: stack.token(client) for client in CLIENTS}
        self._submitting, self._taking = threading.Event(), threading.Event()
        self._person = cpf.pseudonym(bytes.fromhex(stack.settings["PSEUDONYM_KEY"]), cpf.parse(ELDER))
        self.accepted: dict[str, str] = {}
        self.answers: Counter[tuple[str, str]] = Counter()
        self.published: set[str] = set()
        self.statuses: dict[str, Counter[int]] = {"people": Counter(), "score": Counter(), "events": Counter()}
        self.slowest = 0.0
        jobs = [*((self._take, client) for client in CLIENTS), *((self._submit, client) for client in CLIENTS), (self._publish, "acme"),
                (self._score, "acme"), (self._latest, "acme")]  # fmt: skip
        self._threads = [threading.Thread(target=job, args=(client,), daemon=True) for job, client in jobs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_asking()
        self._taking.set()
        for thread in self._threads:
            thread.join(60)

    def stop_asking(self) -> None:
        """Ask nothing more; what is owed is still taken."""
        self._submitting.set()

    def owed(self) -> int:
        """How many accepted requests have no answer yet."""
        return len(self.accepted.keys() - {request_id for _, request_id in dict(self.answers)})

    def foreign(self) -> int:
        """Answers in the wrong queue: of an accepted request, not its asker's."""
        return sum(self.accepted.get(request_id, client) != client for client, request_id in self.answers)

    def repeated(self) -> int:
        """Answers beyond the first."""
        return sum(self.answers.values()) - len(self.answers)

    def log_rows(self) -> int:
        """Rows of the inquiry log with accepted ids."""
        with psycopg.connect(self._stack.owner_dsn) as owner:
            found = owner.execute("select count(*) from inquiry_log where request_id = any(%s)", (list(self.accepted),)).fetchone()
        assert found
        return int(found[0])

    def not_indexed(self) -> int:
        """How many published events Base C does not have."""
        if not self.published:
            return 0
        documents = [{"_id": history_id(self._person, each), "routing": self._person} for each in self.published]
        found = urllib3.request("POST", f"{self._stack.base_c}/events/_mget?_source=false", json={"docs": documents}).json()
        return sum(not each.get("found") for each in found["docs"])

    def _call(self, path: str, method: str, client: str, body: Any = None, timeout: float = 40.0) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {self._tokens[client]}"}
        started = time.monotonic()
        try:
            sent = None if body is None else json.dumps(body).encode()
            answer = urllib3.request(method, self._api + path, body=sent, headers=headers, timeout=timeout, retries=False)
        except urllib3.exceptions.HTTPError:
            return 0, {}
        self.slowest = max(self.slowest, time.monotonic() - started)
        return answer.status, answer.json()

    def _submit(self, client: str) -> None:
        while not self._submitting.wait(0.4):
            status, answer = self._call(
                "/v1/people/requests", "POST", client, {"requests": [{"cpf": each, "purpose": "own"} for each in ASKED]}
            )
            self.statuses["people"][status] += 1
            self.accepted |= {one["request_id"]: client for one in answer.get("requests", []) if "request_id" in one}

    def _take(self, client: str) -> None:
        while not self._taking.is_set():
            status, answer = self._call("/v1/people/responses?wait=1", "GET", client)
            self.statuses["people"][status] += 1
            responses = answer.get("responses", [])
            self.answers.update((client, one["request_id"]) for one in responses)
            if responses:
                self._call("/v1/people/responses/ack", "POST", client, {"receipts": [one["receipt"] for one in responses]})
            self._taking.wait(0.1 if status == 200 else 0.5)

    def _score(self, client: str) -> None:
        while not self._submitting.wait(0.25):
            self.statuses["score"][self._call(f"/v1/score/{ELDER}", "GET", client)[0]] += 1

    def _latest(self, client: str) -> None:
        while not self._submitting.wait(0.25):
            self.statuses["events"][self._call(f"/v1/events/latest?cpf={ELDER}", "GET", client)[0]] += 1

    def _publish(self, _: str) -> None:
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
        session: Any = boto3.Session("test", "test", region_name=REGION)
        sqs = session.client("sqs", endpoint_url=self._stack.settings["AWS_ENDPOINT_URL"], config=config)
        while not self._submitting.wait(0.3):
            now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            event = Event(uuid.uuid4().hex, self._person, "card_purchase", now, "Loja", 100, "BRL")
            with contextlib.suppress(DependencyDown):
                producer.publish(sqs, self._stack.settings["EVENTS_FEED_QUEUE_URL"], [event])
                self.published.add(event.event_id)


SECONDS = float(os.environ.get("FAULT_OUTAGE_SECONDS", "5"))  # `make faults`: 20
