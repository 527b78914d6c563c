"""The score path in FastAPI and pydantic, as its documentation teaches: dependencies, a response model, a bearer scheme.

CPF, score and inquiry events are our own code, so that what is compared is what stands around them; tokens are checked with PyJWT, as
FastAPI's pages do. Its metrics are plain ASGI middleware and not `@app.middleware("http")`, which would cost it much more. It writes no
log line, ours writes one a request.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Path, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import Counter, Histogram
from pydantic import AfterValidator, BaseModel
from pymongo import AsyncMongoClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.peers.tokens import Refused, checker
from consumidor import aws, cpf
from consumidor.score.inquiries import Inquiries
from consumidor.score.model import Scorecard, score
from consumidor.settings import Settings

SECONDS = Histogram("peer_http_seconds", "Time to answer", ["route", "method"])
REQUESTS = Counter("peer_http_requests_total", "Answers by status", ["route", "method", "status"])


class ReasonModel(BaseModel):
    """One reason."""

    code: str
    text: str
    points_lost: int


class ScoreModel(BaseModel):
    """The answer."""

    score: int
    band: Literal["very_low", "low", "good", "excellent"]
    reasons: list[ReasonModel]
    model: str
    as_of: date


def _digits(text: str) -> str:
    try:
        return cpf.parse(text)
    except cpf.InvalidCpf as error:
        raise ValueError(error.detail) from None


class Metrics:
    """Times and counts every request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on and observe."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            route = getattr(scope.get("route"), "path", "")
            SECONDS.labels(route, scope["method"]).observe(time.perf_counter() - started)
            REQUESTS.labels(route, scope["method"], status).inc()


def build() -> FastAPI:
    """The application, from the settings of the process `score-api`."""
    settings = Settings.from_env("score-api")
    check, scorecard = checker(settings, "consumidor/score.read"), Scorecard.current()
    inquiries = Inquiries(aws.client(settings, "sqs"), settings.events_feed_queue_url)
    mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(settings.base_b_uri, maxPoolSize=64)
    collection = mongo.get_default_database()["scoredata"]
    bearer = HTTPBearer()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        inquiries.start()
        yield
        inquiries.stop()

    async def caller(given: Annotated[HTTPAuthorizationCredentials, Security(bearer)]) -> str:
        try:
            return check(given.credentials)
        except Refused as error:
            raise HTTPException(error.status) from error

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(Metrics)

    @app.get("/v1/score/{digits}")
    async def read(digits: Annotated[str, Path(), AfterValidator(_digits)], client: Annotated[str, Depends(caller)]) -> ScoreModel:
        person = cpf.pseudonym(settings.pseudonym_key, digits)
        document = await collection.find_one({"_id": person})
        if document is None:
            raise HTTPException(404)
        answer = score(document, datetime.now(UTC).date(), scorecard)
        inquiries.add(person, client)
        reasons = [ReasonModel(code=one.code, text=one.text, points_lost=one.points_lost) for one in answer.reasons]
        return ScoreModel(score=answer.score, band=answer.band, reasons=reasons, model=answer.model, as_of=answer.as_of)

    return app
