"""Runs Pulumi programs under mocks, each in a process of its own, and writes down every resource they declare.

    python record.py < [{"folder": ..., "stack": ..., "changes": {"consumidor:key": value or null}, "target": FILE, "place": null}, ...]

The stack's committed file gives the configuration, `changes` alter it. The mocks answer as AWS would, with made-up names and ids;
secrets are marked as the engine marks them, so that the graph shows where each one goes. With a `place` (see on_ministack.py) what
can be made there is really made. The SDK is imported once and the process
forked for each program: importing takes longer than running.
"""

import asyncio
import functools
import importlib
import json
import os
import re
import runpy
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pulumi
import yaml
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.mocks import MockMonitor, Mocks
from pulumi.runtime.stack import run_pulumi_func

from tests.infra.made_up import ACCOUNT, REGION
from tests.infra.on_ministack import provider

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

    def __init__(self) -> None:
        self.answer = threading.local()  # registrations come in threads, each answered in its own

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The two functions that the program asks of AWS."""
        if args.token == "aws:index/getCallerIdentity:getCallerIdentity":
            return {"accountId": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:root", "userId": ACCOUNT, "id": ACCOUNT}, []
        if args.token == "aws:ssm/getParameter:getParameter":
            return {"value": "ami-0123456789abcdef0", "name": args.args["name"], "arn": "arn", "type": "String", "version": 1}, []
        raise AssertionError(f"the program calls {args.token}, which the mocks do not know")

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Id and outputs, as the monitor has made them up."""
        return self.answer.identity, {**args.inputs, **self.answer.outputs}


class Recorder(MockMonitor):
    """Keeps each registration: type, name, parent, dependencies, inputs, and the state the provider would give."""

    def __init__(self, place: dict[str, str] | None) -> None:
        self._make = provider(place)
        mocks = MadeUp()
        super().__init__(mocks)
        self.answers = mocks.answer
        self.recorded: list[dict[str, Any]] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        """Write the registration down, and let the mocks answer it."""
        if request.type == "pulumi:pulumi:Stack":
            return self._answer(request)
        inputs = plain(MessageToDict(request.object))
        identity, outputs = self._make(request.type, request.name, revealed(inputs)) if request.custom else ("", {})
        self.recorded.append({
            "urn": self.make_urn(request.parent, request.type, request.name), "type": request.type, "name": request.name,
            "parent": request.parent, "custom": request.custom, "protect": request.protect, "dependencies": sorted(request.dependencies),
            "ignore_changes": list(request.ignoreChanges), "inputs": inputs, "id": identity, "state": plain(marked(outputs)),
        })  # fmt: skip
        self.answers.identity, self.answers.outputs = identity, marked(outputs)
        return self._answer(request)

    def _answer(self, request: Any) -> Any:
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]  # pulumi's monitor has no annotations


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
    os.environ["PULUMI_CONFIG"] = json.dumps(configuration(folder, stack, changes))  # as the engine's language host does
    outputs: dict[str, Any] = {}

    async def collect() -> None:
        stack: Any = pulumi.runtime.get_root_resource()
        for name, value in stack.outputs.items():
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


def record(folder: Path, stack: str, changes: dict[str, Any], target: Path, place: dict[str, str] | None) -> None:
    """Record one program; where it refuses or fails, what it said and what it had declared by then."""
    monitor = Recorder(place)
    graph: dict[str, Any] = {"region": REGION, "resources": monitor.recorded}
    try:
        graph["outputs"] = run(folder, stack, changes, monitor)
    except pulumi.RunError as error:
        graph["refused"] = str(error)
    except Exception:  # noqa: BLE001 - whatever a broken program raises is what its test wants to see
        graph["failed"] = traceback.format_exc()
    target.write_text(json.dumps(graph))


def preload(folder: Path) -> None:
    """Import what the program uses of the SDK, whose modules load at the first look at them."""
    text = "".join(file.read_text() for file in folder.glob("*.py"))
    for module, name in sorted(set(re.findall(r"(?<![.\w])aws\.([a-z0-9_]+)\.([A-Z]\w+)", text))):
        getattr(importlib.import_module(f"pulumi_aws.{module}"), name)


def main() -> None:
    """Record every job of standard input, as many at once as there are cores."""
    jobs = json.load(sys.stdin)
    preload(Path(jobs[0]["folder"]))
    running: set[int] = set()
    for job in jobs:
        if len(running) >= (os.cpu_count() or 1):
            running.discard(os.wait()[0])
        child = os.fork()
        if child == 0:
            record(Path(job["folder"]).resolve(), job["stack"], job["changes"], Path(job["target"]), job.get("place"))
            os._exit(0)
        running.add(child)
    while running:
        running.discard(os.wait()[0])


if __name__ == "__main__":
    main()
