"""What a request is answered with: the report, unsealed, in the response itself or checked in to S3 where it is too big."""

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from prometheus_client import Counter

from consumidor import telemetry
from consumidor.cpf import punctuate
from consumidor.errors import ConflictingMessage, ConsumidorError, DependencyDown, ExpiredMessage
from consumidor.events.model import Event, inquiry_event
from consumidor.people.model import MESSAGE_VERSION, ReportLocation, Response, ResponseError
from consumidor.people.request_token import Request
from consumidor.people.store import Outcome
from consumidor.people.vault import Vault
from consumidor.problems import problem_type
from consumidor.queues import Outgoing, Received

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

CLAIM_CHECKS = Counter("consumidor_people_claim_checks_total", "Responses too big for the queue")


class Asked(NamedTuple):
    """A message and the request it holds."""

    message: Received
    request: Request


class Answer(NamedTuple):
    """A message, the request it held, the response for its client's queue, and the event that tells of it."""

    message: Received
    request: Request
    response: Outgoing
    event: Event


class Answerer:
    """Makes answers of outcomes; `limit` is the largest response for a queue, in bytes of body and attributes."""

    def __init__(self, vault: Vault, s3: "S3Client", bucket: str, limit: int) -> None:
        self._vault, self._s3, self._bucket, self._limit = vault, s3, bucket, limit

    def answer(self, asked: Asked, outcome: Outcome) -> Answer:
        """One response and its event; the event's time is that of the log, so that a repeat tells of the same event.

        Raises:
            ConflictingMessage: the id is another request's: nobody is answered.
            ExpiredMessage: the id was first answered too long ago: the client is told that it failed.
            SealBroken: the record was altered: the client is told that it failed.
            DependencyDown: KMS or S3.
        """
        client, request_id, person, purpose, _ = asked.request
        if outcome.outcome == "conflict":
            raise ConflictingMessage("this request id is in the log with another client, person or purpose")
        if outcome.outcome == "expired":
            raise ExpiredMessage("this request id was logged more than 13 hours ago")
        event = inquiry_event(request_id, person, client, outcome.at, {"path": "people", "purpose": purpose})
        if outcome.outcome == "not_found":
            response = _outgoing(Response(MESSAGE_VERSION, request_id, "not_found"), asked.message)
        else:
            response = self._found(asked, self._report(person, outcome))
        return Answer(asked.message, asked.request, response, event)

    def _found(self, asked: Asked, report: bytes) -> Outgoing:
        request_id = asked.request.request_id
        response = _outgoing(Response(MESSAGE_VERSION, request_id, "found", msgspec.Raw(report)), asked.message)
        if response.size <= self._limit:
            return response
        location = self._check_in(asked.request, report)
        return _outgoing(Response(MESSAGE_VERSION, request_id, "found", report_at=location), asked.message)

    def _report(self, person: str, outcome: Outcome) -> bytes:
        """A `model.Report` as JSON; the debts are JSON already, as the database made them."""
        identity = self._vault.unseal(person, outcome.key_id, outcome.wrapped_key, outcome.sealed)
        return msgspec.json.encode({
            "cpf": punctuate(identity.cpf), "name": identity.name, "address": identity.address,
            "debts": msgspec.Raw(outcome.debts.encode()), "total_open_cents": outcome.total_open_cents,
        })  # fmt: skip

    def _check_in(self, request: Request, report: bytes) -> ReportLocation:
        """Claim check: under a key that names its content, so that a repeat writes the same object."""
        digest = sha256(report).hexdigest()
        key = f"responses/{request.client}/{request.request_id}/{digest}.json"
        try:
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=report, ContentType="application/json")
        except (ClientError, BotoCoreError) as error:
            raise DependencyDown("s3") from error
        CLAIM_CHECKS.inc()
        return ReportLocation(self._bucket, key, len(report), digest)

    def ask_s3(self) -> None:
        """Raises DependencyDown where the results' bucket does not answer."""
        try:
            self._s3.head_bucket(Bucket=self._bucket)
        except (ClientError, BotoCoreError) as error:
            raise DependencyDown("s3") from error


def failure(error: ConsumidorError, request_id: str, message: Received) -> Outgoing:
    """The response that tells a client why its request failed: the error's class, never a value."""
    return _outgoing(Response(MESSAGE_VERSION, request_id, "failed", error=ResponseError(problem_type(error), error.title)), message)


def traced(message: Received) -> dict[str, str]:
    """The attributes that carry a message's trace on, where it has one."""
    given = message.attributes.get("traceparent", "")
    return {"traceparent": given} if telemetry.is_traceparent(given) else {}


def _outgoing(response: Response, message: Received) -> Outgoing:
    return Outgoing(msgspec.json.encode(response).decode(), traced(message))
