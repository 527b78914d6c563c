"""A people worker that sends itself a signal at a named point of its work, once:

    python -m tests.faults.doomed_worker "after SQL" SIGKILL

Its settings are in the environment, as any worker's; FAULT_VISIBILITY is how many seconds what it has in hand stays unseen.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from consumidor import aws, queues, telemetry
from consumidor.people import worker as people_worker
from consumidor.people.store import Outcome, PeopleRequest, PeopleStore
from consumidor.settings import Settings

POINTS = ("after receive", "after SQL", "after S3", "after response", "before delete", "in the heartbeat", "while draining")
SLOW = {"in the heartbeat": 1.0, "while draining": 0.5}  # seconds that Base A takes, so that there is time for the point to be met


class Doom:
    """Sends the signal the first time that the point is met; SIGKILL never returns from that."""

    def __init__(self, point: str, number: signal.Signals) -> None:
        self.point, self._number = point, number
        self._lock = threading.Lock()
        self._met = False

    def at(self, point: str) -> None:
        """A point is met, perhaps the one."""
        with self._lock:
            first, self._met = point == self.point and not self._met, self._met or point == self.point
        if first:
            os.kill(os.getpid(), self._number)


class DoomedSqs:
    """An SQS client with the points around its calls."""

    def __init__(self, client: Any, doom: Doom, settings: Settings) -> None:
        self._client, self._doom, self._settings = client, doom, settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def receive_message(self, **arguments: Any) -> Any:
        """After it, if there is something; a worker that drains is told to just then."""
        answer = self._client.receive_message(**{**arguments, "VisibilityTimeout": int(os.environ["FAULT_VISIBILITY"])})
        if answer.get("Messages"):
            self._doom.at("after receive")
            if self._doom.point == "while draining":
                os.kill(os.getpid(), signal.SIGTERM)
        return answer

    def send_message_batch(self, **arguments: Any) -> Any:
        """After a response."""
        answer = self._client.send_message_batch(**arguments)
        if arguments["QueueUrl"].startswith(self._settings.people_responses_queue_prefix):
            self._doom.at("after response")
        return answer

    def delete_message_batch(self, **arguments: Any) -> Any:
        """Before it."""
        self._doom.at("before delete")
        return self._client.delete_message_batch(**arguments)

    def change_message_visibility_batch(self, **arguments: Any) -> Any:
        """Before it, in the heartbeat's own thread."""
        if threading.current_thread().name == "heartbeat":
            self._doom.at("in the heartbeat")
        return self._client.change_message_visibility_batch(**arguments)


class DoomedS3:
    """An S3 client with a point after a result."""

    def __init__(self, client: Any, doom: Doom) -> None:
        self._client, self._doom = client, doom

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **arguments: Any) -> Any:
        """After it."""
        answer = self._client.put_object(**arguments)
        if arguments["Key"].startswith("responses/"):
            self._doom.at("after S3")
        return answer


class DoomedStore:
    """Base A with a point after its answer."""

    def __init__(self, store: PeopleStore, doom: Doom) -> None:
        self._store, self._doom = store, doom
        self.ping: Callable[[], None] = store.ping

    def inquire(self, batch: Sequence[PeopleRequest]) -> list[Outcome]:
        """After it."""
        time.sleep(SLOW.get(self._doom.point, 0.0))
        outcomes = self._store.inquire(batch)
        self._doom.at("after SQL")
        self._doom.at("while draining")
        return outcomes


def main(point: str, number: str) -> None:
    """Work until the point is met, and after it for as long as the signal allows."""
    settings = Settings.from_env("worker")
    telemetry.configure_logging(settings.environment)
    doom = Doom(point, signal.Signals[number])
    sqs = DoomedSqs(aws.client(settings, "sqs"), doom, settings)
    store = DoomedStore(PeopleStore.connect(settings.base_a_dsn, settings.worker_threads), doom)
    worker = people_worker.build_worker(settings, sqs=sqs, s3=DoomedS3(aws.client(settings, "s3"), doom), store=store)
    if point == "in the heartbeat":
        doomed: Any = sqs
        worker.heartbeat = queues.Heartbeat(doomed, settings.people_requests_queue_url, every=0.2)
    people_worker.run(settings, worker)


if __name__ == "__main__":
    main(*sys.argv[1:])
