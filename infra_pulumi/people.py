"""The people path: the API that can only ask, the worker that alone reaches Base A, and the task that migrates the bases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
from access import HTTP_PORT, Access
from base_a import BaseA
from buckets import Bucket
from containers import Platform
from credentials import SecretText
from iam import Statement
from identity import Identity
from keys import Keys
from load_balancer import LoadBalancer
from queues import Queue
from service import Service, ServiceArgs
from signing import Signing
from task import Container, Task, TaskArgs

METRICS_PORT = 9100
WORKER_THREADS = 8
MIGRATION_CA_PATH = "/tmp/base-c-ca.pem"  # noqa: S108 - a volume of the task's own
_PREPARE = Path(__file__).with_name("prepare.py")


@dataclass(frozen=True)
class PeopleArgs:
    """What the path is built on. `base_b_uri` (its owner's) and `base_c_url` are for the migration.

    `base_b_reader_uri` and `base_c_ca` are None where those bases are somebody else's.
    """

    platform: Platform
    access: Access
    keys: Keys
    identity: Identity
    requests: Queue
    feed: Queue
    results: Bucket
    checkpoints: Bucket
    base_a: BaseA
    signing: Signing
    pseudonym_key: SecretText
    balancer: LoadBalancer
    base_b_uri: SecretText
    base_b_reader_uri: SecretText | None
    base_c_url: SecretText
    base_c_ca: pulumi.Input[str] | None


class People(pulumi.ComponentResource):
    """`api` and `worker` (services), `migration` (a task that somebody runs)."""

    def __init__(self, name: str, args: PeopleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:People", name, None, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        self.api = self._api()
        self.worker = self._worker()
        self.migration = self._migration()
        self.register_outputs({})

    @property
    def _shared(self) -> dict[str, pulumi.Input[str]]:
        args = self._args
        return {
            **args.platform.settings,
            "PEOPLE_REQUESTS_QUEUE_URL": args.requests.url,
            "PEOPLE_RESPONSES_QUEUE_PREFIX": args.identity.responses_prefix,
            "PEOPLE_RESULTS_BUCKET": args.results.name,
            "HOST": "0.0.0.0",  # noqa: S104 - inside a task's own network interface, behind its security group
        }

    def _api(self) -> Service:
        args, size = self._args, self._args.platform.environment.api
        task = TaskArgs(
            platform=args.platform,
            image=args.platform.image,
            main=Container(
                command=["consumidor", "api"],
                environment={**self._shared, **args.identity.settings, "PORT": str(HTTP_PORT)},
                secrets={"PEOPLE_SIGNING_KEY": args.signing.private_key, "PSEUDONYM_KEY": args.pseudonym_key},
            ),
            size=size,
            may=self._api_may(),
            live_port=HTTP_PORT,
            serves=True,
        )
        service = Service("api", ServiceArgs(
            task, args.access["api"], size.min_tasks, size.max_tasks,
            target_group_arn=args.balancer.target_groups["api"].arn, depends_on=(args.balancer.rules["api"],),
        ), self._child)  # fmt: skip
        service.scale_on_cpu(60)
        return service

    def _api_may(self) -> Sequence[Statement]:
        """Put requests; take and delete any client's responses (the code addresses the caller's own only); sign links to results."""
        args, keys = self._args, self._args.keys
        responses = [client.queue.arn for client in args.identity.clients]
        return (
            Statement(("sqs:SendMessage", "sqs:GetQueueAttributes"), (args.requests.arn,)),
            Statement(("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"), responses),
            Statement(("s3:GetObject",), (pulumi.Output.format("{}/responses/*", args.results.arn),)),
            Statement(("s3:ListBucket",), (args.results.arn,)),  # what /health asks with HeadBucket
            Statement(("kms:GenerateDataKey", "kms:Decrypt"), (keys["requests"],)),
            Statement(("kms:Decrypt",), (keys["responses"], keys["results"])),
        )

    def _worker(self) -> Service:
        args, env = self._args, self._args.platform.environment
        environment = {
            **self._shared,
            "PEOPLE_REQUESTS_DLQ_URL": args.requests.dead_letter_url,
            "PEOPLE_SIGNING_PUBLIC_KEYS": args.signing.public_keys,
            "BASE_A_KMS_KEY": args.keys["vault"],
            "AUDIT_CHECKPOINT_BUCKET": args.checkpoints.name,
            "EVENTS_FEED_QUEUE_URL": args.feed.url,
            "METRICS_PORT": str(METRICS_PORT),
            "WORKER_THREADS": str(WORKER_THREADS),
        }
        task = TaskArgs(
            platform=args.platform,
            image=args.platform.image,
            main=Container(["consumidor", "worker"], environment, {"BASE_A_DSN": args.base_a.worker_dsn}),
            size=env.worker,
            may=self._worker_may(),
            live_port=METRICS_PORT,
        )
        scaling = env.worker_scaling
        service = Service("worker", ServiceArgs(task, args.access["worker"], scaling.min_tasks, scaling.max_tasks), self._child)
        service.scale_on_backlog(args.requests.name, scaling)
        service.scale_on_cpu(scaling.cpu_percent)
        return service

    def _worker_may(self) -> Sequence[Statement]:
        args, keys = self._args, self._args.keys
        take = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes")
        send_to = [args.requests.dead_letter_arn, args.feed.arn, *(client.queue.arn for client in args.identity.clients)]
        return (
            Statement(take, (args.requests.arn,)),
            Statement(("sqs:SendMessage",), send_to),
            Statement(("s3:PutObject",), (pulumi.Output.format("{}/responses/*", args.results.arn),)),
            Statement(("s3:PutObject",), (pulumi.Output.format("{}/*", args.checkpoints.arn),)),
            Statement(("s3:ListBucket",), (args.results.arn,)),  # what /health asks with HeadBucket
            Statement(("kms:Decrypt", "kms:DescribeKey"), (keys["vault"],)),
            Statement(
                ("kms:GenerateDataKey", "kms:Decrypt"), [keys[purpose] for purpose in ("requests", "responses", "results", "audit", "feed")]
            ),
        )

    def _migration(self) -> Task:
        """Creates and upgrades the bases: the one process with the owner's rights, and it runs only when somebody runs it."""
        args = self._args
        environment: dict[str, pulumi.Input[str]] = {
            **args.platform.settings,
            "BASE_A_OWNER_DSN": args.base_a.owner_dsn,
            "BASE_A_KMS_KEY": args.keys["vault"],
        }
        secrets = {
            "PGPASSWORD": args.base_a.owner_password,  # read by PostgreSQL's client library where the DSN has none
            "BASE_A_DSN": args.base_a.worker_dsn,
            "BASE_B_URI": args.base_b_uri,
            "BASE_C_URL": args.base_c_url,
        }
        may = (
            Statement(("kms:GenerateDataKey", "kms:Decrypt", "kms:DescribeKey"), (args.keys["vault"],)),
            Statement(("s3:ListBucketVersions",), (args.checkpoints.arn,)),  # `consumidor audit verify`, run in its place (README, day two)
        )
        main = Container(["consumidor", "migrate"], environment, secrets)
        task = TaskArgs(args.platform, main, args.platform.environment.worker, may, args.platform.image, first=self._preparation())
        return Task("migrate", task, self._child)

    def _preparation(self) -> Container | None:
        """What only bases of ours need: a reader on Base B, and Base C's authority in a file (it is trusted by its path)."""
        args = self._args
        environment: dict[str, pulumi.Input[str]] = {}
        secrets: dict[str, SecretText] = {}
        if args.base_c_ca is not None:
            environment |= {"BASE_C_CA": args.base_c_ca, "BASE_C_CA_PATH": MIGRATION_CA_PATH}
        if args.base_b_reader_uri is not None:
            secrets |= {"BASE_B_URI": args.base_b_uri, "BASE_B_READER_URI": args.base_b_reader_uri}
        script = _PREPARE.read_text("utf-8")
        return Container(["python", "-c", script], environment, secrets) if environment or secrets else None
