"""One KMS key a purpose, so that a right to decrypt one thing is never a right to another."""

from dataclasses import dataclass
from typing import Any

import iam
import pulumi
import pulumi_aws as aws

PURPOSES = {
    "requests": "people requests waiting, and their dead letters",
    "responses": "people responses waiting for their client",
    "results": "results too big for a queue",
    "vault": "wraps Base A's data keys; only the worker, the migration and whoever loads data may use it",
    "base-a": "Base A's storage, backups and owner's password",
    "audit": "the inquiry log's chain heads",
    "base-b": "Base B's storage and the extractions",
    "base-c": "Base C's volumes and snapshots",
    "feed": "events waiting, and their dead letters",
    "secrets": "everything in Secrets Manager but Base A's owner's password",
    "logs": "every log group",
    "alarms": "the alarms' topic",
}
_SERVICES = {  # AWS services that use a key in their own name, and so need a key policy beside IAM
    "logs": ("logs.{region}.amazonaws.com",),
    "alarms": ("cloudwatch.amazonaws.com", "events.amazonaws.com"),
}


@dataclass(frozen=True)
class KeysArgs:
    """Where the keys live, and how many days a deleted one waits (7..30)."""

    account: pulumi.Input[str]
    region: str
    deletion_days: int


class Keys(pulumi.ComponentResource):
    """`keys["requests"]` is the ARN of that purpose's key; see `PURPOSES`. All rotate yearly."""

    def __init__(self, name: str, args: KeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Keys", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self._arns: dict[str, pulumi.Output[str]] = {}
        for purpose, about in PURPOSES.items():
            key = aws.kms.Key(
                f"{name}-{purpose}",
                description=f"consumidor: {about}",
                enable_key_rotation=True,
                deletion_window_in_days=args.deletion_days,
                policy=_key_policy(purpose, args),
                opts=child,
            )
            aws.kms.Alias(
                f"{name}-{purpose}", name=f"alias/consumidor-{purpose}", target_key_id=key.key_id, opts=pulumi.ResourceOptions(parent=key)
            )
            self._arns[purpose] = key.arn
        self.register_outputs({})

    def __getitem__(self, purpose: str) -> pulumi.Output[str]:
        return self._arns[purpose]


def _key_policy(purpose: str, args: KeysArgs) -> pulumi.Output[str]:
    """The account administers the key through IAM; services named above may use it for this account's own resources."""
    root = pulumi.Output.format("arn:aws:iam::{}:root", args.account)
    statements: list[dict[str, Any]] = [{"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"}]
    use = ["kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"]
    for service in _SERVICES.get(purpose, ()):
        principal = service.format(region=args.region)
        condition = _condition(service, args)
        statement = {"Effect": "Allow", "Principal": {"Service": principal}, "Action": use, "Resource": "*"}
        statements.append(statement | ({"Condition": condition} if condition else {}))
    return iam.document(statements)


def _condition(service: str, args: KeysArgs) -> dict[str, Any] | None:
    """Logs names the group it encrypts, alarms their account; rules can be told apart by nothing, and may use only the topic's key.

    Source: docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    """
    if service.startswith("logs."):
        group = pulumi.Output.format("arn:aws:logs:{}:{}:log-group:*", args.region, args.account)
        return {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": group}}
    if service.startswith("cloudwatch."):
        return {"StringEquals": {"aws:SourceAccount": args.account}}
    return None
