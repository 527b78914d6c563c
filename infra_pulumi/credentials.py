"""Secrets: made here, kept in Secrets Manager, named in no output. What a process may read is decided where the process is made."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_random as random

PASSWORD_LENGTH = 40


@dataclass(frozen=True)
class SecretText:
    """Where a secret's text is: its ARN, the KMS key that opens it (None: the account's own), the member if the text is JSON."""

    arn: pulumi.Input[str]
    key: pulumi.Input[str] | None
    member: str = ""

    @property
    def value_from(self) -> pulumi.Input[str]:
        """How ECS is told of it (docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html)."""
        return pulumi.Output.format("{}:{}::", self.arn, self.member) if self.member else self.arn

    @property
    def reference(self) -> pulumi.Output[str]:
        """How a Lambda's setting names it; consumidor reads it through the secrets extension."""
        return pulumi.Output.format("secretsmanager:{}", self.arn)


@dataclass(frozen=True)
class SecretArgs:
    """The text, the KMS key, and how many days a deleted one can be brought back (7..30)."""

    text: pulumi.Input[str]
    key: pulumi.Input[str]
    recovery_days: int
    about: str


class Secret(pulumi.ComponentResource):
    """`where` is the `SecretText` that processes are given; `version` is what a reader waits for: before it the secret is empty."""

    def __init__(self, name: str, args: SecretArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Secret", name, None, opts)
        secret = aws.secretsmanager.Secret(
            name,
            description=f"consumidor: {args.about}",
            kms_key_id=args.key,
            recovery_window_in_days=args.recovery_days,
            opts=pulumi.ResourceOptions(parent=self),
        )
        child = pulumi.ResourceOptions(parent=secret)
        self.version = aws.secretsmanager.SecretVersion(name, secret_id=secret.id, secret_string=args.text, opts=child)
        self.where = SecretText(secret.arn, args.key)
        self.register_outputs({})


def password(name: str, parent: pulumi.Resource) -> pulumi.Output[str]:
    """A random password of letters and digits: about 238 bits, and nothing to escape in a URL."""
    made = random.RandomPassword(name, length=PASSWORD_LENGTH, special=False, opts=pulumi.ResourceOptions(parent=parent))
    return pulumi.Output.secret(made.result)
