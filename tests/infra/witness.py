"""Stands between a process and AWS, forwards every call, and remembers which right each one needs.

So a test can hold what a process really does against what its role allows, without a real IAM.
"""

import fnmatch
import json
import threading
from collections.abc import Iterable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import urllib3

from tests.infra.graph import Graph

_OWN = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}  # of each connection, not of what it carries
_S3 = {"PUT": "s3:PutObject", "GET": "s3:GetObject", "HEAD": "s3:GetObject", "DELETE": "s3:DeleteObject", "POST": "s3:PutObject"}


def _read_body(request: BaseHTTPRequestHandler) -> bytes:
    """A request's body, chunked or not: Arrow's S3 client sends chunks."""
    if request.headers.get("transfer-encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("content-length") or 0))
    body = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    while request.rfile.readline().strip():  # trailers
        pass
    return body


def _passed_on(headers: Message) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OWN}


class Right(NamedTuple):
    """An IAM action on a resource's ARN."""

    action: str
    resource: str


def missing(graph: Graph, role: str, rights: Iterable[Right]) -> list[Right]:
    """Those of the rights that the role does not have."""
    allowed = graph.may(role)
    return sorted(
        right for right in rights
        if not any(right.action in statement.actions and any(fnmatch.fnmatchcase(right.resource, arn) for arn in statement.resources)
                   for statement in allowed)
    )  # fmt: skip


class Witness:
    """`endpoint` is the AWS endpoint to give to the process; `rights` all that its calls needed.

    `graph` is what the names in them belong to: it is known before the first call, but not before the endpoint is given out.
    """

    graph: Graph

    def __init__(self, behind: str) -> None:
        self.rights: set[Right] = set()
        pool = urllib3.PoolManager(maxsize=40)
        witness = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                body = _read_body(self)
                witness._remember(self.command, self.path, self.headers["X-Amz-Target"] or "", body)
                answer = pool.request(
                    self.command, behind + self.path, body=body, headers=_passed_on(self.headers), redirect=False, decode_content=False
                )
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _OWN:
                        self.send_header(name, value)
                length = answer.headers.get("content-length", "0") if self.command == "HEAD" else str(len(answer.data))
                self.send_header("content-length", length)
                self.end_headers()
                self.wfile.write(answer.data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop forwarding."""
        self._server.shutdown()
        self._server.server_close()

    def _remember(self, method: str, path: str, target: str, body: bytes) -> None:
        if target.startswith("AmazonSQS."):
            self.rights.update(self._on_queue(target.partition(".")[2].removesuffix("Batch"), json.loads(body)["QueueUrl"]))
        elif target.startswith("TrentService."):
            key = json.loads(body).get("KeyId") or self._key("vault")  # Decrypt may leave it to the ciphertext
            self.rights.add(Right(f"kms:{target.partition('.')[2]}", key))
        else:
            self.rights.update(self._on_bucket(method, path))

    def _on_queue(self, action: str, url: str) -> Iterator[Right]:
        (queue,) = (one for one in self.graph.of("sqs:Queue") if one.get("name") == url.rpartition("/")[2])
        yield Right(f"sqs:{action}", queue.get("arn"))
        if action == "SendMessage":  # docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
            yield Right("kms:GenerateDataKey", queue.get("kmsMasterKeyId"))
        if action in {"SendMessage", "ReceiveMessage"}:
            yield Right("kms:Decrypt", queue.get("kmsMasterKeyId"))

    def _on_bucket(self, method: str, path: str) -> Iterator[Right]:
        parts = urlsplit(path)
        name, _, key = parts.path.lstrip("/").partition("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        if not key or "list-type" in query:
            yield Right("s3:ListBucketVersions" if "versions" in query else "s3:ListBucket", f"arn:aws:s3:::{name}")
            return
        yield Right(_S3[method], f"arn:aws:s3:::{name}/{key}")
        encryption = "s3:BucketServerSideEncryptionConfiguration"
        for one in self.graph.of(encryption):
            if one.get("bucket") == name:
                with_key = one.get("rules")[0]["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"]
                yield Right("kms:Decrypt" if method in {"GET", "HEAD"} else "kms:GenerateDataKey", with_key)

    def _key(self, purpose: str) -> str:
        return str(self.graph.one("kms:Key", f"keys-{purpose}").get("arn"))
