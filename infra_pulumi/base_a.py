"""Base A: PostgreSQL on RDS. TLS forced, nothing of a statement in the logs, the owner's password RDS's own affair."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from containers import CA_BUNDLE
from credentials import Secret, SecretArgs, SecretText, password
from environments import Environment

IDENTIFIER = "consumidor-base-a"
DATABASE, OWNER, WORKER = "consumidor", "consumidor_owner", "consumidor_worker"
PORT = 5432
PARAMETERS = {
    "rds.force_ssl": "1",
    "password_encryption": "scram-sha-256",
    # A failed or slow statement carries a person's data in its text, parameters or detail: none of them is logged.
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True)
class BaseAArgs:
    """Where it stands and which keys it uses."""

    environment: Environment
    subnets: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    multi_az: bool
    storage_key: pulumi.Input[str]
    secrets_key: pulumi.Input[str]
    log_key: pulumi.Input[str]


class BaseA(pulumi.ComponentResource):
    """`identifier`; `worker_dsn` (a secret); `owner_dsn` (no password in it) and `owner_password` (a secret of RDS's own)."""

    def __init__(self, name: str, args: BaseAArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:BaseA", name, None, opts)
        env, child = args.environment, pulumi.ResourceOptions(parent=self)
        subnets = aws.rds.SubnetGroup(name, subnet_ids=args.subnets, opts=child)
        parameters = [aws.rds.ParameterGroupParameterArgs(name=key, value=value) for key, value in PARAMETERS.items()]
        group = aws.rds.ParameterGroup(name, family="postgres18", parameters=parameters, opts=child)
        logs = aws.cloudwatch.LogGroup(
            name,
            name=f"/aws/rds/instance/{IDENTIFIER}/postgresql",
            retention_in_days=env.log_days,
            kms_key_id=args.log_key,
            opts=child,
        )
        instance = aws.rds.Instance(
            name,
            identifier=IDENTIFIER,
            engine="postgres",
            engine_version="18",
            auto_minor_version_upgrade=True,
            instance_class=env.base_a_class,
            allocated_storage=env.base_a_storage_gib,
            max_allocated_storage=env.base_a_storage_gib * 5,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args.storage_key,
            db_name=DATABASE,
            username=OWNER,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.storage_key,
            multi_az=args.multi_az,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[args.security_group],
            publicly_accessible=False,
            parameter_group_name=group.name,
            ca_cert_identifier="rds-ca-rsa2048-g1",
            enabled_cloudwatch_logs_exports=["postgresql"],
            backup_retention_period=env.backup_days,
            backup_window="05:00-06:00",
            maintenance_window="sun:06:30-sun:07:30",
            copy_tags_to_snapshot=True,
            deletion_protection=env.keep,
            delete_automated_backups=not env.keep,
            skip_final_snapshot=not env.keep,
            final_snapshot_identifier=f"{IDENTIFIER}-final" if env.keep else None,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[logs], protect=env.keep),
        )
        self.identifier = instance.identifier
        self.owner_dsn = _dsn(instance.address, OWNER)
        secret_arn = instance.master_user_secrets.apply(lambda made: made[0].secret_arn if made else "")
        self.owner_password = SecretText(secret_arn, args.storage_key, member="password")
        login = pulumi.Output.format("{}:{}", WORKER, password(f"{name}-worker", self))
        dsn = SecretArgs(_dsn(instance.address, login), args.secrets_key, env.key_deletion_days, "Base A as the worker's role")
        self.worker_dsn = Secret(f"{name}-worker-dsn", dsn, child).where
        self.register_outputs({"identifier": self.identifier})


def _dsn(address: pulumi.Input[str], login: pulumi.Input[str]) -> pulumi.Output[str]:
    """The server's name is checked against its certificate, and that against Amazon's authorities in the image."""
    tls = f"sslmode=verify-full&sslrootcert={CA_BUNDLE}"
    return pulumi.Output.format("postgresql://{}@{}:{}/{}?{}", login, address, PORT, DATABASE, tls)
