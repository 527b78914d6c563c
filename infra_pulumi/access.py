"""Who may open a connection to whom: one table of flows, from which every security group and every rule is made.

What is not in the table cannot happen. The people API has no line to Base A.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pulumi
import pulumi_aws as aws

HTTP_PORT, HTTPS, POSTGRES, MONGODB, ELASTICSEARCH, ELASTICSEARCH_TRANSPORT = 8000, 443, 5432, 27017, 9200, 9300
PROCESSES = ("api", "worker", "migrate", "score", "extract", "search", "feed")
GROUPS = ("gateway", "load-balancer", *PROCESSES, "base-a", "base-b", "base-c", "endpoints")


class Flow(NamedTuple):
    """`source` opens TCP connections to `port` of `target`: a group of `GROUPS`, or `s3` or `internet`."""

    source: str
    target: str
    port: int


@dataclass(frozen=True)
class AccessArgs:
    """Where, and which bases are somebody else's (`None`: ours), reached at that port over the internet."""

    vpc_id: pulumi.Input[str]
    s3_prefix_list: pulumi.Input[str]
    load_balancer_port: int
    outside_base_b_port: int | None
    outside_base_c_port: int | None


def flows(args: AccessArgs) -> list[Flow]:
    """The whole table."""
    base_b = ("base-b", MONGODB) if args.outside_base_b_port is None else ("internet", args.outside_base_b_port)
    base_c = ("base-c", ELASTICSEARCH) if args.outside_base_c_port is None else ("internet", args.outside_base_c_port)
    table = [
        Flow("gateway", "load-balancer", args.load_balancer_port),
        Flow("load-balancer", "api", HTTP_PORT),
        Flow("load-balancer", "score", HTTP_PORT),
        Flow("worker", "base-a", POSTGRES),
        Flow("migrate", "base-a", POSTGRES),
        *(Flow(process, *base_b) for process in ("score", "extract", "migrate")),
        *(Flow(process, *base_c) for process in ("search", "feed", "migrate")),
        *(Flow(process, "endpoints", HTTPS) for process in PROCESSES),
        *(Flow(process, "s3", HTTPS) for process in ("api", "worker", "migrate", "score", "extract")),
        Flow("api", "internet", HTTPS),  # the issuer's keys: Cognito has no private endpoint
        Flow("score", "internet", HTTPS),
    ]
    nodes = [
        *(Flow("base-c", target, HTTPS) for target in ("endpoints", "s3")),
        Flow("base-c", "internet", HTTPS),  # installs Elasticsearch; Systems Manager
        *(Flow("base-c", "base-c", port) for port in (ELASTICSEARCH, ELASTICSEARCH_TRANSPORT)),
    ]
    return list(dict.fromkeys([*table, *(nodes if args.outside_base_c_port is None else ())]))


class Access(pulumi.ComponentResource):
    """`access["worker"]` is the id of that process's security group, `access.rules["worker"]` every rule that lets it out or others in."""

    def __init__(self, name: str, args: AccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Access", name, None, opts)
        self._groups: dict[str, aws.ec2.SecurityGroup] = {}
        self._ids: dict[str, pulumi.Output[str]] = {}
        self.rules: dict[str, list[pulumi.Resource]] = {group: [] for group in GROUPS}
        for group in GROUPS:
            self._groups[group] = aws.ec2.SecurityGroup(
                f"{name}-{group}",
                vpc_id=args.vpc_id,
                description=f"consumidor: {group}",
                tags={"Name": f"consumidor-{group}"},
                opts=pulumi.ResourceOptions(parent=self),
            )
            self._ids[group] = self._groups[group].id
        for flow in flows(args):
            self._open(name, flow, args)
        self.register_outputs({})

    def __getitem__(self, group: str) -> pulumi.Output[str]:
        return self._ids[group]

    def _open(self, name: str, flow: Flow, args: AccessArgs) -> None:
        """The egress rule of the source and, where the target is ours, the ingress rule that answers it."""
        source, rule = self._groups[flow.source], f"{name}-{flow.source}-to-{flow.target}-{flow.port}"
        target: Mapping[str, pulumi.Input[str]]
        if flow.target == "internet":
            target = {"cidr_ipv4": "0.0.0.0/0"}
        elif flow.target == "s3":
            target = {"prefix_list_id": args.s3_prefix_list}
        else:
            target = {"referenced_security_group_id": self._groups[flow.target].id}
            let_in = aws.vpc.SecurityGroupIngressRule(
                rule,
                security_group_id=self._groups[flow.target].id,
                referenced_security_group_id=source.id,
                ip_protocol="tcp",
                from_port=flow.port,
                to_port=flow.port,
                description=f"from {flow.source}",
                opts=pulumi.ResourceOptions(parent=self._groups[flow.target]),
            )
            for group in {flow.source, flow.target}:
                self.rules[group].append(let_in)
        let_out = aws.vpc.SecurityGroupEgressRule(
            rule,
            security_group_id=source.id,
            ip_protocol="tcp",
            from_port=flow.port,
            to_port=flow.port,
            description=f"to {flow.target}",
            **target,
            opts=pulumi.ResourceOptions(parent=source),
        )
        self.rules[flow.source].append(let_out)
