"""Queues, buckets and keys: ministack, or whatever `AWS_ENDPOINT_URL` names, laid out as the deployed stack is.

ministack reads an account out of a 12-digit access key, and gives that account as the sender of a message. All queues and
buckets live in the default account, which any other key, such as `test`, stands for. Our own producers have accounts of
their own, so that what they send is told apart from what an outsider sends; they reach the buckets by bucket policy, and
the worker's account holds the key that seals Base A.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from consumidor.errors import CommandError
from consumidor.local.supervisor import Server, http_ready

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

REGION = "sa-east-1"
ACCOUNT = "000000000000"  # ministack's default; owns queues and buckets
WORKER_ACCOUNT = "111111111111"
GATEWAY_ACCOUNT = "222222222222"
FEED_ACCOUNT = "333333333333"  # so that a dead letter of the feed's is told from one that anybody put there
KEY_ALIAS = "alias/consumidor-base-a"
RESULTS_BUCKET = "consumidor-people-results"
CHECKPOINT_BUCKET = "consumidor-audit-checkpoints"
_ACCOUNTS = {
    "worker": WORKER_ACCOUNT, "migrate": WORKER_ACCOUNT, "api": GATEWAY_ACCOUNT, "score-api": GATEWAY_ACCOUNT, "feed": FEED_ACCOUNT,
}  # fmt: skip
_DAY = 86400
_MESSAGE_LIMIT = 1024 * 1024  # bytes, the largest SQS allows since August 2025
_DEAD_LETTERS = {"MessageRetentionPeriod": 14 * _DAY, "VisibilityTimeout": 30}
_RESPONSES = {"MessageRetentionPeriod": _DAY, "VisibilityTimeout": 30}
# What each of our accounts may do in each bucket, ListBucket being what a health check's HeadBucket needs; nothing else.
_GRANTS: dict[str, dict[str, tuple[str, ...]]] = {
    RESULTS_BUCKET: {WORKER_ACCOUNT: ("s3:PutObject", "s3:ListBucket"), GATEWAY_ACCOUNT: ("s3:GetObject", "s3:ListBucket")},
    CHECKPOINT_BUCKET: {WORKER_ACCOUNT: ("s3:PutObject",)},
}
_MAX_RECEIVES = 1000  # a backstop: the consumers themselves decide what is dead


class Resources(NamedTuple):
    """Where everything is: queue URLs, bucket names, the key. `responses_prefix` is a queue URL less the client's name."""

    people_requests: str
    people_requests_dlq: str
    responses_prefix: str
    events_feed: str
    events_feed_dlq: str
    results_bucket: str
    checkpoint_bucket: str
    base_a_key: str


class Aws:
    """The AWS side of a stack at one endpoint; with the user's own credentials where it is not our ministack.

    Raises:
        CommandError: the endpoint refuses or does not answer (every method).
    """

    def __init__(self, endpoint: str, region: str = REGION, *, own_credentials: bool = False) -> None:
        self.endpoint = endpoint
        self.region = region
        self._own_credentials = own_credentials
        self.sqs: SQSClient = self._client("sqs", "test")
        self.s3: S3Client = self._client("s3", "test")
        self.kms: KMSClient = self._client("kms", WORKER_ACCOUNT)

    def _client(self, service: str, account: str) -> Any:
        given = {} if self._own_credentials else {"aws_access_key_id": account, "aws_secret_access_key": "test"}
        make: Any = boto3.Session
        session = make(**given, region_name=self.region)
        quick = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 2})
        return session.client(service, endpoint_url=self.endpoint, config=quick)

    def has_key(self) -> bool:
        """Whether the key that seals Base A exists yet."""
        with self._explained():
            aliases = self.kms.get_paginator("list_aliases").paginate()
            return any(alias["AliasName"] == KEY_ALIAS for page in aliases for alias in page["Aliases"])

    def ensure(self, clients: Iterable[str]) -> Resources:
        """Make what is missing, set what differs; changes nothing where all is there. `clients` get a response queue each."""
        with self._explained():
            key = self._ensure_key()
            self._ensure_buckets(key)
            for client in clients:
                self.ensure_response_queue(client)
            requests, requests_dlq = self._ensure_pair("people-requests", 4 * _DAY)
            feed, feed_dlq = self._ensure_pair("events-feed", 4 * _DAY)
        prefix = requests.removesuffix("people-requests") + "people-responses-"
        return Resources(requests, requests_dlq, prefix, feed, feed_dlq, RESULTS_BUCKET, CHECKPOINT_BUCKET, key)

    def ensure_response_queue(self, client: str) -> str:
        """The URL of one client's response queue."""
        with self._explained():
            return self._ensure_queue(f"people-responses-{client}", _RESPONSES)

    def _ensure_key(self) -> str:
        if not self.has_key():
            key = self.kms.create_key(Description="Wraps the data keys of Base A")["KeyMetadata"]["KeyId"]
            self.kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key)
        return str(self.kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]["Arn"])

    def _ensure_pair(self, name: str, retention: int) -> tuple[str, str]:
        """A queue and its dead letters."""
        dead = self._ensure_queue(f"{name}-dlq", _DEAD_LETTERS)
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": _MAX_RECEIVES})
        attributes = {"MessageRetentionPeriod": retention, "VisibilityTimeout": 30, "RedrivePolicy": redrive}
        return self._ensure_queue(name, attributes), dead

    def _ensure_queue(self, name: str, attributes: dict[str, Any]) -> str:
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        if not self._own_credentials:  # after a change of port it may still answer with the old one
            url = self.endpoint + urlsplit(url).path
        wanted: Any = {key: str(value) for key, value in attributes.items()} | {"MaximumMessageSize": str(_MESSAGE_LIMIT)}
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
        return url

    def _ensure_buckets(self, key: str) -> None:
        existing = {bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]}
        for bucket, locked in ((RESULTS_BUCKET, False), (CHECKPOINT_BUCKET, True)):
            if bucket not in existing:
                here: Any = {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
                given = {} if self.region == "us-east-1" else here  # S3's default, which it refuses to be told
                self.s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locked, **given)
                self._set_up_bucket(bucket, key)
        if RESULTS_BUCKET not in existing:
            expire: Any = {"ID": "results", "Status": "Enabled", "Filter": {"Prefix": "responses/"}, "Expiration": {"Days": 3}}
            self.s3.put_bucket_lifecycle_configuration(Bucket=RESULTS_BUCKET, LifecycleConfiguration={"Rules": [expire]})
        if CHECKPOINT_BUCKET not in existing:
            self.s3.put_object_lock_configuration(Bucket=CHECKPOINT_BUCKET, ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}})  # fmt: skip

    def _set_up_bucket(self, bucket: str, key: str) -> None:
        """Everything encrypted under our key; our processes let in, where they have accounts of their own."""
        by_default: Any = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
        self.s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [by_default]})
        if not self._own_credentials:
            allowed = [_allow(account, bucket, *actions) for account, actions in _GRANTS[bucket].items()]
            self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": allowed}))

    def inquiry_senders(self) -> str:
        """The setting `INQUIRY_SENDERS`: whose `bureau_inquiry` events count."""
        if not self._own_credentials:
            return f"{WORKER_ACCOUNT},{GATEWAY_ACCOUNT}"
        with self._explained():
            return str(self._client("sts", "").get_caller_identity()["UserId"]).partition(":")[0]

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise CommandError(f"AWS at {self.endpoint}: {error}") from error


def credentials(process: str) -> dict[str, str]:
    """The credentials in ministack for one of our processes, as boto3 reads them from the environment."""
    return {"AWS_ACCESS_KEY_ID": _ACCOUNTS.get(process, "test"), "AWS_SECRET_ACCESS_KEY": "test"}


def _allow(account: str, bucket: str, *actions: str) -> dict[str, object]:
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    return {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": actions, "Resource": resources}


def aws_server(home: Path, port: int) -> Server:
    """A ministack on 127.0.0.1:`port`, its state in `home`/aws.

    It saves its state when it is stopped cleanly and only then; objects in buckets are files at once.
    """
    data = home / "aws"

    def make_folders() -> None:
        for folder in ("", "state", "s3", "tmp"):
            (data / folder).mkdir(parents=True, exist_ok=True, mode=0o700)

    environment = {
        "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "MINISTACK_HOST": "127.0.0.1", "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "1", "STATE_DIR": str(data / "state"), "S3_PERSIST": "1", "S3_DATA_DIR": str(data / "s3"),
        "TMPDIR": str(data / "tmp"), "LAMBDA_EXECUTOR": "local", "LOG_LEVEL": "WARNING",
        "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "DOCKER_HOST": "unix:///nonexistent",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION,
    }  # fmt: skip
    return Server(
        name="aws", command=[sys.executable, "-m", "ministack"], env=environment, before_start=make_folders,
        ready=http_ready(f"http://127.0.0.1:{port}/_ministack/health"),
    )  # fmt: skip
