"""What must stand before something else is made: what a node finds when it starts, and addresses that nobody else may take."""

import ipaddress
import re
from collections.abc import Iterator

from tests.infra.graph import Graph, Resource
from tests.infra.properties import holds

_PLACED = ("ec2:Instance", "ec2:VpcEndpoint", "lb:LoadBalancer", "apigatewayv2:VpcLink", "ecs:Service", "lambda:Function",
           "rds:SubnetGroup", "docdb:SubnetGroup", "scheduler:Schedule")  # fmt: skip


@holds
def nodes_start_with_all_that_they_need(graph: Graph) -> Iterator[str]:
    """A node's script runs once: its ways out, the rules that let it out, its rights and its secret's text are there before it."""
    group = graph.group("base-c") if graph.of("ec2:Instance") else ""
    ways = graph.of("ec2:Route", "ec2:RouteTableAssociation", "ec2:NatGateway", "ec2:VpcEndpoint")
    rules = [rule for rule in graph.of("vpc:SecurityGroupEgressRule") if rule.get("securityGroupId") == group]
    rules += [rule for rule in graph.of("vpc:SecurityGroupIngressRule") if rule.get("referencedSecurityGroupId") == group]
    for node in graph.of("ec2:Instance"):
        earlier = {one.urn for one in graph.before(node)}
        yield from (f"{node} may start before {one}" for one in (*ways, *rules, *_own(graph, node)) if one.urn not in earlier)


def _own(graph: Graph, node: Resource) -> Iterator[Resource]:
    """What each node has of its own: the policies of its role, and the text of the secret that its script reads."""
    (profile,) = (one for one in graph.of("iam:InstanceProfile") if one.get("name") == node.get("iamInstanceProfile"))
    roles = {key for one in graph.of("iam:Role") if one.get("name") == profile.get("role") for key in (one.id, one.get("name"))}
    policies = [one for one in graph.of("iam:RolePolicy", "iam:RolePolicyAttachment") if one.get("role") in roles]
    versions = [one for one in graph.of("secretsmanager:SecretVersion") if one.get("secretId") in node.get("userData")]
    assert (len(policies), len(versions)) == (2, 1)
    yield from (*policies, *versions)


@holds
def fixed_addresses_are_reserved(graph: Graph) -> Iterator[str]:
    """Each node's address is set aside in its subnet, before anything that takes an address of its own choosing is put there."""
    reserved = {one.get("subnetId"): one for one in graph.of("ec2:SubnetCidrReservation")}
    for node in graph.of("ec2:Instance"):
        reservation = reserved.get(node.get("subnetId"))
        if reservation is None or reservation.get("reservationType") != "explicit":
            yield f"{node} has an address that anything else in its subnet may take"
        elif ipaddress.ip_address(node.get("privateIp")) not in ipaddress.ip_network(reservation.get("cidrBlock")):
            yield f"{node} has the address {node.get('privateIp')}, reserved is {reservation.get('cidrBlock')}"
    for one in graph.of(*_PLACED):
        earlier = {other.urn for other in graph.before(one)}
        for subnet in set(re.findall(r"subnet-[0-9a-f]+", str(dict(one.inputs)))) & reserved.keys():
            if reserved[subnet].urn not in earlier:
                yield f"{one} may take an address of {reserved[subnet]} before it is reserved"
