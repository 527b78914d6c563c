"""The people API's signing keys (Ed25519): the private one a secret of the API, the public ones a setting of the worker."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls
from credentials import Secret, SecretArgs, SecretText


@dataclass(frozen=True)
class SigningArgs:
    """Key ids: the first signs, all verify."""

    key_ids: Sequence[str]
    key: pulumi.Input[str]
    recovery_days: int


class Signing(pulumi.ComponentResource):
    """`private_key` (a secret Ed25519 JWK), `public_keys` (a JWKS as text)."""

    private_key: SecretText
    public_keys: pulumi.Output[str]

    def __init__(self, name: str, args: SigningArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Signing", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        pairs = {kid: tls.PrivateKey(f"{name}-{kid}", algorithm="ED25519", opts=child) for kid in args.key_ids}
        publics = [_public(kid, pair) for kid, pair in pairs.items()]
        private = {**publics[0], "d": pairs[args.key_ids[0]].private_key_pem.apply(raw_key)}
        secret = SecretArgs(pulumi.Output.json_dumps(private), args.key, args.recovery_days, "signs people requests (Ed25519 JWK)")
        self.private_key = Secret(f"{name}-private", secret, child).where
        self.public_keys = pulumi.Output.json_dumps({"keys": publics})
        self.register_outputs({})


def _public(kid: str, pair: tls.PrivateKey) -> dict[str, pulumi.Input[str]]:
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": pair.public_key_pem.apply(raw_key)}


def raw_key(pem: str) -> str:
    """The 32 bytes of an Ed25519 key as base64url; they end both encodings, SPKI and PKCS #8 version 1 (RFC 8410, sections 4 and 7)."""
    body = "".join(line for line in str(pem).splitlines() if not line.startswith("-"))
    return base64.urlsafe_b64encode(base64.b64decode(body)[-32:]).rstrip(b"=").decode()
