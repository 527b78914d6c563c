"""The people API: takes inquiries to the request queue, hands a client its own responses. It holds nothing that opens Base A."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import randrange
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import msgspec
import structlog
from botocore.exceptions import BotoCoreError, ClientError
from prometheus_client import Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from consumidor import aws, cpf, queues, telemetry, web
from consumidor.auth import build_verifier
from consumidor.errors import ConsumidorError, DependencyDown, FieldError, InvalidInput, MalformedRequest, TooManyRequests, shown
from consumidor.people import model
from consumidor.people.request_token import Signer
from consumidor.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

SCOPE = "consumidor/people.read"
BATCH_LIMIT = 100  # inquiries in one POST
DELIVERY_BYTES = (
    8 * 1024 * 1024 - 32 * 1024
)  # of messages in one GET: with receipts and links under 8 MiB; API Gateway's own limit is 10 MB
LONG_POLLS = 4  # of one client at once
POLL_THREADS = 200  # 50 clients' worth
POLL_SECONDS = 23.0  # for SQS to answer a long poll of up to 20 s; the answer must be out within DRAIN_SECONDS and API Gateway's 30
RELEASE_SECONDS = 5  # and up to 2 more, so that two consumers do not pass one message to and fro

log = structlog.get_logger()
backlog_gauge = Gauge("consumidor_people_backlog", "Requests waiting in the queue, as the API last read it")


class Many(msgspec.Struct):
    """Up to 100 inquiries at once."""

    requests: Annotated[list[model.Inquiry], msgspec.Meta(min_length=1, max_length=BATCH_LIMIT)]


class Accepted(msgspec.Struct, omit_defaults=True):
    """One accepted inquiry, or why only its sending failed."""

    request_id: str | None = None
    error: dict[str, Any] | None = None


class AcceptedMany(msgspec.Struct):
    """In the order of the inquiries."""

    requests: list[Accepted]


class Poll(msgspec.Struct):
    """How long to wait for the first response (seconds), how many to take."""

    wait: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 10


class FoundReport(msgspec.Struct, omit_defaults=True):
    """A delivered response, as documented; `report` or a link to it when found, `error` when failed."""

    request_id: str
    status: Literal["found", "not_found", "failed"]
    receipt: str
    report: model.Report | None = None
    report_url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    expires_at: str | None = None
    error: model.ResponseError | None = None


class Responses(msgspec.Struct):
    """What the client's queue held; what is not acknowledged comes again after 30 s."""

    responses: list[FoundReport]


class Receipts(msgspec.Struct):
    """Receipts as delivered."""

    receipts: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]], msgspec.Meta(min_length=1, max_length=10)]


class Outcome(msgspec.Struct):
    """What became of one receipt."""

    receipt: str
    outcome: Literal["deleted", "released", "unknown"]


class Outcomes(msgspec.Struct):
    """In the order of the receipts."""

    receipts: list[Outcome]


class PeopleApi:
    """The four calls. `sqs` serves all but long polls, which have `long_sqs` and threads of their own, so that they hold up nobody."""

    def __init__(self, settings: Settings, *, sqs: "SQSClient", long_sqs: "SQSClient", s3: "S3Client", signer: Signer) -> None:
        self._settings, self._sqs, self._long_sqs, self._s3, self._signer = settings, sqs, long_sqs, s3, signer
        self._polls: Counter[str] = Counter()
        self._poll_threads: anyio.CapacityLimiter | None = None
        self._backlog: int | None = None

    def part(self) -> web.Part:
        """The API as a part of an application."""
        refusals = (400, 401, 403, 413, 422, 429, 503)
        key = {"Idempotency-Key": "1 to 255 printable characters; the same key and body give the same request ids, answered for 12 hours"}
        outcomes: dict[int, Any] = {200: Outcomes}
        operations = [
            web.Operation("POST", "/v1/people/requests", self.submit, SCOPE, "Ask about one person, or up to 100",
                          {202: (Accepted, AcceptedMany)}, (model.Inquiry, Many), None, key, refusals),
            web.Operation("GET", "/v1/people/responses", self.receive, SCOPE, "Take responses from your queue",
                          {200: Responses}, None, Poll, {}, (401, 403, 422, 429, 503)),
            web.Operation("POST", "/v1/people/responses/ack", self.acknowledge, SCOPE, "Delete responses you have",
                          outcomes, Receipts, None, {}, refusals),
            web.Operation("POST", "/v1/people/responses/release", self.release, SCOPE, "Give responses back to your queue",
                          outcomes, Receipts, None, {}, refusals),
        ]  # fmt: skip
        return web.Part(operations, {"sqs": self._ask_sqs, "s3": self._ask_s3}, self._watch_backlog)

    async def submit(self, request: Request) -> Response:
        """POST /v1/people/requests: all or nothing is accepted; then each is signed and sent."""
        body = await web.read_json(request)
        key = _idempotency_key(request)
        many = isinstance(body, dict) and "requests" in body
        inquiries = _inquiries(body, many=many)
        if self._backlog is not None and self._backlog > self._settings.people_backlog_limit:
            raise TooManyRequests("too many requests are waiting to be answered", retry_after=5)
        send = self._send_inquiries
        accepted = await anyio.to_thread.run_sync(send, request.user.client, key, inquiries, request.scope["trace"])
        content = {"requests": accepted} if many else accepted[0]
        return web.json_response(content, 202, {"location": "/v1/people/responses", "cache-control": "no-store"})

    def _send_inquiries(self, client: str, key: str | None, inquiries: list[tuple[str, str]], trace: str) -> list[Accepted]:
        persons = [(cpf.pseudonym(self._settings.pseudonym_key, digits), purpose) for digits, purpose in inquiries]
        ids = [model.request_id(client, key, position, *asked) for position, asked in enumerate(persons)]
        attributes = {"traceparent": telemetry.traceparent(trace)}
        signed = [self._signer.sign(client, ids[number], *asked) for number, asked in enumerate(persons)]
        messages = [queues.Outgoing(token, attributes) for token in signed]
        failures = queues.send(self._sqs, self._settings.people_requests_queue_url, messages)
        if all(failures):
            raise DependencyDown("sqs")
        log.info("accepted", client=client, trace=trace, request_ids=[one for one, failed in zip(ids, failures, strict=True) if not failed])
        return [
            Accepted(error=web.problem_document(failed)) if failed else Accepted(request_id=one)
            for one, failed in zip(ids, failures, strict=True)
        ]

    async def receive(self, request: Request) -> Response:
        """GET /v1/people/responses: from the caller's own queue, and no other."""
        poll, client = web.read_query(request, Poll), request.user.client
        if poll.wait == 0:
            deliveries = await anyio.to_thread.run_sync(self._take, self._sqs, client, poll)
        else:
            deliveries = await self._long_poll(client, poll)
        return web.json_response(model.Deliveries(deliveries), headers={"cache-control": "no-store"})

    async def _long_poll(self, client: str, poll: Poll) -> list[model.Delivery]:
        if self._polls[client] >= LONG_POLLS:
            raise TooManyRequests(f"at most {LONG_POLLS} long polls of one client at once", retry_after=1)
        self._polls[client] += 1
        try:
            return await anyio.to_thread.run_sync(self._take, self._long_sqs, client, poll, limiter=self._poll_threads)
        finally:
            self._polls[client] -= 1

    def _take(self, sqs: "SQSClient", client: str, poll: Poll) -> list[model.Delivery]:
        url = self._queue_of(client)
        received = queues.receive(sqs, url, limit=poll.limit, wait=poll.wait)
        kept: list[queues.Received] = []
        size = 0
        for message in received:
            size += len(message.body.encode())
            if kept and size > DELIVERY_BYTES:
                break
            kept.append(message)
        if too_many := received[len(kept) :]:
            queues.change_visibility(sqs, url, {message.receipt: 0 for message in too_many})
        return [delivery for message in kept if (delivery := self._delivery(message))]

    def _delivery(self, message: queues.Received) -> model.Delivery | None:
        try:
            response = msgspec.json.decode(message.body, type=model.Response)
            if response.version != model.MESSAGE_VERSION:
                raise msgspec.ValidationError("version")
        except msgspec.DecodeError as error:  # stays in the queue until its retention ends: it may be a newer version's
            log.error("response_unreadable", error=type(error).__name__)
            return None
        link = self.link(response.report_at) if response.report_at else {}
        return model.Delivery(response.request_id, response.status, message.receipt, response.report, error=response.error, **link)

    def link(self, location: model.ReportLocation) -> dict[str, Any]:
        """A presigned link made at delivery, so that it cannot expire inside the queue."""
        seconds = self._settings.people_link_seconds
        where = {"Bucket": location.bucket, "Key": location.key}
        url = self._s3.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds)
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        return {
            "report_url": url, "sha256": location.sha256, "bytes": location.bytes, "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip

    async def acknowledge(self, request: Request) -> Response:
        """POST .../ack: delete from the caller's own queue; a foreign receipt is as unknown there as a made-up one."""
        return await self._on_receipts(request, self._delete, "deleted")

    async def release(self, request: Request) -> Response:
        """POST .../release: let another consumer of the same client have it, after 5 s and some jitter."""
        return await self._on_receipts(request, self._give_back, "released")

    def _delete(self, url: str, receipts: Sequence[str]) -> list[bool]:
        return queues.delete(self._sqs, url, receipts)

    def _give_back(self, url: str, receipts: Sequence[str]) -> list[bool]:
        return queues.change_visibility(self._sqs, url, {receipt: RELEASE_SECONDS + randrange(3) for receipt in receipts})  # noqa: S311 - jitter

    async def _on_receipts(self, request: Request, act: Callable[[str, Sequence[str]], list[bool]], done: str) -> Response:
        body = await web.read_json(request)
        if not isinstance(body, dict):
            raise InvalidInput([{"field": "body", "detail": "must be an object with receipts"}])
        receipts = web.convert(body, Receipts).receipts
        distinct = list(dict.fromkeys(receipts))
        known = await anyio.to_thread.run_sync(act, self._queue_of(request.user.client), distinct)
        outcomes = {receipt: done if is_known else "unknown" for receipt, is_known in zip(distinct, known, strict=True)}
        return web.json_response({"receipts": [{"receipt": receipt, "outcome": outcomes[receipt]} for receipt in receipts]})

    def _queue_of(self, client: str) -> str:
        return f"{self._settings.people_responses_queue_prefix}{client}"

    def _ask_sqs(self) -> None:
        if queues.backlog(self._sqs, self._settings.people_requests_queue_url) is None:
            raise DependencyDown("sqs")

    def _ask_s3(self) -> None:
        try:
            self._s3.head_bucket(Bucket=self._settings.people_results_bucket)
        except (ClientError, BotoCoreError) as error:
            raise DependencyDown("s3") from error

    @asynccontextmanager
    async def _watch_backlog(self) -> AsyncIterator[None]:
        """Reads the backlog once a second beside the requests; unknown admits."""
        self._poll_threads = anyio.CapacityLimiter(POLL_THREADS)

        async def watch() -> None:
            while True:
                url = self._settings.people_requests_queue_url
                self._backlog = await anyio.to_thread.run_sync(queues.backlog, self._sqs, url, abandon_on_cancel=True)
                backlog_gauge.set(-1 if self._backlog is None else self._backlog)
                await asyncio.sleep(1)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()


def _idempotency_key(request: Request) -> str | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not re.fullmatch(r"[\x20-\x7e]{1,255}", given[0]):
        raise MalformedRequest("Idempotency-Key must be one value of 1 to 255 printable characters")
    return given[0]


def _inquiries(body: Any, *, many: bool) -> list[tuple[str, str]]:
    """(digits, purpose) of each inquiry of the body.

    Raises:
        InvalidInput: names every wrong field of every item.
    """
    if not many:
        items, places = [body], [""]
    else:
        items = _listed(body)
        places = [f"requests[{number}]" for number in range(len(items))]
    wrong = [fault for item, place in zip(items, places, strict=True) for fault in _faults(item, place)]
    if wrong:
        raise InvalidInput(wrong)
    return [(cpf.parse(item["cpf"]), item["purpose"]) for item in items]


def _listed(body: Any) -> list[Any]:
    if surplus := body.keys() - {"requests"}:
        raise InvalidInput([{"field": shown(name), "detail": "cannot stand beside requests"} for name in sorted(surplus)])
    items = body["requests"]
    if not isinstance(items, list) or not 1 <= len(items) <= BATCH_LIMIT:
        raise InvalidInput([{"field": "requests", "detail": f"must be a list of 1 to {BATCH_LIMIT} inquiries"}])
    return items


def _faults(item: Any, where: str) -> list[FieldError]:
    wrong = model.wrong_fields(item, where)
    if isinstance(item, dict) and isinstance(item.get("cpf"), str):
        try:
            cpf.parse(item["cpf"])
        except ConsumidorError as error:
            wrong.append({"field": f"{where}.cpf" if where else "cpf", "detail": error.detail})
    return wrong


def build_part(settings: Settings) -> web.Part:
    """The people API as a part, its AWS clients made from the settings of the process `api`."""
    api = PeopleApi(
        settings,
        sqs=aws.client(settings, "sqs", pool=40),
        long_sqs=aws.client(settings, "sqs", pool=POLL_THREADS, read_timeout=POLL_SECONDS, attempts=1),
        s3=aws.client(settings, "s3"),
        signer=Signer(settings.people_signing_key),
    )
    return api.part()


def build_api(settings: Settings) -> Starlette:
    """The deployed process `consumidor api`."""
    return web.build_app("consumidor: people", build_verifier(settings), build_part(settings))
