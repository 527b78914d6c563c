"""What roles and policies allow, and which secrets each process is given."""

import re
from collections.abc import Iterator

from tests.infra.graph import Graph
from tests.infra.properties import holds

# Every `*` there may be: what holds it, which actions, and why it cannot be narrower.
REASONED = (
    (r"kms:Key .*", r"kms:.*", "a key's own policy can only speak of itself, and says so with *"),
    (r"iam:RolePolicy \w+-execution", r"ecr:GetAuthorizationToken", "has no resource: it gives a token for the account's own registry"),
    (r"iam:RolePolicy (search|feed)", r"ec2:\w+", "Lambda makes network interfaces before they have a name"),
    (r"iam:RolePolicy consumidor-flow", r"logs:DescribeLogGroups", "lists groups, so that no one group's name narrows it"),
    (r"iam:RolePolicy base-c-\d", r"cloudwatch:PutMetricData", "has no resource; the condition allows one namespace"),
    (r"ec2:VpcEndpoint consumidor-(sqs|kms|secretsmanager|logs|s3)", r"\*", "the condition narrows it to this account's own resources"),
    (r"ec2:VpcEndpoint consumidor-s3", r"s3:\*", "on the one bucket that the snapshots go to, which another stack owns"),
    (r"(sqs:QueuePolicy|s3:BucketPolicy|sns:TopicPolicy) .*", r"(sqs|s3|sns):.*", "denies whatever does not come over TLS"),
)


@holds
def no_star_without_a_reason(graph: Graph) -> Iterator[str]:
    """No action and no resource of any policy is a bare `*`, or `service:*`, but for the list above."""
    for statement in graph.statements():
        wide = [action for action in statement.actions if "*" in action]
        if statement.resources == () or ("*" not in statement.resources and not wide):
            continue
        for action in statement.actions:
            if not any(re.fullmatch(holder, str(statement.holder)) and re.fullmatch(allowed, action) for holder, allowed, _ in REASONED):
                yield f"{statement}: {action} is wider than it has a reason to be"
    for statement in graph.statements():
        anyone = statement.effect == "Allow" and statement.principal in ("*", {"AWS": "*"})
        if anyone and statement.holder.kind != "ec2:VpcEndpoint":
            yield f"{statement} is allowed to everyone"


@holds
def policies_speak_of_what_exists(graph: Graph) -> Iterator[str]:
    """Every ARN in a role's policy is that of something this program makes, or is named in the configuration."""
    made = {arn for one in graph.resources for arn in (one.get("arn"),) if arn}
    made |= {owner["secretArn"] for one in graph.of("rds:Instance") for owner in one.get("masterUserSecrets")}
    for statement in graph.statements():
        if statement.holder.kind != "iam:RolePolicy":
            continue
        for resource in statement.resources:
            exists = any(resource == arn or resource.startswith((f"{arn}/", f"{arn}:")) for arn in made)
            elsewhere = "consumidor-prd-snapshots" in resource or "secret:elsewhere-" in resource  # named in the configuration
            if resource != "*" and not exists and not elsewhere and ":task-definition/" not in resource:
                yield f"{statement.holder} names {resource}, which nothing makes"


@holds
def each_process_reads_its_own_secrets_only(graph: Graph) -> Iterator[str]:
    """Which secrets each process is given, and its role may read no other. The pseudonym key is the doors' alone."""
    given = {
        "api": {"signing-private", "pseudonym-key"}, "worker": {"base-a-worker-dsn"}, "score": {"base-b-reader-uri", "pseudonym-key"},
        "extract": {"base-b-reader-uri"}, "search": {"base-c-search-url", "pseudonym-key"}, "feed": {"base-c-feed-url", "pseudonym-key"},
        "migrate": {"base-a-worker-dsn", "base-b-owner-uri", "base-b-reader-uri", "base-c-migrate-url", "rds"},
    }  # fmt: skip
    names = {one.get("arn"): one.name for one in graph.of("secretsmanager:Secret")}
    names |= {owner["secretArn"]: "rds" for one in graph.of("rds:Instance") for owner in one.get("masterUserSecrets")}
    lambdas = {function.name for function in graph.of("lambda:Function")}
    for process, expected in given.items():
        role = process if process in lambdas else f"{process}-execution"
        readable = {names.get(arn, arn) for statement in graph.may(role) if "secretsmanager:GetSecretValue" in statement.actions
                    for arn in statement.resources}  # fmt: skip
        outside = {name for name in readable if name.startswith("arn:")}
        if readable - outside != {name for name in expected if not outside or not name.startswith(("base-b", "base-c"))}:
            yield f"{process} may read the secrets {sorted(readable)}, not {sorted(expected)}"
        if process not in lambdas and any("secretsmanager:GetSecretValue" in s.actions for s in graph.may(process)):
            yield f"{process} may read secrets by itself, beside those that ECS injects"


@holds
def clients_read_their_own_and_no_more(graph: Graph) -> Iterator[str]:
    """A client's role: trusted with an external id; its queue, its prefix of the results, and the two keys that open them."""
    for role in graph.of("iam:Role"):
        if not role.name.startswith("client-"):
            continue
        client = role.name.removeprefix("client-")
        (trust,) = role.document("assumeRolePolicy")["Statement"]
        if "sts:ExternalId" not in trust.get("Condition", {}).get("StringEquals", {}):
            yield f"{role} can be assumed without an external id"
        queue = graph.one("sqs:Queue", f"people-responses-{client}")
        results = graph.one("s3:Bucket", "people-results")
        keys = [graph.one("kms:Key", f"keys-{purpose}").get("arn") for purpose in ("responses", "results")]
        allowed = {queue.get("arn"): {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"},
                   f"{results.get('arn')}/responses/{client}/*": {"s3:GetObject"}, **{key: {"kms:Decrypt"} for key in keys}}  # fmt: skip
        for statement in graph.may(role.name):
            for resource in statement.resources:
                if surplus := set(statement.actions) - allowed.get(resource, set()):
                    yield f"{role} may {sorted(surplus)} on {resource}"
