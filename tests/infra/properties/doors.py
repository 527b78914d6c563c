"""Who reaches what: the gateway, the network, and the way to Base A that the people API does not have."""

from collections.abc import Iterator

from tests.infra.graph import Graph
from tests.infra.properties import holds

CONTRACT = {  # the HTTP contract's calls and the scope that each asks for
    "POST /v1/people/requests": "consumidor/people.read",
    "GET /v1/people/responses": "consumidor/people.read",
    "POST /v1/people/responses/ack": "consumidor/people.read",
    "POST /v1/people/responses/release": "consumidor/people.read",
    "GET /v1/score/{cpf}": "consumidor/score.read",
    "GET /v1/score/{cpf}/profile": "consumidor/profile.read",
    "GET /v1/events": "consumidor/events.read",
    "GET /v1/events/latest": "consumidor/events.read",
}


@holds
def nothing_is_reached_but_through_the_gateway(graph: Graph) -> Iterator[str]:
    """No address of the outside in any ingress rule, no public address on anything, an internal load balancer."""
    for rule in graph.of("vpc:SecurityGroupIngressRule"):
        if rule.get("referencedSecurityGroupId") is None:
            yield f"{rule} lets in an address range, not a security group: {dict(rule.inputs)}"
        if rule.get("securityGroupId") == graph.group("gateway"):
            yield f"{rule} opens a way to the gateway's link from inside"
    for group in graph.of("ec2:SecurityGroup", "ec2:DefaultSecurityGroup"):
        if group.get("ingress") or group.get("egress"):
            yield f"{group} has rules of its own beside the table of flows"
    public = {"rds:Instance": "publiclyAccessible", "ec2:Instance": "associatePublicIpAddress", "ec2:Subnet": "mapPublicIpOnLaunch"}
    for kind, name in public.items():
        yield from (f"{one} is not told to stay private: {name} is {one.get(name)}" for one in graph.of(kind) if one.get(name) is not False)
    for service in graph.of("ecs:Service"):
        if service.get("networkConfiguration").get("assignPublicIp") is not False:
            yield f"{service} gives its tasks public addresses"
    yield from (f"{one} is not internal" for one in graph.of("lb:LoadBalancer") if one.get("internal") is not True)
    yield from (f"{one} is a public door beside the gateway" for one in graph.of("lambda:FunctionUrl", "ec2:KeyPair", "apigateway:RestApi"))


@holds
def every_route_of_the_contract_asks_for_its_scope(graph: Graph) -> Iterator[str]:
    """The gateway has the contract's routes, no other, each behind a JWT and its scope; audiences are the app clients."""
    (authorizer,) = graph.of("apigatewayv2:Authorizer")
    routes = {route.get("routeKey"): route for route in graph.of("apigatewayv2:Route")}
    for key in CONTRACT.keys() ^ routes.keys():
        yield f"route {key} is {'missing' if key in CONTRACT else 'not of the contract'}"
    for key in CONTRACT.keys() & routes.keys():
        route = routes[key]
        if route.get("authorizationType") != "JWT" or route.get("authorizerId") != authorizer.id:
            yield f"route {key} asks for no token"
        if route.get("authorizationScopes") != [CONTRACT[key]]:
            yield f"route {key} asks for {route.get('authorizationScopes')}, not for {CONTRACT[key]}"
    clients = {client.id for client in graph.of("cognito:UserPoolClient")}
    if set(authorizer.get("jwtConfiguration")["audiences"]) != clients:
        yield f"{authorizer} takes other audiences than the registered clients"
    (server,) = graph.of("cognito:ResourceServer")
    known = {f"{server.get('identifier')}/{scope['scopeName']}" for scope in server.get("scopes")}
    yield from (f"scope {scope} is asked for, but Cognito does not know it" for scope in set(CONTRACT.values()) - known)
    for client in graph.of("cognito:UserPoolClient"):
        if set(client.get("allowedOauthScopes")) != known or client.get("allowedOauthFlows") != ["client_credentials"]:
            yield f"{client} may not ask for every scope by client credentials alone"


@holds
def the_network_is_laid_out_as_drawn(graph: Graph) -> Iterator[str]:
    """The address plan, NAT by environment, and endpoints for all that the worker needs, which has no way to the internet."""
    subnets = {subnet.get("cidrBlock"): subnet.get("availabilityZone") for subnet in graph.of("ec2:Subnet")}
    plan = {"10.0.10.0/24", "10.0.11.0/24", "10.0.20.0/24", "10.0.21.0/24", "10.0.22.0/28"}
    if set(subnets) != plan or len(set(subnets.values())) != 3:
        yield f"the subnets are {subnets}"
    if len(graph.of("ec2:NatGateway")) != (2 if graph.stack == "prd" else 1):
        yield f"{graph.stack} has {len(graph.of('ec2:NatGateway'))} NAT gateways"
    services = {endpoint.get("serviceName").removeprefix("com.amazonaws.sa-east-1.") for endpoint in graph.of("ec2:VpcEndpoint")}
    yield from (f"no endpoint for {name}" for name in {"s3", "sqs", "kms", "secretsmanager", "ecr.api", "ecr.dkr", "logs"} - services)
    outward = _outward(graph)
    for rule in graph.of("vpc:SecurityGroupEgressRule"):
        ports = (rule.get("fromPort"), rule.get("toPort"))
        allowed = {(port, port) for name, port in outward if rule.get("securityGroupId") == graph.group(name)}
        if not (rule.get("referencedSecurityGroupId") or rule.get("prefixListId")) and ports not in allowed:
            yield f"{rule} leads to the internet, ports {ports[0]} to {ports[1]}"


def _outward(graph: Graph) -> set[tuple[str, int]]:
    """Who reaches the internet, at which port: the issuer's keys, what nodes install, and of a base of somebody else's who asks it."""
    outward = {("api", 443), ("score", 443)}
    if graph.of("ec2:Instance"):
        outward.add(("base-c", 443))
    else:
        outward |= {(process, 443) for process in ("search", "feed", "migrate")}
    if not graph.of("docdb:Cluster"):
        outward |= {(process, 27017) for process in ("score", "extract", "migrate")}
    return outward


@holds
def the_people_api_has_no_way_to_base_a(graph: Graph) -> Iterator[str]:
    """Neither by network nor by IAM nor by a secret; only the worker and the migration reach it, and nothing else holds its keys."""
    to_base_a = {rule.get("referencedSecurityGroupId") for rule in graph.of("vpc:SecurityGroupIngressRule")
                 if rule.get("securityGroupId") == graph.group("base-a")}  # fmt: skip
    if to_base_a != {graph.group("worker"), graph.group("migrate")}:
        yield "other groups than the worker's and the migration's reach Base A"
    for rule in graph.of("vpc:SecurityGroupEgressRule"):
        if rule.get("securityGroupId") == graph.group("api") and rule.get("fromPort") != 443:
            yield f"{rule}: the people API opens connections to port {rule.get('fromPort')}"
    guarded = _base_a_secrets(graph)
    for role in graph.of("iam:Role"):
        allowed = {"worker", "worker-execution", "migrate", "migrate-execution"}
        for statement in graph.may(role.name) if role.name not in allowed else ():
            for resource in guarded & set(statement.resources):
                yield f"{statement.holder} may use {resource}, which leads to Base A"
    if set(graph.environment("api")) & {"BASE_A_DSN", "BASE_A_OWNER_DSN", "BASE_A_KMS_KEY"}:
        yield "the people API is told of Base A"


def _base_a_secrets(graph: Graph) -> set[str]:
    """ARNs of what opens Base A: its passwords and the keys that wrap its data, its storage and its owner's password."""
    secrets = {one.get("arn") for one in graph.of("secretsmanager:Secret") if one.name.startswith("base-a")}
    secrets |= {owner["secretArn"] for one in graph.of("rds:Instance") for owner in one.get("masterUserSecrets")}
    return secrets | {graph.one("kms:Key", f"keys-{purpose}").get("arn") for purpose in ("vault", "base-a")}
