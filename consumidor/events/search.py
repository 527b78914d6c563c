"""The search Lambda: API Gateway's payload 2.0 in, a person's events or the latest of each kind out.

It imports no AWS library, no web framework and no token library: the gateway's authorizer has verified the token, and what it hands
over is checked again for what must be in it, so that a route without an authorizer answers 401 and nothing else.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from consumidor import cpf
from consumidor.clients import Clients
from consumidor.errors import (
    ConsumidorError,
    FieldError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthenticated,
)
from consumidor.events.base_c import BaseC, EventStore
from consumidor.events.model import EventsPage, LatestEvents, parse_time
from consumidor.events.queries import Cursors, EventsQuery, LatestQuery, Query
from consumidor.problems import convert, problem_document, problem_headers
from consumidor.settings import Settings

SCOPE = "consumidor/events.read"
DEADLINES = {"dev": 5.0, "tst": 2.0, "prd": 1.0}  # seconds a request may spend on Base C, its second attempt included
_JSON = {"content-type": "application/json", "cache-control": "no-store"}
log = logging.getLogger(__name__)
Lambda = Callable[[Mapping[str, Any], object], dict[str, Any]]


class Search:
    """The two questions, asked of Base C."""

    def __init__(self, base_c: EventStore, key: bytes) -> None:
        self._base_c = base_c
        self._key = key
        self._cursors = Cursors(key)

    def history(self, client: str, given: Mapping[str, str]) -> EventsPage:
        """A page of a person's events, newest first.

        Raises:
            InvalidInput, MalformedRequest, DependencyDown.
        """
        asked = convert(given, EventsQuery, strict=False)
        query = self._query(client, asked)
        after = self._cursors.read(query, asked.cursor) if asked.cursor is not None else None
        found = self._base_c.history(query, after)
        page = found[: query.limit]
        return EventsPage(page, self._cursors.write(query, page[-1]) if len(found) > query.limit else None)

    def latest(self, _client: str, given: Mapping[str, str]) -> LatestEvents:
        """The latest event of each kind: three documents by id, real-time.

        Raises:
            InvalidInput, DependencyDown.
        """
        asked = convert(given, LatestQuery)
        wrong: list[FieldError] = []
        person = self._person(asked.cpf, wrong)
        if wrong:
            raise InvalidInput(wrong)
        return LatestEvents(*self._base_c.latest(person))

    def _query(self, client: str, asked: EventsQuery) -> Query:
        wrong: list[FieldError] = []
        person = self._person(asked.cpf, wrong)
        since, until = (_time(name, text, wrong) for name, text in (("since", asked.since), ("until", asked.until)))
        if wrong:
            raise InvalidInput(wrong)
        return Query(client, person, asked.kind, since, until, asked.limit)

    def _person(self, text: str, wrong: list[FieldError]) -> str:
        try:
            return cpf.pseudonym(self._key, cpf.parse(text))
        except cpf.InvalidCpf as error:
            wrong.append({"field": "cpf", "detail": error.detail})
            return ""


def _time(field: str, text: str | None, wrong: list[FieldError]) -> int | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        wrong.append({"field": field, "detail": str(error)})
        return None


def build_search(settings: Settings, base_c: EventStore | None = None) -> Lambda:
    """The search handler, from the settings of the process `search`: payload 2.0 event and context -> response."""
    search = Search(base_c or BaseC(settings.base_c_url, DEADLINES[settings.environment]), settings.pseudonym_key)
    clients = Clients(settings.clients)
    routes = {"/v1/events": search.history, "/v1/events/latest": search.latest}

    def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            client = _client(event, clients)
            answer = routes.get(event["rawPath"], _no_route)(client, _parameters(event))
        except ConsumidorError as error:
            if error.status >= 500:
                log.warning("%s: %s", error.status, error.detail)
            return _response(error.status, problem_headers(error), problem_document(error))
        return _response(200, _JSON | {"server-timing": f"events;dur={(time.perf_counter() - started) * 1000:.2f}"}, answer)

    return handler


@cache
def _built() -> Lambda:
    """Made by the first invocation and kept: until there is one, Amazon's secrets extension answers 400."""
    return build_search(Settings.from_env("search"))


def _handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    return _built()(event, context)


def __getattr__(name: str) -> Lambda:
    """`handler`, for the Lambda runtime, which asks for it while it starts: wrong settings show then. An import asks for none."""
    if name != "handler":
        raise AttributeError(name)
    Settings.from_env("search", secrets=False)
    return _handler


def _client(event: Mapping[str, Any], clients: Clients) -> str:
    """The registered name of the caller whose claims the authorizer hands over; without them nobody gets in."""
    try:
        claims = event["requestContext"]["authorizer"]["jwt"]["claims"]
        client_id, scopes = claims.get("client_id") or claims.get("sub"), claims.get("scope")
    except (KeyError, TypeError, AttributeError):
        raise Unauthenticated("no verified token came with the request") from None
    if not client_id:
        raise Unauthenticated("the token names no client")
    if SCOPE not in str(scopes or "").split():
        raise Forbidden(f"the token lacks the scope {SCOPE}")
    name = clients.name(str(client_id))
    if name is None:
        raise Forbidden("the client is not registered")
    return name


def _parameters(event: Mapping[str, Any]) -> dict[str, str]:
    """The query string's members; InvalidInput names one that is given twice."""
    pairs = parse_qsl(event.get("rawQueryString", ""), keep_blank_values=True)
    given = dict(pairs)
    if len(given) < len(pairs):
        names = [name for name, _ in pairs]
        raise InvalidInput([{"field": name, "detail": "is given more than once"} for name in sorted(given) if names.count(name) > 1])
    return given


def _no_route(_client: str, _given: Mapping[str, str]) -> EventsPage:
    raise NotFound("there is nothing at this path")


def _response(status: int, headers: dict[str, str], content: object) -> dict[str, Any]:
    return {"statusCode": status, "headers": headers, "body": msgspec.json.encode(content).decode(), "isBase64Encoded": False}
