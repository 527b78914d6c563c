"""Encryption, TLS, secrets, and logs that hold nobody's CPF."""

import re
from collections.abc import Iterator
from typing import Any

from tests.infra.graph import Graph
from tests.infra.made_up import MARK, pseudonym_secret, signing_secret
from tests.infra.properties import holds

# What has a policy, which kind of policy, how that names it, all that may be denied there, and of which parts. (A topic's policy takes
# no action for all actions; others than publishing are the account's own, through IAM, whose API is TLS only.)
TLS_ONLY = (
    ("sqs:Queue", "sqs:QueuePolicy", "queueUrl", "sqs:*", ("",)),
    ("s3:Bucket", "s3:BucketPolicy", "bucket", "s3:*", ("", "/*")),
    ("sns:Topic", "sns:TopicPolicy", "arn", "sns:Publish", ("",)),
)


@holds
def everything_is_encrypted(graph: Graph) -> Iterator[str]:
    """Queues, buckets, databases, volumes, log groups, topics, secrets, images and Lambda environments."""
    wanted = {
        "sqs:Queue": "kmsMasterKeyId", "sns:Topic": "kmsMasterKeyId", "secretsmanager:Secret": "kmsKeyId",
        "cloudwatch:LogGroup": "kmsKeyId", "rds:Instance": "kmsKeyId", "docdb:Cluster": "kmsKeyId", "ebs:Volume": "kmsKeyId",
        "lambda:Function": "kmsKeyArn", "ecr:Repository": "encryptionConfigurations",
    }  # fmt: skip
    for kind, name in wanted.items():
        yield from (f"{one} is not encrypted: no {name}" for one in graph.of(kind) if not one.get(name))
    for one in graph.of("rds:Instance", "docdb:Cluster"):
        if one.get("storageEncrypted") is not True:
            yield f"{one} keeps its storage in clear"
    yield from (f"{one} is not encrypted" for one in graph.of("ebs:Volume") if one.get("encrypted") is not True)
    for one in graph.of("ec2:Instance"):
        if one.get("rootBlockDevice").get("encrypted") is not True:
            yield f"{one} has an unencrypted root volume"
    encrypted = {one.get("bucket"): one for one in graph.of("s3:BucketServerSideEncryptionConfiguration")}
    for bucket in graph.of("s3:Bucket"):
        rules = encrypted[bucket.id].get("rules") if bucket.id in encrypted else []
        if not any(rule["applyServerSideEncryptionByDefault"].get("kmsMasterKeyId") for rule in rules):
            yield f"{bucket} does not encrypt with a KMS key"
    yield from (f"{key} does not rotate" for key in graph.of("kms:Key") if key.get("enableKeyRotation") is not True)


@holds
def queues_and_buckets_take_tls_only(graph: Graph) -> Iterator[str]:
    """Each, and each topic, has a policy that denies everyone everything that is not over TLS; buckets block public access.

    In prd the load balancer speaks TLS too.
    """
    for kind, policy, link, action, parts in TLS_ONLY:
        for one in graph.of(kind):
            wanted = ("*", (action,), {one.get("arn") + part for part in parts})
            denied = [(statement.principal, statement.actions, set(statement.resources)) for statement in graph.statements()
                      if statement.holder.kind == policy and statement.holder.get(link) in (one.id, one.get("arn"))
                      and statement.effect == "Deny" and statement.condition == {"Bool": {"aws:SecureTransport": "false"}}]  # fmt: skip
            if wanted not in denied:
                yield f"{one} accepts requests without TLS: denied are {denied}"
    blocked = {one.get("bucket"): one for one in graph.of("s3:BucketPublicAccessBlock")}
    for bucket in graph.of("s3:Bucket"):
        names = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        if bucket.id not in blocked or not all(blocked[bucket.id].get(name) is True for name in names):
            yield f"{bucket} could be made public"
    if graph.stack == "prd":
        yield from (f"{one} speaks {one.get('protocol')} in prd" for one in graph.of("lb:Listener") if one.get("protocol") != "HTTPS")
    if not any(
        (one["name"], one["value"]) == ("rds.force_ssl", "1") for group in graph.of("rds:ParameterGroup") for one in group.get("parameters")
    ):
        yield "Base A does not force TLS"


@holds
def no_secret_is_in_plain_text(graph: Graph) -> Iterator[str]:
    """Passwords and keys are seen only where the engine encrypts them, and only in the few inputs that are made for them."""
    homes = {("secretsmanager:SecretVersion", "secretString"), ("docdb:Cluster", "masterPassword"), ("tls:SelfSignedCert", "privateKeyPem"),
             ("tls:CertRequest", "privateKeyPem"), ("tls:LocallySignedCert", "caPrivateKeyPem")}  # fmt: skip
    for resource in graph.resources:
        for name, value in resource.inputs.items():
            if _bare(value):
                yield f"{resource} shows a secret in its input {name}"
            elif (resource.kind, name) not in homes and _holds_secret(value):
                yield f"{resource} is given a secret in {name}, which is no place for one"
        yield from (f"{resource} shows a secret in its output {name}" for name, value in resource.state.items() if _bare(value))
    yield from (
        f"the stack's output {name} shows a secret" for name, value in graph.outputs.items() if _bare(value) or _holds_secret(value)
    )


def _bare(value: Any) -> bool:
    """Whether a secret's text shows outside the engine's mark."""
    if isinstance(value, dict):
        return set(value) != {"secret"} and any(_bare(part) for part in value.values())
    if isinstance(value, list):
        return any(_bare(part) for part in value)
    secrets = (MARK, pseudonym_secret(), signing_secret("signing-1"))
    return isinstance(value, str) and any(secret in value for secret in secrets)


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) == {"secret"} or any(_holds_secret(part) for part in value.values())
    return isinstance(value, list) and any(_holds_secret(part) for part in value)


@holds
def no_log_holds_a_path(graph: Graph) -> Iterator[str]:
    """A path may hold a CPF: the gateway logs by route key, the load balancer logs nothing, the databases log no statement."""
    allowed = {
        "requestId",
        "requestTime",
        "routeKey",
        "status",
        "authorizer.claims.client_id",
        "responseLatency",
        "responseLength",
        "authorizer.error",
    }
    for stage in graph.of("apigatewayv2:Stage"):
        if stage.get("name") != "$default":
            yield f"{stage} would put its name into every path"
        logged = set(re.findall(r"\$context\.([\w.]+)", (stage.get("accessLogSettings") or {}).get("format", "")))
        if not logged or logged - allowed:
            yield f"{stage} logs {sorted(logged - allowed) or 'nothing'}"
        limits = stage.get("defaultRouteSettings") or {}
        if not (limits.get("throttlingRateLimit") and limits.get("throttlingBurstLimit")):
            yield f"{stage} holds nobody back"
    for balancer in graph.of("lb:LoadBalancer"):
        if (balancer.get("accessLogs") or {}).get("enabled") or (balancer.get("connectionLogs") or {}).get("enabled"):
            yield f"{balancer} writes paths to an access log"
    (group,) = graph.of("rds:ParameterGroup")
    parameters = {one["name"]: one["value"] for one in group.get("parameters")}
    quiet = {"log_statement": "none", "log_min_duration_statement": "-1", "log_parameter_max_length_on_error": "0",
             "log_min_error_statement": "panic", "log_error_verbosity": "terse"}  # fmt: skip
    yield from (f"{group} lets statements into the log: {name}" for name, value in quiet.items() if parameters.get(name) != value)
