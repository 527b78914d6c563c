"""The search Lambda's paths on the local gateway, which does what API Gateway does: verifies the token, then calls the handler."""

from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

from consumidor.events.base_c import BaseC
from consumidor.events.model import EventsPage, LatestEvents
from consumidor.events.queries import EventsQuery, LatestQuery
from consumidor.events.search import DEADLINES, SCOPE, build_search
from consumidor.settings import Settings
from consumidor.web import Operation, Part

THREADS = 40  # of their own: searches that wait for a slow Base C take no thread from anyone else's work, nor from /health


def build_part(settings: Settings) -> Part:
    """The events paths, from the settings of the process `search`."""
    base_c = BaseC(settings.base_c_url, DEADLINES[settings.environment])
    handler, searching = build_search(settings, base_c), anyio.CapacityLimiter(THREADS)

    async def search(request: Request) -> Response:
        answer = await anyio.to_thread.run_sync(handler, payload(request), None, limiter=searching)
        return Response(answer["body"], answer["statusCode"], answer["headers"])

    @asynccontextmanager
    async def lifespan() -> Any:
        yield
        base_c.close()

    operations = [
        Operation("GET", "/v1/events", search, SCOPE, "A person's events, newest first", {200: EventsPage}, query=EventsQuery),
        Operation("GET", "/v1/events/latest", search, SCOPE, "The latest event of each kind", {200: LatestEvents}, query=LatestQuery),
    ]
    refusals = (400, 401, 403, 422, 503)
    return Part([one._replace(refusals=refusals) for one in operations], {"base_c": lambda: base_c.request("GET", "/")}, lifespan)


def payload(request: Request) -> dict[str, Any]:
    """The request as API Gateway's payload 2.0, as far as the handler reads it.

    Source: docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    claims = {"client_id": request.user.client_id, "scope": " ".join(request.user.scopes)}
    return {
        "version": "2.0",
        "routeKey": f"{request.method} {request.url.path}",
        "rawPath": request.url.path,
        "rawQueryString": request.url.query,
        "requestContext": {"authorizer": {"jwt": {"claims": claims, "scopes": None}}, "http": {"method": request.method}},
    }
