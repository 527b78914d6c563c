"""One Lambda in the VPC: arm64, a zip built by `make lambdas`, secrets named in its environment and read through Amazon's extension."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import iam
import pulumi
import pulumi_aws as aws
from credentials import SecretText

RUNTIME, ARCHITECTURE = "python3.13", "arm64"
_COMPILED_FOR = "cpython-313-aarch64-linux-gnu.so"  # what `make lambdas ARCH=arm64` puts into a zip
MEMORY_MIB = 1024
_NETWORK = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)


@dataclass(frozen=True)
class FunctionArgs:
    """`secrets` become `secretsmanager:<arn>` in the environment. `timeout` in seconds; `reserved_concurrency` -1 for none."""

    archive: Path
    handler: str
    environment: Mapping[str, pulumi.Input[str]]
    secrets: Mapping[str, SecretText]
    may: Sequence[iam.Statement]
    layers: Sequence[pulumi.Input[str]]
    timeout: int
    reserved_concurrency: int
    subnets: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    environment_key: pulumi.Input[str]
    log_key: pulumi.Input[str]
    log_days: int


class Function(pulumi.ComponentResource):
    """`name`, `arn`, `invoke_arn`, `policy` (what a mapping has to wait for)."""

    def __init__(self, name: str, args: FunctionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Function", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        if problem := _unfit(args.archive):
            pulumi.log.warn(f"{args.archive.name} {problem}: run `make lambdas ARCH=arm64` before `pulumi up`", self)
        group = aws.cloudwatch.LogGroup(
            name, name=f"/aws/lambda/consumidor-{name}", retention_in_days=args.log_days, kms_key_id=args.log_key, opts=child
        )
        role = aws.iam.Role(name, assume_role_policy=iam.assumed_by("lambda.amazonaws.com"), opts=child)
        self.policy = aws.iam.RolePolicy(name, role=role.id, policy=_may(args, group), opts=pulumi.ResourceOptions(parent=role))
        function = aws.lambda_.Function(
            name,
            name=f"consumidor-{name}",
            code=pulumi.FileArchive(str(args.archive)),
            handler=args.handler,
            runtime=RUNTIME,
            architectures=[ARCHITECTURE],
            memory_size=MEMORY_MIB,
            timeout=args.timeout,
            layers=args.layers,
            role=role.arn,
            reserved_concurrent_executions=args.reserved_concurrency,
            kms_key_arn=args.environment_key,
            environment=aws.lambda_.FunctionEnvironmentArgs(
                variables={**args.environment, **{key: secret.reference for key, secret in args.secrets.items()}}
            ),
            vpc_config=aws.lambda_.FunctionVpcConfigArgs(subnet_ids=args.subnets, security_group_ids=[args.security_group]),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(log_format="Text", log_group=group.name),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.policy]),
        )
        self.name, self.arn, self.invoke_arn = function.name, function.arn, function.invoke_arn
        self.register_outputs({"arn": self.arn})


def _unfit(archive: Path) -> str:
    """Why the zip cannot be deployed; a preview shows it, and where there is no zip at all the engine then stops by itself."""
    if not archive.exists():
        return "is not built"
    names = zipfile.ZipFile(archive).namelist()
    return "" if any(name.endswith(_COMPILED_FOR) for name in names) else f"is not built for {RUNTIME} on {ARCHITECTURE}"


def _may(args: FunctionArgs, group: aws.cloudwatch.LogGroup) -> pulumi.Output[str]:
    keys: list[pulumi.Input[str]] = [args.environment_key, *(secret.key for secret in args.secrets.values() if secret.key is not None)]
    return iam.allow(
        iam.Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (pulumi.Output.format("{}:*", group.arn),)),
        iam.Statement(_NETWORK, ("*",)),  # Lambda makes its interfaces in the VPC with this role, before they have a name
        iam.Statement(("secretsmanager:GetSecretValue",), [secret.arn for secret in args.secrets.values()]),
        iam.Statement(("kms:Decrypt",), keys),
        *args.may,
    )
