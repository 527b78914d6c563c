"""Base C of the embedded default: Elasticsearch itself, its jars fetched from Maven Central by jgo, once for every home."""

import os
import re
import shutil
import sys
import tempfile
import zipfile
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
        CommandError: its jars are neither in the cache nor to be had from Maven Central.
    """
    folder, distribution = home / "elasticsearch", cached_distribution()
    if not distribution.exists():
        download(distribution)
    return Server(
        name="elasticsearch",
        command=[sys.executable, "-m", "consumidor.local.elasticsearch_node", str(distribution), str(folder), f"http.port={port}"],
        before_start=lambda: _prepare(folder),
        ready=http_ready(f"http://127.0.0.1:{port}/_cluster/health?wait_for_status=yellow&timeout=1s"),
        stop_seconds=_STOP_SECONDS,
    )


def cached_distribution() -> Path:
    """Where the jars lie: the user's cache, shared by every home."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "consumidor" / f"elasticsearch-{VERSION}"


def _prepare(folder: Path) -> None:
    for name in ("config", "logs", "tmp", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "config/elasticsearch.yml").write_text(_SETTINGS)
    (folder / "config/log4j2.properties").write_text(_LOG4J)


def download(distribution: Path) -> None:
    """Lay out `distribution`/{lib,modules}: 41 MB, the first time only, and whole or not at all.

    Raises:
        CommandError: no jars to be had.
    """
    distribution.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=distribution.parent) as scratch:
        try:
            _lay_out(Path(scratch))
        except Exception as error:  # jgo raises what its HTTP client does
            raise CommandError(f"Elasticsearch's jars could not be fetched from Maven Central: {type(error).__name__}: {error}") from error
        try:
            (Path(scratch) / "dist").rename(distribution)
        except OSError:
            if not distribution.exists():  # else another process was first, with the same files
                raise


def _lay_out(scratch: Path) -> None:
    import jgo  # noqa: PLC0415 - needed once in a machine's life

    lib, netty = scratch / "dist/lib", scratch / "dist/modules/transport-netty4"
    for folder in (lib, netty):
        folder.mkdir(parents=True)
    for jar in map(Path, jgo.build(JARS, cache_dir=scratch / "jgo").all_jars):
        shutil.copy(jar, netty if re.match(r"(netty|transport-netty4)-", jar.name) else lib)
    with zipfile.ZipFile(next(netty.glob("transport-netty4-*.jar"))) as archive:
        for name in ("plugin-descriptor.properties", "entitlement-policy.yaml"):
            text = archive.read(f"META-INF/es-plugins/transport-netty4/{name}").decode()
            (netty / name).write_text(re.sub(r"(?m)^modulename=.*$", "", text))  # class path, not module path
