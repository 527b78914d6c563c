"""The token contract: who gets in, and every way of being refused."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consumidor import auth
from consumidor.auth import Caller, FetchNeeded, KeySet, Verifier
from consumidor.clients import Clients
from consumidor.errors import DependencyDown, Forbidden, Unauthenticated
from tests.tokens import AUDIENCE, ISSUER, Issuer, b64, b64_json, drop_none, good_claims

REGISTRY = json.dumps({"id-acme": "acme", "id-globex": "globex"})


@pytest.fixture(scope="module")
def signing_issuer() -> Issuer:
    """One key for the module: making RSA keys is slow."""
    return Issuer()


@pytest.fixture
def issuer(signing_issuer: Issuer) -> Issuer:
    """The issuer with its JWKS and counters as new."""
    signing_issuer.jwks, signing_issuer.fetches, signing_issuer.down = {"keys": [signing_issuer.jwk()]}, 0, False
    return signing_issuer


def verifier_of(issuer: Issuer, registry: str = REGISTRY) -> Verifier:
    """A verifier that trusts the issuer."""
    return Verifier(issuer=ISSUER, audience=AUDIENCE, keys=KeySet(issuer.fetch), clients=Clients(registry))


def test_a_good_token_names_its_caller(issuer: Issuer) -> None:
    """A token as the contract wants it gives the registry's name, the client id and the scopes."""
    caller = verifier_of(issuer).verify(issuer.token())
    assert caller == Caller("acme", "id-acme", frozenset({"consumidor/people.read", "consumidor/score.read"}))


@pytest.mark.parametrize(
    "claims",
    [{"aud": ["other", AUDIENCE]}, {"aud": None}, {"client_id": None}, {"token_use": None}, {"nbf": 1}],
    ids=["aud-list", "no-aud-as-cognito", "sub-alone", "no-token-use", "nbf-past"],
)
def test_other_shapes_that_are_as_good(issuer: Issuer, claims: dict[str, Any]) -> None:
    """What the contract leaves open is accepted."""
    assert verifier_of(issuer).verify(issuer.token(claims)).client == "acme"


def test_clocks_may_differ_by_the_leeway(issuer: Issuer) -> None:
    """A token that expired ten seconds ago, or was issued ten seconds from now, is let in."""
    now = int(time.time())
    assert verifier_of(issuer).verify(issuer.token({"exp": now - 10})).client == "acme"
    assert verifier_of(issuer).verify(issuer.token({"iat": now + 10})).client == "acme"


REFUSED_CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": int(time.time()) - 60},
    "no exp": {"exp": None},
    "no iat": {"iat": None},
    "no iss": {"iss": None},
    "no scope": {"scope": None},
    "no client_id or sub": {"client_id": None, "sub": None},
    "foreign issuer": {"iss": "http://issuer.test/"},
    "issuer in a list": {"iss": [ISSUER]},
    "foreign audience": {"aud": "other"},
    "empty audience list": {"aud": []},
    "audience is null text": {"aud": ""},
    "no audience and an id token": {"aud": None, "token_use": "id"},
    "no audience and no token_use": {"aud": None, "token_use": None},
    "no audience and an unregistered client": {"aud": None, "client_id": "id-other"},
    "no audience and only sub": {"aud": None, "client_id": None},
    "an id token with our audience": {"token_use": "id"},
    "issued in the future": {"iat": int(time.time()) + 3600},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "exp as text": {"exp": str(int(time.time()) + 600)},
    "exp as float": {"exp": time.time() + 600.5},
    "exp huge": {"exp": 10**30},
    "exp negative": {"exp": -1},
    "exp true": {"exp": True},
    "iat as text": {"iat": "0"},
    "nbf as text": {"nbf": "0"},
    "scope as list": {"scope": ["consumidor/people.read"]},
    "client_id as number": {"client_id": 7},
    "client_id empty": {"client_id": ""},
    "client_id long": {"client_id": "x" * 300},
}


@pytest.mark.parametrize("claims", REFUSED_CLAIMS.values(), ids=REFUSED_CLAIMS.keys())
def test_refused_claims(issuer: Issuer, claims: dict[str, Any]) -> None:
    """Each wrong claim alone is enough to be refused."""
    with pytest.raises(Unauthenticated):
        verifier_of(issuer).verify(issuer.token(claims))


REFUSED_HEADERS: dict[str, dict[str, Any]] = {
    "no kid": {"kid": None},
    "empty kid": {"kid": ""},
    "kid as number": {"kid": 1},
    "unknown kid": {"kid": "key-2"},
    "kid as path": {"kid": "../../dev/null"},
    "long kid": {"kid": "k" * 300},
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg RS512": {"alg": "RS512"},
    "alg PS256": {"alg": "PS256"},
    "alg missing": {"alg": None},
    "crit": {"crit": ["exp"], "exp": 1},
    "empty crit": {"crit": []},
    "b64": {"b64": False},
    "type of another token": {"typ": "people-request+jwt"},
    "type as number": {"typ": 5},
}


@pytest.mark.parametrize("header", REFUSED_HEADERS.values(), ids=REFUSED_HEADERS.keys())
def test_refused_headers(issuer: Issuer, header: dict[str, Any]) -> None:
    """Each wrong header member alone is enough, however true the signature."""
    with pytest.raises(Unauthenticated):
        verifier_of(issuer).verify(issuer.token(header=header))


def test_keys_the_token_brings_along_are_ignored(issuer: Issuer) -> None:
    """`jwk`, `jku` and `x5u` of an attacker's own key open nothing, and nothing is fetched from where they point."""
    thief = Issuer(kid=issuer.kid)
    brought = {"jwk": thief.jwk(), "jku": "http://thief.test/jwks", "x5u": "http://thief.test/cert"}
    with pytest.raises(Unauthenticated):
        verifier_of(issuer).verify(thief.token(header=brought))
    assert verifier_of(issuer).verify(issuer.token(header=brought)).client == "acme"


def _pem(issuer: Issuer) -> bytes:
    return issuer.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("variant", [bytes, bytes.strip, lambda pem: pem.replace(b"\n", b"\r\n"), lambda pem: pem + b"\n"])
def test_the_public_key_as_hmac_secret(issuer: Issuer, variant: Callable[[bytes], bytes]) -> None:
    """HS256 keyed with the published key, in any of its spellings, is refused."""
    head, payload = b64_json({"alg": "HS256", "kid": issuer.kid}), b64_json(good_claims())
    signature = b64(hmac.digest(variant(_pem(issuer)), f"{head}.{payload}".encode(), hashlib.sha256))
    with pytest.raises(Unauthenticated):
        verifier_of(issuer).verify(f"{head}.{payload}.{signature}")


def _alias(segment: str) -> str:
    """Another spelling of the same bytes: the unused low bits of the last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) ^ 1]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "padding": lambda token: token + "=",
    "stray bits in the signature": _alias,
    "trailing byte": lambda token: token + "A",
    "trailing part": lambda token: token + ".",
    "trailing line break": lambda token: token + "\n",
    "leading space": lambda token: " " + token,
    "standard alphabet": lambda token: token[:-4] + "+/+/",
    "no signature": lambda token: token.rpartition(".")[0] + ".",
    "two parts": lambda token: token.rpartition(".")[0],
    "empty": lambda _: "",
    "dots": lambda _: "..",
    "not ASCII": lambda token: token + "\u0660",
    "nested": lambda token: f"{b64_json({'alg': 'RS256', 'kid': 'key-1', 'cty': 'JWT'})}.{b64(token.encode())}.AAAA",
    "over-long": lambda token: token + "A" * 9000,
    "signature of zeros": lambda token: token.rpartition(".")[0] + "." + b64(bytes(256)),
    "five parts": lambda token: token + ".AA.AA",
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_token_has_one_spelling(issuer: Issuer, spell: Callable[[str], str]) -> None:
    """What could be read in two ways, or is no JWT, is refused."""
    verifier = verifier_of(issuer)
    with pytest.raises(Unauthenticated):
        verifier.verify(spell(issuer.token()))


PAYLOADS = {
    "member named twice": json.dumps(good_claims())[:-1] + ', "scope": "consumidor/profile.read"}',
    "NaN": json.dumps(good_claims())[:-1] + ', "nbf": NaN}',
    "a list": json.dumps([good_claims()]),
    "text": '"token"',
    "deep": "[" * 5000 + "]" * 5000,
    "not JSON": "{",
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_payloads_that_are_not_one_plain_object(issuer: Issuer, payload: str) -> None:
    """A truly signed payload that readers could differ on is refused."""
    with pytest.raises(Unauthenticated):
        verifier_of(issuer).verify(issuer.signed(b64(payload.encode("utf-8", "surrogateescape"))))


@pytest.mark.parametrize("changes", [{"use": "enc"}, {"key_ops": ["sign"]}, {"alg": "RS512"}, {"kty": "EC"}, {"d": "AQAB"}, {"kid": None}],
                         ids=["use", "key_ops", "alg", "kty", "private", "no kid"])  # fmt: skip
def test_keys_not_made_for_this(issuer: Issuer, changes: dict[str, Any]) -> None:
    """A published key of another use, algorithm or type verifies nothing."""
    issuer.jwks = {"keys": [issuer.jwk(**changes)]}
    with pytest.raises(Unauthenticated):
        verifier_of(issuer).verify(issuer.token())


def test_short_keys_elliptic_keys_and_ambiguous_ids() -> None:
    """A 1024-bit RSA key, an EC key, and a kid that two keys share verify nothing."""
    short = Issuer(bits=1024)
    with pytest.raises(Unauthenticated):
        verifier_of(short).verify(short.token())
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    curve = {"kty": "EC", "crv": "P-256", "kid": "key-1", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}
    twin = Issuer()
    for keys in ([curve], [twin.jwk(), Issuer().jwk()]):
        twin.jwks = {"keys": keys}
        with pytest.raises(Unauthenticated):
            verifier_of(twin).verify(twin.token())


def test_an_unregistered_client_is_forbidden(issuer: Issuer) -> None:
    """A true token of a client that is not in the registry gets 403, not 401."""
    with pytest.raises(Forbidden):
        verifier_of(issuer).verify(issuer.token({"client_id": "id-other", "sub": "id-other"}))


def test_one_reading_serves_many_unknown_kids(issuer: Issuer) -> None:
    """Whatever kids a caller makes up, the issuer is asked once per cooldown, and known callers go on."""
    verifier = verifier_of(issuer)
    good = issuer.token()
    verifier.verify(good)
    for number in range(500):
        with pytest.raises(Unauthenticated):
            verifier.verify(issuer.token(header={"kid": f"made-up-{number}"}))
    assert verifier.verify(good).client == "acme"
    assert issuer.fetches == 1


def test_readings_coalesce(issuer: Issuer) -> None:
    """Twenty threads that meet an unknown kid at once cause one reading, and all are let in by it."""
    verifier, token = verifier_of(issuer), issuer.token()
    callers: list[Caller] = []
    threads = [threading.Thread(target=lambda: callers.append(verifier.verify(token))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(callers) == 20
    assert issuer.fetches == 1


def test_asking_the_issuer_is_left_to_who_may_wait(issuer: Issuer) -> None:
    """An event loop is told that a reading is needed instead of being held up by it."""
    with pytest.raises(FetchNeeded):
        verifier_of(issuer).verify(issuer.token(), may_wait=False)


def test_an_issuer_never_reached_is_a_dependency_down(issuer: Issuer) -> None:
    """Before the first JWKS nobody can be judged: 503, not 401."""
    issuer.down = True
    with pytest.raises(DependencyDown):
        verifier_of(issuer).verify(issuer.token())


def test_known_keys_outlive_the_issuer(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the issuer is down, keys it once published go on serving, new tokens included."""
    monkeypatch.setattr(auth, "COOLDOWN", 0.0)
    verifier = verifier_of(issuer)
    verifier.verify(issuer.token())
    issuer.down = True
    with pytest.raises(Unauthenticated):
        verifier.verify(issuer.token(header={"kid": "other"}))
    assert verifier.verify(issuer.token({"jti": "2"})).client == "acme"


@pytest.mark.parametrize("gone", [True, False], ids=["kid gone", "same kid, other key"])
def test_a_key_that_is_gone_takes_its_cached_tokens_along(issuer: Issuer, monkeypatch: pytest.MonkeyPatch, *, gone: bool) -> None:
    """A verified token is forgotten when its key is no longer the issuer's."""
    monkeypatch.setattr(auth, "COOLDOWN", 0.0)
    verifier, token = verifier_of(issuer), issuer.token()
    verifier.verify(token)
    issuer.jwks = {"keys": [] if gone else [Issuer().jwk()]}
    with pytest.raises(Unauthenticated):
        verifier.verify(issuer.token(header={"kid": "makes-it-read-again"}))
    with pytest.raises(Unauthenticated):
        verifier.verify(token)


def test_the_cache_is_bounded_and_counts(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most CACHE_SIZE tokens are kept, the oldest going first; hits and misses are counted."""
    monkeypatch.setattr(auth, "CACHE_SIZE", 2)
    verifier = verifier_of(issuer)
    tokens = [issuer.token({"jti": str(number)}) for number in range(3)]
    for token in [*tokens, tokens[2], tokens[0]]:
        verifier.verify(token)
    assert (verifier.hits, verifier.misses) == (1, 4)


def test_a_token_let_in_is_refused_once_expired(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Having been verified before does not outlast the token's end (plus the leeway), to the second."""
    end = int(time.time()) + 600
    verifier, token = verifier_of(issuer), issuer.token({"exp": end})
    verifier.verify(token)
    for now in (end - 1, end, end + auth.LEEWAY - 1):
        _set_clocks(monkeypatch, now)
        assert verifier.verify(token).client == "acme"
    assert verifier.hits == 1  # from its end on it is looked at anew each time
    _set_clocks(monkeypatch, end + auth.LEEWAY)
    with pytest.raises(Unauthenticated, match="it has expired"):
        verifier.verify(token)


def _set_clocks(monkeypatch: pytest.MonkeyPatch, now: int) -> None:
    """What our code and PyJWT take the time from, in seconds since 1970."""

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Clock":
            return cls.fromtimestamp(now, tz)

    monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    monkeypatch.setattr("jwt.api_jwt.datetime", Clock)


def test_the_registry_is_read_again_within_a_second(issuer: Issuer, tmp_path: Any) -> None:
    """A client added to the registry's file is let in without a restart; one that is taken out is not."""
    path = tmp_path / "clients.json"
    path.write_text(json.dumps({"id-globex": "globex"}))
    verifier, token = verifier_of(issuer, f"file:{path}"), issuer.token()
    with pytest.raises(Forbidden):
        verifier.verify(token)
    path.write_text(REGISTRY)
    time.sleep(1.05)
    assert verifier.verify(token).client == "acme"


def test_nothing_of_a_token_is_in_its_refusal(issuer: Issuer) -> None:
    """What an error says never repeats a part of the token."""
    claims = {"iss": "secret-issuer", "sub": "secret-sub"}
    with pytest.raises(Unauthenticated) as refused:
        verifier_of(issuer).verify(issuer.token(claims))
    assert "secret" not in refused.value.detail


def test_helpers_spell_as_the_standard_does() -> None:
    """The hand-made tokens are standard ones: canonical base64url of JSON."""
    assert json.loads(base64.urlsafe_b64decode(b64_json(drop_none({"a": 1, "b": None})) + "==")) == {"a": 1}
