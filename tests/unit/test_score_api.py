"""The score API over doubles: the contract of its answers and refusals."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from consumidor import cli, cpf, web
from consumidor.auth import KeySet, Verifier
from consumidor.clients import Clients
from consumidor.score.api import ScoreApi, from_environment, preferred_language
from consumidor.score.inquiries import Inquiries
from consumidor.score.model import Score, Scorecard, score
from consumidor.score.records import Address, Asset, Income, Record, document
from tests.score_doubles import FakeQueue, FakeStore
from tests.tokens import AUDIENCE, ISSUER, Issuer

KEY = b"k" * 32
KNOWN, UNKNOWN = "46509208172", "11144477735"
RECORD = Record(
    date(1953, 1, 1),
    [Asset("vehicle", 5_000_000, date(2020, 2, 29))],
    Address("SP", "São Paulo", "01000-000", "rent", date(2024, 5, 1)),
    Income("skilled_employee", date(2026, 1, 1), 320_000),
)
STORED = document(cpf.pseudonym(KEY, KNOWN), RECORD)
ENVIRONMENT = {
    "ENVIRONMENT": "tst", "AWS_REGION": "sa-east-1", "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "JWKS_URL": "http://issuer.test/jwks",
    "CLIENTS": "{}", "BASE_B_URI": "mongodb://base-b.test/base_b", "EVENTS_FEED_QUEUE_URL": "http://queue.test/feed",
    "PSEUDONYM_KEY": KEY.hex(),
}  # fmt: skip


class Service(NamedTuple):
    """A served API, its doubles, and its tokens."""

    client: TestClient
    store: FakeStore
    queue: FakeQueue
    issuer: Issuer

    def get(self, path: str, scope: str = "consumidor/score.read consumidor/profile.read", **headers: str) -> Any:
        """GET with a token of these scopes."""
        return self.client.get(path, headers={"authorization": f"Bearer {self.issuer.token({'scope': scope})}"} | headers)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One for the module; a test that breaks something mends it."""
    issuer, queue, store = Issuer(), FakeQueue(), FakeStore([STORED])
    api = ScoreApi(store, Inquiries(cast("Any", queue), "http://queue.test/feed"), Scorecard.current(), KEY)
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, keys=KeySet(issuer.fetch), clients=Clients('{"id-acme": "acme"}'))
    with TestClient(web.build_app("score", verifier, api.part()), raise_server_exceptions=False) as client:
        yield Service(client, store, queue, issuer)
    assert store.closed


@pytest.mark.parametrize("written", ["46509208172", "465.092.081-72"])
def test_a_score(service: Service, written: str) -> None:
    """The score of the document as of today in UTC, however the CPF is written, and nothing else; not to be stored."""
    answer = service.get(f"/v1/score/{written}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    expected = score(STORED, datetime.now(UTC).date(), Scorecard.current())
    assert msgspec.json.decode(answer.content, type=Score) == expected
    assert list(answer.json()) == ["score", "band", "reasons", "model", "as_of"]


def test_reasons_in_portuguese(service: Service) -> None:
    """Accept-Language chooses the reasons' language, and the answer says so to caches."""
    answer = service.get(f"/v1/score/{KNOWN}", **{"accept-language": "pt-BR,pt;q=0.9,en;q=0.8"})
    assert "Mora em imóvel alugado" in {reason["text"] for reason in answer.json()["reasons"]}
    assert (answer.headers["content-language"], answer.headers["vary"]) == ("pt", "accept-language")


@pytest.mark.parametrize(("header", "language"), [
    ("", "en"), ("en", "en"), ("pt", "pt"), ("pt-BR", "pt"), ("de, PT;q=0.5", "pt"), ("en;q=0.4, pt;q=0.5", "pt"), ("pt;q=0.4, en", "en"),
    ("pt;q=0", "en"), ("*", "en"), ("de", "en"), ("pt;q=x, en;q=0.1", "en"), (";;,,=", "en"), ("pt; q=0.7, en; q=0.2", "pt"),
])  # fmt: skip
def test_preferred_language(header: str, language: str) -> None:
    """The language with the greater weight; English where none is liked better, or the header makes no sense."""
    assert preferred_language(header) == language


def test_the_profile(service: Service) -> None:
    """Age in whole years, and assets, address and income as stored; neither person, bucket nor birth date."""
    answer = service.get(f"/v1/score/{KNOWN}/profile", "consumidor/profile.read")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "age": datetime.now(UTC).year - 1953,
        "assets": [{"kind": "vehicle", "value_cents": 5_000_000, "since": "2020-02-29"}],
        "address": {"state": "SP", "city": "São Paulo", "postal_code": "01000-000", "housing": "rent", "since": "2024-05-01"},
        "income": {"source": "skilled_employee", "since": "2026-01-01", "monthly_cents": 320_000},
    }


def test_a_profile_of_nothing(service: Service) -> None:
    """What Base B does not know is null."""
    service.store.documents[cpf.pseudonym(KEY, "52443289729")] = document("0" * 32, Record())
    assert service.get("/v1/score/52443289729/profile").json() == {"age": None, "assets": None, "address": None, "income": None}


@pytest.mark.parametrize("path", ["/v1/score/{}", "/v1/score/{}/profile"])
def test_unknown_people_are_alike(service: Service, path: str) -> None:
    """404 with the same body and headers for each unknown CPF."""
    answers = [service.get(path.format(digits)) for digits in (UNKNOWN, "12345678909", "123.456.789-09")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(answer.headers.items()) for answer in answers}) == 1


@pytest.mark.parametrize("path", ["/v1/score/{}", "/v1/score/{}/profile"])
@pytest.mark.parametrize("written", [
    "4650920817", "46509208173", "00000000000", "465.092.081_72", "abc", "%20", "4650920817\N{FULLWIDTH DIGIT TWO}",
])  # fmt: skip
def test_a_bad_cpf(service: Service, path: str, written: str) -> None:
    """422 that names the field and never repeats the value."""
    answer = service.get(path.format(written))
    assert answer.status_code == 422
    assert [wrong["field"] for wrong in answer.json()["errors"]] == ["cpf"]
    assert written not in answer.text


@pytest.mark.parametrize(("path", "scope"), [
    (f"/v1/score/{KNOWN}", "consumidor/profile.read"),
    (f"/v1/score/{KNOWN}/profile", "consumidor/score.read"),
    (f"/v1/score/{KNOWN}", "consumidor/people.read"),
])  # fmt: skip
def test_each_call_has_a_scope_of_its_own(service: Service, path: str, scope: str) -> None:
    """403 where the token lacks it: who may see scores may not see profiles, nor the other way about."""
    assert service.get(path, scope).status_code == 403


def test_no_token(service: Service) -> None:
    """401 with a challenge, known CPF or not."""
    answers = [service.client.get(f"/v1/score/{digits}") for digits in (KNOWN, UNKNOWN)]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize("path", [f"/v1/score/{KNOWN}", f"/v1/score/{KNOWN}/profile"])
def test_base_b_down(service: Service, path: str) -> None:
    """503 with Retry-After while Base B does not answer, and /health names it."""
    service.store.down = True
    try:
        answer, health = service.get(path), service.client.get("/health")
    finally:
        service.store.down = False
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (health.status_code, health.json()["down"]) == (503, ["base_b"])


def test_only_an_answered_score_is_an_inquiry(service: Service) -> None:
    """One event for a 200; none for a profile, an unknown CPF, a bad one, or a refused token."""
    asked = "12345678909"  # of whom other tests ask in vain at most: what they have left waiting does not matter
    known, unknown = (cpf.pseudonym(KEY, digits) for digits in (asked, UNKNOWN))
    service.store.documents[known] = STORED
    service.client.get(f"/v1/score/{asked}")
    for path in (f"/v1/score/{asked}/profile", f"/v1/score/{UNKNOWN}", "/v1/score/1", f"/v1/score/{asked}"):
        service.get(path)
    del service.store.documents[known]
    sent, deadline = [], time.monotonic() + 5
    while known not in sent and time.monotonic() < deadline:  # events go in order: with the last one, all are there
        time.sleep(0.02)
        sent = [msgspec.json.decode(raw)["person"] for raw in service.queue.events()]
    assert (sent.count(known), sent.count(unknown)) == (1, 0)


@pytest.mark.parametrize(("cores", "endpoint", "lines"), [(1, "", 1), (2, "", 0), (1, "http://aws.test", 0), (2, "http://aws.test", 0)])
def test_who_serves_emits_metrics(monkeypatch: pytest.MonkeyPatch, cores: int, endpoint: str, lines: int) -> None:
    """On AWS itself the command writes its metrics where it serves by itself, and none where it has processes that do."""
    emitting: list[str] = []
    monkeypatch.setattr("consumidor.telemetry.configure_logging", lambda _: None)
    monkeypatch.setattr("consumidor.telemetry.emit_metrics", emitting.append)
    monkeypatch.setattr("consumidor.web.serve", lambda *_: None)
    monkeypatch.setattr("consumidor.score.api.build_score_api", lambda _: None)
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # so that what the command sets is gone after the test
    result = CliRunner().invoke(cli.main, ["score-api"], env=ENVIRONMENT | {"AWS_ENDPOINT_URL": endpoint})
    assert (result.exit_code, emitting) == (0, ["score-api"] * lines), result.output


@pytest.mark.parametrize(("endpoint", "lines"), [("", 1), ("http://aws.test", 0)])
def test_one_of_several_processes_emits_metrics(monkeypatch: pytest.MonkeyPatch, endpoint: str, lines: int) -> None:
    """On AWS itself each process that the command starts writes its own metrics."""
    emitting: list[str] = []
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("consumidor.telemetry.configure_logging", lambda _: None)
    monkeypatch.setattr("consumidor.telemetry.emit_metrics", emitting.append)
    monkeypatch.setattr("consumidor.web.settle", lambda: None)
    monkeypatch.setattr("consumidor.score.api.build_score_api", lambda _: None)
    from_environment()
    assert emitting == ["score-api"] * lines


def test_a_dead_queue_does_not_hold_up_scores(service: Service) -> None:
    """With the feed queue down a score is answered as ever."""
    service.queue.down = True
    try:
        assert service.get(f"/v1/score/{KNOWN}").status_code == 200
    finally:
        service.queue.down = False
