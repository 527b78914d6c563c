"""What a service does because of where it is deployed: cores of a Fargate task, a load balancer before it, S3 in its own region."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette

from consumidor import aws, web
from consumidor.score import api
from consumidor.settings import Settings


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The metadata of a task on a machine of two cores, as ECS publishes it; the test fills it in."""
    about: dict[str, Any] = {}

    class Metadata(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(about).encode()
            self.send_response(200 if self.path == "/v4/id/task" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", f"http://127.0.0.1:{server.server_address[1]}/v4/id")
    yield about
    server.shutdown()
    server.server_close()


def _processes(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many processes the score service would serve with."""
    started = []
    monkeypatch.setattr("uvicorn.run", lambda *_, **options: started.append(options["workers"]))
    monkeypatch.setattr("consumidor.web.serve", lambda *_: started.append(1))
    monkeypatch.setattr("consumidor.score.api.build_score_api", lambda _: None)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # so that what it sets is gone after the test
    api.serve(Settings("score-api", {"HOST": "127.0.0.1", "PORT": 0, "AWS_ENDPOINT_URL": "http://aws.test"}))
    (processes,) = started
    return int(processes)


@pytest.mark.parametrize(("given", "processes"), [(0.25, 1), (1, 1), (2, 2), (4, 2), (None, 2)])
def test_one_process_for_each_core_of_the_task(
    monkeypatch: pytest.MonkeyPatch, metadata: dict[str, Any], given: float | None, processes: int
) -> None:
    """On ECS the task's share counts, not the machine's cores; without a share of its own the machine's do."""
    metadata["Limits"] = {} if given is None else {"CPU": given, "Memory": 512}
    assert _processes(monkeypatch) == processes


def test_without_metadata_the_machine_s_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a laptop nobody is asked; where nobody answers the service starts all the same."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.delenv("ECS_CONTAINER_METADATA_URI_V4", raising=False)
    assert _processes(monkeypatch) == 2
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", "http://127.0.0.1:1/v4/id")
    assert _processes(monkeypatch) == 2


def test_connections_outlive_the_load_balancer_s_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to serve keep an idle connection for longer than 60 s, in one process and in several."""
    kept = []
    monkeypatch.setattr("uvicorn.run", lambda *_, **options: kept.append(options["timeout_keep_alive"]))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("consumidor.web.settle", lambda: None)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    web.serve(Starlette(), "127.0.0.1", 0)
    api.serve(Settings("score-api", {"HOST": "127.0.0.1", "PORT": 0, "AWS_ENDPOINT_URL": "http://aws.test"}))
    assert [seconds > 60 for seconds in kept] == [True, True]


@pytest.mark.parametrize(
    ("endpoint", "host", "path"),
    [(None, "results.s3.sa-east-1.amazonaws.com", "/responses/one"), ("http://127.0.0.1:1", "127.0.0.1:1", "/results/responses/one")],
)
def test_a_link_leads_to_the_bucket_s_own_region(monkeypatch: pytest.MonkeyPatch, endpoint: str | None, host: str, path: str) -> None:
    """A presigned link names the regional host, which needs no redirect; another endpoint is asked by path."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3 = aws.client(Settings("api", {"AWS_REGION": "sa-east-1", "AWS_ENDPOINT_URL": endpoint}), "s3")
    link = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": "results", "Key": "responses/one"}))
    assert (link.netloc, link.path) == (host, path)
