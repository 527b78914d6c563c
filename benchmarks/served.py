"""HTTP servers to compare, each one process of its own, and a client that costs little: raw requests over kept connections."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.measure import ROOT, Took, cpu_of
from consumidor.errors import CommandError
from consumidor.local.supervisor import free_port

CONNECTIONS = 16
_START_SECONDS = 30.0


class Served(NamedTuple):
    """A running server: its port, and the process whose CPU time counts (its children's with it)."""

    port: int
    process: psutil.Process

    def answer(self, requests: Sequence[bytes], connections: int = CONNECTIONS, each: list[float] | None = None) -> Took:
        """What the server took for these requests; each is answered 200 and not empty, and its seconds put into `each`.

        Raises:
            CommandError: it answered otherwise.
        """
        with cpu_of([self.process]) as spent:
            started = time.perf_counter()
            asyncio.run(_send_all(self.port, requests, connections, [] if each is None else each))
            wall = time.perf_counter() - started
        return Took(wall, spent[0], len(requests))


@contextmanager
def uvicorn(factory: str, environment: Mapping[str, str], log: Path) -> Iterator[Served]:
    """An ASGI application `module:factory` by uvicorn, one process, without its access log."""
    options = ["--factory", "--no-access-log", "--log-level", "warning", "--no-server-header"]
    with _process(["uvicorn", factory, *options, "--port"], environment, log) as served:
        yield served


@contextmanager
def gunicorn(factory: str, environment: Mapping[str, str], log: Path, threads: int = 8) -> Iterator[Served]:
    """A WSGI application `module:factory()` by gunicorn, one process of several threads."""
    options = ["--worker-class", "gthread", "--threads", str(threads), "--log-level", "warning"]
    with _process(["gunicorn", factory, *options, "--bind"], environment, log, address="127.0.0.1:{}") as served:
        yield served


@contextmanager
def _process(arguments: list[str], environment: Mapping[str, str], log: Path, address: str = "{}") -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-m", *arguments, address.format(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output)
    try:
        _await(process, port, log)
        yield Served(port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def _await(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise CommandError(f"a server did not start: {lines[-1] if lines else 'it said nothing'}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def get(path: str, token: str = "") -> bytes:
    """A GET as it goes over the wire."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n".encode()


async def _send_all(port: int, requests: Sequence[bytes], connections: int, each: list[float]) -> None:
    waiting = iter(requests)
    await asyncio.gather(*(_send_some(port, waiting, each) for _ in range(connections)))


async def _send_some(port: int, waiting: Iterator[bytes], each: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in waiting:
            started = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"http/1.1 200") or not body:
                raise CommandError(f"a server under comparison answered {head[:12].decode()}: {body[:200].decode(errors='replace')}")
            each.append(time.perf_counter() - started)
    finally:
        writer.close()
