"""Request messages: signed by the people API, and worth nothing from anyone else."""

import json
import time
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from consumidor.errors import SettingsError
from consumidor.people.request_token import RefusedRequest, Request, RequestVerifier, Signer
from tests.tokens import Issuer, b64, b64_json, drop_none

PERSON = "ab" * 16


class SigningKey:
    """An Ed25519 key as the API holds it, and messages made by hand with it."""

    def __init__(self, kid: str = "sign-1") -> None:
        self.kid, self.key = kid, Ed25519PrivateKey.generate()
        self.public = {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(self.key.public_key().public_bytes_raw())}
        self.private = {**self.public, "d": b64(self.key.private_bytes_raw())}

    def message(self, claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None) -> str:
        """A message whose claims and header differ from a good one's as given; None takes a member out."""
        return self.signed(b64_json(drop_none(good_claims() | (claims or {}))), header)

    def signed(self, payload: str, header: dict[str, Any] | None = None) -> str:
        """A message of an encoded payload."""
        head = b64_json(drop_none({"alg": "EdDSA", "typ": "people-request+jwt", "kid": self.kid} | (header or {})))
        return f"{head}.{payload}.{b64(self.key.sign(f'{head}.{payload}'.encode()))}"


def good_claims() -> dict[str, Any]:
    """What the API claims."""
    now = int(time.time())
    return {"version": 1, "iss": "people-api", "aud": "people-worker", "sub": "acme", "jti": str(uuid.UUID(int=1)), "person": PERSON,
            "purpose": "credit", "iat": now, "exp": now + 3600}  # fmt: skip


KEY = SigningKey()
VERIFIER = RequestVerifier(json.dumps({"keys": [KEY.public, SigningKey("sign-0").public]}))


def reason(message: str) -> str:
    """The class of the error by which a message is refused, or `accepted`."""
    outcome = VERIFIER.verify(message)
    return type(outcome.error).__name__ if isinstance(outcome, RefusedRequest) else "accepted"


def test_what_the_api_signs_the_worker_reads() -> None:
    """A signed request comes out as it went in, with a deadline 12 h away."""
    request_id = str(uuid.uuid4())
    request = VERIFIER.verify(Signer(json.dumps(KEY.private)).sign("acme", request_id, PERSON, "rental"))
    assert isinstance(request, Request)
    assert request[:4] == ("acme", request_id, PERSON, "rental")
    assert abs(request.expires - time.time() - 12 * 3600) < 5


def test_unknown_claims_are_ignored() -> None:
    """A newer API may say more; this worker reads what it knows."""
    assert reason(KEY.message({"newer": True})) == "accepted"


FORGED: dict[str, str] = {
    "another key under our kid": SigningKey().message(),
    "a kid that is not ours": SigningKey("sign-9").message(),
    "alg none": KEY.message(header={"alg": "none"}),
    "alg HS256": KEY.message(header={"alg": "HS256"}),
    "another type": KEY.message(header={"typ": "JWT"}),
    "no type": KEY.message(header={"typ": None}),
    "crit": KEY.message(header={"crit": ["exp"]}),
    "no kid": KEY.message(header={"kid": None}),
    "kid as list": KEY.message(header={"kid": ["sign-1"]}),
    "kid as object": KEY.message(header={"kid": {"sign-1": 1}}),
    "a caller's own RS256 token": Issuer().token(),
    "an altered claim": ".".join([KEY.message().split(".")[0], b64_json({**good_claims(), "sub": "globex"}), KEY.message().split(".")[2]]),
    "another audience": KEY.message({"aud": "someone"}),
    "another issuer": KEY.message({"iss": "someone"}),
    "no signature": KEY.message().rpartition(".")[0] + ".",
    "the key it brings along": SigningKey("sign-1").message(header={"jwk": KEY.public}),
}


@pytest.mark.parametrize("message", FORGED.values(), ids=FORGED.keys())
def test_forged_messages(message: str) -> None:
    """Nothing that the people API did not sign, for the worker, is a request."""
    assert reason(message) == "ForgedMessage"


MALFORMED: dict[str, str] = {
    "plain text": "465",
    "JSON": json.dumps(good_claims()),
    "empty": "",
    "over-long": "a" * 5000,
    "header is not JSON": "AAAA." + KEY.message().partition(".")[2],
    "payload is not JSON": KEY.signed(b64(b"not json")),
    "payload is a list": KEY.signed(b64(b"[]")),
    "a claim named twice": KEY.signed(b64(json.dumps(good_claims()).encode()[:-1] + b', "sub": "globex"}')),
    "over-long client": KEY.message({"sub": "a" * 41}),
    "client with a slash": KEY.message({"sub": "acme/../globex"}),
    "client as number": KEY.message({"sub": 7}),
    "request id not a UUID": KEY.message({"jti": "x" * 500}),
    "person in clear": KEY.message({"person": "46509208172"}),
    "unknown purpose": KEY.message({"purpose": "curiosity"}),
    "purpose as list": KEY.message({"purpose": ["credit"]}),
    "no deadline": KEY.message({"exp": None}),
    "deadline as text": KEY.message({"exp": "tomorrow"}),
    "from the future": KEY.message({"iat": int(time.time()) + 3600}),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_messages(message: str) -> None:
    """What cannot be read, or is truly signed with claims of the wrong type or length, is refused as malformed."""
    assert reason(message) == "MalformedMessage"


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0])
def test_unknown_versions(version: object) -> None:
    """Only version 1, the integer, is read."""
    assert reason(KEY.message({"version": version})) == "UnknownVersion"


def test_a_late_request_knows_whom_to_tell() -> None:
    """Past its deadline a true request is refused, and its client can be told."""
    refusal = VERIFIER.verify(KEY.message({"iat": 1, "exp": int(time.time()) - 60}))
    assert isinstance(refusal, RefusedRequest)
    assert type(refusal.error).__name__ == "ExpiredMessage"
    assert (refusal.client, refusal.request_id) == ("acme", str(uuid.UUID(int=1)))


def test_nobody_is_told_of_what_nobody_signed() -> None:
    """A forged message's client is not believed, so nobody gets a response."""
    refusal = VERIFIER.verify(SigningKey().message())
    assert isinstance(refusal, RefusedRequest)
    assert (refusal.client, refusal.request_id) == (None, None)


@given(st.text(max_size=300) | st.lists(st.binary(max_size=60).map(b64), min_size=3, max_size=3).map(".".join))
def test_any_text_is_refused_and_never_an_error(text: str) -> None:
    """Whatever is put on the queue, verifying it ends in a refusal."""
    assert reason(text) in ("MalformedMessage", "ForgedMessage")


@pytest.mark.parametrize("jwk", ["{}", '{"crv": "Ed25519"}', json.dumps(KEY.public), "{"])
def test_a_wrong_signing_key_is_a_setting_error(jwk: str) -> None:
    """The API does not start with a key that cannot sign."""
    with pytest.raises(SettingsError):
        Signer(jwk)


@pytest.mark.parametrize("jwks", ["{}", '{"keys": []}', '{"keys": [{}]}', "[]", "{", '{"keys": 5}'])
def test_wrong_public_keys_are_a_setting_error(jwks: str) -> None:
    """The worker does not start with keys that verify nothing."""
    with pytest.raises(SettingsError):
        RequestVerifier(jwks)


def test_keys_added_to_the_file_are_found(tmp_path: Any) -> None:
    """After a rotation the worker finds the new key in the file, without a restart."""
    path, new = tmp_path / "keys.json", SigningKey("sign-2")
    path.write_text(json.dumps({"keys": [KEY.public]}))
    verifier = RequestVerifier(f"file:{path}")
    path.write_text(json.dumps({"keys": [KEY.public, new.public]}))
    time.sleep(1.05)
    assert isinstance(verifier.verify(new.message()), Request)
    assert isinstance(verifier.verify(KEY.message()), Request)
