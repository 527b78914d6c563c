"""The client's receiver: who gets which response, what is given back, what is dropped; over an API of a few lines."""

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from consumidor import client as library
from consumidor.client import ApiError, Consumidor
from consumidor.errors import ConsumidorError


class Api:
    """Answers like the people API: a submit queues its response, unless told otherwise."""

    def __init__(self) -> None:
        self.queue: deque[dict[str, Any]] = deque()
        self.acknowledged: list[str] = []
        self.released: list[str] = []
        self.refusals: deque[tuple[int, dict[str, str]]] = deque()
        self.answering = True
        self.keys: list[str] = []
        self.unsent: deque[set[int]] = deque()
        self.posted: list[float] = []
        self.calls: list[tuple[str, float]] = []  # each with its time
        self._arrived = threading.Condition()

    def put(self, request_id: str, **members: Any) -> None:
        """Let a response arrive."""
        with self._arrived:
            self.queue.append({"request_id": request_id, "status": "not_found", "receipt": uuid.uuid4().hex, **members})
            self._arrived.notify_all()

    def request(self, _: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """What urllib3 would bring back."""
        self.calls.append((url.rpartition("/")[2].partition("?")[0], time.monotonic()))
        if self.refusals and "/responses?" in url:
            return Answer(*self.refusals.popleft(), {"title": "refused", "detail": "for the test"})
        sent = json.loads(body) if body else {}
        if url.endswith("/requests"):
            self.keys.append((headers or {})["idempotency-key"])
            if "requests" in sent:
                return Answer(202, {}, {"requests": [self._accept(number) for number in range(len(sent["requests"]))]})
            request_id = str(uuid.uuid4())
            if self.answering:
                self.put(request_id)
                time.sleep(0.05)  # the response is there before the submit returns
            return Answer(202, {}, {"request_id": request_id})
        if url.endswith(("/ack", "/release")):
            (self.acknowledged if url.endswith("/ack") else self.released).extend(sent["receipts"])
            return Answer(200, {}, {"receipts": []})
        with self._arrived:
            self._arrived.wait_for(lambda: self.queue, 0.3)
            taken = [self.queue.popleft() for _ in range(min(10, len(self.queue)))]
        return Answer(200, {}, {"responses": taken})

    def _accept(self, number: int) -> dict[str, Any]:
        """One of several inquiries: answered, or among those that this call cannot send."""
        if number == 0:
            self.posted.append(time.monotonic())
        if len(self.posted) <= len(self.unsent) and number in self.unsent[len(self.posted) - 1]:
            return {"error": {"title": "Service unavailable", "detail": "sqs is not answering"}}
        request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.keys[-1]} {number}"))
        self.put(request_id)
        return {"request_id": request_id}


class Answer:
    """Status, headers and JSON."""

    def __init__(self, status: int, headers: dict[str, str], content: object) -> None:
        self.status, self.headers, self.data = status, headers, json.dumps(content).encode()


@pytest.fixture
def api() -> Api:
    """A new API."""
    return Api()


@pytest.fixture
def client(api: Api, monkeypatch: pytest.MonkeyPatch) -> Consumidor:
    """The client over it, with short waits."""
    monkeypatch.setattr(library, "UNCLAIMED_SECONDS", 0.2)
    monkeypatch.setattr(library, "RESEND_SECONDS", 0.3)
    made = Consumidor("http://api.test", lambda: "token")
    monkeypatch.setattr(made, "_pool", api)
    return made


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that must come about in time."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.01)


def test_a_response_that_is_quicker_than_its_submit(api: Api, client: Consumidor) -> None:
    """A response that arrives before the submit has returned is kept for it, and acknowledged in the end."""
    client.submit("x", "credit").result(5)
    assert client.ask("x", "credit", 5).status == "not_found"
    client.close()
    assert (len(api.acknowledged), api.released) == (2, [])


def test_what_nobody_here_waits_for_is_given_back(api: Api, client: Consumidor) -> None:
    """Another process's response is released, and our own still arrives."""
    api.put("another's")
    assert client.ask("x", "credit", 5).status == "not_found"
    client.close()
    assert (len(api.acknowledged), len(api.released)) == (1, 1)


def test_given_back_is_not_polled_for_in_step(api: Api, client: Consumidor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll after a release comes after a pause that varies, or two processes might take each other's responses again and again."""
    monkeypatch.setattr(library, "APART_SECONDS", 0.2)
    api.answering = False
    client.submit("x", "credit")
    others: list[str] = []
    for _ in range(12):
        others.append(str(uuid.uuid4()))
        api.put(others[-1])
        until(lambda: len(api.released) == len(others))
    client.close()
    pauses = [after - at for (call, at), (_, after) in pairwise(api.calls) if call == "release"]
    assert max(pauses) - min(pauses) > 0.04


def test_repeats_are_dropped(api: Api, client: Consumidor) -> None:
    """The same answer again is acknowledged and handed to nobody."""
    api.answering = False
    first = client.submit("x", "credit")
    api.put(first.request_id)
    first.result(5)
    second = client.submit("x", "credit")
    api.put(first.request_id)
    api.put(second.request_id)
    second.result(5)
    client.close()
    assert (len(api.acknowledged), api.released) == (3, [])


def test_many_threads_share_one_receiver(api: Api, client: Consumidor) -> None:
    """Each of fifty threads gets the answer to its own request."""
    ids: list[bool] = []

    def ask() -> None:
        pending = client.submit("x", "credit")
        ids.append(pending.result(10).request_id == pending.request_id)

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert ids == [True] * 50
    assert len(set(api.acknowledged)) == 50


def test_a_refused_token_ends_every_wait(api: Api, client: Consumidor) -> None:
    """Who may not receive is told so at once, not after the timeout."""
    api.answering = False
    api.refusals.extend([(401, {})] * 3)
    with pytest.raises(ApiError) as refused:
        client.ask("x", "credit", 5)
    assert refused.value.code == 401
    client.close()


def test_busy_and_down_are_waited_out(api: Api, client: Consumidor) -> None:
    """429 and 503 are asked again after Retry-After."""
    api.refusals.extend([(429, {"retry-after": "0"}), (503, {"retry-after": "0"})])
    assert client.ask("x", "credit", 5).status == "not_found"
    client.close()


def test_a_timeout_is_the_callers_to_handle(api: Api, client: Consumidor) -> None:
    """Nothing in time is a TimeoutError; the key of each submit was its own."""
    api.answering = False
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"no response within 0\.1 s to request [0-9a-f-]{36};.* `consumidor people --waiting`"):
            client.ask("x", "credit", 0.1)
    client.close()
    assert len(set(api.keys)) == 2


def test_what_came_too_late_is_taken_later(api: Api, client: Consumidor) -> None:
    """All that lies in the queue, more than one poll brings, to be opened and acknowledged."""
    for number in range(12):
        api.put(str(number), receipt=f"receipt {number}")
    found = client.waiting()
    assert [client.open(one).request_id for one in found] == [str(number) for number in range(12)]
    assert (api.acknowledged, api.released) == ([], [])
    for one in found:
        client.acknowledge_later(one.receipt)
    client.close()
    assert (len(api.acknowledged), api.released, client.waiting()) == (12, [], [])


def test_a_report_that_is_not_whole_is_refused(api: Api, client: Consumidor) -> None:
    """What a link gives must have the promised length and hash; until then it is not acknowledged."""
    api.answering = False
    pending = client.submit("x", "credit")
    api.put(pending.request_id, status="found", report_url="http://s3.test/x", sha256="0" * 64, bytes=3, expires_at="")
    with pytest.raises(ConsumidorError, match="not whole"):
        pending.result(5)
    client.close()
    assert api.acknowledged == []


def test_what_the_queue_did_not_take_is_sent_again_after_a_pause(api: Api, client: Consumidor) -> None:
    """Under the same key, after a pause that grows; what was accepted before is answered meanwhile, and a second answer is dropped."""
    api.unsent.extend([{1, 2}, {2}])
    pending = client.submit_many([("x", "credit")] * 3)
    assert [one.result(5).status for one in pending] == ["not_found"] * 3
    assert len(set(api.keys)) == 1
    first, second, third = api.posted
    assert second - first > 0.3
    assert third - second > 0.6
    until(lambda: not api.queue)
    client.close()
    assert (len(api.acknowledged), api.released) == (6, [])


def test_a_client_that_is_closed_sends_nothing_again(api: Api, client: Consumidor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause ends at once, and what was accepted stays in the queue for whoever asks next."""
    monkeypatch.setattr(library, "RESEND_SECONDS", 60.0)
    api.unsent.append({1})
    threading.Timer(0.5, client.close).start()
    started = time.monotonic()
    with pytest.raises(ApiError, match="sqs is not answering"):
        client.submit_many([("x", "credit")] * 2)
    assert time.monotonic() - started < 5
    assert (len(api.posted), api.acknowledged, client._pending) == (1, [], {})


def test_what_could_not_all_be_sent_is_forgotten(api: Api, client: Consumidor, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all attempts the caller is told, and responses to what was accepted are given back when they come again."""
    monkeypatch.setattr(library, "RESEND_SECONDS", 0.01)
    api.unsent.extend([{1}] * library.ATTEMPTS)
    with pytest.raises(ApiError, match="sqs is not answering"):
        client.submit_many([("x", "credit")] * 2)
    assert len(api.posted) == library.ATTEMPTS
    api.queue.clear()
    api.put(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{api.keys[-1]} 0")), receipt="again")
    assert client.ask("x", "credit", 5).status == "not_found"
    client.close()
    assert "again" in api.released
    assert "again" not in api.acknowledged
