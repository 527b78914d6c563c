"""The Pulumi program as the notebooks see it: the resource graph of a stack, recorded under mocks, and who may do what in it."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the recorder is a part of the tests

from tests.infra.graph import Graph, Resource
from tests.infra.recording import Job, record_all

_MESSAGES = {"sqs:SendMessage": "sends to", "sqs:ReceiveMessage": "takes from", "s3:PutObject": "puts into", "s3:GetObject": "reads from"}


def recorded(stack: str) -> Graph:
    """All that the program declares for `dev`, `tst` or `prd`."""
    with tempfile.TemporaryDirectory() as folder:
        return record_all({stack: Job(stack)}, Path(folder))[stack]


def connections(graph: Graph) -> set[tuple[str, str]]:
    """(source, target) of every security group rule: no other connection can be opened."""
    groups = {group.id: group.name.removeprefix("access-") for group in graph.of("ec2:SecurityGroup")}

    def target(rule: Resource) -> str:
        return groups.get(rule.get("referencedSecurityGroupId")) or ("s3" if rule.get("prefixListId") else "internet")

    return {(groups[rule.get("securityGroupId")], target(rule)) for rule in graph.of("vpc:SecurityGroupEgressRule")}


def messages(graph: Graph, *processes: str) -> set[tuple[str, str, str]]:
    """(process, what it does, queue or bucket) of every right on messages and objects that these processes' roles have."""
    return {
        (process, _MESSAGES[action], _name(resource))
        for process in processes
        for statement in graph.may(process)
        for action in statement.actions
        for resource in statement.resources
        if action in _MESSAGES
    }


def _name(arn: str) -> str:
    """`arn:aws:s3:::people-results-1a2b3c4/responses/*` -> `people-results`."""
    _, _, kind, *_, name = arn.partition("/")[0].split(":")
    return name.rpartition("-")[0] if kind == "s3" else name
