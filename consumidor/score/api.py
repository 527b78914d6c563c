"""The score service: a credit score with its reasons, and the profile behind it, from one read of Base B."""

import math
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import get_args

import anyio
import urllib3
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from consumidor import aws, cpf, telemetry, web
from consumidor.auth import build_verifier
from consumidor.errors import InvalidInput, NotFound
from consumidor.score.inquiries import Inquiries
from consumidor.score.model import Language, Score, Scorecard, score
from consumidor.score.records import Profile, profile
from consumidor.score.store import Document, MongoStore, Store
from consumidor.settings import Settings

SCORE_SCOPE, PROFILE_SCOPE = "consumidor/score.read", "consumidor/profile.read"
_REFUSALS = (401, 403, 404, 422, 503)
_HEADERS: dict[Language, dict[str, str]] = {
    language: {"cache-control": "no-store", "vary": "accept-language", "content-language": language} for language in get_args(Language)
}


class ScoreApi:
    """The two calls; the date that a score is as of is today's in UTC."""

    def __init__(self, store: Store, inquiries: Inquiries, scorecard: Scorecard, pseudonym_key: bytes) -> None:
        self._store, self._inquiries, self._scorecard, self._key = store, inquiries, scorecard, pseudonym_key

    def part(self) -> web.Part:
        """The API as a part of an application."""
        language = {"Accept-Language": "language of the reasons, en (default) or pt"}
        operations = [
            web.Operation("GET", "/v1/score/{cpf}", self.score, SCORE_SCOPE, "A person's credit score, 0 to 1000, with its reasons",
                          {200: Score}, headers=language, refusals=_REFUSALS),
            web.Operation("GET", "/v1/score/{cpf}/profile", self.profile, PROFILE_SCOPE, "What the score is made of",
                          {200: Profile}, refusals=_REFUSALS),
        ]  # fmt: skip
        return web.Part(operations, {"base_b": self._store.ping}, self._serving)

    async def score(self, request: Request) -> Response:
        """GET /v1/score/{cpf}: every answered one is an inquiry."""
        person = self._person(request)
        language = preferred_language(request.headers.get("accept-language", ""))
        answer = score(await self._document(person), _today(), self._scorecard, language)
        self._inquiries.add(person, request.user.client)
        return web.json_response(answer, headers=_HEADERS[language])

    async def profile(self, request: Request) -> Response:
        """GET /v1/score/{cpf}/profile: for those whose token has the scope for it."""
        document = await self._document(self._person(request))
        return web.json_response(profile(document, _today()), headers={"cache-control": "no-store"})

    def _person(self, request: Request) -> str:
        try:
            return cpf.pseudonym(self._key, cpf.parse(request.path_params["cpf"]))
        except cpf.InvalidCpf as error:
            raise InvalidInput([{"field": "cpf", "detail": error.detail}]) from None

    async def _document(self, person: str) -> Document:
        document = await self._store.find(person)
        if document is None:
            raise NotFound("nothing is known of this CPF")
        return document

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        self._inquiries.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(self._inquiries.stop)
            await self._store.close()


def _today() -> date:
    return datetime.now(UTC).date()


@lru_cache(256)  # browsers and clients send few different ones; the header's length is bounded by the server
def preferred_language(accepted: str) -> Language:
    """`pt` or `en`, whichever an Accept-Language header likes better (RFC 9110, 12.5.4); `en` where it likes neither."""
    weights = {language: _weight(language, accepted) for language in get_args(Language)}
    return "pt" if weights["pt"] > weights["en"] else "en"


def _weight(language: str, accepted: str) -> float:
    """The best weight of a range that is the language or one of its regions; `*` is no preference."""
    found = [0.0]
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip().partition("-")[0] == language:
            found.append(_quality(parameter))
    return max(found)


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return min(1.0, max(0.0, float(value))) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def build_part(settings: Settings) -> web.Part:
    """The score API as a part, its clients made from the settings of the process `score-api`."""
    inquiries = Inquiries(aws.client(settings, "sqs"), settings.events_feed_queue_url)
    return ScoreApi(MongoStore(settings.base_b_uri), inquiries, Scorecard.current(), settings.pseudonym_key).part()


def build_score_api(settings: Settings) -> Starlette:
    """The deployed process `consumidor score-api`."""
    return web.build_app("consumidor: score", build_verifier(settings), build_part(settings))


def from_environment() -> Starlette:
    """One of several processes of the service."""
    settings = Settings.from_env("score-api")
    telemetry.configure_logging(settings.environment)
    _emit_metrics(settings)
    app = build_score_api(settings)
    web.settle()
    return app


def _emit_metrics(settings: Settings) -> None:
    if settings.aws_endpoint_url is None:  # on AWS itself, where nothing scrapes
        telemetry.emit_metrics("score-api")


def _cores() -> int:
    """The machine's cores, or on ECS what the task is given of them, rounded up: on Fargate a quarter of a core shows as two.

    Source: docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html (Limits, in vCPUs)
    """
    cores = os.cpu_count() or 1
    about = os.environ.get("ECS_CONTAINER_METADATA_URI_V4")
    if about is None:
        return cores
    try:
        given: float = urllib3.request("GET", f"{about}/task", timeout=2, retries=False).json()["Limits"]["CPU"]
    except (urllib3.exceptions.HTTPError, ValueError, KeyError):
        return cores  # a task on EC2 may have no limit
    return min(cores, math.ceil(given))


def serve(settings: Settings) -> None:
    """Serve until SIGTERM, with one process a core; what is under way finishes first. Where there are several, this one serves nothing."""
    cores = _cores()
    if cores == 1:
        _emit_metrics(settings)
        return web.serve(build_score_api(settings), settings.host, settings.port)
    with tempfile.TemporaryDirectory(prefix="consumidor-metrics-") as shared:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # before any is started: each answers /metrics for all
        uvicorn.run(
            "consumidor.score.api:from_environment", factory=True, workers=cores, host=settings.host, port=settings.port, log_config=None,
            access_log=False, server_header=False, timeout_graceful_shutdown=web.DRAIN_SECONDS, timeout_keep_alive=web.KEEP_ALIVE_SECONDS,
        )  # fmt: skip
    return None
