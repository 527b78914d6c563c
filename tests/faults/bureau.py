"""The people path in memory: the real API, client side and worker over doubles, with chaos between them and everything they call."""

import datetime as dt
import json
import uuid
from hashlib import sha256
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import tests.doubles
from consumidor import cpf
from consumidor.errors import ConsumidorError, DependencyDown
from consumidor.people import model, request_token
from consumidor.people.api import PeopleApi, Poll
from consumidor.people.model import Address, Debt, Delivery
from consumidor.people.request_token import RequestVerifier, Signer
from consumidor.people.vault import Identity
from consumidor.people.worker import Worker
from consumidor.settings import Settings
from tests.chaos import Chaos, ChaosAws, ChaosStore, Crash
from tests.doubles import FakePeopleStore, Row
from tests.queue_double import FakeSqs, Message
from tests.unit.test_request_token import KEY

CLIENTS = ("acme", "globex")
CPFS = ("46509208172", "52998224725", "11144477735")  # known, known with a report too big for the queue, unknown
START = 1_800_000_000.0
QUEUE = "http://queue.test/"
PSEUDONYM_KEY = bytes(32)
PERSONS = {cpf.pseudonym(PSEUDONYM_KEY, digits): digits for digits in CPFS}
SETTINGS = {
    "ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "PEOPLE_REQUESTS_QUEUE_URL": QUEUE + "requests",
    "PEOPLE_REQUESTS_DLQ_URL": QUEUE + "dlq", "PEOPLE_RESPONSES_QUEUE_PREFIX": QUEUE + "responses-",
    "EVENTS_FEED_QUEUE_URL": QUEUE + "feed",
    "PEOPLE_RESULTS_BUCKET": "results", "AUDIT_CHECKPOINT_BUCKET": "checkpoints", "PEOPLE_RESPONSE_LIMIT_BYTES": "2048",
    "BASE_A_DSN": "dbname=-", "BASE_A_KMS_KEY": "-", "PEOPLE_SIGNING_KEY": json.dumps(KEY.private), "PSEUDONYM_KEY": PSEUDONYM_KEY.hex(),
    "PEOPLE_SIGNING_PUBLIC_KEYS": json.dumps({"keys": [KEY.public]}), "CLIENTS": "{}",
    "JWT_ISSUER": "http://issuer.test", "JWT_AUDIENCE": "x", "JWKS_URL": "http://issuer.test/jwks",
}  # fmt: skip


class FakeS3:
    """Buckets in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, Bucket: str, Key: str, Body: bytes, **_: object) -> dict[str, Any]:  # noqa: N803 - boto3's names
        """As S3."""
        self.objects[f"{Bucket}/{Key}"] = Body
        return {}

    def generate_presigned_url(self, _: str, Params: dict[str, str], ExpiresIn: int) -> str:  # noqa: N803 - boto3's names
        """A link that says what it is for."""
        return f"http://s3.test/{Params['Bucket']}/{Params['Key']}?{ExpiresIn}"


class FakeVault:
    """Seals that are none."""

    def unseal(self, person: str, _key_id: str, _wrapped: bytes, sealed: bytes) -> Identity:
        """The identity that was put there for this person."""
        identity = msgspec.json.decode(sealed, type=Identity)
        assert PERSONS[person] == identity.cpf
        return identity

    def ping(self) -> None:
        """Always there."""


def _row(digits: str, debts: int) -> Row:
    identity = Identity(digits, "Ana Silva", Address("Rua Um, 1", "Campinas", "SP", "13010-000"))
    owed = [Debt("Banco A", 100, "2026-03-10", "open")] * debts
    return Row(msgspec.json.encode(identity), "", b"", msgspec.json.encode(owed).decode(), 100 * debts)


class RecordingSigner(Signer):
    """Knows who asked what under which id, also where the API never got to say so."""

    def __init__(self, jwk: str) -> None:
        super().__init__(jwk)
        self.asked: dict[str, tuple[str, str, str]] = {}
        self.messages: dict[str, str] = {}

    def sign(self, client: str, request_id: str, person: str, purpose: str) -> str:
        """As the Signer."""
        self.asked.setdefault(request_id, (client, person, purpose))
        self.messages[request_id] = super().sign(client, request_id, person, purpose)
        return self.messages[request_id]


class Bureau:
    """Everything of the people path, and what its clients saw of it. `sqs.now` is the time for all of it."""

    worker_class: type[Worker] = Worker
    api_class: type[PeopleApi] = PeopleApi

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sqs, self.s3 = FakeSqs(START), FakeS3()
        self.store = FakePeopleStore()
        for person, digits in PERSONS.items():
            if digits != CPFS[2]:
                self.store.people[person] = _row(digits, debts=40 if digits == CPFS[1] else 1)
        self.signer = RecordingSigner(SETTINGS["PEOPLE_SIGNING_KEY"])
        self.chaos = Chaos(self._overtake)
        self.answered: dict[str, list[Delivery]] = {client: [] for client in CLIENTS}
        self.accepted: set[str] = set()
        ids = count(1)  # made up in one order, so that a schedule can be run again
        patch.setattr(model, "uuid", SimpleNamespace(uuid4=lambda: uuid.UUID(int=next(ids)), uuid5=uuid.uuid5))
        patch.setattr(request_token, "time", SimpleNamespace(time=lambda: self.sqs.now))
        patch.setattr(tests.doubles, "dt", _datetime_at(lambda: self.sqs.now))

    def worker(self) -> Worker:
        """A worker as it starts."""
        settings = Settings.from_env("worker", SETTINGS)
        sqs: Any = ChaosAws(self.sqs, self.chaos)
        s3: Any = ChaosAws(self.s3, self.chaos)
        store: Any = ChaosStore(self.store, self.chaos)
        vault: Any = FakeVault()
        verifier = RequestVerifier(settings.people_signing_public_keys)
        return self.worker_class(settings, sqs=sqs, s3=s3, store=store, vault=vault, verifier=verifier)

    def api(self) -> PeopleApi:
        """The API as it starts."""
        sqs: Any = ChaosAws(self.sqs, self.chaos)
        s3: Any = self.s3  # it is only asked for links, which takes no call
        return self.api_class(Settings.from_env("api", SETTINGS), sqs=sqs, long_sqs=sqs, s3=s3, signer=self.signer)

    def submit(self, client: str, key: str | None, inquiries: list[tuple[str, str]]) -> None:
        """A client asks; what the API acknowledges is accepted."""
        try:
            answers = self.api()._send_inquiries(client, key, inquiries, "0" * 32)
        except (Crash, ConsumidorError):
            return
        self.accepted |= {answer.request_id for answer in answers if answer.request_id}

    def work(self) -> None:
        """A worker has one round, and is gone after it."""
        worker = self.worker()
        try:
            if messages := worker.gather():
                worker.round(messages)
        except (Crash, DependencyDown):
            return

    def take(self, client: str, *, acknowledge: bool) -> None:
        """A client takes what its queue has, and acknowledges it or forgets to."""
        api, url = self.api(), f"{QUEUE}responses-{client}"
        try:
            deliveries = api._take(ChaosAws(self.sqs, self.chaos), client, Poll())  # type: ignore[arg-type]  # a double
            self.answered[client] += deliveries
            if acknowledge and deliveries:
                api._delete(url, [delivery.receipt for delivery in deliveries])
        except (Crash, ConsumidorError):
            return

    def waiting(self, queue: str) -> list[Message]:
        """The messages of a queue, visible or not."""
        return self.sqs.queues[QUEUE + queue]

    def _overtake(self) -> None:
        """Time beyond a visibility timeout passes, with no heartbeat, and another worker has its turn."""
        self.sqs.now += 31
        self.work()

    def digest_of(self, key: str) -> str:
        """SHA-256 of a result."""
        return sha256(self.s3.objects[f"results/{key}"]).hexdigest()


def _datetime_at(now: Any) -> Any:
    """The module `datetime`, as far as the store's double uses it, with another clock."""

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Clock":
            return cls.fromtimestamp(now(), tz)

    return SimpleNamespace(datetime=Clock, UTC=dt.UTC, timedelta=dt.timedelta)
