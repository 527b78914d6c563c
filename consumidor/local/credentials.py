"""The issuer's own files: its clients and its keys. Each is replaced whole, and the issuer reads it again when it was."""

import json
import math
import re
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from consumidor.errors import CommandError
from consumidor.local.files import locked, write_private

TOKEN_SECONDS = 3600
FIRST_CLIENTS = ("acme", "globex")
_GRACE = 300  # seconds a key outlives its last token: clocks differ
_PUBLIC = ("kty", "n", "e", "kid", "alg", "use")  # members of a JWK that anyone may see


class Keys(NamedTuple):
    """The key that signs now, and the public ones, each until when: also the next one, known before it is used, and retired ones."""

    kid: str
    private: Any
    public: tuple[tuple[dict[str, Any], float], ...]

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWKS: a retired one is left out once its last token has ended."""
        return {"keys": [jwk for jwk, until in self.public if until > time.time()]}


def prepare(home: Path) -> None:
    """Make what the issuer needs where it is missing: keys and the first clients."""
    for name in FIRST_CLIENTS:
        add_client(home, name)
    with locked(keys_path(home)):
        if not keys_path(home).exists():
            write_private(keys_path(home), {"keys": [{"jwk": _new_key()}, {"jwk": _new_key()}]})


def add_client(home: Path, name: str) -> bool:
    """Register a client under `name`, with an id and a secret of its own; False where it is registered already.

    Its response queue is `Aws.ensure_response_queue`'s to make.

    Raises:
        CommandError: not a name.
    """
    check_name(name)
    path = clients_path(home)
    with locked(path):
        clients = read_clients(home)
        added = name not in clients
        if added:
            clients[name] = {"client_id": secrets.token_hex(13), "client_secret": secrets.token_urlsafe(32)}
        if added or not registry_path(home).exists():
            # The registry first: a client that can get a token is one that the doors know.
            write_private(registry_path(home), {client["client_id"]: each for each, client in clients.items()})
            write_private(path, clients)
    return added


def check_name(name: str) -> None:
    """Refuse what is not a client's name.

    Raises:
        CommandError: it is not 1 to 40 of a-z, 0-9 and -.
    """
    if not re.fullmatch(r"[a-z0-9-]{1,40}", name):
        raise CommandError("a client's name has 1 to 40 of a-z, 0-9 and -")


def clients_path(home: Path) -> Path:
    """The file of all clients: name -> client_id and client_secret."""
    return home / "clients.json"


def registry_path(home: Path) -> Path:
    """The file behind the setting `CLIENTS`: client_id -> name, no secrets."""
    return home / "clients-registry.json"


def read_clients(home: Path) -> dict[str, dict[str, str]]:
    """All clients: name -> {client_id, client_secret}; none where there is no file yet."""
    path = clients_path(home)
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def rotate_keys(home: Path) -> str:
    """Sign with the next key from now on and return its id; the old one stays published until its tokens have ended.

    Raises:
        CommandError: there are no keys yet.
    """
    path = keys_path(home)
    if not path.exists():
        raise CommandError(f"no issuer's keys in {home}: `consumidor up` makes them")
    with locked(path):
        following, current, *retired = json.loads(path.read_text(encoding="utf-8"))["keys"]
        current["until"] = int(time.time()) + TOKEN_SECONDS + _GRACE
        kept = [key for key in retired if key["until"] > time.time()]
        write_private(path, {"keys": [{"jwk": _new_key()}, following, current, *kept]})
    return str(following["jwk"]["kid"])


def keys_path(home: Path) -> Path:
    """The file of the issuer's private keys: the next one, the current one, then retired ones with their end."""
    return home / "issuer-keys.json"


def _new_key() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    return {**jwk, "kid": secrets.token_urlsafe(16), "alg": "RS256", "use": "sig"}


def parse_keys(document: dict[str, Any]) -> Keys:
    """What the keys' file holds, by its order."""
    current = document["keys"][1]["jwk"]
    public = [({name: key["jwk"][name] for name in _PUBLIC}, key.get("until", math.inf)) for key in document["keys"]]
    return Keys(current["kid"], jwt.PyJWK(current, "RS256").key, tuple(public))
