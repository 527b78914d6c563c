"""Tokens made by hand, byte for byte, so that no library under test decides what can be written."""

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER, AUDIENCE = "http://issuer.test", "consumidor"


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def b64_json(value: object) -> str:
    """base64url of a value's JSON."""
    return b64(json.dumps(value).encode())


class Issuer:
    """An RS256 issuer: its key, its JWKS, its tokens; `fetches` counts the readings of its JWKS."""

    def __init__(self, kid: str = "key-1", bits: int = 2048) -> None:
        self.kid = kid
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.fetches = 0
        self.down = False
        self.jwks: dict[str, Any] = {"keys": [self.jwk()]}

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as a JWK."""
        numbers = self.key.public_key().public_numbers()
        size = (self.key.key_size + 7) // 8
        members = {
            "kty": "RSA",
            "kid": self.kid,
            "use": "sig",
            "alg": "RS256",
            "n": b64(numbers.n.to_bytes(size)),
            "e": b64(numbers.e.to_bytes(3)),
        }
        return {name: value for name, value in (members | changes).items() if value is not None}

    def fetch(self) -> bytes:
        """What the JWKS URL answers."""
        self.fetches += 1
        if self.down:
            raise ConnectionError("issuer down")
        return json.dumps(self.jwks).encode()

    def sign(self, signing_input: str) -> str:
        """The RS256 signature of a signing input."""
        return b64(self.key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def token(self, claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None) -> str:
        """A token whose claims and header differ from a good one's as given; None takes a member out."""
        return self.signed(b64_json(drop_none(good_claims() | (claims or {}))), header)

    def signed(self, payload: str, header: dict[str, Any] | None = None) -> str:
        """A token of a payload that is encoded already."""
        head = b64_json(drop_none({"alg": "RS256", "kid": self.kid, "typ": "JWT"} | (header or {})))
        return f"{head}.{payload}.{self.sign(f'{head}.{payload}')}"


def good_claims() -> dict[str, Any]:
    """What a Cognito access token claims, plus `aud`."""
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "id-acme", "client_id": "id-acme", "token_use": "access", "iat": now, "exp": now + 600,
            "scope": "consumidor/people.read consumidor/score.read", "jti": "1", "version": 2}  # fmt: skip


def drop_none(members: dict[str, Any]) -> dict[str, Any]:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}
