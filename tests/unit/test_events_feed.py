"""The feed handler over a Base C in memory: what becomes of each event and each message."""

import json
from hashlib import sha256
from typing import Any

import pytest

from consumidor.errors import DependencyDown, SettingsError
from consumidor.events import feed
from consumidor.events.feed import build_feed
from tests.events_doubles import ELDER, OUTSIDER, MemoryBaseC, batch, inquiry, message, person_of, settings, wire

DONE: dict[str, Any] = {"batchItemFailures": []}


class Fed:
    """A feed with its base and its dead letters."""

    def __init__(self) -> None:
        self.base_c = MemoryBaseC()
        self.dead: list[tuple[str, Any]] = []
        self.dead_letters_down = False
        self.handler = build_feed(settings("feed"), self.base_c, self.bury)

    def bury(self, body: str, reason: str) -> None:
        """Take one dead letter."""
        if self.dead_letters_down:
            raise ConnectionError
        self.dead.append((reason, json.loads(body)))

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


@pytest.mark.parametrize("sender", [OUTSIDER, f"{OUTSIDER}:111111111111", "", "1111111111110"])
def test_an_outsider_reports_no_inquiry(fed: Fed, sender: str) -> None:
    """A bureau inquiry counts only from our own senders; an outsider's other events are as good as anyone's."""
    assert fed(message(inquiry(), wire()), sender=sender) == DONE
    assert [event.kind for event in fed.base_c.events.values()] == ["card_purchase"]
    assert [reason for reason, _ in fed.dead] == ["UntrustedSender"]


@pytest.mark.parametrize(
    "body", ["465.092.081-72", '{"version": 1, "cpf": "46509208172"}', "\ud800", '{"version":1,"events":["46509208172"']
)
def test_of_what_cannot_be_parsed_only_a_fingerprint_is_kept(fed: Fed, body: str) -> None:
    """Nobody knows what an unreadable message holds, so its reason, hash and length are all that is kept."""
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


def test_more_events_than_a_message_holds(fed: Fed) -> None:
    """The 101 events of an overfull message are refused one by one, and none is lost."""
    fed(message(*(wire(f"e{number}") for number in range(101))))
    assert len(fed.dead) == 101
    assert not fed.base_c.events


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
