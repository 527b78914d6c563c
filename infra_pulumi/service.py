"""One Fargate service: a task that is kept running, replaced without a gap, rolled back when it does not come up, and scaled."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from autoscaling import BACKLOG_PER_TASK, BacklogScaling
from task import Task, TaskArgs

_TRACKING = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs
_PREDEFINED = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs
_CUSTOM = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationArgs
_METRIC = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationMetricArgs
_STAT = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationMetricMetricStatArgs
_STAT_METRIC = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationMetricMetricStatMetricArgs
_DIMENSION = (
    aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationMetricMetricStatMetricDimensionArgs
)

_LOOKED_AFTER = "rate(5 minutes)"


@dataclass(frozen=True)
class ServiceArgs:
    """The task, who may reach it, and the target group that sends it requests (None: it takes none)."""

    task: TaskArgs
    security_group: pulumi.Input[str]
    min_tasks: int
    max_tasks: int
    target_group_arn: pulumi.Input[str] | None = None
    depends_on: tuple[pulumi.Resource, ...] = ()


class Service(pulumi.ComponentResource):
    """`name`, `task`; `scale_on_*` add policies."""

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Service", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        platform = args.task.platform
        self.task = Task(name, args.task, self._child)
        target = None
        if args.target_group_arn is not None:
            target = [
                aws.ecs.ServiceLoadBalancerArgs(
                    container_name=name, container_port=args.task.live_port, target_group_arn=args.target_group_arn
                )
            ]
        service = aws.ecs.Service(
            name,
            name=name,
            cluster=platform.cluster_arn,
            launch_type="FARGATE",
            task_definition=self.task.definition_arn,
            desired_count=args.min_tasks if platform.running else 0,
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=platform.subnets, security_groups=[args.security_group], assign_public_ip=False
            ),
            load_balancers=target,
            enable_execute_command=False,
            propagate_tags="SERVICE",
            # Once it runs, how many tasks there are is the scaling's own affair.
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=list(args.depends_on), ignore_changes=["desiredCount"] if platform.running else None
            ),
        )
        self.name = service.name
        self._scalable = self._scalable_target(pulumi.Output.format("service/{}/{}", platform.cluster_name, service.name))
        self._keep_to_the_least()
        self.register_outputs({"name": self.name})

    def _scalable_target(self, service: pulumi.Output[str]) -> aws.appautoscaling.Target:
        """Suspended until there is an image. Each of the three is always given: left out, AWS would keep what it was told before."""
        waiting = not self._args.task.platform.running
        return aws.appautoscaling.Target(
            self._name,
            service_namespace="ecs",
            scalable_dimension="ecs:service:DesiredCount",
            resource_id=service,
            min_capacity=self._args.min_tasks,
            max_capacity=self._args.max_tasks,
            suspended_state=aws.appautoscaling.TargetSuspendedStateArgs(
                dynamic_scaling_in_suspended=waiting, dynamic_scaling_out_suspended=waiting, scheduled_scaling_suspended=waiting
            ),
            opts=self._child,
        )

    def _keep_to_the_least(self) -> None:
        """Start the first tasks, and follow a changed least number: policies alone never move a service that is below it and idle.

        A scheduled action brings a count that is out of its limits back into them, and leaves any other as it is. Source:
        docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-policy-overview.html
        """
        aws.appautoscaling.ScheduledAction(
            self._name,
            name=f"{self._name}-least",
            service_namespace=self._scalable.service_namespace,
            scalable_dimension=self._scalable.scalable_dimension,
            resource_id=self._scalable.resource_id,
            schedule=_LOOKED_AFTER,
            scalable_target_action=aws.appautoscaling.ScheduledActionScalableTargetActionArgs(
                min_capacity=self._args.min_tasks, max_capacity=self._args.max_tasks
            ),
            opts=self._child,
        )

    def scale_on_cpu(self, percent: int) -> None:
        """Keep the average CPU of all tasks at `percent`."""
        metric = _PREDEFINED(predefined_metric_type="ECSServiceAverageCPUUtilization")
        self._policy(
            "cpu", _TRACKING(predefined_metric_specification=metric, target_value=percent, scale_in_cooldown=300, scale_out_cooldown=60)
        )

    def scale_on_requests(self, per_minute: int, resource_label: pulumi.Input[str]) -> None:
        """Keep the requests a minute of each task at `per_minute`; `resource_label` names load balancer and target group."""
        metric = _PREDEFINED(predefined_metric_type="ALBRequestCountPerTarget", resource_label=resource_label)
        tracking = _TRACKING(predefined_metric_specification=metric, target_value=per_minute, scale_in_cooldown=300, scale_out_cooldown=60)
        self._policy("requests", tracking)

    def scale_on_backlog(self, queue_name: str, scaling: BacklogScaling) -> None:
        """Keep the messages that wait in `queue_name` for each running task at the target of `scaling`."""
        cluster = self._args.task.platform.cluster_name
        tasks = {"ClusterName": cluster, "ServiceName": self.name}
        metrics = [
            _measured("m1", "AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": queue_name}),
            _measured("m2", "ECS/ContainerInsights", "RunningTaskCount", tasks),
            _METRIC(id="backlog", label="messages waiting for each running task", expression=BACKLOG_PER_TASK, return_data=True),
        ]
        tracking = _TRACKING(
            customized_metric_specification=_CUSTOM(metrics=metrics),
            target_value=scaling.target,
            scale_in_cooldown=scaling.scale_in_cooldown,
            scale_out_cooldown=scaling.scale_out_cooldown,
        )
        self._policy("backlog", tracking)

    def _policy(self, what: str, tracking: aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs) -> None:
        aws.appautoscaling.Policy(
            f"{self._name}-{what}",
            name=f"{self._name}-{what}",
            policy_type="TargetTrackingScaling",
            service_namespace=self._scalable.service_namespace,
            scalable_dimension=self._scalable.scalable_dimension,
            resource_id=self._scalable.resource_id,
            target_tracking_scaling_policy_configuration=tracking,
            opts=self._child,
        )


def _measured(
    identity: str, namespace: str, name: str, dimensions: dict[str, pulumi.Input[str]]
) -> aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationCustomizedMetricSpecificationMetricArgs:
    where = [_DIMENSION(name=key, value=value) for key, value in dimensions.items()]
    stat = _STAT(metric=_STAT_METRIC(namespace=namespace, metric_name=name, dimensions=where), stat="Average")
    return _METRIC(id=identity, metric_stat=stat, return_data=False)
