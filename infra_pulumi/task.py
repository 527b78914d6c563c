"""One Fargate task definition: its log group, its two roles, and a container that is not root and cannot write to its own disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import iam
import pulumi
import pulumi_aws as aws
from containers import Platform
from credentials import SecretText
from environments import Size

STOP_SECONDS = 60  # above the longest drain: a long poll of 20 s and uvicorn's 25 s
SPARE_DIRECTORY = "/tmp"  # noqa: S108 - a volume of the task's own, the only place where it may write


@dataclass(frozen=True)
class Container:
    """One command with its settings and secrets."""

    command: Sequence[pulumi.Input[str]]
    environment: Mapping[str, pulumi.Input[str]]
    secrets: Mapping[str, SecretText]


@dataclass(frozen=True)
class TaskArgs:
    """What runs and what it may do; `first` runs to its end before.

    `live_port` is where `/live` answers, `serves` whether that port takes requests.
    """

    platform: Platform
    main: Container
    size: Size
    may: Sequence[iam.Statement]
    image: pulumi.Input[str]
    first: Container | None = None
    live_port: int | None = None
    serves: bool = False


class Task(pulumi.ComponentResource):
    """`definition_arn`, `family`, `role` (of the process), `execution_role` (of ECS, which pulls the image and injects the secrets)."""

    def __init__(self, name: str, args: TaskArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Task", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        platform = args.platform
        self.log_group = aws.cloudwatch.LogGroup(
            name,
            name=f"/consumidor/{name}",
            retention_in_days=platform.environment.log_days,
            kms_key_id=platform.log_key,
            opts=self._child,
        )
        trust = iam.assumed_by("ecs-tasks.amazonaws.com", platform.account)
        self.role = aws.iam.Role(name, assume_role_policy=trust, opts=self._child)
        if args.may:
            aws.iam.RolePolicy(name, role=self.role.id, policy=iam.allow(*args.may), opts=pulumi.ResourceOptions(parent=self.role))
        self.execution_role = aws.iam.Role(f"{name}-execution", assume_role_policy=trust, opts=self._child)
        starts = aws.iam.RolePolicy(
            f"{name}-execution", role=self.execution_role.id, policy=self._start(), opts=pulumi.ResourceOptions(parent=self.execution_role)
        )
        definition = aws.ecs.TaskDefinition(
            name,
            family=f"consumidor-{name}",
            cpu=str(args.size.cpu),
            memory=str(args.size.memory),
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            runtime_platform=aws.ecs.TaskDefinitionRuntimePlatformArgs(cpu_architecture="ARM64", operating_system_family="LINUX"),
            task_role_arn=self.role.arn,
            execution_role_arn=self.execution_role.arn,
            container_definitions=pulumi.Output.json_dumps(self._containers()),
            volumes=[aws.ecs.TaskDefinitionVolumeArgs(name="spare")],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[starts]),
        )
        self.definition_arn, self.family = definition.arn, definition.family
        self.register_outputs({"definition_arn": self.definition_arn})

    def _start(self) -> pulumi.Output[str]:
        first = self._args.first.secrets if self._args.first else {}
        secrets = {**first, **self._args.main.secrets}.values()
        keys = [secret.key for secret in secrets if secret.key is not None]
        pull = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")
        log = ("logs:CreateLogStream", "logs:PutLogEvents")
        statements = [
            iam.Statement(("ecr:GetAuthorizationToken",), ("*",)),  # has no resource: it answers with the account's own token
            iam.Statement(pull, (self._args.platform.repository_arn,)),
            iam.Statement(log, (pulumi.Output.format("{}:*", self.log_group.arn),)),
        ]
        if secrets:
            statements.append(iam.Statement(("secretsmanager:GetSecretValue",), [secret.arn for secret in secrets]))
        if keys:
            statements.append(iam.Statement(("kms:Decrypt",), keys))
        return iam.allow(*statements)

    def _containers(self) -> list[dict[str, Any]]:
        args = self._args
        main = self._container(self._name, args.main)
        if args.serves:
            main["portMappings"] = [{"containerPort": args.live_port, "protocol": "tcp"}]
        if args.live_port:
            main["healthCheck"] = _ask_live(args.live_port)
        if args.first is None:
            return [main]
        first = self._container(f"{self._name}-first", args.first) | {"essential": False}
        return [main | {"dependsOn": [{"containerName": first["name"], "condition": "SUCCESS"}]}, first]

    def _container(self, name: str, container: Container) -> dict[str, Any]:
        return {
            "name": name,
            "image": self._args.image,
            "essential": True,
            "command": list(container.command),
            "user": "10001:10001",
            "readonlyRootFilesystem": True,
            "stopTimeout": STOP_SECONDS,
            "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
            "mountPoints": [{"sourceVolume": "spare", "containerPath": SPARE_DIRECTORY, "readOnly": False}],
            "environment": [{"name": key, "value": value} for key, value in sorted(container.environment.items())],
            "secrets": [{"name": key, "valueFrom": secret.value_from} for key, secret in sorted(container.secrets.items())],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": self.log_group.name,
                    "awslogs-region": self._args.platform.region,
                    "awslogs-stream-prefix": self._name,
                },
            },
        }


def _ask_live(port: int) -> dict[str, Any]:
    """`/live`, not `/health`: a dependency that is down must not make ECS kill good tasks."""
    ask = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/live', timeout=3)"
    return {"command": ["CMD", "python", "-c", ask], "interval": 15, "timeout": 5, "retries": 3, "startPeriod": 30}
