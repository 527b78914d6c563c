"""The JSON Schemas of the three messages, made from the types that read and write them:

python -m consumidor.schemas
"""

import json
from typing import Annotated, Any, Literal

import msgspec

from consumidor.events.model import MESSAGE_EVENTS, Envelope, WireEvent
from consumidor.people.model import Report, Response
from consumidor.people.request_token import Claims


def _documented(kind: type[msgspec.Struct], **contents: Any) -> Any:
    """The Struct with the types of what it carries as JSON ready made, which its own fields call `Raw`."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        content = contents.get(field.name, field.type)
        fields.append((field.name, content) if field.required else (field.name, content | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(kind.__name__, fields, namespace={"__doc__": kind.__doc__})


def schemas() -> dict[str, dict[str, Any]]:
    """By queue: the claims of a request (the message is a JWT of them), a response, a feed message. Unknown fields are ignored."""
    event = _documented(WireEvent, details=dict[str, Any])
    events = Annotated[list[event], msgspec.Meta(min_length=1, max_length=MESSAGE_EVENTS)]  # type: ignore[valid-type]  # made just now
    feed = msgspec.defstruct("FeedMessage", [("version", Literal[1]), ("events", events)], namespace={"__doc__": Envelope.__doc__})
    kinds = {"people-requests": Claims, "people-responses": _documented(Response, report=Report), "events-feed": feed}
    return {queue: msgspec.json.schema(kind) for queue, kind in kinds.items()}


if __name__ == "__main__":
    print(json.dumps(schemas(), indent=2))  # noqa: T201 - that is what it is run for
