"""The people path as a state machine: clients, API, queues, workers and store under thousands of schedules of faults.

Submitted, delivered, duplicated, delayed, reordered, crashed at any call, overtaken, redelivered, acknowledged, expired: after every
step nothing accepted may be lost and nobody may have another's response; and at the end everybody has theirs.
"""

import base64
import json
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from consumidor.cpf import punctuate
from consumidor.people.answers import Answer
from consumidor.people.api import Accepted, PeopleApi
from consumidor.people.audit import Link
from consumidor.people.request_token import RefusedRequest
from consumidor.people.worker import Worker
from consumidor.queues import Received
from tests.chaos import MET
from tests.faults.bureau import CLIENTS, CPFS, PERSONS, QUEUE, Bureau
from tests.faults.results import record
from tests.unit.test_request_token import KEY, SigningKey

SCHEDULES = int(os.environ.get("FAULT_SCHEDULES", "60"))  # `make faults`: 5,000
STEPS = 25
STRANGER = SigningKey()
seeds = st.integers(0, 2**16)
clients = st.sampled_from(CLIENTS)
inquiries = st.lists(st.tuples(st.sampled_from(CPFS), st.sampled_from(["credit", "own"])), min_size=1, max_size=12)


class PeoplePath(RuleBasedStateMachine):
    """The rules and what must hold."""

    bureau_class: type[Bureau] = Bureau

    @initialize()
    def start(self) -> None:
        """A bureau with nothing asked yet."""
        self.patch = pytest.MonkeyPatch()
        self.bureau = self.bureau_class(self.patch)
        self.conflicts: list[str] = []
        self.forged: set[str] = set()
        self.newer: dict[str, str] = {}

    # what clients and the world do

    @rule(client=clients, key=st.sampled_from([None, "once", "twice"]), asked=inquiries, seed=seeds)
    def submit(self, client: str, key: str | None, asked: list[tuple[str, str]], seed: int) -> None:
        """A client submits, perhaps again under the same key."""
        self.bureau.chaos.expect(seed)
        self.bureau.submit(client, key, asked)

    @rule(rounds=st.lists(seeds, min_size=1, max_size=3))
    def work(self, rounds: list[int]) -> None:
        """A worker has a round, or several have theirs."""
        for seed in rounds:
            self.bureau.chaos.expect(seed)
            self.bureau.work()

    @rule(client=clients, acknowledge=st.booleans(), seed=seeds)
    def take(self, client: str, acknowledge: bool, seed: int) -> None:
        """A client polls."""
        self.bureau.chaos.expect(seed)
        self.bureau.take(client, acknowledge=acknowledge)

    @rule(attack=st.sampled_from(["replay", "forge", "conflict", "newer version"]), client=clients, data=st.data())
    def intrude(self, attack: str, client: str, data: st.DataObject) -> None:
        """Someone puts on the queue what the API did not, or not now."""
        if attack == "replay" and (known := self.bureau.signer.messages):
            self._put(known[data.draw(st.sampled_from(sorted(known)))])
        elif attack == "conflict" and (links := self.bureau.store.links):
            self._conflict(data.draw(st.sampled_from(links)))
        elif attack == "forge":
            self._forge(client)
        elif attack == "newer version":  # which this worker cannot read: the client is told
            request_id = self._new_id()
            self.newer[request_id] = client
            self._put(KEY.message({"sub": client, "jti": request_id, "version": 2} | self._times()))

    def _forge(self, client: str) -> None:
        """Signed with a key of someone's own, or none at all."""
        forged = self._new_id()
        self.forged.add(forged)
        self._put(STRANGER.message({"sub": client, "jti": forged} | self._times()))
        self._put(KEY.message({"sub": client, "jti": forged}, {"kid": ["sign-1"]}))
        self._put("not a message")

    def _conflict(self, link: Link) -> None:
        """A true signature over an id that the log has for someone else."""
        other = next(client for client in CLIENTS if client != link.client)
        message = KEY.message({"sub": other, "jti": link.request_id, "person": link.person, "purpose": link.purpose} | self._times())
        self.conflicts.append(message)
        self._put(message)

    @rule(queue=st.sampled_from(["requests", *(f"responses-{client}" for client in CLIENTS)]), seed=st.integers(0, 2**16))
    def disorder(self, queue: str, seed: int) -> None:
        """The queue delivers in another order, some of it twice and some of it late."""
        random, messages = Random(seed), self.bureau.waiting(queue)
        random.shuffle(messages)
        for message in messages[:3]:
            if random.random() < 0.5:
                self.bureau.sqs.send_message_batch(QUEUE + queue, [{"Id": "0", "MessageBody": message.body}])
            else:
                message.visible_at += random.randrange(60)

    @rule(seconds=st.sampled_from([31, 400, 400, 13 * 3600]))
    def wait(self, seconds: int) -> None:
        """Time passes; after 12 hours what waits has expired."""
        self.bureau.sqs.now += seconds

    def _put(self, body: str) -> None:
        self.bureau.sqs.send_message_batch(QUEUE + "requests", [{"Id": "0", "MessageBody": body}])

    def _new_id(self) -> str:
        return str(uuid.UUID(int=2**64 + len(self.forged) + len(self.newer)))

    def _times(self) -> dict[str, int]:
        return {"iat": int(self.bureau.sqs.now), "exp": int(self.bureau.sqs.now) + 10**9}

    # what must hold, at every step

    def _responses(self) -> list[tuple[str, dict[str, Any]]]:
        """(client, response) of all that is in a client's queue or was ever taken from it."""
        queued = [(client, json.loads(message.body)) for client in CLIENTS for message in self.bureau.waiting(f"responses-{client}")]
        taken = [(client, msgspec.json.decode(msgspec.json.encode(each))) for client in CLIENTS for each in self.bureau.answered[client]]
        return queued + taken

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        """Each accepted request has a response or its message is still in the queue."""
        waiting = {message.body for message in self.bureau.waiting("requests")}
        unanswered = self.bureau.accepted - {response["request_id"] for _, response in self._responses()}
        signed = self.bureau.signer.messages
        lost = {each for each in unanswered if signed[each] not in waiting and not _waits(each, waiting)}
        assert not lost

    @invariant()
    def nobody_has_anothers(self) -> None:
        """A response is in the queue of who asked, about whom they asked; a result lies under their own prefix."""
        for client, response in self._responses():
            request_id = response["request_id"]
            assert request_id not in self.forged
            if request_id in self.newer:
                assert (client, response["status"]) == (self.newer[request_id], "failed")
                continue
            owner, person, _ = self.bureau.signer.asked[request_id]
            assert client == owner
            self._is_about(response, person, f"responses/{client}/{request_id}/")

    def _is_about(self, response: dict[str, Any], person: str, prefix: str) -> None:
        if where := response.get("report_at"):
            assert where["key"].startswith(prefix)
            assert self.bureau.digest_of(where["key"]) == where["sha256"]
        elif response["status"] == "found" and isinstance(response.get("report"), dict):
            assert response["report"]["cpf"] == punctuate(PERSONS[person])
        elif response["status"] == "not_found":
            assert PERSONS[person] == CPFS[2]

    @invariant()
    def the_log_has_each_once_and_as_it_was_asked(self) -> None:
        """One row a request id, in the name of who asked."""
        logged = [link.request_id for link in self.bureau.store.links]
        assert len(set(logged)) == len(logged)
        for link in self.bureau.store.links:
            assert (link.client, link.person, link.purpose) == self.bureau.signer.asked[link.request_id]

    @invariant()
    def events_tell_what_happened(self) -> None:
        """An inquiry event is of a logged request, and a repeated one says the same."""
        events: dict[str, Any] = {}
        for event in self._events():
            assert events.setdefault(event["event_id"], event) == event
        assert events.keys() <= {link.request_id for link in self.bureau.store.links}

    def teardown(self) -> None:
        """When the faults end, all is answered: whatever waits is worked off, and each client has its own."""
        if not hasattr(self, "bureau"):
            return
        try:
            self._settle()
            answered = {response["request_id"] for _, response in self._responses()}
            assert self.bureau.accepted <= answered
            assert set(self.newer) <= answered
            letters = [message.body for message in self.bureau.waiting("dlq")]
            assert set(self.conflicts) <= set(letters)
            assert self._served() <= {each["event_id"] for each in self._events()}
        finally:
            self.patch.undo()

    def _served(self) -> set[str]:
        """Ids that were answered, and not given up on by their deadline before their event could be told."""
        responses = [response for _, response in self._responses()]
        return {each["request_id"] for each in responses} - {each["request_id"] for each in responses if each["status"] == "failed"}

    def _events(self) -> list[dict[str, Any]]:
        return [event for message in self.bureau.waiting("feed") for event in json.loads(message.body)["events"]]

    def _settle(self) -> None:
        self.bureau.chaos.expect(0)
        for _ in range(100):
            if not self.bureau.waiting("requests"):
                break
            self.bureau.sqs.now += 400
            self.bureau.work()
        assert not self.bureau.waiting("requests")
        self.nobody_has_anothers()
        self.the_log_has_each_once_and_as_it_was_asked()


def _waits(request_id: str, waiting: set[str]) -> bool:
    """Whether any true message of this request waits: asked twice under one key it has two."""
    return any(_id_of(body) == request_id for body in waiting)


def _id_of(body: str) -> str | None:
    try:
        return str(json.loads(base64.urlsafe_b64decode(body.split(".")[1] + "=="))["jti"])
    except (IndexError, ValueError):
        return None


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Without the log's lines, of which there would be millions."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def _explore(machine: type[RuleBasedStateMachine], schedules: int, phases: Sequence[Phase]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=schedules, stateful_step_count=STEPS, deadline=None, derandomize="FAULT_SCHEDULES" not in os.environ,
            database=None, phases=phases, suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        ),
    )  # fmt: skip


def test_no_schedule_loses_or_misdelivers() -> None:
    """Schedules of 25 steps with up to two faults each: every invariant holds in all of them."""
    _explore(PeoplePath, SCHEDULES, tuple(Phase))
    met = dict(sorted(MET.items()))
    faults = sum(met.values()) - met["none"]
    record("schedules", {"explored": SCHEDULES, "steps": STEPS, "calls_by_fault": met, "faults": faults, "invariants_broken": 0})


# The same machine over workers and APIs with a fault of their own: each must be found, or the machine is worth nothing.


class DeletesFirst(Worker):
    """Deletes before it answers."""

    def _deliver(self, answers: list[Answer], *more: Any) -> Any:
        self._delete([answer.message for answer in answers])
        return super()._deliver(answers, *more)


class BelievesEverySend(Worker):
    """Deletes also what the response queue did not take."""

    def _back_off(self, messages: list[Received]) -> None:
        self._delete(messages)


class AnswersConflicts(Worker):
    """Tells the other client about an id that is not its own."""

    def _refuse(self, refused: Sequence[tuple[Received, RefusedRequest]]) -> Any:
        return super()._refuse([(message, self._to_whoever_asks(message, refusal)) for message, refusal in refused])

    def _to_whoever_asks(self, message: Received, refusal: RefusedRequest) -> RefusedRequest:
        request = self._verifier.verify(message.body)
        return refusal if isinstance(request, RefusedRequest) else RefusedRequest(refusal.error, request.client, request.request_id)


class SendsByTheBatch(Worker):
    """Sends a batch's answers where its first one belongs."""

    def _queue_of(self, client: str) -> str:
        self.first: str = getattr(self, "first", client)
        return super()._queue_of(self.first)


class ForgetsEvents(Worker):
    """Deletes without having told the feed."""

    def _tell_and_delete(self, sent: list[Answer]) -> None:
        self._delete([answer.message for answer in sent])


class AcceptsEverything(PeopleApi):
    """Acknowledges what could not be sent."""

    def _send_inquiries(self, client: str, key: str | None, inquiries: list[tuple[str, str]], trace: str) -> list[Accepted]:
        before = set(self._signer.messages)  # type: ignore[attr-defined]  # the recording one
        try:
            super()._send_inquiries(client, key, inquiries, trace)
        finally:
            ids = set(self._signer.messages) - before  # type: ignore[attr-defined]  # as above
            return [Accepted(request_id=each) for each in sorted(ids)]  # noqa: B012 - that is its fault


def _faulty(worker: type[Worker] = Worker, api: type[PeopleApi] = PeopleApi) -> type[PeoplePath]:
    bureau = type("FaultyBureau", (Bureau,), {"worker_class": worker, "api_class": api})
    return type("FaultyPath", (PeoplePath,), {"bureau_class": bureau})


@pytest.mark.parametrize(
    "machine",
    [*map(_faulty, [DeletesFirst, BelievesEverySend, AnswersConflicts, SendsByTheBatch, ForgetsEvents]), _faulty(api=AcceptsEverything)],
    ids=["deletes first", "believes every send", "answers conflicts", "sends by the batch", "forgets events", "accepts everything"],
)
def test_the_machine_finds_faults(machine: type[PeoplePath]) -> None:
    """Each deliberate fault in worker or API breaks an invariant, usually within a few dozen schedules."""
    with pytest.raises((AssertionError, ExceptionGroup)):
        _explore(machine, 2000, [Phase.generate])
