"""The people path on the real stack: what goes in at the API comes out of the asker's own queue, and of nobody else's."""

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from typing import Any

import psycopg
import pytest
import urllib3

from consumidor import aws, cpf, queues
from consumidor.client import ApiError, Consumidor, TokenSource
from consumidor.local import synthetic
from consumidor.local.running import read_environment
from consumidor.local.seeding import SEED
from consumidor.people.api import PeopleApi
from consumidor.people.model import ReportLocation
from consumidor.people.request_token import Signer
from consumidor.settings import Settings
from tests.servers.stack import PEOPLE, RunningStack
from tests.tries import best_within
from tests.unit.test_request_token import SigningKey

ELDER, BIG, NEVER = "465.092.081-72", "529.982.247-25", "111.444.777-35"
pytestmark = pytest.mark.stack


def bureau(stack: RunningStack, name: str) -> Consumidor:
    """The client library, as one of the registered clients."""
    info = stack.info
    return Consumidor(info["api"], TokenSource(f"{info['issuer']}/oauth2/token", **info["clients"][name]))


def secret(stack: RunningStack, key: str) -> str:
    """A setting of the stack's own processes, which no outsider has."""
    return read_environment(stack.home).settings[key]


@pytest.fixture
def acme(stack: RunningStack) -> Iterator[Consumidor]:
    """A client of the running stack."""
    with bureau(stack, "acme") as client:
        yield client


class Http:
    """Plain HTTP as one client, for what the client library would not do."""

    def __init__(self, stack: RunningStack, client: str, *scopes: str) -> None:
        self._pool = urllib3.PoolManager(retries=False)
        self._api, self._token = stack.info["api"], stack.token(client, *scopes)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any], Any]:
        """(status, JSON, headers) of one call."""
        given = {"authorization": f"Bearer {self._token}", **headers}
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        answer = self._pool.request(method, self._api + path, body=sent, headers=given)
        return answer.status, answer.json() if answer.data else {}, answer.headers


def drain(http: Http, at_least: int = 0) -> list[dict[str, Any]]:
    """All responses of a client's queue, acknowledged; where some are owed, waits for so many of them."""
    taken: list[dict[str, Any]] = []
    deadline = time.monotonic() + 60
    while True:
        responses = http("GET", "/v1/people/responses?wait=1")[1]["responses"]
        if responses:
            http("POST", "/v1/people/responses/ack", {"receipts": [one["receipt"] for one in responses]})
            taken += responses
        elif len(taken) >= at_least or time.monotonic() > deadline:
            return taken


def log_rows(stack: RunningStack, request_ids: list[str]) -> int:
    """Rows of the inquiry log with these ids."""
    with psycopg.connect(stack.info["base_a_dsn"]) as connection:
        found = connection.execute("select count(*) from inquiry_log where request_id = any(%s)", (request_ids,)).fetchone()
        assert found
        return int(found[0])


def test_a_report_comes_back(acme: Consumidor) -> None:
    """A known CPF's report: the punctuated CPF, a name, an address, debts and the sum of the open ones."""
    report = acme.ask(ELDER, "credit").report
    assert report
    assert report.cpf == ELDER
    assert report.name
    assert report.address.state
    assert report.total_open_cents == sum(debt.amount_cents for debt in report.debts if debt.status == "open")


def test_an_unknown_person(acme: Consumidor) -> None:
    """A valid CPF that nobody has is `not_found`."""
    assert acme.ask(NEVER.replace(".", "").replace("-", ""), "own").status == "not_found"


def test_a_hundred_at_once(stack: RunningStack, acme: Consumidor) -> None:
    """A batch of 100 is answered whole, each under its own id, each logged once."""
    known = [person.cpf for person in islice(synthetic.people(SEED, PEOPLE, 2026, start=3), 50)]
    inquiries = [(one, "credit") for one in [*known, *[NEVER] * 50]]
    pending = acme.submit_many(inquiries)
    answers = [one.result(60) for one in pending]
    assert [answer.status for answer in answers] == ["found"] * 50 + ["not_found"] * 50
    assert [cpf.parse(answer.report.cpf) for answer in answers[:50] if answer.report] == known
    assert log_rows(stack, [one.request_id for one in pending]) == 100


def test_a_big_report_comes_by_link(stack: RunningStack) -> None:
    """Over 1 MiB the API hands out a link that gives exactly the promised bytes; altered to another client's place it gives nothing."""
    http = Http(stack, "acme")
    http("POST", "/v1/people/requests", {"cpf": BIG, "purpose": "credit"})
    (response,) = drain(http, 1)
    assert "report" not in response
    body = urllib3.request("GET", response["report_url"]).data
    assert len(body) == response["bytes"] > 1024 * 1024 - 16 * 1024
    assert sha256(body).hexdigest() == response["sha256"]
    assert json.loads(body)["cpf"] == BIG
    assert urllib3.request("GET", response["report_url"].replace("/acme/", "/globex/")).status == 403


def test_a_link_dies_after_its_time(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is good for three seconds is refused after them, whatever becomes of the object."""
    environment = read_environment(stack.home).of("api")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, environment[name])
    settings = Settings.from_env("api", {**environment, "PEOPLE_LINK_SECONDS": "3"})
    s3 = aws.client(settings, "s3")
    key = f"responses/acme/{uuid.uuid4()}/x.json"
    stack.s3().put_object(Bucket=settings.people_results_bucket, Key=key, Body=b"{}")
    api = PeopleApi(settings, sqs=None, long_sqs=None, s3=s3, signer=Signer(settings.people_signing_key))  # type: ignore[arg-type]  # no queue is asked
    url = api.link(ReportLocation(settings.people_results_bucket, key, 2, ""))["report_url"]
    assert urllib3.request("GET", url).data == b"{}"
    time.sleep(4.1)
    assert urllib3.request("GET", url).status == 403


def test_the_idempotency_key(stack: RunningStack) -> None:
    """The same key and body give the same id, logged once; another body under the same key is another request."""
    http, key = Http(stack, "acme"), uuid.uuid4().hex
    ids = [
        http("POST", "/v1/people/requests", {"cpf": ELDER, "purpose": "credit"}, **{"idempotency-key": key})[1]["request_id"]
        for _ in range(2)
    ]
    other = http("POST", "/v1/people/requests", {"cpf": ELDER, "purpose": "rental"}, **{"idempotency-key": key})[1]["request_id"]
    assert ids[0] == ids[1] != other
    drain(http, 3)
    assert log_rows(stack, [ids[0], other]) == 2


def test_two_clients_never_see_each_others_responses(stack: RunningStack) -> None:
    """Asked by both at once, each queue holds its own client's answers only."""
    clients = [Http(stack, name) for name in ("acme", "globex")]
    with ThreadPoolExecutor(8) as pool:
        body = {"cpf": ELDER, "purpose": "credit"}
        asked = [[pool.submit(http, "POST", "/v1/people/requests", body) for _ in range(20)] for http in clients]
        ids = [{one.result()[1]["request_id"] for one in mine} for mine in asked]
    time.sleep(1)
    got = [{one["request_id"] for one in drain(http, 20)} for http in clients]
    assert got == ids


def test_foreign_and_made_up_receipts_are_unknown(stack: RunningStack) -> None:
    """Another client's receipt does what a made-up one does: nothing, in the same words."""
    acme, globex = Http(stack, "acme"), Http(stack, "globex")
    acme("POST", "/v1/people/requests", {"cpf": ELDER, "purpose": "credit"})
    (response,) = acme("GET", "/v1/people/responses?wait=10")[1]["responses"]
    for call in ("ack", "release"):
        outcomes = globex("POST", f"/v1/people/responses/{call}", {"receipts": [response["receipt"], "made-up"]})[1]["receipts"]
        assert [one["outcome"] for one in outcomes] == ["unknown", "unknown"]
    released = acme("POST", "/v1/people/responses/release", {"receipts": [response["receipt"]]})[1]["receipts"]
    assert released == [{"receipt": response["receipt"], "outcome": "released"}]
    (again,) = acme("GET", "/v1/people/responses?wait=15")[1]["responses"]
    deleted = acme("POST", "/v1/people/responses/ack", {"receipts": [again["receipt"]]})[1]["receipts"]
    assert deleted[0]["outcome"] == "deleted"


def test_forged_messages_are_worth_nothing(stack: RunningStack) -> None:
    """Put straight on the queue: unsigned, `none`, another key, altered: dead letters with the reason, and no answer to anyone."""
    sqs, http = stack.sqs(), Http(stack, "acme")
    true = Signer(secret(stack, "PEOPLE_SIGNING_KEY")).sign("acme", str(uuid.uuid4()), "ab" * 16, "credit")
    head, claims, signature = true.split(".")
    forged = [
        "{}", SigningKey().message(), SigningKey().message(header={"alg": "none"}), SigningKey().message({"aud": "other"}),
        f"{head}.{claims[:-4]}AAAA.{signature}",
    ]  # fmt: skip
    queues.send_all(sqs, stack.info["people_requests_queue"], [queues.Outgoing(body) for body in forged])
    reasons: dict[str, str] = {}
    deadline = time.monotonic() + 20
    while not reasons.keys() >= set(forged) and time.monotonic() < deadline:
        for letter in queues.receive(sqs, stack.info["people_requests_dlq"], wait=1):
            reasons[letter.body] = letter.attributes["reason"]
            queues.delete(sqs, stack.info["people_requests_dlq"], [letter.receipt])
    assert {reasons[body] for body in forged} == {"MalformedMessage", "ForgedMessage"}
    assert drain(http) == []


def test_a_true_message_replayed_reaches_only_its_owner(stack: RunningStack) -> None:
    """Sent twice, it is answered twice to the same client, nobody else, and logged once."""
    request_id, person = str(uuid.uuid4()), cpf.pseudonym(bytes.fromhex(secret(stack, "PSEUDONYM_KEY")), cpf.parse(ELDER))
    true = Signer(secret(stack, "PEOPLE_SIGNING_KEY")).sign("globex", request_id, person, "credit")
    for _ in range(2):
        queues.send_all(stack.sqs(), stack.info["people_requests_queue"], [queues.Outgoing(true)])
    time.sleep(1)
    assert {one["request_id"] for one in drain(Http(stack, "globex"), 2)} == {request_id}
    assert drain(Http(stack, "acme")) == []
    assert log_rows(stack, [request_id]) == 1


BAD_BODIES: dict[str, tuple[Any, int, set[str]]] = {
    "not JSON": (b"{", 400, set()),
    "a list": ([], 422, {"body"}),
    "empty": ({}, 422, {"cpf", "purpose"}),
    "wrong digits": ({"cpf": "465.092.081-73", "purpose": "credit"}, 422, {"cpf"}),
    "cpf as number": ({"cpf": 46509208172, "purpose": "credit"}, 422, {"cpf"}),
    "unknown purpose": ({"cpf": ELDER, "purpose": "curiosity"}, 422, {"purpose"}),
    "purpose as object": ({"cpf": ELDER, "purpose": {}}, 422, {"purpose"}),
    "unknown field": ({"cpf": ELDER, "purpose": "credit", "name": "x"}, 422, {"name"}),
    "requests not a list": ({"requests": {}}, 422, {"requests"}),
    "no requests": ({"requests": []}, 422, {"requests"}),
    "101 requests": ({"requests": [{"cpf": ELDER, "purpose": "credit"}] * 101}, 422, {"requests"}),
    "one bad among good": ({"requests": [{"cpf": ELDER, "purpose": "credit"}, {"cpf": "1", "purpose": "x"}]}, 422,
                           {"requests[1].cpf", "requests[1].purpose"}),
    "both forms": ({"requests": [{"cpf": ELDER, "purpose": "credit"}], "cpf": ELDER}, 422, {"cpf"}),
    "too large": (b'{"cpf": "' + b"1" * 300_000 + b'"}', 413, set()),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "fields"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_requests_name_the_field_and_enqueue_nothing(stack: RunningStack, body: Any, status: int, fields: set[str]) -> None:
    """Each wrong body is refused with what is wrong, and no request reaches the queue."""
    http = Http(stack, "acme")
    got, problem, headers = http("POST", "/v1/people/requests", body)
    assert (got, {error["field"] for error in problem.get("errors", [])}) == (status, fields)
    assert headers["content-type"] == "application/problem+json"
    assert queues.backlog(stack.sqs(), stack.info["people_requests_queue"]) == 0


@pytest.mark.parametrize("query", ["wait=21", "wait=-1", "wait=x", "limit=0", "limit=11", "limit=", "wait=1&wait=2"])
def test_bad_polls(stack: RunningStack, query: str) -> None:
    """A wait or limit out of range, of another type or repeated names itself."""
    status, problem, _ = Http(stack, "acme")("GET", f"/v1/people/responses?{query}")
    assert (status, problem["errors"][0]["field"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize(
    "body", [{}, {"receipts": []}, {"receipts": ["a"] * 11}, {"receipts": "a"}, {"receipts": [1]}, {"receipts": [""]}, []]
)
@pytest.mark.parametrize("call", ["ack", "release"])
def test_bad_receipts(stack: RunningStack, call: str, body: Any) -> None:
    """Receipts that are missing, too many, empty or of another type name themselves."""
    status, problem, _ = Http(stack, "acme")("POST", f"/v1/people/responses/{call}", body)
    assert status == 422
    assert problem["errors"][0]["field"].startswith(("receipts", "body"))


def test_bad_headers(stack: RunningStack) -> None:
    """An idempotency key that is empty or too long is a 400."""
    http, body = Http(stack, "acme"), {"cpf": ELDER, "purpose": "credit"}
    for key in ("", "k" * 256, "\xe9"):
        assert http("POST", "/v1/people/requests", body, **{"idempotency-key": key})[0] == 400


def test_scopes_are_needed(stack: RunningStack) -> None:
    """A token without the people scope reads and asks nothing."""
    http = Http(stack, "acme", "consumidor/score.read")
    assert http("GET", "/v1/people/responses")[0] == 403
    assert http("POST", "/v1/people/requests", {"cpf": ELDER, "purpose": "credit"})[0] == 403


def test_long_polls_are_bounded_and_hold_up_no_post(stack: RunningStack) -> None:
    """A client's fifth long poll at once is a 429 with Retry-After; a POST is answered while four wait."""
    drain(Http(stack, "globex"))
    acme, pollers = Http(stack, "acme"), [Http(stack, "globex") for _ in range(5)]

    def post_beside_polls() -> float:
        with ThreadPoolExecutor(5) as pool:
            polls = [pool.submit(http, "GET", "/v1/people/responses?wait=3") for http in pollers]
            time.sleep(0.5)
            started = time.monotonic()
            assert acme("POST", "/v1/people/requests", {"cpf": NEVER, "purpose": "credit"})[0] == 202
            posted = time.monotonic() - started
            answers = [poll.result() for poll in polls]
        assert sorted(answer[0] for answer in answers) == [200, 200, 200, 200, 429]
        assert next(answer[2]["retry-after"] for answer in answers if answer[0] == 429) == "1"
        return posted

    best_within(2, post_beside_polls)
    drain(acme)


def test_the_workers_role_reads_no_table(stack: RunningStack) -> None:
    """With the worker's password every table of Base A is refused, for reading and for writing."""
    with psycopg.connect(stack.info["base_a_dsn"]) as owner:
        tables = [row[0] for row in owner.execute("select tablename from pg_tables where schemaname = 'public'")]
    assert {"person", "debt", "inquiry_log", "data_key"} <= set(tables)
    with psycopg.connect(stack.info["base_a_worker_dsn"], autocommit=True) as worker:
        for table in tables:
            for statement in (f"select * from {table}", f"delete from {table}", f"insert into {table} default values"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    worker.execute(statement.encode())


def test_a_refused_call_is_one_error(acme: Consumidor) -> None:
    """The client library raises the API's own problem, field and all."""
    with pytest.raises(ApiError) as refused:
        acme.ask("465.092.081-73", "credit")
    assert refused.value.code == 422
    assert refused.value.problem["errors"][0]["field"] == "cpf"


def test_two_processes_share_a_queue(stack: RunningStack) -> None:
    """Two receivers of one client: what one does not wait for it gives back, and the other gets it."""
    with bureau(stack, "globex") as one, bureau(stack, "globex") as two:
        pending = [client.submit(ELDER, "credit") for client in (one, two) for _ in range(2)]
        assert {answer.result(60).status for answer in pending} == {"found"}
