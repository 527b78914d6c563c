"""A real Elasticsearch node, once a session, and clean indices for the tests that ask for them."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from consumidor.local.elasticsearch import elasticsearch_server
from consumidor.local.supervisor import Supervisor, free_port


class BaseC(NamedTuple):
    """A running node; `stop` and `start` are for tests of its absence."""

    url: str
    supervisor: Supervisor


@pytest.fixture(scope="session")
def elasticsearch_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseC]:
    """Shared by all tests; its indices are made by whoever needs them."""
    home = tmp_path_factory.mktemp("elasticsearch")
    supervisor = Supervisor(home, announce=print)
    port = free_port()
    try:
        supervisor.start(elasticsearch_server(home, port))
        yield BaseC(f"http://127.0.0.1:{port}", supervisor)
    finally:
        supervisor.stop()
