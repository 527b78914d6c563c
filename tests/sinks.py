"""Every place where something of a person could be left behind by a running stack, as text."""

import base64
import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import urllib3
from pymongo import MongoClient

from consumidor import queues
from consumidor.local.postgres import program
from tests.servers.stack import RunningStack

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
# What the servers themselves write: tables, logs of their own, indices, as bytes on disk. Not S3's, where delivered reports lie.
DATA = ("postgres/data", "mongodb/data", "elasticsearch/data", "elasticsearch/logs", "aws/state", "aws/tmp", "logs")


def everything(stack: RunningStack, folder: Path) -> Iterator[tuple[str, str]]:
    """(sink, text) of each; `folder` is where an extraction may go."""
    yield from _pages(stack)
    yield from _aws(stack)
    yield from _dumps(stack)
    yield "Parquet", _parquet(stack, folder)
    for part in DATA:
        for file in sorted((stack.home / part).rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # servers tidy up while we look
                if file.is_file():
                    yield str(file.relative_to(stack.home)), file.read_bytes().decode(errors="replace")
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        yield notebook.name, notebook.read_text()


def _pages(stack: RunningStack) -> Iterator[tuple[str, str]]:
    info = stack.info
    for page in (f"{info['api']}/metrics", info["worker_metrics_url"], f"{info['api']}/openapi.json", f"{info['api']}/health"):
        yield page, urllib3.request("GET", page).data.decode()


def _aws(stack: RunningStack) -> Iterator[tuple[str, str]]:
    """Names, keys, and messages that wait or are dead, with their attributes."""
    info, sqs = stack.info, stack.sqs()
    yield "queue names", " ".join(sqs.list_queues()["QueueUrls"])
    for bucket in (info["people_results_bucket"], info["audit_checkpoint_bucket"]):
        for page in stack.s3().get_paginator("list_object_versions").paginate(Bucket=bucket):
            yield bucket, " ".join(item["Key"] for item in page.get("Versions", []))
    for queue in ("people_requests_queue", "people_requests_dlq", "events_feed_queue", "events_feed_dlq"):
        while received := queues.receive(sqs, info[queue], visibility=5):
            for message in received:
                yield queue, message_text(message)


def message_text(message: queues.Received) -> str:
    """A message and its attributes, with what its parts hold if it is a JWT."""
    segments = [segment for segment in message.body.split(".") if re.fullmatch("[A-Za-z0-9_-]+", segment) and len(segment) % 4 != 1]
    decoded = (base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)).decode(errors="replace") for segment in segments)
    return " ".join([message.body, json.dumps(dict(message.attributes)), *decoded])


def _dumps(stack: RunningStack) -> Iterator[tuple[str, str]]:
    info = stack.info
    dump = subprocess.run([program("pg_dump"), "--dbname", info["base_a_dsn"]], capture_output=True, text=True, check=True)
    yield "dump of Base A", dump.stdout
    with MongoClient[dict[str, Any]](info["base_b_uri"]) as client:
        yield "dump of Base B", "\n".join(str(document) for document in client.get_default_database().scoredata.find())
    yield from _documents(info["base_c_url"])


def _documents(base_c: str) -> Iterator[tuple[str, str]]:
    """All documents of Base C, page by page."""
    page = urllib3.request("POST", f"{base_c}/events,latest/_search?scroll=1m", json={"size": 5000}).json()
    while page["hits"]["hits"]:
        yield "dump of Base C", json.dumps(page["hits"]["hits"], ensure_ascii=False)
        page = urllib3.request("POST", f"{base_c}/_search/scroll", json={"scroll": "1m", "scroll_id": page["_scroll_id"]}).json()


def _parquet(stack: RunningStack, folder: Path) -> str:
    stack.run("extract", "--to", str(folder))
    assert list(folder.rglob("*.parquet"))
    return "\n".join(str(pq.read_table(file).to_pylist()) for file in folder.rglob("*.parquet"))
