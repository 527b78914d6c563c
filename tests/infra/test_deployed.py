"""The program deployed in ministack, and used: its names, settings, handlers, routes, scopes and rights fit the code."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import urllib3
from psycopg.conninfo import make_conninfo

from consumidor import cpf
from consumidor.local.aws import aws_server
from consumidor.local.postgres import Postgres
from consumidor.local.supervisor import Supervisor, free_port
from consumidor.local.synthetic import ELDER, LARGE_REPORT, NEVER_SEEDED
from tests.infra.deployment import Deployment
from tests.infra.properties.doors import CONTRACT
from tests.infra.properties.fit import NAMES
from tests.infra.witness import Right, missing
from tests.servers.elasticsearch import Node, eventually
from tests.servers.mongodb import BaseB


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ministack with nothing in it: the program's queues have the names that the shared one's have."""
    home, port = tmp_path_factory.mktemp("deployed-aws"), free_port()
    supervisor = Supervisor(home, announce=print)
    try:
        supervisor.start(aws_server(home, port))
        yield f"http://127.0.0.1:{port}"
    finally:
        supervisor.stop()


@pytest.fixture(scope="module")
def owner_dsn(postgres_server: Postgres) -> Iterator[str]:
    """An empty database, as its owner."""
    name = f"deployed_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.owner_dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
        yield make_conninfo(postgres_server.owner_dsn, dbname=name)
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture(scope="module")
def deployed(
    endpoint: str, owner_dsn: str, mongodb_server: BaseB, base_c: Node, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The stack `dev`, deployed and running, with three synthetic people."""
    folder: Path = tmp_path_factory.mktemp("deployed")
    deployment = Deployment(endpoint, mongodb_server.owner_uri, base_c.url, packages, folder)
    try:
        deployment.start(owner_dsn)
        yield deployment
    finally:
        deployment.stop()


def ask(deployed: Deployment, digits: str, client: str = "acme") -> dict[str, Any]:
    """Ask about a person, wait for the response, acknowledge it."""
    token = deployed.token(client, "consumidor/people.read")
    status, accepted = deployed.call("POST", "/v1/people/requests", token, {"cpf": digits, "purpose": "credit"})
    assert status == 202
    status, answer = deployed.call("GET", "/v1/people/responses?wait=20", token)
    assert status == 200
    (response,) = answer["responses"]
    assert response["request_id"] == accepted["request_id"]
    _, outcome = deployed.call("POST", "/v1/people/responses/ack", token, {"receipts": [response["receipt"]]})
    assert [one["outcome"] for one in outcome["receipts"]] == ["deleted"]
    return dict(response)


def test_a_report_comes_back_and_the_inquiry_is_an_event(deployed: Deployment) -> None:
    """People: gateway, API, queue, worker, Base A, response queue; and Base C then knows of the inquiry, through the feed Lambda."""
    response = ask(deployed, ELDER)
    assert (response["status"], response["report"]["cpf"]) == ("found", cpf.punctuate(ELDER))
    token = deployed.token("acme", "consumidor/events.read")
    path = f"/v1/events/latest?cpf={ELDER}"
    eventually(lambda: (deployed.call("GET", path, token)[1]["bureau_inquiry"] or {}).get("event_id") == response["request_id"], 30)


def test_an_unknown_person_is_not_found(deployed: Deployment) -> None:
    """Another client's own queue answers it."""
    assert ask(deployed, NEVER_SEEDED[0], "globex")["status"] == "not_found"


def test_a_large_report_comes_as_a_link(deployed: Deployment) -> None:
    """A report over 1 MiB goes through the results bucket; the link gives the bytes that were promised."""
    response = ask(deployed, LARGE_REPORT)
    report = urllib3.request("GET", response["report_url"]).data
    assert (len(report), hashlib.sha256(report).hexdigest()) == (response["bytes"], response["sha256"])


def test_a_score_and_its_profile(deployed: Deployment) -> None:
    """Score: gateway, service, Base B; each call under its own scope."""
    status, score = deployed.call("GET", f"/v1/score/{ELDER}", deployed.token("acme", "consumidor/score.read"))
    assert (status, 0 <= score["score"] <= 1000) == (200, True)
    status, profile = deployed.call("GET", f"/v1/score/{ELDER}/profile", deployed.token("acme", "consumidor/profile.read"))
    assert (status, profile["age"] > 70) == (200, True)


def event(kind: str, event_id: str) -> str:
    """A feed message with one event."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    amount = (None, None) if kind == "bureau_inquiry" else (12990, "BRL")
    one = {"event_id": event_id, "cpf": ELDER, "kind": kind, "occurred_at": now, "institution": "bank", "details": {}}
    return json.dumps({"version": 1, "events": [one | dict(zip(("amount", "currency"), amount, strict=True))]})


def test_events_are_fed_and_searched(deployed: Deployment) -> None:
    """Events: feed queue, mapping, feed Lambda, Base C, search Lambda, gateway."""
    queue = deployed.graph.one("sqs:Queue", "events-feed").get("url")
    deployed.client("sqs").send_message(QueueUrl=queue, MessageBody=event("card_purchase", "purchase-of-the-infra-tests"))
    token = deployed.token("acme", "consumidor/events.read")
    path = f"/v1/events?cpf={ELDER}&kind=card_purchase"
    eventually(lambda: "purchase-of-the-infra-tests" in json.dumps(deployed.call("GET", path, token)[1]), 30)


def test_an_inquiry_counts_from_our_own_roles_only(deployed: Deployment) -> None:
    """The same message from another sender is a dead letter without its CPF; handed in, since ministack's mapping names no sender."""
    attributes = {"SenderId": "AROAOUTSIDER:session"}
    batch = {"Records": [{"messageId": "1", "body": event("bureau_inquiry", "forged"), "attributes": attributes}]}
    answer = deployed.client("lambda").invoke(FunctionName="consumidor-feed", Payload=json.dumps(batch))
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
    queue = deployed.graph.one("sqs:Queue", "events-feed-dlq").get("url")
    (letter,) = deployed.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=20, MessageAttributeNames=["All"])["Messages"]
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "UntrustedSender"
    assert ELDER not in letter["Body"]


def test_a_forged_request_is_a_dead_letter(deployed: Deployment) -> None:
    """A message that the people API did not sign goes to the dead letters that the program made, with its reason."""
    queues = {name: deployed.graph.one("sqs:Queue", name).get("url") for name in ("people-requests", "people-requests-dlq")}
    deployed.client("sqs").send_message(QueueUrl=queues["people-requests"], MessageBody="not a request")
    answer = deployed.client("sqs").receive_message(
        QueueUrl=queues["people-requests-dlq"], WaitTimeSeconds=20, MessageAttributeNames=["All"]
    )
    (letter,) = answer["Messages"]
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "MalformedMessage"


def test_an_extraction_lands_in_its_bucket(deployed: Deployment, owner_dsn: str) -> None:
    """The schedule's own command writes Parquet into tonight's folder of the bucket that the program made."""
    bucket, _, folder = deployed.extract(owner_dsn).removeprefix("s3://").partition("/")
    listed = deployed.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")["Contents"]
    assert any(one["Key"].endswith(".parquet") for one in listed)


@pytest.mark.parametrize("route", CONTRACT)
def test_every_route_asks_for_its_scope(deployed: Deployment, route: str) -> None:
    """401 without a token, 403 with every scope but the right one."""
    method, path = route.replace("{cpf}", ELDER).split(" ")
    others = [scope for scope in set(CONTRACT.values()) if scope != CONTRACT[route]]
    assert deployed.call(method, path)[0] == 401
    assert deployed.call(method, path, deployed.token("acme", *others))[0] == 403


def test_the_audit_runs_in_the_migrations_place(deployed: Deployment, owner_dsn: str) -> None:
    """`consumidor audit verify` in the migration's task holds the log against the checkpoints, the worker's last ones included."""
    ask(deployed, ELDER)
    deployed.stop_process("worker")
    bucket = deployed.graph.outputs["audit_checkpoint_bucket"]
    found = json.loads(deployed.in_place_of_migration(owner_dsn, "consumidor", "audit", "verify", "--bucket", bucket, "--json"))
    assert found["differences"] == []
    assert found["rows"] >= 1
    assert found["checkpoints"] >= found["clients"] >= 1


def test_roles_allow_what_the_processes_do(deployed: Deployment) -> None:
    """Every call to AWS that a process made in the tests above, its last checkpoint included, is one that its role allows."""
    deployed.stop_process("worker")
    for process, witness in deployed.witnesses.items():
        assert witness.rights, process
        assert missing(deployed.graph, NAMES.get(process, process), witness.rights) == [], process
    done = {process: {right.action for right in witness.rights} for process, witness in deployed.witnesses.items()}
    assert {"sqs:ReceiveMessage", "sqs:SendMessage", "sqs:DeleteMessage", "s3:PutObject", "kms:Decrypt"} <= done["worker"]
    assert done["feed"] == {"sqs:SendMessage", "kms:GenerateDataKey", "kms:Decrypt"}
    assert {"kms:GenerateDataKey", "s3:ListBucketVersions"} <= done["migrate"]


def test_the_mapping_may_take_from_the_feed_queue(deployed: Deployment) -> None:
    """Lambda itself polls the queue, with the function's role: docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html."""
    queue = deployed.graph.one("sqs:Queue", "events-feed")
    rights = [Right(f"sqs:{action}", queue.get("arn")) for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")]
    assert missing(deployed.graph, "feed", [*rights, Right("kms:Decrypt", queue.get("kmsMasterKeyId"))]) == []
