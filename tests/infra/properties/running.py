"""What runs: Lambdas, containers, their scaling, Base C's nodes, and the alarms."""

import json
import re
from collections.abc import Iterator

from tests.infra.graph import Graph, Resource
from tests.infra.properties import holds

_SUSPENDABLE = ("dynamicScalingInSuspended", "dynamicScalingOutSuspended", "scheduledScalingSuspended")


@holds
def lambdas_are_what_the_code_is(graph: Graph) -> Iterator[str]:
    """Handlers, zips, arm64, the VPC, the secrets extension; reserved names stay unset and the environment fits in 4 KB."""
    functions = {function.name: function for function in graph.of("lambda:Function")}
    yield from (f"Lambda {name} is missing" for name in {"search", "feed"} - functions.keys())
    for name, function in functions.items():
        if function.get("handler") != f"consumidor.events.{name}.handler":
            yield f"{function} calls {function.get('handler')}"
        if not function.get("code")["archive"]["path"].endswith(f"/build/consumidor_{name}.zip"):
            yield f"{function} is not made from its zip"
        if function.get("architectures") != ["arm64"] or not re.fullmatch(r"python3\.1[3-9]", function.get("runtime")):
            yield f"{function} runs {function.get('runtime')} on {function.get('architectures')}"
        if not (function.get("vpcConfig") or {}).get("subnetIds"):
            yield f"{function} is not in the VPC"
        if not any("AWS-Parameters-and-Secrets-Lambda-Extension-Arm64" in layer for layer in function.get("layers")):
            yield f"{function} lacks the secrets extension"
        variables = function.get("environment")["variables"]
        if reserved := {key for key in variables if key.startswith(("AWS_REGION", "AWS_ACCESS", "AWS_LAMBDA", "AWS_SESSION", "_"))}:
            yield f"{function} sets {sorted(reserved)}, which Lambda refuses"
        if len(json.dumps(variables)) > 4096:
            yield f"{function} has an environment of over 4 KB, which Lambda refuses"


@holds
def the_feed_takes_partial_failures(graph: Graph) -> Iterator[str]:
    """The mapping from the feed queue: partial batch responses, a limit of its own, and time enough before a message shows again."""
    queue, function = graph.one("sqs:Queue", "events-feed"), graph.one("lambda:Function", "feed")
    (mapping,) = graph.of("lambda:EventSourceMapping")
    if mapping.get("eventSourceArn") != queue.get("arn") or mapping.get("functionName") != function.get("arn"):
        yield f"{mapping} does not lead from the feed queue to the feed Lambda"
    if mapping.get("functionResponseTypes") != ["ReportBatchItemFailures"]:
        yield f"{mapping} takes no partial batch responses"
    if not 2 <= (mapping.get("scalingConfig") or {}).get("maximumConcurrency", 0) <= 1000:
        yield f"{mapping} has no maximum concurrency"
    if queue.get("visibilityTimeoutSeconds") < 6 * function.get("timeout"):
        yield f"{queue} shows a message again after {queue.get('visibilityTimeoutSeconds')} s, less than 6 times the Lambda's timeout"


@holds
def containers_are_confined(graph: Graph) -> Iterator[str]:
    """Not root, a read-only disk, no capabilities, time to drain."""
    for task in graph.of("ecs:TaskDefinition"):
        for container in graph.containers(task.name):
            if container["readonlyRootFilesystem"] is not True or container["user"].startswith(("0", "root")):
                yield f"{task} runs as {container['user']}, read-only disk: {container['readonlyRootFilesystem']}"
            if container["linuxParameters"]["capabilities"] != {"drop": ["ALL"]} or container.get("privileged"):
                yield f"{task} keeps capabilities that it does not need"
            if not 30 < container["stopTimeout"] <= 120:
                yield f"{task} is killed after {container['stopTimeout']} s, before it has drained"


@holds
def services_are_replaced_without_a_gap(graph: Graph) -> Iterator[str]:
    """ECS and the load balancer ask `/live`; new tasks stand before old ones go, and a bad release is rolled back."""
    for service in graph.of("ecs:Service"):
        if "/live" not in " ".join(graph.container(service.name).get("healthCheck", {}).get("command", [])):
            yield f"{service} is not asked for /live"
        if service.get("deploymentMinimumHealthyPercent") != 100 or not service.get("deploymentCircuitBreaker")["rollback"]:
            yield f"{service} is replaced with a gap"
    for target in graph.of("lb:TargetGroup"):
        if target.get("healthCheck")["path"] != "/live":
            yield f"{target} asks {target.get('healthCheck')['path']}: a dependency that is down would take good tasks away"


@holds
def services_scale(graph: Graph) -> Iterator[str]:
    """Never below one task; the worker on backlog per task by metric math, the score on CPU and requests.

    Their number is the scaling's once they run: no deployment sets it back, and whether scaling is suspended is said each time, since
    AWS keeps what it was told before.
    """
    for service in graph.of("ecs:Service"):
        target, running = graph.one("appautoscaling:Target", service.name), service.get("desiredCount") > 0
        if not 1 <= target.get("minCapacity") <= target.get("maxCapacity"):
            yield f"{target} scales from {target.get('minCapacity')} to {target.get('maxCapacity')}"
        if target.get("suspendedState") != dict.fromkeys(_SUSPENDABLE, not running):
            yield f"{target} is told {target.get('suspendedState')} of its suspension, tasks {'run' if running else 'wait'}"
        if service.ignored != (("desiredCount",) if running else ()):
            yield f"{service} is set back to {service.get('desiredCount')} tasks by a deployment, or never started"
        least = graph.one("appautoscaling:ScheduledAction", service.name)
        limits = {name: target.get(name) for name in ("minCapacity", "maxCapacity")}
        if least.get("scalableTargetAction") != limits or least.get("resourceId") != target.get("resourceId"):
            yield f"{least} does not keep {service} within its limits"
    policies = {policy.name: policy.get("targetTrackingScalingPolicyConfiguration") for policy in graph.of("appautoscaling:Policy")}
    yield from (f"policy {name} is missing" for name in {"worker-backlog", "score-cpu", "score-requests", "api-cpu"} - policies.keys())
    if "worker-backlog" in policies:
        metrics = {one["id"]: one for one in policies["worker-backlog"]["customizedMetricSpecification"]["metrics"]}
        returned = [one["id"] for one in metrics.values() if one["returnData"]]
        queue = metrics["m1"]["metricStat"]["metric"]["dimensions"]
        if (
            returned != ["backlog"]
            or "m1" not in metrics["backlog"]["expression"]
            or queue != [{"name": "QueueName", "value": "people-requests"}]
        ):
            yield "the worker does not scale on the backlog per task"


@holds
def base_c_survives_a_zone(graph: Graph) -> Iterator[str]:
    """Three nodes in three zones, two with data; IMDSv2, no SSH but Systems Manager, TLS, snapshots, no secret in the start script."""
    nodes = graph.of("ec2:Instance")
    if not nodes:  # somebody else's
        return
    subnets = {subnet.id: subnet.get("availabilityZone") for subnet in graph.of("ec2:Subnet") if "private" in subnet.name}
    if len({subnets.get(node.get("subnetId")) for node in nodes} - {None}) != 3:
        yield "Base C's nodes are not in three zones, privately"
    for node in nodes:
        yield from _script_faults(node)
        if node.get("metadataOptions").get("httpTokens") != "required":
            yield f"{node} answers IMDSv1"
        if node.get("keyName"):
            yield f"{node} can be reached by SSH"
    attached = [one.get("policyArn") for one in graph.of("iam:RolePolicyAttachment")]
    if attached != ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"] * len(nodes):
        yield f"the nodes have the managed policies {attached}"
    roles = [re.search(r"node.roles: (.*)", node.get("userData")) for node in nodes]
    if sorted("voting_only" in match.group(1) for match in roles if match) != [False, False, True]:
        yield "Base C has no voting-only node to break a tie"


def _script_faults(node: Resource) -> Iterator[str]:
    script = node.get("userData")
    for wanted in ("xpack.security.transport.ssl.enabled: true", "xpack.security.http.ssl.enabled: true", "_slm/policy/nightly",
                   "RequiresMountsFor=", "UUID=$(blkid"):  # fmt: skip
        if wanted not in script:
            yield f"{node} starts without {wanted}"
    if "server_side_encryption" in script:
        yield f"{node} has its snapshots encrypted with a key of S3's, not with the bucket's"
    for once in re.findall(r"^(?:secret=\$\()?((?:dnf install -y [^/]|rpm --import|curl|aws) ?.*)", script, re.MULTILINE):
        yield f"{node} gives up where this fails once: {once}"
    if unfilled := re.findall(r"@[A-Z_]+@", script.replace("@NAMES@", "")):
        yield f"{node} starts with {unfilled} not filled in"
    if len(script) > 16_384:
        yield f"{node} has a start script of over 16 KB, which EC2 refuses"


@holds
def somebody_is_told(graph: Graph) -> Iterator[str]:
    """Alarms on dead letters, age, 5xx, p99, storage and failed tasks, each to the topic; the dashboard shows the three paths."""
    (topic,) = graph.of("sns:Topic")
    alarms = {alarm.name: alarm for alarm in graph.of("cloudwatch:MetricAlarm")}
    yield from (f"{alarm} tells nobody" for alarm in alarms.values() if alarm.get("alarmActions") != [topic.get("arn")])
    wanted = {"people-requests-dead-letters", "events-feed-dead-letters", "people-requests-age", "events-feed-age", "gateway-5xx",
              "people-p99", "score-p99", "search-p99", "base-a-storage", "worker-tasks", "feed-errors", "unexpected-worker"}  # fmt: skip
    yield from (f"alarm {name} is missing" for name in sorted(wanted - alarms.keys()))
    for name, alarm in alarms.items():
        if name.endswith("-dead-letters") and (alarm.get("threshold"), alarm.get("comparisonOperator")) != (0, "GreaterThanThreshold"):
            yield f"{alarm} lets a dead letter pass"
    dead = {queue.get("name") for queue in graph.of("sqs:Queue") if queue.get("name").endswith("-dlq")}
    watched = {(alarm.get("dimensions") or {}).get("QueueName") for alarm in alarms.values()}
    yield from (f"nobody watches {name}" for name in sorted(dead - watched))
    if [one.get("arn") for one in graph.of("cloudwatch:EventTarget")] != [topic.get("arn")]:
        yield "failed tasks are told to nobody"
    (dashboard,) = graph.of("cloudwatch:Dashboard")
    titles = " ".join(widget["properties"]["title"] for widget in dashboard.document("dashboardBody")["widgets"])
    yield from (f"the dashboard shows nothing of {path}" for path in ("People", "Score", "Events") if path not in titles)
