"""One node of Base C, over the standard library's `http.client`, connections kept alive.

The handlers need three requests. For those the official client, or the transport below it, would be most of what a Lambda loads:
imports of `elastic_transport` take twice the CPU time of all that the search Lambda loads now.
"""

import http.client
import ssl
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit


class NodeDown(Exception):
    """The node does not answer, or not in time."""


class Node:
    """Threads may share it: each request has a connection to itself, kept for the next one.

    `url` may hold user and password, a path that stands before every request's, and end in `?ca_certs=PATH`. `timeout` is in seconds,
    for each wait on the network.
    """

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url.strip())
        self._host, self._port, self._timeout = parts.hostname or "", parts.port, timeout
        self._prefix = parts.path.rstrip("/")
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=unquote(parts.query.removeprefix("ca_certs=")) or None)
        self._headers: dict[str, str] = {}
        if parts.username:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["authorization"] = "Basic " + b64encode(credentials.encode()).decode()
        self._idle: list[http.client.HTTPConnection] = []

    def request(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body; the request must be one that may be sent twice.

        Raises:
            NodeDown.
        """
        given = {**headers, **self._headers}
        try:
            while kept := self._take():
                try:
                    return self._exchange(kept, method, target, body, given)
                except TimeoutError:
                    raise
                except (OSError, http.client.HTTPException):  # closed by the node meanwhile, and so are the others
                    self.close()
            return self._exchange(self._connect(), method, target, body, given)
        except (OSError, http.client.HTTPException) as error:
            raise NodeDown(type(error).__name__) from error

    def close(self) -> None:
        """Close the kept connections."""
        while kept := self._take():
            kept.close()

    def __del__(self) -> None:
        if hasattr(self, "_idle"):  # not so where the constructor raised
            self.close()

    def _take(self) -> http.client.HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        try:
            connection.request(method, self._prefix + target, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        if not answer.will_close:
            self._idle.append(connection)
        return answer.status, content
