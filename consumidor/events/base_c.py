"""Base C, Elasticsearch, over `elastic_transport`: the official client's own transport, a fifth of its import time.

Connections are kept alive; a request goes once more to another node where the first does not answer, within one deadline.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
from elastic_transport import JsonSerializer, NodeConfig, Transport, TransportError
from elastic_transport.client_utils import url_to_node_config

from consumidor.errors import ConsumidorError, DependencyDown, FieldError, InvalidInput
from consumidor.events.model import Event, history_id, latest_id, latest_version

HISTORY, LATEST = "events", "latest"  # aliases
_ATTEMPTS = 2
_JSON = {"accept": "application/json", "content-type": "application/json"}
_NDJSON = {"accept": "application/json", "content-type": "application/x-ndjson"}
_BULK = "/_bulk?require_alias=true&filter_path=errors,items.*.status,items.*.error.type"
_DONE = {200, 201, 409}  # 409: this event, or a later one, is there already


class _Bytes(JsonSerializer):
    """Leaves bodies as they are: msgspec reads them into the types that are wanted."""

    def loads(self, data: bytes) -> bytes:
        return data


class _Failure(msgspec.Struct):
    type: str


class _Outcome(msgspec.Struct):
    status: int
    error: _Failure | None = None


class _BulkAnswer(msgspec.Struct):
    errors: bool
    items: list[dict[str, _Outcome]]


_bulk_answer = msgspec.json.Decoder(_BulkAnswer)


class BaseC:
    """A connection to Base C; threads may share it.

    Args:
        urls: one or more nodes, comma separated; each may hold user and password, and end in `?ca_certs=PATH`.
        deadline: seconds that a request may take in all, its second attempt included.
    """

    def __init__(self, urls: str, deadline: float) -> None:
        self._timeout = deadline / _ATTEMPTS
        self._transport = Transport(
            [_node(url) for url in urls.split(",")],
            serializers={"application/json": _Bytes(), "application/x-ndjson": _Bytes()},
            max_retries=_ATTEMPTS - 1,
            retry_on_timeout=True,
            meta_header=False,
        )

    def close(self) -> None:
        """Close the kept connections."""
        self._transport.close()

    def request(self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] = _JSON) -> tuple[int, bytes]:
        """Status and body of one request.

        Raises:
            DependencyDown: no answer in time, or one that says so (429, 5xx, credentials refused).
        """
        try:
            meta, answer = self._transport.perform_request(method, target, body=body, headers=headers, request_timeout=self._timeout)
        except TransportError as error:
            raise DependencyDown("base_c") from error
        if meta.status >= 500 or meta.status in {401, 403, 429}:
            raise DependencyDown("base_c")
        return meta.status, answer or b""

    def fetch(self, method: str, target: str, body: bytes) -> bytes:
        """The body of a read that must succeed; a missing index is a Base C that is not ready yet.

        Raises:
            DependencyDown: anything but 200.
        """
        status, answer = self.request(method, target, body)
        if status != 200:
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


def bulk_body(events: Sequence[Event]) -> bytes:
    """The actions of each event: `create` in history, and in latest the later of what is there and this one.

    Ids need no escaping: `read_event` admits only letters, digits and `._:~-`.
    """
    lines: list[bytes] = []
    for event in events:
        person, source = event.person, msgspec.json.encode(event)
        version = latest_version(event.event_id, event.occurred_at)
        lines += (
            f'{{"create":{{"_index":"{HISTORY}","_id":"{history_id(person, event.event_id)}","routing":"{person}"}}}}'.encode(),
            source,
            f'{{"index":{{"_index":"{LATEST}","_id":"{latest_id(person, event.kind)}","routing":"{person}",'
            f'"version":{version},"version_type":"external_gte"}}}}'.encode(),
            source,
        )
    lines.append(b"")
    return b"\n".join(lines)


def _verdict(outcomes: list[_Outcome]) -> ConsumidorError | None:
    """Of an event's two writes: retry if either is worth it, dead if either is refused for good (400 alone), else done."""
    refused: list[FieldError] = []
    for outcome in outcomes:
        if outcome.status == 400:
            refused.append({"field": "event", "detail": outcome.error.type if outcome.error else "refused"})
        elif outcome.status not in _DONE:
            return DependencyDown("base_c")
    return InvalidInput(refused) if refused else None


def _node(url: str) -> NodeConfig:
    address, _, ca_certs = url.strip().partition("?ca_certs=")
    extra: dict[str, Any] = {"ca_certs": unquote(ca_certs)} if ca_certs else {}
    return url_to_node_config(address, use_default_ports_for_scheme=True).replace(**extra)
