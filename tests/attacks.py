"""Attacks on the token check, each made by hand: RFC 8725, and what has been published since. All are to be refused."""

import hashlib
import hmac
import json
import zlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.tokens import AUDIENCE, ISSUER, Issuer, b64, b64_json, drop_none, good_claims

Attack = Callable[[Issuer], str]


def _hmac(secret: Callable[[Issuer], bytes], algorithm: str = "HS256") -> Attack:
    """A token keyed with something that everybody can know."""
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]

    def attack(issuer: Issuer) -> str:
        signing_input = f"{b64_json({'alg': algorithm, 'kid': issuer.kid, 'typ': 'JWT'})}.{b64_json(good_claims())}"
        return f"{signing_input}.{b64(hmac.digest(secret(issuer), signing_input.encode(), digest))}"

    return attack


def _public(encoding: serialization.Encoding, form: serialization.PublicFormat) -> Callable[[Issuer], bytes]:
    return lambda issuer: issuer.key.public_key().public_bytes(encoding, form)


_PEM = _public(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
_PKCS1 = _public(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
_DER = _public(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _unsigned(algorithm: str, signature: str = "") -> Attack:
    return lambda issuer: f"{b64_json({'alg': algorithm, 'kid': issuer.kid})}.{b64_json(good_claims())}.{signature}"


def _thief(**header: Any) -> Attack:
    """Signed with the thief's own key, which the header brings along or points to."""
    thief = Issuer(kid="key-1")

    def attack(issuer: Issuer) -> str:
        given = {name: value(thief) if callable(value) else value for name, value in header.items()}
        return thief.token(header={"kid": issuer.kid, **given})

    return attack


def _raw(header: str | bytes, payload: str | bytes | None = None) -> Attack:
    """Truly signed by the issuer, of a header and payload as they are."""

    def attack(issuer: Issuer) -> str:
        parts = [header, payload if payload is not None else json.dumps(good_claims())]
        signing_input = ".".join(b64(part.encode() if isinstance(part, str) else part) for part in parts)
        return f"{signing_input}.{issuer.sign(signing_input)}"

    return attack


def _claims(**claims: Any) -> Attack:
    return lambda issuer: issuer.token(claims)


def _header(**header: Any) -> Attack:
    return lambda issuer: issuer.token(header=header)


def _signature(change: Callable[[bytes, Issuer], bytes]) -> Attack:
    """A good token whose signature's bytes are changed."""

    def attack(issuer: Issuer) -> str:
        signing_input = issuer.token().rpartition(".")[0]
        signature = issuer.key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{b64(change(signature, issuer))}"

    return attack


def _other_scheme(algorithm: str, scheme: padding.AsymmetricPadding, digest: hashes.HashAlgorithm) -> Attack:
    """Truly signed by the issuer's own key, by a scheme that we did not choose; the header says RS256 or tells the truth."""

    def attack(issuer: Issuer) -> str:
        signing_input = f"{b64_json({'alg': algorithm, 'kid': issuer.kid})}.{b64_json(good_claims())}"
        return f"{signing_input}.{b64(issuer.key.sign(signing_input.encode(), scheme, digest))}"

    return attack


def _elliptic(_: Issuer) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}
    signing_input = f"{b64_json({'alg': 'ES256', 'kid': 'key-1', 'jwk': jwk})}.{b64_json(good_claims())}"
    return f"{signing_input}.{b64(key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))}"


def _compressed(issuer: Issuer) -> str:
    return issuer.signed(b64(zlib.compress(json.dumps(good_claims()).encode())), {"zip": "DEF"})


def _json_serialization(issuer: Issuer) -> str:
    head, payload, signature = issuer.token().split(".")
    return json.dumps({"payload": payload, "signatures": [{"protected": head, "signature": signature}]})


def _around(text: str) -> Attack:
    return lambda issuer: text + issuer.token() + text


def _padded(issuer: Issuer) -> str:
    """A good token, its segments padded as plain base64 would have them."""
    return ".".join(part + "=" * (-len(part) % 4) for part in issuer.token({"filler": "ab"}).split("."))


def _swapped(issuer: Issuer) -> str:
    """The claims of one true token under the signature of another."""
    head, _, signature = issuer.token().split(".")
    return f"{head}.{b64_json(good_claims() | {'client_id': 'id-globex'})}.{signature}"


_WRONG_TIMES: list[Any] = ["9" * 10, 4e9, -1, 2**63, True, [4_000_000_000], {"$gt": 0}, ""]
_OTHER_ISSUERS = [ISSUER + "/", ISSUER.upper(), ISSUER + ".thief.test", "http://issuer.test@thief.test", " " + ISSUER, ISSUER + "\0", ""]
WRONG_CLAIMS: dict[str, list[Any]] = {
    "exp": _WRONG_TIMES,
    "iat": _WRONG_TIMES,
    "nbf": _WRONG_TIMES,
    "iss": [*_OTHER_ISSUERS, [ISSUER], 1, {}, True],
    "aud": [AUDIENCE.upper(), AUDIENCE + " ", AUDIENCE + "/", "", [], ["other"], [[AUDIENCE]], {AUDIENCE: 1}, 1, True, [AUDIENCE.upper()]],
    "client_id": [["id-acme"], {"id-acme": 1}, 7, True, "", "x" * 257],
    "token_use": ["id", "refresh", "ACCESS", "", 1, ["access"]],
}
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
GOOD_HEADER = {"alg": "RS256", "kid": "key-1", "typ": "JWT"}
ATTACKS: dict[str, Attack] = {
    **{f"alg {name}": _unsigned(name) for name in ("none", "None", "NONE", "nOnE", "", " none", "none ")},
    **{f"alg {name} with a signature": _unsigned(name, "AAAA") for name in ("none", "NONE", "rs256", "RS256 ", "Rs256")},
    "alg none, escaped": _raw('{"alg": "n\\u006fne", "kid": "key-1"}'),
    "alg as list": _header(alg=["RS256"]),
    "alg as object": _header(alg={"RS256": 1}),
    "alg as number": _header(alg=256),
    **{f"{algorithm} with the PEM": _hmac(_PEM, algorithm) for algorithm in ("HS256", "HS384", "HS512")},
    "HS256 with the PEM, stripped": _hmac(lambda issuer: _PEM(issuer).strip()),
    "HS256 with the PEM, CRLF": _hmac(lambda issuer: _PEM(issuer).replace(b"\n", b"\r\n")),
    "HS256 with the PEM, one line": _hmac(lambda issuer: _PEM(issuer).replace(b"\n", b"")),
    "HS256 with the PEM, leading line break": _hmac(lambda issuer: b"\n" + _PEM(issuer)),
    "HS256 with the PEM of PKCS 1": _hmac(_PKCS1),
    "HS256 with the DER": _hmac(_DER),
    "HS256 with the modulus": _hmac(lambda issuer: issuer.key.public_key().public_numbers().n.to_bytes(256)),
    "HS256 with the JWK": _hmac(lambda issuer: json.dumps(issuer.jwk()).encode()),
    "HS256 with the JWKS": _hmac(lambda issuer: json.dumps(issuer.jwks).encode()),
    "HS256 with the kid": _hmac(lambda issuer: issuer.kid.encode()),
    "HS256 with nothing": _hmac(lambda _: b"\0"),
    "jwk": _thief(jwk=lambda thief: thief.jwk()),
    "jku": _thief(jku="http://thief.test/jwks"),
    "jku at the issuer": _thief(jku=f"{ISSUER}/redirect?to=http://thief.test"),
    "x5u": _thief(x5u="http://thief.test/cert"),
    "x5c": _thief(x5c=["MIIB"]),
    "x5t": _thief(x5t="AAAA"),
    "kid as URL": _thief(kid="http://thief.test/key.pem"),
    "kid as path": _thief(kid="../../../../dev/null"),
    "kid as file": _thief(kid="file:///etc/passwd"),
    "kid with a null byte": _thief(kid="key-1\0"),
    "kid with a line break": _thief(kid="key-1\n"),
    "kid with a space": _thief(kid="key-1 "),
    "kid in capitals": _thief(kid="KEY-1"),
    "kid as SQL": _thief(kid="' union select 'key' --"),
    "kid as command": _thief(kid="key-1; touch /tmp/x"),
    "kid as list": _thief(kid=["key-1"]),
    "kid as object": _thief(kid={"key-1": 1}),
    "kid true": _thief(kid=True),
    "the thief's own": _thief(),
    "ES256 by a key of its own": _elliptic,
    "PS256 by the issuer's key": _other_scheme("PS256", PSS, hashes.SHA256()),
    "PS256 called RS256": _other_scheme("RS256", PSS, hashes.SHA256()),
    "RS384 by the issuer's key": _other_scheme("RS384", padding.PKCS1v15(), hashes.SHA384()),
    "RS512 called RS256": _other_scheme("RS256", padding.PKCS1v15(), hashes.SHA512()),
    "SHA-1 called RS256": _other_scheme("RS256", padding.PKCS1v15(), hashes.SHA1()),  # noqa: S303 - what an attacker would like
    "signature of zeros": _signature(lambda raw, _: bytes(len(raw))),
    "signature of ones": _signature(lambda raw, _: b"\xff" * len(raw)),
    "signature 1": _signature(lambda raw, _: (1).to_bytes(len(raw))),
    "signature n": _signature(lambda _, issuer: issuer.key.public_key().public_numbers().n.to_bytes(256)),
    "signature plus n": _signature(
        lambda raw, issuer: (int.from_bytes(raw) + issuer.key.public_key().public_numbers().n).to_bytes(257)
    ),
    "signature with a leading zero": _signature(lambda raw, _: b"\0" + raw),
    "signature with a byte more": _signature(lambda raw, _: raw + b"\0"),
    "signature with a byte less": _signature(lambda raw, _: raw[:-1]),
    "signature with a bit flipped": _signature(lambda raw, _: bytes([raw[0] ^ 1]) + raw[1:]),
    "signature twice": _signature(lambda raw, _: raw + raw),
    "signature empty": _signature(lambda *_: b""),
    "another token's signature": _swapped,
    "crit of what we know": _header(crit=["alg"]),
    "crit of b64": _header(crit=["b64"], b64=True),
    "b64 true": _header(b64=True),
    "b64 null": _raw('{"alg": "RS256", "kid": "key-1", "b64": null}'),
    "zip": _compressed,
    "nested": lambda issuer: issuer.signed(b64(issuer.token().encode()), {"cty": "JWT"}),
    "nested as text": lambda issuer: issuer.signed(b64_json(issuer.token())),
    "JSON serialization": _json_serialization,
    "JWE": lambda issuer: f"{b64_json({'alg': 'RSA-OAEP', 'enc': 'A256GCM', 'kid': issuer.kid})}.AAAA.AAAA.AAAA.AAAA",
    **{f"typ {name}": _header(typ=name) for name in ("dpop+jwt", "id+jwt", "logout+jwt", "secevent+jwt", "people-request+jwt", "JWT ")},
    **{f"typ {name!r}": _header(typ=name) for name in (None, 1, ["JWT"]) if name is not None},
    "alg twice": _raw('{"alg": "none", "alg": "RS256", "kid": "key-1"}'),
    "kid twice": _raw('{"alg": "RS256", "kid": "other", "kid": "key-1"}'),
    "aud twice": _raw(json.dumps(GOOD_HEADER), json.dumps(good_claims())[:-1] + f', "aud": "{AUDIENCE}"}}'),
    "a nested member twice": _raw(json.dumps(GOOD_HEADER), json.dumps(good_claims())[:-1] + ', "x": {"a": 1, "a": 2}}'),
    **{f"header {text[:12]!r}": _raw(text) for text in ("[]", '"x"', "1", "null", "true", "", "{", "{}", json.dumps(GOOD_HEADER) + "x")},
    "header with a byte order mark": _raw("\ufeff" + json.dumps(GOOD_HEADER)),
    "header in UTF-16": _raw(json.dumps(GOOD_HEADER).encode("utf-16")),
    "header in Latin-1": _raw(json.dumps(GOOD_HEADER | {"x": "é"}, ensure_ascii=False).encode("latin-1")),
    "claims with bytes behind": _raw(json.dumps(GOOD_HEADER), json.dumps(good_claims()) + "{}"),
    "claims with a null byte behind": _raw(json.dumps(GOOD_HEADER), json.dumps(good_claims()) + "\0"),
    "claims in UTF-16": _raw(json.dumps(GOOD_HEADER), json.dumps(good_claims()).encode("utf-16-le")),
    "claims empty": _raw(json.dumps(GOOD_HEADER), "{}"),
    "claims null": _raw(json.dumps(GOOD_HEADER), "null"),
    "a number of 5000 digits": _raw(json.dumps(GOOD_HEADER), json.dumps(good_claims())[:-1] + ', "nbf": ' + "9" * 5000 + "}"),
    "Infinity": _raw(json.dumps(GOOD_HEADER), json.dumps(good_claims())[:-1] + ', "nbf": -Infinity}'),
    "exp 1e400": _raw(json.dumps(GOOD_HEADER), json.dumps(drop_none(good_claims() | {"exp": None}))[:-1] + ', "exp": 1e400}'),
    **{f"{name} {value!r}": _claims(**{name: value}) for name, values in WRONG_CLAIMS.items() for value in values},
    "an id token without aud": _claims(aud=None, token_use="id"),
    "without aud, of nobody registered": _claims(aud=None, client_id="id-thief"),
    "scope as object": _claims(scope={"consumidor/people.read": True}),
    **{f"{text!r} around": _around(text) for text in (" ", "\n", '"', "'", "\t", "\0", ".")},
    "over-long by its claims": _claims(filler="x" * 9000),
    "standard base64": lambda issuer: issuer.token().replace("-", "+").replace("_", "/") + "+",
    "with padding": _padded,
    "full-width digits": lambda issuer: issuer.token()[:-1] + "\uff11",
}  # fmt: skip

# Keys that an issuer publishes beside its good ones, and that verify nothing.
PUBLISHED: dict[str, Callable[[Issuer], dict[str, Any]]] = {
    "a symmetric key under our kid": lambda _: {"kty": "oct", "kid": "key-1", "k": b64(b"secret"), "alg": "HS256"},
    "for encryption": lambda issuer: issuer.jwk(use="enc"),
    "for wrapping keys": lambda issuer: issuer.jwk(key_ops=["wrapKey", "encrypt"]),
    "key_ops as text": lambda issuer: issuer.jwk(key_ops="verify"),
    "of another algorithm": lambda issuer: issuer.jwk(alg="RSA-OAEP"),
    "with its private part": lambda issuer: issuer.jwk(d="AQAB", p="AQAB"),
    "without a modulus": lambda issuer: issuer.jwk(n=None),
    "with a modulus of one": lambda issuer: issuer.jwk(n="AQ"),
    "with an exponent of one": lambda issuer: issuer.jwk(e="AQ"),
    "with an even exponent": lambda issuer: issuer.jwk(e="Ag"),
    "not base64": lambda issuer: issuer.jwk(n="!!"),
    "kid as list": lambda issuer: issuer.jwk(kid=["key-1"]),
    "kty in lower case": lambda issuer: issuer.jwk(kty="rsa"),
}
