"""The connection to Base C: which node is asked, with what credentials, whom it trusts, and what a refusal means."""

import datetime as dt
import ipaddress
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumidor.errors import DependencyDown
from consumidor.events.base_c import BaseC


class Node:
    """An HTTP server that answers every request with `status` and remembers it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.asked: list[tuple[str, str, str | None]] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                node.asked.append((self.command, self.path, self.headers["authorization"]))
                self.send_response(node.status)
                self.send_header("content-length", "2")
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
