"""Base B of the embedded default: SecantusDB, the MongoDB wire protocol on WiredTiger, as a child of our own on 127.0.0.1.

A stand-in, not mongod: whoever has a MongoDB sets BASE_B_URI. Its licence is GPL-2.0-only, so it runs as a process of its own and is
no part of a deployment. It asks for a password (SCRAM-SHA-256) from the first start on: the two users are made in a folder aside, on a
server that nobody else knows of, which then becomes the data folder.
"""

import json
import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from consumidor.errors import CommandError
from consumidor.local.child import Child, passing
from consumidor.local.files import write_private
from consumidor.local.supervisor import Server, free_port

DATABASE = "base_b"
OWNER, READER = "base_b_owner", "base_b_reader"  # who migrates and seeds; who scores and extracts
_ROLES = {OWNER: "dbOwner", READER: "read"}
_SETUP_SECONDS = 30.0


@dataclass(frozen=True)
class MongoDb:
    """The server to run, and how to log in to Base B: as its owner, and as one who may only read it."""

    server: Server
    owner_uri: str
    reader_uri: str


def mongodb(folder: Path, port: int) -> MongoDb:
    """The server with its data and its passwords (0600) in `folder`, kept from one start to the next."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    passwords = _passwords(folder / "passwords.json")
    uris = [f"mongodb://{user}:{passwords[user]}@127.0.0.1:{port}/{DATABASE}?authSource={DATABASE}" for user in (OWNER, READER)]
    server = Server(
        name="mongodb",
        command=[*_command(folder / "data", port), "--auth"],
        ready=partial(_ping, uris[1]),
        stop_seconds=10,
        before_start=partial(_prepare, folder / "data", passwords),
    )
    return MongoDb(server, *uris)


def _command(data: Path, port: int) -> list[str]:
    """Without --sync-on-commit, a kill -9 was seen to lose acknowledged documents."""
    options = {"--host": "127.0.0.1", "--port": str(port), "--storage-path": str(data), "--cache-size": "256M", "--log-level": "WARNING"}
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "secantus", *words, "--standalone", "--sync-on-commit"]


def _ping(uri: str) -> None:
    with _client(uri) as client:
        client[DATABASE].command("ping")


def _client(uri: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(uri, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000, socketTimeoutMS=5000)


def _passwords(file: Path) -> dict[str, str]:
    """One password a user, made at the first start."""
    if not file.exists():
        write_private(file, {user: secrets.token_urlsafe(24) for user in _ROLES})
    loaded: dict[str, str] = json.loads(file.read_text())
    return loaded


def _prepare(data: Path, passwords: dict[str, str]) -> None:
    """A data folder that knows the users, if there is none yet, so that a broken attempt leaves nothing behind."""
    if data.exists():
        return
    new = data.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    port, log = free_port(), data.with_name("setup.log")
    uri = f"mongodb://127.0.0.1:{port}/"
    with passing(Server("mongodb setup", _command(new, port), ready=partial(_ping, uri), stop_seconds=10), log) as setup:
        _make_users(uri, passwords, setup)
    log.unlink()
    new.rename(data)


def _make_users(uri: str, passwords: dict[str, str], setup: Child) -> None:
    deadline = time.monotonic() + _SETUP_SECONDS
    while True:
        try:
            setup.server.ready()
            break
        except PyMongoError as error:
            if not setup.running() or time.monotonic() > deadline:
                raise CommandError(f"Base B could not be set up: SecantusDB does not start (log: {setup.log})") from error
    with _client(uri) as client:
        for user, role in _ROLES.items():
            client[DATABASE].command("createUser", user, pwd=passwords[user], roles=[{"role": role, "db": DATABASE}])
