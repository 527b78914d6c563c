"""Doubles of the score path: Base B in memory, and a feed queue that may be down."""

from typing import Any

from botocore.exceptions import EndpointConnectionError

from consumidor.errors import DependencyDown
from consumidor.events.model import read_message
from consumidor.score.store import Document


class FakeStore:
    """Base B in memory; `down` makes it fail as a dead server does. Held to the same contract test as the real one."""

    def __init__(self, documents: list[dict[str, Any]] | None = None) -> None:
        self.documents = {document["_id"]: document for document in documents or []}
        self.down = False
        self.closed = False

    async def find(self, person: str) -> Document | None:
        """As `Store.find`."""
        await self.ping()
        return self.documents.get(person)

    async def ping(self) -> None:
        """As `Store.ping`."""
        if self.down:
            raise DependencyDown("base_b")

    async def close(self) -> None:
        """As `Store.close`."""
        self.closed = True


class FakeQueue:
    """The one call that sending makes of an SQS client; `down` refuses it, `failing` fails single entries."""

    def __init__(self) -> None:
        self.down = False
        self.failing: set[str] = set()
        self.calls: list[list[str]] = []

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's names
        """As boto3's."""
        if self.down:
            raise EndpointConnectionError(endpoint_url=QueueUrl)
        taken = [entry for entry in Entries if entry["Id"] not in self.failing]
        self.calls.append([entry["MessageBody"] for entry in taken])
        return {"Successful": [{"Id": entry["Id"]} for entry in taken]}

    def events(self) -> list[bytes]:
        """Every event of every message, in order."""
        return [bytes(event) for call in self.calls for body in call for event in read_message(body)]
