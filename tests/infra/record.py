"""Runs a Pulumi program under mocks, in a process of its own, and writes down every resource it declares.

    python record.py PROGRAM_FOLDER STACK OUTPUT_FILE < {"consumidor:key": value or null, ...}

The stack's committed file gives the configuration, standard input changes it. The mocks answer as AWS would, with made-up names and
ids; secrets are marked as the engine marks them, so that the graph shows where each one goes. Only pulumi's own runtime is imported.
"""

import asyncio
import functools
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi
import yaml
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.mocks import MockMonitor, Mocks
from pulumi.runtime.stack import run_pulumi_func

from made_up import ACCOUNT, REGION, state_of

SIGNATURE = "4dabf18193072939515e22adb298388d"  # pulumi's mark of a value that is more than JSON (sdk/proto, "special signature")
SECRET = "1b47061264138c4ac30d75fd1eb44270"
ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
ASSET = "c44067f5952c0a294b673a41bacd8c17"


def plain(value: Any) -> Any:
    """A recorded value as JSON: whole numbers whole, secrets as {"secret": ...}, files as {"archive": ...} or {"asset": ...}."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    kinds = {SECRET: "secret", ARCHIVE: "archive", ASSET: "asset"}
    if kind := kinds.get(value.get(SIGNATURE, "")):
        held = value["value"] if kind == "secret" else {key: held for key, held in value.items() if key != SIGNATURE}
        return {kind: plain(held)}
    return {key: plain(item) for key, item in value.items()}


def revealed(value: Any) -> Any:
    """The same with secrets as they are: what a provider works with."""
    if isinstance(value, dict):
        return revealed(value["secret"]) if set(value) == {"secret"} else {key: revealed(item) for key, item in value.items()}
    return [revealed(item) for item in value] if isinstance(value, list) else value


class MadeUp(Mocks):
    """Answers from `made_up.py`."""

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        if args.token == "aws:index/getCallerIdentity:getCallerIdentity":
            return {"accountId": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:root", "userId": ACCOUNT, "id": ACCOUNT}
        if args.token == "aws:ssm/getParameter:getParameter":
            return {"value": "ami-0123456789abcdef0", "name": args.args["name"], "arn": "arn", "type": "String", "version": 1}
        raise AssertionError(f"the program calls {args.token}, which the mocks do not know")

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise AssertionError("the monitor below answers for itself")


class Recorder(MockMonitor):
    """Keeps each registration: type, name, parent, dependencies, inputs, and the state the provider would give."""

    def __init__(self) -> None:
        super().__init__(MadeUp())
        self.recorded: list[dict[str, Any]] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        if request.type == "pulumi:pulumi:Stack":
            return super().RegisterResource(request)
        inputs = plain(MessageToDict(request.object))
        identity, outputs = state_of(request.type, request.name, revealed(inputs)) if request.custom else ("", {})
        self.recorded.append({
            "urn": self.make_urn(request.parent, request.type, request.name), "type": request.type, "name": request.name,
            "parent": request.parent, "custom": request.custom, "protect": request.protect, "dependencies": sorted(request.dependencies),
            "ignore_changes": list(request.ignoreChanges), "inputs": inputs, "id": identity, "state": plain(marked(outputs)),
        })  # fmt: skip
        self.mocks.new_resource = lambda args: (identity, {**args.inputs, **marked(outputs)})  # type: ignore[method-assign]
        return super().RegisterResource(request)


def marked(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs with {"secret": ...} turned into the engine's own mark."""
    return {key: {SIGNATURE: SECRET, "value": value["secret"]} if isinstance(value, dict) and set(value) == {"secret"} else value
            for key, value in outputs.items()}  # fmt: skip


def configuration(folder: Path, stack: str, changes: dict[str, Any]) -> dict[str, str]:
    """The stack's configuration as the engine hands it over: defaults of Pulumi.yaml, the stack's file, then `changes` (null removes)."""
    project = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    values = {f"consumidor:{name}": key["default"] for name, key in project["config"].items() if "default" in key}
    values |= yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text())["config"]
    values |= changes
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items() if value is not None}


def run(folder: Path, stack: str, changes: dict[str, Any], monitor: MockMonitor) -> dict[str, Any]:
    """Run the program to its end; its outputs, secrets marked.

    Raises whatever the program raises.
    """
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(monitor.mocks, project="consumidor", stack=stack, preview=False, monitor=monitor)
    pulumi.runtime.set_all_config(configuration(folder, stack, changes))
    outputs: dict[str, Any] = {}

    async def collect() -> None:
        for name, value in pulumi.runtime.get_root_resource().outputs.items():
            output = pulumi.Output.from_input(value)
            outputs[name] = {"secret": await output.future()} if await output.is_secret() else await output.future()

    def program() -> Any:
        runpy.run_path(str(folder), run_name="__main__")
        return collect()

    loop = asyncio.get_event_loop()
    loop.run_until_complete(run_pulumi_func(functools.partial(_drain, program)))
    return outputs


async def _drain(program: Any) -> None:
    await program()


def main() -> None:
    """Record one program; an error of the program is one line on standard error and exit status 1."""
    folder, stack, target = Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3])
    monitor = Recorder()
    try:
        outputs = run(folder, stack, json.load(sys.stdin), monitor)
    except pulumi.RunError as error:
        target.write_text(json.dumps({"refused": str(error), "resources": monitor.recorded}))
        sys.exit(f"refused: {error}")
    target.write_text(json.dumps({"region": REGION, "resources": monitor.recorded, "outputs": outputs}))


if __name__ == "__main__":
    main()
