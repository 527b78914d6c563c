"""The folder that a local stack keeps everything in: its lock, its ports, its secrets, and what is running."""

import base64
import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumidor.errors import CommandError
from consumidor.local.files import write_private
from consumidor.local.running import LOCK_FILE
from consumidor.local.supervisor import free_port

_ROOM = 500 * 1024 * 1024  # bytes that a first start takes, with some to spare
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
_LOCK_SECONDS = 2.0  # a stack that was killed holds its lock until its children are gone


class Home:
    """One home folder, made where there is none.

    Raises:
        CommandError: it cannot be made, written to, or has too little room.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.logs = self.path / "logs"
        with explained(self.path):
            self.logs.mkdir(parents=True, exist_ok=True)
            room = shutil.disk_usage(self.path).free
        if room < _ROOM:
            raise CommandError(f"{self.path} has only {room >> 20} MiB left; {_ROOM >> 20} MiB are needed")

    @contextlib.contextmanager
    def lock(self) -> Iterator[int]:
        """Hold this home alone; yields the lock's file descriptor, to be held by whatever must end first.

        Raises:
            CommandError: another stack runs here.
        """
        with (self.path / LOCK_FILE).open("a") as file:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _locked(file.fileno()):
                if time.monotonic() > deadline:
                    raise CommandError(f"a stack already runs in {self.path}; stop it, or choose another --home")
                time.sleep(0.1)
            yield file.fileno()

    def ports(self, *names: str) -> dict[str, int]:
        """A free port for each name: the one it had before, where that is still free."""
        file = self.path / "ports.json"
        before: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        now: dict[str, int] = {}
        for name in names:
            port = free_port(before.get(name, 0))
            now[name] = port if port not in now.values() else free_port()
        write_private(file, {**before, **now})
        return now

    def secrets(self) -> dict[str, Any]:
        """`PSEUDONYM_KEY` (hex) and `PEOPLE_SIGNING_KEY` (an Ed25519 private JWK), made once and kept."""
        file = self.path / "secrets.json"
        if not file.exists():
            write_private(file, {"PSEUDONYM_KEY": secrets.token_hex(32), "PEOPLE_SIGNING_KEY": _new_signing_key()})
        return dict(json.loads(file.read_text()))


def claim_port(port: int) -> int:
    """`port` where it is free on 127.0.0.1, any free one for 0.

    Raises:
        CommandError: it is taken, or not ours to take.
    """
    try:
        with socket.create_server(("127.0.0.1", port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise CommandError(f"port {port} {reason}: choose another with --port") from error


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says against writing to `path` into one line; other errors pass.

    Raises:
        CommandError: the disk is full, read-only, not ours, or `path` is no folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise CommandError(f"cannot write to {path}: {os.strerror(error.errno).lower()}") from error


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _new_signing_key() -> dict[str, str]:
    """An Ed25519 JWK (RFC 8037)."""
    key = Ed25519PrivateKey.generate()
    parts = {"d": key.private_bytes_raw(), "x": key.public_key().public_bytes_raw()}
    encoded = {name: base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for name, raw in parts.items()}
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": secrets.token_urlsafe(16), **encoded}


def public_jwks(private: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """The JWKS that verifies what `private` signs."""
    return {"keys": [{name: value for name, value in private.items() if name != "d"}]}
