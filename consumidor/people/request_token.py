"""A request message is itself a JWT: signed by the people API, verified by the worker, which holds public keys only.

EdDSA over Ed25519 only (RFC 8037). So a message put on the queue by anyone else, or altered, is worth nothing, and the caller's own
token never rests in a queue.
"""

import json
import time
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import jwt
import msgspec
from cryptography.exceptions import InvalidSignature

from consumidor.auth import canonical, strict_object
from consumidor.errors import (
    ConsumidorError,
    ExpiredMessage,
    ForgedMessage,
    MalformedMessage,
    MessageRefused,
    SettingsError,
    UnknownVersion,
)
from consumidor.people.model import MESSAGE_VERSION, Purpose
from consumidor.settings import Document

TYPE, ISSUER, AUDIENCE = "people-request+jwt", "people-api", "people-worker"
LIFE = 12 * 3600  # seconds a request may wait for its answer
SIZE_LIMIT = 4096  # a true request has about 700 bytes
LEEWAY = 30  # seconds of clock difference allowed


# A `$` of Python's also stands before a line break at the end: none may follow.
Client = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,40}$(?!\n)")]
RequestId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$(?!\n)")]
Person = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]


class Claims(msgspec.Struct, frozen=True):
    """What a request message claims; `iat` and `exp` in seconds since 1970."""

    version: Literal[1]
    iss: Literal["people-api"]
    aud: Literal["people-worker"]
    sub: Client
    jti: RequestId
    person: Person
    purpose: Purpose
    iat: int
    exp: int


class Request(NamedTuple):
    """A verified request: which client asks under which id about which person, why, and until when (seconds since 1970)."""

    client: str
    request_id: str
    person: str
    purpose: str
    expires: int


class RefusedRequest(NamedTuple):
    """Why a message is refused, and whom to tell: client and request id, where the signature was true and both are readable."""

    error: ConsumidorError
    client: str | None = None
    request_id: str | None = None


class Signer:
    """Signs requests with the people API's private JWK (`kid`, `d`, `x`).

    Raises:
        SettingsError: not an Ed25519 private JWK with a kid.
    """

    def __init__(self, jwk: str) -> None:
        try:
            members = json.loads(jwk)
            if members["crv"] != "Ed25519" or not members["d"]:
                raise ValueError("curve")
            self._kid, self._key = str(members["kid"]), jwt.PyJWK(members, "EdDSA").key
        except (ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            raise SettingsError("PEOPLE_SIGNING_KEY must be an Ed25519 private JWK with a kid") from error

    def sign(self, client: str, request_id: str, person: str, purpose: str) -> str:
        """The message for one request, valid for 12 h from now."""
        now = int(time.time())
        claims = {
            "version": MESSAGE_VERSION, "iss": ISSUER, "aud": AUDIENCE, "sub": client, "jti": request_id,
            "person": person, "purpose": purpose, "iat": now, "exp": now + LIFE,
        }  # fmt: skip
        return jwt.encode(claims, self._key, "EdDSA", headers={"kid": self._kid, "typ": TYPE})


class RequestVerifier:
    """Reads request messages with the public JWKS (setting `PEOPLE_SIGNING_PUBLIC_KEYS`), old keys included.

    Raises:
        SettingsError: no JWKS, or without any Ed25519 key.
    """

    def __init__(self, jwks: str) -> None:
        self._document = Document(jwks)
        self._keys = _public_keys(self._document.read()[0])

    def verify(self, message: str) -> Request | RefusedRequest:
        """The request, or why it is refused (unreadable, forged, unknown version, wrong claims, expired)."""
        try:
            claims = self._authentic(message)
        except MessageRefused as error:
            return RefusedRequest(error)
        try:
            return _request(claims)
        except MessageRefused as error:
            client, request_id = claims.get("sub"), claims.get("jti")
            known = _is(client, Client) and _is(request_id, RequestId)
            return RefusedRequest(error, client, request_id) if known else RefusedRequest(error)

    def _authentic(self, message: str) -> dict[str, Any]:
        """The claims, where the signature is the people API's; times are checked later, since a late true request is answered."""
        if len(message) > SIZE_LIMIT:
            raise MalformedMessage("the message is too long")
        if message.count(".") != 2:
            raise MalformedMessage("the message is not a JWT")
        signed, _, signature = message.rpartition(".")
        head, _, claims = signed.partition(".")
        key = self._key(_kid(head))
        try:
            key.verify(canonical(signature), signed.encode())
        except (InvalidSignature, ValueError) as error:
            raise ForgedMessage("the message's signature is not the people API's") from error
        try:
            return strict_object(claims)  # looked at only behind a true signature
        except (ValueError, RecursionError) as error:
            raise MalformedMessage("the message's claims are not a JSON object") from error

    def _key(self, kid: object) -> Any:
        if not isinstance(kid, str):
            raise ForgedMessage("the message names no key")
        if kid not in self._keys:
            text, changed = self._document.read()
            self._keys = _public_keys(text) if changed else self._keys
        if kid not in self._keys:
            raise ForgedMessage("the message names no key of the people API")
        return self._keys[kid]


@lru_cache(64)  # one signer's headers are all the same text
def _kid(head: str) -> object:
    """The key id of a header, canonical and ours or refused."""
    try:
        header = strict_object(head)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("the message is not a JWT") from error
    if header.get("alg") != "EdDSA" or header.get("typ") != TYPE or "crit" in header or "b64" in header:
        raise ForgedMessage("the message's header is not the people API's")
    return header.get("kid")


def _request(claims: dict[str, Any]) -> Request:
    if claims.get("version") != MESSAGE_VERSION or type(claims["version"]) is not int:
        raise UnknownVersion("the message's version is not known here")
    if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        raise ForgedMessage("the message is not from the people API to the worker")
    try:
        read = msgspec.convert(claims, Claims)
    except msgspec.ValidationError as error:
        raise MalformedMessage("wrong claims") from error
    if read.iat > time.time() + LEEWAY:
        raise MalformedMessage("issued in the future")
    if read.exp + LEEWAY <= time.time():
        raise ExpiredMessage("the request waited past its deadline")
    return Request(read.sub, read.jti, read.person, read.purpose, read.exp)


def _is(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _public_keys(text: str) -> dict[str, Any]:
    try:
        listed = [jwk for jwk in json.loads(text)["keys"] if jwk.get("crv") == "Ed25519" and "d" not in jwk]
        keys = {str(jwk["kid"]): jwt.PyJWK(jwk, "EdDSA").key for jwk in listed}
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise SettingsError("PEOPLE_SIGNING_PUBLIC_KEYS must be a JWKS") from error
    if not keys:
        raise SettingsError("PEOPLE_SIGNING_PUBLIC_KEYS has no Ed25519 public key")
    return keys
