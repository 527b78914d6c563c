"""A recorded program as a graph to ask questions of: resources, security groups, policies, containers."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resource:
    """One registration. `kind` is `sqs:Queue`, `random:RandomBytes`; `inputs` as given, secrets as {"secret": ...}."""

    type: str
    name: str
    urn: str
    parent: str
    inputs: Mapping[str, Any]
    state: Mapping[str, Any]
    id: str
    protect: bool
    dependencies: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The type without its file and, where the provider is AWS, without its provider."""
        provider, module, name = self.type.split(":")
        return f"{module.partition('/')[0] if provider == 'aws' else provider}:{name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def get(self, name: str) -> Any:
        """An input, or what the provider made of it; a secret as it is."""
        value = self.inputs.get(name, self.state.get(name))
        return value["secret"] if isinstance(value, dict) and set(value) == {"secret"} else value

    def document(self, name: str) -> Any:
        """An input that is JSON, parsed."""
        return json.loads(self.get(name))


@dataclass(frozen=True)
class Statement:
    """One statement of a policy, and the resource that the policy hangs on."""

    holder: Resource
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: Mapping[str, Any]
    principal: Any

    def __str__(self) -> str:
        return f"{self.holder}: {self.effect} {', '.join(self.actions)} on {', '.join(self.resources)}"


class Graph:
    """All that one run of the program declared for one stack."""

    def __init__(self, recorded: Mapping[str, Any], stack: str) -> None:
        self.stack = stack
        self.outputs: Mapping[str, Any] = recorded.get("outputs", {})
        self.refused: str | None = recorded.get("refused")
        self.failed: str | None = recorded.get("failed")
        self.all = [
            Resource(one["type"], one["name"], one["urn"], one["parent"], one["inputs"], one["state"], one["id"], one["protect"],
                     tuple(one["dependencies"]), tuple(one["ignore_changes"]))
            for one in recorded["resources"]
        ]  # fmt: skip
        self.resources = [resource for resource in self.all if resource.type.partition(":")[0] in {"aws", "random", "tls"}]
        self._by_urn = {resource.urn: resource for resource in self.all}

    def of(self, *kinds: str) -> list[Resource]:
        """Every resource of these kinds."""
        return [resource for resource in self.resources if resource.kind in kinds]

    def one(self, kind: str, name: str) -> Resource:
        """The resource of that kind and name."""
        (found,) = [resource for resource in self.of(kind) if resource.name == name]
        return found

    def before(self, resource: Resource) -> list[Resource]:
        """All that stands before that one is made: what it depends on, and what that depends on, to the last."""
        found: dict[str, Resource] = {}
        ahead = [resource]
        while ahead:
            for urn in {*ahead.pop().dependencies} & self._by_urn.keys() - found.keys():
                found[urn] = self._by_urn[urn]
                ahead.append(found[urn])
        return list(found.values())

    def statements(self) -> Iterator[Statement]:
        """Every statement of every policy there is: of roles, keys, queues, buckets, topics, endpoints, and trust."""
        for resource in self.resources:
            for name in ("policy", "assumeRolePolicy"):
                if resource.inputs.get(name) and resource.kind != "ecr:LifecyclePolicy":
                    for statement in resource.document(name)["Statement"]:
                        yield _statement(resource, statement)

    def may(self, role: str) -> list[Statement]:
        """What a role's own policies allow; `role` is its name in the program."""
        roles = {one.id for one in self.of("iam:Role") if one.name == role}
        assert roles, f"there is no role {role}"
        return [
            statement
            for statement in self.statements()
            if statement.holder.kind == "iam:RolePolicy" and statement.holder.get("role") in roles
        ]

    def group(self, name: str) -> str:
        """The id of a security group, by the name of who it is for."""
        return self.one("ec2:SecurityGroup", f"access-{name}").id

    def container(self, task: str) -> dict[str, Any]:
        """The container of a task definition that bears the task's name."""
        (container,) = (one for one in self.containers(task) if one["name"] == task)
        return container

    def containers(self, task: str) -> list[dict[str, Any]]:
        """Every container of a task definition."""
        return list(self.one("ecs:TaskDefinition", task).document("containerDefinitions"))

    def secret_text(self, arn: str) -> str:
        """The text that the program put into the secret with that ARN."""
        (version,) = [one for one in self.of("secretsmanager:SecretVersion") if one.get("secretId") == arn]
        return str(version.get("secretString"))

    def environment(self, process: str) -> dict[str, str]:
        """What a process finds in its environment, by task or Lambda; a secret that ECS injects as `secret:<arn>`."""
        if process in {function.name for function in self.of("lambda:Function")}:
            return dict(self.one("lambda:Function", process).get("environment")["variables"])
        container = self.container(process)
        plain = {entry["name"]: entry["value"] for entry in container["environment"]}
        return plain | {entry["name"]: f"secret:{entry['valueFrom']}" for entry in container["secrets"]}


def _statement(holder: Resource, statement: Mapping[str, Any]) -> Statement:
    def listed(value: Any) -> tuple[str, ...]:
        return tuple(value) if isinstance(value, list) else () if value is None else (value,)

    return Statement(holder, statement["Effect"], listed(statement["Action"]), listed(statement.get("Resource")),
                     statement.get("Condition", {}), statement.get("Principal"))  # fmt: skip
