"""What a process is told by its environment: one table of keys, one table of which process reads which.

`Settings.from_env("worker")` reads that process's keys and no other, so a process cannot even hold what it should not.
Standard library only and quick to import: both Lambdas start through here.
"""

import http.client
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, unquote, urlsplit

from consumidor.errors import SettingsError

_SECRET_REFERENCE = "secretsmanager:"  # noqa: S105 - a prefix, not a secret
_EXTENSION_PORT = 2773  # AWS Parameters and Secrets Lambda extension, its documented default
_EXTENSION_WAITS = (0.05, 0.1, 0.2, 0.4)  # seconds before it is asked again: 400 says "not ready", and also that a secret is refused


class Key(NamedTuple):
    """One setting: how its text becomes a value, its default (None: optional; `...`: required), what it is."""

    parse: Callable[[str], Any]
    default: Any
    about: str
    secret: bool = False


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _matching(pattern: str, wanted: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {wanted}")
        return text

    return parse


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _hex_key(text: str) -> bytes:
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,}", text):
        raise ValueError("must be at least 64 hexadecimal digits (32 bytes)")
    return bytes.fromhex(text)


def senders(text: str) -> frozenset[str]:
    """Sender ids, comma separated."""
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _json(text: str) -> Any:
    import json  # noqa: PLC0415 - only where a setting is JSON

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("must be JSON") from error


def registry(text: str) -> dict[str, str]:
    """The registry of clients, from JSON: client_id -> name.

    Raises:
        ValueError: says what it must be, and never what it is.
    """
    names = _json(text)
    if not isinstance(names, dict) or not all(isinstance(name, str) and re.fullmatch("[a-z0-9-]{1,40}", name) for name in names.values()):
        raise ValueError("must map each client_id to a name of 1 to 40 of a-z, 0-9 and -")
    if len(set(names.values())) != len(names):
        raise ValueError("must not name a client twice")
    return names


def _is_ed25519(jwk: Any, *members: str) -> bool:
    """Whether this is a JWK (RFC 8037) with a kid and these members, 32 bytes in base64url each."""
    if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519") or not jwk.get("kid"):
        return False
    return all(re.fullmatch("[A-Za-z0-9_-]{43}=?", str(jwk.get(member))) for member in members)


def _signing_key(text: str) -> str:
    if not text.lstrip().startswith("{") or not _is_ed25519(_json(text), "x", "d"):
        raise ValueError("must be an Ed25519 private JWK with kty, crv, kid, x and d")
    return text


def _public_keys(text: str) -> None:
    listed = _json(text).get("keys")
    keys = [key for key in listed if isinstance(key, dict) and key.get("crv") == "Ed25519"] if isinstance(listed, list) else []
    public = [key for key in keys if "d" not in key]
    if not public or not all(_is_ed25519(key, "x") for key in public):
        raise ValueError("must be a JWKS with an Ed25519 public key, each of them with kty, crv, kid and x")


def _document(check: Callable[[str], object], wanted: str) -> Callable[[str], str]:
    """JSON, checked here where it stands in the setting itself; a file is read, again and again, by who needs it."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"(?s)file:.+|\s*\{.*\}\s*", text):
            raise ValueError(f"must be {wanted} or file:PATH")
        if not text.startswith("file:"):
            check(text)
        return text

    return parse


def _nodes(text: str) -> str:
    """One or more nodes' URLs, comma separated, each checked as far as it can be without asking the node."""
    urls = [part.strip() for part in text.split(",")]
    for number, url in enumerate(urls, 1):
        if fault := _node_fault(url):
            raise ValueError(f"must be URLs such as https://node:9200?ca_certs=/ca.pem, comma separated, and number {number} {fault}")
    return ",".join(urls)


def _node_fault(url: str) -> str | None:
    """What is wrong with a node's URL, without its text: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")  # as a look-up will
    except ValueError:
        return "has a host or port that is none"
    if parts.scheme not in ("http", "https") or re.search(r"\s", url):
        return "is no URL beginning with http:// or https://"
    if not host or port == 0:
        return "has no host" if not host else "has port 0"
    name, _, ca_file = parts.query.partition("=")
    if parts.fragment or (parts.query and name != "ca_certs"):
        return "ends in something else than ?ca_certs= and a file"
    return _ca_fault(unquote(ca_file)) if name else None


def _ca_fault(file: str) -> str | None:
    import ssl  # noqa: PLC0415 - only where a file is named; http.client has loaded it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except (OSError, ValueError):
        return "names a CA file that cannot be read or holds no certificate"
    return None


_TEXT = _matching(r"\S(.*\S)?", "not empty")
_URL = _matching(r"https?://[^\s]+", "a URL beginning with http:// or https://")
_PORT = _between(0, 65535)
# PostgreSQL's two ways of saying where (its manual, 32.1.1): a URL of one or more hosts, or pairs whose values may be quoted.
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s/?#@,:\[\]]*)(?::[0-9]{0,5})?"
_PAIR = r"[A-Za-z_]+\s*=\s*(?:'(?:[^'\\]|\\.)*'|(?!')(?:[^\s\\]|\\.)*)"
_DSN = _matching(
    rf"(?s)postgres(?:ql)?://(?:[^\s/@]*@)?{_HOST}(?:,{_HOST})*(?:[/?]\S*)?|\s*{_PAIR}(?:\s+{_PAIR})*\s*",
    "a postgresql:// URL or key=value pairs",
)

KEYS: dict[str, Key] = {
    "ENVIRONMENT": Key(_one_of("dev", "tst", "prd"), ..., "dev, tst or prd: timeouts and log format"),
    "AWS_ENDPOINT_URL": Key(_URL, None, "another AWS endpoint than Amazon's own"),
    "AWS_REGION": Key(_matching(r"[a-z0-9-]+", "a region's name such as sa-east-1"), ..., "region of queues, buckets and keys"),
    "JWT_ISSUER": Key(_URL, ..., "the only accepted `iss`"),
    "JWT_AUDIENCE": Key(_TEXT, ..., "the only accepted `aud`"),
    "JWKS_URL": Key(_URL, ..., "where the issuer publishes its keys"),
    "CLIENTS": Key(_document(registry, "a JSON object"), ..., "client_id -> name, JSON or file:PATH"),
    "PEOPLE_REQUESTS_QUEUE_URL": Key(_URL, ..., "request queue"),
    "PEOPLE_REQUESTS_DLQ_URL": Key(_URL, ..., "request queue's dead letters"),
    "PEOPLE_RESPONSES_QUEUE_PREFIX": Key(_URL, ..., "a response queue's URL less the client's name"),
    "PEOPLE_RESULTS_BUCKET": Key(_TEXT, ..., "results too big for a queue"),
    "PEOPLE_RESPONSE_LIMIT_BYTES": Key(_between(1024, 1048576), 1048576 - 16384, "largest response kept in the queue, body and attributes"),
    "PEOPLE_BACKLOG_LIMIT": Key(_between(1, 10**9), 20000, "waiting requests over which the API answers 429"),
    "PEOPLE_LINK_SECONDS": Key(_between(1, 604800), 900, "life of a presigned link, from delivery"),
    "PEOPLE_SIGNING_KEY": Key(_signing_key, ..., "signs request messages (Ed25519 JWK)", True),
    "PEOPLE_SIGNING_PUBLIC_KEYS": Key(_document(_public_keys, "a JWKS"), ..., "verifies request messages (JWKS)"),
    "BASE_A_DSN": Key(_DSN, ..., "Base A as the worker's role", True),
    "BASE_A_KMS_KEY": Key(_TEXT, ..., "KMS key that wraps Base A's data keys"),
    "BASE_A_OWNER_DSN": Key(_DSN, ..., "Base A as its owner", True),
    "AUDIT_CHECKPOINT_BUCKET": Key(_TEXT, ..., "the inquiry log's chain heads (Object Lock)"),
    "HOST": Key(_TEXT, "127.0.0.1", "address to listen on"),
    "PORT": Key(_PORT, 8000, "port to listen on"),
    "METRICS_PORT": Key(_PORT, 9100, "port of the worker's /metrics"),
    "WORKER_THREADS": Key(_between(1, 64), 4, "threads of one worker"),
    "BASE_B_URI": Key(_matching(r"mongodb(\+srv)?://\S+", "a mongodb:// URI"), ..., "Base B, with its database", True),
    "BASE_C_URL": Key(_nodes, ..., "Base C, one or more nodes", True),
    "EVENTS_FEED_QUEUE_URL": Key(_URL, ..., "feed queue"),
    "EVENTS_FEED_DLQ_URL": Key(_URL, ..., "feed queue's dead letters"),
    "INQUIRY_SENDERS": Key(senders, ..., "SQS sender ids whose bureau_inquiry events count, comma separated"),
    "PSEUDONYM_KEY": Key(_hex_key, ..., "makes a person's pseudonym from a CPF (hex, 32 bytes or more)", True),
}

_AWS = ("ENVIRONMENT", "AWS_ENDPOINT_URL", "AWS_REGION")
_TOKEN = ("JWT_ISSUER", "JWT_AUDIENCE", "JWKS_URL", "CLIENTS")
PROCESSES: dict[str, tuple[str, ...]] = {
    "api": (*_AWS, *_TOKEN, "PEOPLE_REQUESTS_QUEUE_URL", "PEOPLE_RESPONSES_QUEUE_PREFIX", "PEOPLE_RESULTS_BUCKET", "PEOPLE_BACKLOG_LIMIT",
            "PEOPLE_LINK_SECONDS", "PEOPLE_SIGNING_KEY", "PSEUDONYM_KEY", "HOST", "PORT"),
    "worker": (*_AWS, "PEOPLE_REQUESTS_QUEUE_URL", "PEOPLE_REQUESTS_DLQ_URL", "PEOPLE_RESPONSES_QUEUE_PREFIX", "PEOPLE_RESULTS_BUCKET",
               "PEOPLE_RESPONSE_LIMIT_BYTES", "PEOPLE_SIGNING_PUBLIC_KEYS", "BASE_A_DSN", "BASE_A_KMS_KEY", "AUDIT_CHECKPOINT_BUCKET",
               "EVENTS_FEED_QUEUE_URL", "HOST", "METRICS_PORT", "WORKER_THREADS"),
    "score-api": (*_AWS, *_TOKEN, "BASE_B_URI", "EVENTS_FEED_QUEUE_URL", "PSEUDONYM_KEY", "HOST", "PORT"),
    "search": ("ENVIRONMENT", "BASE_C_URL", "CLIENTS", "PSEUDONYM_KEY"),
    "feed": (*_AWS, "BASE_C_URL", "EVENTS_FEED_DLQ_URL", "INQUIRY_SENDERS", "PSEUDONYM_KEY"),
    "migrate": (*_AWS, "BASE_A_OWNER_DSN", "BASE_A_DSN", "BASE_A_KMS_KEY", "BASE_B_URI", "BASE_C_URL"),
    "extract": (*_AWS, "BASE_B_URI"),
}  # fmt: skip
OPTIONAL_IN = {("migrate", "BASE_B_URI"), ("migrate", "BASE_C_URL")}  # migrates the bases it is told of


class Settings:
    """The settings of one process, as attributes in lower case (`settings.base_a_dsn`); frozen.

    Reading a key that the process does not have is an AttributeError: a mistake in the code, not in the environment.
    """

    def __init__(self, process: str, values: Mapping[str, Any]) -> None:
        self.__dict__.update({key.lower(): value for key, value in values.items()}, process=process)

    @classmethod
    def from_env(cls, process: str, environ: Mapping[str, str] | None = None, *, secrets: bool = True) -> "Settings":
        """Read the keys of `process` (one of `PROCESSES`).

        Without `secrets`, those that only the secrets extension knows are left out (None): while a Lambda starts, it gives none.

        Raises:
            SettingsError: lists every missing or wrong key at once; never repeats a value.
        """
        given = os.environ if environ is None else environ
        values, wrong = {}, []
        for name in PROCESSES[process]:
            try:
                values[name] = _read(name, given.get(name, ""), optional=(process, name) in OPTIONAL_IN, secrets=secrets)
            except ValueError as error:
                wrong.append(f"{name} {error}")
        if wrong:
            raise SettingsError(f"{process}: " + "; ".join(wrong))
        return cls(process, values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the process {self.__dict__.get('process')!r} has no setting {name.upper()}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("settings are frozen")

    def __repr__(self) -> str:
        return f"Settings({self.process!r})"  # never a value: some are secrets


class Document:
    """Text given inline or as `file:PATH`; a file is read again within a second of its change, by whoever asks next."""

    def __init__(self, spec: str) -> None:
        self._path = spec.removeprefix("file:") if spec.startswith("file:") else None
        self._text = spec
        self._stamp: tuple[int, int, int] | None = None
        self.look_again = 0.0  # of time.monotonic: until then it is as it was last read; public, since a hot path looks at it

    def read(self) -> tuple[str, bool]:
        """The text now, and whether it differs from the last reading (true at the first).

        Raises:
            SettingsError: the file has never been readable. Later faults keep the last good text.
        """
        if time.monotonic() < self.look_again:
            return self._text, False
        if self._path is None:
            self.look_again = float("inf")
            return self._text, True
        self.look_again = time.monotonic() + 1
        return self._read_file(self._path)

    def _read_file(self, path: str) -> tuple[str, bool]:
        try:
            status = os.stat(path)  # noqa: PTH116 - pathlib costs the Lambdas import time
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return self._text, False
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as above
                self._text = file.read()
        except OSError as error:
            if self._stamp is None:
                raise SettingsError(f"a file named by a setting cannot be read: {error.strerror}") from error
            return self._text, False
        self._stamp = stamp
        return self._text, True


def _read(name: str, text: str, *, optional: bool, secrets: bool) -> Any:
    key = KEYS[name]
    if not text:
        if key.default is ... and not optional:
            raise ValueError(f"is missing ({key.about})")
        return None if key.default is ... else key.default
    if not text.startswith(_SECRET_REFERENCE):
        return key.parse(text)
    return key.parse(_fetch_secret(text.removeprefix(_SECRET_REFERENCE))) if secrets else None


def _fetch_secret(arn: str) -> str:
    """A secret's text, from the AWS Parameters and Secrets extension beside a Lambda (localhost, no boto3).

    Source: docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_lambda.html
    """
    status, body = _ask_extension(arn)
    for wait in _EXTENSION_WAITS:
        if status != 400:
            break
        time.sleep(wait)
        status, body = _ask_extension(arn)
    if status != 200:
        raise ValueError(f"names a secret that the secrets extension refuses ({status})")
    import json  # noqa: PLC0415 - only where a secret is fetched

    return str(json.loads(body)["SecretString"])


def _ask_extension(arn: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("localhost", _EXTENSION_PORT, timeout=5)
    headers = {"X-Aws-Parameters-Secrets-Token": os.environ.get("AWS_SESSION_TOKEN", "")}
    try:
        connection.request("GET", f"/secretsmanager/get?secretId={quote(arn, safe='')}", headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError as error:
        raise ValueError("names a secret, but the secrets extension does not answer") from error
    finally:
        connection.close()
