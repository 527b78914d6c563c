"""The score endpoint against the same read with nothing around it and against two other frameworks; the cache of verified tokens."""

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks import served
from benchmarks.measure import Figure, Took, in_turns, microseconds, ratio, spread, timed
from benchmarks.stack import Place, Stack
from consumidor import cpf
from consumidor.auth import KeySet, Verifier
from consumidor.client import TokenSource
from consumidor.clients import Clients
from consumidor.local import synthetic
from consumidor.local.seeding import SEED

REQUESTS = 1_000  # of each server in a turn
OURS, BARE = "consumidor.score.api:from_environment", "benchmarks.peers.bare_score:build"


def digits_of(count: int) -> list[str]:
    """CPFs of synthetic people that a stack of as many has in all bases."""
    return [person.cpf for person in synthetic.people(SEED, count, 2026)]


def token_of(stack: Stack, client: str = "acme") -> str:
    """A token of the stack's issuer, with all scopes."""
    return TokenSource(f"{stack.info['issuer']}/oauth2/token", **stack.info["clients"][client])()


class Asked(NamedTuple):
    """What to start servers with, and the same people asked for at the service's route and at the bare one."""

    environment: dict[str, str]
    full: list[bytes]
    bare: list[bytes]


def _asked(stack: Stack) -> Asked:
    token, key = token_of(stack), stack.settings("score-api").pseudonym_key
    people = list(itertools.islice(itertools.cycle(digits_of(1_000)), REQUESTS))
    full = [served.get(f"/v1/score/{digits}", token) for digits in people]
    bare = [served.get(f"/v1/score/{cpf.pseudonym(key, digits)}") for digits in people]
    return Asked(stack.environment.of("score-api"), full, bare)


def score(place: Place) -> Iterator[Figure]:
    """Requests per CPU-second of the server process, ours over each other's; the inquiry events' thread included."""
    environment, full, bare = _asked(place.stack)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as exits:
        log = Path(scratch) / "log"
        start = exits.enter_context
        ours = start(served.uvicorn(OURS, environment, log))
        floor = start(served.uvicorn(BARE, environment, log.with_suffix(".bare")))
        alike = start(served.uvicorn(f"{BARE}_alike", environment, log.with_suffix(".alike")))
        fastapi = start(served.uvicorn("benchmarks.peers.fastapi_score:build", environment, log.with_suffix(".fastapi")))
        flask = start(served.gunicorn("benchmarks.peers.flask_score:build()", environment, log.with_suffix(".flask")))
        took = in_turns({
            "ours": lambda: ours.answer(full), "bare": lambda: floor.answer(bare), "alike": lambda: alike.answer(bare),
            "fastapi": lambda: fastapi.answer(full), "flask": lambda: flask.answer(full),
        })  # fmt: skip
    beside = {f"{name}_cpu_us": microseconds(each, "cpu") for name, each in took.items()}
    beside |= {f"{name}_requests_per_s": round(1e6 / microseconds(each)) for name, each in took.items()}
    for other in ("bare", "alike", "fastapi", "flask"):
        yield Figure(f"score-{other}", ratio(took[other], took["ours"], "cpu"), "x", beside)


def connections(place: Place) -> Iterator[Figure]:
    """The same two servers at 1, 16 and 64 connections, with requests/s, p50 and p99 of each beside."""
    environment, full, bare = _asked(place.stack)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as exits:
        ours = exits.enter_context(served.uvicorn(OURS, environment, Path(scratch) / "log"))
        floor = exits.enter_context(served.uvicorn(BARE, environment, Path(scratch) / "log.bare"))
        for many in (1, 16, 64):
            waits: dict[str, list[float]] = {"ours": [], "bare": []}
            took = in_turns({
                "ours": partial(ours.answer, full, many, waits["ours"]), "bare": partial(floor.answer, bare, many, waits["bare"]),
            })  # fmt: skip
            beside: dict[str, float] = {f"{name}_requests_per_s": round(1e6 / microseconds(each)) for name, each in took.items()}
            for name, each in waits.items():
                cuts = quantiles(each[REQUESTS:], n=100)  # without the turn that warmed up
                beside |= {f"{name}_p50_ms": round(1e3 * cuts[49], 2), f"{name}_p99_ms": round(1e3 * cuts[98], 2)}
            yield Figure(f"score-at-{many}", ratio(took["bare"], took["ours"], "cpu"), "x", beside)


def tokens(_: Place, hits: int = 20_000, misses: int = 100) -> Iterator[Figure]:
    """One verified token again and again, against tokens never seen before."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "1", "use": "sig"}
    jwks = json.dumps({"keys": [jwk]})
    now = int(time.time())
    claims = {
        "iss": "http://issuer",
        "aud": "consumidor",
        "client_id": "acme",
        "scope": "consumidor/score.read",
        "iat": now,
        "exp": now + 3600,
    }
    known = [jwt.encode(claims | {"jti": str(number)}, key, "RS256", headers={"kid": "1"}) for number in range(misses)]

    def verifier() -> Verifier:
        keys = KeySet(jwks.encode)
        return Verifier(issuer="http://issuer", audience="consumidor", keys=keys, clients=Clients('{"acme": "acme"}'))

    def hit() -> Took:
        warm = verifier()
        warm.verify(known[0])
        return timed(lambda: sum(1 for _ in range(hits) if warm.verify(known[0])))

    def miss() -> Took:
        cold = verifier()
        cold.verify(known[0])  # reads the keys
        return timed(lambda: sum(1 for token in known[1:] if cold.verify(token)))

    took = in_turns({"hit": hit, "miss": miss})
    beside = {f"{name}_us": microseconds(each, "cpu") for name, each in took.items()}
    yield Figure("token-cache-hit", spread(one.each("cpu") * 1e6 for one in took["hit"]), "us", beside)
    yield Figure("token-cache", ratio(took["miss"], took["hit"], "cpu"), "x", beside)
