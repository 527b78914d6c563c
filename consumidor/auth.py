"""Who is asking: a bearer token in, a `Caller` out, or a refusal. No web framework in it.

The rules are the token contract's (DESIGN, "Token") and RFC 8725's: the algorithm is ours and never the token's, a key is found by
`kid` in the issuer's JWKS alone, everything that could be read in two ways is refused.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import jwt
import structlog
import urllib3

from consumidor.clients import Clients
from consumidor.errors import ConsumidorError, DependencyDown, Forbidden, Unauthenticated
from consumidor.settings import Settings

LEEWAY = 30  # seconds of clock difference allowed
TOKEN_LIMIT = 8192  # bytes; a Cognito access token has about 1,000
REFRESH = 300.0  # seconds between readings of the JWKS
COOLDOWN = 30.0  # seconds between readings caused by an unknown kid
RETRY = 5.0  # seconds before a failed reading is tried again
CACHE_SIZE = 10_000  # verified tokens kept
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_TYPES = {"", "jwt", "at+jwt", "application/at+jwt"}  # RFC 9068; Cognito leaves it out

log = structlog.get_logger()


class Caller(NamedTuple):
    """A verified caller: the registry's name of the client, its id at the issuer, what it may do."""

    client: str
    client_id: str
    scopes: frozenset[str]


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For json.loads: refuse an object that names a member twice, since readers differ on which one counts."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def strict_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a compact JWS, unverified, where there is one way only to read them.

    Raises:
        ValueError: not three canonical base64url segments (padding and stray bits refused), or not JSON objects of unique members.
    """
    segments = token.split(".")
    if len(segments) != 3:
        raise ValueError("a token has three parts")
    canonical(segments[2])
    return strict_object(segments[0]), strict_object(segments[1])


def strict_object(segment: str) -> dict[str, Any]:
    """The JSON object of unique members that a segment of a token holds.

    Raises:
        ValueError: as `strict_parts`.
    """
    found = _strict.decode(canonical(segment).decode())
    if not isinstance(found, dict):
        raise ValueError("header and claims are JSON objects")  # noqa: TRY004 - the content is wrong, not an argument's type
    return found


def canonical(segment: str) -> bytes:
    """What a segment of a token encodes.

    Raises:
        ValueError: there is another way to write the same bytes.
    """
    if not _SEGMENT.fullmatch(segment):
        raise ValueError("not base64url without padding")
    raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment.encode():
        raise ValueError("not canonical base64url")
    return raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_strict = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=_refuse_constant)


class FetchNeeded(Exception):
    """The key is unknown and the JWKS may be read again, which takes a round trip."""


class KeySet:
    """The issuer's keys by kid: read every 5 min in the background, and for an unknown kid at most once per 30 s.

    Stale keys stay while the issuer is down. `fetch` returns the JWKS's text and is a collaborator for tests.
    """

    def __init__(self, fetch: Callable[[], bytes], changed: Callable[[set[str]], None] | None = None) -> None:
        self._fetch = fetch
        self._keys: dict[str, tuple[str, jwt.PyJWK]] = {}
        self._changed = changed
        self._reading = threading.Lock()
        self._unknown_again = 0.0
        self._loaded = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on_change(self, changed: Callable[[set[str]], None]) -> None:
        """Call `changed` with the kids that are gone or have another key after a reading."""
        self._changed = changed

    def start(self) -> None:
        """Read in the background from now on; does not wait."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._refresh_forever, name="jwks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background reading."""
        self._stop.set()

    def ask(self) -> None:
        """Raises where the issuer does not answer now, whatever keys we still have."""
        self._fetch()

    def _refresh_forever(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            with self._reading:
                wait = REFRESH if self._read() else RETRY

    def find(self, kid: str, *, may_wait: bool) -> jwt.PyJWK:
        """The key of that id.

        Raises:
            FetchNeeded: unknown, a reading is due, and `may_wait` is false.
            Unauthenticated: unknown also to the issuer (or asked within the cooldown).
            DependencyDown: the issuer has not answered even once.
        """
        found = self._keys.get(kid)
        if found is None and time.monotonic() >= self._unknown_again:
            if not may_wait:
                raise FetchNeeded
            found = self._read_for(kid)
        if found is None and not self._loaded:
            raise DependencyDown("issuer")
        if found is None:
            raise Unauthenticated("the token's key is not one of the issuer's")
        return found[1]

    def _read_for(self, kid: str) -> tuple[str, jwt.PyJWK] | None:
        with self._reading:  # whoever waited here finds what the first one read
            if kid not in self._keys and time.monotonic() >= self._unknown_again:
                # Until a first success only a second passes between tries: nobody can be let in yet, nor is there anything to protect.
                self._unknown_again = time.monotonic() + (COOLDOWN if self._read() or self._loaded else 1.0)
            return self._keys.get(kid)

    def _read(self) -> bool:
        try:
            keys = _usable_keys(self._fetch())
        except Exception as error:  # noqa: BLE001 - whatever the issuer sends, the keys we have go on serving
            log.warning("jwks_unreadable", error=type(error).__name__)
            return False
        gone = {kid for kid, (text, _) in self._keys.items() if kid not in keys or keys[kid][0] != text}
        self._keys, self._loaded = keys, True
        if gone and self._changed:
            self._changed(gone)
        return True


def _usable_keys(text: bytes) -> dict[str, tuple[str, jwt.PyJWK]]:
    """RS256 verification keys of at least 2048 bits; a key for anything else is passed over, as is a kid named twice."""
    keys: dict[str, tuple[str, jwt.PyJWK]] = {}
    twice = set()
    listed = json.loads(text)["keys"]
    if not isinstance(listed, list):
        raise ValueError("not a JWKS")  # noqa: TRY004 - the content is wrong, not an argument's type
    for jwk in listed:
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        if not isinstance(kid, str) or not _for_verifying(jwk):
            continue
        twice.update({kid} & keys.keys())
        try:
            keys[kid] = (json.dumps(jwk, sort_keys=True), jwt.PyJWK(jwk, "RS256"))
        except jwt.PyJWTError:
            log.warning("jwk_passed_over")
    return {kid: key for kid, key in keys.items() if kid not in twice and key[1].key.key_size >= 2048}


def _for_verifying(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("kty") == "RSA"
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", "RS256") == "RS256"
        and isinstance(operations, list)
        and "verify" in operations
        and not jwk.keys() & {"d", "p", "q", "k"}  # a published private key is no key
    )


class _Verified(NamedTuple):
    expires: int
    client_id: str
    scopes: frozenset[str]
    kid: str


class _Remembered(NamedTuple):
    """A caller, good until its token expires, its key is gone or the registry is another one."""

    expires: int
    kid: str
    registry: dict[str, str]
    caller: Caller


class Verifier:
    """Turns tokens into callers; a verified token is kept by its SHA-256 until it expires or its key is gone."""

    def __init__(self, *, issuer: str, audience: str, keys: KeySet, clients: Clients) -> None:
        self._issuer, self._audience, self._keys, self._clients = issuer, audience, keys, clients
        self._cache: dict[bytes, _Remembered] = {}
        self.hits = self.misses = 0
        keys.on_change(self._forget)
        self.start, self.stop, self.ask_issuer = keys.start, keys.stop, keys.ask

    def verify(self, token: str, *, may_wait: bool = True) -> Caller:
        """The caller behind a token.

        Raises:
            Unauthenticated: refused, with the reason.
            Forbidden: true, but of a client that is not registered.
            FetchNeeded: `may_wait` is false and the issuer would have to be asked.
            DependencyDown: the issuer has never answered.
        """
        try:
            digest = sha256(token.encode()).digest()
        except UnicodeEncodeError as error:
            raise Unauthenticated("the token is not a well-formed JWT") from error
        registry = self._clients.names()
        known = self._cache.get(digest)
        if known is not None and known.expires > time.time() and known.registry is registry:
            self.hits += 1
            return known.caller
        verified = self._verify(token, may_wait=may_wait)
        name = registry.get(verified.client_id)
        if name is None:
            raise Forbidden("this client is not registered here")
        caller = Caller(name, verified.client_id, verified.scopes)
        self._keep(digest, _Remembered(verified.expires, verified.kid, registry, caller))
        self.misses += 1
        return caller

    def _verify(self, token: str, *, may_wait: bool) -> _Verified:
        if len(token) > TOKEN_LIMIT:
            raise Unauthenticated("the token is too long")
        try:
            header, claims = strict_parts(token)
        except (ValueError, RecursionError) as error:
            raise Unauthenticated("the token is not a well-formed JWT") from error
        kid = _checked_header(header)
        key = self._keys.find(kid, may_wait=may_wait)
        try:
            jwt.decode(
                token, key, algorithms=["RS256"], issuer=self._issuer, leeway=LEEWAY,
                options={"require": ["iss", "exp", "iat", "scope"], "verify_aud": False},
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise Unauthenticated(f"the token is refused: {_reason(error)}") from error
        return self._checked_claims(claims, kid)

    def _checked_claims(self, claims: dict[str, Any], kid: str) -> _Verified:
        """What PyJWT leaves open: the types of the claims, and whom the token is for."""
        for name in ("exp", "iat", "nbf"):
            if name in claims and (type(claims[name]) is not int or not 0 <= claims[name] < 2**40):
                raise Unauthenticated(f"the token is refused: {name} must be a whole number of seconds")
        client_id = claims.get("client_id", claims.get("sub"))
        if not isinstance(client_id, str) or not client_id or len(client_id) > 256:
            raise Unauthenticated("the token is refused: it names no client_id or sub")
        if not isinstance(claims["scope"], str):
            raise Unauthenticated("the token is refused: scope must be a string")
        if claims.get("token_use", "access") != "access" or not self._for_us(claims, client_id):
            raise Unauthenticated("the token is refused: it is not meant for this service")
        return _Verified(claims["exp"], client_id, frozenset(claims["scope"].split(" ")) - {""}, kid)

    def _for_us(self, claims: dict[str, Any], client_id: str) -> bool:
        """By `aud`; where the issuer leaves it out (Cognito), by `token_use` and a client_id of ours."""
        if "aud" not in claims:
            return claims.get("token_use") == "access" and "client_id" in claims and self._clients.name(client_id) is not None
        audience = claims["aud"]
        return audience == self._audience or (isinstance(audience, list) and self._audience in audience)

    def _keep(self, digest: bytes, verified: _Remembered) -> None:
        while len(self._cache) >= CACHE_SIZE:
            self._cache.pop(next(iter(self._cache)), None)  # the oldest; another thread may have been quicker
        self._cache[digest] = verified

    def _forget(self, kids: set[str]) -> None:
        self._cache = {digest: verified for digest, verified in list(self._cache.items()) if verified.kid not in kids}


def _checked_header(header: dict[str, Any]) -> str:
    if header.get("alg") != "RS256":
        raise Unauthenticated("the token is refused: its algorithm is not RS256")
    if "crit" in header or "b64" in header:
        raise Unauthenticated("the token is refused: it asks for extensions")
    if not isinstance(header.get("typ", ""), str) or header.get("typ", "").lower() not in _TYPES:
        raise Unauthenticated("the token is refused: it is of another type")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        raise Unauthenticated("the token is refused: it names no key")
    return kid


def _reason(error: Exception) -> str:
    """A fixed phrase per refusal: an exception's own text may repeat the token's content."""
    return {
        jwt.ExpiredSignatureError: "it has expired",
        jwt.ImmatureSignatureError: "it is not valid yet",
        jwt.InvalidIssuerError: "it is of another issuer",
        jwt.InvalidSignatureError: "its signature is wrong",
        jwt.MissingRequiredClaimError: "a required claim is missing",
    }.get(type(error), "it is not valid")


def http_fetch(url: str) -> Callable[[], bytes]:
    """Reads a JWKS over HTTP: 3 s, no redirects, no retries."""
    pool = urllib3.PoolManager(timeout=3.0, retries=False)

    def fetch() -> bytes:
        response = pool.request("GET", url, redirect=False)
        if response.status != 200:
            raise ConsumidorError(f"the JWKS answers {response.status}")
        return response.data

    return fetch


def build_verifier(settings: Settings) -> Verifier:
    """The verifier of a process whose settings have `JWT_*`, `JWKS_URL` and `CLIENTS`."""
    return Verifier(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        keys=KeySet(http_fetch(settings.jwks_url)),
        clients=Clients(settings.clients),
    )
