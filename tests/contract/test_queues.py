"""The queue helpers over the double, an in-process AWS (moto) and a real one (ministack): one contract for all three."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import boto3
import pytest
from moto import mock_aws

from consumidor import packing, queues
from consumidor.errors import NoSuchQueue
from consumidor.queues import Outgoing
from tests.queue_double import FakeSqs
from tests.servers.aws import AwsServer


class Queue(NamedTuple):
    """A client, a queue of this test's own, and how to let time pass."""

    sqs: Any
    url: str
    sleep: Callable[[float], object]


@pytest.fixture(params=["double", "moto", "ministack"])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """An empty queue."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    if request.param == "double":
        double = FakeSqs(time.time())
        yield Queue(double, f"http://queue.test/{name}", lambda seconds: setattr(double, "now", double.now + seconds))
    elif request.param == "ministack":
        server: AwsServer = request.getfixturevalue("ministack")
        yield Queue(server.client("sqs"), server.queue(name), time.sleep)
    else:
        with mock_aws():
            session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="sa-east-1")
            sqs = session.client("sqs")
            yield Queue(sqs, sqs.create_queue(QueueName=name)["QueueUrl"], time.sleep)


def test_what_is_sent_is_received_with_its_attributes(queue: Queue) -> None:
    """Twenty-five messages in three calls: all arrive, ten at most at a time, with attributes, a count and a time."""
    sent = [Outgoing(f"body {number}", {"traceparent": f"trace {number}"}) for number in range(25)]
    assert queues.send(queue.sqs, queue.url, sent) == [None] * 25
    assert queues.backlog(queue.sqs, queue.url) == 25
    received: list[queues.Received] = []
    while batch := queues.receive(queue.sqs, queue.url):
        assert len(batch) <= packing.BATCH
        received += batch
    assert {(one.body, one.attributes["traceparent"]) for one in received} == {(one.body, one.attributes["traceparent"]) for one in sent}
    assert {one.receive_count for one in received} == {1}
    assert all(abs(one.sent_at - time.time()) < 60 for one in received)


def test_a_message_in_hand_is_seen_by_nobody_else_and_comes_again(queue: Queue) -> None:
    """Until its visibility ends it is nobody's but the receiver's; then it is received again, and counted."""
    queues.send_all(queue.sqs, queue.url, [Outgoing("x")])
    (first,) = queues.receive(queue.sqs, queue.url, visibility=2)
    assert queues.receive(queue.sqs, queue.url) == []
    queue.sleep(2.2)
    (again,) = queues.receive(queue.sqs, queue.url, visibility=2)
    assert (again.body, again.receive_count) == ("x", 2)
    assert again.receipt != first.receipt


def test_visibility_is_extended_and_given_back(queue: Queue) -> None:
    """Extended, a message stays in hand beyond its first visibility; with none left it is there at once."""
    queues.send_all(queue.sqs, queue.url, [Outgoing("x")])
    (held,) = queues.receive(queue.sqs, queue.url, visibility=1)
    assert queues.change_visibility(queue.sqs, queue.url, {held.receipt: 30}) == [True]
    queue.sleep(1.2)
    assert queues.receive(queue.sqs, queue.url) == []
    assert queues.change_visibility(queue.sqs, queue.url, {held.receipt: 0}) == [True]
    assert [one.body for one in queues.receive(queue.sqs, queue.url)] == ["x"]


def test_what_is_deleted_is_gone_and_what_is_unknown_is_said_so(queue: Queue) -> None:
    """Deleting tells known receipts from made-up ones, and takes nothing else along."""
    queues.send_all(queue.sqs, queue.url, [Outgoing("x"), Outgoing("y")])
    (held,) = queues.receive(queue.sqs, queue.url, limit=1, visibility=1)
    assert queues.delete(queue.sqs, queue.url, [held.receipt, "made-up"]) == [True, False]
    queue.sleep(1.2)
    assert [one.body for one in queues.receive(queue.sqs, queue.url)] == [{"x": "y", "y": "x"}[held.body]]


def test_a_queue_that_is_gone_is_told_from_one_that_does_not_answer(queue: Queue) -> None:
    """Every call says so by the same error, and a batch by an entry for each of its messages."""
    queue.sqs.delete_queue(QueueUrl=queue.url)
    assert [type(failed) for failed in queues.send(queue.sqs, queue.url, [Outgoing("x")] * 11)] == [NoSuchQueue] * 11
    calls: list[Callable[[], object]] = [
        lambda: queues.receive(queue.sqs, queue.url),
        lambda: queues.delete(queue.sqs, queue.url, ["made-up"]),
        lambda: queues.change_visibility(queue.sqs, queue.url, {"made-up": 0}),
    ]
    for call in calls:
        with pytest.raises(NoSuchQueue):
            call()
    assert queues.backlog(queue.sqs, queue.url) is None
