"""The local `events-feed` process: between feed queue and feed handler it does what AWS's event source mapping does on AWS.

    python -m consumidor.local.events_feed QUEUE_URL READY_FILE

It receives up to ten messages, calls the handler with them, and deletes those that did not fail. Failed ones come again after the
visibility timeout. When the handler itself fails it polls slower, up to every ten seconds.
Source: docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from consumidor import aws, telemetry
from consumidor.events.feed import Lambda, build_feed
from consumidor.local.supervisor import Server
from consumidor.packing import BATCH
from consumidor.queues import delete
from consumidor.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

_WAIT = 2  # seconds of long poll: SIGTERM is heeded within them
_LONGEST_PAUSE = 10.0
log = structlog.get_logger()


def events_feed_server(environment: Mapping[str, str], queue_url: str, home: Path) -> Server:
    """The process, with the settings of the process `feed` as its environment."""
    ready = home / "events-feed.ready"

    return Server(
        name="events-feed",
        command=[sys.executable, "-m", "consumidor.local.events_feed", queue_url, str(ready)],
        env=environment,
        before_start=lambda: ready.unlink(missing_ok=True),
        ready=lambda: _check(ready),
    )


def _check(ready: Path) -> None:
    ready.stat()  # made by the process once it receives; FileNotFoundError until then


class SourceMapping:
    """Receives from the feed queue and calls the handler."""

    def __init__(self, sqs: "SQSClient", queue_url: str, handler: Lambda) -> None:
        self._sqs, self._queue_url, self._handler = sqs, queue_url, handler
        self.pause = 0.0

    def run(self, stop: threading.Event) -> None:
        """Poll until told to stop; what is under way is finished."""
        while not stop.wait(self.pause):
            self.poll()

    def poll(self) -> int:
        """One receive and one call; returns how many messages are done with. Never raises for a server that is down."""
        try:
            messages = self._receive()
            done = self._call(messages) if messages else []
            if done:
                delete(self._sqs, self._queue_url, [message["ReceiptHandle"] for message in done])
        except Exception as error:  # noqa: BLE001 - as with the mapping on AWS, any failure of the function means: later again
            self.pause = min(_LONGEST_PAUSE, self.pause * 2 or 1.0)
            log.warning("feed_failed", error=type(error).__name__, again_in=self.pause)
            return 0
        self.pause = 0.0
        return len(done)

    def _receive(self) -> list[Any]:
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=_WAIT,
            MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"],
        )  # fmt: skip
        return answer.get("Messages", [])

    def _call(self, messages: list[Any]) -> list[Any]:
        answer = self._handler({"Records": [_record(message) for message in messages]}, None)
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        return [message for message in messages if message["MessageId"] not in failed]


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    """A received message as the Lambda sees it; it has lower-case names there."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": message.get("MessageAttributes", {}),
        "eventSource": "aws:sqs",
    }


def main(queue_url: str, ready: Path) -> None:
    """Feed until SIGTERM or SIGINT."""
    settings = Settings.from_env("feed")
    telemetry.configure_logging(settings.environment)
    mapping = SourceMapping(aws.client(settings, "sqs", read_timeout=_WAIT + 5.0), queue_url, build_feed(settings))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ready.touch()
    mapping.run(stop)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
