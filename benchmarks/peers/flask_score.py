"""The score path in Flask, served by gunicorn's threads: the usual synchronous service, with pymongo's blocking client.

CPF, score and inquiry events are our own code, tokens are checked with PyJWT, as in the FastAPI peer. It writes no log line, ours writes
one a request.
"""

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from flask import Flask, abort, g, jsonify, request
from prometheus_client import Counter, Histogram
from pymongo import MongoClient

from benchmarks.peers.tokens import Refused, checker
from consumidor import aws, cpf
from consumidor.score.inquiries import Inquiries
from consumidor.score.model import Scorecard, score
from consumidor.settings import Settings

SECONDS = Histogram("peer_http_seconds", "Time to answer", ["route", "method"])
REQUESTS = Counter("peer_http_requests_total", "Answers by status", ["route", "method", "status"])


def build() -> Flask:
    """The application, from the settings of the process `score-api`."""
    settings = Settings.from_env("score-api")
    check, scorecard = checker(settings, "consumidor/score.read"), Scorecard.current()
    inquiries = Inquiries(aws.client(settings, "sqs"), settings.events_feed_queue_url)
    client: MongoClient[dict[str, Any]] = MongoClient(settings.base_b_uri, maxPoolSize=64)
    collection = client.get_default_database()["scoredata"]
    inquiries.start()
    app = Flask(__name__)

    @app.before_request
    def check_token() -> None:
        g.started = time.perf_counter()
        try:
            g.client = check(request.headers.get("authorization", "").removeprefix("Bearer "))
        except Refused as error:
            abort(error.status)

    @app.after_request
    def observe(response: Any) -> Any:
        route = str(request.url_rule)
        SECONDS.labels(route, request.method).observe(time.perf_counter() - g.started)
        REQUESTS.labels(route, request.method, response.status_code).inc()
        return response

    @app.get("/v1/score/<text>")
    def read(text: str) -> Any:
        try:
            person = cpf.pseudonym(settings.pseudonym_key, cpf.parse(text))
        except cpf.InvalidCpf:
            abort(422)
        document = collection.find_one({"_id": person})
        if document is None:
            abort(404)
        answer = score(document, datetime.now(UTC).date(), scorecard)
        inquiries.add(person, g.client)
        return jsonify(msgspec.to_builtins(answer))

    return app
