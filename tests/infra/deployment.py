"""A stack of the program's, deployed as far as it goes without AWS: made in ministack, its processes running, ready to be used.

The bases are the real servers of the embedded default, given to the program as "somebody else's" where it takes that; Base A's address
is changed in the DSN that the program made. Everything else that a process is told comes from the program's own resources.
"""

import datetime as dt
import fnmatch
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import urllib3
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from consumidor.local import synthetic
from consumidor.local.supervisor import Server, Supervisor, free_port, http_ready
from consumidor.local.synthetic_credit import seed_base_b
from consumidor.people.load import load
from consumidor.people.vault import Vault
from tests.infra.graph import Graph
from tests.infra.made_up import REGION
from tests.infra.on_ministack import Place
from tests.infra.properties.fit import NAMES, environment_of
from tests.infra.recording import ROOT, Job, record_all
from tests.infra.witness import Witness

PORTS = {"api": "PORT", "worker": "METRICS_PORT", "score-api": "PORT"}
WITNESSED = (*PORTS, "extract", "migrate", "feed")
SEED = 6


class Balancer:
    """The load balancer as the program's rules have it: a path's pattern to a target group, that to the service it belongs to."""

    def __init__(self) -> None:
        self.routes: dict[str, str] = {}
        balancer, pool = self, urllib3.PoolManager(maxsize=20)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = urlsplit(self.path).path
                url = next((url for pattern, url in balancer.routes.items() if fnmatch.fnmatchcase(path, pattern)), None)
                answer = url and pool.request(self.command, url + self.path, body=body, headers=dict(self.headers), retries=False)
                self.send_response(answer.status if answer else 404)
                self.send_header("content-type", answer.headers["content-type"] if answer else "text/plain")
                self.send_header("content-length", str(len(answer.data) if answer else 0))
                self.end_headers()
                self.wfile.write(answer.data if answer else b"")

            do_GET = do_POST = _forward  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop balancing."""
        self.server.shutdown()
        self.server.server_close()

    def learn(self, graph: Graph, urls: Mapping[str, str]) -> None:
        """Take the program's rules over; `urls` by service."""
        of_group = {
            one["targetGroupArn"]: service.name for service in graph.of("ecs:Service") for one in service.get("loadBalancers") or []
        }
        for rule in graph.of("lb:ListenerRule"):
            (action,), (condition,) = rule.get("actions"), rule.get("conditions")
            for pattern in condition["pathPattern"]["values"]:
                self.routes[pattern] = urls[of_group[action["targetGroupArn"]]]


class Deployment:
    """`call` speaks to the gateway as a client; `witnesses` by process remember what each did to AWS."""

    def __init__(self, endpoint: str, base_b_uri: str, base_c_url: str, packages: Path, folder: Path) -> None:
        self.endpoint, self._folder = endpoint, folder
        self._stack = ExitStack()
        self._balancer = Balancer()
        self._stack.callback(self._balancer.close)
        secrets = self.client("secretsmanager")
        texts = {"consumidor:baseBSecretArn": base_b_uri, "consumidor:baseCSecretArn": base_c_url}
        arns = {key: secrets.create_secret(Name=f"outside-{key[-13:]}", SecretString=text)["ARN"] for key, text in texts.items()}
        self._outside = {arns[key]: text for key, text in texts.items()}
        self.witnesses = {process: Witness(endpoint) for process in WITNESSED}
        place = Place(endpoint, self._balancer.url, str(packages), self.witnesses["feed"].endpoint)
        self.graph = record_all({"deployed": Job("dev", arns, place=place._asdict())}, folder)["deployed"]
        assert self.graph.failed is None, self.graph.failed
        for witness in self.witnesses.values():
            witness.graph = self.graph
        self._supervisors: dict[str, Supervisor] = {}
        (self._api,) = self.graph.of("apigatewayv2:Api")
        self._pool = urllib3.PoolManager(retries=False)

    def client(self, service: str, account: str = "test") -> Any:
        """A boto3 client; another account's where a 12-digit key is given."""
        session: Any = boto3.Session(aws_access_key_id=account, aws_secret_access_key="test", region_name=REGION)
        return session.client(service, endpoint_url=self.endpoint)

    def environment(self, process: str, base_a_dsn: str) -> dict[str, str]:
        """What the program tells the process, and what is different here: addresses."""
        told = environment_of(self.graph, process, self._outside)
        witness = self.witnesses.get(process)
        told |= {"AWS_ENDPOINT_URL": witness.endpoint if witness else self.endpoint, "HOST": "127.0.0.1"}
        told |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        if "BASE_A_DSN" in told:
            here = conninfo_to_dict(base_a_dsn)
            moved = {**conninfo_to_dict(told["BASE_A_DSN"]), "sslmode": "disable", "sslrootcert": ""}
            told["BASE_A_DSN"] = make_conninfo("", **{**moved, **{key: here[key] for key in ("host", "port", "dbname")}})
        if "JWKS_URL" in told:  # the issuer's name is Amazon's, its keys are here
            told["JWKS_URL"] = told["JWKS_URL"].replace(f"https://cognito-idp.{REGION}.amazonaws.com", self.endpoint)
        return told

    def start(self, owner_dsn: str) -> None:
        """Migrate and seed the bases, then start the processes with the commands of their containers."""
        self._run_migration(owner_dsn)
        self._seed(owner_dsn)
        urls = {}
        for process, port_name in PORTS.items():
            port = free_port()
            urls[NAMES.get(process, process)] = f"http://127.0.0.1:{port}"
            environment = self.environment(process, owner_dsn) | {port_name: str(port)}
            ready = http_ready(f"http://127.0.0.1:{port}/live")
            self._supervisors[process] = Supervisor(self._folder, announce=print)
            self._supervisors[process].start(Server(process, self._command(process), ready, environment, stop_seconds=30))
        self._balancer.learn(self.graph, urls)

    def _command(self, process: str) -> list[str]:
        name, *rest = self.graph.container(NAMES.get(process, process))["command"]
        return [str(Path(sys.executable).with_name(name)), *rest]

    def _run_migration(self, owner_dsn: str) -> None:
        self.in_place_of_migration(owner_dsn, *self.graph.container("migrate")["command"])

    def in_place_of_migration(self, owner_dsn: str, *command: str) -> str:
        """What another command of ours prints in the migration's task, as `aws ecs run-task` with an override runs it."""
        environment = self.environment("migrate", owner_dsn) | {"BASE_A_OWNER_DSN": owner_dsn}
        del environment["PGPASSWORD"]
        name, *rest = command
        return _run([str(Path(sys.executable).with_name(name)), *rest], environment)

    def extract(self, owner_dsn: str) -> str:
        """Run tonight's extraction as its schedule would; the folder that it was told of."""
        (schedule,) = self.graph.of("scheduler:Schedule")
        text = schedule.get("target")["input"].replace("<aws.scheduler.scheduled-time>", "2026-11-22T06:00:00Z")
        (override,) = json.loads(text)["containerOverrides"]
        name, *rest = override["command"]
        assert override["name"] == self.graph.container("extract")["name"]
        environment = self.environment("extract", owner_dsn) | {"HOME": str(self._folder)}
        _run([str(Path(sys.executable).with_name(name)), *rest], environment)
        return str(rest[-1])

    def _seed(self, owner_dsn: str) -> None:
        told = self.environment("api", owner_dsn) | self.environment("migrate", owner_dsn)
        key = bytes.fromhex(told["PSEUDONYM_KEY"])
        today = dt.datetime.now(dt.UTC).date()
        people = list(synthetic.people(SEED, 3, today.year))
        load(owner_dsn, people, vault=Vault(self.client("kms"), told["BASE_A_KMS_KEY"]), pseudonym_key=key)
        seed_base_b(told["BASE_B_URI"], people, key, SEED, today)

    def stop_process(self, process: str) -> None:
        """End one process as ECS does, by SIGTERM, if it runs."""
        if supervisor := self._supervisors.pop(process, None):
            supervisor.stop()

    def stop(self) -> None:
        """End everything."""
        for process in list(self._supervisors):
            self.stop_process(process)
        for witness in self.witnesses.values():
            witness.close()
        self._stack.close()

    def token(self, client: str, *scopes: str) -> str:
        """A token from the user pool that the program made, by client credentials."""
        app = self.graph.one("cognito:UserPoolClient", f"client-{client}")
        form = {"grant_type": "client_credentials", "scope": " ".join(scopes)} if scopes else {"grant_type": "client_credentials"}
        headers = urllib3.make_headers(basic_auth=f"{app.id}:{app.get('clientSecret')}")
        answer = self._pool.request("POST", f"{self.endpoint}/oauth2/token", fields=form, headers=headers, encode_multipart=False)
        return str(answer.json()["access_token"])

    def call(self, method: str, path: str, token: str | None = None, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one call through the gateway; the line is printed."""
        headers = {"host": f"{self._api.id}.execute-api.127.0.0.1"} | ({"authorization": f"Bearer {token}"} if token else {})
        answer = self._pool.request(method, self.endpoint + path, headers=headers, json=body)
        print(f"{method} {path} -> {answer.status} {answer.data[:160]!r}")
        return answer.status, answer.json() if answer.data else None


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
