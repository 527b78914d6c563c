"""The Python client people copy: one object for the three paths, safe to share between threads.

    client = Consumidor("https://api.example", TokenSource("https://issuer.example/oauth2/token", client_id, client_secret))
    answer = client.ask("465.092.081-72", "credit")      # people: asks, waits for the response, acknowledges it
    pending = [client.submit(cpf, "credit") for cpf in cpfs]; answers = [one.result(30) for one in pending]
    client.score("465.092.081-72"); client.latest("465.092.081-72"); list(client.events("465.092.081-72"))

One receiver thread takes responses from the client's queue and hands each to whoever waits for its request id; one that nobody
in this process waits for is given back, so that several processes can share a queue; each such turn costs the response 5 to 7 s.
"""

import random
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from hashlib import sha256
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from consumidor.errors import ConsumidorError, DependencyDown
from consumidor.people.model import Deliveries, Delivery, Report, ResponseError

POLL_SECONDS = 10  # one long poll; well under the 30 s after which an unacknowledged response comes again
UNCLAIMED_SECONDS = 3.0  # how long a response may wait here for a submit under way, which may be about to name it
APART_SECONDS = 0.5  # at most, after giving back: pollers in step with the queue would each get the other's responses again and again
WAITING = 100  # responses to earlier requests that one call looks for: well within the 30 s above
REMEMBERED = 100_000  # answered request ids, to drop repeats
ATTEMPTS = 5  # of a call that answers 429 or 503, pausing as Retry-After says
RESEND_SECONDS = 1.0  # before what the queue did not take is sent again; doubles each time
CALL_SECONDS = urllib3.Timeout(connect=5, read=40)


class ApiError(ConsumidorError):
    """The API refused; `code` is the HTTP status, `problem` its problem+json document."""

    title = "The API refused"

    def __init__(self, code: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{code} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.code, self.problem = code, problem


class Answer(msgspec.Struct, frozen=True):
    """What came back for one request: `found` with a report, `not_found`, or `failed` with an error."""

    request_id: str
    status: str
    report: Report | None = None
    error: ResponseError | None = None
    link_bytes: int | None = None  # of a report that came by link


class TokenSource:
    """Client-credentials tokens, kept until a minute before they end. Calling it gives a token."""

    def __init__(self, token_url: str, client_id: str, client_secret: str, scopes: Sequence[str] = ()) -> None:
        self._url, self._form = token_url, {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        if scopes:
            self._form["scope"] = " ".join(scopes)
        self._pool = urllib3.PoolManager(timeout=CALL_SECONDS)
        self._token, self._until = "", 0.0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """A token that is good for at least another minute.

        Raises:
            ApiError: the issuer refuses.
            DependencyDown: it does not answer.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                answer = _request(self._pool, "issuer", "POST", self._url, fields=self._form, encode_multipart=False)
                document = _json(answer.data)
                if answer.status != 200:
                    raise ApiError(answer.status, {"title": "Token refused", "detail": str(document.get("error", ""))})
                self._token, self._until = document["access_token"], time.monotonic() + document["expires_in"] - 60
            return self._token


class Pending:
    """A submitted request: its id, and its answer when it comes."""

    def __init__(self, client: "Consumidor", request_id: str) -> None:
        self.request_id = request_id
        self.future: Future[Delivery] = Future()
        self._client = client

    def result(self, timeout: float | None = None) -> Answer:
        """Wait for the answer, fetch and check its report, acknowledge it.

        Raises:
            TimeoutError: nothing came in `timeout` seconds; ask again later, or let it be: it stays in the client's queue for a day.
            ConsumidorError: the report behind a link could not be fetched, or is not the one that was promised; ask again later.
        """
        try:
            delivery = self.future.result(timeout)
        except TimeoutError:
            said = f"no response within {timeout:g} s to request {self.request_id}; it will be in the client's queue for a day"
            raise TimeoutError(f"{said}: `consumidor people --waiting` takes it from there") from None
        try:
            answer = self._client.open(delivery)
        except ConsumidorError:
            self._client.expect_again(self)
            raise
        self._client.acknowledge_later(delivery.receipt)
        return answer


class Consumidor:
    """A connection to the bureau at `api` (without `/v1`); `token` is called for each request's bearer token."""

    def __init__(self, api: str, token: Callable[[], str], pool_size: int = 32) -> None:
        self._api, self._token = api.rstrip("/"), token
        self.server_timing = ""  # the header `Server-Timing` of the last answer: what the service itself took of the time
        self._pool = urllib3.PoolManager(maxsize=pool_size, timeout=CALL_SECONDS, retries=False)
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}
        self._unclaimed: dict[str, tuple[Delivery, float]] = {}
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._receipts: list[str] = []
        self._submitting = 0
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._receiver: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop receiving; acknowledge what was taken and give back what was not."""
        self._closed.set()
        self._waiting.set()
        if self._receiver:
            self._receiver.join()
        self._acknowledge(everything=True)
        self._give_back(older_than=0.0)

    # people

    def ask(self, cpf: str, purpose: str, timeout: float = 60.0) -> Answer:
        """Submit one inquiry and wait for its answer; raises as `submit` and `Pending.result`."""
        return self.submit(cpf, purpose).result(timeout)

    def submit(self, cpf: str, purpose: str, idempotency_key: str | None = None) -> Pending:
        """Ask about one person; raises ApiError where the API refuses."""
        with self._submit_under_way():
            accepted = self._post_requests({"cpf": cpf, "purpose": purpose}, idempotency_key)
            return self._expect(accepted["request_id"])

    def submit_many(self, inquiries: Sequence[tuple[str, str]], idempotency_key: str | None = None) -> list[Pending]:
        """Ask about up to 100 people `(cpf, purpose)` in one call; one whose sending failed is sent again under the same key.

        Raises:
            ApiError: the API refuses, or some could not be sent after all attempts; what was accepted is answered to the client's queue.
        """
        key = idempotency_key or str(uuid.uuid4())
        body = {"requests": [{"cpf": cpf, "purpose": purpose} for cpf, purpose in inquiries]}
        expected: dict[int, Pending] = {}
        try:
            with self._submit_under_way():
                for attempt in range(ATTEMPTS):
                    accepted = self._post_requests(body, key)["requests"]
                    for number, one in enumerate(accepted):  # at once: the first may be answered while the last is sent again
                        if "request_id" in one and number not in expected:
                            expected[number] = self._expect(one["request_id"])
                    if len(expected) == len(accepted):
                        return [expected[number] for number in range(len(accepted))]
                    if attempt == ATTEMPTS - 1 or self._closed.wait(RESEND_SECONDS * 2**attempt):
                        break
            raise ApiError(503, next(one["error"] for number, one in enumerate(accepted) if number not in expected))
        except ConsumidorError:
            self._forget(expected.values())
            raise

    def open(self, delivery: Delivery) -> Answer:
        """The answer in a delivery; a report behind a link is fetched and checked by length and SHA-256.

        Raises:
            ConsumidorError: what the link gives is not what was promised.
            DependencyDown: nobody answers there.
        """
        raw: bytes | msgspec.Raw = delivery.report
        if delivery.report_url:
            fetched = _request(self._pool, "the link", "GET", delivery.report_url)
            raw = fetched.data
            if fetched.status != 200 or len(raw) != delivery.bytes or sha256(raw).hexdigest() != delivery.sha256:
                raise ConsumidorError(f"the report behind the link is not whole (status {fetched.status}); it comes again")
        report = msgspec.json.decode(raw, type=Report) if delivery.status == "found" else None
        return Answer(delivery.request_id, delivery.status, report, delivery.error, delivery.bytes if delivery.report_url else None)

    def waiting(self) -> list[Delivery]:
        """Responses to earlier requests that lie in the client's queue, a hundred or so at most, each to be opened and acknowledged.

        Whoever asks anew with this object takes them too, so use one or the other.
        """
        found: list[Delivery] = []
        while len(found) < WAITING:
            polled = msgspec.json.decode(self._exchange("GET", "/v1/people/responses?wait=1"), type=Deliveries).responses
            if not polled:
                break
            found += polled
        return found

    def expect_again(self, pending: Pending) -> None:
        """Wait anew for a response that was not acknowledged: it comes again, with a new link."""
        with self._lock:
            self._answered.pop(pending.request_id, None)
            pending.future = Future()
            self._pending[pending.request_id] = pending
        self._waiting.set()

    def acknowledge_later(self, receipt: str) -> None:
        """Let a response be deleted from the queue soon, ten at a time."""
        with self._lock:
            self._receipts.append(receipt)
        self._acknowledge()

    # score and events

    def score(self, cpf: str, language: str = "en") -> dict[str, Any]:
        """The credit score with its reasons, in `en` or `pt`."""
        return self._call("GET", f"/v1/score/{quote(cpf, safe='')}", headers={"accept-language": language})

    def profile(self, cpf: str) -> dict[str, Any]:
        """Age, assets, address and income, as Base B has them."""
        return self._call("GET", f"/v1/score/{quote(cpf, safe='')}/profile")

    def latest(self, cpf: str) -> dict[str, Any]:
        """The latest event of each kind, or None."""
        return self._call("GET", f"/v1/events/latest?{urlencode({'cpf': cpf})}")

    def events(self, cpf: str, **filters: str | int) -> Iterator[dict[str, Any]]:
        """All events, newest first, page by page; `kind`, `since`, `until`, `limit` (a page's length) as in the API."""
        query: dict[str, str | int] = {"cpf": cpf, **filters}
        while True:
            page = self._call("GET", f"/v1/events?{urlencode(query)}")
            yield from page["events"]
            if not page["next"]:
                return
            query["cursor"] = page["next"]

    # how it is done

    @contextmanager
    def _submit_under_way(self) -> Iterator[None]:
        """While it lasts, a response that nobody waits for may be this one's: its id is known only when the call returns."""
        with self._lock:
            self._submitting += 1
        try:
            yield
        finally:
            with self._lock:
                self._submitting -= 1

    def _post_requests(self, body: dict[str, Any], key: str | None) -> dict[str, Any]:
        return self._call("POST", "/v1/people/requests", body, {"idempotency-key": key or str(uuid.uuid4())})

    def _call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        return _json(self._exchange(method, path, body, headers))

    def _exchange(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> bytes:
        sent = msgspec.json.encode(body) if body is not None else None
        for attempt in range(ATTEMPTS):
            given = {"authorization": f"Bearer {self._token()}", "content-type": "application/json", **(headers or {})}
            answer = _request(self._pool, "the API", method, self._api + path, body=sent, headers=given)
            if answer.status not in (429, 503) or attempt == ATTEMPTS - 1 or self._closed.is_set():
                break
            self._closed.wait(float(answer.headers.get("retry-after", 1)))
        if answer.status >= 400:
            raise ApiError(answer.status, _json(answer.data))
        self.server_timing = answer.headers.get("server-timing", "")
        return answer.data

    def _expect(self, request_id: str) -> Pending:
        with self._lock:
            pending = self._pending.get(request_id) or Pending(self, request_id)
            early = self._unclaimed.pop(request_id, None)
            if early:
                self._hand_out(pending, early[0])
            else:
                self._pending[request_id] = pending
                self._answered.pop(request_id, None)  # asked again under the same key: it will be answered again
            if self._receiver is None:
                self._receiver = threading.Thread(target=self._receive, name="responses", daemon=True)
                self._receiver.start()
        self._waiting.set()
        return pending

    def _forget(self, expected: Iterable[Pending]) -> None:
        """Wait for these no more: their responses are nobody's here, and those that came already come again, since nobody acknowledges."""
        with self._lock:
            for pending in expected:
                self._pending.pop(pending.request_id, None)
                self._answered.pop(pending.request_id, None)

    def _receive(self) -> None:
        while not self._closed.is_set():
            self._waiting.wait()
            if self._closed.is_set():
                return
            try:
                polled = self._exchange("GET", f"/v1/people/responses?wait={1 if self._unclaimed else POLL_SECONDS}")
                for delivery in msgspec.json.decode(polled, type=Deliveries).responses:
                    self._take(delivery)
                gave_back = self._give_back(UNCLAIMED_SECONDS if self._submitting else 0.0)
                self._acknowledge(everything=True)
                if gave_back:
                    self._closed.wait(random.uniform(0.0, APART_SECONDS))  # noqa: S311 - jitter
            except (ConsumidorError, msgspec.DecodeError) as error:
                self._fail(error)
            with self._lock:
                if not self._pending and not self._unclaimed and not self._closed.is_set():
                    self._waiting.clear()

    def _take(self, delivery: Delivery) -> None:
        with self._lock:
            pending = self._pending.pop(delivery.request_id, None)
            if pending:
                self._hand_out(pending, delivery)
            elif delivery.request_id in self._answered:
                self._receipts.append(delivery.receipt)  # a repeat: dropped
            else:
                self._unclaimed[delivery.request_id] = (delivery, time.monotonic())

    def _hand_out(self, pending: Pending, delivery: Delivery) -> None:
        self._answered[delivery.request_id] = None
        if len(self._answered) > REMEMBERED:
            self._answered.popitem(last=False)
        pending.future.set_result(delivery)

    def _fail(self, error: Exception) -> None:
        """A refusal ends every wait with it; a server that is down is asked again."""
        if isinstance(error, ApiError) and error.code in (401, 403):
            with self._lock:
                failed, self._pending = list(self._pending.values()), {}
            for pending in failed:
                pending.future.set_exception(error)
        else:
            self._closed.wait(1.0)

    def _give_back(self, older_than: float) -> bool:
        """Whether there was anything to give back."""
        with self._lock:
            limit = time.monotonic() - older_than
            old = [request_id for request_id, (_, since) in self._unclaimed.items() if since <= limit]
            receipts = [self._unclaimed.pop(request_id)[0].receipt for request_id in old]
        with suppress(ConsumidorError):  # then they come again a little later
            for start in range(0, len(receipts), 10):
                self._call("POST", "/v1/people/responses/release", {"receipts": receipts[start : start + 10]})
        return bool(receipts)

    def _acknowledge(self, *, everything: bool = False) -> None:
        while True:
            with self._lock:
                if not self._receipts or (len(self._receipts) < 10 and not everything):
                    return
                receipts, self._receipts = self._receipts[:10], self._receipts[10:]
            try:
                self._call("POST", "/v1/people/responses/ack", {"receipts": receipts})
            except ConsumidorError:
                return  # they come again, and are then known as repeats


def _request(pool: urllib3.PoolManager, whom: str, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
    """One HTTP call; DependencyDown names who does not answer."""
    try:
        return pool.request(method, url, **options)
    except urllib3.exceptions.HTTPError as error:
        raise DependencyDown(whom) from error


def _json(data: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(data)
    except msgspec.DecodeError:
        document = None
    return document if isinstance(document, dict) else {"detail": "the answer is not a JSON object"}
