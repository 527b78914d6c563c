r"""Load on the three paths, one user class a path, by Locust.

    make load                                                  60 s on a stack of its own, one table
    python -m benchmarks.load --home .local --name mine        on a stack that runs, results in benchmarks/results/mine
    locust -f benchmarks/locustfile.py --home .local           with Locust's own page
    locust -f benchmarks/locustfile.py --headless --api https://api.example --token-url https://issuer.example/oauth2/token \
        --client-id ... --people 10000 --mix even --stages minute          (the secret in CLIENT_SECRET)

Closed model: each user waits for its answer before the next request, so a slow server is asked less. Open model (`--arrivals N`): at
most N requests a second (the stages scale it) come whatever the server does, and each is timed from when it was due, so that what
this very program is late with counts too. The table says which ran. Every request counts: one that is not answered in time, or still
under way when the run's end has been waited for, is a failure.
"""

import itertools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.pool import Group
from locust import FastHttpUser, LoadTestShape, constant, events, task
from locust.env import Environment

from benchmarks import load_bodies, load_results, slo
from benchmarks.locust_tables import ACCEPTED, ACKNOWLEDGED, ANSWERED, LATEST, MIXES, PAGE, PEOPLE, RECEIVED, SCORE, STAGES
from consumidor.client import TokenSource
from consumidor.errors import CommandError, ConsumidorError
from consumidor.local import synthetic
from consumidor.local.running import read_stack
from consumidor.local.seeding import SEED

RESPONSE_SECONDS = 10.0  # a call, or the response to a people request, that takes longer has failed; so long the end of a run waits
MOST_IN_FLIGHT = 500  # of a user in the open model; an arrival over it counts as a failure, never as nothing
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
    group.add_argument("--arrivals", type=float, default=0.0, help="requests a second at most in the open model; 0: closed model")
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
        self.arrived = Group()  # requests under way in the open model
        self.receivers = Group()
        self.over = False


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
    # Ctrl-C ends a run as SIGTERM does: Python's own handler would raise in whichever user runs just then, with a traceback.
    gevent.signal_handler(signal.SIGINT, os.kill, os.getpid(), signal.SIGTERM)
    wanted = MIXES[environment.parsed_options.mix]
    try:
        thresholds = slo.read(environment.parsed_options.slo) if environment.parsed_options.slo else slo.THRESHOLDS
        _target = Target(environment.parsed_options)
        load_results.check_token(_target.token)
        load_results.check_paths(_target.api, _target.token(), wanted, _target.cpfs[-1])
    except ConsumidorError as error:
        load_results.refuse(error.detail)
    environment.host = _target.api
    environment.stop_timeout = max(environment.stop_timeout or 0.0, RESPONSE_SECONDS)
    users: list[type[PathUser]] = [one for one in (PeopleUser, ScoreUser, EventsUser) if one.path in wanted]
    for one in users:
        one.weight = wanted[one.path]
    environment.user_classes = list(users)
    load_results.watch(environment, thresholds, model=_model(_target.options))


def _model(options: Any) -> dict[str, Any]:
    kind = f"open: at most {options.arrivals:g} arrivals a second" if options.arrivals else "closed: each user waits for its answer"
    return {"model": kind, "mix": options.mix, "stages": options.stages, "people": options.people, "steps": STAGES[options.stages]}


@events.test_start.add_listener
def _begin(**_: Any) -> None:
    """Not always the first run of this process, where Locust's own page starts them."""
    if _target is not None:
        _target.over = False


@events.test_stop.add_listener
def _await_the_last(**_: Any) -> None:
    """What arrived before the end gets its time; what is then still under way counts as a failure. Users were given theirs by now.

    Then the receivers' polls are waited for: one left behind would take a response of the next run, which then comes 30 s late.
    """
    if _target is not None:
        _target.arrived.join(timeout=RESPONSE_SECONDS)
        _target.arrived.kill()
        _target.over = True
        _target.receivers.join(timeout=RESPONSE_SECONDS)


class Stages(LoadTestShape):
    """Users over time, from the table."""

    ended = False

    def tick(self) -> tuple[int, float] | None:
        """How many users now; None at the end."""
        now = self.get_run_time()
        for until, users in STAGES[target().options.stages]:
            if now < until:
                return users, 100.0
        self.ended = True
        return None


class PathUser(FastHttpUser):
    """A user of one path: in the closed model it asks and asks again, in the open one it starts requests when they are due."""

    abstract = True
    path = ""
    wait_time = constant(0)
    concurrency = MOST_IN_FLIGHT
    network_timeout = connection_timeout = RESPONSE_SECONDS
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
            return self.counted(time.perf_counter())
        most = max(users for _, users in STAGES[target().options.stages])
        self._due += most / arrivals  # so many users at most share the arrivals
        gevent.sleep(max(0.0, self._due - time.perf_counter()))
        if self._in_flight >= MOST_IN_FLIGHT:
            self.note(self.headline, time.perf_counter() - self._due, "too many requests under way: not sent")
        else:
            target().arrived.spawn(self.counted, self._due)
        return None

    headline = ""

    def counted(self, due: float) -> None:
        """One request, which counts whatever becomes of it, also where it is ended for taking longer than the end of a run waits."""
        self._in_flight += 1
        try:
            self.ask(due)
        except gevent.GreenletExit:
            self.note(self.headline, time.perf_counter() - due, "not answered when the run was over")
            raise
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

    def call(self, name: str, method: str, url: str, check: Any, *, status: int = 200, due: float | None = None, **how: Any) -> Any:
        """One HTTP call whose body `check` finds right; its JSON, or None where anything is wrong. Timed from `due` where that is given."""
        started = time.perf_counter() if due is None else due
        try:
            headers = {"authorization": f"Bearer {target().token()}"}
        except ConsumidorError as error:
            self.note(name, time.perf_counter() - started, error.detail)
            gevent.sleep(1.0)
            return None
        with self.client.request(method, url, name=name, headers=headers, catch_response=True, **how) as answer:
            if due is not None:
                answer.request_meta["response_time"] = (time.perf_counter() - due) * 1000
            body, wrong = _read(answer, status, check)
            if wrong:
                answer.failure(wrong)
            return body


def _read(answer: Any, status: int, check: Any) -> tuple[Any, str | None]:
    """The JSON of an answer and None, or None and what is wrong with it."""
    if answer.status_code != status:
        return None, f"status {answer.status_code}" if answer.status_code else "no answer"
    try:
        body = answer.json()
    except (ValueError, TypeError):
        return None, "no JSON"
    wrong = load_bodies.fault(check, body)
    return (None if wrong else body), wrong


class ScoreUser(PathUser):
    """Asks for scores."""

    path, headline = "score", SCORE

    def ask(self, due: float) -> None:
        """A score between 0 and 1000 with a band, reasons and a model."""
        self.call(SCORE, "GET", f"/v1/score/{self.cpf()}", load_bodies.score, due=due)


class EventsUser(PathUser):
    """Asks for the latest events, and every third time for a page."""

    path, headline = "events", LATEST

    def on_start(self) -> None:
        """Counts what it asks."""
        super().on_start()
        self._asked = itertools.count(1)

    def ask(self, due: float) -> None:
        """Three kinds, or a page newest first."""
        if next(self._asked) % 3:
            self.call(LATEST, "GET", f"/v1/events/latest?cpf={self.cpf()}", load_bodies.latest, due=due)
        else:
            self.call(PAGE, "GET", f"/v1/events?cpf={self.cpf()}&limit=20", load_bodies.page, due=due)


class PeopleUser(PathUser):
    """Submits a request and waits for its response; two users of them also receive for all."""

    path, headline = "people", PEOPLE

    def on_start(self) -> None:
        """The first two users receive too, beside what they ask: the client has one queue."""
        super().on_start()
        if len(target().receivers) < 2:
            target().receivers.spawn(self._receive)

    def ask(self, due: float) -> None:
        """From when the request was due to its response, with the hops in between as entries of their own."""
        asked = self.cpf()
        body = {"cpf": asked, "purpose": self._random.choice(PURPOSES)}
        taken = self.call(ACCEPTED, "POST", "/v1/people/requests", load_bodies.accepted, status=202, json=body)
        if taken is None:
            return self.note(PEOPLE, time.perf_counter() - due, "not accepted")
        sent, request_id = time.perf_counter(), taken["request_id"]
        waiting = target().waiting[request_id] = AsyncResult()
        if request_id in target().early:
            waiting.set(target().early.pop(request_id))
        try:
            delivery = waiting.get(timeout=RESPONSE_SECONDS)
        except gevent.Timeout:
            return self.note(PEOPLE, time.perf_counter() - due, "no response in time")
        finally:
            target().waiting.pop(request_id, None)
        now = time.perf_counter()
        self.note(ANSWERED, now - sent)
        return self.note(PEOPLE, now - due, load_bodies.fault(load_bodies.delivery, delivery, asked))

    def _receive(self) -> None:
        while not target().over:
            found = self.call(RECEIVED, "GET", "/v1/people/responses?wait=1", load_bodies.responses)
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
            self.call(ACKNOWLEDGED, "POST", "/v1/people/responses/ack", load_bodies.acknowledged, json={"receipts": receipts})
