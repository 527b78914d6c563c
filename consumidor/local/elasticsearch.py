"""Base C of the embedded default: Elasticsearch itself, its jars fetched from Maven Central by jgo, once for every home."""

import contextlib
import fcntl
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from consumidor.errors import CommandError
from consumidor.local.supervisor import Server, http_ready

VERSION = "8.19.21"  # elasticsearch and transport-netty4 must both be published at it
JARS = f"org.elasticsearch:elasticsearch:{VERSION}+org.elasticsearch.plugin:transport-netty4:{VERSION}"
_STOP_SECONDS = 20
_SETTINGS = """\
cluster.name: local
node.name: local
discovery.type: single-node
network.host: 127.0.0.1
transport.port: 0
cluster.routing.allocation.disk.threshold_enabled: false
"""
_LOG4J = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


def elasticsearch_server(home: Path, port: int) -> Server:
    """Elasticsearch on 127.0.0.1:`port`, its data in `home`/elasticsearch.

    Raises:
        CommandError: its jars are neither in a cache nor to be had from Maven Central, or cannot be kept.
    """
    folder, distribution = home / "elasticsearch", cached_distribution(home)
    if not _is_there(distribution):
        download(distribution)
    return Server(
        name="elasticsearch",
        command=[sys.executable, "-m", "consumidor.local.elasticsearch_node", str(distribution), str(folder), f"http.port={port}"],
        before_start=lambda: _prepare(folder),
        ready=http_ready(f"http://127.0.0.1:{port}/_cluster/health?wait_for_status=yellow&timeout=1s"),
        stop_seconds=_STOP_SECONDS,
    )


def cached_distribution(home: Path) -> Path:
    """Where the jars lie, or would: the user's cache, shared by every home; where nothing can be kept in that, `home`/cache."""
    name = f"elasticsearch-{VERSION}"
    own = home / "cache" / name
    shared = _user_cache()
    if shared is None or _is_there(own):
        return own
    place = shared / "consumidor" / name
    return place if _is_there(place) or _can_keep(place.parent) else own


def _user_cache() -> Path | None:
    """None for a user who has no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None


def _is_there(distribution: Path) -> bool:
    return os.access(distribution / "lib", os.R_OK | os.X_OK)  # of a foreign folder `exists` raises


def _can_keep(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):
            return True
    except OSError:
        return False


def _prepare(folder: Path) -> None:
    for name in ("config", "logs", "tmp", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "config/elasticsearch.yml").write_text(_SETTINGS)
    (folder / "config/log4j2.properties").write_text(_LOG4J)


def download(distribution: Path) -> None:
    """Lay out `distribution`/{lib,modules}: 41 MB, the first time only, and whole or not at all.

    One process fetches at a time, since they share Maven's own folder (jgo found jars there that another one was still writing); who
    waited finds them done.

    Raises:
        CommandError: no jars to be had, or nowhere to keep them.
    """
    folder = distribution.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".fetching").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_there(distribution):
                return
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                _fetch(Path(scratch), folder)
                (Path(scratch) / "dist").rename(distribution)
    except OSError as error:
        raise CommandError(f"Elasticsearch's jars cannot be kept in {folder}: {error.strerror or error}") from error


def _fetch(scratch: Path, folder: Path) -> None:
    try:
        _lay_out(scratch)
    except Exception as error:  # jgo raises what its HTTP client does
        what = f"could not be fetched from Maven Central into {folder}"
        raise CommandError(f"Elasticsearch's jars {what}: {type(error).__name__}: {error}") from error


def _lay_out(scratch: Path) -> None:
    import jgo  # noqa: PLC0415 - needed once in a machine's life

    lib, netty = scratch / "dist/lib", scratch / "dist/modules/transport-netty4"
    for folder in (lib, netty):
        folder.mkdir(parents=True)
    with _usable_home(scratch):
        jars = [Path(jar) for jar in jgo.build(JARS, cache_dir=scratch / "jgo").all_jars]
    for jar in jars:
        shutil.copy(jar, netty if re.match(r"(netty|transport-netty4)-", jar.name) else lib)
    with zipfile.ZipFile(next(netty.glob("transport-netty4-*.jar"))) as archive:
        for name in ("plugin-descriptor.properties", "entitlement-policy.yaml"):
            text = archive.read(f"META-INF/es-plugins/transport-netty4/{name}").decode()
            (netty / name).write_text(re.sub(r"(?m)^modulename=.*$", "", text))  # class path, not module path


@contextlib.contextmanager
def _usable_home(scratch: Path) -> Iterator[None]:
    """While jgo works, which also keeps what it fetches in the user's ~/.m2: a user who has none that can be used has another home."""
    before = os.environ.get("HOME")
    try:
        usable = _can_keep(Path.home() / ".m2")
    except RuntimeError:  # no home at all
        usable = False
    if not usable:
        os.environ["HOME"] = str(scratch)
    try:
        yield
    finally:
        os.environ.pop("HOME", None)
        os.environ.update({} if before is None else {"HOME": before})
