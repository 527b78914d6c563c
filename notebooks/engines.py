"""The same records and the same questions on three engines, each asked as its users would: what 02_storage_choices compares.

Every engine gets the same made-up people and events in tables, collections or indices of its own, which are gone at the end. All three
have a write on disk before they acknowledge it, as they are set up in the stack.
"""

import datetime as dt
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import elasticsearch
import msgspec
import psutil
import psycopg
from bureau import stack
from elasticsearch import helpers
from pymongo import MongoClient

from consumidor.local import synthetic, synthetic_credit, synthetic_events

PEOPLE, EVENTS = 1_000, 6_000
SINCE, UNTIL = "2025-03-01T00:00:00Z", "2025-06-01T00:00:00Z"
_NAME = "notebook_storage"
Record = dict[str, Any]


def made_up() -> tuple[list[Record], list[Record]]:
    """People (person, sealed, profile) and events; their pseudonyms are made with a key that opens nothing."""
    people = synthetic.people(seed=2, count=PEOPLE, year=2026)
    documents = synthetic_credit.documents(people, secrets.token_bytes(32), 2, dt.date(2026, 1, 1))
    plain = [json.loads(msgspec.json.encode(document)) for document in documents]
    known = [{"person": one.pop("_id"), "sealed": secrets.token_hex(88), "profile": one} for one in plain]
    numbered = enumerate(one["person"] for one in known)
    events = (event for index, person in numbered for event in synthetic_events.events(2, index + 3, person, 2026))
    return known, [json.loads(msgspec.json.encode(event)) for event in islice(events, EVENTS)]


class Engine(ABC):
    """One engine with the records in it."""

    name: str
    server: str  # its name in stack.json

    @abstractmethod
    def load(self, people: Sequence[Record], events: Sequence[Record]) -> None:
        """Write all records, indexed for the questions below."""

    @abstractmethod
    def log_and_read(self, person: str) -> Any:
        """Base A's question: log that somebody asks, then the person's record."""

    @abstractmethod
    def profile(self, person: str) -> Any:
        """Base B's question: one document by its id."""

    @abstractmethod
    def newest(self, person: str) -> list[Any]:
        """Base C's question: a person's twenty newest events."""

    @abstractmethod
    def summary(self) -> dict[str, tuple[int, int]]:
        """An analyst's question: purchases of a quarter, how many and how much by institution."""

    @abstractmethod
    def bytes_on_disk(self) -> int:
        """Of people and events with their indices."""

    @abstractmethod
    def drop(self) -> None:
        """Leave nothing behind."""

    def memory(self) -> int:
        """Bytes of memory that the server's processes hold now (resident; pages they share are counted for each)."""
        process = psutil.Process(stack["pids"][self.server])
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


class Postgres(Engine):
    """Rows with a jsonb column; a B-tree for each question."""

    name, server = "PostgreSQL", "postgres"

    def __init__(self) -> None:
        self._db = psycopg.connect(stack["base_a_dsn"], autocommit=True)
        self.drop()
        self._db.execute(f"create schema {_NAME}")
        self._db.execute(f"set search_path to {_NAME}")

    def load(self, people: Sequence[Record], events: Sequence[Record]) -> None:
        self._db.execute("create table person (person text primary key, sealed text, profile jsonb)")
        self._db.execute("create table log (id text primary key, person text, at timestamptz default now())")
        self._db.execute(
            "create table event (id text primary key, person text, kind text, at timestamptz, institution text, amount bigint, whole jsonb)"
        )
        self._copy("person", ((one["person"], one["sealed"], json.dumps(one["profile"])) for one in people))
        fields = ("event_id", "person", "kind", "occurred_at", "institution", "amount")
        self._copy("event", ((*(one[field] for field in fields), json.dumps(one)) for one in events))
        self._db.execute("create index on event (person, at desc)")
        self._db.execute("vacuum analyze person, event")

    def _copy(self, table: str, rows: Iterator[tuple[Any, ...]]) -> None:
        with self._db.cursor() as cursor, cursor.copy(f"copy {table} from stdin") as copy:
            for row in rows:
                copy.write_row(row)

    def log_and_read(self, person: str) -> Any:
        query = """with logged as (insert into log (id, person) values (%s, %s) returning person)
            select sealed from person join logged using (person)"""
        return self._db.execute(query, (secrets.token_hex(16), person)).fetchone()[0]

    def profile(self, person: str) -> Any:
        return self._db.execute("select profile from person where person = %s", (person,)).fetchone()[0]

    def newest(self, person: str) -> list[Any]:
        return self._db.execute("select whole from event where person = %s order by at desc limit 20", (person,)).fetchall()

    def summary(self) -> dict[str, tuple[int, int]]:
        query = (
            "select institution, count(*), sum(amount)::bigint from event where kind = 'card_purchase' and at >= %s and at < %s group by 1"
        )
        return {name: (number, cents) for name, number, cents in self._db.execute(query, (SINCE, UNTIL))}

    def bytes_on_disk(self) -> int:
        (size,) = self._db.execute("select pg_total_relation_size('person') + pg_total_relation_size('event')").fetchone()
        return size

    def drop(self) -> None:
        self._db.execute(f"set client_min_messages to warning; drop schema if exists {_NAME} cascade")


class Mongo(Engine):
    """Documents, the person as `_id`; a compound index for the events."""

    name, server = "MongoDB (stand-in)", "mongodb"

    def __init__(self) -> None:
        self._client = MongoClient(stack["base_b_uri"])
        database = self._client.get_default_database()
        self._all = [database[f"{_NAME}_{name}"] for name in ("person", "log", "event")]
        self._people, self._log, self._events = self._all
        self.drop()

    def load(self, people: Sequence[Record], events: Sequence[Record]) -> None:
        self._events.create_index([("person", 1), ("occurred_at", -1)])
        self._log.insert_one({"_id": "first"})  # a collection is not made inside a transaction
        self._people.insert_many([{"_id": one["person"], **one} for one in people], ordered=False)
        self._events.insert_many([{"_id": one["event_id"], **one} for one in events], ordered=False)

    def log_and_read(self, person: str) -> Any:
        with self._client.start_session() as session, session.start_transaction():
            self._log.insert_one({"_id": secrets.token_hex(16), "person": person, "at": dt.datetime.now(dt.UTC)}, session=session)
            return self._people.find_one({"_id": person}, {"sealed": 1}, session=session)["sealed"]

    def profile(self, person: str) -> Any:
        return self._people.find_one({"_id": person}, {"profile": 1})["profile"]

    def newest(self, person: str) -> list[Any]:
        return list(self._events.find({"person": person}).sort("occurred_at", -1).limit(20))

    def summary(self) -> dict[str, tuple[int, int]]:
        wanted = {"kind": "card_purchase", "occurred_at": {"$gte": SINCE, "$lt": UNTIL}}  # RFC 3339 in UTC sorts as text
        grouped = {"_id": "$institution", "number": {"$sum": 1}, "cents": {"$sum": "$amount"}}
        found = self._events.aggregate([{"$match": wanted}, {"$group": grouped}])
        return {one["_id"]: (one["number"], one["cents"]) for one in found}

    def bytes_on_disk(self) -> int:
        stats = [self._client.get_default_database().command("collStats", one.name) for one in (self._people, self._events)]
        return sum(one["storageSize"] + one["totalIndexSize"] for one in stats)  # the stand-in's own sums, not the length of its files

    def drop(self) -> None:
        for collection in self._all:
            collection.delete_many({})  # at once, where the stand-in would drop one document after the other
            collection.drop()


class Elastic(Engine):
    """Documents by id; every field that a question names is indexed or has doc values."""

    name, server = "Elasticsearch", "elasticsearch"

    def __init__(self) -> None:
        self._client = elasticsearch.Elasticsearch(stack["base_c_url"], request_timeout=60)
        self._all = [f"{_NAME}_{name}" for name in ("person", "log", "event")]
        self._people, self._log, self._events = self._all
        self.drop()

    def load(self, people: Sequence[Record], events: Sequence[Record]) -> None:
        keyword, unread = {"type": "keyword"}, {"type": "object", "enabled": False}
        fields: Mapping[str, Mapping[str, Any]] = {
            self._people: {"sealed": {"type": "keyword", "index": False, "doc_values": False}, "person": keyword, "profile": unread},
            self._log: {"person": keyword, "at": {"type": "date"}},
            self._events: {**dict.fromkeys(("event_id", "person", "kind", "institution", "currency"), keyword),
                           "occurred_at": {"type": "date"}, "amount": {"type": "long"}, "details": unread},
        }  # fmt: skip
        for index, properties in fields.items():
            settings = {"number_of_shards": 1, "number_of_replicas": 0}
            self._client.indices.create(index=index, settings=settings, mappings={"properties": properties})
        written = [(self._people, one["person"], one) for one in people] + [(self._events, one["event_id"], one) for one in events]
        helpers.bulk(self._client, ({"_index": index, "_id": id_, "_source": one} for index, id_, one in written), chunk_size=2_000)
        self._client.indices.forcemerge(index=self._events, max_num_segments=1)
        self._client.indices.refresh(index=",".join(self._all))

    def log_and_read(self, person: str) -> Any:
        at = dt.datetime.now(dt.UTC).isoformat()
        self._client.create(index=self._log, id=secrets.token_hex(16), document={"person": person, "at": at})
        return self._client.get(index=self._people, id=person, source_includes="sealed")["_source"]["sealed"]

    def profile(self, person: str) -> Any:
        return self._client.get(index=self._people, id=person, source_includes="profile")["_source"]["profile"]

    def newest(self, person: str) -> list[Any]:
        newest_first = [{"occurred_at": "desc"}]
        found = self._client.search(
            index=self._events, query={"term": {"person": person}}, sort=newest_first, size=20, track_total_hits=False
        )
        return found["hits"]["hits"]

    def summary(self) -> dict[str, tuple[int, int]]:
        wanted = [{"term": {"kind": "card_purchase"}}, {"range": {"occurred_at": {"gte": SINCE, "lt": UNTIL}}}]
        grouped = {"by": {"terms": {"field": "institution", "size": 1_000}, "aggs": {"cents": {"sum": {"field": "amount"}}}}}
        found = self._client.search(index=self._events, size=0, query={"bool": {"filter": wanted}}, aggs=grouped, request_cache=False)
        return {one["key"]: (one["doc_count"], int(one["cents"]["value"])) for one in found["aggregations"]["by"]["buckets"]}

    def bytes_on_disk(self) -> int:
        self._client.indices.flush(index=",".join(self._all))
        stats = self._client.indices.stats(index=f"{self._people},{self._events}", metric="store")
        return stats["_all"]["total"]["store"]["size_in_bytes"]

    def drop(self) -> None:
        self._client.options(ignore_status=404).indices.delete(index=",".join(self._all))


@contextmanager
def loaded() -> Iterator[tuple[list[Engine], list[str]]]:
    """The three engines with the same records, and the people who have events; all of it is dropped at the end."""
    people, events = made_up()
    with ExitStack() as cleaning:
        engines: list[Engine] = [Postgres(), Mongo(), Elastic()]
        for engine in engines:
            cleaning.callback(engine.drop)
            engine.load(people, events)
        yield engines, sorted({event["person"] for event in events})
