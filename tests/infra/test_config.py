"""The stack's configuration: declared as it is read, complete in the committed files, and refused by name where it is wrong."""

import json
from typing import Any

import pytest
import yaml
from config import KEYS, ConfigError, Configuration
from environments import ENVIRONMENTS

from tests.infra.mutations import PROGRAM

REGION = "sa-east-1"


def declared() -> dict[str, Any]:
    """The keys of Pulumi.yaml."""
    return dict(yaml.safe_load((PROGRAM / "Pulumi.yaml").read_text())["config"])


def given(stack: str) -> dict[str, Any]:
    """The committed configuration of a stack, without the provider's."""
    values = yaml.safe_load((PROGRAM / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {key.removeprefix("consumidor:"): value for key, value in values.items() if key.startswith("consumidor:")}


def as_text(value: Any) -> str:
    """A value as the engine hands it to a program."""
    return value if isinstance(value, str) else json.dumps(value)


def load(stack: str, **changes: Any) -> Configuration:
    """The stack's configuration with changes; None takes a key away."""
    values = {**given(stack), **changes}
    return Configuration.load(stack, REGION, {key: as_text(value) for key, value in values.items() if value is not None})


def test_pulumi_yaml_declares_what_the_program_reads() -> None:
    """The same keys and the same defaults in both, each with a description."""
    assert declared().keys() == KEYS.keys()
    assert {name: as_text(key["default"]) for name, key in declared().items()} == {name: key.default for name, key in KEYS.items()}
    assert all(key["description"].endswith(".") for key in declared().values())


def test_the_committed_stacks_are_complete() -> None:
    """Every committed file is accepted and names only declared keys; in each the defaults give the address plan."""
    for stack in ENVIRONMENTS:
        assert given(stack).keys() <= declared().keys()
        assert str(load(stack).vpc_cidr) == "10.0.0.0/16"
    assert load("prd").multi_az


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "not a block": ("dev", {"vpcCidr": "10.0.0.1/16"}, "consumidor:vpcCidr must be an IPv4 CIDR block"),
    "a block too large": ("dev", {"vpcCidr": "10.0.0.0/8"}, "consumidor:vpcCidr must be between /16 and /28"),
    "overlapping subnets": (
        "dev", {"tieBreakerCidr": "10.0.20.0/28"},
        "consumidor:privateCidrs and consumidor:tieBreakerCidr must not overlap",
    ),
    "overlap within a list": (
        "dev", {"publicCidrs": ["10.0.10.0/24", "10.0.10.0/25"]},
        "consumidor:publicCidrs and consumidor:publicCidrs",
    ),
    "a subnet outside": (
        "dev", {"publicCidrs": ["10.1.0.0/24", "10.0.11.0/24"]},
        "consumidor:publicCidrs must lie within consumidor:vpcCidr",
    ),
    "one subnet": ("dev", {"privateCidrs": ["10.0.20.0/24"]}, "consumidor:privateCidrs must be a list of 2"),
    "two zones": ("dev", {"zones": ["sa-east-1a", "sa-east-1b"]}, "consumidor:zones must be a list of 3"),
    "a zone twice": ("dev", {"zones": ["sa-east-1a", "sa-east-1a", "sa-east-1b"]}, "consumidor:zones must name each one once"),
    "zones of elsewhere": (
        "dev", {"zones": ["us-east-1a", "us-east-1b", "us-east-1c"]},
        "consumidor:zones must lie in sa-east-1",
    ),
    "prd in one zone": ("prd", {"multiAz": False}, "consumidor:multiAz must be set in prd: true"),
    "prd without snapshots": ("prd", {"snapshotUri": None}, "consumidor:snapshotUri must be set in prd: s3://bucket/path"),
    "prd without a domain": ("prd", {"domain": None, "certificateArn": None}, "consumidor:domain must be set in prd"),
    "a domain without a certificate": ("dev", {"domain": "api.example.com"}, "consumidor:domain and consumidor:certificateArn"),
    "not a bucket": ("prd", {"snapshotUri": "https://x/y"}, "consumidor:snapshotUri must be s3://bucket/path"),
    "a client twice": (
        "dev", {"clients": ["acme", "acme"]},
        "consumidor:clients must name each client once, but acme is there twice",
    ),
    "a name that SQS refuses": (
        "dev", {"clients": ["Acme & Co"]},
        "consumidor:clients must be a client's name of 1 to 40 of a-z, 0-9 and -",
    ),
    "a name too long": ("dev", {"clients": ["x" * 41]}, "consumidor:clients must be a client's name"),
    "no client": ("dev", {"clients": []}, "consumidor:clients must be a list of 1 to 50"),
    "the 51st client": (
        "dev", {"clients": [f"c{number}" for number in range(51)]},
        "consumidor:clients must be a list of 1 to 50",
    ),
    "clients that are no list": ("dev", {"clients": "acme"}, "consumidor:clients must be a list of 1 to 50"),
    "trust in a stranger": (
        "dev", {"clientTrust": ["other arn:aws:iam::111122223333:root secret-word"]},
        "consumidor:clientTrust must name a client",
    ),
    "trust without an external id": (
        "dev", {"clientTrust": ["acme arn:aws:iam::111122223333:root"]},
        "consumidor:clientTrust must be",
    ),
    "trust in everyone": ("dev", {"clientTrust": ["acme * external-id"]}, "consumidor:clientTrust must be"),
    "not a digest": ("dev", {"imageDigest": "latest"}, "consumidor:imageDigest must be an image digest"),
    "not a whole number": (
        "dev", {"searchReservedConcurrency": "many"},
        "consumidor:searchReservedConcurrency must be a whole number from -1",
    ),
    "not a boolean": ("dev", {"multiAz": "yes"}, "consumidor:multiAz must be true or false"),
    "another Elasticsearch": ("dev", {"baseCVersion": "9.0.0"}, "consumidor:baseCVersion must be an Elasticsearch 8.19 release"),
    "a layer of another region": (
        "dev",
        {"secretsExtensionLayer": "arn:aws:lambda:us-east-1:177933569100:layer:AWS-Parameters-and-Secrets-Lambda-Extension-Arm64:99"},
        "consumidor:secretsExtensionLayer must be the layer of sa-east-1",
    ),
    "a secret that is none": (
        "dev", {"baseBSecretArn": "mongodb://host"},
        "consumidor:baseBSecretArn must be the ARN of a Secrets Manager secret",
    ),
    "a key nobody knows": ("dev", {"clint": "acme"}, "consumidor:clint is not known"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_configuration_is_refused(name: str) -> None:
    """The refusal names the key and what is allowed."""
    stack, changes, said = REFUSED[name]
    with pytest.raises(ConfigError) as refusal:
        load(stack, **changes)
    assert said in str(refusal.value)


def test_every_fault_is_named_at_once() -> None:
    """Nobody has to fix one key to hear of the next."""
    with pytest.raises(ConfigError) as refusal:
        load("prd", vpcCidr="x", clients=["A"], imageDigest="y")
    assert all(f"consumidor:{name} must" in str(refusal.value) for name in ("vpcCidr", "clients", "imageDigest"))


def test_stack_and_region_are_checked_too() -> None:
    """A stack that is none of the three, and a region that is missing."""
    with pytest.raises(ConfigError, match="'staging' must be one of dev, tst, prd"):
        Configuration.load("staging", REGION, {})
    with pytest.raises(ConfigError, match="aws:region must be a region's name"):
        Configuration.load("dev", None, {})


def test_fifty_clients_are_accepted() -> None:
    """As many as the authorizer takes."""
    assert len(load("dev", clients=[f"c{number}" for number in range(50)]).clients) == 50
