"""The real program under mocks: each property of the resource graph, for each environment, and for bases of somebody else's."""

from collections.abc import Mapping

import pytest

from tests.infra.conftest import ENVIRONMENTS
from tests.infra.graph import Graph
from tests.infra.made_up import MARK
from tests.infra.mutations import MUTATIONS, runs
from tests.infra.properties import PROPERTIES


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("stack", [*ENVIRONMENTS, "dev-outside", "dev-running", "dev-fifty"])
def test_a_property_holds(graphs: Mapping[str, Graph], stack: str, name: str) -> None:
    """What the property's own docstring says holds of every environment."""
    graph = graphs[stack]
    assert graph.failed is None
    assert graph.refused is None
    assert list(PROPERTIES[name](graph)) == []


@pytest.mark.parametrize(("run", "name"), [(number, name) for number, names in enumerate(runs()) for name in names])
def test_a_deliberate_fault_is_caught(graphs: Mapping[str, Graph], run: int, name: str) -> None:
    """A program with a fault of that kind still runs, and the property that is there for it says which fault it is."""
    graph, mutation = graphs[f"mutated-{run}"], MUTATIONS[name]
    assert graph.failed is None
    assert mutation.shown in "\n".join(PROPERTIES[mutation.caught_by](graph))


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_each_environment_has_its_resources(graphs: Mapping[str, Graph], stack: str) -> None:
    """Three stacks of about 350 resources each, and the larger ones are not smaller."""
    print(f"{stack}: {len(graphs[stack].resources)} resources")
    assert 300 < len(graphs[stack].resources) < 450
    assert len(graphs["dev"].resources) <= len(graphs[stack].resources)


def test_secrets_are_where_they_belong(graphs: Mapping[str, Graph]) -> None:
    """The marks that the property against plain secrets looks for are really in the graph: it could find them."""
    texts = [str(version.get("secretString")) for version in graphs["dev"].of("secretsmanager:SecretVersion")]
    assert sum(MARK in text for text in texts) >= 8


def test_nothing_runs_before_there_is_an_image(graphs: Mapping[str, Graph]) -> None:
    """Before the first image no task is asked for and no scaling acts; with its digest all start, by that digest."""
    counts = {name: [service.get("desiredCount") for service in graphs[name].of("ecs:Service")] for name in ("dev", "dev-running")}
    assert counts == {"dev": [0, 0, 0], "dev-running": [1, 1, 1]}
    suspended = {name: [target.get("suspendedState") for target in graphs[name].of("appautoscaling:Target")] for name in counts}
    for name, states in suspended.items():  # said of each, false too: left out, AWS would keep what it was told before
        assert [list(state.values()) for state in states] == [[name == "dev"] * 3] * 3
    assert graphs["dev-running"].container("worker")["image"].endswith("/consumidor@sha256:" + "0" * 64)
    assert {one.get("state") for one in graphs["dev-running"].of("scheduler:Schedule")} == {"ENABLED"}


def test_bases_of_somebody_else_replace_ours(graphs: Mapping[str, Graph]) -> None:
    """With the secrets of other bases no DocumentDB cluster and no Elasticsearch node is made."""
    assert graphs["dev-outside"].of("docdb:Cluster", "ec2:Instance", "tls:SelfSignedCert") == []


def test_a_misspelt_key_is_refused(graphs: Mapping[str, Graph]) -> None:
    """A key that nobody knows, given beside good ones, is named before any resource: it was meant to say something."""
    refused = graphs["dev-misspelt"]
    assert refused.resources == []
    assert refused.refused is not None
    assert "consumidor:imagedigest is not known; keys are" in refused.refused


def test_a_wrong_configuration_makes_nothing(graphs: Mapping[str, Graph]) -> None:
    """A refusal names every wrong key, before any resource is declared."""
    refused = graphs["prd-refused"]
    assert refused.resources == []
    assert refused.refused is not None
    assert "consumidor:multiAz" in refused.refused
    assert "consumidor:snapshotUri" in refused.refused
