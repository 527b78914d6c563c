"""What is watched: the alarms of the three paths, and one dashboard with the paths side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
from alarms import Watch
from environments import Environment
from metrics import DIMENSION, NAMESPACE

_GIB = 1024**3
_OLD_SECONDS = 60  # a request or event that waits longer than this is late
Value = pulumi.Input[str]


@dataclass(frozen=True)
class Watched:
    """Names and ids, as CloudWatch's dimensions know them. Queues: name of the queue -> name of its dead letters.

    `base_*` are None where the base is somebody else's.
    """

    environment: Environment
    region: str
    queues: Mapping[str, str]
    api_id: Value
    balancer: Value
    score_target: Value
    cluster: Value
    services: Mapping[str, Value]
    functions: Mapping[str, Value]
    base_a: Value
    base_b: Value | None
    base_c_nodes: Mapping[str, Value]


def watches(seen: Watched) -> dict[str, Watch]:
    """Every alarm by its name."""
    return {**_queue_watches(seen), **_door_watches(seen), **_process_watches(seen), **_storage_watches(seen)}


def _queue_watches(seen: Watched) -> dict[str, Watch]:
    found = {}
    for queue, dead in seen.queues.items():
        about = f"messages of {queue} were given up on: infra_pulumi/README.md, day two, says how to look at them"
        found[f"{queue}-dead-letters"] = Watch("ApproximateNumberOfMessagesVisible", "AWS/SQS", {"QueueName": dead}, 0, about, minutes=1)
        about = f"the oldest message of {queue} waits longer than {_OLD_SECONDS} s"
        found[f"{queue}-age"] = Watch("ApproximateAgeOfOldestMessage", "AWS/SQS", {"QueueName": queue}, _OLD_SECONDS, about)
    return found


def _door_watches(seen: Watched) -> dict[str, Watch]:
    """The gateway as callers see it, and the slowest hundredth of each path (of people only the asking: answers are long polls)."""
    limit = seen.environment.p99_milliseconds
    asking = {"ApiId": seen.api_id, "Stage": "$default", "Method": "POST", "Resource": "/v1/people/requests"}
    target = {"LoadBalancer": seen.balancer, "TargetGroup": seen.score_target}
    search = {"FunctionName": seen.functions["search"]}
    return {
        "gateway-5xx": Watch("5xx", "AWS/ApiGateway", {"ApiId": seen.api_id}, 5, "the API answers with server errors", "Sum"),
        "people-p99": Watch("Latency", "AWS/ApiGateway", asking, limit, f"asking for a report takes over {limit} ms", "p99"),
        "score-p99": Watch("TargetResponseTime", "AWS/ApplicationELB", target, limit / 1000, f"a score takes over {limit} ms", "p99"),
        "search-p99": Watch("Duration", "AWS/Lambda", search, limit, f"a search takes over {limit} ms", "p99"),
    }


def _process_watches(seen: Watched) -> dict[str, Watch]:
    env = seen.environment
    least = {"api": env.api.min_tasks, "worker": env.worker_scaling.min_tasks, "score": env.score.min_tasks}
    found = {}
    for service, name in seen.services.items():
        tasks = {"ClusterName": seen.cluster, "ServiceName": name}
        about = f"fewer than {least[service]} tasks of {service} run"
        found[f"{service}-tasks"] = Watch("RunningTaskCount", "ECS/ContainerInsights", tasks, least[service], about, "Minimum", above=False)
    for process, name in seen.functions.items():
        function = {"FunctionName": name}
        found[f"{process}-errors"] = Watch("Errors", "AWS/Lambda", function, 0, f"the {process} Lambda fails", "Sum")
        found[f"{process}-throttles"] = Watch("Throttles", "AWS/Lambda", function, 0, f"the {process} Lambda is held back", "Sum")
    return found


def _storage_watches(seen: Watched) -> dict[str, Watch]:
    fifth = seen.environment.base_a_storage_gib * _GIB / 5
    base_a = {"DBInstanceIdentifier": seen.base_a}
    found = {
        "base-a-storage": Watch("FreeStorageSpace", "AWS/RDS", base_a, fifth, "Base A's disk is four fifths full", "Minimum", above=False)
    }
    if seen.base_b is not None:
        cluster = {"DBClusterIdentifier": seen.base_b}
        about = "Base B's local disk (sorts, index builds) is nearly full"
        found["base-b-storage"] = Watch("FreeLocalStorage", "AWS/DocDB", cluster, 2 * _GIB, about, "Minimum", above=False)
    for node, instance in seen.base_c_nodes.items():
        about = f"the data volume of {node} is four fifths full; at 85 % Elasticsearch gives it no more shards"
        found[f"{node}-storage"] = Watch("disk_used_percent", "CWAgent", {"InstanceId": instance}, 80, about)
        about = f"{node} fails EC2's checks"
        found[f"{node}-status"] = Watch("StatusCheckFailed", "AWS/EC2", {"InstanceId": instance}, 0, about, missing="breaching")
    return found


class Dashboard(pulumi.ComponentResource):
    """One CloudWatch dashboard, a column a path."""

    def __init__(self, name: str, seen: Watched, alarm_arns: list[pulumi.Output[str]], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Dashboard", name, None, opts)
        columns = (_people(seen), _score(seen), _events(seen))
        widgets = [
            _graph(seen.region, title, metrics, x=8 * column, y=6 * row)
            for column, graphs in enumerate(columns)
            for row, (title, metrics) in enumerate(graphs.items())
        ]
        alarms = {"type": "alarm", "x": 0, "y": 24, "width": 24, "height": 6, "properties": {"title": "Alarms", "alarms": alarm_arns}}
        body = pulumi.Output.json_dumps({"widgets": [*widgets, alarms]})
        aws.cloudwatch.Dashboard(name, dashboard_name="consumidor", dashboard_body=body, opts=pulumi.ResourceOptions(parent=self))
        self.register_outputs({})


Graphs = dict[str, list[list[Any]]]


def _people(seen: Watched) -> Graphs:
    asking = ["ApiId", seen.api_id, "Stage", "$default", "Method", "POST", "Resource", "/v1/people/requests"]
    return {
        "People: requests": [["AWS/ApiGateway", "Count", *asking, {"stat": "Sum"}], ["AWS/ApiGateway", "5xx", *asking, {"stat": "Sum"}]],
        "People: time to accept (ms)": [["AWS/ApiGateway", "Latency", *asking, {"stat": stat}] for stat in ("p50", "p99")],
        "People: waiting, tasks": [
            ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "people-requests"],
            ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "people-requests"],
            ["ECS/ContainerInsights", "RunningTaskCount", "ClusterName", seen.cluster, "ServiceName", seen.services["worker"]],
        ],
        "People: worker": [[NAMESPACE, name, DIMENSION, "worker"] for name in ("people_messages_total", "people_queue_age_seconds")],
    }


def _score(seen: Watched) -> Graphs:
    target = ["LoadBalancer", seen.balancer, "TargetGroup", seen.score_target]
    service = ["ClusterName", seen.cluster, "ServiceName", seen.services["score"]]
    return {
        "Score: requests": [
            ["AWS/ApplicationELB", name, *target, {"stat": "Sum"}] for name in ("RequestCount", "HTTPCode_Target_5XX_Count")
        ],
        "Score: time to answer (s)": [["AWS/ApplicationELB", "TargetResponseTime", *target, {"stat": stat}] for stat in ("p50", "p99")],
        "Score: CPU, tasks": [["AWS/ECS", "CPUUtilization", *service], ["ECS/ContainerInsights", "RunningTaskCount", *service]],
        "Score: service": [[NAMESPACE, name, DIMENSION, "score-api"] for name in ("http_requests_total", "http_seconds")],
    }


def _events(seen: Watched) -> Graphs:
    search, feed = (["FunctionName", seen.functions[process]] for process in ("search", "feed"))
    return {
        "Events: searches": [["AWS/Lambda", name, *search, {"stat": "Sum"}] for name in ("Invocations", "Errors", "Throttles")],
        "Events: time to answer (ms)": [["AWS/Lambda", "Duration", *search, {"stat": stat}] for stat in ("p50", "p99")],
        "Events: feed": [
            ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "events-feed"],
            ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "events-feed"],
            ["AWS/Lambda", "ConcurrentExecutions", *feed, {"stat": "Maximum"}],
        ],
        "Events: feed Lambda": [["AWS/Lambda", name, *feed, {"stat": "Sum"}] for name in ("Invocations", "Errors")],
    }


def _graph(region: str, title: str, metrics: list[list[Any]], x: int, y: int) -> dict[str, Any]:
    properties = {"title": title, "region": region, "metrics": metrics, "period": 60, "view": "timeSeries"}
    return {"type": "metric", "x": x, "y": y, "width": 8, "height": 6, "properties": properties}
