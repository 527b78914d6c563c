"""The client library while what it calls is away: no wait is lost, and what is refused is told as our own error."""

import json
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from consumidor.client import Consumidor, TokenSource
from consumidor.errors import ConsumidorError, DependencyDown

REPORT = json.dumps({
    "cpf": "465.092.081-72", "name": "Ana", "debts": [], "total_open_cents": 0,
    "address": {"street": "Rua Um, 1", "city": "Campinas", "state": "SP", "postal_code": "13010-000"},
}).encode()  # fmt: skip


class Api:
    """An API, an issuer and a bucket on one port, with one request to answer; each can be away."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.acknowledged: list[str] = []
        self.delivered = 0
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, content = api.answer(self.path, body)
                if status:
                    self.send_response(status)
                    self.send_header("content-length", str(len(content)))
                    self.send_header("retry-after", "0")
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body; status 0 cuts the connection."""
        what = path.partition("?")[0].rpartition("/")[2]
        if what in self.away:
            return 0, b""
        if what == "token":
            return 200, json.dumps({"access_token": "x", "expires_in": 60}).encode()  # always to be renewed
        if what == "requests":
            return 202, b'{"request_id": "1"}'
        if what == "report":
            return 200, REPORT
        if what == "ack":
            self.acknowledged += json.loads(body)["receipts"]
            return 200, b'{"receipts": []}'
        return 200, self._responses()

    def _responses(self) -> bytes:
        """The one response, again and again until it is acknowledged."""
        time.sleep(0.05)
        if self.acknowledged:
            return b'{"responses": []}'
        self.delivered += 1
        link = {"report_url": f"{self.url}/report", "sha256": sha256(REPORT).hexdigest(), "bytes": len(REPORT)}
        return json.dumps({"responses": [{"request_id": "1", "status": "found", "receipt": f"r{self.delivered}", **link}]}).encode()


@pytest.fixture
def api() -> Iterator[Api]:
    """An API where all is well."""
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()


def client_of(api: Api) -> Consumidor:
    """A client of it."""
    return Consumidor(api.url, TokenSource(f"{api.url}/token", "id", "secret"))


@pytest.mark.parametrize("away", ["token", "responses"])
def test_an_outage_ends_no_wait(api: Api, away: str) -> None:
    """While the issuer or the API is away the receiver goes on asking, and the answer comes once they are back."""
    with client_of(api) as bureau:
        api.away = {"responses"}
        pending = bureau.submit("465.092.081-72", "credit")
        api.away = {away}
        with pytest.raises(TimeoutError):
            pending.result(1.5)
        api.away = set()
        assert pending.result(10).status == "found"
    assert len(api.acknowledged) >= 1


def test_a_report_that_could_not_be_fetched_comes_again(api: Api) -> None:
    """Where the link gives nothing the response is not acknowledged, and asking again gets its report by the next delivery."""
    with client_of(api) as bureau:
        api.away = {"report"}
        pending = bureau.submit("465.092.081-72", "credit")
        with pytest.raises(DependencyDown):
            pending.result(10)
        assert api.acknowledged == []
        api.away = set()
        answer = pending.result(10)
    assert answer.report
    assert answer.report.name == "Ana"
    assert api.acknowledged


def test_an_answer_is_not_lost_with_its_acknowledgement(api: Api) -> None:
    """What was fetched is handed out, also where acknowledging it fails."""
    api.away = {"ack"}
    with client_of(api) as bureau:
        assert bureau.ask("465.092.081-72", "credit", 10).status == "found"


def test_nobody_there_is_one_error_of_ours() -> None:
    """An issuer that does not answer is DependencyDown, as an API is."""
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(DependencyDown, match="issuer"):
        TokenSource(f"{nowhere}/token", "id", "secret")()
    with Consumidor(nowhere, lambda: "x") as bureau, pytest.raises(ConsumidorError, match="API"):
        bureau.score("465.092.081-72")
