"""The three diagrams of 01_architecture. Who talks to whom stands in tables, which the notebook holds against the resource graph."""

from drawing import INK, PATHS, QUIET, Diagram

A, B, C = PATHS.values()
# Who opens a connection to whom, and who does what at which queue or bucket (`*` is a client's name).
NETWORK = (("gateway", "load-balancer", INK), ("load-balancer", "api", A), ("load-balancer", "score", B), ("worker", "base-a", A),
           ("score", "base-b", B), ("search", "base-c", C), ("feed", "base-c", C))  # fmt: skip
MESSAGES = (
    ("api", "sends to", "people-requests", A), ("worker", "takes from", "people-requests", A),
    ("worker", "sends to", "people-responses-*", A), ("api", "takes from", "people-responses-*", A),
    ("worker", "puts into", "people-results", A), ("worker", "sends to", "events-feed", A), ("score", "sends to", "events-feed", B),
    ("feed", "takes from", "events-feed", C),
)  # fmt: skip
_PLACES = (
    ("client", 0.9, 4.3, "has a token", INK), ("gateway", 3.2, 4.3, "HTTP API, JWT", INK), ("load-balancer", 5.6, 5.2, "internal", INK),
    ("api", 5.6, 6.9, "people API", A), ("people-requests", 8.4, 6.3, "queue", A), ("worker", 11.0, 6.3, "autoscaled", A),
    ("base-a", 13.5, 6.3, "PostgreSQL", A), ("people-responses-*", 8.4, 7.7, "a queue a client", A), ("people-results", 11.0, 7.7, "S3", A),
    ("score", 8.4, 4.4, "service", B), ("base-b", 13.5, 4.4, "MongoDB", B), ("search", 7.4, 2.6, "Lambda", C),
    ("base-c", 13.5, 2.6, "Elasticsearch", C), ("producers", 7.4, 0.8, "banks, shops", C), ("events-feed", 10.3, 0.8, "queue", C),
    ("feed", 13.5, 0.8, "Lambda", C),
)  # fmt: skip


def draw_storage() -> None:
    """What each base is asked for, and the roads not taken."""
    page = Diagram(12, 6.2, "Storage trade-offs: the more a leak would hurt, the fewer may come near, and the longer it takes")
    page.area("", 0.8, 0.9, 11.0, 5.0)
    page.box("Base A: PostgreSQL", 2.7, 5.0, "identities sealed; log and answer are one act", A, 3.2, 0.9)
    page.box("Base B: MongoDB", 5.9, 3.3, "one document a person, read by its _id", B, 3.0, 0.9)
    page.box("Base C: Elasticsearch", 9.2, 1.6, "filters by time; latest without a search", C, 3.0, 0.9)
    page.box("an endpoint before A", 6.9, 5.0, "every caller's bug is at the door", QUIET, 2.6)
    page.box("one base for all", 10.2, 5.0, "one leak is every leak", QUIET, 2.2)
    page.box("a cache before B", 9.7, 3.3, "one more copy to keep right", QUIET, 2.4)
    page.arrow("Base A: PostgreSQL", "an endpoint before A", "not taken", QUIET)
    page.arrow("an endpoint before A", "one base for all", colour=QUIET)
    page.arrow("Base B: MongoDB", "a cache before B", "not taken", QUIET)
    page.arrow("Base A: PostgreSQL", "Base B: MongoDB", "pseudonym, no name")
    page.arrow("Base B: MongoDB", "Base C: Elasticsearch", "what happened, not who")
    page.axis((0.8, 0.7), (11.8, 0.7), "how fast an answer has to be")
    page.axis((0.6, 0.9), (0.6, 5.9), "harm done by a leak")
    for x, text in ((2.7, "seconds"), (5.9, "tens of milliseconds"), (9.2, "milliseconds")):
        page.text(x, 0.45, text)


def draw_traffic() -> None:
    """What a request passes on each path."""
    page = Diagram(14.6, 8.3, "Traffic: what a request passes on each path")
    for name, x, y, text, colour in _PLACES:
        page.box(name, x, y, text, colour, width=2.1 if name.startswith("people-") else 1.7)
    for start, end, colour in (("client", "gateway", INK), ("gateway", "search", C), ("producers", "events-feed", C), *NETWORK):
        page.arrow(start, end, colour=colour)
    for process, verb, store, colour in MESSAGES:
        way = (store, process) if verb == "takes from" else (process, store)
        page.arrow(*way, "inquiries" if way[1] == "events-feed" else "", colour, shift=0.35)


def draw_vpc(graph) -> None:
    """Where all of it runs, by zone and subnet."""
    block = graph.one("ec2:Vpc", "consumidor").get("cidrBlock")
    page = Diagram(14.0, 8.6, f"VPC of {graph.stack}: zones, subnets, and what runs in them")
    page.area(f"VPC {block}", 2.4, 0.2, 9.6, 8.0, INK, "#FFFFFF")
    left = _draw_subnets(page, graph)
    page.box("API Gateway", 1.1, 5.1, "JWT authorizer", INK)
    page.box("internet", 13.1, 6.75, "", INK, 1.5)
    for zone, x in list(left.items())[:2]:
        page.box(f"NAT {zone[-1]}", x + 1.75, 6.75, "way out only", INK, 1.5, 0.6)
        page.box(
            f"Base C {zone[-1]}",
            x + 2.6,
            0.85,
            graph.one("ec2:Instance", f"base-c-{'ab'.index(zone[-1])}").get("instanceType"),
            C,
            1.4,
            0.6,
        )
    first, second, third = left.values()
    middle, across = (first + second + 3.5) / 2, second - first + 3.1
    page.box("load balancer", middle, 5.1, "internal; reached by the VPC link alone", INK, across, 0.6)
    for x in (first + 1.75, second + 1.75):
        page.box("people", x - 1.12, 4.25, "api, worker", A, 1.08, 0.6)
        page.box("score", x, 4.25, "service", B, 1.08, 0.6)
        page.box("events", x + 1.12, 4.25, "search, feed", C, 1.08, 0.6)
    page.box("endpoints", middle, 3.4, "SQS, KMS, Secrets Manager, ECR, logs; S3 by a gateway endpoint", INK, across, 0.6)
    page.box("Base A", first + 1.75, 2.55, f"RDS {graph.one('rds:Instance', 'base-a').get('instanceClass')}", A, 2.1, 0.6)
    page.box("standby", second + 1.75, 2.55, "RDS Multi-AZ", A, 2.1, 0.6)
    nodes = graph.of("docdb:ClusterInstance")
    page.box("Base B", middle, 1.7, f"DocumentDB, {len(nodes)} x {nodes[0].get('instanceClass')}", B, across, 0.6)
    page.box("vote", third + 0.65, 0.85, graph.one("ec2:Instance", "base-c-2").get("instanceType"), C, 1.0, 0.6)
    page.arrow("API Gateway", "load balancer", "VPC link", shift=0.2)
    page.arrow("NAT b", "internet")
    page.arrow("Base A", "standby", "copies", A)
    page.arrow("Base C a", "Base C b", "copies", C, heads=2)
    page.arrow("Base C b", "vote", "", C, heads=2)


def _draw_subnets(page: Diagram, graph) -> dict[str, float]:
    """An area a subnet; the left edge of each zone."""
    zones = sorted({subnet.get("availabilityZone") for subnet in graph.of("ec2:Subnet")})
    left = {zone: 2.6 + 3.8 * number for number, zone in enumerate(zones)}
    for subnet in graph.of("ec2:Subnet"):
        zone, public = subnet.get("availabilityZone"), "public" in subnet.name
        width = 1.3 if zone == zones[-1] else 3.5
        kind = "public" if public else "private"
        bottom, height = (6.2, 1.2) if public else (0.4, 5.4)
        page.area(f"{kind}{chr(10) if width < 2 else ' '}{subnet.get('cidrBlock')}", left[zone], bottom, width, height)
        page.text(left[zone] + width / 2, 7.65, zone, weight="bold")
    return left
