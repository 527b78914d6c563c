"""The Starlette edge every HTTP service shares: tokens, scopes, problem+json, one log line and two metrics a request, health.

A service is a `Part`: its operations, its health checks and what runs beside it. `build_app` makes one application of one or more
parts, so that the local gateway serves by the same code what two services serve on AWS. Middleware here is plain ASGI: Starlette's
BaseHTTPMiddleware halves the requests a core answers.
"""

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

import anyio
import msgspec
import prometheus_client
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumidor import openapi, problems, telemetry
from consumidor.auth import Caller, FetchNeeded, Verifier
from consumidor.errors import ConsumidorError, Forbidden, InvalidInput, MalformedRequest, TooLarge, Unauthenticated
from consumidor.telemetry import HTTP_REQUESTS, HTTP_SECONDS, TOKENS, trace_id

BODY_LIMIT = 256 * 1024
DRAIN_SECONDS = 25  # a request may take 20 s of long poll; below ECS's stop timeout
KEEP_ALIVE_SECONDS = 65  # above the load balancer's idle time of 60 s: it must never send a request down a connection just closed here
HEALTH_SECONDS = 2.0
ISSUER_THREADS = 4  # of their own: callers with made-up keys, waiting for a slow issuer, take no thread from anyone's work

Check = Callable[[], Awaitable[object] | object]
Endpoint = Callable[[Request], Awaitable[Response]]
Query = TypeVar("Query", bound=msgspec.Struct)
convert = problems.convert
problem_document = problems.problem_document
_REMEMBERED, _VERIFIED = TOKENS.labels("hit"), TOKENS.labels("miss")
log = structlog.get_logger()


class Operation(NamedTuple):
    """One call of the HTTP contract: what serves it, who may ask, and the types that the OpenAPI page is made from (a tuple: any)."""

    method: str
    path: str
    endpoint: Endpoint
    scope: str
    summary: str
    responses: Mapping[int, Any]
    body: Any = None
    query: type[msgspec.Struct] | None = None
    headers: Mapping[str, str] = {}  # optional request headers: name -> what it is
    refusals: tuple[int, ...] = (401, 403, 422, 503)


class Part(NamedTuple):
    """A service: operations, health checks by dependency, and a context that is open while it serves."""

    operations: list[Operation]
    health: Mapping[str, Check] = {}
    lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON of anything msgspec encodes (Structs, dicts, lists)."""
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def problem(error: ConsumidorError) -> Response:
    """An error as RFC 9457 `application/problem+json`."""
    return Response(msgspec.json.encode(problem_document(error)), error.status, problems.problem_headers(error))


async def _on_consumidor_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ConsumidorError)
    return problem(error)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such route, wrong method, body too large) in the same dress."""
    assert isinstance(error, HTTPException)
    document = {"type": "about:blank", "title": error.detail, "status": error.status_code, "detail": error.detail}
    return Response(msgspec.json.encode(document), error.status_code, error.headers, "application/problem+json")


class TokenBackend(AuthenticationBackend):
    """Three outcomes: no token (None), a caller, or an AuthenticationError."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._asking = anyio.CapacityLimiter(ISSUER_THREADS)

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Any] | None:
        """Verifies in place, and in a thread only where the issuer must be asked first."""
        given = conn.headers.getlist("authorization")
        if not given:
            return None
        try:
            caller = await self._caller(given)
        except ConsumidorError as error:
            raise AuthenticationError from error
        return AuthCredentials(list(caller.scopes)), caller

    async def _caller(self, given: list[str]) -> Caller:
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not token:
            raise Unauthenticated("one Authorization header, `Bearer <token>`, is needed") from ValueError("scheme")
        hits = self._verifier.hits
        try:
            caller = self._verifier.verify(token, may_wait=False)
        except FetchNeeded:
            return await anyio.to_thread.run_sync(self._verifier.verify, token, limiter=self._asking)
        (_REMEMBERED if self._verifier.hits > hits else _VERIFIED).inc()
        return caller


def _refuse_token(_: HTTPConnection, error: AuthenticationError) -> Response:
    cause = error.__cause__
    assert isinstance(cause, ConsumidorError)
    cause.__cause__ = cause.__cause__ or error  # a token came, and it was refused
    return problem(cause)


class Observe:
    """Around one operation: time it, count it, log it by the route's template (a path may hold a CPF)."""

    def __init__(self, app: ASGIApp, method: str, path: str) -> None:
        self.app, self.method, self.path = app, method, path
        self.seconds = HTTP_SECONDS.labels(path, method)
        self.counts: dict[int, prometheus_client.Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on; whatever happens, it is observed once."""
        started, status = time.perf_counter(), 500
        headers = dict(scope["headers"])
        trace = scope["trace"] = trace_id(headers.get(b"traceparent", b"").decode("latin-1"))

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            elapsed = time.perf_counter() - started
            self.seconds.observe(elapsed)
            self._count(status)
            caller = scope.get("user")
            client = caller.client if isinstance(caller, Caller) else None
            log.info("http", route=self.path, method=self.method, status=status, ms=round(elapsed * 1000, 2), client=client, trace=trace)

    def _count(self, status: int) -> None:
        if status not in self.counts:
            self.counts[status] = HTTP_REQUESTS.labels(self.path, self.method, status)
        self.counts[status].inc()


def _guarded(operation: Operation) -> Endpoint:
    """The endpoint behind its scope; anything unforeseen becomes a 500 that says nothing, and a log line that says where."""

    async def endpoint(request: Request) -> Response:
        if not isinstance(request.user, Caller):
            raise Unauthenticated("a bearer token is needed")
        if operation.scope not in request.user.scopes:
            raise Forbidden(f"the token lacks the scope {operation.scope}")
        try:
            return await operation.endpoint(request)
        except (ConsumidorError, HTTPException):
            raise
        except Exception as error:  # noqa: BLE001 - the edge's last resort; the message itself may hold a person's data
            frame = error.__traceback__
            while frame and frame.tb_next:
                frame = frame.tb_next
            where = f"{frame.tb_frame.f_code.co_name}:{frame.tb_lineno}" if frame else ""
            log.error("unexpected", error=type(error).__name__, where=where, route=operation.path)
            raise ConsumidorError("something unexpected happened here") from None

    return endpoint


def build_app(title: str, verifier: Verifier, *parts: Part) -> Starlette:
    """One application of all the parts, with /live, /health, /metrics, /openapi.json and /docs."""
    operations = [operation for part in parts for operation in part.operations]
    guard = Middleware(AuthenticationMiddleware, backend=TokenBackend(verifier), on_error=_refuse_token)
    routes = [
        Route(
            operation.path,
            _guarded(operation),
            methods=[operation.method],
            middleware=[Middleware(Observe, operation.method, operation.path), guard],
        )
        for operation in operations
    ]
    for route, operation in zip(routes, operations, strict=True):
        route.methods = {operation.method}  # Starlette answers HEAD by GET, which here would take messages from a queue

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        verifier.start()
        async with AsyncExitStack() as stack:
            stack.callback(verifier.stop)
            for part in parts:
                await stack.enter_async_context(part.lifespan())
            yield

    checks: dict[str, Check] = {"issuer": verifier.ask_issuer} | {name: check for part in parts for name, check in part.health.items()}
    app = Starlette(
        routes=[*routes, *_monitor_routes(checks), *_description_routes(title, operations)],
        exception_handlers={ConsumidorError: _on_consumidor_error, HTTPException: _on_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a path with a slash too many is no path; the redirect would repeat its CPF
    return app


def build_monitor(checks: Mapping[str, Check]) -> Starlette:
    """An application of /live, /health and /metrics alone, for a process that serves nothing else."""
    return Starlette(routes=_monitor_routes(checks))


def _monitor_routes(checks: Mapping[str, Check]) -> list[Route]:
    async def live(_: Request) -> Response:
        return json_response({"status": "ok"})

    async def health(_: Request) -> Response:
        up = await asyncio.gather(*(_is_up(name, check) for name, check in checks.items()))  # in the time of the slowest
        down = [name for name, answers in zip(checks, up, strict=True) if not answers]
        return json_response({"status": "down" if down else "ok", "down": down}, 503 if down else 200)

    async def metrics(_: Request) -> Response:
        return Response(telemetry.metrics_page(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    pages = {"/live": live, "/health": health, "/metrics": metrics}
    return [Route(path, page, methods=["GET"]) for path, page in pages.items()]


def _description_routes(title: str, operations: list[Operation]) -> list[Route]:
    document = json_response(openapi.document(title, operations))

    async def described(_: Request) -> Response:
        return document

    async def docs(_: Request) -> Response:
        return HTMLResponse(openapi.PAGE)

    return [Route("/openapi.json", described, methods=["GET"]), Route("/docs", docs, methods=["GET"])]


async def _is_up(name: str, check: Check) -> bool:
    try:
        with anyio.fail_after(HEALTH_SECONDS):
            result = await anyio.to_thread.run_sync(check, abandon_on_cancel=True)
            if isinstance(result, Awaitable):
                await result
    except Exception as error:  # noqa: BLE001 - whatever it was, the dependency does not answer
        log.warning("unhealthy", dependency=name, error=type(error).__name__)
        return False
    return True


async def read_json(request: Request) -> Any:  # the caller checks what it is
    """The body as plain objects.

    Raises:
        TooLarge: over 256 KiB, announced or not; no more than that is read.
        MalformedRequest: not JSON.
    """
    announced, size, chunks = request.headers.get("content-length", ""), 0, []
    if announced.isdecimal() and int(announced) > BODY_LIMIT:
        raise TooLarge(f"a body has at most {BODY_LIMIT} bytes")
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise TooLarge(f"a body has at most {BODY_LIMIT} bytes")
        chunks.append(chunk)
    try:
        return msgspec.json.decode(b"".join(chunks))
    except (ValueError, RecursionError) as error:  # msgspec's own DecodeError, and UnicodeDecodeError
        raise MalformedRequest("the body is not JSON") from error


def read_query(request: Request, kind: type[Query]) -> Query:
    """The query string as a Struct; text becomes numbers where the type says so.

    Raises:
        InvalidInput: as `convert`, and for a parameter given twice.
    """
    twice = {name for name, _ in request.query_params.multi_items() if len(request.query_params.getlist(name)) > 1}
    if twice:
        raise InvalidInput([{"field": problems.named(name), "detail": "is given more than once"} for name in sorted(twice)])
    return convert(dict(request.query_params), kind, strict=False)


def settle() -> None:
    """Call it once, before serving: what is there by now is there to stay, and the garbage collector need not walk it again and again.

    Left alone it took a tenth of each score request, most of it for the AWS library's tables.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # not 700: what a request makes is mostly gone before the next look


def serve(app: Starlette, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then let what is under way finish; being told to stop is status 0."""
    settle()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn, when all is finished, raises the signal once more
    uvicorn.run(
        app, host=host, port=port, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )  # fmt: skip


def serve_beside(app: Starlette, host: str, port: int) -> None:
    """Serve from a daemon thread, beside the process's own work; signals stay the process's own."""
    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, server_header=False)
    threading.Thread(target=uvicorn.Server(config).run, name="monitor", daemon=True).start()
