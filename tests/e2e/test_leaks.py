"""Ten people, their names and a token through the people path: none of it rests anywhere but where it must."""

import re
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import urllib3

from consumidor import cpf, queues
from consumidor.local import synthetic
from consumidor.local.postgres import program
from consumidor.local.seeding import SEED
from tests.e2e.test_people_path import Http, drain
from tests.servers.stack import PEOPLE, RunningStack

pytestmark = pytest.mark.stack


def test_nothing_is_found_in_any_sink(stack: RunningStack) -> None:
    """Logs, metric pages, S3 keys, queue names, waiting messages, dead letters and a dump of Base A hold no CPF, name or token."""
    people = list(islice(synthetic.people(SEED, PEOPLE, 2026), 10))
    http = Http(stack, "acme")
    for person in people:
        http("POST", "/v1/people/requests", {"cpf": person.cpf, "purpose": "credit"})
        http("POST", "/v1/people/requests", {"cpf": person.cpf, "purpose": person.name})  # refused, and not repeated anywhere
        http("GET", f"/v1/score/{cpf.punctuate(person.cpf)}")
        http("GET", f"/v1/events?cpf={person.cpf}")
    queues.send_all(stack.sqs(), stack.info["people_requests_queue"], [queues.Outgoing("forged")])
    assert {cpf.parse(one["report"]["cpf"]) for one in drain(http) if "report" in one} <= {person.cpf for person in people}
    token = stack.token("acme")
    secrets = [text for person in people for text in (person.cpf, cpf.punctuate(person.cpf), person.name)] + [token, token.split(".")[2]]
    pattern = re.compile("|".join(map(re.escape, secrets)))
    scanned = 0
    for sink, text in _sinks(stack):
        scanned += len(text)
        assert not pattern.search(text), sink
    print(f"{len(secrets)} secrets looked for in {scanned:,} characters: none found")
    assert scanned > 10_000


def _sinks(stack: RunningStack) -> Iterator[tuple[str, str]]:
    info = stack.info
    for log in Path(info["logs"]).iterdir():
        yield log.name, log.read_text(errors="replace")
    for page in (f"{info['api']}/metrics", info["worker_metrics_url"]):
        yield page, urllib3.request("GET", page).data.decode()
    for bucket in (info["people_results_bucket"], info["audit_checkpoint_bucket"]):
        for found in stack.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket):
            yield bucket, " ".join(item["Key"] for item in found.get("Contents", []))
    yield "queue names", " ".join(stack.sqs().list_queues()["QueueUrls"])
    for queue in ("people_requests_queue", "people_requests_dlq", "events_feed_dlq"):
        for message in queues.receive(stack.sqs(), info[queue], visibility=1):
            yield queue, message.body + str(message.attributes)
    dump = subprocess.run([program("pg_dump"), "--dbname", info["base_a_dsn"]], capture_output=True, text=True, check=True)
    yield "dump of Base A", dump.stdout
