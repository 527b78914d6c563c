"""What AWS, random and tls would answer to each registration: names, ids, ARNs and secrets made up, but of the right shape.

Every secret holds `MARK`, so that a test can find it wherever it went.
"""

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

ACCOUNT, REGION = "123456789012", "sa-east-1"
MARK = "S3CR3T"


def state_of(type_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Id and outputs beside the inputs; secret outputs as {"secret": value}."""
    made = _SPECIAL.get(type_, _ordinary)
    identity, outputs = made(type_, name, inputs)
    return identity, outputs


def _ordinary(type_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    provider, module, kind = type_.split(":")
    service = module.partition("/")[0]
    identity = f"{kind.lower()}-{_hex(type_ + name)}"
    if provider != "aws":
        return identity, {}
    arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind.lower()}/{name}"
    return identity, {"arn": arn, "name": inputs.get("name", f"{name}-{_hex(name)}"), "arnSuffix": f"{kind.lower()}/{name}/{_hex(name)}"}


def _hex(text: str, digits: int = 7) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _queue(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    queue = inputs.get("name", name)
    url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}"
    return url, {"url": url, "arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"}


def _bucket(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    bucket = inputs.get("bucket", f"{name}-{_hex(name)}")
    return bucket, {"bucket": bucket, "arn": f"arn:aws:s3:::{bucket}"}


def _role(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    role = inputs.get("name", f"{name}-{_hex(name)}")
    return role, {"name": role, "arn": f"arn:aws:iam::{ACCOUNT}:role/{role}", "uniqueId": "AROA" + _hex(name, 17).upper()}


def _key(_: str, name: str, __: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    identity = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return identity, {"keyId": identity, "arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{identity}"}


def _secret(_: str, name: str, __: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{_hex(name)}-{_hex(name + 'x', 6)}"
    return arn, {"arn": arn}


def _log_group(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    group = inputs.get("name", f"{name}-{_hex(name)}")
    return group, {"name": group, "arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"}


def _function(_: str, __: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{inputs['name']}"
    return inputs["name"], {"arn": arn, "invokeArn": f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{arn}/invocations"}


def _api(_: str, name: str, __: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    identity = _hex(name, 10)
    endpoint = f"https://{identity}.execute-api.{REGION}.amazonaws.com"
    return identity, {"apiEndpoint": endpoint, "executionArn": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{identity}"}


def _domain_name(_: str, __: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    made = {**inputs["domainNameConfiguration"], "targetDomainName": f"d-1234567890.execute-api.{REGION}.amazonaws.com"}
    return inputs["domainName"], {"domainNameConfiguration": made}


def _database(_: str, __: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    identifier = inputs.get("identifier") or inputs["clusterIdentifier"]
    address = f"{identifier}.c1.{REGION}.rds.amazonaws.com"
    owner = {"secretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-1-abcdef", "secretStatus": "active", "kmsKeyId": "k"}
    return identifier, {"address": address, "endpoint": address, "masterUserSecrets": [owner]}


def _pool(_: str, name: str, __: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"{REGION}_{_hex(name, 9)}", {}


def _app_client(_: str, name: str, __: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return _hex(name, 26), {"clientSecret": {"secret": f"{MARK}-{name}"}}


def _password(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "none", {"result": {"secret": (MARK + _hex(name, 60))[: inputs["length"]]}}


def _bytes(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    # Hexadecimal throughout, as the setting wants it: this one secret is found by its own text.
    return "none", {"hex": {"secret": hashlib.sha256(name.encode()).hexdigest()[: 2 * inputs["length"]]}}


def _string(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    text = _hex(name, inputs["length"])
    return text, {"result": text}


def _private_key(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if inputs["algorithm"] != "ED25519":
        pem = {"secret": f"-----BEGIN PRIVATE KEY-----\n{MARK}-{name}\n-----END PRIVATE KEY-----\n"}
        return _hex(name), {"privateKeyPem": pem, "privateKeyPemPkcs8": pem, "publicKeyPem": f"public of {name}"}
    key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _hex(name), {"privateKeyPem": {"secret": private.decode()}, "publicKeyPem": public.decode()}


def signing_secret(name: str) -> str:
    """The `d` of the Ed25519 key called `name`, which must show nowhere in clear."""
    return base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).rstrip(b"=").decode()


def pseudonym_secret(name: str = "pseudonym-key") -> str:
    """The pseudonym key's text."""
    return hashlib.sha256(name.encode()).hexdigest()


def _certificate(_: str, name: str, __: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return _hex(name), {
        "certPem": f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n",
        "certRequestPem": f"request of {name}",
    }


def _endpoint(_: str, name: str, __: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"vpce-{_hex(name, 17)}", {"prefixListId": f"pl-{_hex(name, 8)}"}


def _repository(_: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    repository = inputs.get("name", name)
    url = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{repository}"
    return repository, {"repositoryUrl": url, "arn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{repository}"}


_SPECIAL = {
    "aws:ecr/repository:Repository": _repository,
    "aws:sqs/queue:Queue": _queue,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:iam/role:Role": _role,
    "aws:kms/key:Key": _key,
    "aws:secretsmanager/secret:Secret": _secret,
    "aws:cloudwatch/logGroup:LogGroup": _log_group,
    "aws:lambda/function:Function": _function,
    "aws:apigatewayv2/api:Api": _api,
    "aws:apigatewayv2/domainName:DomainName": _domain_name,
    "aws:rds/instance:Instance": _database,
    "aws:docdb/cluster:Cluster": _database,
    "aws:cognito/userPool:UserPool": _pool,
    "aws:cognito/userPoolClient:UserPoolClient": _app_client,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "random:index/randomPassword:RandomPassword": _password,
    "random:index/randomBytes:RandomBytes": _bytes,
    "random:index/randomString:RandomString": _string,
    "tls:index/privateKey:PrivateKey": _private_key,
    "tls:index/selfSignedCert:SelfSignedCert": _certificate,
    "tls:index/certRequest:CertRequest": _certificate,
    "tls:index/locallySignedCert:LocallySignedCert": _certificate,
}
