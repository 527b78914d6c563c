"""The people worker: request queue -> Base A -> response queue, in batches, at least once and with one visible effect.

A round is: receive (several times while the queue is full), verify, log and answer in one round trip, S3 for what is too big, the
responses, the inquiry events, delete. In that order, so that a crash anywhere repeats and never loses. An error knows what becomes
of it: retryable ones come back after a while, final ones are dead letters at once.
"""

import contextlib
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from random import uniform
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from prometheus_client import Counter, Gauge, Histogram

from consumidor import aws, packing, queues, telemetry, web
from consumidor.errors import ConflictingMessage, DependencyDown, ExpiredMessage, NoSuchQueue, SealBroken, UnknownClient
from consumidor.events import producer
from consumidor.people import audit
from consumidor.people.answers import Answer, Answerer, Asked, failure, traced
from consumidor.people.request_token import RefusedRequest, Request, RequestVerifier
from consumidor.people.store import Outcome, PeopleStore
from consumidor.people.vault import Vault
from consumidor.queues import Heartbeat, Outgoing, Received
from consumidor.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

WAIT = 3  # seconds of long poll: also the longest that an idle thread delays a stop
GATHER = 5  # receives answered together while each comes back full: with many clients each send then carries more
ALONE_AFTER = 5  # a message received more often is answered alone, so that it cannot take others along
BACK_OFF_LIMIT = 300.0  # seconds; doubles from 2 with each receive
CHECKPOINT_SECONDS = 10.0
DRAIN_SECONDS = 25.0  # below ECS's stop timeout of 30 s
DEAD_LETTER_BODY = 64 * 1024  # a longer body is kept as length and hash: with its reason it might not fit the queue

log = structlog.get_logger()
AGE = Histogram("consumidor_people_queue_age_seconds", "now - SentTimestamp of what is received",
                buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600))  # fmt: skip
ANSWERED = Counter("consumidor_people_messages_total", "Messages by what became of them", ["outcome"])
BATCH = Histogram("consumidor_people_batch_size", "Messages answered together", buckets=(1, 2, 5, 10, 20, 30, 40, 50))
SECONDS = Histogram("consumidor_people_batch_seconds", "From receive to delete", buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5))
IN_HAND = Gauge("consumidor_people_in_hand", "Messages received and not yet let go")


class Worker:
    """Answers requests until stopped. Threads share it; all it holds between rounds is the newest chain heads."""

    def __init__(
        self, settings: Settings, *, sqs: "SQSClient", s3: "S3Client", store: PeopleStore, vault: Vault, verifier: RequestVerifier
    ) -> None:
        self._settings, self._sqs, self._s3, self._store, self._verifier = settings, sqs, s3, store, verifier
        self._answers = Answerer(vault, s3, settings.people_results_bucket, settings.people_response_limit_bytes)
        self._requests = settings.people_requests_queue_url
        self.heartbeat = Heartbeat(sqs, self._requests)
        self.stopping = threading.Event()
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._heads_lock = threading.Lock()
        self.checks: Mapping[str, Callable[[], object]] = {
            "base_a": store.ping,
            "kms": vault.ping,
            "sqs": self._ask_sqs,
            "s3": self._answers.ask_s3,
        }

    def run(self) -> None:
        """One thread's life: rounds until `stopping`; an outage is waited out without receiving."""
        while not self.stopping.is_set():
            messages: list[Received] = []
            try:
                if messages := self.gather():
                    self.round(messages)
            except DependencyDown as error:
                self._wait_for(error.name)
            except Exception as error:  # noqa: BLE001 - a thread that ended unseen would leave the queue to fewer and fewer
                self.heartbeat.release(message.receipt for message in messages)  # what is not answered comes again
                log.error("unexpected", error=type(error).__name__, messages=len(messages))
                self.stopping.wait(1.0)

    def gather(self) -> list[Received]:
        """The messages of one round, held by the heartbeat from now on.

        Raises:
            DependencyDown: the queue does not answer and nothing was received.
        """
        messages: list[Received] = []
        for turn in range(GATHER):
            try:
                received = queues.receive(self._sqs, self._requests, wait=0 if turn else WAIT)
            except DependencyDown:
                if not messages:
                    raise
                break
            self.heartbeat.hold(message.receipt for message in received)
            IN_HAND.inc(len(received))
            messages += received
            if len(received) < packing.BATCH:
                break
        for message in messages:
            AGE.observe(max(0.0, time.time() - message.sent_at))
        return messages

    def round(self, messages: list[Received]) -> None:
        """Answer what was gathered; often-received messages each alone and last.

        Raises:
            DependencyDown: something is down; what it concerns is already backed off.
        """
        together = [message for message in messages if message.receive_count <= ALONE_AFTER]
        groups = [together] if together else []
        groups += [[message] for message in messages if message.receive_count > ALONE_AFTER]
        down: DependencyDown | None = None
        for group in groups:
            started = time.perf_counter()
            down = self._answer_or_part(group) or down
            BATCH.observe(len(group))
            SECONDS.observe(time.perf_counter() - started)
        if down:
            raise down

    def _answer_or_part(self, group: list[Received]) -> DependencyDown | None:
        """Answer a group; where it fails in a way nobody foresaw, each of its messages alone, and then only the culprit waits."""
        try:
            return self._answer(group)
        except Exception as error:  # noqa: BLE001 - one message must not stop the worker, nor take others along
            log.error("unexpected", error=type(error).__name__, messages=len(group))
            if len(group) == 1:
                self._back_off(group)
                return None
        outcomes = [self._answer_or_part([message]) for message in group]
        return next((down for down in outcomes if down), None)

    def _answer(self, group: list[Received]) -> DependencyDown | None:
        read = [(message, self._verifier.verify(message.body)) for message in group]
        asked = [Asked(message, request) for message, request in read if isinstance(request, Request)]
        refused = [(message, refusal) for message, refusal in read if isinstance(refusal, RefusedRequest)]
        try:
            outcomes = self._store.inquire([one.request for one in asked]) if asked else []
        except DependencyDown as error:
            self._back_off([one.message for one in asked])
            return self._refuse(refused) or error
        self._remember_heads(asked, outcomes)
        down: DependencyDown | None = None
        answers: list[Answer] = []
        for one, outcome in zip(asked, outcomes, strict=True):
            try:
                answers.append(self._answers.answer(one, outcome))
            except ConflictingMessage as error:
                refused.append((one.message, RefusedRequest(error)))
            except (ExpiredMessage, SealBroken) as error:
                refused.append((one.message, RefusedRequest(error, one.request.client, one.request.request_id)))
            except DependencyDown as error:
                self._back_off([one.message])
                down = error
        undelivered = self._deliver(answers, refused)
        return self._refuse(refused) or undelivered or down

    def _deliver(self, answers: list[Answer], refused: list[tuple[Received, RefusedRequest]]) -> DependencyDown | None:
        """Responses to their clients' queues, events to the feed, then delete; whatever fails on the way comes again.

        What has no queue to go to is added to `refused`: it is in the log, and its client is not there to be told anything.
        """
        by_client: dict[str, list[Answer]] = defaultdict(list)
        for answer in answers:
            by_client[answer.request.client].append(answer)
        down: DependencyDown | None = None
        sent: list[Answer] = []
        for client, mine in by_client.items():
            failures = queues.send(self._sqs, self._queue_of(client), [answer.response for answer in mine])
            sent += [answer for answer, failed in zip(mine, failures, strict=True) if not failed]
            unsent = [(answer.message, failed) for answer, failed in zip(mine, failures, strict=True) if failed]
            homeless = RefusedRequest(UnknownClient("the request's client has no response queue"))
            refused += [(message, homeless) for message, failed in unsent if isinstance(failed, NoSuchQueue)]
            waiting = [(message, failed) for message, failed in unsent if not isinstance(failed, NoSuchQueue)]
            self._back_off([message for message, _ in waiting])
            down = waiting[0][1] if waiting else down
        return self._tell_and_delete(sent) or down

    def _tell_and_delete(self, sent: list[Answer]) -> DependencyDown | None:
        if not sent:
            return None
        try:
            feed = [Outgoing(body) for body in producer.pack(answer.event for answer in sent)]
            queues.send_all(self._sqs, self._settings.events_feed_queue_url, feed)
            self._delete([answer.message for answer in sent])
        except DependencyDown as error:
            self._back_off([answer.message for answer in sent])
            return error
        for answer in sent:
            self._note(answer.message, "answered", request_id=answer.request.request_id, client=answer.request.client)
        return None

    def _refuse(self, refused: Sequence[tuple[Received, RefusedRequest]]) -> DependencyDown | None:
        """Tell the client where there is one to tell, then dead-letter with the reason, then delete."""
        down: DependencyDown | None = None
        for message, refusal in refused:
            reason = type(refusal.error).__name__
            letter = Outgoing(_letter(message.body), {**traced(message), "reason": reason})
            try:
                if refusal.client and refusal.request_id:
                    with contextlib.suppress(NoSuchQueue):  # then there is no one to tell, and the letter is dead all the same
                        queues.send_all(self._sqs, self._queue_of(refusal.client), [failure(refusal.error, refusal.request_id, message)])
                queues.send_all(self._sqs, self._settings.people_requests_dlq_url, [letter])
                self._delete([message])
                self._note(message, "refused", reason=reason)
            except DependencyDown as error:
                self._back_off([message])
                down = error
        return down

    def _delete(self, messages: list[Received]) -> None:
        receipts = [message.receipt for message in messages]
        queues.delete(self._sqs, self._requests, receipts)
        self._let_go(receipts)

    def _back_off(self, messages: list[Received]) -> None:
        """Let messages be seen again after a while that doubles with each receive; the heartbeat forgets them first."""
        receipts = {message.receipt: int(min(BACK_OFF_LIMIT, 2.0**message.receive_count) * uniform(0.8, 1.2)) for message in messages}  # noqa: S311
        if not receipts:
            return
        self._let_go(list(receipts))
        for message in messages:
            self._note(message, "retried")
        with contextlib.suppress(DependencyDown):  # they come again when their visibility ends
            queues.change_visibility(self._sqs, self._requests, receipts)

    def _let_go(self, receipts: list[str]) -> None:
        self.heartbeat.release(receipts)
        IN_HAND.dec(len(receipts))

    def _note(self, message: Received, outcome: str, **more: str) -> None:
        ANSWERED.labels(outcome).inc()
        log.info(outcome, trace=telemetry.trace_id(message.attributes.get("traceparent")), receives=message.receive_count, **more)

    def _queue_of(self, client: str) -> str:
        return f"{self._settings.people_responses_queue_prefix}{client}"

    def _remember_heads(self, asked: Sequence[Asked], outcomes: Sequence[Outcome]) -> None:
        with self._heads_lock:
            for one, outcome in zip(asked, outcomes, strict=True):
                if outcome.position:  # none yet where a client's first request is a conflict: there is no row to write down
                    known = self._heads.get(one.request.client, (0, b""))
                    self._heads[one.request.client] = max(known, (outcome.position, outcome.hash))

    def write_checkpoint(self) -> None:
        """Write the heads that are new since the last time to the checkpoint bucket; what fails is tried again next time."""
        with self._heads_lock:
            heads, self._heads = self._heads, {}
        if not heads:
            return
        try:
            audit.write_checkpoint(self._s3, self._settings.audit_checkpoint_bucket, heads)
        except DependencyDown:
            with self._heads_lock:
                self._heads = {client: max(head, self._heads.get(client, head)) for client, head in heads.items()} | {
                    client: head for client, head in self._heads.items() if client not in heads
                }

    def _ask_sqs(self) -> None:
        if queues.backlog(self._sqs, self._requests) is None:
            raise DependencyDown("sqs")

    def _wait_for(self, name: str) -> None:
        """Wait until a dependency answers again, asking it more and more seldom (0.2 s to 5 s)."""
        log.warning("waiting", dependency=name)
        pause = 0.2
        while not self.stopping.wait(pause):
            try:
                self.checks[name]()
                break
            except Exception:  # noqa: BLE001 - whatever it says, it does not answer yet
                pause = min(5.0, pause * 2)
        log.info("back", dependency=name)


def _letter(body: str) -> str:
    if len(body.encode()) <= DEAD_LETTER_BODY:
        return body
    return msgspec.json.encode({"bytes": len(body.encode()), "sha256": sha256(body.encode()).hexdigest()}).decode()


def build_worker(settings: Settings, **collaborators: Any) -> Worker:
    """A worker assembled from the settings of the process `worker`; any collaborator can be given instead."""
    threads = settings.worker_threads
    given: dict[str, Callable[[], object]] = {
        "sqs": lambda: aws.client(settings, "sqs", pool=threads + 4, read_timeout=WAIT + 5),
        "s3": lambda: aws.client(settings, "s3", pool=threads + 2),
        "store": lambda: PeopleStore.connect(settings.base_a_dsn, threads),
        "vault": lambda: Vault(aws.client(settings, "kms"), settings.base_a_kms_key),
        "verifier": lambda: RequestVerifier(settings.people_signing_public_keys),
    }
    made: dict[str, Any] = {name: collaborators.get(name) or make() for name, make in given.items()}
    return Worker(settings, **made)


def run(settings: Settings, worker: Worker) -> None:
    """Answer with `WORKER_THREADS` threads until SIGTERM or SIGINT, then finish what is in hand and write the last checkpoint."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stopping.set())
    worker.heartbeat.start()
    threads = [threading.Thread(target=worker.run, name=f"worker-{number}", daemon=True) for number in range(settings.worker_threads)]
    for thread in threads:
        thread.start()
    web.serve_beside(web.build_monitor(worker.checks), settings.host, settings.metrics_port)
    log.info("working", threads=len(threads))
    while not worker.stopping.wait(CHECKPOINT_SECONDS):
        worker.write_checkpoint()
    deadline = time.monotonic() + DRAIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    worker.heartbeat.stop()
    worker.write_checkpoint()
    log.info("stopped")
