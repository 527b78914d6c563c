"""The score endpoint against the same read with nothing around it and against two other frameworks; the cache of verified tokens."""

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

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


def digits_of(count: int) -> list[str]:
    """CPFs of synthetic people that a stack of as many has in all bases."""
    return [person.cpf for person in synthetic.people(SEED, count, 2026)]


def token_of(stack: Stack, client: str = "acme") -> str:
    """A token of the stack's issuer, with all scopes."""
    return TokenSource(f"{stack.info['issuer']}/oauth2/token", **stack.info["clients"][client])()


def score(place: Place) -> Iterator[Figure]:
    """Requests per CPU-second of the server process, ours over each other's; the inquiry events' thread included."""
    stack = place.stack
    environment, token, key = stack.environment.of("score-api"), token_of(stack), stack.settings("score-api").pseudonym_key
    people = list(itertools.islice(itertools.cycle(digits_of(1_000)), REQUESTS))
    full = [served.get(f"/v1/score/{digits}", token) for digits in people]
    bare = [served.get(f"/v1/score/{cpf.pseudonym(key, digits)}") for digits in people]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as exits:
        log = Path(scratch) / "log"
        start = exits.enter_context
        ours = start(served.uvicorn("consumidor.score.api:from_environment", environment, log))
        floor = start(served.uvicorn("benchmarks.peers.bare_score:build", environment, log.with_suffix(".bare")))
        fastapi = start(served.uvicorn("benchmarks.peers.fastapi_score:build", environment, log.with_suffix(".fastapi")))
        flask = start(served.gunicorn("benchmarks.peers.flask_score:build()", environment, log.with_suffix(".flask")))
        took = in_turns({
            "ours": lambda: ours.answer(full), "bare": lambda: floor.answer(bare),
            "fastapi": lambda: fastapi.answer(full), "flask": lambda: flask.answer(full),
        })  # fmt: skip
    beside = {f"{name}_cpu_us": microseconds(each, "cpu") for name, each in took.items()}
    beside |= {f"{name}_requests_per_s": round(1e6 / microseconds(each)) for name, each in took.items()}
    for other in ("bare", "fastapi", "flask"):
        yield Figure(f"score-{other}", ratio(took[other], took["ours"], "cpu"), "x", beside)


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
