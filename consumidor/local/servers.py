"""Which servers a stack starts itself, and the settings that follow from them.

Every setting may come from the environment instead; a server that is named there is not started.
"""

import json
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from consumidor.errors import CommandError, SettingsError
from consumidor.local.aws import REGION, Aws, aws_server
from consumidor.local.credentials import read_clients, registry_path
from consumidor.local.elasticsearch import elasticsearch_server
from consumidor.local.home import Home, public_jwks
from consumidor.local.issuer import AUDIENCE, issuer_server
from consumidor.local.mongodb import mongodb
from consumidor.local.postgres import postgres
from consumidor.local.running import Environment
from consumidor.local.supervisor import Server
from consumidor.settings import KEYS

if TYPE_CHECKING:
    from consumidor.local.seeding import Bases

_OF_THE_COMMAND = {"HOST", "PORT", "METRICS_PORT", "WORKER_THREADS"}  # not taken from the environment: shells set HOST
_TOGETHER = (("BASE_A_DSN", "BASE_A_OWNER_DSN"), ("JWT_ISSUER", "JWKS_URL", "CLIENTS"))


def given_settings() -> dict[str, str]:
    """The settings that are in our own environment.

    Raises:
        SettingsError: lists every wrong one, and those that are missing beside others they belong to.
    """
    given = {name: os.environ[name] for name in KEYS if os.environ.get(name) and name not in _OF_THE_COMMAND}
    if "AWS_ENDPOINT_URL" not in given:
        given.pop("AWS_REGION", None)  # that of the shell's own AWS: our ministack has its own
    wrong = []
    for name, text in given.items():
        try:
            KEYS[name].parse(text)
        except ValueError as error:
            wrong.append(f"{name} {error}")
    for group in _TOGETHER:
        missing = [name for name in group if name not in given]
        if 0 < len(missing) < len(group):
            wrong.append(f"{', '.join(missing)} must be set too, since one of {', '.join(group)} is")
    if wrong:
        raise SettingsError("up: " + "; ".join(wrong))
    return given


class Servers:
    """The servers of one home; `settings` is complete once they run and `set_up_aws` is done.

    `given` are settings from the environment, `chosen` those that the command's options make.
    """

    def __init__(self, home: Home, given: dict[str, str], chosen: dict[str, str]) -> None:
        self._home = home.path
        self._given = given
        self._ports = home.ports("postgres", "mongodb", "elasticsearch", "aws", "issuer")
        self.base_b_owner = given.get("BASE_B_URI", "")  # Base B's URI for who may write
        self.lacking = ""  # why there is no Base C, where there is none
        kept = home.secrets()
        signing = kept["PEOPLE_SIGNING_KEY"]
        self.settings = {
            "ENVIRONMENT": "dev", "AWS_REGION": REGION, "JWT_AUDIENCE": AUDIENCE,
            "PSEUDONYM_KEY": kept["PSEUDONYM_KEY"], "PEOPLE_SIGNING_KEY": json.dumps(signing),
            "PEOPLE_SIGNING_PUBLIC_KEYS": json.dumps(public_jwks(signing)), **given, **chosen,
        }  # fmt: skip

    def embedded(self) -> list[Server]:
        """The servers to start; each tells the settings where it will be."""
        made = {
            "BASE_A_DSN": self._base_a, "BASE_B_URI": self._base_b, "BASE_C_URL": self._base_c,
            "AWS_ENDPOINT_URL": self._ministack, "JWT_ISSUER": self._issuer,
        }  # fmt: skip
        servers = [make() for name, make in made.items() if name not in self._given]
        return [server for server in servers if server]

    def _base_a(self) -> Server:
        base_a = postgres(self._home / "postgres", self._ports["postgres"])
        self.settings |= {"BASE_A_OWNER_DSN": base_a.owner_dsn, "BASE_A_DSN": base_a.worker_dsn}
        return base_a.server

    def _base_b(self) -> Server:
        base_b = mongodb(self._home / "mongodb", self._ports["mongodb"])
        self.settings["BASE_B_URI"] = base_b.reader_uri
        self.base_b_owner = base_b.owner_uri
        return base_b.server

    def _base_c(self) -> Server | None:
        """The one server that comes from elsewhere than the package registry; without it the other two paths are served."""
        try:
            server = elasticsearch_server(self._home, self._ports["elasticsearch"])
        except CommandError as error:
            self.lacking = f"the events path is not served: {error}"
            return None
        self.settings["BASE_C_URL"] = f"http://127.0.0.1:{self._ports['elasticsearch']}"
        return server

    def _ministack(self) -> Server:
        port = self._ports["aws"]
        self.settings["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        return replace(aws_server(self._home, port), after_restart=self.ensure_resources)

    def _issuer(self) -> Server:
        url = f"http://127.0.0.1:{self._ports['issuer']}"
        self.settings |= {"JWT_ISSUER": url, "JWKS_URL": f"{url}/.well-known/jwks.json", "CLIENTS": f"file:{registry_path(self._home)}"}
        return issuer_server(self._home, self._ports["issuer"])

    @property
    def own_aws(self) -> bool:
        """Whether AWS is the user's own, and not the ministack that we start."""
        return "AWS_ENDPOINT_URL" in self._given

    def has_key(self) -> bool:
        """Whether the key that seals Base A was there before."""
        return self._aws.has_key()

    def ensure_resources(self) -> None:
        """Queues, buckets and key as they must be, and where they are into the settings."""
        made = self._aws.ensure(self._client_names())
        named = {
            "PEOPLE_REQUESTS_QUEUE_URL": made.people_requests, "PEOPLE_REQUESTS_DLQ_URL": made.people_requests_dlq,
            "PEOPLE_RESPONSES_QUEUE_PREFIX": made.responses_prefix, "PEOPLE_RESULTS_BUCKET": made.results_bucket,
            "EVENTS_FEED_QUEUE_URL": made.events_feed, "EVENTS_FEED_DLQ_URL": made.events_feed_dlq,
            "AUDIT_CHECKPOINT_BUCKET": made.checkpoint_bucket, "BASE_A_KMS_KEY": made.base_a_key,
            "INQUIRY_SENDERS": self._aws.inquiry_senders(),
        }  # fmt: skip
        self.settings = {**named, **self.settings}

    @cached_property
    def _aws(self) -> Aws:
        return Aws(self.settings["AWS_ENDPOINT_URL"], self.settings["AWS_REGION"], own_credentials=self.own_aws)

    def _client_names(self) -> list[str]:
        """All names of the registry, ours or another's."""
        spec = self.settings["CLIENTS"]
        text = Path(spec.removeprefix("file:")).read_text("utf-8") if spec.startswith("file:") else spec
        return list(json.loads(text).values())

    def clients(self) -> dict[str, dict[str, str]]:
        """The clients of our own issuer, now; none where tokens come from another."""
        return {} if "JWT_ISSUER" in self._given else read_clients(self._home)

    def environment(self) -> Environment:
        """What the stack's processes are told."""
        return Environment(self.settings, self.own_aws, self.base_b_owner)

    def bases(self) -> "Bases":
        """The bases as their owner, to be seeded."""
        from consumidor.local.seeding import Bases  # noqa: PLC0415 - drivers load once the servers have started
        from consumidor.people.vault import Vault  # noqa: PLC0415 - as above

        settings = self.settings
        vault = Vault(self._aws.kms, settings["BASE_A_KMS_KEY"])
        key = bytes.fromhex(settings["PSEUDONYM_KEY"])
        named = {"base_b": "BASE_B_URI", "base_c": "BASE_C_URL"}
        embedded = frozenset(base for base, name in named.items() if name not in self._given)
        return Bases(settings["BASE_A_OWNER_DSN"], vault, self.base_b_owner, settings.get("BASE_C_URL", ""), key, embedded)
