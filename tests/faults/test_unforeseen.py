"""What nobody foresaw: answers that are none of the queue's, and errors of no known kind in the worker."""

import threading
import time
from typing import Any

import pytest
from botocore.parsers import ResponseParserError

from consumidor import queues
from consumidor.errors import DependencyDown
from consumidor.people.store import Outcome
from tests.faults.bureau import CPFS, Bureau

URL = "http://queue.test/x"


class Answering:
    """An SQS client that answers everything with the same, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        def call(**_: object) -> Any:
            if isinstance(self._answer, Exception):
                raise self._answer
            return self._answer

        return call


@pytest.mark.parametrize("answer", [{}, {"message": "<html>"}, {"Successful": []}, {"Successful": [{"Id": "7"}]}], ids=str)
def test_only_what_the_queue_names_is_done(answer: Any) -> None:
    """A 200 from something in between, or a list without our entries, sends and deletes nothing."""
    sqs: Any = Answering(answer)
    assert [type(each) for each in queues.send(sqs, URL, [queues.Outgoing("x")])] == [DependencyDown]
    assert queues.delete(sqs, URL, ["receipt"]) == [False]


def test_an_answer_that_cannot_be_parsed_is_a_queue_that_is_down() -> None:
    """As is any other of its failures, so that no thread ends by it."""
    sqs: Any = Answering(ResponseParserError("<html>"))
    assert [type(each) for each in queues.send(sqs, URL, [queues.Outgoing("x")])] == [DependencyDown]
    with pytest.raises(DependencyDown):
        queues.receive(sqs, URL)
    assert queues.backlog(sqs, URL) is None


@pytest.fixture
def bureau(monkeypatch: pytest.MonkeyPatch) -> Bureau:
    """A bureau in memory with one request waiting."""
    bureau = Bureau(monkeypatch)
    bureau.submit("acme", None, [(CPFS[0], "credit")])
    return bureau


@pytest.mark.parametrize("where", ["gather", "round", "ping"])
def test_a_thread_outlives_any_error(bureau: Bureau, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """An error of no known kind where it receives, answers, or asks whether Base A is back: the request is answered yet."""
    worker, errors = bureau.worker(), [ZeroDivisionError("nobody foresaw this")]

    def failing(known: Any) -> Any:
        def call(*arguments: Any) -> Any:
            bureau.sqs.now += 1
            if errors:
                raise errors.pop()
            return known(*arguments)

        return call

    if where == "ping":
        down = [DependencyDown("base_a")]
        known = bureau.store.inquire

        def inquire(batch: Any) -> list[Outcome]:
            bureau.sqs.now += 10
            if down:
                raise down.pop()
            return known(batch)

        monkeypatch.setattr(bureau.store, "inquire", inquire)
        monkeypatch.setitem(worker.checks, "base_a", failing(lambda: None))
    else:
        monkeypatch.setattr(worker, where, failing(getattr(worker, where)))
    thread = threading.Thread(target=worker.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not bureau.waiting("responses-acme") and time.monotonic() < deadline:
        time.sleep(0.05)
        bureau.sqs.now += 1
    worker.stopping.set()
    thread.join()
    assert len(bureau.waiting("responses-acme")) == 1
    assert errors == []
