"""The score path: the endpoint before Base B, and the nightly extraction of it to a bucket."""

from collections.abc import Sequence
from dataclasses import dataclass

import iam
import pulumi
import pulumi_aws as aws
from access import HTTP_PORT, Access
from buckets import Bucket
from containers import Platform
from credentials import SecretText
from iam import Statement
from identity import Identity
from keys import Keys
from load_balancer import LoadBalancer
from queues import Queue
from service import Service, ServiceArgs
from task import Container, Task, TaskArgs

_SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"  # filled in by EventBridge Scheduler (its user guide, "context attributes")


@dataclass(frozen=True)
class ScoreArgs:
    """What the path is built on."""

    platform: Platform
    access: Access
    keys: Keys
    identity: Identity
    feed: Queue
    base_b_uri: SecretText
    pseudonym_key: SecretText
    extractions: Bucket
    balancer: LoadBalancer


class Score(pulumi.ComponentResource):
    """`service` and `extraction` (a task that a schedule runs)."""

    def __init__(self, name: str, args: ScoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Score", name, None, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        self.service = self._service()
        self.extraction = self._extraction()
        self._schedule()
        self.register_outputs({})

    def _service(self) -> Service:
        args, env = self._args, self._args.platform.environment
        task = TaskArgs(
            platform=args.platform,
            image=args.platform.image,
            main=Container(
                command=["consumidor", "score-api"],
                environment={
                    **args.platform.settings,
                    **args.identity.settings,
                    "EVENTS_FEED_QUEUE_URL": args.feed.url,
                    "HOST": "0.0.0.0",  # noqa: S104 - inside a task's own network interface, behind its security group
                    "PORT": str(HTTP_PORT),
                },
                secrets={"BASE_B_URI": args.base_b_uri, "PSEUDONYM_KEY": args.pseudonym_key},
            ),
            size=env.score,
            may=(
                Statement(("sqs:SendMessage",), (args.feed.arn,)),
                Statement(("kms:GenerateDataKey", "kms:Decrypt"), (args.keys["feed"],)),
            ),
            live_port=HTTP_PORT,
            serves=True,
        )
        service = Service("score", ServiceArgs(
            task, args.access["score"], env.score.min_tasks, env.score.max_tasks,
            target_group_arn=args.balancer.target_groups["score"].arn, depends_on=(args.balancer.rules["score"],),
        ), self._child)  # fmt: skip
        service.scale_on_cpu(60)
        service.scale_on_requests(env.score_requests_per_task, args.balancer.resource_label("score"))
        return service

    def _extraction(self) -> Task:
        args = self._args
        may: Sequence[Statement] = (
            Statement(("s3:ListBucket", "s3:GetBucketLocation"), (args.extractions.arn,)),
            Statement(
                ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
                (pulumi.Output.format("{}/base-b/*", args.extractions.arn),),
            ),
            Statement(("kms:GenerateDataKey", "kms:Decrypt"), (args.keys["base-b"],)),
        )
        main = Container(self._extract_to("by-hand"), args.platform.settings, {"BASE_B_URI": args.base_b_uri})
        task = TaskArgs(args.platform, main, args.platform.environment.extract, may, args.platform.extraction_image)
        return Task("extract", task, self._child)

    def _extract_to(self, folder: str) -> list[pulumi.Input[str]]:
        """The command; an extraction continues what its folder holds, so that each night has a folder of its own."""
        return ["consumidor", "extract", "--to", pulumi.Output.format("s3://{}/base-b/{}", self._args.extractions.name, folder)]

    def _schedule(self) -> None:
        """Every night at 03:00 in São Paulo; disabled until there is an image to run."""
        args, platform, task = self._args, self._args.platform, self.extraction
        role = aws.iam.Role(
            "extract-schedule", assume_role_policy=iam.assumed_by("scheduler.amazonaws.com", platform.account), opts=self._child
        )
        family = pulumi.Output.format("arn:aws:ecs:{}:{}:task-definition/{}:*", platform.region, platform.account, task.family)
        may = iam.allow(
            Statement(("ecs:RunTask",), (family,), {"ArnEquals": {"ecs:cluster": platform.cluster_arn}}),
            Statement(
                ("iam:PassRole",),
                (task.role.arn, task.execution_role.arn),
                {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            ),
        )
        aws.iam.RolePolicy("extract-schedule", role=role.id, policy=may, opts=pulumi.ResourceOptions(parent=role))
        where = aws.scheduler.ScheduleTargetEcsParametersNetworkConfigurationArgs(
            subnets=platform.subnets, security_groups=[args.access["extract"]], assign_public_ip=False
        )
        run = aws.scheduler.ScheduleTargetEcsParametersArgs(
            task_definition_arn=task.definition_arn, launch_type="FARGATE", task_count=1, network_configuration=where
        )
        tonight = [{"name": "extract", "command": self._extract_to(_SCHEDULED_TIME)}]
        aws.scheduler.Schedule(
            "extract",
            description="consumidor: nightly extraction of Base B",
            state="ENABLED" if platform.extraction_running else "DISABLED",
            schedule_expression="cron(0 3 * * ? *)",
            schedule_expression_timezone="America/Sao_Paulo",
            flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=aws.scheduler.ScheduleTargetArgs(
                arn=platform.cluster_arn,
                role_arn=role.arn,
                ecs_parameters=run,
                input=pulumi.Output.json_dumps({"containerOverrides": tonight}),
                retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(maximum_retry_attempts=3, maximum_event_age_in_seconds=3600),
            ),
            opts=self._child,
        )
