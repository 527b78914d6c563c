"""The command line against the running stack: what people type, and what they mistype."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumidor import queues
from tests.e2e.test_people_path import ELDER
from tests.servers.stack import RunningStack

pytestmark = pytest.mark.stack
CPF = "390.533.447-05"
PERSON: dict[str, Any] = {
    "cpf": CPF,
    "name": "Fulana de Tal",
    "address": {"street": "Rua A, 1", "city": "Recife", "state": "PE", "postal_code": "50010-000"},
    "debts": [{"creditor": "Banco", "amount_cents": 700, "due_on": "2026-01-31", "status": "open"}],
}


def command(*arguments: str) -> tuple[int, str, str]:
    """(status, standard output, standard error) of one command."""
    done = subprocess.run([sys.executable, "-m", "consumidor.cli", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_every_command_explains_itself() -> None:
    """`--help` of each command works and says what it does."""
    _, listing, _ = command("--help")
    names = [line.split()[0] for line in listing.partition("Commands:")[2].splitlines() if line.strip()]
    assert {
        "up",
        "demo",
        "token",
        "people",
        "score",
        "events",
        "load",
        "extract",
        "dlq",
        "audit",
        "keys",
        "migrate",
        "api",
        "worker",
        "score-api",
    } <= set(names)
    for name in names:
        status, text, _ = command(name, "--help")
        assert (status, "Usage:" in text) == (0, True)


@pytest.mark.parametrize("line", ["people", "up --port 70000", "dlq list no-such", "nonsense", f"score {ELDER} --language fr"])
def test_wrong_use_is_status_2(line: str) -> None:
    """What cannot be meant is refused with the usage, status 2."""
    status, _, error = command(*line.split())
    assert (status, "Usage:" in error) == (2, True)


@pytest.mark.parametrize("line", ["demo", f"people {ELDER}", "token --client acme", "audit verify", "dlq list events-feed"])
def test_without_a_stack_one_line_and_status_1(tmp_path: Path, line: str) -> None:
    """No stack in that home: one readable line, no traceback."""
    status, output, error = command(*line.split(), "--home", str(tmp_path))
    assert (status, output, error.count("\n")) == (1, "", 1)
    assert "no stack is running" in error


def test_wrong_settings_are_status_2() -> None:
    """A deployed process without its settings names them all in one line."""
    status, _, error = command("worker")
    assert (status, error.count("\n")) == (2, 1)
    assert "BASE_A_DSN is missing" in error


def test_asking_from_the_command_line(stack: RunningStack) -> None:
    """people, score and events answer as JSON."""
    assert json.loads(stack.run("people", ELDER, "--json"))["report"]["cpf"] == ELDER
    score = json.loads(stack.run("score", ELDER, "--json"))
    assert 0 <= score["score"] <= 1000
    assert json.loads(stack.run("events", "get", ELDER, "--latest", "--json")).keys() == {
        "bureau_inquiry",
        "financial_movement",
        "card_purchase",
    }
    assert "465.092.081-72" in stack.run("people", ELDER)  # as a table


def test_a_refusal_is_one_line(stack: RunningStack) -> None:
    """What the API refuses is told in one line, status 1."""
    status, _, error = command("people", "465.092.081-73", "--home", str(stack.home))
    assert (status, error.count("\n")) == (1, 1)
    assert "cpf" in error


def test_a_new_client_gets_a_token_and_a_queue(stack: RunningStack) -> None:
    """`token --client` registers a new name, prints the token alone, and the client can use it at once."""
    token = stack.run("token", "--client", "novo-1", "--scope", "consumidor/people.read")
    assert token.count("\n") == 1
    assert stack.get("/v1/people/responses", token.strip()) == (200, {"responses": []})
    assert command("token", "--client", "No Such", "--home", str(stack.home))[0] == 1


def test_ones_own_people(stack: RunningStack, tmp_path: Path) -> None:
    """`load` takes a file of people; they can be asked for; wrong lines are named and load nothing."""
    file = tmp_path / "people.jsonl"
    file.write_text(json.dumps(PERSON) + "\n")
    assert json.loads(stack.run("load", str(file), "--json"))["people"] == 1
    report = json.loads(stack.run("people", CPF, "--json"))["report"]
    assert {name: report[name] for name in PERSON} == PERSON
    file.write_text(json.dumps(PERSON) + "\n" + json.dumps({**PERSON, "cpf": "1"}) + "\n{\n")
    status, _, error = command("load", str(file), "--home", str(stack.home))
    assert status == 1
    assert "line 2: cpf" in error
    assert "line 3" in error


def test_dead_letters_are_listed_and_redriven(stack: RunningStack) -> None:
    """A forged message shows up by its reason, goes back to its queue, and is a dead letter again."""
    sqs, dead = stack.sqs(), stack.info["people_requests_dlq"]
    queues.send_all(sqs, stack.info["people_requests_queue"], [queues.Outgoing("forged, once more")])
    stack.wait_until(lambda: queues.backlog(sqs, dead), 10)
    listed: list[dict[str, Any]] = json.loads(stack.run("dlq", "list", "people-requests", "--json"))
    assert {"MalformedMessage"} <= {letter["reason"] for letter in listed}
    assert "forged" not in json.dumps(listed)
    stack.wait_until(lambda: queues.backlog(sqs, dead) == len(listed), 10)
    assert json.loads(stack.run("dlq", "redrive", "people-requests", "--json"))["redriven"] == len(listed)
    stack.wait_until(lambda: queues.backlog(sqs, dead) == len(listed), 10)


def test_keys_rotate(stack: RunningStack) -> None:
    """After rotating the token key old and new tokens are good; after rotating the data key old rows still open."""
    old = stack.token("acme")
    stack.run("keys", "rotate")
    for token in (old, stack.token("acme")):
        assert stack.get("/v1/people/responses", token)[0] == 200
    stack.run("keys", "rotate", "data")
    assert json.loads(stack.run("people", ELDER, "--json"))["status"] == "found"


def test_the_audit_finds_what_the_owner_does(stack: RunningStack) -> None:
    """`audit verify` is clean; a changed row makes it exit 1 and name the row; put back, it is clean again."""
    stack.run("people", ELDER, "--purpose", "own")
    assert json.loads(stack.run("audit", "verify", "--json"))["differences"] == []
    with psycopg.connect(stack.info["base_a_dsn"], autocommit=True) as owner:
        row = owner.execute("select request_id, purpose from inquiry_log order by at limit 1").fetchone()
        assert row
        other = "rental" if row[1] != "rental" else "credit"
        owner.execute("update inquiry_log set purpose = %s where request_id = %s", (other, row[0]))
        status, output, error = command("audit", "verify", "--json", "--home", str(stack.home))
        owner.execute("update inquiry_log set purpose = %s where request_id = %s", (row[1], row[0]))
    assert status == 1
    assert len(json.loads(output)["differences"]) == 1
    assert error.count("\n") == 1
    assert json.loads(stack.run("audit", "verify", "--json"))["differences"] == []
