"""A stub of Amazon's secrets extension: as it behaves beside a Lambda, and what the Lambdas make of that."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from consumidor import settings
from consumidor.errors import SettingsError
from consumidor.settings import Settings

SECRETS = {"arn:of:base-c": "http://127.0.0.1:1", "arn:of:key": "ab" * 32}
ENVIRONMENT = {
    "ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "BASE_C_URL": "secretsmanager:arn:of:base-c", "CLIENTS": "{}",
    "PSEUDONYM_KEY": "secretsmanager:arn:of:key", "EVENTS_FEED_DLQ_URL": "http://127.0.0.1:1/dlq", "INQUIRY_SENDERS": "1",
    "AWS_SESSION_TOKEN": "of-the-role",
}  # fmt: skip
PURCHASE = {"event_id": "1", "person": "0" * 32, "kind": "card_purchase", "occurred_at": "2026-01-02T03:04:05Z", "institution": "bank",
            "amount": 1, "currency": "BRL", "details": {}}  # fmt: skip
BATCH = {"Records": [{"messageId": "1", "body": json.dumps({"version": 1, "events": [PURCHASE]})}]}
# As the Lambda runtime does: the handler is looked up while it starts, and called once an invocation comes.
RUNTIME = """
import importlib, json, sys
from consumidor import settings
settings._EXTENSION_PORT = int(sys.argv[2])
handler = getattr(importlib.import_module("consumidor.events." + sys.argv[1]), "handler")
print("started", flush=True)
for line in sys.stdin:
    try:
        print(handler(json.loads(line), None)["statusCode"], flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


class Extension(ThreadingHTTPServer):
    """Gives secrets to whoever shows the role's token; `refusals` counts down the times that it is not ready yet."""

    daemon_threads = True
    refusals = 0
    asked = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class Answer(BaseHTTPRequestHandler):
    """One answer of it."""

    server: Extension

    def do_GET(self) -> None:
        """GET /secretsmanager/get?secretId=ARN."""
        self.server.asked += 1
        arn = parse_qs(urlsplit(self.path).query)["secretId"][0]
        if self.server.refusals:
            self.server.refusals -= 1
            status, body = 400, "not ready to serve traffic, please wait"
        elif self.headers["X-Aws-Parameters-Secrets-Token"] != "of-the-role" or arn not in SECRETS:
            status, body = 400, "refused"
        else:
            status, body = 200, json.dumps({"ARN": arn, "SecretString": SECRETS[arn]})
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Iterator[Extension]:
    """A running one, in the place of Amazon's."""
    server = Extension(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(settings, "_EXTENSION_PORT", server.port)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-role")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("process", "event", "outcome"), [("search", {}, "401"), ("feed", BATCH, "DependencyDown")])
def test_secrets_are_read_by_the_first_invocation(extension: Extension, process: str, event: object, outcome: str) -> None:
    """While the runtime starts, the extension gives no secret and is not asked for one; the first invocation reads each, the next none."""
    extension.refusals = 1000
    command = [sys.executable, "-c", RUNTIME, process, str(extension.port)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runtime:
        assert runtime.stdin is not None
        assert runtime.stdout is not None
        assert runtime.stdout.readline() == "started\n"
        assert extension.asked == 0
        extension.refusals = 0
        for _ in range(2):
            runtime.stdin.write(json.dumps(event) + "\n")
            runtime.stdin.flush()
            assert runtime.stdout.readline() == f"{outcome}\n"
        assert extension.asked == len(SECRETS)
        runtime.stdin.close()


def test_an_extension_that_is_not_ready_yet_is_asked_again(extension: Extension) -> None:
    """A few answers of 400 only cost time."""
    extension.refusals = 3
    read = Settings.from_env("search", ENVIRONMENT)
    assert (read.base_c_url, read.pseudonym_key) == (SECRETS["arn:of:base-c"], bytes.fromhex(SECRETS["arn:of:key"]))


def test_a_secret_that_is_refused_is_named_by_its_setting(extension: Extension) -> None:
    """In the end 400 is a fault, and the text says of which setting; the ARN is not repeated."""
    with pytest.raises(SettingsError, match=r"PSEUDONYM_KEY names a secret that the secrets extension refuses \(400\)") as refused:
        Settings.from_env("search", {**ENVIRONMENT, "PSEUDONYM_KEY": "secretsmanager:arn:of:another"})
    assert "arn:" not in str(refused.value)
    assert extension.asked >= 4
