"""The audit of the inquiry log: every link recomputed, every chain whole, and each head as it was written down elsewhere.

The chain alone shows an altered, missing or reordered row; whoever owns the database could still cut a chain's tail or compute it anew.
Against that the worker writes heads to a bucket with Object Lock. A checkpoint is its key, `heads/<client>/<position>-<hash>`, so that
listings are all it takes to compare them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from psycopg.rows import class_row

from consumidor.errors import DependencyDown
from consumidor.people.queries import QUERIES

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

GENESIS = bytes(32)  # what the first link of a chain names as previous
_KEY = re.compile(r"heads/([a-z0-9-]{1,40})/([0-9]{20})-([0-9a-f]{64})")
_FETCH = 10_000  # rows a round trip of the server-side cursor


class Head(NamedTuple):
    """Position and hash of the last link of a client's chain, at some time."""

    client: str
    position: int
    hash: bytes


class Link(NamedTuple):
    """A row of `inquiry_log`; `at` in microseconds since 1970."""

    client: str
    request_id: str
    person: str
    purpose: str
    at: int
    position: int
    previous_hash: bytes
    hash: bytes

    def expected_hash(self) -> bytes:
        """What the function `link_hash` of the migrations computes: previous hash, then the fields, one a line."""
        fields = f"{self.client}\n{self.request_id}\n{self.person}\n{self.purpose}\n{self.at}\n{self.position}"
        return sha256(self.previous_hash + fields.encode()).digest()


@dataclass
class Audit:
    """What was compared, and every difference in words; no difference: the log is clean."""

    rows: int = 0
    clients: int = 0
    checkpoints: int = 0
    differences: list[str] = field(default_factory=list)


def write_checkpoint(s3: "S3Client", bucket: str, heads: Mapping[str, tuple[int, bytes]]) -> None:
    """Write down the heads, client -> (position, hash), where they cannot be unwritten.

    Raises:
        DependencyDown: S3; some may be written, and all can be written again.
    """
    try:
        for client, (position, link) in heads.items():
            s3.put_object(Bucket=bucket, Key=f"heads/{client}/{position:020}-{link.hex()}", Body=b"")
    except (ClientError, BotoCoreError) as error:
        raise DependencyDown("s3") from error


def read_checkpoints(s3: "S3Client", bucket: str) -> Iterator[Head]:
    """Every head ever written down. Versions are listed, not objects, so that a delete marker hides nothing.

    Raises:
        DependencyDown: S3.
    """
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="heads/"):
            for version in page.get("Versions", []):
                if match := _KEY.fullmatch(version["Key"]):
                    yield Head(match[1], int(match[2]), bytes.fromhex(match[3]))
    except (ClientError, BotoCoreError) as error:
        raise DependencyDown("s3") from error


def verify(owner_dsn: str, checkpoints: Iterable[Head]) -> Audit:
    """Compare log, heads and checkpoints, in one snapshot taken after the checkpoints were read.

    Raises:
        DependencyDown: Base A, or whatever the checkpoints are read from.
    """
    written = _by_client(checkpoints)
    try:
        with psycopg.connect(owner_dsn, connect_timeout=5) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            heads = {row[0]: Head(*row) for row in connection.execute(QUERIES["chain_heads"])}
            with connection.cursor("audit", row_factory=class_row(Link)) as cursor:
                cursor.itersize = _FETCH
                cursor.execute(QUERIES["inquiry_log"])
                return compare(cursor, heads, written)
    except psycopg.OperationalError as error:
        raise DependencyDown("base_a") from error


def compare(links: Iterable[Link], heads: Mapping[str, Head], written: Mapping[str, dict[int, set[bytes]]]) -> Audit:
    """Compare links, ordered by client and position, with the chains' heads and what was written down of them."""
    audit = Audit(checkpoints=sum(len(hashes) for chain in written.values() for hashes in chain.values()))
    seen = set()
    for client, chain in groupby(links, key=lambda link: link.client):
        seen.add(client)
        _check_chain(audit, client, chain, heads.get(client), written.get(client, {}))
    for client in sorted((heads.keys() | written.keys()) - seen):
        if client in written or heads[client].position:
            _check_chain(audit, client, (), heads.get(client), written.get(client, {}))
    audit.clients = len(seen)
    return audit


def _check_chain(audit: Audit, client: str, chain: Iterable[Link], head: Head | None, written: dict[int, set[bytes]]) -> None:
    position, previous, unmet = 0, GENESIS, set(written)
    for link in chain:
        audit.rows += 1
        audit.differences += [f"{client}, row {link.position}: {wrong}" for wrong in _wrong_with(link, position, previous)]
        position, previous = link.position, link.hash
        if position in unmet:
            unmet.discard(position)
            if written[position] != {link.hash}:
                audit.differences.append(f"{client}, row {position}: is not what the checkpoint says")
    audit.differences += [f"{client}, row {lost}: is missing, a checkpoint has it" for lost in sorted(unmet)]
    if head is None or (head.position, head.hash) != (position, previous):
        expected = f"its head is at {head.position}" if head else "it has no head"
        audit.differences.append(
            f"{client}: the chain ends at row {position}, {expected}" + (" with another hash" if head and head.position == position else "")
        )


def _wrong_with(link: Link, position: int, previous: bytes) -> Iterator[str]:
    if link.position != position + 1:
        yield (
            f"follows row {position}" if link.position <= position else f"rows {position + 1} to {link.position - 1} are missing before it"
        )
    elif link.previous_hash != previous:
        yield "does not name the row before it"
    if link.hash != link.expected_hash():
        yield "was altered"


def _by_client(checkpoints: Iterable[Head]) -> dict[str, dict[int, set[bytes]]]:
    written: dict[str, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    for head in checkpoints:
        written[head.client][head.position].add(head.hash)
    return {client: dict(chain) for client, chain in written.items()}
