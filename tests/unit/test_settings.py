"""Settings: one table of keys a process, all faults in one message, no value ever repeated."""

import json
from collections.abc import Callable

import pytest
from psycopg.conninfo import conninfo_to_dict

from consumidor.clients import Clients
from consumidor.errors import SettingsError
from consumidor.people.request_token import RequestVerifier, Signer
from consumidor.settings import KEYS, PROCESSES, Document, Settings
from tests.unit.test_request_token import KEY

FEED = {"ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "BASE_C_URL": "http://127.0.0.1:9200", "EVENTS_FEED_DLQ_URL": "http://q/dlq",
        "INQUIRY_SENDERS": "111111111111, 222222222222", "PSEUDONYM_KEY": "ab" * 32}  # fmt: skip


def test_a_process_holds_its_own_keys_and_no_other() -> None:
    """What the environment has beside a process's keys is not read, and asking for it is an error."""
    settings = Settings.from_env("feed", {**FEED, "BASE_A_DSN": "postgresql://secret"})
    assert settings.inquiry_senders == frozenset({"111111111111", "222222222222"})
    assert settings.pseudonym_key == bytes.fromhex("ab" * 32)
    assert settings.aws_endpoint_url is None
    with pytest.raises(AttributeError, match="BASE_A_DSN"):
        _ = settings.base_a_dsn


def test_every_fault_is_listed_at_once_and_no_value_repeated() -> None:
    """One message names each missing and each wrong key, and says what it should be."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_env("feed", {**FEED, "ENVIRONMENT": "production", "PSEUDONYM_KEY": "hunter2", "AWS_REGION": ""})
    text = str(refused.value)
    assert "ENVIRONMENT must be one of dev, tst, prd" in text
    assert "PSEUDONYM_KEY must be at least 64 hexadecimal digits" in text
    assert "AWS_REGION is missing" in text
    assert "hunter2" not in text
    assert "production" not in text


@pytest.mark.parametrize(("key", "value"), [
    ("PORT", "80a"), ("PORT", "70000"), ("WORKER_THREADS", "0"), ("JWT_ISSUER", "issuer"), ("CLIENTS", "acme"), ("BASE_B_URI", "http://x"),
    ("PEOPLE_RESPONSE_LIMIT_BYTES", "2000000"), ("PEOPLE_SIGNING_KEY", "key"), ("PEOPLE_BACKLOG_LIMIT", "-1"), ("AWS_ENDPOINT_URL", "x y"),
])  # fmt: skip
def test_wrong_values_are_named(key: str, value: str) -> None:
    """A wrong value is refused by its key's own parser."""
    process = next(name for name, keys in PROCESSES.items() if key in keys)
    with pytest.raises(SettingsError, match=f"{key} must be"):
        Settings.from_env(process, {key: value})


PRIVATE, PUBLIC = KEY.private, KEY.public
READERS: dict[str, Callable[[str], object]] = {
    "CLIENTS": Clients, "PEOPLE_SIGNING_KEY": Signer, "PEOPLE_SIGNING_PUBLIC_KEYS": RequestVerifier, "BASE_A_DSN": conninfo_to_dict,
}  # fmt: skip
NO_KEYS: list[object] = [
    [], {}, None, [1], [PRIVATE], [{**PUBLIC, "x": "!"}], [{**PUBLIC, "crv": "X25519"}], [PUBLIC, {**PUBLIC, "kid": None}],
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [
    *[("CLIENTS", text) for text in ("{acme}", '{"id": "ACME"}', '{"id": "a b"}', '{"id": ""}', '{"id": 1}', '{"1": "acme", "2": "acme"}')],
    *[("PEOPLE_SIGNING_KEY", json.dumps({**PRIVATE, **change})) for change in (
        {"kty": "RSA"}, {"crv": "X25519"}, {"kid": ""}, {"x": None}, {"d": None}, {"d": "A" * 42})],
    ("PEOPLE_SIGNING_KEY", "{not JSON}"), ("PEOPLE_SIGNING_KEY", json.dumps(PUBLIC)), ("PEOPLE_SIGNING_KEY", "file:key.json"),
    *[("PEOPLE_SIGNING_PUBLIC_KEYS", json.dumps({"keys": keys})) for keys in NO_KEYS],
    ("PEOPLE_SIGNING_PUBLIC_KEYS", "{}"), ("PEOPLE_SIGNING_PUBLIC_KEYS", "{not JSON}"),
    *[("BASE_A_DSN", text) for text in ("db", "mysql://u@db/base_a", "postgresql:/db", "postgresql://u:p@db:port/a", "postgresql://a b/c",
                                        "host=db dbname", "host='db", "=db")],
])  # fmt: skip
def test_what_has_the_shape_and_not_the_content_is_wrong_too(key: str, value: str) -> None:
    """JSON, names, keys and DSNs are looked into, so that their faults are in the one message, which holds nothing of them."""
    process = next(name for name, keys in PROCESSES.items() if key in keys)
    with pytest.raises(SettingsError, match=f"{key} must") as refused:
        Settings.from_env(process, {key: value, "ENVIRONMENT": "x"})
    assert "ENVIRONMENT must be" in str(refused.value)
    assert value not in str(refused.value)


@pytest.mark.parametrize(("key", "value"), [
    ("CLIENTS", "{}"), ("CLIENTS", ' {"id": "acme", "other": "a-1"}\n'), ("CLIENTS", "file:/etc/registry.json"),
    ("PEOPLE_SIGNING_KEY", json.dumps(PRIVATE, indent=1)), ("PEOPLE_SIGNING_KEY", json.dumps({**PRIVATE, "d": PRIVATE["d"] + "="})),
    ("PEOPLE_SIGNING_PUBLIC_KEYS", json.dumps({"keys": [PUBLIC, {"kty": "RSA"}, PRIVATE]})),
    ("PEOPLE_SIGNING_PUBLIC_KEYS", "file:keys.json"),
    *[("BASE_A_DSN", text) for text in (
        "postgresql://worker:p%40ss@db.example:5432/base_a?sslmode=verify-full&sslrootcert=/etc/ca.pem", "postgres://db", "postgresql://",
        "postgresql:///base_a?host=/var/run/postgresql", "postgresql://u@[::1]:5432/a", "postgresql://u:p?#@one:1,two:2/a",
        "host=db dbname=base_a", " host = db\tpassword='it\\'s a \\\\ secret' user=a=b ", "password=")],
])  # fmt: skip
def test_whatever_the_readers_take_is_taken(key: str, value: str) -> None:
    """Right values come out as they went in, and whoever reads them next takes them too."""
    assert KEYS[key].parse(value) == value
    if not value.startswith("file:"):
        READERS[key](value)


def test_settings_are_frozen_and_do_not_show_secrets() -> None:
    """Nothing changes them, and printing them shows the process alone."""
    settings = Settings.from_env("feed", FEED)
    with pytest.raises(AttributeError):
        settings.environment = "prd"
    assert repr(settings) == "Settings('feed')"


def test_the_api_holds_nothing_that_opens_base_a() -> None:
    """By the table itself: no database, no KMS key of Base A; and the worker, extraction and migration lack the pseudonym key."""
    assert not [key for key in PROCESSES["api"] if key.startswith("BASE_")]
    assert all("PSEUDONYM_KEY" not in PROCESSES[process] for process in ("worker", "extract", "migrate"))
    assert [process for process, keys in PROCESSES.items() if "BASE_A_OWNER_DSN" in keys] == ["migrate"]
    assert [process for process, keys in PROCESSES.items() if "AUDIT_CHECKPOINT_BUCKET" in keys] == ["worker"]


def test_every_key_of_a_process_is_in_the_table() -> None:
    """No process asks for a key that nobody describes, and no key is described for nobody."""
    assert {key for keys in PROCESSES.values() for key in keys} == set(KEYS)


def test_a_secret_reference_that_nobody_resolves_is_a_clear_fault() -> None:
    """Where the extension does not run, the key is named and the start fails."""
    with pytest.raises(SettingsError, match="PSEUDONYM_KEY names a secret"):
        Settings.from_env("feed", {**FEED, "PSEUDONYM_KEY": "secretsmanager:arn:aws:x"})


def test_a_document_that_cannot_be_read() -> None:
    """A file that never was is a setting error."""
    with pytest.raises(SettingsError):
        Document("file:/nonexistent/registry.json").read()
