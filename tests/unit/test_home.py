"""A home folder: its lock, ports and secrets, the settings a stack takes from the environment, and what commands read."""

import errno
import fcntl
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from consumidor.errors import CommandError, SettingsError
from consumidor.local.files import Watched, write_private
from consumidor.local.home import Home, claim_port, explained, public_jwks
from consumidor.local.running import Environment, read_stack, register_client
from consumidor.local.servers import Servers, given_settings
from consumidor.people.request_token import RequestVerifier, Signer
from consumidor.settings import KEYS


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any setting of ours."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def test_lock_is_held_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home whose lock is held is refused, by name."""
    monkeypatch.setattr("consumidor.local.home._LOCK_SECONDS", 0.1)
    home = Home(tmp_path)
    with home.lock(), pytest.raises(CommandError, match=f"already runs in {home.path}"), home.lock():
        pass
    with home.lock():
        pass


def test_ports_are_kept_where_free(tmp_path: Path) -> None:
    """The second start has the first's ports, but for one that is taken meanwhile; no two are the same."""
    first = Home(tmp_path).ports("one", "two")
    assert Home(tmp_path).ports("one", "two") == first
    with socket.create_server(("127.0.0.1", first["one"])):
        second = Home(tmp_path).ports("one", "two")
    assert second["one"] not in first.values()
    assert second["two"] == first["two"]


def test_claim_port() -> None:
    """0 gives a free port, and a taken one is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"port {port} is in use"):
            claim_port(port)
    assert claim_port(port) == port
    assert claim_port(0) > 0


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """The pseudonym key and the signing key are kept, private, and the public key verifies what the private one signs."""
    secrets = Home(tmp_path).secrets()
    assert Home(tmp_path).secrets() == secrets
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    signing = secrets["PEOPLE_SIGNING_KEY"]
    message = Signer(json.dumps(signing)).sign("acme", "0b6a5a3e-6f0e-4a0e-9c43-1f2f6b1f6a55", "ab" * 16, "credit")
    verified = RequestVerifier(json.dumps(public_jwks(signing))).verify(message)
    assert verified.client == "acme"
    assert "d" not in public_jwks(signing)["keys"][0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_unwritable_is_one_line(tmp_path: Path, number: int) -> None:
    """A full, foreign or read-only disk is said in one line; another fault is not taken for it."""
    with pytest.raises(CommandError, match=f"cannot write to {tmp_path}: {os.strerror(number).lower()}"), explained(tmp_path):
        raise OSError(number, "whatever")
    with pytest.raises(ConnectionRefusedError), explained(tmp_path):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "elsewhere")


def test_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly full disk is named before anything is started on it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10 << 20))
    with pytest.raises(CommandError, match="has only 10 MiB left"):
        Home(tmp_path)


def test_private_file_is_replaced_whole(tmp_path: Path) -> None:
    """A reader that holds the old file keeps it whole; the new one is its owner's alone, and a watcher sees the change."""
    file = tmp_path / "file.json"
    write_private(file, {"n": 1})
    watched = Watched(file, lambda document: document["n"])
    assert watched.read() == 1
    with file.open() as old:
        write_private(file, {"n": 2})
        assert json.load(old) == {"n": 1}
    assert watched.read() == 2
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("no_settings")
def test_wrong_settings_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wrong setting in the environment, and every one that is missing beside its like, is in one message."""
    monkeypatch.setenv("BASE_C_URL", "localhost:9200")
    monkeypatch.setenv("PEOPLE_BACKLOG_LIMIT", "many")
    monkeypatch.setenv("BASE_A_DSN", "postgresql://worker@db/base_a")
    monkeypatch.setenv("HOST", "my-laptop")  # as some shells do
    with pytest.raises(SettingsError) as refused:
        given_settings()
    for part in ("BASE_C_URL must be", "PEOPLE_BACKLOG_LIMIT must be", "BASE_A_OWNER_DSN must be set too"):
        assert part in str(refused.value)
    assert "HOST" not in str(refused.value)


@pytest.mark.usefixtures("no_settings")
def test_the_shells_own_region_is_not_our_ministacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION, which many a shell has, counts only beside AWS_ENDPOINT_URL."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert given_settings() == {}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://aws.test")
    assert given_settings() == {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "https://aws.test"}


@pytest.mark.usefixtures("no_settings")
def test_servers_that_are_named_are_not_started(tmp_path: Path) -> None:
    """Each setting that names a server leaves that server out, and goes to the processes as it is."""
    given = {"BASE_B_URI": "mongodb://db/base_b", "BASE_C_URL": "https://search:9200", "AWS_ENDPOINT_URL": "https://aws.test"}
    servers = Servers(Home(tmp_path), given, {"PORT": "1"})
    assert [server.name for server in servers.embedded()] == ["postgres", "issuer"]
    environment = servers.environment()
    assert environment.own_credentials
    assert environment.of("search")["BASE_C_URL"] == "https://search:9200"
    assert environment.of("migrate")["BASE_B_URI"] == "mongodb://db/base_b"


def test_environment_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has its own settings and AWS account, and the owner's login to Base B only where it migrates."""
    environment = Environment({"BASE_B_URI": "reader", "PSEUDONYM_KEY": "key", "BASE_A_DSN": "dsn"}, False, "owner")
    assert environment.of("score-api") == {
        "BASE_B_URI": "reader", "PSEUDONYM_KEY": "key", "AWS_ACCESS_KEY_ID": "222222222222", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    assert environment.of("worker") == {"BASE_A_DSN": "dsn", "AWS_ACCESS_KEY_ID": "111111111111", "AWS_SECRET_ACCESS_KEY": "test"}
    assert environment.of("migrate")["BASE_B_URI"] == "owner"
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert environment._replace(own_credentials=True).of("search")["AWS_PROFILE"] == "mine"


def test_stale_stack_file_is_no_stack(tmp_path: Path) -> None:
    """A stack.json whose lock nobody holds tells nothing; one whose stack still starts says so."""
    write_private(tmp_path / "stack.json", {"clients": {}})
    with Home(tmp_path).lock() as lock:
        fcntl.flock(lock, fcntl.LOCK_UN)
        with pytest.raises(CommandError, match="no stack is running in"):
            read_stack(tmp_path)
    with pytest.raises(CommandError, match="no stack is running in"):
        read_stack(tmp_path / "nowhere")
    with Home(tmp_path).lock():
        assert read_stack(tmp_path) == {"clients": {}}
        with pytest.raises(CommandError, match="an issuer of its own"):
            register_client(tmp_path, "acme")
        (tmp_path / "stack.json").unlink()
        with pytest.raises(CommandError, match="is still starting"):
            read_stack(tmp_path)
