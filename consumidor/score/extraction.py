"""Extraction of Base B to partitioned Parquet, on disk or in S3, by one process or by a Dask cluster.

A partition is one value of `bucket`, the first byte of `person`; memory is bounded by partitions, never by Base B. A file appears whole
(written aside and renamed, or one S3 upload), `manifest.json` comes last, and a second run makes only what is missing: the files are the
same, byte for byte, as those of a run that was never interrupted. What comes out is pseudonymised as it is stored.
"""

import hashlib
import json
import os
import posixpath
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pymongo
from dask.callbacks import Callback
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri
from tqdm import tqdm

from consumidor.errors import CommandError, DependencyDown
from consumidor.score.columns import chosen, read
from consumidor.score.store import COLLECTION, connect, database_of
from consumidor.settings import Settings

BUCKETS = 256
MANIFEST_VERSION = 1
MANIFEST, JOB, DATA = "manifest.json", "job.json", "data"  # Parquet's readers take the folder `data` as one table
_CALL_MS = 120_000  # for one partition
_ANSWER_SECONDS = 5.0
_ENTRY = {"path": "str", "rows": "int64", "bytes": "int64", "sha256": "str"}

Progress = Callable[[int, int], object]  # partitions done, of how many


@dataclass(frozen=True)
class Job:
    """What is extracted, from where, to where; sent to every worker, so its looks hold no password."""

    uri: str = field(repr=False)
    files: pafs.FileSystem
    folder: str
    columns: tuple[str, ...] | None
    filters: Mapping[str, Any]

    def description(self) -> dict[str, Any]:
        """The same in words, for the manifest: what must be equal for one run to continue another."""
        schema = chosen(self.columns)
        hosts = ",".join(f"{host}:{port}" for host, port in parse_uri(self.uri)["nodelist"])
        return {
            "version": MANIFEST_VERSION,
            "source": f"{hosts}/{database_of(self.uri)}.{COLLECTION}",
            "schema": {one.name: str(one.type) for one in schema},
            "filters": dict(self.filters),
        }

    def path(self, name: str) -> str:
        """Where a file of this name lies."""
        return posixpath.join(self.folder, name)


def extract(
    uri: str,
    to: str,
    scheduler: str | None = None,
    columns: Sequence[str] | None = None,
    filters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    endpoint: str | None = None,
    region: str | None = None,
) -> dict[str, Any]:
    """Write Base B, as Parquet, to a folder or `s3://bucket/prefix`; the manifest.

    `scheduler` is a Dask cluster's address, else this machine's cores are used. `columns` are names of `columns.SCHEMA`; `filters` is a
    MongoDB query over the stored fields, such as `{"address.state": "SP"}`. `endpoint` and `region` are those of S3; its credentials come
    from the environment.

    Raises:
        CommandError: unknown columns, a place that cannot be written to, or that holds another extraction.
        DependencyDown: Base B does not answer.
    """
    if "bucket" in (filters or {}):
        raise CommandError("filters cannot name bucket: partitions are made of it")
    job = Job(uri, *_place(to, endpoint, region), tuple(columns) if columns is not None else None, filters or {})
    try:
        done = _begin(job)
        return done if done is not None else _finish(job, _run(job, scheduler, progress or _bar()))
    except PyMongoError as error:
        raise DependencyDown("base_b") from error
    except OSError as error:
        raise CommandError(f"{to} cannot be written to: {error.strerror or type(error).__name__}") from error


def extract_from_settings(settings: Settings, to: str, scheduler: str | None = None) -> dict[str, Any]:
    """The command `consumidor extract`: a short summary of the manifest."""
    manifest = extract(settings.base_b_uri, to, scheduler, endpoint=settings.aws_endpoint_url, region=settings.aws_region)
    size = sum(file["bytes"] for file in manifest["files"])
    return {"to": to, "rows": manifest["rows"], "files": len(manifest["files"]), "bytes": size, "completed_at": manifest["completed_at"]}


def _place(to: str, endpoint: str | None, region: str | None) -> tuple[pafs.FileSystem, str]:
    if not to.startswith("s3://"):
        return pafs.LocalFileSystem(), str(Path(to).expanduser().resolve())
    scheme, _, host = (endpoint or "").rpartition("://")
    options = {"endpoint_override": host, "scheme": scheme} if endpoint else {}
    return pafs.S3FileSystem(region=region, **options), to.removeprefix("s3://").rstrip("/")


def _begin(job: Job) -> dict[str, Any] | None:
    """Claim the place for this job; the manifest, where it was finished before."""
    description = job.description()
    if job.files.type_name != "s3":  # S3 has no folders, and may refuse to make what looks like one
        job.files.create_dir(job.path(DATA), recursive=True)
    begun = _read_json(job, JOB)
    if begun is None:
        _put(job, JOB, json.dumps(description, indent=1).encode())
    elif begun != description:
        different = ", ".join(name for name, value in description.items() if begun.get(name) != value)
        raise CommandError(f"{job.folder} holds an extraction with another {different}; choose another place")
    return _read_json(job, MANIFEST)


def _finish(job: Job, entries: pd.DataFrame) -> dict[str, Any]:
    files = json.loads(entries.sort_values("path").to_json(orient="records"))
    manifest = job.description() | {
        "completed_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "rows": sum(entry["rows"] for entry in files),
        "files": files,
    }
    for file in job.files.get_file_info(pafs.FileSelector(job.path(DATA))):
        if file.base_name.startswith("."):  # of a run that was killed while it wrote
            job.files.delete_file(file.path)
    _put(job, MANIFEST, json.dumps(manifest, indent=1).encode())
    return manifest


def _run(job: Job, scheduler: str | None, progress: Progress) -> pd.DataFrame:
    """The entries of all partitions' files, each made by a task of its own."""
    looks = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _ENTRY.items()})
    tasks = dd.from_map(partial(write_partition, job), range(BUCKETS), meta=looks).to_delayed()
    if scheduler is not None:
        return _run_on_cluster(scheduler, tasks, progress)
    done = count(1)
    try:
        with pymongo.timeout(_ANSWER_SECONDS):  # before 256 tasks each wait for as long as a partition may take
            _CLIENTS.get(job.uri)[database_of(job.uri)].command("ping")
        with Callback(posttask=lambda *_: progress(next(done), BUCKETS)):
            return pd.concat(dask.compute(*tasks, scheduler="threads"))
    finally:
        _CLIENTS.close()


def _run_on_cluster(scheduler: str, tasks: list[Any], progress: Progress) -> pd.DataFrame:
    from distributed import Client, as_completed  # noqa: PLC0415 - slow to import, and of use on a cluster only

    try:
        cluster = Client(scheduler, timeout=5)
    except (OSError, TimeoutError, ValueError) as error:
        raise CommandError(f"no Dask scheduler answers at {scheduler}") from error
    with cluster:
        futures = cluster.compute(tasks)
        for number, _ in enumerate(as_completed(futures), 1):
            progress(number, BUCKETS)
        return pd.concat(cluster.gather(futures))


def write_partition(job: Job, bucket: int) -> pd.DataFrame:
    """One task: make the partition's file, unless it is there; its entry in the manifest (path, rows, bytes, sha256)."""
    name = f"{DATA}/bucket-{bucket:02x}.parquet"
    content = _get(job, name)
    if content is None:
        content = _parquet(read_partition(job, bucket))
        _put(job, name, content)
    rows = pq.read_metadata(pa.BufferReader(content)).num_rows
    return pd.DataFrame({"path": [name], "rows": [rows], "bytes": [len(content)], "sha256": [hashlib.sha256(content).hexdigest()]})


def read_partition(job: Job, bucket: int) -> pa.Table:
    """The partition's people, in the job's columns."""
    collection = _CLIENTS.get(job.uri)[database_of(job.uri)][COLLECTION]
    return read(collection, {"bucket": bucket} | dict(job.filters), chosen(job.columns))


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _put(job: Job, name: str, content: bytes) -> None:
    """Whole or not at all: aside and renamed on a disk; an upload to S3 is that by itself."""
    final = job.path(name)
    partial_file = final if job.files.type_name == "s3" else job.path(f".{posixpath.basename(name)}.{os.getpid()}")
    with job.files.open_output_stream(partial_file) as out:
        out.write(content)
    if partial_file != final:
        job.files.move(partial_file, final)


def _get(job: Job, name: str) -> bytes | None:
    try:
        with job.files.open_input_stream(job.path(name)) as file:
            return bytes(file.read())
    except FileNotFoundError:
        return None


def _read_json(job: Job, name: str) -> dict[str, Any] | None:
    content = _get(job, name)
    return None if content is None else dict(json.loads(content))


def _bar() -> Progress:
    bar = tqdm(total=BUCKETS, unit="partition", disable=None, delay=0.5)  # to standard error, and only where it is a terminal

    def show(done: int, total: int) -> None:
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


class _Clients:
    """One client a process and URI: connecting costs more than reading a partition does."""

    def __init__(self) -> None:
        self._open: dict[str, MongoClient[dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def get(self, uri: str) -> MongoClient[dict[str, Any]]:
        """The client of this process."""
        with self._lock:
            if uri not in self._open:
                self._open[uri] = connect(uri, _CALL_MS)
            return self._open[uri]

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


_CLIENTS = _Clients()
