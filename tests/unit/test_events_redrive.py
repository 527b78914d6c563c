"""Who sends a dead letter of the feed again, so that no inquiry gains or loses the trust in its sender; and what stays."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from consumidor.errors import DependencyDown
from consumidor.events.dead_letters import fingerprint
from consumidor.local.aws import ACCOUNT, FEED_ACCOUNT, GATEWAY_ACCOUNT, WORKER_ACCOUNT
from consumidor.local.redrive import Letter, Senders, send_back
from consumidor.queues import Outgoing, receive, send_all
from tests.events_doubles import inquiry, message, wire
from tests.queue_double import FakeSqs

TRUSTED = frozenset({WORKER_ACCOUNT, GATEWAY_ACCOUNT})
INQUIRY, PURCHASE, TO_COME = message(inquiry()), message(wire()), message(inquiry(), version=2)


def local_senders() -> Senders:
    """The rules of the local AWS: whoever is trusted can be sent for, everyone else is an outsider. A client is its sender's id."""

    def stand_in(sender: str) -> Any:
        return (sender, sender) if sender in TRUSTED else (ACCOUNT, ACCOUNT)

    return Senders(TRUSTED, FEED_ACCOUNT, stand_in)


def own_senders(me: str, trusted: frozenset[str]) -> Senders:
    """The rules where all is sent with the user's own credentials, by which the feed runs too."""
    client: Any = me
    return Senders(trusted, me, lambda _: (me, client))


def letter(body: str, put_by: str, **attributes: str) -> Letter:
    """A dead letter."""
    return Letter(body, "receipt", attributes, put_by)


def chosen(senders: Senders, one: Letter) -> Any:  # here a client is a text
    """Who sends a letter again."""
    return senders.choose(one)


@pytest.mark.parametrize("body", [INQUIRY, PURCHASE, TO_COME])
@pytest.mark.parametrize(
    ("put_by", "attributes", "sent_by"),
    [
        (FEED_ACCOUNT, {"reason": "UntrustedSender", "sender": WORKER_ACCOUNT}, WORKER_ACCOUNT),
        (FEED_ACCOUNT, {"reason": "InvalidInput", "sender": GATEWAY_ACCOUNT}, GATEWAY_ACCOUNT),
        (FEED_ACCOUNT, {"reason": "UntrustedSender", "sender": ACCOUNT}, ACCOUNT),
        (FEED_ACCOUNT, {"reason": "UntrustedSender", "sender": "unknown"}, ACCOUNT),
        (FEED_ACCOUNT, {"reason": "UntrustedSender"}, ACCOUNT),  # by a feed that did not name senders yet
        (FEED_ACCOUNT, {"reason": "UntrustedSender", "sender": FEED_ACCOUNT}, ACCOUNT),
        (ACCOUNT, {"reason": "UntrustedSender", "sender": WORKER_ACCOUNT}, ACCOUNT),  # forged
        (ACCOUNT, {"sender": WORKER_ACCOUNT}, ACCOUNT),
        (ACCOUNT, {"sender": FEED_ACCOUNT}, ACCOUNT),
        (WORKER_ACCOUNT, {"sender": GATEWAY_ACCOUNT}, ACCOUNT),
        (ACCOUNT, {}, ACCOUNT),  # moved by SQS, which keeps the sender
        (WORKER_ACCOUNT, {}, WORKER_ACCOUNT),
        (WORKER_ACCOUNT, {"traceparent": "00-x"}, WORKER_ACCOUNT),
        ("", {}, ACCOUNT),
    ],
)
def test_who_sends_it_again(body: str, put_by: str, attributes: dict[str, str], sent_by: str) -> None:
    """The first sender's own account, where that is one of ours: in the feed's word or SQS's, and in nobody else's."""
    assert chosen(local_senders(), letter(body, put_by, **attributes)) == sent_by


@pytest.mark.parametrize("trusted", [frozenset({"me"}), frozenset({"me", "them"}), frozenset({"them"}), frozenset({"nobody"})])
@pytest.mark.parametrize("first", ["me", "them", "outsider"])
def test_with_ones_own_credentials(trusted: frozenset[str], first: str) -> None:
    """All is sent by the same user, so an inquiry stays where that would make it count or count no more; other events go."""
    senders = own_senders("me", trusted)
    same = ("me" in trusted) == (first in trusted)
    for each in (letter("", "me", reason="x", sender=first), letter("", first)):
        assert chosen(senders, each._replace(body=PURCHASE)) == "me"
        assert chosen(senders, each._replace(body=message(wire(kind="x"), 7, "bureau_inquiry"))) == "me"
        for body in (INQUIRY, TO_COME, message(wire(), inquiry(institution="")), message({"kind": "bureau_inquiry"})):
            assert chosen(senders, each._replace(body=body)) == ("me" if same else None)


@pytest.mark.parametrize("sender", [WORKER_ACCOUNT, ACCOUNT])
def test_a_fingerprint_stays(sender: str) -> None:
    """A letter without content would only be fingerprinted again."""
    assert chosen(local_senders(), letter(fingerprint(b"junk", "MalformedMessage"), FEED_ACCOUNT, reason="x", sender=sender)) is None


def redriven(sqs: FakeSqs, senders: Mapping[str, FakeSqs | None]) -> dict[str, int]:
    """Send the letters of `dead` to `feed`, each by the client of its body."""
    client: Any = sqs
    choose: Any = lambda one: senders[one.body]  # noqa: E731 - short, and typed as it must be
    return send_back(client, "dead", "feed", choose, lambda _: None)


def test_what_goes_and_what_stays() -> None:
    """Letters go by their own clients, without the feed's attributes; those that stay are there at once, to be listed."""
    ours, theirs = FakeSqs(), FakeSqs()
    attributes = {"reason": "x", "sender": "y", "traceparent": "z"}
    bodies: dict[str, FakeSqs | None] = {str(number): (ours, theirs, None)[number % 3] for number in range(30)}
    send_all(ours, "dead", [Outgoing(body, attributes) for body in bodies])  # type: ignore[arg-type]  # a double
    assert redriven(ours, bodies) == {"redriven": 20, "left": 10}
    for sqs in (ours, theirs):
        assert [one.body for one in sqs.queues["feed"]] == [body for body, client in bodies.items() if client is sqs]
    assert {json.dumps(sorted(one.attributes)) for sqs in (ours, theirs) for one in sqs.queues["feed"]} == {'["traceparent"]'}
    assert len(receive(ours, "dead")) == 10  # type: ignore[arg-type]  # as above


def test_a_queue_that_does_not_take_letters() -> None:
    """What could not be sent stays a dead letter, and it is said."""
    ours = FakeSqs()
    send_all(ours, "dead", [Outgoing("a"), Outgoing("b")])  # type: ignore[arg-type]  # a double

    class Refusing(FakeSqs):
        def send_message_batch(self, **_: object) -> dict[str, Any]:  # type: ignore[override]  # takes nothing
            return {}

    with pytest.raises(DependencyDown):
        redriven(ours, {"a": ours, "b": Refusing()})
    assert [one.body for one in ours.queues["dead"]] == ["b"]
