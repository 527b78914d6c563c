"""The recorded graphs: every environment, with bases of somebody else's, and with deliberate faults; all in one go, once a session."""

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.infra.graph import Graph
from tests.infra.mutations import PROGRAM, mutate, runs
from tests.infra.recording import Job, record_all

sys.path.append(str(PROGRAM))  # its pure modules are imported by their bare names, as they import each other

ENVIRONMENTS = ("dev", "tst", "prd")
_SECRET = "arn:aws:secretsmanager:sa-east-1:123456789012:secret:elsewhere"
_DIGEST = f"sha256:{'0' * 64}"
VARIANTS: Mapping[str, dict[str, Any]] = {
    "dev-outside": {"consumidor:baseBSecretArn": f"{_SECRET}-b", "consumidor:baseCSecretArn": f"{_SECRET}-c"},
    "dev-running": {"consumidor:imageDigest": _DIGEST, "consumidor:extractionImageDigest": _DIGEST},
    "dev-fifty": {"consumidor:clients": [f"client-{number:02}-{'x' * 30}" for number in range(50)]},
    "prd-refused": {"consumidor:multiAz": False, "consumidor:snapshotUri": None},
    "dev-misspelt": {"consumidor:imagedigest": _DIGEST},
}


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Graph]:
    """By name of environment or variant; `mutated-0` and so on for the runs of mutations."""
    folder = tmp_path_factory.mktemp("graphs")
    jobs = {name: Job(name) for name in ENVIRONMENTS}
    jobs |= {name: Job(name.partition("-")[0], changes) for name, changes in VARIANTS.items()}
    for number, names in enumerate(runs()):
        mutate(names, folder / f"program-{number}")
        jobs[f"mutated-{number}"] = Job("dev", folder=folder / f"program-{number}")
    return record_all(jobs, folder)
