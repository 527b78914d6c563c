r"""Load on the three paths, one user class a path, by Locust.

    make load                                                  60 s on a stack of its own, one table
    python -m benchmarks.load --home .local --name mine        on a stack that runs, results in benchmarks/results/mine
    locust -f benchmarks/locustfile.py --home .local           with Locust's own page
    locust -f benchmarks/locustfile.py --headless --api https://api.example --token-url https://issuer.example/oauth2/token \
        --client-id ... --people 10000 --mix even --stages minute          (the secret in CLIENT_SECRET)

Closed model: each user waits for its answer before the next request, so a slow server is asked less. Open model (`--arrivals N`): N
requests a second come whatever the server does, and each is timed from when it was due. The table says which ran.
"""

import itertools
import os
import random
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust import FastHttpUser, LoadTestShape, constant, events, task
from locust.env import Environment
from locust.exception import StopUser

from benchmarks import load_results, slo
from benchmarks.locust_tables import MIXES, STAGES
from consumidor.client import TokenSource
from consumidor.errors import CommandError, ConsumidorError
from consumidor.local import synthetic
from consumidor.local.running import read_stack
from consumidor.local.seeding import SEED

RESPONSE_SECONDS = 60.0  # a people request without a response after this has failed
MOST_IN_FLIGHT = 500  # of a path in the open model; an arrival over it counts as a failure, never as nothing
PURPOSES = ("credit", "rental", "employment", "collection", "own")


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    group = parser.add_argument_group("consumidor")
    group.add_argument("--home", default="", help="folder of a running embedded stack; in place of the four below")
    group.add_argument("--api", default="", help="base URL of the API, without /v1")
    group.add_argument("--token-url", default="", help="the issuer's token endpoint")
    group.add_argument("--client-id", default="", help="a registered client; its secret comes from CLIENT_SECRET")
    group.add_argument("--scope", default="", help="scopes to ask for; the issuer's default if empty")
    group.add_argument("--people", type=int, default=1_000, help="how many synthetic people there are to ask about")
    group.add_argument("--mix", choices=list(MIXES), default="even", help="which paths, in what proportion")
    group.add_argument("--stages", choices=list(STAGES), default="minute", help="how the load rises and falls")
    group.add_argument("--arrivals", type=float, default=0.0, help="requests a second in the open model; 0: closed model")
    group.add_argument("--slo", default="", help="a file of thresholds in place of slo.py's")
    group.add_argument("--results", default="", help="folder for run.json")


class Target:
    """Whom to ask, as whom, about whom; shared by all users. One receiver takes the client's responses for all of them."""

    def __init__(self, options: Any) -> None:
        self.options = options
        if options.home:
            stack = read_stack(Path(options.home))
            self.api, token_url, client = stack["api"], f"{stack['issuer']}/oauth2/token", stack["clients"]["acme"]
        else:
            missing = [name for name in ("api", "token_url", "client_id") if not getattr(options, name)]
            if missing or not os.environ.get("CLIENT_SECRET"):
                raise CommandError("name a running stack by --home, or give --api, --token-url, --client-id and CLIENT_SECRET")
            self.api, token_url = options.api.rstrip("/"), options.token_url
            client = {"client_id": options.client_id, "client_secret": os.environ["CLIENT_SECRET"]}
        self.token = TokenSource(token_url, **client, scopes=options.scope.split())  # fetched once, and again before it ends
        self.cpfs = [person.cpf for person in synthetic.people(SEED, max(10, options.people), 2026)]
        self.waiting: dict[str, AsyncResult[dict[str, Any]]] = {}
        self.early: dict[str, dict[str, Any]] = {}  # came before the POST's own answer
        self.receivers = 0


_target: Target | None = None


def target() -> Target:
    """Of this process."""
    assert _target is not None
    return _target


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    """Before any load: whatever is missing ends the run with one line and exit status 1."""
    global _target  # noqa: PLW0603 - Locust makes users without arguments
    if environment.parsed_options is None or _target is not None:
        return
    try:
        _target = Target(environment.parsed_options)
        load_results.check_token(_target.token)
        load_results.check_answers(_target.api)
        thresholds = slo.read(environment.parsed_options.slo) if environment.parsed_options.slo else slo.THRESHOLDS
    except ConsumidorError as error:
        load_results.refuse(error.detail)
    environment.host = _target.api
    wanted = MIXES[_target.options.mix]
    users: list[type[PathUser]] = [one for one in (PeopleUser, ScoreUser, EventsUser) if one.path in wanted]
    for one in users:
        one.weight = wanted[one.path]
    environment.user_classes = list(users)
    load_results.watch(environment, thresholds, model=_model(_target.options))


def _model(options: Any) -> dict[str, Any]:
    kind = f"open: {options.arrivals:g} arrivals a second" if options.arrivals else "closed: each user waits for its answer"
    return {"model": kind, "mix": options.mix, "stages": options.stages, "people": options.people, "steps": STAGES[options.stages]}


class Stages(LoadTestShape):
    """Users over time, from the table."""

    def tick(self) -> tuple[int, float] | None:
        """How many users now; None at the end."""
        now = self.get_run_time()
        for until, users in STAGES[target().options.stages]:
            if now < until:
                return users, 100.0
        return None


class PathUser(FastHttpUser):
    """A user of one path: in the closed model it asks and asks again, in the open one it starts requests when they are due."""

    abstract = True
    path = ""
    wait_time = constant(0)
    concurrency = MOST_IN_FLIGHT
    _cpfs = itertools.count()

    def on_start(self) -> None:
        """Its own place among the people, and its share of the arrivals."""
        self._random = random.Random(next(self._cpfs))
        self._in_flight = 0
        self._due = time.perf_counter()

    def cpf(self) -> str:
        """Anyone, each as likely."""
        return self._random.choice(target().cpfs)

    @task
    def run_once(self) -> None:
        """One request, or in the open model one arrival."""
        arrivals = target().options.arrivals
        if not arrivals:
            return self.ask(time.perf_counter())
        most = max(users for _, users in STAGES[target().options.stages])
        self._due += most / arrivals  # so many users at most share the arrivals
        gevent.sleep(max(0.0, self._due - time.perf_counter()))
        if self._in_flight >= MOST_IN_FLIGHT:
            self.note(self.headline, 0.0, "too many requests under way: not sent")
        else:
            gevent.spawn(self._counted, self._due)
        return None

    headline = ""

    def _counted(self, due: float) -> None:
        self._in_flight += 1
        try:
            self.ask(due)
        finally:
            self._in_flight -= 1

    def ask(self, due: float) -> None:
        """One whole request, timed from when it was due."""
        raise NotImplementedError

    def note(self, name: str, seconds: float, wrong: str | None = None, length: int = 0) -> None:
        """An entry of the table that is not one HTTP call."""
        error = load_results.Wrong(wrong) if wrong else None
        self.environment.events.request.fire(
            request_type="", name=name, response_time=seconds * 1000, response_length=length, exception=error, context={}, response=None
        )

    def call(self, name: str, method: str, url: str, check: Any, status: int = 200, **how: Any) -> Any:
        """One HTTP call whose body `check` finds right (a reason in words, or None); its JSON, or None where anything is wrong."""
        try:
            headers = {"authorization": f"Bearer {target().token()}"}
        except ConsumidorError as error:
            self.note(name, 0.0, error.detail)
            raise StopUser from error
        with self.client.request(method, url, name=name, headers=headers, catch_response=True, **how) as answer:
            if answer.status_code != status:
                answer.failure(f"status {answer.status_code}")
                return None
            try:
                body = answer.json()
                wrong = check(body)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                wrong = f"another body than promised ({type(error).__name__})"
            if wrong:
                answer.failure(wrong)
                return None
            return body


class ScoreUser(PathUser):
    """Asks for scores."""

    path, headline = "score", "score: GET score"

    def ask(self, due: float) -> None:
        """A score between 0 and 1000 with a band, reasons and a model."""
        del due
        self.call(self.headline, "GET", f"/v1/score/{self.cpf()}", _wrong_score)


def _wrong_score(body: dict[str, Any]) -> str | None:
    right = 0 <= body["score"] <= 1000 and body["band"] and body["model"] and all(one["points_lost"] > 0 for one in body["reasons"])
    return None if right else "no score as promised"


class EventsUser(PathUser):
    """Asks for the latest events, and every third time for a page."""

    path, headline = "events", "events: GET latest"

    def ask(self, due: float) -> None:
        """Three kinds, or a page newest first."""
        del due
        if self._random.random() < 2 / 3:
            self.call(self.headline, "GET", f"/v1/events/latest?cpf={self.cpf()}", _wrong_latest)
        else:
            self.call("events: GET page", "GET", f"/v1/events?cpf={self.cpf()}&limit=20", _wrong_page)


def _wrong_latest(body: dict[str, Any]) -> str | None:
    kinds = ("bureau_inquiry", "financial_movement", "card_purchase")
    return None if all(body[kind] is None or body[kind]["kind"] == kind for kind in kinds) else "an event of another kind"


def _wrong_page(body: dict[str, Any]) -> str | None:
    times = [event["occurred_at"] for event in body["events"]]
    return None if times == sorted(times, reverse=True) and len(times) <= 20 else "not newest first"


class PeopleUser(PathUser):
    """Submits a request and waits for its response; one user of them also receives for all."""

    path, headline = "people", "people: POST to response"

    def on_start(self) -> None:
        """The first two users' greenlets receive too: the client has one queue."""
        super().on_start()
        if target().receivers < 2:
            target().receivers += 1
            gevent.spawn(self._receive)

    def ask(self, due: float) -> None:
        """From when the request was due to its response, with the hops in between as entries of their own."""
        body = {"cpf": self.cpf(), "purpose": self._random.choice(PURPOSES)}
        accepted = self.call("people: hop 1, POST accepted", "POST", "/v1/people/requests", _wrong_accepted, 202, json=body)
        if accepted is None:
            return self.note(self.headline, time.perf_counter() - due, "not accepted")
        sent, request_id = time.perf_counter(), accepted["request_id"]
        waiting = target().waiting[request_id] = AsyncResult()
        if request_id in target().early:
            waiting.set(target().early.pop(request_id))
        try:
            delivery = waiting.get(timeout=RESPONSE_SECONDS)
        except gevent.Timeout:
            return self.note(self.headline, time.perf_counter() - due, "no response in time")
        finally:
            target().waiting.pop(request_id, None)
        now = time.perf_counter()
        self.note("people: hop 2, accepted to response", now - sent)
        return self.note(self.headline, now - due, _wrong_delivery(delivery))

    def _receive(self) -> None:
        while True:
            found = self.call("people: receiver, GET responses", "GET", "/v1/people/responses?wait=5", _wrong_responses)
            if not found or not found["responses"]:
                gevent.sleep(0.05 if found else 1.0)
                continue
            for delivery in found["responses"]:
                waiting = target().waiting.get(delivery["request_id"])
                if waiting:
                    waiting.set(delivery)
                else:
                    target().early[delivery["request_id"]] = delivery
            receipts = [delivery["receipt"] for delivery in found["responses"]]
            self.call("people: receiver, POST ack", "POST", "/v1/people/responses/ack", _wrong_outcomes, json={"receipts": receipts})


def _wrong_accepted(body: dict[str, Any]) -> str | None:
    return None if len(body["request_id"]) == 36 else "no request id"


def _wrong_responses(body: dict[str, Any]) -> str | None:
    return None if isinstance(body["responses"], list) else "no list"


def _wrong_outcomes(body: dict[str, Any]) -> str | None:
    return None if all(one["outcome"] == "deleted" for one in body["receipts"]) else "not deleted"


def _wrong_delivery(delivery: dict[str, Any]) -> str | None:
    """Everyone asked about is there, so a response has a report, or a link to one."""
    if delivery["status"] != "found":
        return f"status {delivery['status']}"
    if "report_url" in delivery:
        return None if delivery["bytes"] > 1_000_000 and len(delivery["sha256"]) == 64 else "a link to no large report"
    report = delivery["report"]
    total = sum(debt["amount_cents"] for debt in report["debts"] if debt["status"] == "open")
    return None if report["cpf"] and report["name"] and report["total_open_cents"] == total else "a report that does not add up"
