"""What is kept, and for how long: messages, data, logs; and the tags by which everything is found."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.infra.graph import Graph
from tests.infra.properties import holds

MIB = 1024 * 1024
DAY = 24 * 60 * 60


@holds
def queues_keep_what_they_are_given(graph: Graph) -> Iterator[str]:
    """1 MiB messages, retention as contracted, dead letters behind all but the response queues."""
    queues = {queue.get("name"): queue for queue in graph.of("sqs:Queue")}
    retention = {"people-requests": 4 * DAY, "events-feed": 4 * DAY, "people-requests-dlq": 14 * DAY, "events-feed-dlq": 14 * DAY}
    yield from (f"queue {name} is missing" for name in retention.keys() - queues.keys())
    for name, queue in queues.items():
        if queue.get("maxMessageSize") != MIB:
            yield f"{queue} takes messages up to {queue.get('maxMessageSize')} bytes, not 1 MiB"
        kept = queue.get("messageRetentionSeconds")
        if kept != retention.get(name, DAY):
            yield f"{queue} keeps messages {kept} s, not {retention.get(name, DAY)}"
        exempt = name.endswith("-dlq") or name.startswith("people-responses-")
        if exempt:
            continue
        redrive = queue.document("redrivePolicy") if queue.get("redrivePolicy") else {}
        if redrive.get("deadLetterTargetArn") != f"{queue.get('arn')}-dlq" or redrive.get("maxReceiveCount") != 1000:
            yield f"{queue} has no dead letter queue of its own behind it"
    for client in graph.of("cognito:UserPoolClient"):
        if f"people-responses-{client.get('name')}" not in queues:
            yield f"client {client.get('name')} has no response queue"


@holds
def data_survives(graph: Graph) -> Iterator[str]:
    """Backups everywhere; in prd no deletion in one step, a final snapshot, two zones, and the pseudonym key protected."""
    prd, databases = graph.stack == "prd", graph.of("rds:Instance", "docdb:Cluster")
    for one in databases:
        if one.get("backupRetentionPeriod") < (30 if prd else 1):
            yield f"{one} keeps backups {one.get('backupRetentionPeriod')} days"
        if prd and not (one.get("deletionProtection") and one.get("skipFinalSnapshot") is False and one.protect):
            yield f"{one} could be deleted in one step"
    if prd:
        yield from (f"{one} has no standby in a second zone" for one in graph.of("rds:Instance") if one.get("multiAz") is not True)
        kept = graph.of("random:RandomBytes", "ebs:Volume")
        yield from (f"{one} is not protected from deletion" for one in kept if not one.protect)
        yield from (f"{one} is emptied when the stack goes" for one in graph.of("s3:Bucket") if one.get("forceDestroy"))
    locks = {one.get("bucket"): one for one in graph.of("s3:BucketObjectLockConfiguration")}
    checkpoints = graph.one("s3:Bucket", "audit-checkpoints")
    mode = locks[checkpoints.id].get("rule")["defaultRetention"]["mode"] if checkpoints.id in locks else None
    if mode != "COMPLIANCE" or checkpoints.get("objectLockEnabled") is not True:
        yield "the inquiry log's chain heads could be altered: no Object Lock in compliance mode"
    results = graph.one("s3:Bucket", "people-results")
    expiry = [rule for one in graph.of("s3:BucketLifecycleConfiguration") if one.get("bucket") == results.id for rule in one.get("rules")]
    if [(rule["filter"]["prefix"], rule["expiration"]["days"]) for rule in expiry] != [("responses/", 3)]:
        yield "results are not deleted after 3 days"
    if any(one.get("bucket") == results.id for one in graph.of("s3:BucketVersioning")):
        yield "the results bucket keeps versions: what is deleted there would stay"


@cache
def _takes_tags(type_: str) -> bool:
    """Whether the installed SDK's class of that type has an argument `tags`."""
    module, name = type_.split(":")[1].split("/")
    package = find_spec("pulumi_aws")
    assert package is not None
    assert package.origin is not None
    file = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    source = Path(package.origin).parent / (f"{module}_" if module == "lambda" else module) / f"{file}.py"
    return re.search(r"\n +tags: (pulumi\.Input|Optional\[pulumi\.Input)", source.read_text("utf-8")) is not None


@holds
def everything_is_tagged(graph: Graph) -> Iterator[str]:
    """Whatever can carry tags carries project, environment and who manages it."""
    wanted = {"project": "consumidor", "environment": graph.stack, "managed-by": "pulumi"}
    for resource in graph.resources:
        if resource.type.startswith("aws:") and _takes_tags(resource.type):
            lacking = wanted.items() - (resource.get("tags") or {}).items()
            if lacking:
                yield f"{resource} lacks the tags {dict(lacking)}"


@holds
def logs_end_and_have_a_place(graph: Graph) -> Iterator[str]:
    """Every log group has a retention, every process logs to one that is made here."""
    groups = {group.get("name"): group for group in graph.of("cloudwatch:LogGroup")}
    yield from (f"{group} keeps its lines for ever" for group in groups.values() if not group.get("retentionInDays"))
    used = {function.name: function.get("loggingConfig")["logGroup"] for function in graph.of("lambda:Function")}
    for task in graph.of("ecs:TaskDefinition"):
        used[task.name] = graph.container(task.name)["logConfiguration"]["options"]["awslogs-group"]
    yield from (f"{name} logs to {group}, which nothing makes" for name, group in used.items() if group not in groups)
