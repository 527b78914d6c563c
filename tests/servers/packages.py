"""The two Lambdas' packages, built once a session as `make lambdas` builds them: it takes longer than most tests."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lambdas(*options: str) -> None:
    """What `make lambdas` runs."""
    subprocess.run([sys.executable, "infra_pulumi/lambdas.py", *options], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both zips, built for this machine."""
    folder = tmp_path_factory.mktemp("lambdas")
    lambdas("--to", str(folder))
    return folder
