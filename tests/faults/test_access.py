"""Each client tried on each other's things, and each service's credentials on everything that is not its own.

Not tried, since the local stand-ins do not enforce it: SQS by account (ministack lets any key read any queue; the deployed roles are
checked in `tests/infra`), S3 without any signature (ministack takes that for its owner), and Base C by user (the local Elasticsearch
has no passwords).
"""

import json
import statistics
import time
import uuid
from collections.abc import Callable
from itertools import islice, permutations
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
import urllib3
from botocore.exceptions import ClientError
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from consumidor import cpf, queues
from consumidor.local import synthetic
from consumidor.local.aws import ACCOUNT, FEED_ACCOUNT
from consumidor.local.running import read_environment
from consumidor.local.seeding import SEED
from tests.e2e.test_people_path import BIG, ELDER, NEVER, Http, drain
from tests.faults.results import record
from tests.servers.stack import PEOPLE, RunningStack

pytestmark = pytest.mark.stack
PAIRS = list(permutations(("acme", "globex"), 2))
OURS = {"people-worker": "worker", "gateway": "api", "events-feed": "feed"}


@pytest.mark.parametrize(("owner", "thief"), PAIRS)
@pytest.mark.parametrize("call", ["ack", "release"])
def test_a_foreign_receipt_is_as_good_as_a_made_up_one(stack: RunningStack, owner: str, thief: str, call: str) -> None:
    """Another client's receipt, a made-up one and one of another queue get the same `unknown`, and the owner keeps the response."""
    own, foreign = Http(stack, owner), Http(stack, thief)
    drain(own), drain(foreign)
    own("POST", "/v1/people/requests", {"cpf": NEVER, "purpose": "credit"})
    (response,) = own("GET", "/v1/people/responses?wait=15")[1]["responses"]
    receipts = [response["receipt"], str(uuid.uuid4()), response["receipt"][:-1], response["receipt"].swapcase(), "0"]
    status, answer, headers = foreign("POST", f"/v1/people/responses/{call}", {"receipts": receipts})
    assert (status, [one["outcome"] for one in answer["receipts"]]) == (200, ["unknown"] * 5)
    made_up = foreign("POST", f"/v1/people/responses/{call}", {"receipts": [str(uuid.uuid4())] * 5})
    assert set(made_up[2]) == set(headers)
    assert foreign("GET", "/v1/people/responses")[1] == {"responses": []}
    assert own("POST", "/v1/people/responses/ack", {"receipts": [response["receipt"]]})[1]["receipts"][0]["outcome"] == "deleted"


@pytest.mark.parametrize(("owner", "thief"), PAIRS)
def test_a_link_opens_one_object_one_way(stack: RunningStack, owner: str, thief: str) -> None:
    """A presigned link altered to another's key, another bucket, another time or another method is 403."""
    http = Http(stack, owner)
    drain(http)
    http("POST", "/v1/people/requests", {"cpf": BIG, "purpose": "credit"})
    (response,) = drain(http, 1)
    url = response["report_url"]
    key = urlsplit(url).path
    foreign = key.replace(f"/{owner}/", f"/{thief}/")
    stack.s3().put_object(Bucket=stack.info["people_results_bucket"], Key=foreign.split("/", 2)[2], Body=b"{}")
    altered = [
        url.replace(key, foreign), url.replace("X-Amz-Expires=900", "X-Amz-Expires=90000"),
        url.replace(stack.info["people_results_bucket"], stack.info["audit_checkpoint_bucket"]),
        url[:-4] + ("0000" if url[-4:] != "0000" else "1111"),
    ]  # fmt: skip
    assert [urllib3.request("GET", each).status for each in altered] == [403] * len(altered)
    assert [urllib3.request(method, url).status for method in ("PUT", "DELETE")] == [403, 403]
    assert urllib3.request("GET", url).status == 200  # after all of that


@pytest.mark.parametrize(("owner", "thief"), PAIRS)
def test_a_cursor_is_its_callers_own(stack: RunningStack, owner: str, thief: str) -> None:
    """Another client's cursor, and the own one under another question, get the same 400 as a made-up one."""
    person = _with_events(stack)
    ask = f"/v1/events?cpf={person}&limit=1"
    cursor = Http(stack, owner)("GET", ask)[1]["next"]
    refused = [
        Http(stack, thief)("GET", f"{ask}&cursor={cursor}"), Http(stack, thief)("GET", f"{ask}&cursor=AAAA"),
        Http(stack, owner)("GET", f"{ask}&kind=card_purchase&cursor={cursor}"), Http(stack, owner)("GET", f"{ask}&cursor={cursor}%3D"),
        Http(stack, owner)("GET", f"/v1/events?cpf={BIG}&limit=1&cursor={cursor}"),
    ]  # fmt: skip
    assert [status for status, _, _ in refused] == [400] * len(refused)
    assert len({json.dumps(problem) for _, problem, _ in refused}) == 1
    assert Http(stack, owner)("GET", f"{ask}&cursor={cursor}")[0] == 200


def _with_events(stack: RunningStack) -> str:
    """A person of whom Base C has more than one event."""
    http = Http(stack, "acme")
    for person in islice(synthetic.people(SEED, PEOPLE, 2026), 50):
        if http("GET", f"/v1/events?cpf={person.cpf}&limit=1")[1]["next"]:
            return person.cpf
    raise AssertionError("nobody has two events")


def test_unknown_people_are_alike(stack: RunningStack) -> None:
    """On score, each CPF that Base B does not have gets the same body and headers; what differs in time from a known one is told."""
    http = Http(stack, "acme")
    unknown = [NEVER, "123.456.789-09", *_made_up(8)]
    answers = [http("GET", f"/v1/score/{each}") for each in unknown]
    profiles = [http("GET", f"/v1/score/{each}/profile") for each in unknown]
    for alike in (answers, profiles):
        assert {status for status, _, _ in alike} == {404}
        assert len({json.dumps(problem) for _, problem, _ in alike}) == 1
        assert len({tuple(sorted((name, value) for name, value in headers.items() if name != "date")) for _, _, headers in alike}) == 1
    known, missing = [], []
    for each in _made_up(60, first=100):
        known.append(_milliseconds(http, ELDER))
        missing.append(_milliseconds(http, each))
    medians = {"known_ms": round(statistics.median(known), 2), "unknown_ms": round(statistics.median(missing), 2)}
    record("score_of_known_and_unknown", medians)


def _made_up(count: int, first: int = 0) -> list[str]:
    """Valid CPFs that nobody has: the synthetic people do not begin with 9 nines."""
    return [f"99999{number:04}" + cpf.check_digits(f"99999{number:04}") for number in range(first, first + count)]


def _milliseconds(http: Http, person: str) -> float:
    started = time.perf_counter()
    http("GET", f"/v1/score/{person}")
    return (time.perf_counter() - started) * 1000


def test_a_missing_scope_says_nothing_of_the_person(stack: RunningStack) -> None:
    """Without the scope, known and unknown people get the same 403."""
    http = Http(stack, "acme", "consumidor/score.read")
    for path in ("/v1/score/{}/profile", "/v1/events?cpf={}", "/v1/events/latest?cpf={}"):
        answers = [http("GET", path.format(each))[:2] for each in (ELDER, NEVER)]
        assert answers[0][0] == 403
        assert answers[0] == answers[1]


TOKEN_PLACES: dict[str, Callable[[str], tuple[str, dict[str, str]]]] = {
    "query": lambda token: (f"?access_token={token}", {}),
    "cookie": lambda token: ("", {"cookie": f"token={token}"}),
    "basic": lambda token: ("", {"authorization": f"Basic {token}"}),
    "two schemes": lambda token: ("", {"authorization": f"Bearer Bearer {token}"}),
    "no scheme": lambda token: ("", {"authorization": token}),
    "comma": lambda token: ("", {"authorization": f"Bearer {token}, Bearer {token}"}),
    "another header": lambda token: ("", {"x-authorization": f"Bearer {token}", "x-forwarded-user": "acme", "x-amzn-oidc-data": token}),
}


@pytest.mark.parametrize("place", TOKEN_PLACES.values(), ids=TOKEN_PLACES.keys())
@pytest.mark.parametrize("path", ["/v1/people/responses", "/v1/score/46509208172", "/v1/events/latest"])
def test_a_token_counts_in_one_place(stack: RunningStack, path: str, place: Callable[[str], tuple[str, dict[str, str]]]) -> None:
    """A good token anywhere but in one Authorization header as `Bearer` is no token: 401 with WWW-Authenticate."""
    query, headers = place(stack.token())
    answer = urllib3.request("GET", stack.info["api"] + path + query, headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def _account(stack: RunningStack, process: str, service: str) -> Any:
    """A boto3 client with the credentials that the process has in its environment."""
    environment = read_environment(stack.home).of(OURS[process])
    session: Any = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name=environment["AWS_REGION"]
    )
    return session.client(service, endpoint_url=environment["AWS_ENDPOINT_URL"])


def test_no_service_owns_what_it_uses(stack: RunningStack) -> None:
    """Each service has an account of its own; that of the queues and buckets is an operator's alone."""
    accounts = {_account(stack, process, "sts").get_caller_identity()["Account"] for process in OURS}
    assert len(accounts) == len(OURS)
    assert ACCOUNT not in accounts


Grab = Callable[[Any, RunningStack], object]
KEY = "responses/acme/someone/else.json"
ON_S3: dict[str, Grab] = {
    "delete a result": lambda s3, stack: s3.delete_object(Bucket=stack.info["people_results_bucket"], Key=KEY),
    "list checkpoints": lambda s3, stack: s3.list_objects_v2(Bucket=stack.info["audit_checkpoint_bucket"]),
    "delete a checkpoint": lambda s3, stack: s3.delete_object(Bucket=stack.info["audit_checkpoint_bucket"], Key="heads/acme"),
    "change the policy": lambda s3, stack: s3.put_bucket_policy(Bucket=stack.info["people_results_bucket"], Policy="{}"),
    "delete the bucket": lambda s3, stack: s3.delete_bucket(Bucket=stack.info["people_results_bucket"]),
    "unlock": lambda s3, stack: s3.put_object_lock_configuration(Bucket=stack.info["audit_checkpoint_bucket"], ObjectLockConfiguration={}),
}
OF_THE_GATEWAY: dict[str, Grab] = {
    "write a result": lambda s3, stack: s3.put_object(Bucket=stack.info["people_results_bucket"], Key=KEY, Body=b"forged"),
    "write a checkpoint": lambda s3, stack: s3.put_object(Bucket=stack.info["audit_checkpoint_bucket"], Key="heads/acme", Body=b""),
}
OF_THE_WORKER: dict[str, Grab] = {
    "read a result": lambda s3, stack: s3.get_object(Bucket=stack.info["people_results_bucket"], Key=KEY),
    "read a checkpoint": lambda s3, stack: s3.get_object(Bucket=stack.info["audit_checkpoint_bucket"], Key="heads/acme"),
}
OF_THE_FEED: dict[str, Grab] = {
    **OF_THE_GATEWAY,
    **OF_THE_WORKER,
    "list results": lambda s3, stack: s3.list_objects_v2(Bucket=stack.info["people_results_bucket"]),
}
REFUSED = {"gateway": OF_THE_GATEWAY, "people-worker": OF_THE_WORKER, "events-feed": OF_THE_FEED}
GRABS = [(process, name, grab) for process, more in REFUSED.items() for name, grab in (ON_S3 | more).items()]


@pytest.mark.parametrize(("process", "grab"), [(process, grab) for process, _, grab in GRABS], ids=[f"{one[0]}: {one[1]}" for one in GRABS])
def test_a_service_reaches_its_own_part_of_s3(stack: RunningStack, process: str, grab: Grab) -> None:
    """With a service's own credentials S3 refuses whatever is not the service's work."""
    stack.s3().put_object(Bucket=stack.info["people_results_bucket"], Key=KEY, Body=b"{}")
    with pytest.raises(ClientError) as refused:
        grab(_account(stack, process, "s3"), stack)
    assert refused.value.response["Error"]["Code"] == "AccessDenied"


@pytest.mark.parametrize("process", ["gateway", "events-feed"])
@pytest.mark.parametrize("call", ["describe_key", "generate_data_key", "encrypt", "decrypt"])
def test_only_the_worker_reaches_the_key(stack: RunningStack, call: str, process: str) -> None:
    """The other services' accounts do not even know the key that opens Base A."""
    more: dict[str, dict[str, Any]] = {
        "generate_data_key": {"KeySpec": "AES_256"},
        "encrypt": {"Plaintext": b"x"},
        "decrypt": {"CiphertextBlob": _wrapped_key(stack)},
    }
    with pytest.raises(ClientError):
        getattr(_account(stack, process, "kms"), call)(KeyId=read_environment(stack.home).settings["BASE_A_KMS_KEY"], **more.get(call, {}))


def test_the_worker_needs_the_keys_context(stack: RunningStack) -> None:
    """A wrapped data key opens for the worker under its own id alone."""
    kms, key = _account(stack, "people-worker", "kms"), read_environment(stack.home).settings["BASE_A_KMS_KEY"]
    for context in ({}, {"base": "a", "key_id": str(uuid.uuid4())}):
        with pytest.raises(ClientError):
            kms.decrypt(KeyId=key, CiphertextBlob=_wrapped_key(stack), EncryptionContext=context)


def _wrapped_key(stack: RunningStack) -> bytes:
    with psycopg.connect(stack.info["base_a_dsn"]) as owner:
        found = owner.execute("select wrapped from data_key limit 1").fetchone()
    assert found
    return bytes(found[0])


SQL_GRABS = [
    "select * from pg_authid", "select pg_read_file('/etc/passwd')", "copy (select 1) to program 'id'", "set role base_a_owner",
    "set role postgres", "create table mine (x int)", "create temp table mine (x int)", "create function f() returns int return 1",
    "alter role base_a_worker createrole", "grant base_a_owner to base_a_worker", "begin; lock table inquiry_log", "truncate inquiry_log",
    "select * from pg_stats where schemaname = 'public' and tablename = 'person' and most_common_vals is not null",
    "select lo_import('/etc/passwd')", "alter system set log_statement = 'all'", "create extension dblink",
]  # fmt: skip


@pytest.mark.parametrize("statement", SQL_GRABS)
def test_the_workers_role_gets_nowhere(stack: RunningStack, statement: str) -> None:
    """With the worker's password every way around its functions is refused, or shows nothing."""
    with psycopg.connect(stack.info["base_a_worker_dsn"], autocommit=True) as worker:
        try:
            assert worker.execute(statement.encode()).fetchall() == []
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject, psycopg.errors.FeatureNotSupported):
            return
        except psycopg.ProgrammingError as error:  # a statement that returned no rows, and so did something
            raise AssertionError(statement) from error
        assert "pg_stats" in statement


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_the_workers_role_stays_in_its_database(stack: RunningStack, database: str) -> None:
    """What the server's other databases would tell of others, the worker does not even connect to read."""
    with psycopg.connect(stack.info["base_a_worker_dsn"], dbname=database, autocommit=True) as worker:
        assert worker.execute("select * from pg_tables where schemaname = 'public'").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute("select * from pg_authid")


MONGO_GRABS: dict[str, Callable[[Any], object]] = {
    "insert": lambda base: base.scoredata.insert_one({"_id": "0" * 32, "bucket": 0}),
    "update": lambda base: base.scoredata.update_many({}, {"$set": {"bucket": 1}}),
    "delete": lambda base: base.scoredata.delete_many({}),
    "drop": lambda base: base.scoredata.drop(),
    "index": lambda base: base.scoredata.create_index("income"),
    "validator": lambda base: base.command("collMod", "scoredata", validator={}),
    "out": lambda base: list(base.scoredata.aggregate([{"$out": "stolen"}])),
    "user": lambda base: base.command("createUser", "thief", pwd="x", roles=["dbOwner"]),
    "users": lambda base: base.command("usersInfo", 1),
    "another database": lambda base: base.client["other"].things.insert_one({}),
    "admin": lambda base: list(base.client["admin"]["system.users"].find()),
    "shutdown": lambda base: base.client["admin"].command("shutdown"),
}


@pytest.mark.parametrize("grab", MONGO_GRABS.values(), ids=MONGO_GRABS.keys())
def test_the_score_services_user_only_reads(stack: RunningStack, grab: Callable[[Any], object]) -> None:
    """With the URI that the score service holds, Base B lets nothing be written and no user be seen."""
    with MongoClient[dict[str, Any]](read_environment(stack.home).of("score-api")["BASE_B_URI"]) as client:
        with pytest.raises(OperationFailure):
            grab(client.get_default_database())
        assert client.get_default_database().scoredata.find_one() is not None


@pytest.mark.parametrize("account", ["test", FEED_ACCOUNT], ids=["outsider", "events-feed"])
def test_an_outsiders_inquiry_counts_for_nothing(stack: RunningStack, account: str) -> None:
    """Whoever can write to the feed queue, the feed too, still cannot make an inquiry: it is a dead letter, without the CPF."""
    event = {
        "event_id": str(uuid.uuid4()),
        "cpf": ELDER,
        "kind": "bureau_inquiry",
        "occurred_at": "2026-01-01T00:00:00Z",
        "institution": "thief",
    }
    sqs, dead = stack.sqs(), stack.info["events_feed_dlq"]
    message = queues.Outgoing(json.dumps({"version": 1, "events": [event]}))
    queues.send_all(stack.client("sqs", account), stack.info["events_feed_queue"], [message])
    deadline = time.monotonic() + 20
    letters: list[queues.Received] = []
    while not any(event["event_id"] in letter.body for letter in letters) and time.monotonic() < deadline:
        letters += queues.receive(sqs, dead, wait=1)
    (mine,) = (letter for letter in letters if event["event_id"] in letter.body)
    assert mine.attributes["reason"] == "UntrustedSender"
    assert cpf.parse(ELDER) not in mine.body.replace(".", "").replace("-", "")
    queues.delete(sqs, dead, [letter.receipt for letter in letters])
    assert Http(stack, "acme")("GET", f"/v1/events?cpf={ELDER}&kind=bureau_inquiry&until=2026-01-02T00:00:00Z")[1]["events"] == []
