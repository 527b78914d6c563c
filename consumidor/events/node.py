"""One node of Base C, over the standard library's `http.client`, connections kept alive.

The handlers need three requests. For those the official client, or the transport below it, would be most of what a Lambda loads:
imports of `elastic_transport` take twice the CPU time of all that the search Lambda loads now.
"""

import http.client
import math
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

_PORTS = {"http": 80, "https": 443}


class NodeDown(Exception):
    """The node does not answer, or not in time."""


class Node:
    """Threads may share it: each request has a connection to itself, kept for the next one.

    `url` may hold user and password, a path that stands before every request's, and end in `?ca_certs=PATH`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url.strip())
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._prefix = parts.path.rstrip("/")
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=unquote(parts.query.removeprefix("ca_certs=")) or None)
            self._tls.sslsocket_class = _TlsSocket
        self._headers: dict[str, str] = {}
        if parts.username:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["authorization"] = "Basic " + b64encode(credentials.encode()).decode()
        self._idle: list[http.client.HTTPConnection] = []

    def request(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], ends: float) -> tuple[int, bytes]:
        """Status and body, all of it there by `ends` (of `time.monotonic`); the request must be one that may be sent twice.

        Raises:
            NodeDown.
        """
        given = {**headers, **self._headers}
        try:
            while kept := self._take():
                try:
                    return self._exchange(kept, method, target, body, given, ends)
                except TimeoutError:
                    raise
                except (OSError, http.client.HTTPException):  # closed by the node meanwhile, and so are the others
                    self.close()
            return self._exchange(self._connect(ends), method, target, body, given, ends)
        except (OSError, http.client.HTTPException) as error:
            raise NodeDown(type(error).__name__) from error

    def close(self) -> None:
        """Close the kept connections."""
        while kept := self._take():
            kept.close()

    def _take(self) -> http.client.HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connect(self, ends: float) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._host, self._port)
        sock: socket.socket = _connected(self._host, self._port, ends)
        try:
            if self._tls:
                sock.settimeout(_left(ends))  # of the handshake in all
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        connection.sock = sock
        return connection

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None, headers: Mapping[str, str], ends: float
    ) -> tuple[int, bytes]:
        try:
            connection.sock.ends = ends  # type: ignore[union-attr]  # _connect made it a _Timed
            connection.request(method, self._prefix + target, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        if not answer.will_close:
            self._idle.append(connection)
        return answer.status, content


class _Timed(socket.socket):
    """A socket whose waits all end at `ends`, where a plain one's time-out begins anew with every byte that comes."""

    ends = math.inf

    def __del__(self) -> None:
        # With its node, and not in the node's own finaliser: of a cycle the collector may end the socket first.
        if self.fileno() >= 0:  # not so where it is closed, or its constructor raised
            self.close()

    def sendall(self, *given: Any) -> None:
        self.settimeout(_left(self.ends))  # the time-out of sending it all
        super().sendall(*given)

    def recv_into(self, *given: Any) -> int:
        self.settimeout(_left(self.ends))
        return super().recv_into(*given)


class _TlsSocket(_Timed, ssl.SSLSocket):
    """The same over TLS, where all that is sent is sent in several pieces."""

    def send(self, *given: Any) -> int:
        self.settimeout(_left(self.ends))
        return super().send(*given)


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connected(host: str, port: int, ends: float) -> _Timed:
    """A connection to the first of the host's addresses that takes one. The look-up of the name has a time-out of the system's own."""
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = _Timed(family, kind, protocol)
        try:
            sock.settimeout(_left(ends))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    try:
        raise failure
    finally:
        del failure  # as socket.create_connection does: else it and this frame would keep each other
