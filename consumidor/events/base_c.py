"""Base C, Elasticsearch, as the two handlers need it: write events, read a page, read the latest.

A request goes once more to another node where the first does not answer, within one deadline.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from consumidor.errors import ConsumidorError, DependencyDown, FieldError, InvalidInput
from consumidor.events.model import KINDS, Event, FoundEvent, history_id, latest_id, latest_version
from consumidor.events.node import Node, NodeDown
from consumidor.events.queries import Query

HISTORY, LATEST = "events", "latest"  # aliases
_TRY_ANOTHER = {429, 502, 503, 504}  # statuses of a node that may be alone in its trouble
_JSON = {"accept": "application/json", "content-type": "application/json"}
_NDJSON = {"accept": "application/json", "content-type": "application/x-ndjson"}
_BULK = "/_bulk?require_alias=true&filter_path=errors,items.*.status,items.*.error.type"
# Partial results would be wrong answers; what is not read of an answer is not sent.
_SEARCH_OPTIONS = "&allow_partial_search_results=false&filter_path=hits.hits._source"
_DONE = {200, 201, 409}  # 409: this event, or a later one, is there already


class _Failure(msgspec.Struct):
    type: str


class _Outcome(msgspec.Struct):
    status: int
    error: _Failure | None = None


class _BulkAnswer(msgspec.Struct):
    errors: bool
    items: list[dict[str, _Outcome]]


class _Hit(msgspec.Struct):
    source: FoundEvent = msgspec.field(name="_source")


class _Hits(msgspec.Struct):
    hits: list[_Hit] = []


class _SearchAnswer(msgspec.Struct):
    hits: _Hits = msgspec.field(default_factory=_Hits)  # left out by filter_path where there are none


class _Document(msgspec.Struct):
    found: bool = False
    source: FoundEvent | None = msgspec.field(name="_source", default=None)
    error: dict[str, Any] | None = None


class _MgetAnswer(msgspec.Struct):
    docs: list[_Document]


_search_answer = msgspec.json.Decoder(_SearchAnswer)
_mget_answer = msgspec.json.Decoder(_MgetAnswer)
_bulk_answer = msgspec.json.Decoder(_BulkAnswer)
_text = msgspec.json.Encoder().encode


class EventStore(Protocol):
    """What the two handlers need of Base C."""

    def write(self, events: Sequence[Event]) -> list[ConsumidorError | None]:
        """See BaseC."""

    def history(self, query: Query, after: Sequence[Any] | None) -> list[FoundEvent]:
        """See BaseC."""

    def latest(self, person: str) -> list[FoundEvent | None]:
        """See BaseC."""


class BaseC:
    """A connection to Base C; threads may share it.

    Args:
        urls: one or more nodes, comma separated; each may hold user and password, and end in `?ca_certs=PATH`.
        deadline: seconds that a request may take in all, its second attempt included.
    """

    def __init__(self, urls: str, deadline: float) -> None:
        self._nodes = [Node(url) for url in urls.split(",")]
        self._deadline = deadline
        self._preferred = secrets.randbelow(len(self._nodes))  # each process stays with one node while that answers

    def close(self) -> None:
        """Close the kept connections."""
        for node in self._nodes:
            node.close()

    def request(self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] = _JSON) -> tuple[int, bytes]:
        """Status and body of one request.

        Raises:
            DependencyDown: no answer in time, or one that says so (429, 5xx, credentials refused).
        """
        failure: NodeDown | None = None
        for place, ends in enumerate(self._attempts(), self._preferred):
            try:
                status, answer = self._nodes[place % len(self._nodes)].request(method, target, body, headers, ends)
            except NodeDown as error:
                failure = error
            else:
                if status not in _TRY_ANOTHER:
                    return _judged(status, answer)
            self._preferred = (place + 1) % len(self._nodes)
        try:
            raise DependencyDown("base_c") from failure
        finally:
            del failure  # else it and this frame would keep each other, and our connections with them

    def _attempts(self) -> tuple[float, float]:
        """When the first attempt must be done, and when the second: where there is another node, the first leaves it half of the time."""
        now = time.monotonic()
        ends = now + self._deadline
        return (now + self._deadline / 2 if len(self._nodes) > 1 else ends), ends

    def history(self, query: Query, after: Sequence[Any] | None) -> list[FoundEvent]:
        """A person's events, newest first, after the sort values `after`; one more than `query.limit` if there are more.

        Raises:
            DependencyDown.
        """
        answer = self._read(f"/{HISTORY}/_search?routing={query.person}{_SEARCH_OPTIONS}", _search_body(query, after))
        return [hit.source for hit in _search_answer.decode(answer).hits.hits]

    def latest(self, person: str) -> list[FoundEvent | None]:
        """The latest event of each of `KINDS`: documents by id, without a search and in real time.

        Raises:
            DependencyDown.
        """
        wanted = ",".join(f'{{"_id":"{latest_id(person, kind)}","routing":"{person}"}}' for kind in KINDS)
        documents = _mget_answer.decode(self._read(f"/{LATEST}/_mget", f'{{"docs":[{wanted}]}}'.encode())).docs
        if any(document.error for document in documents):  # not known is not the same as not there
            raise DependencyDown("base_c")
        return [document.source for document in documents]

    def _read(self, target: str, body: bytes) -> bytes:
        status, answer = self.request("POST", target, body)
        if status != 200:  # a missing index is a Base C that is not ready yet
            raise DependencyDown("base_c")
        return answer

    def write(self, events: Sequence[Event]) -> list[ConsumidorError | None]:
        """Put events into history and latest by one bulk request; None where it is done, else an error that knows what becomes of it.

        Raises:
            DependencyDown: nothing is known to be written.
        """
        if not events:
            return []
        status, answer = self.request("POST", _BULK, bulk_body(events), _NDJSON)
        if status != 200:
            raise DependencyDown("base_c")
        bulk = _bulk_answer.decode(answer)
        if not bulk.errors:
            return [None] * len(events)
        outcomes = [outcome for item in bulk.items for outcome in item.values()]
        return [_verdict(outcomes[place : place + 2]) for place in range(0, len(outcomes), 2)]


def written(base_c: EventStore, events: Sequence[Event]) -> list[ConsumidorError | None]:
    """As its `write`; where the whole request failed, that is what became of each."""
    try:
        return base_c.write(events)
    except DependencyDown as error:
        return [error] * len(events)


def bulk_body(events: Sequence[Event]) -> bytes:
    """The actions of each event: `create` in history, and in latest the later of what is there and this one."""
    lines: list[bytes] = []
    for event in events:
        person, source = event.person, msgspec.json.encode(event)
        version, _id = latest_version(event.event_id, event.occurred_at), _text(history_id(person, event.event_id)).decode()
        lines += (
            f'{{"create":{{"_index":"{HISTORY}","_id":{_id},"routing":"{person}"}}}}'.encode(),
            source,
            f'{{"index":{{"_index":"{LATEST}","_id":"{latest_id(person, event.kind)}","routing":"{person}",'
            f'"version":{version},"version_type":"external_gte"}}}}'.encode(),
            source,
        )
    lines.append(b"")
    return b"\n".join(lines)


def _search_body(query: Query, after: Sequence[Any] | None) -> bytes:
    filters: list[dict[str, Any]] = [{"term": {"person": query.person}}]
    if query.kind:
        filters.append({"term": {"kind": query.kind}})
    bounds = {name: ms for name, ms in (("gte", query.since), ("lt", query.until)) if ms is not None}
    if bounds:
        filters.append({"range": {"occurred_at": {**bounds, "format": "epoch_millis"}}})
    body = {
        "query": {"bool": {"filter": filters}},
        "sort": [{"occurred_at": "desc"}, {"event_id": "desc"}],
        "size": query.limit + 1,  # one more than asked for tells whether there is a next page
        "track_total_hits": False,
    }
    return msgspec.json.encode(body | ({"search_after": after} if after else {}))


def _verdict(outcomes: list[_Outcome]) -> ConsumidorError | None:
    """Of an event's two writes: retry if either is worth it, dead if either is refused for good (400 alone), else done."""
    refused: list[FieldError] = []
    for outcome in outcomes:
        if outcome.status == 400:
            refused.append({"field": "event", "detail": outcome.error.type if outcome.error else "refused"})
        elif outcome.status not in _DONE:
            return DependencyDown("base_c")
    return InvalidInput(refused) if refused else None


def _judged(status: int, answer: bytes) -> tuple[int, bytes]:
    if status >= 500 or status in {401, 403}:
        raise DependencyDown("base_c")
    return status, answer
