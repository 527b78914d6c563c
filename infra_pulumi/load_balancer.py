"""The internal load balancer between the gateway and the two services. It keeps no access log: a path may hold a CPF."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from access import HTTP_PORT

PATHS = {"api": "/v1/people/*", "score": "/v1/score/*"}
DRAIN_SECONDS = 30  # a long poll that began before the task went may still end


@dataclass(frozen=True)
class LoadBalancerArgs:
    """`certificate_arn`: "" for HTTP (dev and tst without a domain); `listens`: the port."""

    vpc_id: pulumi.Input[str]
    subnets: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    listens: int
    certificate_arn: str
    keep: bool


class LoadBalancer(pulumi.ComponentResource):
    """`listener_arn`, `arn_suffix` and by service `target_groups`, `rules` (a service may only be made once its rule is there)."""

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:LoadBalancer", name, None, opts)
        balancer = aws.lb.LoadBalancer(
            name,
            name=name,
            internal=True,
            load_balancer_type="application",
            subnets=args.subnets,
            security_groups=[args.security_group],
            drop_invalid_header_fields=True,
            enable_deletion_protection=args.keep,
            idle_timeout=60,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn_suffix = balancer.arn_suffix
        child = pulumi.ResourceOptions(parent=balancer)
        nowhere = aws.lb.ListenerDefaultActionFixedResponseArgs(content_type="text/plain", message_body="not found", status_code="404")
        listener = aws.lb.Listener(
            name,
            load_balancer_arn=balancer.arn,
            port=args.listens,
            protocol="HTTPS" if args.certificate_arn else "HTTP",
            certificate_arn=args.certificate_arn or None,
            ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06" if args.certificate_arn else None,
            default_actions=[aws.lb.ListenerDefaultActionArgs(type="fixed-response", fixed_response=nowhere)],
            opts=child,
        )
        self.listener_arn = listener.arn
        self.target_groups = {service: self._target_group(service, args.vpc_id) for service in PATHS}
        self.rules = {service: self._rule(service, priority, listener) for priority, service in enumerate(PATHS, start=1)}
        self.register_outputs({"listener_arn": self.listener_arn})

    def resource_label(self, service: str) -> pulumi.Output[str]:
        """How the metric ALBRequestCountPerTarget names this balancer and that service."""
        return pulumi.Output.format("{}/{}", self.arn_suffix, self.target_groups[service].arn_suffix)

    def _target_group(self, service: str, vpc_id: pulumi.Input[str]) -> aws.lb.TargetGroup:
        health = aws.lb.TargetGroupHealthCheckArgs(
            path="/live", matcher="200", interval=10, timeout=3, healthy_threshold=2, unhealthy_threshold=3
        )
        return aws.lb.TargetGroup(
            service,
            vpc_id=vpc_id,
            port=HTTP_PORT,
            protocol="HTTP",
            target_type="ip",
            deregistration_delay=DRAIN_SECONDS,
            health_check=health,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _rule(self, service: str, priority: int, listener: aws.lb.Listener) -> aws.lb.ListenerRule:
        forward = aws.lb.ListenerRuleActionArgs(type="forward", target_group_arn=self.target_groups[service].arn)
        paths = aws.lb.ListenerRuleConditionPathPatternArgs(values=[PATHS[service]])
        return aws.lb.ListenerRule(
            service,
            listener_arn=listener.arn,
            priority=priority,
            actions=[forward],
            conditions=[aws.lb.ListenerRuleConditionArgs(path_pattern=paths)],
            opts=pulumi.ResourceOptions(parent=listener),
        )
