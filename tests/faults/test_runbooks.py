"""The runbooks, run: each leaves what it promises."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from consumidor import cpf, queues
from consumidor.errors import CommandError
from consumidor.people import audit
from consumidor.people.request_token import Signer
from tests.e2e.test_people_path import ELDER, Http, drain, log_rows, secret
from tests.faults.runbooks.drain import drain as drain_queues
from tests.faults.runbooks.restore import dump, restore
from tests.servers.stack import RunningStack

RUNBOOKS = Path(__file__).with_name("runbooks")
pytestmark = pytest.mark.stack


@pytest.fixture
def acme(stack: RunningStack) -> Iterator[Http]:
    """A client with nothing waiting."""
    http = Http(stack, "acme")
    drain(http)
    yield http
    drain(http)


def run(script: str, *arguments: object) -> str:
    """A runbook's output; it must succeed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["sh", str(RUNBOOKS / script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=RUNBOOKS.parents[2]).stdout


def ask(http: Http, count: int) -> list[str]:
    """Ids of so many requests, all answered with a report."""
    body = {"requests": [{"cpf": ELDER, "purpose": "credit"}] * count}
    ids = [one["request_id"] for one in http("POST", "/v1/people/requests", body)[1]["requests"]]
    answered: dict[str, str] = {}
    deadline = time.monotonic() + 90
    while not set(ids) <= answered.keys() and time.monotonic() < deadline:
        answered |= {one["request_id"]: one["status"] for one in drain(http)}
    assert [answered.get(each) for each in ids] == ["found"] * count
    return ids


def test_redrive(stack: RunningStack, acme: Http) -> None:
    """Dead letters of a cause that is mended are answered; what cannot be, is dead again with its reason."""
    sqs, request_id = stack.sqs(), str(uuid.uuid4())
    person = cpf.pseudonym(bytes.fromhex(secret(stack, "PSEUDONYM_KEY")), cpf.parse(ELDER))
    mended = Signer(secret(stack, "PEOPLE_SIGNING_KEY")).sign("acme", request_id, person, "credit")
    letters = [queues.Outgoing(body, {"reason": "ForgedMessage"}) for body in (mended, "still not a message")]
    queues.send_all(sqs, stack.info["people_requests_dlq"], letters)
    output = run("redrive.sh", stack.home, "people-requests")
    assert [one["request_id"] for one in drain(acme, 1)] == [request_id]
    assert log_rows(stack, [request_id]) == 1
    assert "MalformedMessage" in output.rpartition("events_feed_queue: 0")[2]
    while received := queues.receive(sqs, stack.info["people_requests_dlq"]):
        queues.delete(sqs, stack.info["people_requests_dlq"], [letter.receipt for letter in received])


def test_rotation(stack: RunningStack, acme: Http, tmp_path: Path) -> None:
    """After it old tokens are still good, people sealed before still open, and new ones are sealed with the new key."""
    with psycopg.connect(stack.info["base_a_dsn"], autocommit=True) as owner:
        before = {row[0] for row in owner.execute("select key_id from data_key")}
        run("rotate.sh", stack.home)
        (new,) = {row[0] for row in owner.execute("select key_id from data_key")} - before
        person = {"cpf": "987.654.321-00", "name": "Rui Souza", "debts": [],
                  "address": {"street": "Rua Um, 1", "city": "Campinas", "state": "SP", "postal_code": "13010-000"}}  # fmt: skip
        (tmp_path / "people.jsonl").write_text(json.dumps(person))
        stack.run("load", str(tmp_path / "people.jsonl"))
        assert owner.execute("select count(*) from person where key_id = %s", (new,)).fetchone() == (1,)
    body = {"requests": [{"cpf": each, "purpose": "credit"} for each in (ELDER, person["cpf"])]}
    assert acme("POST", "/v1/people/requests", body)[0] == 202  # by a token of the old key
    assert {one["report"]["cpf"] for one in drain(acme, 2)} == {ELDER, person["cpf"]}


def test_restore(stack: RunningStack, acme: Http, tmp_path: Path) -> None:
    """A dump takes the place of a base that lost its people: the audit is clean, all is answered again, and the log goes on."""
    before = ask(acme, 20)
    assert drain_queues(stack.home, 60)
    file = tmp_path / "base-a.dump"
    dump(stack.home, file)
    with psycopg.connect(stack.info["base_a_dsn"], autocommit=True) as owner:
        owner.execute("delete from debt")
        owner.execute("delete from person")
    restore(stack.home, file)
    after = ask(acme, 5)
    assert log_rows(stack, before + after) == 25
    assert '"differences": []' in stack.run("audit", "verify", "--json")
    stack.wait_until(stack.is_healthy, 20)


def test_an_older_dump_is_refused(stack: RunningStack, acme: Http, tmp_path: Path) -> None:
    """A dump that has lost the log's newest rows is told from a whole one by the checkpoints, and replaces nothing."""
    file = tmp_path / "base-a.dump"
    assert drain_queues(stack.home, 60)
    dump(stack.home, file)
    asked = ask(acme, 5)
    rows, last = log_rows(stack, asked), _last_position(stack, asked)
    stack.wait_until(lambda: _written_down(stack, "acme") >= last, 30)  # the worker writes every 10 s, perhaps before the last of these
    with pytest.raises(CommandError, match="is missing, a checkpoint has it"):
        restore(stack.home, file)
    assert log_rows(stack, asked) == rows == 5


def _last_position(stack: RunningStack, request_ids: list[str]) -> int:
    """How far these requests have brought their client's chain."""
    with psycopg.connect(stack.info["base_a_dsn"]) as owner:
        found = owner.execute("select max(position) from inquiry_log where request_id = any(%s)", (request_ids,)).fetchone()
    assert found
    return int(found[0])


def _written_down(stack: RunningStack, client: str) -> int:
    """How far the checkpoints follow a client's chain."""
    heads = audit.read_checkpoints(stack.s3(), stack.info["audit_checkpoint_bucket"])
    return max((head.position for head in heads if head.client == client), default=0)
