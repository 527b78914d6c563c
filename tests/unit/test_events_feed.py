"""The feed handler over a Base C in memory: what becomes of each event and each message."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest

from consumidor.errors import DependencyDown, SettingsError
from consumidor.events import feed
from consumidor.events.dead_letters import DeadLetters, Letter, is_fingerprint
from consumidor.events.feed import build_feed
from tests.events_doubles import ELDER, OURS, OUTSIDER, MemoryBaseC, batch, inquiry, message, person_of, settings, wire

DONE: dict[str, Any] = {"batchItemFailures": []}


class Fed:
    """A feed with its base and its dead letters."""

    def __init__(self) -> None:
        self.base_c = MemoryBaseC()
        self.dead: list[tuple[str, Any]] = []
        self.senders: set[str] = set()
        self.dead_letters_down = False
        self.unwanted: set[str] = set()
        self.handler = build_feed(settings("feed"), self.base_c, self.bury)

    def bury(self, letters: Sequence[Letter]) -> list[bool]:
        """Take dead letters, all but those that name what is in `unwanted`."""
        taken = [not self.dead_letters_down and not any(word in letter.body for word in self.unwanted) for letter in letters]
        kept = [letter for letter, is_taken in zip(letters, taken, strict=True) if is_taken]
        self.dead += [(letter.reason, json.loads(letter.body)) for letter in kept]
        self.senders |= {letter.sender for letter in kept}
        return taken

    def __call__(self, *bodies: str, **options: Any) -> Any:
        """The handler's answer to one batch."""
        return self.handler(batch(*bodies, **options), None)


@pytest.fixture
def fed() -> Fed:
    """A feed of our own."""
    return Fed()


def test_a_batch_is_one_write(fed: Fed) -> None:
    """All events of all messages go to Base C together."""
    assert fed(message(wire("a"), wire("b")), message(wire("c"), inquiry())) == DONE
    assert (len(fed.base_c.events), fed.base_c.writes, fed.dead) == (4, 1, [])


def test_a_poison_item_takes_nobody_along(fed: Fed) -> None:
    """Of ten messages with one refused event, all others are stored and the dead one alone is a dead letter, without its CPF."""
    fed.base_c.poison = {"e4"}
    assert fed(*(message(wire(f"e{number}")) for number in range(10))) == DONE
    assert len(fed.base_c.events) == 9
    [(reason, kept)] = fed.dead
    assert reason == "InvalidInput"
    assert kept == {"version": 1, "events": [wire("e4", cpf=None) | {"person": person_of(ELDER)}]}


def test_a_dead_letter_can_be_sent_again(fed: Fed) -> None:
    """What was refused for a passing reason is, as a dead letter, a good message."""
    fed.base_c.poison = {"e1"}
    fed(message(wire()))
    fed.base_c.poison = set()
    assert fed(json.dumps(fed.dead[0][1])) == DONE
    assert list(fed.base_c.events) == [f"{person_of(ELDER)}:e1"]


def test_only_retryable_messages_are_retried(fed: Fed) -> None:
    """A message is a failure while any event of it is retryable; its dead events wait, so that each is one dead letter in the end."""
    fed.base_c.busy = {"later"}
    assert fed(message(wire("now")), message(wire("later"), wire("broken", kind="x"))) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert fed.dead == []
    fed.base_c.busy = set()
    assert fed(message(wire("later"), wire("broken", kind="x"))) == DONE
    assert [reason for reason, _ in fed.dead] == ["InvalidInput"]
    assert len(fed.base_c.events) == 2


def test_when_nothing_can_be_done_the_poller_slows_down(fed: Fed) -> None:
    """With Base C down the handler fails as a whole, which makes the queue's poller back off."""
    fed.base_c.down = True
    with pytest.raises(DependencyDown):
        fed(message(wire("a")), message(wire("b")))


def test_with_base_c_down_dead_messages_still_leave(fed: Fed) -> None:
    """A message that no Base C could save is done with while the others wait."""
    fed.base_c.down = True
    assert fed(message(wire("a")), "junk") == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert [reason for reason, _ in fed.dead] == ["MalformedMessage"]


def test_a_dead_letter_that_cannot_be_sent_is_not_lost(fed: Fed) -> None:
    """While the dead-letter queue is down the message stays where it is."""
    fed.dead_letters_down = True
    assert fed(message(wire("a")), message(wire("b", kind="x"))) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}


def test_one_dead_letter_that_is_not_taken(fed: Fed) -> None:
    """Where some dead letters are not taken, the messages that they are of come again, and no others."""
    fed.unwanted = {"b2"}
    bodies = message(wire("a", kind="x")), message(wire("b1", kind="x"), wire("b2", kind="x")), message(wire("c", kind="x"))
    assert fed(*bodies) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert [letter["events"][0]["event_id"] for _, letter in fed.dead] == ["a", "b1", "c"]


def test_a_dead_letter_names_its_sender(fed: Fed) -> None:
    """Who sent an event goes with its dead letter, as SQS names them and whatever the message says of itself."""
    given = batch(message(wire(kind="x")), "junk", sender=f"{OUTSIDER}:session")
    for record in given["Records"]:
        record["messageAttributes"] = {"sender": {"stringValue": OURS, "dataType": "String"}}
    assert fed.handler(given, None) == DONE
    assert fed.senders == {OUTSIDER}
    fed("junk", sender="")
    assert fed.senders == {OUTSIDER, "unknown"}


@pytest.mark.parametrize("sender", [OUTSIDER, f"{OUTSIDER}:111111111111", "", "1111111111110"])
def test_an_outsider_reports_no_inquiry(fed: Fed, sender: str) -> None:
    """A bureau inquiry counts only from our own senders; an outsider's other events are as good as anyone's."""
    assert fed(message(inquiry(), wire()), sender=sender) == DONE
    assert [event.kind for event in fed.base_c.events.values()] == ["card_purchase"]
    assert [reason for reason, _ in fed.dead] == ["UntrustedSender"]
    fed(message(inquiry(institution="")), sender=sender)
    assert [reason for reason, _ in fed.dead] == ["UntrustedSender"] * 2


@pytest.mark.parametrize(
    "body",
    [
        "465.092.081-72",
        '{"version": 1, "cpf": "46509208172"}',
        "\ud800",
        '{"version":1,"events":["46509208172"',
        message(*(wire(f"e{number}") for number in range(101))),
        '{"version":1,"events":[' + "0," * 500_000 + "0]}",
    ],
)
def test_of_what_cannot_be_parsed_only_a_fingerprint_is_kept(fed: Fed, body: str) -> None:
    """Nobody knows what an unreadable message holds, or an overfull one, so its reason, hash and length are kept, in one dead letter."""
    fed(body)
    raw = body.encode(errors="surrogatepass")
    assert fed.dead == [("MalformedMessage", {"reason": "MalformedMessage", "sha256": sha256(raw).hexdigest(), "length": len(raw)})]


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        ("46509208172", None),
        (wire(kind="x"), wire(kind="x", cpf=None) | {"person": person_of(ELDER)}),
        (wire(cpf="465.092.081-73"), wire(cpf=None)),
        (wire(cpf=None, person="46509208172"), wire(cpf=None)),
        (wire(kind="x", CPF="46509208172"), wire(kind="x", cpf=None) | {"person": person_of(ELDER)}),
        (
            wire(kind="x", cpf=None, details={"holder": {"cpf": ELDER}}),
            wire(kind="x", cpf=None, details={"holder": {"person": person_of(ELDER)}}),
        ),
    ],
)
def test_no_dead_letter_holds_a_cpf(fed: Fed, event: Any, kept: Any) -> None:
    """A refused event keeps everything but the CPF, wherever it was, in place of which stands the pseudonym."""
    fed(message(event))
    [(_, letter)] = fed.dead
    assert "4650920817" not in json.dumps(letter).replace(".", "").replace("-", "")
    assert letter.get("events") == (None if kept is None else [kept])


def test_an_unknown_version_is_kept_for_a_later_one(fed: Fed) -> None:
    """A message of a version to come is a dead letter as a whole, without its CPFs, fit to be sent again after the upgrade."""
    fed(message({"cpf": ELDER, "amount": {"minor": 1}}, version=2))
    assert fed.dead == [("UnknownVersion", {"version": 2, "events": [{"amount": {"minor": 1}, "person": person_of(ELDER)}]})]


@pytest.mark.parametrize("version", ["2.5", "null", '"1"'])
def test_a_version_that_is_none_is_kept_too(fed: Fed, version: str) -> None:
    """Whatever stands in the place of the version, the message is kept without its CPFs."""
    fed(f'{{"version": {version}, "cpf": "{ELDER}"}}')
    assert fed.dead == [("UnknownVersion", {"version": json.loads(version), "person": person_of(ELDER)})]


def test_more_events_than_a_message_holds(fed: Fed) -> None:
    """An overfull message is one dead letter, and none of its events is stored."""
    body = message(*(wire(f"e{number}") for number in range(101)))
    assert fed(body, message(wire("good"))) == DONE
    digest = sha256(body.encode()).hexdigest()
    assert fed.dead == [("MalformedMessage", {"reason": "MalformedMessage", "sha256": digest, "length": len(body)})]
    assert list(fed.base_c.events) == [f"{person_of(ELDER)}:good"]


@pytest.mark.parametrize("count", [10, 45_000])
def test_pseudonyms_are_longer_than_cpfs(fed: Fed, count: int) -> None:
    """A dead message that has outgrown the queue, with pseudonyms in the place of its CPFs, leaves its reason, hash and length."""
    body = message(*[{"cpf": ELDER}] * count, version=2).replace(" ", "")
    assert len(body) < 1024 * 1024
    fed(body)
    [(reason, letter)] = fed.dead
    assert reason == "UnknownVersion"
    assert letter.keys() == ({"version", "events"} if count == 10 else {"reason", "sha256", "length"})
    assert is_fingerprint(json.dumps(letter)) == (count > 10)


class Queue:
    """Takes batches as SQS does, less the entries named in `refused`; fails whole once it has taken `calls` of them."""

    def __init__(self, refused: Sequence[str] = (), calls: int = 1000) -> None:
        self.refused, self.calls = refused, calls
        self.batches: list[list[dict[str, Any]]] = []

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's names
        """As SQS."""
        assert QueueUrl == "http://127.0.0.1:1/dlq"
        if len(self.batches) == self.calls:
            raise ConnectionError
        self.batches.append(Entries)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries if entry["MessageBody"] not in self.refused]}


def bodies_of(queue: Queue) -> list[list[str]]:
    """The bodies that were sent, by call."""
    return [[entry["MessageBody"] for entry in entries] for entries in queue.batches]


def test_dead_letters_are_sent_together() -> None:
    """Ten dead letters go in one call, unless they are too large for that; each with its reason and its sender."""
    queue = Queue()
    letters = [Letter(str(number), "InvalidInput", OURS) for number in range(23)]
    assert DeadLetters(settings("feed"), queue)(letters) == [True] * 23
    assert bodies_of(queue) == [[str(number) for number in range(start, min(start + 10, 23))] for start in (0, 10, 20)]
    sent = {name: value["StringValue"] for name, value in queue.batches[0][0]["MessageAttributes"].items()}
    assert sent == {"reason": "InvalidInput", "sender": OURS}
    large, queue = [Letter(letter * 400_000, "x", "y") for letter in "abcde"] + [Letter("é" * 523_000, "x", "y")], Queue()
    assert DeadLetters(settings("feed"), queue)(large) == [True] * 6
    assert [[len(body) for body in bodies] for bodies in bodies_of(queue)] == [[400_000] * 2, [400_000] * 2, [400_000], [523_000]]


def test_what_of_the_dead_letters_is_safe() -> None:
    """The queue's answer is told letter by letter; once it does not answer, the rest is not tried."""
    letters = [Letter(str(number), "InvalidInput", OURS) for number in range(30)]
    refusing, failing = Queue(refused=["3", "17"]), Queue(calls=1)
    assert DeadLetters(settings("feed"), refusing)(letters) == [number not in (3, 17) for number in range(30)]
    assert DeadLetters(settings("feed"), failing)(letters) == [number < 10 for number in range(30)]
    assert len(failing.batches) == 1


def test_nesting_without_end_is_a_dead_letter(fed: Fed) -> None:
    """Neither a deep event nor a deep message stops the feed."""
    for depth in (400, 900, 50_000):
        fed('{"version":1,"events":[{"event_id":"x","kind":1,"details":' + '{"a":' * depth + "1" + "}" * depth + "}]}")
    assert len(fed.dead) == 3


def test_the_handler_is_made_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing needs no settings; asking for `handler`, as the runtime does at its start, names every one that is missing."""
    monkeypatch.delenv("ENVIRONMENT", raising=False)
    with pytest.raises(SettingsError, match=r"ENVIRONMENT.*BASE_C_URL.*EVENTS_FEED_DLQ_URL"):
        _ = feed.handler
