"""The command line's own rules, without a stack: what counts as wrong use, and what as failed."""

import json
from typing import Any, Self

import pytest
from click.testing import CliRunner

from consumidor import cli
from consumidor.client import Answer
from consumidor.events.model import KINDS
from consumidor.people.model import PURPOSES, ResponseError


class Bureau:
    """A client of a bureau that fails every request."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, *_: object) -> Answer:
        """As the client's."""
        return Answer("id", "failed", error=ResponseError("urn:consumidor:seal-broken", "Record cannot be opened"))


def test_the_choices_are_those_of_the_models() -> None:
    """`--purpose` and `--kind` take what the API takes."""
    choices: dict[str, Any] = {option.name: option.type for option in [*cli.people.params, *cli.events_get.params] if option.name}
    assert tuple(choices["purpose"].choices) == PURPOSES
    assert tuple(choices["kind"].choices) == KINDS


@pytest.mark.parametrize("to", ["ftp://host/base-b", "s3://", "s3:///base-b", "file:///tmp/base-b"])
def test_an_extraction_goes_to_a_folder_or_to_s3(to: str) -> None:
    """Another kind of URL is wrong use, and no folder of that name."""
    result = CliRunner().invoke(cli.main, ["extract", "--to", to])
    assert (result.exit_code, "--to" in result.output) == (2, True)


def test_a_failed_request_is_a_failed_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is printed, and the status is 1."""
    monkeypatch.setattr(cli, "_client_of", lambda *_: Bureau())
    result = CliRunner().invoke(cli.main, ["people", "46509208172", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (1, "failed")
    assert "Record cannot be opened" in result.stderr


def test_migrate_prints_json_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every command that prints something."""
    monkeypatch.setattr("consumidor.migrate.migrate_all", lambda _: ["base_a"])
    monkeypatch.setattr("consumidor.telemetry.configure_logging", lambda _: None)
    environment = {"ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "AWS_ENDPOINT_URL": "http://aws.test",
                   "BASE_A_OWNER_DSN": "-", "BASE_A_DSN": "-", "BASE_A_KMS_KEY": "-"}  # fmt: skip
    result = CliRunner().invoke(cli.main, ["migrate", "--json"], env=environment)
    assert (result.exit_code, json.loads(result.stdout)["migrated"]) == (0, ["base_a"])
