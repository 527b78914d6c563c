"""Doubles at the level of the stores; each is held to the same contract test as the real thing."""

import datetime as dt
from collections.abc import Sequence
from typing import Literal, NamedTuple

from consumidor.people.audit import GENESIS, Head, Link
from consumidor.people.store import Outcome, PeopleRequest

ANSWERED_FOR = dt.timedelta(hours=13)


class Row(NamedTuple):
    """A person as Base A holds one, and what the function makes of the debts."""

    sealed: bytes
    key_id: str
    wrapped_key: bytes
    debts: str
    total_open_cents: int


class FakePeopleStore:
    """Base A in memory: `people` by pseudonym, `links` as logged. Not for threads."""

    def __init__(self, people: dict[str, Row] | None = None) -> None:
        self.people = people or {}
        self.links: list[Link] = []
        self._heads: dict[str, Head] = {}

    def inquire(self, batch: Sequence[PeopleRequest]) -> list[Outcome]:
        """As `PeopleStore.inquire`."""
        now = int(dt.datetime.now(dt.UTC).timestamp() * 1_000_000)
        for asked in sorted(batch, key=lambda request: request.request_id):
            if all(link.request_id != asked.request_id for link in self.links):
                self._log(asked, now)
        return [self._outcome(asked) for asked in batch]

    def ping(self) -> None:
        """Always there."""

    def close(self) -> None:
        """Nothing to close."""

    def age(self, hours: float) -> None:
        """Let all that is logged be so much older."""
        self.links = [link._replace(at=link.at - int(hours * 3_600_000_000)) for link in self.links]

    def _log(self, asked: PeopleRequest, now: int) -> None:
        head = self._heads.get(asked.client, Head(asked.client, 0, GENESIS))
        link = Link(asked.client, asked.request_id, asked.person, asked.purpose, now, head.position + 1, head.hash, b"")
        link = link._replace(hash=link.expected_hash())
        self.links.append(link)
        self._heads[asked.client] = Head(link.client, link.position, link.hash)

    def _outcome(self, asked: PeopleRequest) -> Outcome:
        logged = next(link for link in self.links if link.request_id == asked.request_id)
        head = self._heads.get(asked.client, Head(asked.client, 0, GENESIS))
        at = dt.datetime.fromtimestamp(logged.at / 1_000_000, dt.UTC)
        known: Row | None = None
        outcome: Literal["found", "not_found", "conflict", "expired"] = "conflict"
        if (logged.client, logged.person, logged.purpose) == (asked.client, asked.person, asked.purpose):
            fresh = at > dt.datetime.now(dt.UTC) - ANSWERED_FOR
            known = self.people.get(asked.person) if fresh else None
            outcome = "expired" if not fresh else "found" if known else "not_found"
        return Outcome(asked.request_id, outcome, at, *(known or Row(b"", "", b"", "", 0)), asked.client, head.position, head.hash)
