"""The two packages as `make lambdas` builds them, deployed behind an HTTP API with its JWT authorizer and an SQS mapping, on ministack."""

import json
import platform
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import urllib3

from consumidor.local.aws import ACCOUNT
from tests.events_doubles import KEY, SCOPE, inquiry, message, person_of, somebody, wire
from tests.servers.aws import AwsServer
from tests.servers.elasticsearch import Node, eventually
from tests.servers.packages import lambdas
from tests.tokens import Issuer

ROOT = Path(__file__).parents[2]
ROLE = "arn:aws:iam::000000000000:role/lambda"
AUDIENCE = "consumidor"


@pytest.fixture(scope="module")
def unpacked(packages: Path) -> Path:
    """The search package's content, as it lies in a Lambda."""
    folder = packages / "search"
    zipfile.ZipFile(packages / "consumidor_search.zip").extractall(folder)
    return folder


@pytest.fixture(scope="module")
def issuer() -> Iterator[tuple[Issuer, str]]:
    """A token issuer and the URL at which it publishes its keys."""
    keys = Issuer(bits=2048)

    class Published(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = f"http://{self.headers['host']}"
            discovery = {"issuer": url, "jwks_uri": f"{url}/jwks.json"}
            body = json.dumps(keys.jwks if self.path == "/jwks.json" else discovery).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Published)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield keys, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class Deployed(NamedTuple):
    """What is deployed: the API's URL, the feed queue and its dead letters, and the issuer."""

    api: str
    host: str
    queue: str
    dead_letters: str
    issuer: Issuer
    issuer_url: str

    def token(self, claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None) -> str:
        """A good token, changed as given."""
        good = {"iss": self.issuer_url, "aud": AUDIENCE, "client_id": "id-of-acme", "scope": f"openid {SCOPE}"}
        return self.issuer.token(good | (claims or {}), header)

    def get(self, path: str, token: str | None) -> tuple[int, Any]:
        """Status and JSON of a GET."""
        headers = {"host": self.host} | ({"authorization": f"Bearer {token}"} if token else {})
        answer = urllib3.request("GET", self.api + path, headers=headers, retries=False)
        return answer.status, answer.json()


@pytest.fixture(scope="module")
def deployed(ministack: AwsServer, base_c: Node, packages: Path, issuer: tuple[Issuer, str]) -> Deployed:
    """Both functions, the mapping and the API, as the infrastructure program lays them out.

    ministack's mapping says of every message that its own account sent it; who may report an inquiry is tested with the local mapping.
    """
    keys, issuer_url = issuer
    queue, dead_letters = ministack.queue("packaged-feed"), ministack.queue("packaged-feed-dlq")
    common = {"ENVIRONMENT": "dev", "BASE_C_URL": base_c.url, "PSEUDONYM_KEY": KEY}
    search = {**common, "CLIENTS": '{"id-of-acme": "acme"}'}
    feed = {**common, "AWS_ENDPOINT_URL": ministack.endpoint, "EVENTS_FEED_DLQ_URL": dead_letters, "INQUIRY_SENDERS": ACCOUNT}
    arns = {name: deploy(ministack, packages, name, settings) for name, settings in (("search", search), ("feed", feed))}
    sqs, functions = ministack.client("sqs"), ministack.client("lambda")
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    functions.create_event_source_mapping(
        EventSourceArn=queue_arn, FunctionName="consumidor-feed", BatchSize=10, FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    host = route(ministack, arns["search"], issuer_url)
    return Deployed(ministack.endpoint, host, queue, dead_letters, keys, issuer_url)


def deploy(ministack: AwsServer, packages: Path, name: str, settings: dict[str, str]) -> str:
    """Make one function of its zip; its ARN."""
    created = ministack.client("lambda").create_function(
        FunctionName=f"consumidor-{name}",
        Runtime=f"python3.{sys.version_info.minor}",
        Role=ROLE,
        Handler=f"consumidor.events.{name}.handler",
        Code={"ZipFile": (packages / f"consumidor_{name}.zip").read_bytes()},
        Environment={"Variables": settings},
        Timeout=30,
    )
    return str(created["FunctionArn"])


def route(ministack: AwsServer, function: str, issuer_url: str) -> str:
    """An HTTP API whose two routes ask for the scope; its host."""
    gateway = ministack.client("apigatewayv2")
    created = gateway.create_api(Name="packaged", ProtocolType="HTTP")
    api = created["ApiId"]
    authorizer = gateway.create_authorizer(
        ApiId=api, AuthorizerType="JWT", Name="tokens", IdentitySource=["$request.header.Authorization"],
        JwtConfiguration={"Issuer": issuer_url, "Audience": [AUDIENCE]},
    )["AuthorizerId"]  # fmt: skip
    target = gateway.create_integration(ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=function, PayloadFormatVersion="2.0")
    for path in ("/v1/events", "/v1/events/latest"):
        gateway.create_route(
            ApiId=api, RouteKey=f"GET {path}", Target=f"integrations/{target['IntegrationId']}", AuthorizationType="JWT",
            AuthorizerId=authorizer, AuthorizationScopes=[SCOPE],
        )  # fmt: skip
    gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    return str(urllib3.util.parse_url(created["ApiEndpoint"]).netloc)  # what ministack knows an API by


def dead_letter(ministack: AwsServer, deployed: Deployed) -> dict[str, Any]:
    """The one dead letter that comes, taken off its queue."""
    sqs = ministack.client("sqs")
    [letter] = sqs.receive_message(QueueUrl=deployed.dead_letters, MessageAttributeNames=["All"], WaitTimeSeconds=20)["Messages"]
    sqs.delete_message(QueueUrl=deployed.dead_letters, ReceiptHandle=letter["ReceiptHandle"])
    return dict(letter)


CPF = somebody()
LATEST = f"/v1/events/latest?cpf={CPF}"


def test_an_event_from_the_queue_to_the_caller(deployed: Deployed, ministack: AwsServer) -> None:
    """Events put on the queue are what the API answers, latest and history; a bad one is a dead letter without its CPF."""
    inquired = inquiry("lam-2", occurred_at="2026-02-01T00:00:00Z") | {"person": person_of(CPF)}
    events = [wire("lam-1", cpf=CPF), inquired, wire("lam-3", cpf=CPF, kind="x")]
    ministack.client("sqs").send_message(QueueUrl=deployed.queue, MessageBody=message(*events))
    eventually(lambda: (deployed.get(LATEST, deployed.token())[1].get("bureau_inquiry") or {}).get("event_id") == "lam-2", 30)
    status, latest = deployed.get(LATEST, deployed.token())
    assert (status, latest["card_purchase"]["event_id"]) == (200, "lam-1")
    eventually(lambda: len(deployed.get(f"/v1/events?cpf={CPF}&since=2026-01-02T03:04:05Z", deployed.token())[1].get("events", [])) == 2)
    letter = dead_letter(ministack, deployed)
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "InvalidInput"
    assert (CPF in letter["Body"], person_of(CPF) in letter["Body"]) == (False, True)


def test_who_gets_in(deployed: Deployed) -> None:
    """401 without a token and with an expired, foreign or altered one; 403 without scope or registration; else 200."""
    stranger = Issuer(bits=2048)
    good = deployed.token()
    head, payload, signature = good.split(".")
    refused = {
        None: 401,
        "none.at.all": 401,
        deployed.token({"exp": int(time.time()) - 60}): 401,
        deployed.token({"aud": "somebody-else"}): 401,
        deployed.token({"iss": "http://elsewhere.test"}): 401,
        stranger.token({"iss": deployed.issuer_url, "aud": AUDIENCE, "scope": SCOPE}): 401,
        f"{head}.{deployed.token({'client_id': 'id-of-globex'}).split('.')[1]}.{signature}": 401,
        f"{head}.{payload}.{signature[:-8]}AAAAAAAA": 401,
        deployed.token({"scope": "consumidor/score.read"}): 403,
        deployed.token({"client_id": "nobody"}): 403,
        good: 200,
    }
    assert {token: deployed.get(LATEST, token)[0] for token in refused} == refused


def test_bad_input_through_the_gateway(deployed: Deployed) -> None:
    """The handler's own refusals come through as problems."""
    status, problem = deployed.get("/v1/events?cpf=1&limit=0", deployed.token())
    assert (status, problem["errors"][0]["field"]) == (422, "limit")
    assert deployed.get(f"/v1/events?cpf={CPF}&cursor=AAAA", deployed.token())[0] == 400


def test_without_environment_the_function_does_not_start(ministack: AwsServer, packages: Path) -> None:
    """A function with ENVIRONMENT unset fails with an error that says so."""
    functions = ministack.client("lambda")
    code = {"ZipFile": (packages / "consumidor_search.zip").read_bytes()}
    runtime = f"python3.{sys.version_info.minor}"
    functions.create_function(FunctionName="unset", Runtime=runtime, Role=ROLE, Handler="consumidor.events.search.handler", Code=code)
    answer = functions.invoke(FunctionName="unset", Payload=b"{}")
    assert answer["FunctionError"]
    assert "ENVIRONMENT is missing" in answer["Payload"].read().decode()


def test_the_packages_are_small_and_the_same_again(packages: Path, tmp_path: Path) -> None:
    """Each zip is under 2 MB, and building it again gives the same bytes, so that nothing is deployed without a change."""
    lambdas("--to", str(tmp_path))
    for name in ("consumidor_search.zip", "consumidor_feed.zip"):
        assert (packages / name).read_bytes() == (tmp_path / name).read_bytes()
        assert (packages / name).stat().st_size < 2_000_000


def test_the_other_architecture(tmp_path: Path) -> None:
    """Packages are built for a machine other than this one."""
    other, machine = ("x86_64", "x86_64") if platform.machine() in ("arm64", "aarch64") else ("arm64", "aarch64")
    lambdas("--arch", other, "--to", str(tmp_path))
    assert f"msgspec/_core.cpython-313-{machine}-linux-gnu.so" in zipfile.ZipFile(tmp_path / "consumidor_feed.zip").namelist()


@pytest.fixture(scope="module")
def naive_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three libraries, what they require, and nothing else that they would load where it happens to be installed."""
    folder = tmp_path_factory.mktemp("naive")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "elasticsearch", "pyjwt[crypto]", "boto3"], check=True)
    return folder


def test_importing_the_search_costs_a_quarter_of_the_naive_imports(unpacked: Path, naive_libraries: Path) -> None:
    """CPU time of the packaged search's imports is at most 0.25 of `import elasticsearch, jwt, boto3`; the least of several runs each."""
    site = str(naive_libraries)
    ours, naive = [], []
    for _ in range(7):
        ours.append(import_seconds("consumidor.events.search", str(unpacked)))
        naive.append(import_seconds("elasticsearch, jwt, boto3", site))
    assert min(ours) <= 0.25 * min(naive), (min(ours), min(naive))


def import_seconds(modules: str, path: str) -> float:
    """CPU seconds of an import in a fresh interpreter that finds modules in `path` alone."""
    code = f"import sys, time; sys.path.insert(0, {path!r}); start = time.process_time(); import {modules}"
    command = [sys.executable, "-I", "-S", "-c", f"{code}; print(time.process_time() - start)"]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)
