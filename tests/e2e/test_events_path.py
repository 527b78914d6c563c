"""The events path on real servers: SQS, the mapping, the feed, Elasticsearch and the search handler, in fair weather and foul."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consumidor.events.feed import build_feed
from consumidor.events.index import migrate_base_c
from consumidor.events.model import format_ms, inquiry_event, parse_time
from consumidor.events.producer import pack, publish, publish_file
from consumidor.events.search import build_search
from consumidor.local import aws
from consumidor.local.aws import ACCOUNT, FEED_ACCOUNT, WORKER_ACCOUNT
from consumidor.local.events_feed import SourceMapping
from consumidor.local.redrive import Senders, send_back
from tests import events_doubles as doubles
from tests.events_doubles import message, person_of, somebody, wire
from tests.servers.aws import AwsServer
from tests.servers.elasticsearch import Node, eventually


class EventsPath:
    """One feed queue with its dead letters, the mapping that reads it in a thread, and a search."""

    def __init__(self, ministack: AwsServer, node: Node, name: str) -> None:
        self.node, self.sqs = node, ministack.client("sqs")
        self.ours = ministack.client("sqs", WORKER_ACCOUNT)
        self.queue, self.dead_letters = ministack.queue(name), ministack.queue(f"{name}-dlq")
        self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"VisibilityTimeout": "2"})
        environment = {"AWS_ENDPOINT_URL": ministack.endpoint, "EVENTS_FEED_DLQ_URL": self.dead_letters, "INQUIRY_SENDERS": WORKER_ACCOUNT}
        self._stop = threading.Event()
        mapping = SourceMapping(self.sqs, self.queue, build_feed(doubles.settings("feed", node.url, **environment)))
        self._thread = threading.Thread(target=mapping.run, args=(self._stop,))
        self._search = build_search(doubles.settings("search", node.url))
        self._thread.start()

    def close(self) -> None:
        """Stop the mapping."""
        self._stop.set()
        self._thread.join()

    def get(self, path: str, **parameters: object) -> tuple[int, Any]:
        """Status and JSON of the search handler."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        answer = self._search(doubles.request(path, query), None)
        return answer["statusCode"], json.loads(answer["body"])

    def latest_id(self, cpf: str, kind: str) -> str | None:
        """The id of somebody's latest event of a kind."""
        found = self.get("/v1/events/latest", cpf=cpf)[1].get(kind)
        return found["event_id"] if found else None

    def reasons(self, count: int) -> list[str]:
        """Why each of `count` dead letters is one."""
        reasons: list[str] = []
        deadline = time.monotonic() + 20
        while len(reasons) < count and time.monotonic() < deadline:
            answer = self.sqs.receive_message(
                QueueUrl=self.dead_letters, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
            )
            reasons += [one["MessageAttributes"]["reason"]["StringValue"] for one in answer.get("Messages", [])]
        return reasons


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the feed process has in its environment, for its dead letters."""
    for name, value in aws.credentials("feed").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def path(ministack: AwsServer, base_c: Node, request: pytest.FixtureRequest) -> Iterator[EventsPath]:
    """The path over a queue of the test's own."""
    made = EventsPath(ministack, base_c, f"feed-{abs(hash(request.node.name))}")
    yield made
    made.close()


def test_who_reports_an_inquiry(path: EventsPath) -> None:
    """An inquiry sent by our worker is the latest one; the same sent by an outsider is a dead letter, and its other events count."""
    cpf = somebody()
    ours = inquiry_event("true-1", person_of(cpf), "acme", datetime(2026, 3, 1, tzinfo=UTC), {"purpose": "credit", "path": "people"})
    forged = inquiry_event("forged-1", person_of(cpf), "acme", datetime(2026, 3, 2, tzinfo=UTC), {"purpose": "credit", "path": "people"})
    publish(path.ours, path.queue, [ours])
    publish(path.sqs, path.queue, [forged])
    path.sqs.send_message(QueueUrl=path.queue, MessageBody=message(wire("outside-1", cpf=cpf)))
    assert path.reasons(1) == ["UntrustedSender"]
    eventually(lambda: path.latest_id(cpf, "bureau_inquiry") == "true-1")
    eventually(lambda: path.latest_id(cpf, "card_purchase") == "outside-1")


def test_a_file_of_events(path: EventsPath, tmp_path: Path) -> None:
    """What `events publish` sends is all there, once each, newest first."""
    cpf = somebody()
    file = tmp_path / "events.jsonl"
    times = [format_ms(parse_time("2026-04-01T00:00:00Z") + number) for number in range(230)]
    file.write_text("\n".join(json.dumps(wire(f"file-{number}", cpf=cpf, occurred_at=at)) for number, at in enumerate(times)))
    assert publish_file(file, path.sqs, path.queue) == 230
    eventually(lambda: path.latest_id(cpf, "card_purchase") == "file-229")
    path.node.refresh()
    first = path.get("/v1/events", cpf=cpf, limit=100, since="2026-04-01T00:00:00Z", until="2026-04-02T00:00:00Z")[1]
    assert [event["event_id"] for event in first["events"]] == [f"file-{number}" for number in range(229, 129, -1)]


def test_one_poison_message_in_ten(path: EventsPath) -> None:
    """Nine good messages are stored whatever the tenth is, and the tenth is tried once."""
    cpf = somebody()
    bodies = [message(wire(f"poison-{number}", cpf=cpf, kind="financial_movement")) for number in range(9)]
    entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate([*bodies[:5], '{"version": 1', *bodies[5:]])]
    path.sqs.send_message_batch(QueueUrl=path.queue, Entries=entries)
    assert path.reasons(1) == ["MalformedMessage"]

    def stored() -> bool:
        path.node.refresh()
        return len(path.get("/v1/events", cpf=cpf, kind="financial_movement", limit=100)[1]["events"]) == 9

    eventually(stored)
    assert path.reasons(0) == []


def test_redriven_inquiries(ministack: AwsServer, base_c: Node) -> None:
    """Our true inquiry, dead for a while, counts once it is sent again, also where SQS moved it; what an outsider made dead never does."""
    sqs, ours = ministack.client("sqs"), ministack.client("sqs", WORKER_ACCOUNT)
    queue, dead, cpfs = ministack.queue("feed-redriven"), ministack.queue("feed-redriven-dlq"), [somebody() for _ in range(4)]

    def feed(trusted: str) -> SourceMapping:
        given = {"AWS_ENDPOINT_URL": ministack.endpoint, "EVENTS_FEED_DLQ_URL": dead, "INQUIRY_SENDERS": trusted}
        return SourceMapping(sqs, queue, build_feed(doubles.settings("feed", base_c.url, **given)))

    def stand_in(sender: str) -> Any:
        account = sender if sender == WORKER_ACCOUNT else ACCOUNT
        return account, ministack.client("sqs", account)

    events = [inquiry_event(f"redriven-{cpf}", person_of(cpf), "acme", datetime(2026, 3, 1, tzinfo=UTC), {}) for cpf in cpfs]
    publish(ours, queue, [events[0]])
    move_by_sqs(sqs, queue, dead)
    publish(ours, queue, [events[1]])
    publish(sqs, queue, [events[2]])
    sqs.send_message(QueueUrl=queue, MessageBody="junk")
    assert feed("999999999999").poll() == 3  # all of them dead
    forged = {name: {"DataType": "String", "StringValue": text} for name, text in (("reason", "x"), ("sender", WORKER_ACCOUNT))}
    sqs.send_message(QueueUrl=dead, MessageBody=next(pack([events[3]])), MessageAttributes=forged)
    senders = Senders(frozenset({WORKER_ACCOUNT}), FEED_ACCOUNT, stand_in)
    assert send_back(sqs, dead, queue, senders.choose, lambda _: None) == {"redriven": 4, "left": 1}
    assert feed(WORKER_ACCOUNT).poll() == 4
    search = build_search(doubles.settings("search", base_c.url))
    found = [json.loads(search(doubles.request("/v1/events/latest", f"cpf={cpf}"), None)["body"])["bureau_inquiry"] for cpf in cpfs]
    assert [one and one["event_id"] for one in found] == [events[0].event_id, events[1].event_id, None, None]


def move_by_sqs(sqs: Any, queue: str, dead: str) -> None:
    """Have SQS take what is in a queue for dead, because it was received once too often."""
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for most, received in ((1, 1), (1, 0), (1000, 0)):
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": most})
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy})
        assert len(sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0).get("Messages", [])) == received


def test_base_c_is_away_for_a_while(ministack: AwsServer, tmp_path: Path) -> None:
    """Events that come while Elasticsearch is stopped are there when it is back: none lost, none twice, the latest is the latest."""
    cpf = somebody()
    node = Node(tmp_path)
    node.start()
    try:
        migrate_base_c(node.url)
        path = EventsPath(ministack, node, "feed-outage")
        try:
            for number in range(30):
                if number == 5:
                    node.stop()
                    assert path.get("/v1/events/latest", cpf=cpf)[0] == 503
                at = format_ms(parse_time("2026-05-01T00:00:00Z") + (number * 7) % 30)  # out of order
                path.sqs.send_message(QueueUrl=path.queue, MessageBody=message(wire(f"o{(number * 7) % 30:02}", cpf=cpf, occurred_at=at)))
                time.sleep(0.1 if number > 5 else 0)
            node.start()

            def all_there() -> bool:
                node.refresh()
                return len(path.get("/v1/events", cpf=cpf, limit=100)[1]["events"]) == 30

            eventually(all_there, 60)
            ids = [event["event_id"] for event in path.get("/v1/events", cpf=cpf, limit=100)[1]["events"]]
            assert ids == [f"o{number:02}" for number in range(29, -1, -1)]
            assert path.latest_id(cpf, "card_purchase") == "o29"
        finally:
            path.close()
    finally:
        node.stop()
