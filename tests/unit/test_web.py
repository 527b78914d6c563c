"""The web edge: problems, tokens, scopes, observation, health, OpenAPI; over a part of its own."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import pytest
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from consumidor import web
from consumidor.auth import KeySet, Verifier
from consumidor.clients import Clients
from consumidor.errors import DependencyDown, NotFound
from tests.tokens import AUDIENCE, ISSUER, Issuer


class Wanted(msgspec.Struct):
    """A query."""

    size: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1


class Thing(msgspec.Struct):
    """A body and an answer."""

    name: str


async def echo(request: Request) -> Response:
    """Answers its body, or fails as the query says."""
    body = await web.read_json(request)
    if body == "missing":
        raise NotFound("no such thing")
    if body == "down":
        raise DependencyDown("base_b", retry_after=7)
    if body == "bug":
        raise ValueError("465.092.081-72")
    return web.json_response(web.convert(body, Thing))


async def listed(request: Request) -> Response:
    """Answers its query and its caller."""
    return web.json_response({"size": web.read_query(request, Wanted).size, "client": request.user.client})


state = {"up": True}


async def check() -> None:
    """A dependency that is up or not."""
    if not state["up"]:
        raise DependencyDown("thing")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """One issuer for the module."""
    return Issuer()


@pytest.fixture(scope="module")
def client(issuer: Issuer) -> Iterator[TestClient]:
    """The application, started."""
    operations = [
        web.Operation("POST", "/v1/things/{cpf}", echo, "consumidor/people.read", "Echo", {200: Thing}, body=Thing),
        web.Operation("GET", "/v1/things", listed, "consumidor/other.read", "List", {200: Thing}, query=Wanted),
    ]
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, keys=KeySet(issuer.fetch), clients=Clients('{"id-acme": "acme"}'))
    with TestClient(web.build_app("things", verifier, web.Part(operations, {"thing": check})), raise_server_exceptions=False) as started:
        yield started


@pytest.fixture
def authorised(issuer: Issuer) -> dict[str, str]:
    """Headers with a good token of every scope used here."""
    return {"authorization": f"Bearer {issuer.token({'scope': 'consumidor/people.read consumidor/other.read'})}"}


def test_a_good_call(client: TestClient, authorised: dict[str, str]) -> None:
    """Body in, body out."""
    assert client.post("/v1/things/1", json={"name": "a"}, headers=authorised).json() == {"name": "a"}


@pytest.mark.parametrize(("headers", "challenge"), [
    ({}, "Bearer"),
    ({"authorization": "Bearer abc"}, 'Bearer error="invalid_token"'),
    ({"authorization": "Basic abc"}, 'Bearer error="invalid_token"'),
    ({"authorization": "Bearer"}, 'Bearer error="invalid_token"'),
])  # fmt: skip
def test_no_token_and_bad_tokens(client: TestClient, headers: dict[str, str], challenge: str) -> None:
    """401 with a challenge that tells a missing token from a refused one."""
    answer = client.post("/v1/things/1", json={}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == challenge
    assert answer.headers["content-type"] == "application/problem+json"


def test_two_tokens_are_none(client: TestClient, issuer: Issuer) -> None:
    """Two Authorization headers are refused, even if both are good."""
    good = ("authorization", f"Bearer {issuer.token()}")
    assert client.post("/v1/things/1", json={}, headers=[good, good]).status_code == 401


def test_a_missing_scope_is_named(client: TestClient, issuer: Issuer) -> None:
    """403, before the body is even read."""
    answer = client.get("/v1/things", headers={"authorization": f"Bearer {issuer.token()}"})
    assert answer.status_code == 403
    assert "consumidor/other.read" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "retry"),
    [
        ('"missing"', 404, None),
        ('"down"', 503, "7"),
        ("{", 400, None),
        ("\xff", 400, None),
        ('{"name": "\xff"}', 400, None),
        ("[" * 9000, 400, None),
        ("{}", 422, None),
        ('{"name": 1}', 422, None),
    ],
)
def test_errors_become_problems(client: TestClient, authorised: dict[str, str], body: str, status: int, retry: str | None) -> None:
    """Each error answers its own status as problem+json."""
    answer = client.post("/v1/things/1", content=body.encode("latin-1"), headers=authorised)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry)
    assert answer.json()["status"] == status


def test_a_bug_says_nothing(client: TestClient, authorised: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody foresaw is a 500 whose text, in the answer and in the log, holds nothing of the exception's."""
    answer = client.post("/v1/things/1", content='"bug"', headers=authorised)
    assert answer.status_code == 500
    printed = capsys.readouterr()
    assert "465" not in answer.text + printed.out + printed.err


def test_every_wrong_field_is_named(client: TestClient, authorised: dict[str, str]) -> None:
    """One answer lists them all, in order."""
    answer = client.post("/v1/things/1", json={"nom": "a"}, headers=authorised)
    assert [error["field"] for error in answer.json()["errors"]] == ["name", "nom"]


@pytest.mark.parametrize("query", ["size=0", "size=4", "size=x", "size=1.5", "size=1.0", "size=1e0", "size=", "size=1&size=2", "sise=1"])
def test_wrong_queries(client: TestClient, authorised: dict[str, str], query: str) -> None:
    """A parameter out of range, of another type, repeated or unknown is a 422 that names it."""
    answer = client.get(f"/v1/things?{query}", headers=authorised)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


def test_too_large_a_body(client: TestClient, authorised: dict[str, str]) -> None:
    """Over 256 KiB is 413, whether the length is announced or not."""
    big = b'"' + b"a" * (256 * 1024) + b'"'
    for content in (big, iter([big[:100], big[100:]])):
        answer = client.post("/v1/things/1", content=content, headers=authorised)
        assert (answer.status_code, answer.json()["status"]) == (413, 413)


def test_routes_nobody_has(client: TestClient) -> None:
    """Unknown paths and methods answer as problems too; a slash too many is not redirected, which would repeat the path's CPF."""
    assert client.get("/v1/other").json()["status"] == 404
    assert client.delete("/v1/things").status_code == 405
    assert client.head("/v1/things").status_code == 405  # a GET may take messages from a queue
    assert client.get("/v1/things/46509208172/", follow_redirects=False).status_code == 404


@pytest.mark.parametrize("name", ["46509208172", "465.092.081-72", "46509208172[0]"])
def test_a_cpf_in_the_place_of_a_name_is_not_repeated(client: TestClient, authorised: dict[str, str], name: str) -> None:
    """A caller who forgets `cpf=` is told that the field is unknown, without the CPF."""
    for query in (name, f"{name}=1&{name}=2"):
        answer = client.get(f"/v1/things?{query}", headers=authorised)
        assert (answer.status_code, answer.json()["errors"][0]["field"][:5]) == (422, "[cpf]")
        assert "081" not in answer.text
    answer = client.post("/v1/things/1", json={"name": "a", name: 1}, headers=authorised)
    assert (answer.status_code, "081" in answer.text) == (422, False)


@pytest.mark.parametrize("name", ["Ana Silva", "sise12345", "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEi", "a" * 41, "rua.um", "x\n", "é", ""])
def test_what_is_no_name_is_not_repeated(client: TestClient, authorised: dict[str, str], name: str) -> None:
    """A member named by what may be a person's name, number or token is told to be unknown, in no words of the caller's."""
    answer = client.post("/v1/things/1", json={"name": "a", name: 1}, headers=authorised)
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"field": "[unknown]", "detail": "is not known here"}])
    query = urlencode([(name, "1"), (name, "2")])
    answer = client.get(f"/v1/things?{query}", headers=authorised)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "[unknown]")


def test_remembered_tokens_are_counted(client: TestClient, issuer: Issuer) -> None:
    """A token's first call is a miss of the cache and its second a hit."""

    def counted() -> list[float]:
        return [REGISTRY.get_sample_value("consumidor_tokens_total", {"cache": outcome}) or 0 for outcome in ("miss", "hit")]

    before, headers = counted(), {"authorization": f"Bearer {issuer.token({'jti': 'counted'})}"}
    for _ in range(2):
        client.post("/v1/things/1", json={"name": "a"}, headers=headers)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 1]


def test_calls_are_counted_by_template(client: TestClient, authorised: dict[str, str]) -> None:
    """Metrics name the route's template, never the path, and appear at /metrics."""
    labels = {"route": "/v1/things/{cpf}", "method": "POST", "status": "200"}
    before = REGISTRY.get_sample_value("consumidor_http_requests_total", labels) or 0
    client.post("/v1/things/46509208172", json={"name": "a"}, headers=authorised)
    assert REGISTRY.get_sample_value("consumidor_http_requests_total", labels) == before + 1
    page = client.get("/metrics")
    assert (page.status_code, "46509208172" in page.text, "consumidor_http_seconds" in page.text) == (200, False, True)


def test_health_names_what_is_down(client: TestClient) -> None:
    """/health is 503 with the names; /live does not care."""
    assert client.get("/health").json() == {"status": "ok", "down": []}
    state["up"] = False
    assert (client.get("/health").status_code, client.get("/health").json()["down"]) == (503, ["thing"])
    assert client.get("/live").status_code == 200
    state["up"] = True


def test_health_takes_the_time_of_the_slowest(issuer: Issuer) -> None:
    """Dependencies that hang are waited for together, not one after the other."""
    both = threading.Barrier(2, timeout=5)
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, keys=KeySet(issuer.fetch), clients=Clients("{}"))
    with TestClient(web.build_app("t", verifier, web.Part([], {"one": both.wait, "other": both.wait}))) as client:
        assert client.get("/health").json() == {"status": "ok", "down": []}


def test_the_openapi_document_is_the_operations(client: TestClient) -> None:
    """Paths, parameters, bodies and refusals come from the operations' own types."""
    document: dict[str, Any] = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/v1/things/{cpf}", "/v1/things"}
    size = document["paths"]["/v1/things"]["get"]["parameters"][0]
    assert (size["name"], size["schema"]["maximum"], size["required"]) == ("size", 3, False)
    assert "401" in document["paths"]["/v1/things"]["get"]["responses"]
    assert "#/components/schemas/Thing" in json.dumps(document["paths"])
    assert "openapi.json" in client.get("/docs").text


def test_being_told_to_stop_is_no_failure() -> None:
    """SIGTERM ends a service with status 0, once it has finished."""
    program = "from consumidor import telemetry, web; telemetry.configure_logging('dev'); web.serve(web.build_monitor({}), '127.0.0.1', 0)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout
        assert any("running on" in line for line in service.stdout)
        service.terminate()
        assert service.wait(10) == 0
