"""The README's commands: run as they are written, by a shell in which `aws`, `pulumi` and the rest only write down what they are told."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import StructureShape
from botocore.validate import ParamValidator

from tests.infra.graph import Graph
from tests.infra.mutations import PROGRAM
from tests.infra.recording import ROOT

README = (PROGRAM / "README.md").read_text("utf-8")
DEAD = "arn:aws:sqs:sa-east-1:123456789012:people-requests-dlq"
OF_THE_CLI = {"query", "output", "region"}  # options of every command
NO_OPERATION = {("ecs", "wait"), ("ecr", "get-login-password"), ("logs", "tail"), ("ssm", "start-session")}  # commands of the CLI's own
_STAND_IN = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
name, told = Path(sys.argv[0]).name, sys.argv[1:]
with open(os.environ["TOLD"], "a") as file:
    file.write(json.dumps([name, *told]) + "\\n")
if name == "pulumi" and told[2:4] == ["stack", "output"]:
    value = json.loads(os.environ["OUTPUTS"])[told[-1]]
    print(json.dumps(value) if "--json" in told else value)
if name == "aws":
    print({DEAD!r})
"""


def blocks() -> list[str]:
    """The README's shell blocks, but for what is typed on a node."""
    found = [
        re.sub(r"^  ", "", text, flags=re.MULTILINE) for text in re.findall(r"^ *```sh\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)
    ]
    return [text for text in found if "user-data.txt" not in text]


@pytest.fixture(scope="module")
def told(graphs: Mapping[str, Graph], tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What each command was told, in order, once all blocks have run in one shell."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("aws", "pulumi", "docker", "make"):
        (folder / name).write_text(_STAND_IN)
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "TOLD": str(folder / "told"), "OUTPUTS": json.dumps(graphs["dev"].outputs)}
    script = "\n".join(blocks())
    done = subprocess.run(["bash", "-eu", "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


def shape_of(service: str, name: str) -> StructureShape:
    """What an `aws` command takes; fails where there is no such operation."""
    model = botocore.session.get_session().get_service_model(service)
    (found,) = (one for one in model.operation_names if xform_name(one, "-") == name)
    shape = model.operation_model(found).input_shape
    assert shape is not None
    return shape


def operation(command: list[str]) -> tuple[StructureShape, dict[str, Any]]:
    """What an `aws` command takes and the parameters that it is given; fails where an option is none of them."""
    _, service, name, *options = command
    shape = shape_of(service, name)
    members = {xform_name(member, "-"): (member, kind.type_name) for member, kind in shape.members.items()}
    parameters: dict[str, Any] = {}
    for option, values in _options(options):
        if option not in OF_THE_CLI:
            member, type_name = members[option]
            parameters[member] = _parsed(type_name, values)
    return shape, parameters


def _options(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    starts = [place for place, word in enumerate(words) if word.startswith("--")]
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        yield words[start].removeprefix("--"), words[start + 1 : end]


def _parsed(type_name: str, values: list[str]) -> Any:
    if type_name == "boolean":
        return True
    if type_name == "list":
        return values
    (value,) = values
    return json.loads(value) if type_name in {"structure", "integer"} else value


def test_the_lines_for_aws_are_what_it_takes(told: list[list[str]]) -> None:
    """Every `aws` line of the blocks names an operation with options that it has, and values that its model accepts, JSON whole."""
    ours = [command for command in told if command[0] == "aws" and tuple(command[1:3]) not in NO_OPERATION]
    assert len(ours) >= 7
    for command in ours:
        shape, parameters = operation(command)
        report = ParamValidator().validate(parameters, shape)
        assert not report.has_errors(), (command, report.generate_report())


def test_lines_within_the_text_are_too() -> None:
    """The short commands between the lines name operations and options that there are."""
    inline = [" ".join(text.split()) for text in re.findall(r"`(aws [^`]+)`", README)]
    for line in inline:
        _, service, name, *rest = line.split(" ")
        if (service, name) not in NO_OPERATION:
            options = {word.removeprefix("--") for word in rest if word.startswith("--")}
            assert options <= {xform_name(member, "-") for member in shape_of(service, name).members} | OF_THE_CLI, line
    assert len(inline) >= 5


def test_dead_letters_go_back_to_their_own_queue(told: list[list[str]]) -> None:
    """Source and destination are both named, the destination the queue that the dead letters are of; no content is shown."""
    (moved,) = (command for command in told if command[:3] == ["aws", "sqs", "start-message-move-task"])
    assert operation(moved)[1] == {"SourceArn": DEAD, "DestinationArn": DEAD.removesuffix("-dlq")}
    (looked,) = (command for command in told if command[:3] == ["aws", "sqs", "receive-message"])
    assert "Body" not in looked[looked.index("--query") + 1]


def test_the_audit_is_run_in_the_migration_s_task(told: list[list[str]], graphs: Mapping[str, Graph]) -> None:
    """The override names the container that there is, and the bucket that the program made."""
    first, audit = (operation(command)[1] for command in told if command[:3] == ["aws", "ecs", "run-task"])
    graph = graphs["dev"]
    (override,) = audit["overrides"]["containerOverrides"]
    assert override["name"] == graph.container("migrate")["name"]
    assert override["command"] == ["consumidor", "audit", "verify", "--bucket", graph.outputs["audit_checkpoint_bucket"]]
    assert first["taskDefinition"] == audit["taskDefinition"] == graph.one("ecs:TaskDefinition", "migrate").get("family")
    assert first["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"] == [graph.group("migrate")]
    assert {first["cluster"], audit["cluster"]} == {one.get("name") for one in graph.of("ecs:Cluster")}


def test_the_steps_come_in_order(told: list[list[str]]) -> None:
    """Pulumi's libraries and the zips before the first preview, the image before the migration, the services after it."""
    said = [" ".join(command) for command in told]
    ours = "pulumi -C infra_pulumi"
    steps = ("make .venv/.infra", "make lambdas", f"{ours} preview", "make image", f"{ours} config set imageDigest", f"{ours} up --target",
             "aws ecs run-task", "aws ecs wait")  # fmt: skip
    places = [next(place for place, line in enumerate(said) if line.startswith(step)) for step in steps]
    assert places == sorted(places)
    assert said[places[-1] + 1 :].index(f"{ours} up") > 0


def test_passwords_that_the_readme_rotates_exist(graphs: Mapping[str, Graph]) -> None:
    """Each pattern names one password that the program makes, and each service and Lambda to restart is one of its own."""
    graph = graphs["dev"]
    urns = [one.urn for one in graph.of("random:RandomPassword")]
    patterns = re.findall(r"--replace '\*\*([\w:-]+)'", README)
    assert len(patterns) >= 4
    assert [sum(urn.endswith(pattern) for urn in urns) for pattern in patterns] == [1] * len(patterns)
    services = {one.get("name") for one in graph.of("ecs:Service")}
    assert set(re.findall(r"--service (\w+)", README)) | {"api", "score"} <= services
    assert set(re.findall(r"--function-name ([\w-]+)", README)) <= {one.get("name") for one in graph.of("lambda:Function")}


def test_what_the_preview_needs_is_written_down() -> None:
    """Each variable of the workflow is in the README; without the role there is no preview, and the tests run all the same."""
    workflow = Path(ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    variables = set(re.findall(r"vars\.(\w+)", workflow))
    assert variables == {"AWS_PREVIEW_ROLE", "PULUMI_BACKEND_URL"}
    assert all(f"`{name}`" in README for name in variables)
    guard = re.search(r"  preview:.*?\n    if: (.*)\n", workflow, re.DOTALL)
    assert guard is not None
    assert guard.group(1).startswith("vars.AWS_PREVIEW_ROLE != '' && (")
