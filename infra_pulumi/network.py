"""The VPC: two zones, public and private; a sliver of a third for Base C's tie-breaker; endpoints instead of the internet."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import iam
import pulumi
import pulumi_aws as aws

INTERFACE_ENDPOINTS = ("sqs", "kms", "secretsmanager", "ecr.api", "ecr.dkr", "logs")
_OWN_ACCOUNT_ONLY = ("sqs", "kms", "secretsmanager", "logs")  # ECR's layers belong to AWS, so that one is left open


@dataclass(frozen=True)
class NetworkArgs:
    """Address blocks (public and private in the order of the zones), and where flow logs go."""

    region: str
    account: pulumi.Input[str]
    zones: Sequence[str]
    vpc_cidr: IPv4Network
    public_cidrs: Sequence[IPv4Network]
    private_cidrs: Sequence[IPv4Network]
    tie_breaker_cidr: IPv4Network
    nat_gateways: int
    reserved_host: int | None  # of each private subnet: an address that is only given to who asks for it
    snapshot_bucket: str  # of another stack; "" where there is none
    log_key: pulumi.Input[str]
    log_days: int


class Network(pulumi.ComponentResource):
    """`vpc_id`, `private` (subnet ids of the two zones), `tie_breaker` (subnet id), `s3_prefix_list`.

    `ways_out` is all that a packet needs to leave the VPC, or to reach AWS from within.
    """

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Network", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        self.ways_out: list[pulumi.Resource] = []
        vpc = aws.ec2.Vpc(
            name, cidr_block=str(args.vpc_cidr), enable_dns_support=True, enable_dns_hostnames=True, tags={"Name": name}, opts=self._child
        )
        self.vpc_id = vpc.id
        # The default group allows its members everything: with no rules left, nothing can be in it by accident.
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, ingress=[], egress=[], opts=self._child)

        gateway = aws.ec2.InternetGateway(name, vpc_id=vpc.id, tags={"Name": name}, opts=self._child)
        public = [self._subnet("public", zone, cidr) for zone, cidr in zip(args.zones, args.public_cidrs, strict=False)]
        public_routes = self._route_table("public", gateway_id=gateway.id)
        for subnet, zone in zip(public, args.zones, strict=False):
            self._associate(f"{name}-public-{zone}", subnet, public_routes)
        nats = [self._nat(subnet, zone, gateway) for subnet, zone in zip(public[: args.nat_gateways], args.zones, strict=False)]

        cidrs = [*args.private_cidrs, args.tie_breaker_cidr]
        private = [self._subnet("private", zone, cidr) for zone, cidr in zip(args.zones, cidrs, strict=True)]
        tables = []
        for index, (subnet, zone) in enumerate(zip(private, args.zones, strict=True)):
            tables.append(self._route_table(f"private-{zone}", nat_gateway_id=nats[index % len(nats)].id))
            self._associate(f"{name}-private-{zone}", subnet, tables[-1])
        *self.private, self.tie_breaker = (self._reserved(*place) for place in zip(private, args.zones, cidrs, strict=True))
        self._flow_log()
        self.s3_prefix_list = self._s3_endpoint([table.id for table in tables]).prefix_list_id
        self.register_outputs({"vpc_id": self.vpc_id})

    def _subnet(self, kind: str, zone: str, cidr: IPv4Network) -> aws.ec2.Subnet:
        name = f"{self._name}-{kind}-{zone}"
        return aws.ec2.Subnet(
            name,
            vpc_id=self.vpc_id,
            availability_zone=zone,
            cidr_block=str(cidr),
            map_public_ip_on_launch=False,
            tags={"Name": name},
            opts=self._child,
        )

    def _reserved(self, subnet: aws.ec2.Subnet, zone: str, cidr: IPv4Network) -> pulumi.Output[str]:
        """The subnet's id, known once its address is reserved: whatever is put into the subnet waits for that, and cannot take it."""
        known: pulumi.Output[str] = subnet.id
        if self._args.reserved_host is not None:
            known = aws.ec2.SubnetCidrReservation(
                f"{self._name}-private-{zone}",
                subnet_id=known,
                cidr_block=f"{cidr[self._args.reserved_host]}/32",
                reservation_type="explicit",
                description="consumidor: a node of Base C",
                opts=pulumi.ResourceOptions(parent=subnet),
            ).subnet_id
        return known

    def _route_table(self, kind: str, **way_out: pulumi.Input[str]) -> aws.ec2.RouteTable:
        name = f"{self._name}-{kind}"
        table = aws.ec2.RouteTable(name, vpc_id=self.vpc_id, tags={"Name": name}, opts=self._child)
        child = pulumi.ResourceOptions(parent=table)
        self.ways_out.append(aws.ec2.Route(name, route_table_id=table.id, destination_cidr_block="0.0.0.0/0", **way_out, opts=child))
        return table

    def _associate(self, name: str, subnet: aws.ec2.Subnet, table: aws.ec2.RouteTable) -> None:
        child = pulumi.ResourceOptions(parent=table)
        self.ways_out.append(aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=table.id, opts=child))

    def _nat(self, subnet: aws.ec2.Subnet, zone: str, gateway: aws.ec2.InternetGateway) -> aws.ec2.NatGateway:
        name = f"{self._name}-nat-{zone}"
        after = pulumi.ResourceOptions(parent=self, depends_on=[gateway])
        address = aws.ec2.Eip(name, domain="vpc", tags={"Name": name}, opts=after)
        return aws.ec2.NatGateway(name, subnet_id=subnet.id, allocation_id=address.id, tags={"Name": name}, opts=after)

    def _s3_endpoint(self, tables: Sequence[pulumi.Input[str]]) -> aws.ec2.VpcEndpoint:
        endpoint = aws.ec2.VpcEndpoint(
            f"{self._name}-s3",
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{self._args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=tables,
            policy=self._s3_policy(),
            tags={"Name": f"{self._name}-s3"},
            opts=self._child,
        )
        self.ways_out.append(endpoint)
        return endpoint

    def interface_endpoints(self, security_group: pulumi.Input[str]) -> None:
        """Private addresses of the AWS services used from inside; `security_group` says who may reach them."""
        for service in INTERFACE_ENDPOINTS:
            name = f"{self._name}-{service.replace('.', '-')}"
            endpoint = aws.ec2.VpcEndpoint(
                name,
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{self._args.region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=self.private,
                security_group_ids=[security_group],
                policy=iam.document([self._own_account()]) if service in _OWN_ACCOUNT_ONLY else None,
                tags={"Name": name},
                opts=self._child,
            )
            self.ways_out.append(endpoint)

    def _own_account(self) -> dict[str, Any]:
        """A stolen process cannot carry data to another account's queue, key or bucket through the endpoint."""
        only = {"StringEquals": {"aws:ResourceAccount": self._args.account}}
        return {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": only}

    def _s3_policy(self) -> pulumi.Output[str]:
        """Beside the account's own buckets: image layers, the nodes' operating system packages (both AWS's), and the snapshots.

        Sources: docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-setting-up-s3-gateway and
        docs.aws.amazon.com/linux/al2023/ug/managing-repos-os-updates.html
        """
        region = self._args.region
        readable = [f"arn:aws:s3:::prod-{region}-starport-layer-bucket/*", f"arn:aws:s3:::al2023-repos-{region}-de612dc2/*"]
        statements: list[dict[str, Any]] = [
            self._own_account(),
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": readable},
        ]
        if bucket := self._args.snapshot_bucket:
            own = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
            statements.append({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": own})
        return iam.document(statements)

    def _flow_log(self) -> None:
        """Refused connections, in a log group: who knocked where there is no door.

        The rights are what AWS asks for, each as narrow as it can be: docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
        """
        name = f"{self._name}-flow"
        group = aws.cloudwatch.LogGroup(name, retention_in_days=self._args.log_days, kms_key_id=self._args.log_key, opts=self._child)
        role = aws.iam.Role(name, assume_role_policy=iam.assumed_by("vpc-flow-logs.amazonaws.com", self._args.account), opts=self._child)
        write = iam.Statement(
            ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"),
            (group.arn, pulumi.Output.format("{}:*", group.arn)),
        )
        look = iam.Statement(("logs:DescribeLogGroups",), ("*",))  # a list of groups has no resource of its own
        policy = aws.iam.RolePolicy(name, role=role.id, policy=iam.allow(write, look), opts=pulumi.ResourceOptions(parent=role))
        aws.ec2.FlowLog(
            name,
            vpc_id=self.vpc_id,
            traffic_type="REJECT",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags={"Name": name},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
