"""The worker, round by round, over an in-process AWS (moto) and a real one (ministack), with the store's double."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import boto3
import msgspec
import pytest
from moto import mock_aws

from consumidor import cpf, queues, telemetry
from consumidor.errors import DependencyDown
from consumidor.people.model import Address, Debt, Person
from consumidor.people.request_token import RequestVerifier, Signer
from consumidor.people.store import Outcome, PeopleRequest
from consumidor.people.vault import Identity, Vault
from consumidor.people.worker import Worker
from consumidor.settings import PROCESSES, Settings
from tests.doubles import FakePeopleStore, Row
from tests.servers.aws import AwsServer
from tests.unit.test_request_token import KEY, SigningKey

PSEUDONYM_KEY = bytes(32)
KNOWN, UNKNOWN = "46509208172", "11144477735"


class Cloud(NamedTuple):
    """AWS clients and where things are, alike for the double and the emulator."""

    sqs: Any
    s3: Any
    kms: Any
    prefix: str

    def queue(self, name: str) -> str:
        """The URL of one of this test's queues."""
        return f"{self.prefix}{name}"

    def take(self, name: str) -> list[queues.Received]:
        """All that a queue holds, removed."""
        taken: list[queues.Received] = []
        while received := queues.receive(self.sqs, self.queue(name)):
            queues.delete(self.sqs, self.queue(name), [message.receipt for message in received])
            taken += received
        return taken


@pytest.fixture(params=["moto", "ministack"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Queues and buckets of this test's own."""
    run = uuid.uuid4().hex[:8]
    if request.param == "ministack":
        server: AwsServer = request.getfixturevalue("ministack")
        yield _lay_out(server.client("sqs"), server.client("s3"), server.client("kms"), run)
        return
    with mock_aws():
        session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="sa-east-1")
        yield _lay_out(session.client("sqs"), session.client("s3"), session.client("kms"), run)


def _lay_out(sqs: Any, s3: Any, kms: Any, run: str) -> Cloud:
    urls = [
        sqs.create_queue(QueueName=f"{run}-{name}", Attributes={"MaximumMessageSize": "1048576"})["QueueUrl"]
        for name in ("requests", "dlq", "feed", "responses-acme", "responses-globex")
    ]
    s3.create_bucket(Bucket=f"results-{run}", CreateBucketConfiguration={"LocationConstraint": "sa-east-1"})
    s3.create_bucket(Bucket=f"checks-{run}", CreateBucketConfiguration={"LocationConstraint": "sa-east-1"})
    return Cloud(sqs, s3, kms, urls[0].removesuffix("requests"))


class KnownPeople(FakePeopleStore):
    """The store's double, with people sealed under a key of its own; it can be down."""

    def __init__(self, kms: Any) -> None:
        super().__init__()
        self.kms_key = kms.create_key()["KeyMetadata"]["KeyId"]
        self.vault = Vault(kms, self.kms_key)
        self.key = self.vault.new_key()
        self.down = False

    def add(self, person: Person) -> None:
        """Let the store know a person."""
        name = cpf.pseudonym(PSEUDONYM_KEY, person.cpf)
        sealed = self.vault.seal(name, self.key, Identity(person.cpf, person.name, person.address))
        total = sum(debt.amount_cents for debt in person.debts if debt.status == "open")
        self.people[name] = Row(sealed, *self.key, msgspec.json.encode(person.debts).decode(), total)

    def inquire(self, batch: Sequence[PeopleRequest]) -> list[Outcome]:
        """As the double, unless it is down."""
        if self.down:
            raise DependencyDown("base_a")
        return super().inquire(batch)


@pytest.fixture
def store(cloud: Cloud) -> KnownPeople:
    """A double with one known person."""
    double = KnownPeople(cloud.kms)
    debts = [Debt("Banco A", 12990, "2026-03-10", "open"), Debt("Loja B", 500, "2025-01-01", "paid")]
    double.add(Person(KNOWN, "Ana Silva", Address("Rua Um, 1", "Campinas", "SP", "13010-000"), debts))
    return double


@pytest.fixture
def worker(cloud: Cloud, store: KnownPeople) -> Worker:
    """A worker over both, not started: the tests take its rounds one by one."""
    return make_worker(cloud, store)


def make_worker(cloud: Cloud, store: KnownPeople, **overrides: Any) -> Worker:
    """A worker; `sqs` and the like can be given instead of the cloud's own."""
    run = cloud.prefix.rstrip("-").rpartition("/")[2]
    environment = {
        "ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "PEOPLE_REQUESTS_QUEUE_URL": cloud.queue("requests"),
        "PEOPLE_REQUESTS_DLQ_URL": cloud.queue("dlq"), "PEOPLE_RESPONSES_QUEUE_PREFIX": cloud.queue("responses-"),
        "PEOPLE_RESULTS_BUCKET": f"results-{run}", "PEOPLE_RESPONSE_LIMIT_BYTES": "4096", "BASE_A_DSN": "dbname=-", "BASE_A_KMS_KEY": "-",
        "PEOPLE_SIGNING_PUBLIC_KEYS": json.dumps({"keys": [KEY.public]}), "AUDIT_CHECKPOINT_BUCKET": f"checks-{run}",
        "EVENTS_FEED_QUEUE_URL": cloud.queue("feed"),
    }  # fmt: skip
    assert set(environment) <= set(PROCESSES["worker"])
    settings = Settings.from_env("worker", environment)
    given: dict[str, Any] = {"sqs": cloud.sqs, "s3": cloud.s3, "store": store, "vault": store.vault, **overrides}
    return Worker(settings, verifier=RequestVerifier(settings.people_signing_public_keys), **given)


def ask(cloud: Cloud, *bodies: str) -> None:
    """Put messages on the request queue."""
    assert not any(queues.send(cloud.sqs, cloud.queue("requests"), [queues.Outgoing(body) for body in bodies]))


def request(digits: str, client: str = "acme", request_id: str | None = None, purpose: str = "credit") -> str:
    """A request as the people API signs it."""
    return Signer(json.dumps(KEY.private)).sign(client, request_id or str(uuid.uuid4()), cpf.pseudonym(PSEUDONYM_KEY, digits), purpose)


def responses(cloud: Cloud, client: str = "acme") -> list[dict[str, Any]]:
    """What a client's response queue holds."""
    return [msgspec.json.decode(message.body) for message in cloud.take(f"responses-{client}")]


def waiting(cloud: Cloud) -> int:
    """Messages of the request queue, visible or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counted = cloud.sqs.get_queue_attributes(QueueUrl=cloud.queue("requests"), AttributeNames=names)["Attributes"]
    return sum(int(counted[name]) for name in names)


def test_found_and_not_found(cloud: Cloud, worker: Worker) -> None:
    """A known person's report and an unknown one's `not_found` reach their own clients, and nothing stays behind."""
    ask(cloud, request(KNOWN), request(UNKNOWN, "globex"))
    worker.round(worker.gather())
    (found,), (missing,) = responses(cloud), responses(cloud, "globex")
    assert (found["version"], found["status"]) == (1, "found")
    assert found["report"]["cpf"] == "465.092.081-72"
    assert found["report"]["total_open_cents"] == 12990
    assert [debt["status"] for debt in found["report"]["debts"]] == ["open", "paid"]
    assert {name: missing[name] for name in ("version", "status")} == {"version": 1, "status": "not_found"}
    assert "report" not in missing
    assert waiting(cloud) == 0


def test_each_answer_tells_the_feed(cloud: Cloud, worker: Worker) -> None:
    """One feed message carries an inquiry event per answer, under the request's id, without any CPF."""
    ids = [str(uuid.uuid4()) for _ in range(12)]
    ask(cloud, *[request(KNOWN, request_id=one) for one in ids])
    worker.round(worker.gather())
    (message,) = cloud.take("feed")
    events = msgspec.json.decode(message.body)["events"]
    assert {event["event_id"] for event in events} == set(ids)
    assert {(event["kind"], event["institution"], event["details"]["path"]) for event in events} == {("bureau_inquiry", "acme", "people")}
    assert KNOWN not in message.body


def test_a_big_report_goes_to_s3(cloud: Cloud, store: KnownPeople, worker: Worker) -> None:
    """Over the limit the message carries where the report lies, its length and hash, and they are true."""
    store.add(
        Person("52998224725", "Rui", Address("Rua Dois, 2", "Campinas", "SP", "13010-000"), [Debt("Banco", 1, "2026-01-01", "open")] * 200)
    )
    ask(cloud, request("52998224725"))
    worker.round(worker.gather())
    (response,) = responses(cloud)
    where = response["report_at"]
    stored = cloud.s3.get_object(Bucket=where["bucket"], Key=where["key"])["Body"].read()
    assert "report" not in response
    assert where["key"] == f"responses/acme/{response['request_id']}/{where['sha256']}.json"
    assert len(stored) == where["bytes"] > 4096
    assert len(json.loads(stored)["debts"]) == 200


def test_refused_messages_take_nobody_along(cloud: Cloud, worker: Worker) -> None:
    """Forged, unreadable and unknown messages become dead letters with the reason; the good ones of the batch are answered."""
    late = KEY.message({"iat": 1, "exp": int(time.time()) - 60})
    ask(cloud, request(KNOWN), "not a token", SigningKey().message(), KEY.message({"version": 2}), late, request(UNKNOWN))
    worker.round(worker.gather())
    letters = cloud.take("dlq")
    assert sorted(letter.attributes["reason"] for letter in letters) == [
        "ExpiredMessage",
        "ForgedMessage",
        "MalformedMessage",
        "UnknownVersion",
    ]
    statuses = sorted((one["status"], one.get("error", {}).get("type")) for one in responses(cloud))
    assert statuses == [("failed", "urn:consumidor:expired-message"), ("failed", "urn:consumidor:unknown-version"), ("found", None),
                        ("not_found", None)]  # fmt: skip
    assert waiting(cloud) == 0


def test_a_trace_goes_on_and_nothing_else_in_its_place(cloud: Cloud, worker: Worker) -> None:
    """Responses and dead letters carry the request's traceparent, but not whatever a stranger wrote there."""
    trace = telemetry.traceparent("ab" * 16)
    for given in (trace, "465.092.081-72"):
        sent = [queues.Outgoing(body, {"traceparent": given}) for body in (request(KNOWN), "not a token")]
        queues.send_all(cloud.sqs, cloud.queue("requests"), sent)
        worker.round(worker.gather())
    for queue in ("responses-acme", "dlq"):
        assert [message.attributes.get("traceparent") for message in cloud.take(queue)] == [trace, None]


def test_a_huge_dead_letter_is_kept_by_its_hash(cloud: Cloud, worker: Worker) -> None:
    """Junk too big to travel with its reason is kept as length and hash."""
    ask(cloud, "x" * 1_000_000)
    worker.round(worker.gather())
    (letter,) = cloud.take("dlq")
    assert json.loads(letter.body)["bytes"] == 1_000_000


def test_a_replay_is_logged_once_and_answered_to_its_owner(cloud: Cloud, store: KnownPeople, worker: Worker) -> None:
    """A true message put on the queue again reaches only its owner, tells of the same event, and is in the log once."""
    message = request(KNOWN)
    for _ in range(2):
        ask(cloud, message)
        worker.round(worker.gather())
    assert [one["status"] for one in responses(cloud)] == ["found", "found"]
    first, again = (msgspec.json.decode(message.body)["events"] for message in cloud.take("feed"))
    assert first == again
    assert len(store.links) == 1


def checkpoints(cloud: Cloud, worker: Worker) -> list[str]:
    """The keys written down by now, less their hashes."""
    worker.write_checkpoint()
    bucket = f"checks-{cloud.prefix.rstrip('-').rpartition('/')[2]}"
    return [item["Key"].rpartition("-")[0] for item in cloud.s3.list_objects_v2(Bucket=bucket)["Contents"]]


def test_a_conflict_answers_nobody(cloud: Cloud, worker: Worker) -> None:
    """A request id that is another request's becomes a dead letter, and nobody gets a response."""
    one = str(uuid.uuid4())
    ask(cloud, request(KNOWN, "acme", one))
    worker.round(worker.gather())
    responses(cloud)
    ask(cloud, request(KNOWN, "globex", one))
    worker.round(worker.gather())
    assert [letter.attributes["reason"] for letter in cloud.take("dlq")] == ["ConflictingMessage"]
    assert responses(cloud) + responses(cloud, "globex") == []
    assert checkpoints(cloud, worker) == [f"heads/acme/{1:020}"]  # globex has no row that could be written down


def test_an_id_of_yesterday_is_told_that_it_expired(cloud: Cloud, store: KnownPeople, worker: Worker) -> None:
    """A new message under an id logged long ago (an old idempotency key) gets `failed`, and a dead letter says why."""
    one = str(uuid.uuid4())
    ask(cloud, request(KNOWN, request_id=one))
    worker.round(worker.gather())
    store.age(hours=24)
    ask(cloud, request(KNOWN, request_id=one))
    worker.round(worker.gather())
    assert [(answer["request_id"], answer["status"]) for answer in responses(cloud)] == [(one, "found"), (one, "failed")]
    assert [letter.attributes["reason"] for letter in cloud.take("dlq")] == ["ExpiredMessage"]
    assert waiting(cloud) == 0


class Failing:
    """An AWS client whose named calls fail while `broken`."""

    def __init__(self, client: Any, *calls: str) -> None:
        self._client, self._calls, self.broken = client, calls, True

    def __getattr__(self, name: str) -> Any:
        if self.broken and name in self._calls:
            return self._fail
        return getattr(self._client, name)

    def _fail(self, **_: object) -> Any:
        raise self._client.exceptions.ClientError({"Error": {"Code": "ServiceUnavailable", "Message": ""}}, "call")


@pytest.mark.parametrize("broken", ["store", "kms", "s3", "send", "delete"])
def test_whatever_is_down_the_message_comes_again(cloud: Cloud, store: KnownPeople, broken: str) -> None:
    """An outage backs the message off and is told to the thread; when it is over the request is answered, logged once."""
    sqs = Failing(cloud.sqs, {"send": "send_message_batch", "delete": "delete_message_batch"}.get(broken, ""))
    s3 = Failing(cloud.s3, "put_object" if broken == "s3" else "")
    store.add(
        Person("52998224725", "Rui", Address("Rua Dois, 2", "Campinas", "SP", "13010-000"), [Debt("Banco", 1, "2026-01-01", "open")] * 200)
    )
    store.down = broken == "store"
    kms: Any = Failing(cloud.kms, "decrypt" if broken == "kms" else "")
    worker = make_worker(cloud, store, sqs=sqs, s3=s3, vault=Vault(kms, store.kms_key) if broken == "kms" else store.vault)
    ask(cloud, request("52998224725"))
    with pytest.raises(DependencyDown):
        worker.round(worker.gather())
    sqs.broken = s3.broken = kms.broken = store.down = False
    assert waiting(cloud) == 1
    deadline = time.monotonic() + 10
    while waiting(cloud) and time.monotonic() < deadline:
        if messages := worker.gather():
            worker.round(messages)
    assert {one["status"] for one in responses(cloud)} == {"found"}
    assert len(store.links) == 1


def test_a_client_without_a_queue_is_no_outage(cloud: Cloud, store: KnownPeople, worker: Worker) -> None:
    """Its requests, good or late, are dead letters with the reason, in the log, and told to nobody; those of others are answered."""
    cloud.sqs.delete_queue(QueueUrl=cloud.queue("responses-acme"))
    late = KEY.message({"iat": 1, "exp": int(time.time()) - 60})
    ask(cloud, request(KNOWN), late, request(UNKNOWN, "globex"), request(UNKNOWN))
    worker.round(worker.gather())
    assert sorted(letter.attributes["reason"] for letter in cloud.take("dlq")) == ["ExpiredMessage", "UnknownClient", "UnknownClient"]
    assert [one["status"] for one in responses(cloud, "globex")] == ["not_found"]
    (message,) = cloud.take("feed")
    assert [event["institution"] for event in msgspec.json.decode(message.body)["events"]] == ["globex"]
    assert sorted(link.client for link in store.links) == ["acme", "acme", "globex"]
    assert waiting(cloud) == 0


@pytest.mark.parametrize("missing", ["feed", "dlq"])
def test_a_queue_of_our_own_that_is_gone_is_an_outage(cloud: Cloud, worker: Worker, missing: str) -> None:
    """Neither a request nor a dead letter is lost with it: they stay in the request queue."""
    cloud.sqs.delete_queue(QueueUrl=cloud.queue(missing))
    ask(cloud, request(KNOWN) if missing == "feed" else "not a token")
    with pytest.raises(DependencyDown):
        worker.round(worker.gather())
    assert waiting(cloud) == 1


def test_an_outage_of_the_responses_leaves_no_refused_message_in_hand(cloud: Cloud, store: KnownPeople) -> None:
    """A message that is refused beside one that cannot be delivered is a dead letter all the same."""

    class OneQueueDown(Failing):
        def __getattr__(self, name: str) -> Any:
            call = getattr(self._client, name)
            return lambda **given: self._fail() if given["QueueUrl"] == cloud.queue("responses-acme") else call(**given)

    worker = make_worker(cloud, store, sqs=OneQueueDown(cloud.sqs))
    ask(cloud, request(KNOWN), "not a token")
    with pytest.raises(DependencyDown):
        worker.round(worker.gather())
    assert [letter.attributes["reason"] for letter in cloud.take("dlq")] == ["MalformedMessage"]
    assert (waiting(cloud), worker.heartbeat._held) == (1, set())


def test_the_heartbeat_keeps_what_is_in_hand(cloud: Cloud, worker: Worker) -> None:
    """A message in hand stays invisible beyond its visibility; one let go is not extended."""
    ask(cloud, request(KNOWN), request(UNKNOWN))
    held, let_go = queues.receive(cloud.sqs, cloud.queue("requests"), visibility=1)
    worker.heartbeat.hold([held.receipt, let_go.receipt])
    worker.heartbeat.release([let_go.receipt])
    worker.heartbeat.beat()
    time.sleep(1.2)
    assert [message.body for message in queues.receive(cloud.sqs, cloud.queue("requests"))] == [let_go.body]


def test_heads_are_written_down(cloud: Cloud, worker: Worker) -> None:
    """A checkpoint holds the newest head of each client, and is not written twice."""
    ask(cloud, request(KNOWN), request(KNOWN), request(UNKNOWN, "globex"))
    worker.round(worker.gather())
    worker.write_checkpoint()
    assert checkpoints(cloud, worker) == [f"heads/acme/{2:020}", f"heads/globex/{1:020}"]
