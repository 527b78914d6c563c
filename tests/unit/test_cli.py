"""The command line's own rules, without a stack: what counts as wrong use, and what as failed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import click
import pytest
from click.testing import CliRunner

from consumidor import cli
from consumidor.client import Answer
from consumidor.events.model import KINDS
from consumidor.people.model import PURPOSES, Delivery, ResponseError
from consumidor.settings import PROCESSES
from consumidor.show import show_parts


class Bureau:
    """A client of a bureau that fails every request, or does not answer."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, cpf: str, *_: object) -> Answer:
        """As the client's."""
        if not cpf.isdigit():
            raise TimeoutError(cpf)
        return Answer("id", "failed", error=ResponseError("urn:consumidor:seal-broken", "Record cannot be opened"))

    def waiting(self) -> list[Delivery]:
        """One that came late."""
        return [Delivery("late", "not_found", "its receipt")]

    def open(self, delivery: Delivery) -> Answer:
        """As the client's."""
        return Answer(delivery.request_id, delivery.status)

    def acknowledge_later(self, receipt: str) -> None:
        """Remember it."""
        self.acknowledged.append(receipt)


def test_the_choices_are_those_of_the_models() -> None:
    """`--purpose` and `--kind` take what the API takes."""
    choices: dict[str, Any] = {option.name: option.type for option in [*cli.people.params, *cli.events_get.params] if option.name}
    assert tuple(choices["purpose"].choices) == PURPOSES
    assert tuple(choices["kind"].choices) == KINDS


@pytest.mark.parametrize("to", ["ftp://host/base-b", "s3://", "s3:///base-b", "file:///tmp/base-b", "", " "])
def test_an_extraction_goes_to_a_folder_or_to_s3(to: str) -> None:
    """Another kind of URL, or nothing, is wrong use, and no folder of that name."""
    result = CliRunner().invoke(cli.main, ["extract", "--to", to])
    assert (result.exit_code, "--to" in result.output) == (2, True)


def test_a_failed_request_is_a_failed_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is printed, and the status is 1."""
    monkeypatch.setattr(cli, "_client_of", lambda *_: Bureau())
    result = CliRunner().invoke(cli.main, ["people", "46509208172", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (1, "failed")
    assert "Record cannot be opened" in result.stderr


@pytest.mark.parametrize(("error", "said"), [("no response within 30 s", "no response within 30 s"), ("", "no answer in time")])
def test_an_answer_that_does_not_come_is_one_line(monkeypatch: pytest.MonkeyPatch, error: str, said: str) -> None:
    """And status 1, whichever command waits for it."""
    monkeypatch.setattr(cli, "_client_of", lambda *_: Bureau())
    result = CliRunner().invoke(cli.main, ["people", error])
    assert (result.exit_code, result.output) == (1, f"consumidor: {said}\n")


@pytest.mark.parametrize(
    ("line", "missing", "extra"),
    [
        ("up", "rich", "local"),
        ("dlq list events-feed", "rich", "local"),
        ("keys rotate", "rich", "local"),
        ("audit verify", "rich", "local"),
        ("extract --to x", "dask", "extraction"),
    ],
)
def test_a_base_installation_says_what_a_command_needs(tmp_path: Path, line: str, missing: str, extra: str) -> None:
    """A package of an extra that is not there is one line that names the extra, status 1."""
    program = f"import sys; sys.modules[{missing!r}] = None; from consumidor import cli; cli.main()"
    command = [sys.executable, "-c", program, *line.split(), "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = f"consumidor: this command needs pip install 'consumidor[{extra}]' (there is no {missing} here)\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_a_module_of_our_own_that_is_missing_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which no extra mends, and which is not hidden."""

    def broken(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'consumidor.nonesuch'", name="consumidor.nonesuch")

    monkeypatch.setattr(cli, "_client_of", broken)
    assert isinstance(CliRunner().invoke(cli.main, ["score", "1"]).exception, ModuleNotFoundError)


def test_migrate_prints_json_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every command that prints something."""
    monkeypatch.setattr("consumidor.migrate.migrate_all", lambda _: ["base_a"])
    monkeypatch.setattr("consumidor.telemetry.configure_logging", lambda _: None)
    environment = {"ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "AWS_ENDPOINT_URL": "http://aws.test",
                   "BASE_A_OWNER_DSN": "dbname=-", "BASE_A_DSN": "dbname=-", "BASE_A_KMS_KEY": "-"}  # fmt: skip
    result = CliRunner().invoke(cli.main, ["migrate", "--json"], env=environment)
    assert (result.exit_code, json.loads(result.stdout)["migrated"]) == (0, ["base_a"])


def test_answers_that_came_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are shown, and acknowledged once they are."""
    bureau = Bureau()
    monkeypatch.setattr(cli, "_client_of", lambda *_: bureau)
    result = CliRunner().invoke(cli.main, ["people", "--waiting", "--json"])
    assert json.loads(result.stdout) == [{"request_id": "late", "status": "not_found", "report": None, "error": None}]
    assert (result.exit_code, bureau.acknowledged) == (0, ["its receipt"])


@pytest.mark.parametrize(
    "line",
    [
        "people",
        "people 1 --waiting",
        "events get 1 --latest --kind card_purchase",
        *(f"people 1 --timeout {seconds}" for seconds in ("inf", "nan", "-1", "-inf", "1e9", "x")),
    ],
)
def test_wrong_use(line: str) -> None:
    """What cannot be meant is said with the usage, status 2."""
    result = CliRunner().invoke(cli.main, line.split())
    assert (result.exit_code, result.stderr.startswith("Usage: ")) == (2, True)


def test_every_command_says_what_it_does_and_how() -> None:
    """The list of commands cuts no sentence off, and all but the deployed processes show an example."""
    summaries = CliRunner().invoke(cli.main, ["--help"], terminal_width=80).output.partition("Commands:")[2]
    assert "..." not in summaries
    for command in (cli.main, *(one for one in cli.main.commands.values() if isinstance(one, click.Group))):
        for one in command.commands.values():
            if not isinstance(one, click.Group) and one.name not in PROCESSES:
                assert re.search(r"\n *Examples?:\n", one.help or ""), one.name


def test_a_document_in_parts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What people read is tables, at most 20 rows of each; what programs read is the document."""
    monkeypatch.setenv("COLUMNS", "100")
    document = {"score": 423, "reasons": [{"code": f"r{number}"} for number in range(25)]}
    show_parts(document, {"reasons": "Where points were lost"}, as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert all(text in shown for text in ("423", "r0", "r19", "the first 20 of 25"))
    assert "r20" not in shown
    show_parts(document, {"reasons": "Where points were lost"}, as_json=True)
    assert json.loads(capsys.readouterr().out) == document


def run(program: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """A program around the command line, in a process of its own."""
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False, **options)


def test_a_standard_output_without_the_letters() -> None:
    """JSON has its own escapes for them; what else is printed has their numbers."""
    program = """if True:
        import sys
        from consumidor import cli
        from consumidor.show import show
        cli.main.commands["score"].callback = lambda as_json, **_: show({"name": "N\u00f3brega \u2192"}, as_json=as_json)
        cli.main()"""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for extra in ("--json", ""):
        done = run(program.replace("cli.main()", f"cli.main('score 1 {extra}'.split())"), env=environment, stdout=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("\\u00f3" if extra else "\\xf3") in done.stdout
        assert not extra or json.loads(done.stdout) == {"name": "N\u00f3brega \u2192"}


def test_a_full_disk_is_one_line() -> None:
    """What is printed and cannot be written is said, status 1."""
    program = """if True:
        from consumidor import cli
        cli.main.commands["token"].callback = lambda **_: print("x" * 100)
        cli.main("token --client acme".split())"""
    with Path("/dev/full").open("w") as full:
        done = run(program, stdout=full)
    assert (done.returncode, done.stderr) == (1, "consumidor: No space left on device\n")


def test_a_home_that_cannot_be_made_is_one_line() -> None:
    """And status 1."""
    result = CliRunner().invoke(cli.main, ["up", "--home", "/proc/nope"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "/proc/nope" in result.output
