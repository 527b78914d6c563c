"""What the program is made of besides resources: keys that the code can use, the migration's preparation, scripts, numbers, files."""

import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from autoscaling import BACKLOG_PER_TASK, BacklogScaling
from containers import CA_BUNDLE
from environments import ENVIRONMENTS
from function import RUNTIME
from metrics import DIMENSION, NAMESPACE
from pymongo import MongoClient

from consumidor.clients import Clients
from consumidor.local.supervisor import Server, Supervisor, free_port
from consumidor.people.request_token import Request, RequestVerifier, Signer
from tests.infra.draw import PICTURE, STACK, picture
from tests.infra.graph import Graph
from tests.infra.mutations import PROGRAM
from tests.infra.properties.fit import environment_of
from tests.infra.properties.watching import looked_at
from tests.infra.recording import ROOT


def test_the_worker_verifies_what_the_api_signs(graphs: Mapping[str, Graph]) -> None:
    """The private and the public keys that the program makes out of PEM are one pair, under the configured id."""
    signer = Signer(environment_of(graphs["dev"], "api", {})["PEOPLE_SIGNING_KEY"])
    verifier = RequestVerifier(environment_of(graphs["dev"], "worker", {})["PEOPLE_SIGNING_PUBLIC_KEYS"])
    request = verifier.verify(signer.sign("acme", "0b5f8a52-7e1d-5c43-9a0e-3f2f4e6b8a11", "0" * 32, "credit"))
    assert isinstance(request, Request)
    assert request.client == "acme"


def test_the_registry_names_each_client(graphs: Mapping[str, Graph]) -> None:
    """CLIENTS maps each app client's id to its name, in all three doors alike, with fifty of them too."""
    for name in ("dev", "dev-fifty"):
        graph = graphs[name]
        registries = {environment_of(graph, process, {})["CLIENTS"] for process in ("api", "score-api", "search")}
        clients = Clients(registries.pop())
        assert registries == set()
        assert all(clients.name(client.id) == client.get("name") for client in graph.of("cognito:UserPoolClient"))


@pytest.fixture
def open_mongodb(tmp_path: Path) -> Iterator[str]:
    """A MongoDB-protocol server that asks for no password, as its owner."""
    port = free_port()
    command = [sys.executable, "-m", "secantus", "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(tmp_path / "data")]
    uri = f"mongodb://127.0.0.1:{port}/"

    def ready() -> None:
        client: MongoClient[dict[str, Any]]
        with MongoClient(uri, serverSelectionTimeoutMS=500) as client:
            client["admin"].command("ping")

    supervisor = Supervisor(tmp_path, announce=print)
    try:
        supervisor.start(Server("mongodb", [*command, "--standalone"], ready))
        yield uri
    finally:
        supervisor.stop()


def test_the_preparation_makes_a_reader(open_mongodb: str, tmp_path: Path) -> None:
    """Run as its container runs it, twice: the reader is there once, may read one database, and the authority is in its file."""
    environment = {
        "BASE_B_URI": open_mongodb,
        "BASE_B_READER_URI": "mongodb://reader:pass-word@elsewhere:27017/consumidor?retryWrites=false",
        "BASE_C_CA": "-----BEGIN CERTIFICATE-----",
        "BASE_C_CA_PATH": str(tmp_path / "ca.pem"),
    }
    script = (PROGRAM / "prepare.py").read_text()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], env=environment, check=True, cwd=tmp_path)
    assert (tmp_path / "ca.pem").read_text() == environment["BASE_C_CA"]
    client: MongoClient[dict[str, Any]]
    with MongoClient(open_mongodb) as client:
        (reader,) = client["admin"].command("usersInfo", "reader")["users"]
    assert [(role["role"], role["db"]) for role in reader["roles"]] == [("read", "consumidor")]


def test_the_migration_is_prepared(graphs: Mapping[str, Graph]) -> None:
    """The migration waits for its preparation, is given the file that BASE_C_URL names, and may write where that is."""
    first = next(one for one in graphs["dev"].containers("migrate") if one["name"] == "migrate-first")
    main = graphs["dev"].container("migrate")
    assert main["dependsOn"] == [{"containerName": "migrate-first", "condition": "SUCCESS"}]
    path = {entry["name"]: entry["value"] for entry in first["environment"]}["BASE_C_CA_PATH"]
    url = environment_of(graphs["dev"], "migrate", {})["BASE_C_URL"]
    assert {one.rpartition("?ca_certs=")[2] for one in url.split(",")} == {path}
    assert first["mountPoints"] == main["mountPoints"]
    assert path.startswith(main["mountPoints"][0]["containerPath"])


def test_lambdas_find_base_c_s_authority(graphs: Mapping[str, Graph]) -> None:
    """The layer holds the file that the Lambdas' BASE_C_URL names; layers are unpacked under /opt."""
    (layer,) = graphs["dev"].of("lambda:LayerVersion")
    files = {f"/opt/{name}" for name in layer.get("code")["archive"]["assets"]}
    for process in ("search", "feed"):
        url = environment_of(graphs["dev"], process, {})["BASE_C_URL"]
        assert {one.rpartition("?ca_certs=")[2] for one in url.split(",")} == files
        assert all(urllib.parse.urlsplit(one).username == process for one in url.split(","))


def test_the_nodes_script_is_bash(graphs: Mapping[str, Graph]) -> None:
    """Filled in for each node it parses, and its users are those that the processes log in as."""
    for node in graphs["dev"].of("ec2:Instance"):
        subprocess.run(["bash", "-n"], input=node.get("userData"), text=True, check=True)
        assert "for user in search feed migrate;" in node.get("userData")


def test_nodes_are_given_what_their_script_reads(graphs: Mapping[str, Graph]) -> None:
    """Each node's secret has the files and the passwords that the script asks it for."""
    script = (PROGRAM / "elasticsearch" / "user_data.sh").read_text()
    listed = re.search(r"for file in (.*); do jq", script)
    assert listed
    for node in graphs["dev"].of("ec2:Instance"):
        arn = graphs["dev"].one("secretsmanager:Secret", node.name).get("arn")
        secret = json.loads(graphs["dev"].secret_text(arn))
        assert set(listed.group(1).split()) | {"passwords"} == secret.keys()
        assert secret["passwords"].keys() == {"search", "feed", "migrate", "operator"}
        assert arn in node.get("userData")


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_the_policy_is_made_of_the_numbers(graphs: Mapping[str, Graph], stack: str) -> None:
    """What a simulation reads is what the worker's policy says."""
    scaling = ENVIRONMENTS[stack].worker_scaling
    graph = graphs[stack]
    policy = graph.one("appautoscaling:Policy", "worker-backlog").get("targetTrackingScalingPolicyConfiguration")
    target = graph.one("appautoscaling:Target", "worker")
    assert (policy["targetValue"], policy["scaleOutCooldown"], policy["scaleInCooldown"]) == (
        scaling.target, scaling.scale_out_cooldown, scaling.scale_in_cooldown,
    )  # fmt: skip
    assert (target.get("minCapacity"), target.get("maxCapacity")) == (scaling.min_tasks, scaling.max_tasks)
    assert policy["customizedMetricSpecification"]["metrics"][-1]["expression"] == BACKLOG_PER_TASK


def test_desired_tasks() -> None:
    """In proportion to the backlog, rounded up, never below the least nor above the most."""
    scaling = BacklogScaling(min_tasks=1, max_tasks=10)
    assert scaling.target == 1000
    assert [scaling.desired(backlog, 2) for backlog in (0, 1000, 1001, 5500, 10**6)] == [1, 1, 2, 6, 10]
    assert scaling.desired(2500, 0) == 3


def test_a_big_backlog_is_within_the_limit_of_the_api() -> None:
    """Before the API answers 429 (20,000 waiting), prd has asked for every task it may have."""
    assert ENVIRONMENTS["prd"].worker_scaling.desired(20_000, 2) == ENVIRONMENTS["prd"].worker_scaling.max_tasks


def test_the_image_has_what_the_program_counts_on() -> None:
    """Amazon's authorities where the DSNs name them, the user that tasks run as, and both images built by `make image`."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert CA_BUNDLE in dockerfile
    assert "USER 10001:10001" in dockerfile
    assert "for target in service extraction;" in (ROOT / "Makefile").read_text()
    assert {"service", "extraction"} <= set(re.findall(r"^FROM runtime AS (\w+)$", dockerfile, re.MULTILINE))
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())


def test_the_drawing_is_of_this_program(graphs: Mapping[str, Graph]) -> None:
    """The committed picture is what the program's graph draws now; `python -m tests.infra.draw` makes it anew."""
    assert PICTURE.read_text("utf-8") == picture(graphs[STACK])


def test_the_workflow_tests_before_it_previews() -> None:
    """Only the preview may ask for a token of AWS, it does so after the tests, and no key is kept."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["preview"]["needs"] == "test"
    assert [name for name, job in workflow["jobs"].items() if "id-token" in job.get("permissions", {})] == ["preview"]
    assert "secrets." not in text


# What a process writes in its EMF lines once each of its metrics has moved: those that it registers by itself, and no gauge.
_WRITTEN = """
import importlib, sys
from prometheus_client import REGISTRY
from consumidor.telemetry import emf_line
importlib.import_module(sys.argv[2])
totals = {}
for family in REGISTRY.collect():
    ends = {"counter": ["_total"], "histogram": ["_sum", "_count"]}.get(family.type, [])
    totals |= {family.name.removeprefix("consumidor_") + end: 1.0 for end in ends if family.name.startswith("consumidor_")}
print(emf_line(sys.argv[1], {}, totals, 0.0))
"""
_MODULES = {"api": "consumidor.people.api", "worker": "consumidor.people.worker", "score-api": "consumidor.score.api"}


def test_the_dashboard_shows_metrics_that_exist(graphs: Mapping[str, Graph]) -> None:
    """Each of our own metrics on the dashboard is one that this very process writes as an EMF line, in that namespace and dimension."""
    own = [looked for looked in looked_at(graphs["dev"]) if looked.namespace == NAMESPACE and looked.dimensions]
    assert {looked.dimensions[DIMENSION] for looked in own} == {"worker", "score-api"}
    for process in {looked.dimensions[DIMENSION] for looked in own}:
        done = subprocess.run([sys.executable, "-c", _WRITTEN, process, _MODULES[process]], check=True, capture_output=True, text=True)
        line = json.loads(done.stdout)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert (line[DIMENSION], directive["Namespace"], directive["Dimensions"]) == (process, NAMESPACE, [[DIMENSION]])
        shown = {looked.metric for looked in own if looked.dimensions[DIMENSION] == process}
        assert shown - {metric["Name"] for metric in directive["Metrics"]} == set()


def test_the_zips_are_for_the_lambdas_runtime() -> None:
    """`make lambdas` builds for the Python that the functions run."""
    assert f'RUNTIME = "{RUNTIME.removeprefix("python")}"' in (PROGRAM / "lambdas.py").read_text()
