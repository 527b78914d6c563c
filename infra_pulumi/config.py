"""The stack's configuration: read once, checked whole, before any resource is declared.

No pulumi in here: `Configuration.load` takes the texts that `pulumi.Config.get` gives and either returns a frozen value or raises
`ConfigError` with every wrong key at once, its name and what is allowed. Pulumi.yaml declares the same keys and defaults (a test
holds the two together).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import combinations
from typing import Any, NamedTuple

from environments import ENVIRONMENTS, Environment

MAX_CLIENTS = 50  # an HTTP API's JWT authorizer takes 50 audiences, one an app client (quota)


class ConfigError(Exception):
    """The configuration is incomplete or wrong; the message lists every key and what is allowed."""


class Trust(NamedTuple):
    """Who may assume a client's IAM role: the AWS principal, and the external id it must show."""

    client: str
    principal: str
    external_id: str


class Key(NamedTuple):
    """One configuration key: how its text becomes a value, and its default (as text or JSON; "" where it may be left out)."""

    parse: Callable[[str], Any]
    default: str


def _matching(pattern: str, allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {allowed}")
        return text

    return parse


def _optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: text and parse(text)


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


def _cidr(text: str) -> IPv4Network:
    try:
        network = IPv4Network(text)
    except ValueError:
        raise ValueError("must be an IPv4 CIDR block such as 10.0.0.0/16, host bits zero") from None
    if not 16 <= network.prefixlen <= 28:
        raise ValueError("must be between /16 and /28, which is what a VPC takes")
    return network


def _list_of(parse: Callable[[str], Any], low: int, high: int) -> Callable[[str], tuple[Any, ...]]:
    wanted = f"a list of {low}" if low == high else f"a list of {low} to {high}"

    def parse_all(text: str) -> tuple[Any, ...]:
        try:
            items = json.loads(text)
        except ValueError:
            raise ValueError(f"must be {wanted}") from None
        if not isinstance(items, list) or not low <= len(items) <= high:
            raise ValueError(f"must be {wanted}")
        return tuple(parse(item if isinstance(item, str) else json.dumps(item)) for item in items)

    return parse_all


def _trust(text: str) -> Trust:
    match = re.fullmatch(r"([a-z0-9-]{1,40}) (arn:aws:iam::[0-9]{12}:(?:root|(?:role|user)/[\w+=,.@/-]+)) ([\w+=,.@:/-]{2,256})", text)
    if not match:
        raise ValueError("must be `client arn:aws:iam::<account>:root|role/..|user/.. external-id`, with single spaces between")
    return Trust(*match.groups())


_SECRET_ARN = _matching(r"arn:aws:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[\w/+=.@-]+", "the ARN of a Secrets Manager secret")
_DIGEST = _matching(r"sha256:[0-9a-f]{64}", "an image digest, sha256: and 64 hexadecimal digits")
_ZONE = _matching(r"[a-z]{2}(-[a-z]+)+-[0-9][a-z]", "an availability zone's name such as sa-east-1a")
_CLIENT = _matching(r"[a-z0-9-]{1,40}", "a client's name of 1 to 40 of a-z, 0-9 and - (it names an SQS queue)")
_DOMAIN = _matching(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", "a domain name such as api.example.com")
_CERTIFICATE = _matching(r"arn:aws:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]+", "the ARN of a certificate in ACM, in this region")
_LAYER = _matching(
    r"arn:aws:lambda:[a-z0-9-]+:[0-9]{12}:layer:AWS-Parameters-and-Secrets-Lambda-Extension-Arm64:[0-9]+",
    "the versioned ARN of the AWS-Parameters-and-Secrets-Lambda-Extension-Arm64 layer in this region",
)

KEYS: dict[str, Key] = {
    "vpcCidr": Key(_cidr, "10.0.0.0/16"),
    "publicCidrs": Key(_list_of(_cidr, 2, 2), '["10.0.10.0/24", "10.0.11.0/24"]'),
    "privateCidrs": Key(_list_of(_cidr, 2, 2), '["10.0.20.0/24", "10.0.21.0/24"]'),
    "tieBreakerCidr": Key(_cidr, "10.0.22.0/28"),
    "zones": Key(_list_of(_ZONE, 3, 3), '["sa-east-1a", "sa-east-1b", "sa-east-1c"]'),
    "multiAz": Key(_boolean, "false"),
    "clients": Key(_list_of(_CLIENT, 1, MAX_CLIENTS), '["acme", "globex"]'),
    "clientTrust": Key(_list_of(_trust, 0, MAX_CLIENTS), "[]"),
    "signingKeys": Key(_list_of(_matching(r"[A-Za-z0-9._-]{1,40}", "a key id of 1 to 40 letters, digits and ._-"), 1, 5), '["1"]'),
    "domain": Key(_optional(_DOMAIN), ""),
    "certificateArn": Key(_optional(_CERTIFICATE), ""),
    "imageDigest": Key(_optional(_DIGEST), ""),
    "extractionImageDigest": Key(_optional(_DIGEST), ""),
    "secretsExtensionLayer": Key(
        _LAYER, "arn:aws:lambda:sa-east-1:933737806257:layer:AWS-Parameters-and-Secrets-Lambda-Extension-Arm64:100"
    ),
    "searchReservedConcurrency": Key(_whole_number(-1, 10_000), "-1"),
    "feedReservedConcurrency": Key(_whole_number(-1, 10_000), "-1"),
    "baseBSecretArn": Key(_optional(_SECRET_ARN), ""),
    "baseBPort": Key(_whole_number(1, 65_535), "27017"),
    "baseCSecretArn": Key(_optional(_SECRET_ARN), ""),
    "baseCPort": Key(_whole_number(1, 65_535), "443"),
    "baseCVersion": Key(_matching(r"8\.19\.[0-9]{1,3}", "an Elasticsearch 8.19 release such as 8.19.21"), "8.19.21"),
    "snapshotUri": Key(_optional(_matching(r"s3://[a-z0-9.-]{3,63}/[\w/-]+", "s3://bucket/path, a bucket of another stack")), ""),
    "alarmEmail": Key(_optional(_matching(r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address")), ""),
}


@dataclass(frozen=True)
class Configuration:
    """What the program is made from; one attribute a key of `KEYS`, in snake case, and the environment's sizes."""

    environment: Environment
    region: str
    vpc_cidr: IPv4Network
    public_cidrs: tuple[IPv4Network, ...]
    private_cidrs: tuple[IPv4Network, ...]
    tie_breaker_cidr: IPv4Network
    zones: tuple[str, ...]
    multi_az: bool
    clients: tuple[str, ...]
    client_trust: tuple[Trust, ...]
    signing_keys: tuple[str, ...]
    domain: str
    certificate_arn: str
    image_digest: str
    extraction_image_digest: str
    secrets_extension_layer: str
    search_reserved_concurrency: int
    feed_reserved_concurrency: int
    base_b_secret_arn: str
    base_b_port: int
    base_c_secret_arn: str
    base_c_port: int
    base_c_version: str
    snapshot_uri: str
    alarm_email: str

    @classmethod
    def load(cls, stack: str, region: str | None, texts: Mapping[str, str | None]) -> "Configuration":
        """Parse and check the configuration of `stack`; `texts` holds the given keys (lists as JSON).

        Raises:
            ConfigError: lists every wrong or missing key with what is allowed.
        """
        values, wrong = _parse(texts)
        if stack not in ENVIRONMENTS:
            wrong.append(f"stack {stack!r} must be one of {', '.join(ENVIRONMENTS)}")
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", region or ""):
            wrong.append("aws:region must be a region's name such as sa-east-1")
        if not wrong:
            wrong = _contradictions(stack, str(region), values)
        if wrong:
            raise ConfigError("refused before any resource:\n  " + "\n  ".join(wrong))
        return cls(ENVIRONMENTS[stack], str(region), **{_snake(name): value for name, value in values.items()})


def _snake(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def _parse(texts: Mapping[str, str | None]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    wrong = [f"consumidor:{name} is not known; keys are {', '.join(KEYS)}" for name in texts if name not in KEYS]
    for name, key in KEYS.items():
        given = texts.get(name)
        try:
            values[name] = key.parse(key.default if given is None else given)
        except ValueError as error:
            wrong.append(f"consumidor:{name} {error}")
    return values, wrong


def _contradictions(stack: str, region: str, values: Mapping[str, Any]) -> list[str]:
    """What each key alone cannot show."""
    wrong = [*_wrong_networks(values), *_wrong_clients(values)]
    if bool(values["domain"]) != bool(values["certificateArn"]):
        wrong.append("consumidor:domain and consumidor:certificateArn must be given together")
    wrong += [f"consumidor:zones must lie in {region}, but {zone} does not" for zone in values["zones"] if zone[:-1] != region]
    if f":{region}:" not in values["secretsExtensionLayer"]:
        wrong.append(f"consumidor:secretsExtensionLayer must be the layer of {region}")
    if stack == "prd":
        needed = {"multiAz": "true", "snapshotUri": "s3://bucket/path", "domain": "the API's domain name"}
        wrong += [f"consumidor:{name} must be set in prd: {allowed}" for name, allowed in needed.items() if not values[name]]
    for name in ("zones", "signingKeys"):
        if len(set(values[name])) < len(values[name]):
            wrong.append(f"consumidor:{name} must name each one once")
    return wrong


def _wrong_networks(values: Mapping[str, Any]) -> list[str]:
    subnets = [(name, cidr) for name in ("publicCidrs", "privateCidrs") for cidr in values[name]]
    subnets.append(("tieBreakerCidr", values["tieBreakerCidr"]))
    outside = [
        f"consumidor:{name} must lie within consumidor:vpcCidr, but {cidr} is outside {values['vpcCidr']}"
        for name, cidr in subnets
        if not cidr.subnet_of(values["vpcCidr"])
    ]
    overlapping = [
        f"consumidor:{one} and consumidor:{other} must not overlap, but {a} and {b} do"
        for (one, a), (other, b) in combinations(subnets, 2)
        if a.overlaps(b)
    ]
    return outside + overlapping


def _wrong_clients(values: Mapping[str, Any]) -> list[str]:
    clients = values["clients"]
    wrong = [
        f"consumidor:clients must name each client once, but {name} is there twice"
        for name in sorted(set(clients))
        if clients.count(name) > 1
    ]
    trusted = [trust.client for trust in values["clientTrust"]]
    wrong += [
        f"consumidor:clientTrust must name a client of consumidor:clients, but {name} is none" for name in trusted if name not in clients
    ]
    if len(set(trusted)) < len(trusted):
        wrong.append("consumidor:clientTrust must name each client once")
    return wrong
