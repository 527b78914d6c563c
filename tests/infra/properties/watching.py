"""What alarms, scaling and the dashboard look at: metrics that AWS or a process of ours publishes, of things that are made here."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from consumidor.settings import PROCESSES
from tests.infra.graph import Graph
from tests.infra.properties import holds

# Namespace -> (metrics used here, the sets of dimensions under which they are published), from each service's own documentation.
PUBLISHED: Mapping[str, tuple[set[str], list[set[str]]]] = {
    "AWS/SQS": ({"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"}, [{"QueueName"}]),
    "AWS/ApiGateway": ({"Count", "4xx", "5xx", "Latency"}, [{"ApiId"}, {"ApiId", "Stage"}, {"ApiId", "Stage", "Method", "Resource"}]),
    "AWS/ApplicationELB": (
        {"RequestCount", "HTTPCode_Target_5XX_Count", "TargetResponseTime"}, [{"LoadBalancer"}, {"LoadBalancer", "TargetGroup"}],
    ),
    "AWS/Lambda": ({"Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions"}, [{"FunctionName"}]),
    "AWS/ECS": ({"CPUUtilization", "MemoryUtilization"}, [{"ClusterName"}, {"ClusterName", "ServiceName"}]),
    "ECS/ContainerInsights": ({"RunningTaskCount"}, [{"ClusterName", "ServiceName"}]),
    "AWS/RDS": ({"FreeStorageSpace"}, [{"DBInstanceIdentifier"}]),
    "AWS/DocDB": ({"FreeLocalStorage"}, [{"DBClusterIdentifier"}, {"DBInstanceIdentifier"}]),
    "AWS/EC2": ({"StatusCheckFailed"}, [{"InstanceId"}]),
    "CWAgent": ({"disk_used_percent"}, [{"InstanceId"}]),  # as the nodes' script has the agent add them up
}  # fmt: skip
OWN = "consumidor"


class Looked(NamedTuple):
    """Who looks at which metric."""

    by: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]


def looked_at(graph: Graph) -> Iterator[Looked]:
    """Every metric that an alarm, a graph of the dashboard or a scaling policy names."""
    for alarm in graph.of("cloudwatch:MetricAlarm"):
        yield Looked(str(alarm), alarm.get("namespace"), alarm.get("metricName"), alarm.get("dimensions") or {})
    (dashboard,) = graph.of("cloudwatch:Dashboard")
    for widget in dashboard.document("dashboardBody")["widgets"]:
        for namespace, metric, *rest in widget["properties"].get("metrics", []):
            named = [part for part in rest if isinstance(part, str)]
            yield Looked(f"graph {widget['properties']['title']!r}", namespace, metric, dict(zip(named[::2], named[1::2], strict=True)))
    for policy in graph.of("appautoscaling:Policy"):
        custom = policy.get("targetTrackingScalingPolicyConfiguration").get("customizedMetricSpecification") or {}
        for one in (part["metricStat"]["metric"] for part in custom.get("metrics", []) if "metricStat" in part):
            dimensions = {dimension["name"]: dimension["value"] for dimension in one["dimensions"]}
            yield Looked(str(policy), one["namespace"], one["metricName"], dimensions)


def _made(graph: Graph) -> Mapping[str, set[str]]:
    """By dimension, what it may name."""
    routes = [route.get("routeKey").split(" ") for route in graph.of("apigatewayv2:Route")]
    named = {"QueueName": "sqs:Queue", "FunctionName": "lambda:Function", "ClusterName": "ecs:Cluster", "ServiceName": "ecs:Service",
             "Stage": "apigatewayv2:Stage"}  # fmt: skip
    return {dimension: {one.get("name") for one in graph.of(kind)} for dimension, kind in named.items()} | {
        "ApiId": {one.id for one in graph.of("apigatewayv2:Api")},
        "Method": {method for method, _ in routes},
        "Resource": {path for _, path in routes},
        "LoadBalancer": {one.get("arnSuffix") for one in graph.of("lb:LoadBalancer")},
        "TargetGroup": {one.get("arnSuffix") for one in graph.of("lb:TargetGroup")},
        "DBInstanceIdentifier": {one.get("identifier") for one in graph.of("rds:Instance", "docdb:ClusterInstance")},
        "DBClusterIdentifier": {one.get("clusterIdentifier") for one in graph.of("docdb:Cluster")},
        "InstanceId": {one.id for one in graph.of("ec2:Instance")},
        "process": set(PROCESSES),
    }


@holds
def what_is_looked_at_exists(graph: Graph) -> Iterator[str]:
    """A misspelt metric or dimension is never refused by CloudWatch: it only stays empty, and an alarm on it silent."""
    made = _made(graph)
    filtered = {one.get("metricTransformation")["name"] for one in graph.of("cloudwatch:LogMetricFilter")}
    for looked in looked_at(graph):
        if looked.namespace == OWN:
            known = looked.metric in filtered if not looked.dimensions else looked.dimensions.keys() == {"process"}
        else:
            metrics, dimensions = PUBLISHED.get(looked.namespace, (set(), []))
            known = looked.metric in metrics and looked.dimensions.keys() in dimensions
        if not known:
            yield f"{looked.by} looks at {looked.namespace} {looked.metric} by {sorted(looked.dimensions)}, which nothing publishes"
        for dimension, value in looked.dimensions.items():
            if value not in made.get(dimension, ()):
                yield f"{looked.by} looks at the {dimension} {value!r}, which nothing makes"
