"""The embedded AWS: what it is made of, who may reach it, and what outlives a kill."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError
from moto import mock_aws

from consumidor.errors import CommandError
from consumidor.local.aws import CHECKPOINT_BUCKET, GATEWAY_ACCOUNT, KEY_ALIAS, RESULTS_BUCKET, WORKER_ACCOUNT, Aws, aws_server
from consumidor.local.supervisor import Supervisor, free_port
from tests.servers.aws import AwsServer


@pytest.mark.parametrize(
    ("queue", "retention", "redriven"),
    [
        ("people-requests", 4 * 86400, True),
        ("people-requests-dlq", 14 * 86400, False),
        ("people-responses-acme", 86400, False),
        ("events-feed", 4 * 86400, True),
        ("events-feed-dlq", 14 * 86400, False),
    ],
)
def test_queues(ministack: AwsServer, queue: str, retention: int, redriven: bool) -> None:
    """Every queue has the contract's attributes, as an outsider reads them."""
    sqs = ministack.client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], AttributeNames=["All"])["Attributes"]
    assert attributes["MaximumMessageSize"] == "1048576"
    assert attributes["VisibilityTimeout"] == "30"
    assert attributes["MessageRetentionPeriod"] == str(retention)
    assert ('"maxReceiveCount": 1000' in attributes.get("RedrivePolicy", "")) == redriven


def test_sender_tells_ours_from_outsiders(ministack: AwsServer) -> None:
    """A message's SenderId is its sender's account: ours is in INQUIRY_SENDERS, that of `test` is not."""
    url = ministack.queue("senders")
    for account in (WORKER_ACCOUNT, GATEWAY_ACCOUNT, "test"):
        ministack.client("sqs", account).send_message(QueueUrl=url, MessageBody=account)
    received = ministack.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["SenderId"])
    senders = {message["Body"]: message["Attributes"]["SenderId"] for message in received["Messages"]}
    trusted = set(ministack.aws.inquiry_senders().split(","))
    assert {body for body, sender in senders.items() if sender in trusted} == {WORKER_ACCOUNT, GATEWAY_ACCOUNT}


def test_results_bucket(ministack: AwsServer) -> None:
    """What the worker writes is encrypted under our key; the gateway may link to it, not write; it is gone after 3 days."""
    key = {"Bucket": RESULTS_BUCKET, "Key": "responses/acme/one"}
    ministack.client("s3", WORKER_ACCOUNT).put_object(**key, Body=b"report")
    stored = ministack.client("s3").head_object(**key)
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", ministack.resources.base_a_key)
    gateway = ministack.client("s3", GATEWAY_ACCOUNT)
    link = gateway.generate_presigned_url("get_object", Params=key, ExpiresIn=3)
    assert urllib3.request("GET", link).data == b"report"
    time.sleep(4.1)
    assert urllib3.request("GET", link).status == 403
    with pytest.raises(ClientError, match="AccessDenied"):
        gateway.put_object(**key, Body=b"forged")
    rules = ministack.client("s3").get_bucket_lifecycle_configuration(Bucket=RESULTS_BUCKET)["Rules"]
    assert [rule["Expiration"]["Days"] for rule in rules] == [3]


def test_checkpoints_cannot_be_deleted(ministack: AwsServer) -> None:
    """A checkpoint's version is locked, for its owner too."""
    ministack.client("s3", WORKER_ACCOUNT).put_object(Bucket=CHECKPOINT_BUCKET, Key="head", Body=b"1")
    owner = ministack.client("s3")
    version = owner.head_object(Bucket=CHECKPOINT_BUCKET, Key="head")["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        owner.delete_object(Bucket=CHECKPOINT_BUCKET, Key="head", VersionId=version)


def test_ensure_changes_nothing_twice(ministack: AwsServer) -> None:
    """Ensured again, everything is where it was, and messages stay."""
    ministack.client("sqs").send_message(QueueUrl=ministack.resources.people_requests_dlq, MessageBody="kept")
    assert ministack.aws.ensure(["acme", "globex"]) == ministack.resources
    kept = ministack.client("sqs").receive_message(QueueUrl=ministack.resources.people_requests_dlq)["Messages"]
    assert [message["Body"] for message in kept] == ["kept"]
    ministack.client("sqs").delete_message(QueueUrl=ministack.resources.people_requests_dlq, ReceiptHandle=kept[0]["ReceiptHandle"])


@pytest.mark.parametrize(("region", "place"), [("sa-east-1", "sa-east-1"), ("us-east-1", None)])
def test_buckets_lie_in_the_region(monkeypatch: pytest.MonkeyPatch, region: str, place: str | None) -> None:
    """Also in the one that S3 takes where none is named, and refuses by its name (over moto, which does as well)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        aws = Aws("http://aws.test", region, own_credentials=True)
        session: Any = boto3.Session(region_name=region)
        aws.sqs, aws.s3, aws.kms = (session.client(service) for service in ("sqs", "s3", "kms"))
        made = aws.ensure(["acme"])
        for bucket in (made.results_bucket, made.checkpoint_bucket):
            assert aws.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == place


def test_kill_after_a_clean_stop_keeps_keys_and_queues(tmp_path: Path) -> None:
    """Key and queues made before a clean stop survive a kill -9; made after it, only `ensure` brings them back."""
    heard: list[str] = []
    supervisor, port = Supervisor(tmp_path, heard.append), free_port()
    try:
        supervisor.start(aws_server(tmp_path, port))
        aws = Aws(f"http://127.0.0.1:{port}")
        assert not aws.has_key()
        made = aws.ensure(["acme"])
        sealed = aws.kms.encrypt(KeyId=KEY_ALIAS, Plaintext=b"secret")["CiphertextBlob"]
        supervisor.restart("aws")
        aws.ensure_response_queue("later")
        os.kill(supervisor.pids()["aws"], signal.SIGKILL)
        deadline = time.monotonic() + 10
        while "aws is back" not in heard and time.monotonic() < deadline:
            time.sleep(0.05)
        assert aws.kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
        assert aws.sqs.get_queue_url(QueueName="people-responses-acme")
        with pytest.raises(ClientError, match=r"NonExistentQueue|QueueDoesNotExist"):
            aws.sqs.get_queue_url(QueueName="people-responses-later")
        assert aws.ensure(["acme", "later"]) == made
        assert aws.sqs.get_queue_url(QueueName="people-responses-later")
    finally:
        supervisor.stop()


def test_no_answer_is_one_line() -> None:
    """An endpoint that does not answer is named."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(CommandError, match=f"AWS at {endpoint}"):
        Aws(endpoint).has_key()
