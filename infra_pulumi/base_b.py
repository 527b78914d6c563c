"""Base B: DocumentDB, which speaks MongoDB's protocol.

What differs from MongoDB: retryable writes exist from engine 8.0.2 on only (so the URI turns them off, and they are not needed here:
every write of consumidor is idempotent), reads from replicas lag, and its certificate is Amazon's (the bundle is in the image).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from containers import CA_BUNDLE
from credentials import Secret, SecretArgs, SecretText, password
from environments import Environment

IDENTIFIER = "consumidor-base-b"
DATABASE = "consumidor"
USERS = {"owner": "consumidor", "reader": "reader"}  # letters and digits only
PORT = 27017


@dataclass(frozen=True)
class BaseBArgs:
    """Where it stands and which keys it uses."""

    environment: Environment
    subnets: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    storage_key: pulumi.Input[str]
    secrets_key: pulumi.Input[str]
    log_key: pulumi.Input[str]


class BaseB(pulumi.ComponentResource):
    """`uri` and `reader_uri` (secrets; the migration makes the reader), `cluster_identifier`."""

    def __init__(self, name: str, args: BaseBArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:BaseB", name, None, opts)
        env, child = args.environment, pulumi.ResourceOptions(parent=self)
        subnets = aws.docdb.SubnetGroup(name, subnet_ids=args.subnets, opts=child)
        parameters = [
            aws.docdb.ClusterParameterGroupParameterArgs(name="tls", value="tls1.2+", apply_method="pending-reboot"),
            aws.docdb.ClusterParameterGroupParameterArgs(name="audit_logs", value="enabled", apply_method="pending-reboot"),
        ]
        group = aws.docdb.ClusterParameterGroup(name, family="docdb8.0", parameters=parameters, opts=child)
        logs = aws.cloudwatch.LogGroup(
            name, name=f"/aws/docdb/{IDENTIFIER}/audit", retention_in_days=env.log_days, kms_key_id=args.log_key, opts=child
        )
        secret = password(name, self)
        cluster = aws.docdb.Cluster(
            name,
            cluster_identifier=IDENTIFIER,
            engine="docdb",
            engine_version="8.0.0",
            master_username=USERS["owner"],
            master_password=secret,
            storage_encrypted=True,
            kms_key_id=args.storage_key,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[args.security_group],
            db_cluster_parameter_group_name=group.name,
            enabled_cloudwatch_logs_exports=["audit"],
            backup_retention_period=env.backup_days,
            preferred_backup_window="05:00-06:00",
            preferred_maintenance_window="sun:06:30-sun:07:30",
            deletion_protection=env.keep,
            skip_final_snapshot=not env.keep,
            final_snapshot_identifier=f"{IDENTIFIER}-final" if env.keep else None,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[logs], protect=env.keep),
        )
        for number in range(env.base_b_instances):
            aws.docdb.ClusterInstance(
                f"{name}-{number}",
                identifier=f"{IDENTIFIER}-{number}",
                cluster_identifier=cluster.id,
                instance_class=env.base_b_class,
                auto_minor_version_upgrade=True,
                ca_cert_identifier="rds-ca-rsa2048-g1",
                opts=pulumi.ResourceOptions(parent=cluster),
            )
        self.cluster_identifier = cluster.cluster_identifier
        self.uri = self._uri("owner", secret, cluster, args)
        self.reader_uri = self._uri("reader", password(f"{name}-reader", self), cluster, args)
        self.register_outputs({"cluster_identifier": self.cluster_identifier})

    def _uri(self, who: str, secret: pulumi.Output[str], cluster: aws.docdb.Cluster, args: BaseBArgs) -> SecretText:
        options = f"authSource=admin&tls=true&tlsCAFile={CA_BUNDLE}&replicaSet=rs0&readPreference=secondaryPreferred&retryWrites=false"
        uri = pulumi.Output.format("mongodb://{}:{}@{}:{}/{}?{}", USERS[who], secret, cluster.endpoint, PORT, DATABASE, options)
        text = SecretArgs(uri, args.secrets_key, args.environment.key_deletion_days, f"Base B as its {who}")
        return Secret(f"base-b-{who}-uri", text, pulumi.ResourceOptions(parent=self)).where
