"""Extraction of Base B to partitioned Parquet, on disk or in S3, by one process or by a Dask cluster.

A partition is a range of `bucket`, the first byte of `person`; memory is bounded by partitions, never by Base B. A file appears whole,
`manifest.json` comes last, and a second run makes only what is missing: the files are the same, byte for byte, as those of a run that was
never interrupted. What comes out is pseudonymised as it is stored.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import bson
import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pymongo
from bson import json_util
from bson.errors import BSONError
from dask.callbacks import Callback
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri
from tqdm import tqdm

from consumidor.errors import CommandError, DependencyDown
from consumidor.score.columns import chosen, read
from consumidor.score.folder import Folder
from consumidor.score.store import COLLECTION, connect, database_of
from consumidor.settings import Settings

BUCKETS = 256
PEOPLE = 2048  # in one partition, as long as there are buckets enough: half a million people have all 256
MANIFEST_VERSION = 1
MANIFEST, JOB, DATA = "manifest.json", "job.json", "data"  # Parquet's readers take the folder `data` as one table
_PARTITION_MS = 120_000
_ANSWER_SECONDS = 5.0
_ENTRY = {"path": "str", "rows": "int64", "bytes": "int64", "sha256": "str"}

Progress = Callable[[int, int], object]  # partitions done, of how many


@dataclass(frozen=True)
class Job:
    """What is extracted, from where, to where; sent to every worker, so its looks hold no password."""

    uri: str = field(repr=False)
    folder: Folder
    columns: tuple[str, ...] | None
    filters: Mapping[str, Any]

    def description(self) -> dict[str, Any]:
        """The same in words, for the manifest: what must be equal for one run to continue another."""
        return {
            "version": MANIFEST_VERSION,
            "source": f"{_hosts(self.uri)}/{database_of(self.uri)}.{COLLECTION}",
            "schema": {one.name: str(one.type) for one in chosen(self.columns)},
            "filters": _as_json(self.filters),
        }


def _hosts(uri: str) -> str:
    """Base B's servers, the same however they are listed: sorted, or the one name that `mongodb+srv` knows all of them by."""
    parsed = parse_uri(uri)
    return parsed["fqdn"] or ",".join(sorted(f"{host}:{port}" for host, port in parsed["nodelist"]))


def _as_json(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filters as Base B is asked them, in MongoDB's Extended JSON (canonical): dates and 64-bit numbers keep their kinds."""
    try:
        asked = bson.decode(bson.encode(filters))
    except (BSONError, OverflowError, ValueError) as error:
        raise CommandError("filters hold a value that MongoDB has no type for; a day is a datetime") from error
    return dict(json.loads(json_util.dumps(asked, json_options=json_util.CANONICAL_JSON_OPTIONS)))


def extract(
    uri: str,
    to: str,
    scheduler: str | None = None,
    columns: Sequence[str] | None = None,
    filters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    *,
    notice: Callable[[str], object] = lambda _: None,
    partitions: int | None = None,
    endpoint: str | None = None,
    region: str | None = None,
) -> dict[str, Any]:
    """Write Base B, as Parquet, to a folder or `s3://bucket/prefix`; the manifest.

    `scheduler` is a Dask cluster's address, else this machine's cores are used. `columns` are names of `columns.SCHEMA`; `filters` is a
    MongoDB query over the stored fields, such as `{"birth_date": {"$lt": datetime(1990, 1, 1)}}`; the manifest has it in Extended JSON.
    `partitions` is a power of two up to 256, by default as many as Base B's size asks for. `notice` is told, in a sentence, that the place
    holds the finished extraction already, which is then all there is to do. `endpoint` and `region` are those of S3; its
    credentials come from the environment.

    Raises:
        CommandError: no columns or unknown ones, filters that MongoDB has no types for or refuses, a place that cannot be written to, or
            that holds another extraction.
        DependencyDown: Base B does not answer.
    """
    if "bucket" in (filters or {}):
        raise CommandError("filters cannot name bucket: partitions are made of it")
    if partitions is not None and (partitions < 1 or BUCKETS % partitions):
        raise CommandError("partitions must be a power of two, 1 to 256")
    job = Job(uri, Folder.at(to, endpoint, region), tuple(columns) if columns is not None else None, filters or {})
    try:
        width = BUCKETS // _begin(job, partitions)
        if done := job.folder.get_json(MANIFEST):
            notice(f"{to} is complete since {done['completed_at']} and was left as it is; another folder makes it anew")
            return done
        return _finish(job, _run(job, width, scheduler, progress or _bar()))
    except OperationFailure as error:
        raise CommandError(f"Base B refuses: code {error.code}") from error  # its text may quote the filters
    except PyMongoError as error:
        raise DependencyDown("base_b") from error
    except OSError as error:
        raise CommandError(f"{to} cannot be written to: {error.strerror or type(error).__name__}") from error
    finally:
        _CLIENTS.close()


def extract_from_settings(settings: Settings, to: str, scheduler: str | None, notice: Callable[[str], object]) -> dict[str, Any]:
    """The command `consumidor extract`: a short summary of the manifest; `notice` as in `extract`."""
    manifest = extract(settings.base_b_uri, to, scheduler, notice=notice, endpoint=settings.aws_endpoint_url, region=settings.aws_region)
    size = sum(file["bytes"] for file in manifest["files"])
    return {"to": to, "rows": manifest["rows"], "files": len(manifest["files"]), "bytes": size, "completed_at": manifest["completed_at"]}


def _begin(job: Job, partitions: int | None) -> int:
    """Claim the place for this job; into how many partitions, which a run that continues another takes from it."""
    description = job.description()
    job.folder.prepare(DATA)
    begun = job.folder.get_json(JOB)
    if begun is None:
        begun = description | {"partitions": partitions or _partitions(job)}
        job.folder.put_json(JOB, begun)
    if different := [name for name, value in description.items() if begun.get(name) != value]:
        raise CommandError(f"{job.folder.root} holds an extraction with another {', '.join(different)}; choose another place")
    return int(begun["partitions"])


def _partitions(job: Job) -> int:
    """The power of two, up to 256, that keeps a partition small, and the files of a small base few.

    One bucket, in the index, stands for all: pseudonyms are spread evenly, and a server may have to read everything to count it.
    """
    with pymongo.timeout(_ANSWER_SECONDS):
        of_one: int = _CLIENTS.collection(job.uri).count_documents({"bucket": 0}, limit=PEOPLE)
    return min(BUCKETS, 1 << (of_one * BUCKETS // PEOPLE).bit_length())


def _finish(job: Job, entries: pd.DataFrame) -> dict[str, Any]:
    files = json.loads(entries.sort_values("path").to_json(orient="records"))
    manifest = job.description() | {
        "completed_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "rows": sum(entry["rows"] for entry in files),
        "files": files,
    }
    job.folder.sweep(DATA)
    job.folder.put_json(MANIFEST, manifest)
    return manifest


def _run(job: Job, width: int, scheduler: str | None, progress: Progress) -> pd.DataFrame:
    """The entries of all partitions' files, each made by a task of its own."""
    looks = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _ENTRY.items()})
    ranges = [range(first, first + width) for first in range(0, BUCKETS, width)]
    tasks = dd.from_map(partial(write_partition, job), ranges, meta=looks).to_delayed()
    if scheduler is not None:
        return _run_on_cluster(scheduler, tasks, progress)
    done = count(1)
    with Callback(posttask=lambda *_: progress(next(done), len(tasks))):
        return pd.concat(dask.compute(*tasks, scheduler="threads"))


def _run_on_cluster(scheduler: str, tasks: list[Any], progress: Progress) -> pd.DataFrame:
    from distributed import Client, as_completed  # noqa: PLC0415 - slow to import, and of use on a cluster only

    try:
        cluster = Client(scheduler, timeout=5)
    except (OSError, TimeoutError, ValueError) as error:
        raise CommandError(f"no Dask scheduler answers at {scheduler}") from error
    with cluster:
        futures = cluster.compute(tasks)
        for number, _ in enumerate(as_completed(futures), 1):
            progress(number, len(tasks))
        return pd.concat(cluster.gather(futures))


def write_partition(job: Job, buckets: range) -> pd.DataFrame:
    """One task: make the partition's file, unless it is there; its entry in the manifest (path, rows, bytes, sha256)."""
    name = f"{DATA}/buckets-{buckets[0]:02x}-{buckets[-1]:02x}.parquet"
    content = job.folder.get(name)
    if content is None:
        content = _parquet(read_partition(job, buckets))
        job.folder.put(name, content)
    rows = pq.read_metadata(pa.BufferReader(content)).num_rows
    return pd.DataFrame({"path": [name], "rows": [rows], "bytes": [len(content)], "sha256": [hashlib.sha256(content).hexdigest()]})


def read_partition(job: Job, buckets: range) -> pa.Table:
    """The partition's people, in the job's columns.

    Bucket by bucket: the embedded server looks one up in its index, and for a range reads on past what it needs (30 us of its CPU a
    document, and 38). All of Base B is no look-up at all.
    """
    within: list[dict[str, Any]] = [{}] if len(buckets) == BUCKETS else [{"bucket": bucket} for bucket in buckets]
    return read(_CLIENTS.collection(job.uri), [one | dict(job.filters) for one in within], chosen(job.columns))


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _bar() -> Progress:
    bar = tqdm(unit="partition", disable=None, delay=0.5)  # to standard error, and only where it is a terminal

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


class _Clients:
    """One client a process and URI: connecting costs more than reading a partition does."""

    def __init__(self) -> None:
        self._open: dict[str, MongoClient[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def collection(self, uri: str) -> Any:
        """The collection, through this process's client."""
        with self._lock:
            if uri not in self._open:
                self._open[uri] = connect(uri, _PARTITION_MS)
            return self._open[uri][database_of(uri)][COLLECTION]

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


_CLIENTS = _Clients()
