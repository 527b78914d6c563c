"""Draws the VPC from the program's own resource graph, as SVG: what lies in which subnet, and who may open a connection to whom.

    python -m tests.infra.draw        # rewrites infra_pulumi/network.svg from the stack prd

Nothing in the drawing is written by hand but its layout: a resource that moves, moves in it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from tests.infra.graph import Graph, Resource
from tests.infra.mutations import PROGRAM
from tests.infra.recording import Job, record_all

STACK = "prd"
PICTURE = PROGRAM / "network.svg"
_WIDTH, _COLUMN, _LINE = 1180, 360, 19
_STYLE = """
 text { font: 13px sans-serif; fill: #1b2733 } .title { font-size: 15px; font-weight: bold } .small { font-size: 11px; fill: #51606e }
 .vpc { fill: #f6f8fa; stroke: #51606e } .zone { fill: none; stroke: #9aa7b3; stroke-dasharray: 6 4 }
 .public { fill: #e7f4e4; stroke: #4a8b3f } .private { fill: #e4eef9; stroke: #3b6ea5 } .outside { fill: #fff4dd; stroke: #b98319 }
 .cell { fill: #3b6ea5 } .grid { stroke: #d5dce2 } .port { fill: #ffffff; font-size: 10px }
"""


class Box(NamedTuple):
    """A rectangle with a title and lines of text."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    title: str
    lines: list[str]


def contents(graph: Graph, subnet: str) -> list[str]:
    """What has an address in the subnet with that id, as names with their kind."""
    found = []
    for kind, place in _places(graph):
        names = sorted(name for name, subnets in place.items() if subnet in subnets)
        if names:
            found.append(f"{kind}: {', '.join(names)}")
    return found


def _places(graph: Graph) -> Iterator[tuple[str, Mapping[str, list[str]]]]:
    """Kinds of resources, each as name -> subnet ids."""
    yield "NAT gateway", {one.name.rpartition("-nat-")[2]: [one.get("subnetId")] for one in graph.of("ec2:NatGateway")}
    yield "load balancer", {one.name: one.get("subnets") for one in graph.of("lb:LoadBalancer")}
    yield "gateway's link", {one.name: one.get("subnetIds") for one in graph.of("apigatewayv2:VpcLink")}
    yield "services", {one.name: one.get("networkConfiguration")["subnets"] for one in graph.of("ecs:Service")}
    schedules = {one.name: one.get("target")["ecsParameters"]["networkConfiguration"]["subnets"] for one in graph.of("scheduler:Schedule")}
    yield "tasks", schedules | {"migrate": graph.outputs["migration_network"]["awsvpcConfiguration"]["subnets"]}
    yield "Lambdas", {one.name: one.get("vpcConfig")["subnetIds"] for one in graph.of("lambda:Function")}
    yield "PostgreSQL", {one.name: one.get("subnetIds") for one in graph.of("rds:SubnetGroup")}
    yield "DocumentDB", {one.name: one.get("subnetIds") for one in graph.of("docdb:SubnetGroup")}
    nodes = {f"{one.name} ({one.get('privateIp')}, {_role(one)})": [one.get("subnetId")] for one in graph.of("ec2:Instance")}
    yield "Elasticsearch", nodes
    endpoints = {one.get("serviceName").partition("sa-east-1.")[2]: one.get("subnetIds") or [] for one in graph.of("ec2:VpcEndpoint")}
    yield "endpoints", endpoints


def _role(node: Resource) -> str:
    return "voting only" if "voting_only" in node.get("userData") else "data"


def way_out(graph: Graph, subnet: str) -> str:
    """`public` where the subnet's route leads to the internet gateway, else `private`."""
    tables = {one.get("subnetId"): one.get("routeTableId") for one in graph.of("ec2:RouteTableAssociation")}
    routes = {one.get("routeTableId"): one for one in graph.of("ec2:Route")}
    return "public" if routes[tables[subnet]].get("gatewayId") else "private"


def flows(graph: Graph) -> dict[tuple[str, str], list[int]]:
    """(source, target) -> ports, from the egress rules; targets are groups, `s3` and `internet`."""
    names = {group.id: group.name.removeprefix("access-") for group in graph.of("ec2:SecurityGroup")}
    found: dict[tuple[str, str], list[int]] = {}
    for rule in graph.of("vpc:SecurityGroupEgressRule"):
        target = names.get(rule.get("referencedSecurityGroupId"), "s3" if rule.get("prefixListId") else "internet")
        found.setdefault((names[rule.get("securityGroupId")], target), []).append(rule.get("fromPort"))
    return {pair: sorted(ports) for pair, ports in sorted(found.items())}


def boxes(graph: Graph) -> Iterator[Box]:
    """The VPC: a column a zone, public above private."""
    subnets = sorted(graph.of("ec2:Subnet"), key=lambda one: (one.get("availabilityZone"), way_out(graph, one.id) != "public"))
    zones = sorted({one.get("availabilityZone") for one in subnets})
    (vpc,) = graph.of("ec2:Vpc")
    routes = len(graph.of("apigatewayv2:Route"))
    yield Box(20, 20, _WIDTH - 40, 40, "outside", f"Internet: one HTTP API, {routes} routes, each behind a token and a scope", [])
    yield Box(20, 80, _WIDTH - 40, 360, "vpc", f"VPC {vpc.get('cidrBlock')}", [])
    for column, zone in enumerate(zones):
        x = 40 + column * (_COLUMN + 15)
        yield Box(x, 110, _COLUMN, 320, "zone", zone, [])
        for subnet in (one for one in subnets if one.get("availabilityZone") == zone):
            kind = way_out(graph, subnet.id)
            y, height = (135, 60) if kind == "public" else (205, 215)
            yield Box(x + 10, y, _COLUMN - 20, height, kind, f"{kind} {subnet.get('cidrBlock')}", contents(graph, subnet.id))


def picture(graph: Graph) -> str:
    """The whole drawing."""
    table = flows(graph)
    sources = sorted({source for source, _ in table})
    targets = sorted({target for _, target in table})
    height = 500 + 26 * len(sources)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">',
        f"<title>consumidor, stack {graph.stack}: the VPC and who may connect to whom</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for box in boxes(graph):
        parts += _drawn(box)
    parts += _matrix(table, sources, targets)
    return "\n".join([*parts, "</svg>", ""])


def _drawn(box: Box) -> list[str]:
    lines = [line for text in box.lines for line in _wrapped(text)]
    text = [
        f'<rect class="{box.kind}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>',
        f'<text class="title" x="{box.x + 10}" y="{box.y + 18}">{escape(box.title)}</text>',
    ]
    return text + [f'<text x="{box.x + 10}" y="{box.y + 36 + _LINE * row}">{escape(line)}</text>' for row, line in enumerate(lines)]


def _wrapped(text: str, width: int = 52) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > width:
            lines.append("   ")
        lines[-1] += word + " "
    return [line.rstrip() for line in lines]


def _matrix(table: Mapping[tuple[str, str], list[int]], sources: list[str], targets: list[str]) -> list[str]:
    """Rows open connections to columns, at the TCP ports in the cells; an empty cell is a wall."""
    top, left, wide, high = 470, 150, 104, 26
    parts = [f'<text class="title" x="20" y="{top - 8}">Who may open a connection to whom (TCP port); an empty cell is a wall</text>']
    for column, target in enumerate(targets):
        parts.append(f'<text class="small" x="{left + wide * column + 4}" y="{top + 12}">{escape(target)}</text>')
    for row, source in enumerate(sources):
        y = top + 20 + high * row
        parts.append(f'<text x="20" y="{y + 17}">{escape(source)}</text>')
        parts.append(f'<line class="grid" x1="20" y1="{y}" x2="{_WIDTH - 20}" y2="{y}"/>')
        for column, target in enumerate(targets):
            if ports := table.get((source, target)):
                x = left + wide * column
                parts.append(f'<rect class="cell" x="{x}" y="{y + 4}" width="{wide - 8}" height="{high - 8}" rx="3"/>')
                parts.append(f'<text class="port" x="{x + 6}" y="{y + 17}">{", ".join(map(str, ports))}</text>')
    return parts


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        graph = record_all({STACK: Job(STACK)}, Path(folder))[STACK]
    PICTURE.write_text(picture(graph), "utf-8")


if __name__ == "__main__":
    main()
