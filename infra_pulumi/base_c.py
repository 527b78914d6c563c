"""Base C: three Elasticsearch nodes in three zones, two with data and a voting-only one, TLS everywhere, snapshots to S3.

Each process has a user of its own: search reads, feed writes, migrate makes indices. Their passwords are made here, known to the nodes
and each to its one process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

import iam
import pulumi
import pulumi_aws as aws
from base_c_node import Node, NodeArgs
from certificates import Authority, AuthorityArgs
from credentials import Secret, SecretArgs, SecretText, password
from environments import Environment

PORT = 9200
USERS = ("search", "feed", "migrate", "operator")
HOST = 10  # of each subnet: fixed, so that nodes find each other and certificates name addresses
_DATA, _TIE_BREAKER = ("master", "data", "ingest"), ("master", "voting_only")


@dataclass(frozen=True)
class BaseCArgs:
    """Subnets, their blocks and zones in one order, the tie-breaker's last. `snapshots`: bucket and path within it."""

    environment: Environment
    region: str
    version: str
    subnets: Sequence[pulumi.Input[str]]
    cidrs: Sequence[IPv4Network]
    zones: Sequence[str]
    security_group: pulumi.Input[str]
    snapshot_bucket: pulumi.Input[str]
    snapshot_path: str
    storage_key: pulumi.Input[str]
    secrets_key: pulumi.Input[str]
    log_key: pulumi.Input[str]
    after: Sequence[pulumi.Resource]  # what a node must find when it starts, once and for all: its ways out


class BaseC(pulumi.ComponentResource):
    """`ca_pem`, `nodes`; `url(user, ca_path)` is the BASE_C_URL of a process."""

    def __init__(self, name: str, args: BaseCArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:BaseC", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        self._passwords = {user: password(f"{name}-{user}", self) for user in USERS}
        self.addresses = [str(cidr[HOST]) for cidr in args.cidrs]
        names = [f"{name}-{number}" for number in range(len(args.cidrs))]
        authority = Authority(name, AuthorityArgs("consumidor Base C", dict(zip(names, self.addresses, strict=True))), self._child)
        self.ca_pem = authority.ca_pem
        logs = aws.cloudwatch.LogGroup(
            name,
            name="/consumidor/base-c",
            retention_in_days=args.environment.log_days,
            kms_key_id=args.log_key,
            opts=self._child,
        )
        settings: dict[str, pulumi.Input[str]] = {
            "VERSION": args.version,
            "REGION": args.region,
            "SEEDS": f"[{', '.join(self.addresses)}]",
            "NODES": f"[{', '.join(names)}]",
            "LOG_GROUP": logs.name,
            "SNAPSHOT_BUCKET": args.snapshot_bucket,
            "SNAPSHOT_PATH": args.snapshot_path,
        }
        self.nodes = []
        for number, node in enumerate(names):
            secret = self._node_secret(node, authority)
            profile = self._profile(node, secret.where, logs.arn)
            told = {**settings, "SECRET": secret.where.arn}
            self.nodes.append(Node(node, self._node(number, profile, told, (*args.after, secret.version)), self._child))
        self.register_outputs({})

    def url(self, user: str, ca_path: str) -> Secret:
        """The data nodes' URLs with that user's password, as a secret."""
        data_nodes = self.addresses[:-1]
        urls = [
            pulumi.Output.format("https://{}:{}@{}:{}?ca_certs={}", user, self._passwords[user], address, PORT, ca_path)
            for address in data_nodes
        ]
        text = pulumi.Output.all(*urls).apply(",".join)
        days = self._args.environment.key_deletion_days
        return Secret(f"{self._name}-{user}-url", SecretArgs(text, self._args.secrets_key, days, f"Base C as {user}"), self._child)

    def _node(self, number: int, profile: aws.iam.InstanceProfile, settings: Mapping[str, pulumi.Input[str]],
              after: Sequence[pulumi.Resource]) -> NodeArgs:  # fmt: skip
        args, env = self._args, self._args.environment
        is_tie_breaker = number == len(args.cidrs) - 1
        return NodeArgs(
            instance_type=env.base_c_tie_breaker_class if is_tie_breaker else env.base_c_class,
            roles=_TIE_BREAKER if is_tie_breaker else _DATA,
            zone=args.zones[number],
            subnet=args.subnets[number],
            address=self.addresses[number],
            security_group=args.security_group,
            instance_profile=profile.name,
            volume_gib=10 if is_tie_breaker else env.base_c_volume_gib,
            volume_key=args.storage_key,
            keep=env.keep,
            settings=settings,
            after=after,
        )

    def _node_secret(self, node: str, authority: Authority) -> Secret:
        """All that a node has to keep to itself, as one JSON text."""
        certificate = authority.certificates[node]
        passwords = self._passwords
        content = {"ca.pem": authority.ca_pem, "node.pem": certificate.pem, "node.key": certificate.key, "passwords": passwords}
        days = self._args.environment.key_deletion_days
        about = f"certificate, key and passwords of {node}"
        return Secret(node, SecretArgs(pulumi.Output.json_dumps(content), self._args.secrets_key, days, about), self._child)

    def _profile(self, node: str, secret: SecretText, log_group_arn: pulumi.Input[str]) -> aws.iam.InstanceProfile:
        """A node reads its own secret, writes snapshots and logs, and is reached through Systems Manager.

        The profile comes last: who has it may do all of that from the first.
        """
        role = aws.iam.Role(node, assume_role_policy=iam.assumed_by("ec2.amazonaws.com"), opts=self._child)
        child = pulumi.ResourceOptions(parent=role)
        systems_manager = aws.iam.RolePolicyAttachment(
            node, role=role.name, policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore", opts=child
        )
        bucket = pulumi.Output.format("arn:aws:s3:::{}", self._args.snapshot_bucket)
        objects = pulumi.Output.format("{}/{}/*", bucket, self._args.snapshot_path)
        may = iam.allow(
            iam.Statement(("secretsmanager:GetSecretValue",), (secret.arn,)),
            iam.Statement(("kms:Decrypt",), (self._args.secrets_key,)),
            iam.Statement(("kms:Decrypt", "kms:GenerateDataKey"), (self._args.storage_key,)),
            iam.Statement(("s3:ListBucket", "s3:GetBucketLocation"), (bucket,)),
            iam.Statement(("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"), (objects,)),
            iam.Statement(
                ("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"), (pulumi.Output.format("{}:*", log_group_arn),)
            ),
            # PutMetricData has no resource; the condition is what narrows it.
            iam.Statement(("cloudwatch:PutMetricData",), ("*",), {"StringEquals": {"cloudwatch:namespace": "CWAgent"}}),
        )
        policy = aws.iam.RolePolicy(node, role=role.id, policy=may, opts=child)
        last = pulumi.ResourceOptions(parent=role, depends_on=[policy, systems_manager])
        return aws.iam.InstanceProfile(node, role=role.name, opts=last)
