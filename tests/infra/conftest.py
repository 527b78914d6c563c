"""The recorded graphs: every environment, with bases of somebody else's, and with deliberate faults; all in one go, once a session."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.infra.graph import Graph
from tests.infra.mutations import PROGRAM, mutate, runs

ENVIRONMENTS = ("dev", "tst", "prd")
_SECRET = "arn:aws:secretsmanager:sa-east-1:123456789012:secret:elsewhere"
DIGEST = f"sha256:{'0' * 64}"
VARIANTS: Mapping[str, dict[str, Any]] = {
    "dev-outside": {"consumidor:baseBSecretArn": f"{_SECRET}-b", "consumidor:baseCSecretArn": f"{_SECRET}-c"},
    "dev-running": {"consumidor:imageDigest": DIGEST, "consumidor:extractionImageDigest": DIGEST},
    "dev-fifty": {"consumidor:clients": [f"client-{number:02}-{'x' * 30}" for number in range(50)]},
    "prd-refused": {"consumidor:multiAz": False, "consumidor:snapshotUri": None},
}


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Graph]:
    """By name of environment or variant; `mutated-0` and so on for the runs of mutations."""
    folder = tmp_path_factory.mktemp("graphs")
    jobs = {name: {"folder": str(PROGRAM), "stack": name, "changes": {}} for name in ENVIRONMENTS}
    jobs |= {name: {"folder": str(PROGRAM), "stack": name.partition("-")[0], "changes": changes} for name, changes in VARIANTS.items()}
    for number, names in enumerate(runs()):
        mutated = folder / f"program-{number}"
        mutate(names, mutated)
        jobs[f"mutated-{number}"] = {"folder": str(mutated), "stack": "dev", "changes": {}}
    for number, job in enumerate(jobs.values()):
        job["target"] = str(folder / f"{number}.json")
    command = [sys.executable, "-m", "tests.infra.record"]
    root = Path(__file__).parents[2]
    subprocess.run(command, input=json.dumps(list(jobs.values())), text=True, check=True, capture_output=True, cwd=root, timeout=240)
    return {name: Graph(json.loads(Path(str(job["target"])).read_text()), str(job["stack"])) for name, job in jobs.items()}
