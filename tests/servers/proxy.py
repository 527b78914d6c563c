"""A TCP proxy of the tests' own before one server: it passes, delays, cuts or loses what goes through it, by kind of connection."""

import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Literal

Mode = Literal["pass", "slow", "stopped", "failing"]
DELAY = 0.5  # seconds that a slow server takes longer for each piece of a request
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST, as a server that is gone
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Listens on 127.0.0.1:`port`. `kind_of` tells connections apart by their first bytes; `modes` says what becomes of each kind.

    `failing` is the worst kind of failure: what was asked is done, and the answer is lost (503 over HTTP, else the connection is cut).
    """

    def __init__(self, target: int, kind_of: Callable[[bytes], str] = lambda _: "all") -> None:
        self._target, self._kind_of = target, kind_of
        self._modes: dict[str, Mode] = {}
        self._open: dict[str, list[socket.socket]] = defaultdict(list)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, kind: str, mode: Mode) -> None:
        """Treat connections of that kind so from now on; `stopped` ends those that are open."""
        self._modes[kind] = mode
        if mode == "stopped":
            for each in self._open.pop(kind, []):
                _reset(each)

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._listener.close()
        for kind in list(self._open):
            self.set(kind, "stopped")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            first = client.recv(65536)
            kind = self._kind_of(first)
            if not first or self._mode(kind) == "stopped":
                return _reset(client)
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open[kind] += [client, server]
                back = threading.Thread(target=self._answers, args=(kind, server, client, first), daemon=True)
                back.start()
                self._requests(kind, client, server, first)
                back.join()
        return None

    def _mode(self, kind: str) -> Mode:
        return self._modes.get(kind, "pass")

    def _requests(self, kind: str, client: socket.socket, server: socket.socket, piece: bytes) -> None:
        with contextlib.suppress(OSError):
            while piece:
                if self._mode(kind) == "slow":
                    time.sleep(DELAY)
                server.sendall(piece)
                piece = client.recv(65536)
            server.shutdown(socket.SHUT_WR)

    def _answers(self, kind: str, server: socket.socket, client: socket.socket, first: bytes) -> None:
        with contextlib.suppress(OSError):
            while piece := server.recv(65536):
                if self._mode(kind) == "failing":
                    if b" HTTP/1.1\r\n" in first:
                        client.sendall(_UNAVAILABLE)
                    break
                client.sendall(piece)
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def aws_kind(first: bytes) -> str:
    """Which AWS service a connection is for: a client keeps connections of its own for each."""
    for mark, kind in ((b"AmazonSQS", "sqs"), (b"TrentService", "kms"), (b"GetCallerIdentity", "sts")):
        if mark in first:
            return kind
    return "s3"
