"""What the two Lambdas load when they start: every module costs the first caller of each new instance."""

import subprocess
import sys

import pytest

FORBIDDEN = {
    "boto3",
    "botocore",
    "elastic_transport",
    "elasticsearch",
    "urllib3",
    "asyncio",
    "jwt",
    "starlette",
    "structlog",
    "cryptography",
    "prometheus_client",
    "pydantic",
}
COMMON = {"", ".clients", ".cpf", ".errors", ".events", ".events.base_c", ".events.model", ".events.node", ".events.queries", ".settings"}
WANTED = {
    "search": COMMON | {".events.search", ".problems"},
    "feed": COMMON - {".clients"} | {".events.feed", ".events.dead_letters", ".packing"},
}


@pytest.mark.parametrize("handler", WANTED)
def test_a_lambda_loads_only_what_it_needs(handler: str) -> None:
    """Of our own modules exactly these, and none of the heavy libraries that other processes use."""
    code = f"import sys, consumidor.events.{handler}; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())
    assert {name.removeprefix("consumidor") for name in loaded if name.split(".")[0] == "consumidor"} == WANTED[handler]
    assert not FORBIDDEN & {name.split(".")[0] for name in loaded}
