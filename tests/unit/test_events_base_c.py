"""The connection to Base C: which node is asked, with what credentials, whom it trusts, and what a refusal means."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumidor.errors import DependencyDown, SettingsError
from consumidor.events.base_c import BaseC
from consumidor.settings import Settings
from tests.tries import best_within


class Node:
    """An HTTP server that answers every request with `status` and remembers it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.closes = False
        self.asked: list[tuple[str, str, str | None]] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if node.closes:
                    self.close_connection = True
                node.asked.append((self.command, self.path, self.headers["authorization"]))
                self.send_response(node.status)
                self.send_header("connection" if node.closes else "content-length", "close" if node.closes else "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        """Stop."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def node() -> Iterator[Callable[..., Node]]:
    """Makes nodes, and stops them."""
    made: list[Node] = []

    def make(tls: ssl.SSLContext | None = None) -> Node:
        made.append(Node(tls))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(base_c: BaseC) -> int:
    """The status of a request, connections closed after."""
    try:
        return base_c.request("GET", "/latest")[0]
    finally:
        base_c.close()


def test_credentials_and_prefix(node: Callable[..., Node]) -> None:
    """User and password of the URL, percent-encoded there, go into the header; a path of the URL stands before every request."""
    one = node()
    assert ask(BaseC(f"http://us%40er:p%2Css@{one.address}/es/", deadline=5)) == 200
    assert one.asked == [("GET", "/es/latest", "Basic " + b64encode(b"us@er:p,ss").decode())]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_another_node_is_asked_once(node: Callable[..., Node], status: int) -> None:
    """A node in trouble costs one request; the next ones go to the node that answered."""
    sick, well = node(), node()
    sick.status = status
    base_c = BaseC(f"http://{sick.address}, http://{well.address}", deadline=5)
    assert [base_c.request("GET", "/latest")[0] for _ in range(4)] == [200] * 4
    assert (len(sick.asked) <= 1, len(well.asked)) == (True, 4)
    well.status = status
    before = len(sick.asked)
    with pytest.raises(DependencyDown):
        ask(base_c)
    assert (len(sick.asked) - before, len(well.asked)) == (1, 5)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_refused_is_down(node: Callable[..., Node], status: int) -> None:
    """Credentials refused or an error of the server is Base C down, not an answer."""
    one = node()
    one.status = status
    with pytest.raises(DependencyDown):
        ask(BaseC(f"http://{one.address}", deadline=5))


def test_a_connection_that_was_closed_meanwhile(node: Callable[..., Node]) -> None:
    """A kept connection that the node has dropped, as after a Lambda's sleep, costs nothing but a new one."""
    one = node()
    base_c = BaseC(f"http://{one.address}", deadline=5)
    assert base_c.request("GET", "/a")[0] == 200
    port = one.server.server_port
    one.close()
    another = ThreadingHTTPServer(("127.0.0.1", port), one.server.RequestHandlerClass)
    another.daemon_threads = True
    threading.Thread(target=another.serve_forever, daemon=True).start()
    try:
        assert ask(base_c) == 200
    finally:
        another.shutdown()
        another.server_close()


def test_a_node_that_closes_each_connection(node: Callable[..., Node]) -> None:
    """An answer that ends with its connection is read whole, and the next request has a new one."""
    one = node()
    one.closes = True
    base_c = BaseC(f"http://{one.address}", deadline=5)
    assert [base_c.request("GET", "/a") for _ in range(3)] == [(200, b"{}")] * 3
    base_c.close()


@contextlib.contextmanager
def slow(pieces: Callable[[], Iterator[bytes]], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server that takes every connection and answers in these pieces, a tenth of a second apart, and reads nothing."""
    stop, threads = threading.Event(), []

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, tls.wrap_socket(connection, server_side=True) if tls else connection as given:
            for piece in pieces():
                if stop.wait(0.1):
                    return
                given.sendall(piece)
            stop.wait()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=answer, args=(listening.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join()


def slow_head() -> Iterator[bytes]:
    """A status line, then a header without end."""
    yield b"HTTP/1.1 200 OK\r\nx: "
    while True:
        yield b"x"


def slow_body() -> Iterator[bytes]:
    """A whole head, then one byte of the body after the other."""
    yield b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    while True:
        yield b"x"


def slow_chunks() -> Iterator[bytes]:
    """A whole head, then a body in chunks without end."""
    yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\nx\r\n"


def silence() -> Iterator[bytes]:
    """Nothing at all."""
    yield from ()


def seconds_of(url: str, body: bytes | None = None) -> float:
    """How long a request takes that finds Base C down: its deadline of 0.6 s at least."""
    base_c, started = BaseC(url, deadline=0.6), time.monotonic()
    with pytest.raises(DependencyDown):
        base_c.request("POST", "/latest", body)
    took = time.monotonic() - started
    base_c.close()
    assert took >= 0.5
    return took


def ends_at_its_deadline(url: str, body: bytes | None = None) -> None:
    """And not much later."""
    best_within(1.5, lambda: seconds_of(url, body))


@pytest.mark.parametrize("pieces", [slow_head, slow_body, slow_chunks, silence])
@pytest.mark.parametrize("nodes", [1, 2])
def test_the_deadline_is_of_all_that_a_request_takes(pieces: Callable[[], Iterator[bytes]], nodes: int) -> None:
    """However slowly nodes answer, and though each byte comes in time, the request ends at its deadline, its second attempt included."""
    with slow(pieces) as address:
        ends_at_its_deadline(",".join([f"http://{address}"] * nodes))


def test_the_deadline_is_of_sending_too() -> None:
    """A node that takes a request and reads none of it holds nobody longer than one that does not answer."""
    with slow(silence) as address:
        ends_at_its_deadline(f"http://{address}", bytes(50_000_000))


def test_the_deadline_over_tls(tmp_path: Path) -> None:
    """The same over TLS: a slow answer, a body that is not read, a handshake that is not answered."""
    tls, ca = self_signed(tmp_path / "ca.pem"), f"?ca_certs={tmp_path / 'ca.pem'}"
    with slow(slow_body, tls) as address:
        ends_at_its_deadline(f"https://{address}{ca}")
    with slow(silence, tls) as address:
        ends_at_its_deadline(f"https://{address}{ca}", bytes(50_000_000))
    with slow(silence) as address:
        ends_at_its_deadline(f"https://{address}{ca}")


def test_a_socket_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is Base C down and no more: nothing is said of a socket half made when it is dropped."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(9999, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))])
    with pytest.raises(DependencyDown):
        BaseC("http://localhost:9200", deadline=0.6).request("GET", "/latest")


def test_a_slow_node_leaves_time_for_another(node: Callable[..., Node]) -> None:
    """Of two nodes one is slow: the other answers within the deadline, and is asked first from then on."""
    well = node()
    with slow(slow_body) as address:
        base_c = BaseC(f"http://{address},http://{well.address}", deadline=2)
        started = time.monotonic()
        assert [base_c.request("GET", "/latest")[0] for _ in range(5)] == [200] * 5
        assert time.monotonic() - started < 1.9
        assert len(well.asked) == 5
        base_c.close()


CA = "a CA file that cannot be read or holds no certificate"


@pytest.mark.parametrize(
    ("urls", "fault"),
    [
        ("localhost:9200", "number 1 is no URL"),
        ("http://a:9200,", "number 2 is no URL"),
        ("http://a:9200, ftp://b", "number 2 is no URL"),
        ("http://a b", "number 1 is no URL"),
        ("https://", "number 1 has no host"),
        ("http://u:hunter2@:9200", "number 1 has no host"),
        ("http://a:hunter2", "number 1 has a host or port that is none"),
        ("http://a:70000", "number 1 has a host or port that is none"),
        ("http://a..b:9200", "number 1 has a host or port that is none"),
        ("http://a:1,http://[::1", "number 2 has a host or port that is none"),
        ("http://a:0", "number 1 has port 0"),
        ("http://a:9200?ca=x", "number 1 ends in something else"),
        ("http://a:9200#hunter2", "number 1 ends in something else"),
        ("https://a:9200?ca_certs=", f"number 1 names {CA}"),
        ("https://a:9200?ca_certs=/nonexistent/hunter2.pem", f"number 1 names {CA}"),
        (f"https://a:9200,https://b:9200?ca_certs={__file__}", f"number 2 names {CA}"),
    ],
)
def test_what_is_wrong_with_the_setting(urls: str, fault: str) -> None:
    """Each node's URL is checked before anything starts, beside the other settings; which one is wrong is told, and not its text."""
    given = {"ENVIRONMENT": "dev", "BASE_C_URL": urls, "CLIENTS": "{}", "PSEUDONYM_KEY": "short"}
    with pytest.raises(SettingsError, match=rf"BASE_C_URL must be .*{fault}.*; PSEUDONYM_KEY must be") as refused:
        Settings.from_env("search", given)
    assert "hunter2" not in str(refused.value)


def test_what_the_setting_may_be(tmp_path: Path) -> None:
    """One or more URLs, with user, password, path and CA file, and spaces after the commas."""
    self_signed(tmp_path / "a ca.pem")
    urls = ["http://127.0.0.1:9200", "http://[::1]:9200/es/", f"https://us%40er:p%2Css@node?ca_certs={tmp_path}/a%20ca.pem"]
    given = {"ENVIRONMENT": "dev", "CLIENTS": "{}", "PSEUDONYM_KEY": "ab" * 32}
    for separator in (",", " , "):
        settings = Settings.from_env("search", given | {"BASE_C_URL": separator.join(urls)})
        assert settings.base_c_url == ",".join(urls)
    BaseC(settings.base_c_url, deadline=1).close()


def test_whose_certificate_is_trusted(node: Callable[..., Node], tmp_path: Path) -> None:
    """Over TLS a node is trusted by the CA that the URL names, and without it not at all."""
    certificate = tmp_path / "ca and node.pem"
    one = node(self_signed(certificate))
    assert ask(BaseC(f"https://{one.address}?ca_certs={str(certificate).replace(' ', '%20')}", deadline=5)) == 200
    with pytest.raises(DependencyDown):
        ask(BaseC(f"https://{one.address}", deadline=5))


def self_signed(file: Path) -> ssl.SSLContext:
    """A server context whose certificate, of 127.0.0.1, is its own authority; the certificate is left in `file`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = file.with_suffix(".key")
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*formats))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return context
