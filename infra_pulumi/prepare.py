"""Runs in a container of its own before `consumidor migrate`, for what the migration cannot do itself. Safe to repeat.

It is handed to `python -c` with the services' image, so it imports nothing of this folder.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pymongo import MongoClient


def make_reader(owner_uri: str, reader_uri: str) -> None:
    """The user of `reader_uri` on Base B, who may read its database and no more, with the password that the URI has."""
    login = urlsplit(reader_uri)
    role = {"role": "read", "db": login.path.lstrip("/")}
    client: MongoClient[dict[str, Any]]
    with MongoClient(owner_uri) as client:
        known = client["admin"].command("usersInfo", login.username)["users"]
        client["admin"].command("updateUser" if known else "createUser", login.username, pwd=login.password, roles=[role])


def write_authority(pem: str, path: Path) -> None:
    """Base C's certificate authority, where BASE_C_URL names it: on the volume that both containers share."""
    path.write_text(pem, "utf-8")


if "BASE_C_CA" in os.environ:
    write_authority(os.environ["BASE_C_CA"], Path(os.environ["BASE_C_CA_PATH"]))
if "BASE_B_READER_URI" in os.environ:
    make_reader(os.environ["BASE_B_URI"], os.environ["BASE_B_READER_URI"])
