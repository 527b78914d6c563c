"""One registered client: its app client, its response queue, and, where configured, the IAM role that reads that queue directly."""

from collections.abc import Sequence
from dataclasses import dataclass

import iam
import pulumi
import pulumi_aws as aws
from config import Trust
from queues import DAY, Queue, QueueArgs

TOKEN_MINUTES = 60
VISIBILITY_SECONDS = 30  # the contract of GET /v1/people/responses: unacknowledged ones come again after this


@dataclass(frozen=True)
class ClientArgs:
    """The pool and its scopes, where results too big for a queue lie, and the two keys that open what the client may read."""

    user_pool_id: pulumi.Input[str]
    scopes: Sequence[pulumi.Input[str]]
    results_bucket_arn: pulumi.Input[str]
    responses_key: pulumi.Input[str]
    results_key: pulumi.Input[str]
    trust: Trust | None


class Client(pulumi.ComponentResource):
    """`client_id`, `queue` (its response queue), `role_arn` (None where no one is trusted with it). `short_name` is the client's."""

    role_arn: pulumi.Output[str] | None = None

    def __init__(self, short_name: str, args: ClientArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Client", f"client-{short_name}", None, opts)
        self.short_name = short_name
        app = aws.cognito.UserPoolClient(
            f"client-{short_name}",
            name=short_name,
            user_pool_id=args.user_pool_id,
            generate_secret=True,
            allowed_oauth_flows=["client_credentials"],
            allowed_oauth_flows_user_pool_client=True,
            allowed_oauth_scopes=args.scopes,
            access_token_validity=TOKEN_MINUTES,
            token_validity_units=aws.cognito.UserPoolClientTokenValidityUnitsArgs(access_token="minutes"),  # noqa: S106 - a unit of time
            enable_token_revocation=True,
            prevent_user_existence_errors="ENABLED",
            opts=pulumi.ResourceOptions(parent=self, additional_secret_outputs=["client_secret"]),
        )
        self.client_id = app.id
        response_queue = QueueArgs(key=args.responses_key, visibility=VISIBILITY_SECONDS, retention=DAY, dead_letters=False)
        self.queue = Queue(f"people-responses-{short_name}", response_queue, pulumi.ResourceOptions(parent=self))
        if args.trust is not None:
            self.role_arn = self._role(args, args.trust).arn
        self.register_outputs({"client_id": self.client_id})

    def _role(self, args: ClientArgs, trust: Trust) -> aws.iam.Role:
        trusted = {
            "Effect": "Allow",
            "Principal": {"AWS": trust.principal},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": trust.external_id}},
        }
        name = f"client-{self.short_name}"
        role = aws.iam.Role(name, assume_role_policy=iam.document([trusted]), opts=pulumi.ResourceOptions(parent=self))
        own_results = pulumi.Output.format("{}/responses/{}/*", args.results_bucket_arn, self.short_name)
        may = iam.allow(
            iam.Statement(("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"), (self.queue.arn,)),
            iam.Statement(("s3:GetObject",), (own_results,)),
            iam.Statement(("kms:Decrypt",), (args.responses_key, args.results_key)),
        )
        aws.iam.RolePolicy(name, role=role.id, policy=may, opts=pulumi.ResourceOptions(parent=role))
        return role
