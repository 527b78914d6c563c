"""Attacks on the token check (their table is `tests/attacks.py`), and callers who flood it."""

import contextlib
import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import Response

from consumidor import auth, web
from consumidor.auth import FetchNeeded, KeySet, Verifier
from consumidor.clients import Clients
from consumidor.errors import Forbidden, Unauthenticated
from tests.attacks import ATTACKS, PUBLISHED, Attack
from tests.faults.results import record
from tests.tokens import AUDIENCE, ISSUER, Issuer, b64, b64_json
from tests.unit.test_auth import REGISTRY, verifier_of

KIDS = int(os.environ.get("FAULT_KIDS", "10000"))  # `make faults`: 100,000


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """One key for the module: making RSA keys is slow."""
    return Issuer()


@pytest.fixture(scope="module")
def verifier(issuer: Issuer) -> Verifier:
    """A verifier that has the issuer's key already."""
    verifier = verifier_of(issuer)
    verifier.verify(issuer.token())
    return verifier


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks_are_refused(issuer: Issuer, verifier: Verifier, attack: Attack) -> None:
    """Each of them is refused, before and after a true caller was let in, and asks the issuer for nothing."""
    fetches = issuer.fetches
    with pytest.raises(Unauthenticated):
        verifier.verify(attack(issuer))
    assert verifier.verify(issuer.token()).client == "acme"
    assert issuer.fetches == fetches


def test_the_table_is_told(issuer: Issuer, verifier: Verifier) -> None:
    """How many attacks there are, and how many of them got in."""
    accepted = 0
    for attack in ATTACKS.values():
        with contextlib.suppress(Unauthenticated):
            verifier.verify(attack(issuer))
            accepted += 1
    record("token_attacks", {"attacks": len(ATTACKS), "wrong_keys": len(PUBLISHED), "accepted_wrongly": accepted})
    assert accepted == 0


def test_a_registered_sub_does_not_vouch_for_another_client_id(issuer: Issuer, verifier: Verifier) -> None:
    """The caller is `client_id` where there is one, whatever `sub` says."""
    with pytest.raises(Forbidden):
        verifier.verify(issuer.token({"client_id": "id-thief", "sub": "id-acme"}))


def test_no_forgery_under_an_exponent_of_three() -> None:
    """Bleichenbacher's forgery of 2006: where e is 3, a cube root whose cube begins like a padded digest is no signature."""
    weak = Issuer()
    weak.key = rsa.generate_private_key(public_exponent=3, key_size=2048)
    weak.jwks = {"keys": [weak.jwk(e="Aw")]}
    verifier = verifier_of(weak)
    assert verifier.verify(weak.token()).client == "acme"  # the key itself is taken
    signing_input = weak.token({"client_id": "id-globex"}).rpartition(".")[0]
    information = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo of SHA-256 (RFC 8017, 9.2)
    wanted = b"\0\1\xff\xff\xff\xff\xff\xff\xff\xff\0" + information + hashlib.sha256(signing_input.encode()).digest()
    root = _cube_root(int.from_bytes(wanted.ljust(256, b"\xff")))
    assert (root**3).to_bytes(256).startswith(wanted)
    with pytest.raises(Unauthenticated):
        verifier.verify(f"{signing_input}.{b64(root.to_bytes(256))}")


def _cube_root(number: int) -> int:
    """The largest integer whose cube is not larger."""
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle - 1)
    return low


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_a_wrong_key_is_passed_over_and_holds_up_no_other(issuer: Issuer, published: Callable[[Issuer], dict[str, Any]]) -> None:
    """A published key that is not one for RS256 verifies nothing; a good one beside it does."""
    other = Issuer(kid="key-2")
    keys = KeySet(lambda: json.dumps({"keys": [published(issuer), other.jwk()]}).encode())
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, keys=keys, clients=Clients(REGISTRY))
    with pytest.raises(Unauthenticated):
        verifier.verify(issuer.token())
    assert verifier.verify(other.token()).client == "acme"


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [1, null]}', b"\xff", b'{"keys": 7}'])
def test_an_unreadable_jwks_takes_no_key_away(issuer: Issuer, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """What is no JWKS, or an empty shell of one, is either passed over or an end to all keys, never a crash."""
    monkeypatch.setattr(auth, "COOLDOWN", 0.0)
    answers = [issuer.fetch(), text]
    verifier = Verifier(
        issuer=ISSUER, audience=AUDIENCE, keys=KeySet(lambda: answers.pop(0) if answers else text), clients=Clients(REGISTRY)
    )
    assert verifier.verify(issuer.token()).client == "acme"
    with pytest.raises(Unauthenticated):
        verifier.verify(issuer.token(header={"kid": "makes-it-read-again"}))
    if text != b'{"keys": [1, null]}':  # that one is a JWKS without a key: all are withdrawn
        assert verifier.verify(issuer.token({"jti": "2"})).client == "acme"


def test_a_flood_of_made_up_kids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random kids over ten cooldowns: one reading each at most, and a true caller keeps at least 90 % of their rate.

    The rate is taken in turns, with and without the flood, of the true caller's calls alone; medians, so that a busy machine
    does not decide.
    """
    clock = [1000.0]
    monkeypatch.setattr("consumidor.auth.time.monotonic", lambda: clock[0])
    issuer, random = Issuer(), Random(8)
    verifier, good = verifier_of(issuer), issuer.token()
    verifier.verify(good)
    tail = good.partition(".")[2]
    alone, flooded = [], []
    for turn in range(0, KIDS, 20):
        alone.append(_seconds_of(verifier, good))
        for _ in range(20):
            head = b64_json({"alg": "RS256", "kid": random.randbytes(12).hex()})
            with pytest.raises(Unauthenticated):
                verifier.verify(f"{head}.{tail}")
        flooded.append(_seconds_of(verifier, good))
        clock[0] += 10 * auth.COOLDOWN * 20 / KIDS if turn else 0.0
    kept = statistics.median(alone) / statistics.median(flooded)
    record("made_up_kids", {"kids": KIDS, "cooldowns": 10, "readings": issuer.fetches, "rate_kept": round(kept, 2)})
    assert issuer.fetches <= 11
    assert kept >= 0.9


def _seconds_of(verifier: Verifier, token: str) -> float:
    started = time.perf_counter()
    for _ in range(200):
        verifier.verify(token)
    return time.perf_counter() - started


def test_a_hanging_issuer_and_made_up_kids_hold_up_nobody() -> None:
    """While the issuer hangs, callers with made-up kids wait for it, and true ones whose call needs a thread do not."""
    issuer = Issuer()
    hanging = {"now": False}

    def fetch() -> bytes:
        if hanging["now"]:
            time.sleep(6.0)
        return issuer.fetch()

    async def work(_: Request) -> Response:
        await anyio.to_thread.run_sync(lambda: None)
        return web.json_response({})

    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, keys=KeySet(fetch), clients=Clients(REGISTRY))
    verifier.verify(issuer.token())
    app = web.build_app("x", verifier, web.Part([web.Operation("GET", "/x", work, "consumidor/people.read", "x", {200: dict[str, str]})]))
    hanging["now"] = True
    verifier._keys._unknown_again = 0.0

    async def main() -> tuple[list[int], float]:
        refused: list[int] = []

        async def made_up(number: int) -> None:
            refused.append(await _call(app, issuer.token(header={"kid": f"made-up-{number}"})))

        async with anyio.create_task_group() as group:
            for number in range(60):  # more than anyio's 40 threads
                group.start_soon(made_up, number)
            await anyio.sleep(0.3)
            started = time.monotonic()
            assert await _call(app, issuer.token()) == 200
            waited = time.monotonic() - started
        return refused, waited

    refused, waited = anyio.run(main)
    assert refused == [401] * 60
    assert waited < 3.0  # and not what the issuer lets the others wait


async def _call(app: Any, token: str) -> int:
    """The status of GET /x with that token."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    await app(scope, receive, send)
    return status


def test_an_event_loop_is_never_made_to_wait(issuer: Issuer) -> None:
    """Who may not wait is told so, also for the thousandth made-up kid of a cooldown that has ended."""
    verifier = verifier_of(issuer)
    for number in range(3):
        with pytest.raises(FetchNeeded):
            verifier.verify(issuer.token(header={"kid": f"made-up-{number}"}), may_wait=False)
