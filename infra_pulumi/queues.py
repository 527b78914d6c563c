"""SQS queues: encrypted with a key of their purpose, TLS only, 1 MiB messages, and dead letters but for response queues."""

from dataclasses import dataclass

import iam
import pulumi
import pulumi_aws as aws

MAX_MESSAGE_BYTES = 1024 * 1024
DAY = 24 * 60 * 60
MAX_RECEIVES = 1000  # a backstop only: the consumers decide what is dead, so an outage must not exile good messages
LONG_POLL_SECONDS = 20


@dataclass(frozen=True)
class QueueArgs:
    """`dead_letters`: whether a `<name>-dlq` stands behind it (14 days). Times in seconds."""

    key: pulumi.Input[str]
    visibility: int
    retention: int
    dead_letters: bool


class Queue(pulumi.ComponentResource):
    """`url`, `arn`, `name`, and of a queue that has them its dead letters' `dead_letter_url` and `dead_letter_arn`.

    The component's name is the queue's.
    """

    url: pulumi.Output[str]
    arn: pulumi.Output[str]
    dead_letter_url: pulumi.Output[str]
    dead_letter_arn: pulumi.Output[str]

    def __init__(self, name: str, args: QueueArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Queue", name, None, opts)
        self._args = args
        self.name = name
        redrive = None
        if args.dead_letters:
            dead = self._queue(f"{name}-dlq", 14 * DAY, None)
            self.dead_letter_url, self.dead_letter_arn = dead.url, dead.arn
            redrive = pulumi.Output.json_dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": MAX_RECEIVES})
        queue = self._queue(name, args.retention, redrive)
        self.url, self.arn = queue.url, queue.arn
        self.register_outputs({"url": self.url})

    def _queue(self, name: str, retention: int, redrive: pulumi.Input[str] | None) -> aws.sqs.Queue:
        queue = aws.sqs.Queue(
            name,
            name=name,
            max_message_size=MAX_MESSAGE_BYTES,
            message_retention_seconds=retention,
            visibility_timeout_seconds=self._args.visibility,
            receive_wait_time_seconds=LONG_POLL_SECONDS,
            kms_master_key_id=self._args.key,
            kms_data_key_reuse_period_seconds=300,
            redrive_policy=redrive,
            opts=pulumi.ResourceOptions(parent=self),
        )
        policy = iam.document([iam.tls_only(queue.arn, action="sqs:*")])
        aws.sqs.QueuePolicy(name, queue_url=queue.url, policy=policy, opts=pulumi.ResourceOptions(parent=queue))
        return queue
