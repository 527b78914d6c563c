"""What wakes somebody: alarms to one encrypted topic, and tasks that fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import iam
import pulumi
import pulumi_aws as aws
from metrics import NAMESPACE

_MINUTE = 60


@dataclass(frozen=True)
class Watch:
    """One alarm: `statistic` of a metric over `minutes`, compared with `threshold`.

    `missing` says what no data means (`notBreaching` or `breaching`).
    """

    metric: str
    namespace: str
    dimensions: Mapping[str, pulumi.Input[str]]
    threshold: float
    about: str
    statistic: str = "Maximum"
    minutes: int = 5
    above: bool = True
    missing: str = "notBreaching"


@dataclass(frozen=True)
class AlarmsArgs:
    """`watches` by alarm name; `cluster_arn`: whose tasks; `unexpected_in`: log groups by process, where an unforeseen error is counted."""

    account: pulumi.Input[str]
    key: pulumi.Input[str]
    email: str
    cluster_arn: pulumi.Input[str]
    watches: Mapping[str, Watch]
    unexpected_in: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


class Alarms(pulumi.ComponentResource):
    """`topic_arn`, `alarm_arns`."""

    def __init__(self, name: str, args: AlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Alarms", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic(name, kms_master_key_id=args.key, opts=self._child)
        self.topic_arn = topic.arn
        aws.sns.TopicPolicy(name, arn=topic.arn, policy=_topic_policy(topic.arn, args.account), opts=pulumi.ResourceOptions(parent=topic))
        if args.email:
            aws.sns.TopicSubscription(
                name, topic=topic.arn, protocol="email", endpoint=args.email, opts=pulumi.ResourceOptions(parent=topic)
            )
        watches = {**args.watches, **self._unexpected(args.unexpected_in)}
        self.alarm_arns = [self._alarm(title, watch).arn for title, watch in watches.items()]
        self._failed_tasks(args.cluster_arn)
        self.register_outputs({"topic_arn": self.topic_arn})

    def _alarm(self, title: str, watch: Watch) -> aws.cloudwatch.MetricAlarm:
        percentile = watch.statistic if watch.statistic.startswith("p") else None
        return aws.cloudwatch.MetricAlarm(
            title,
            name=f"consumidor-{title}",
            alarm_description=watch.about,
            namespace=watch.namespace,
            metric_name=watch.metric,
            dimensions=watch.dimensions,
            statistic=None if percentile else watch.statistic,
            extended_statistic=percentile,
            period=_MINUTE,
            evaluation_periods=watch.minutes,
            datapoints_to_alarm=1 if watch.minutes == 1 else max(1, watch.minutes - 2),
            threshold=watch.threshold,
            comparison_operator="GreaterThanThreshold" if watch.above else "LessThanThreshold",
            treat_missing_data=watch.missing,
            alarm_actions=[self.topic_arn],
            ok_actions=[self.topic_arn],
            opts=self._child,
        )

    def _unexpected(self, groups: Mapping[str, pulumi.Input[str]]) -> dict[str, Watch]:
        """Our own processes log the event `unexpected` for what nobody foresaw: each is counted, and one is enough."""
        watches = {}
        for process, group in groups.items():
            metric = f"unexpected_{process}"
            transformation = aws.cloudwatch.LogMetricFilterMetricTransformationArgs(
                name=metric, namespace=NAMESPACE, value="1", unit="Count"
            )
            aws.cloudwatch.LogMetricFilter(
                f"unexpected-{process}",
                name=f"unexpected-{process}",
                log_group_name=group,
                pattern='{ $.event = "unexpected" }',
                metric_transformation=transformation,
                opts=self._child,
            )
            watches[f"unexpected-{process}"] = Watch(
                metric, NAMESPACE, {}, 0, f"{process} met an error that nobody foresaw", "Sum", minutes=1
            )
        return watches

    def _failed_tasks(self, cluster_arn: pulumi.Input[str]) -> None:
        """A task that ended with another exit status than 0, or never began."""
        ended = {"clusterArn": [cluster_arn], "lastStatus": ["STOPPED"]}
        failed = [{"containers": {"exitCode": [{"anything-but": [0]}]}}, {"stopCode": ["TaskFailedToStart"]}]
        pattern = {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"], "detail": {**ended, "$or": failed}}
        rule = aws.cloudwatch.EventRule(
            "failed-tasks",
            name="consumidor-failed-tasks",
            description="tasks that failed",
            event_pattern=pulumi.Output.json_dumps(pattern),
            opts=self._child,
        )
        aws.cloudwatch.EventTarget("failed-tasks", rule=rule.name, arn=self.topic_arn, opts=pulumi.ResourceOptions(parent=rule))


def _topic_policy(topic: pulumi.Input[str], account: pulumi.Input[str]) -> pulumi.Output[str]:
    """CloudWatch for this account's alarms; EventBridge without a condition, since it supports none in a topic's policy.

    Source: docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    """
    publish = {"Effect": "Allow", "Action": "sns:Publish", "Resource": topic}
    alarms = {"Principal": {"Service": "cloudwatch.amazonaws.com"}, "Condition": {"StringEquals": {"aws:SourceAccount": account}}}
    rules = {"Principal": {"Service": "events.amazonaws.com"}}
    return iam.document([{**publish, **alarms}, {**publish, **rules}, iam.tls_only(topic, action="sns:Publish")])
