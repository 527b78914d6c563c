"""A real ministack, with every queue, bucket and key of the stack, once a session."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config

from consumidor.local.aws import REGION, Aws, Resources, aws_server
from consumidor.local.supervisor import Supervisor, free_port


class AwsServer(NamedTuple):
    """A running ministack: what it holds, and clients in any account (`test` is an outsider's)."""

    aws: Aws
    resources: Resources

    @property
    def endpoint(self) -> str:
        """The base URL of every AWS call."""
        return self.aws.endpoint

    def client(self, service: str, account: str = "test") -> Any:
        """A boto3 client that is that account."""
        session: Any = boto3.Session(aws_access_key_id=account, aws_secret_access_key="test", region_name=REGION)
        config = Config(signature_version="s3v4") if service == "s3" else None  # the only one whose links ministack lets expire
        return session.client(service, endpoint_url=self.endpoint, config=config)

    def queue(self, name: str) -> str:
        """The URL of a new queue, with SQS's largest message size."""
        url = self.aws.sqs.create_queue(QueueName=name, Attributes={"MaximumMessageSize": "1048576"})["QueueUrl"]
        return str(url)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    """Shared by all tests: make queues of your own, or leave the common ones empty."""
    home = tmp_path_factory.mktemp("aws")
    supervisor = Supervisor(home, announce=print)
    port = free_port()
    try:
        supervisor.start(aws_server(home, port))
        aws = Aws(f"http://127.0.0.1:{port}")
        yield AwsServer(aws, aws.ensure(["acme", "globex"]))
    finally:
        supervisor.stop()
