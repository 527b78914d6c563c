"""A real Elasticsearch node, once a session, with the project's indices."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from consumidor.events.index import migrate_base_c
from consumidor.local.elasticsearch import elasticsearch_server
from consumidor.local.supervisor import Supervisor, free_port


class Node:
    """An Elasticsearch node with its data in `home`."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._supervisor: Supervisor | None = None

    def start(self) -> None:
        """Start it, on the same port and data each time."""
        self._supervisor = Supervisor(self.home, announce=print)
        self._supervisor.start(elasticsearch_server(self.home, self.port))

    def stop(self) -> None:
        """Stop it if it runs."""
        if self._supervisor:
            self._supervisor.stop()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that the node answers to a plain request."""
        return urllib3.request(method, self.url + path, json=body).json()

    def refresh(self) -> None:
        """Let searches see everything that is stored."""
        self.ask("POST", "/events,latest/_refresh")


@pytest.fixture(scope="session")
def base_c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Shared by all tests, with the project's indices: use people of your own."""
    node = Node(tmp_path_factory.mktemp("base_c"))
    try:
        node.start()
        migrate_base_c(node.url)
        yield node
    finally:
        node.stop()


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something becomes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
