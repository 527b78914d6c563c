"""What a caller may ask, and the cursors by which it goes on from one page of its own question to the next."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, NamedTuple

import msgspec

from consumidor.errors import MalformedRequest
from consumidor.events.model import FoundEvent, Kind, parse_time

_MAC_BYTES = 16
_DATE_TIME = msgspec.Meta(extra_json_schema={"format": "date-time"})


class EventsQuery(msgspec.Struct):
    """The parameters of `GET /v1/events`; times are RFC 3339, `since` inclusive and `until` exclusive."""

    cpf: str
    kind: Kind | None = None
    since: Annotated[str, _DATE_TIME] | None = None
    until: Annotated[str, _DATE_TIME] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    cursor: str | None = None


class LatestQuery(msgspec.Struct):
    """The parameters of `GET /v1/events/latest`."""

    cpf: str


class Query(NamedTuple):
    """A caller's question, checked: whose events, which, and how many at most. Times in ms since 1970."""

    client: str
    person: str
    kind: str | None
    since: int | None
    until: int | None
    limit: int

    def subject(self) -> bytes:
        """What a cursor is bound to: everything but the size of a page."""
        return msgspec.json.encode(self[:-1])


class Cursors:
    """Opaque positions in one caller's own query: the sort values of the last event seen, authenticated."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"events cursor", "sha256")  # a key of its own, so that no cursor is ever a pseudonym

    def write(self, query: Query, last: FoundEvent) -> str:
        """The cursor of the page after `last`."""
        return self._seal(query, msgspec.json.encode([parse_time(last.occurred_at), last.event_id]))

    def read(self, query: Query, cursor: str) -> list[Any]:
        """The sort values to go on after.

        Raises:
            MalformedRequest: not a cursor that was given for this query.
        """
        try:
            position = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[_MAC_BYTES:]
        except ValueError:
            position = b""
        # The whole text is compared: base64 has several spellings of the same bytes, and only ours is good.
        if not hmac.compare_digest(cursor.encode(), self._seal(query, position).encode()):
            raise MalformedRequest("cursor: it was not given for this query")
        return msgspec.json.decode(position, type=list[Any])

    def _seal(self, query: Query, position: bytes) -> str:
        mac = hmac.digest(self._key, query.subject() + b"\n" + position, "sha256")[:_MAC_BYTES]
        return urlsafe_b64encode(mac + position).decode().rstrip("=")
