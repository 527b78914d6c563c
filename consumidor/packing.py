"""What goes into one SQS call. Standard library only: the feed Lambda, which loads little, packs by it too."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

BATCH = 10  # entries in one SQS call (its quota)
BATCH_BYTES = 1024 * 1024  # one message and one whole SendMessageBatch alike (quota since August 2025)


class Sized(Protocol):
    """A message that knows its bytes as SQS counts them: body and each attribute's name, type and value in UTF-8."""

    @property
    def size(self) -> int:
        """Bytes."""


Message = TypeVar("Message", bound=Sized)


def size_of(body: str, attributes: Mapping[str, str]) -> int:
    """A message's bytes as `Sized` has them."""
    return len(body.encode()) + sum(len(f"{name}String{value}".encode()) for name, value in attributes.items())


def as_entry(number: int, body: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    """A message as SendMessageBatch takes it; `number` is its place in the call."""
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    return {"Id": str(number), "MessageBody": body, "MessageAttributes": typed}


def packed(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Groups, in order, of at most 10 messages and 1 MiB together."""
    group: list[Message] = []
    size = 0
    for message in messages:
        if group and (len(group) == BATCH or size + message.size > BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(message)
        size += message.size
    if group:
        yield group
