"""The events path: the search and feed Lambdas before Base C, and the mapping that feeds the one from its queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws
from access import Access
from credentials import SecretText
from environments import Environment
from function import Function, FunctionArgs
from iam import Statement
from keys import Keys
from queues import Queue

FEED_TIMEOUT = 30
FEED_VISIBILITY = 6 * FEED_TIMEOUT  # docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
SEARCH_TIMEOUT = 10
CA_PATH = "/opt/base-c-ca.pem"  # where the layer below puts Base C's authority
_BUILD = Path(__file__).parent.parent / "build"


@dataclass(frozen=True)
class EventsArgs:
    """What the path is built on. `base_c_ca`: the PEM of Base C's authority, where Base C is ours. -1 reserves no concurrency."""

    environment: Environment
    subnets: Sequence[pulumi.Input[str]]
    access: Access
    keys: Keys
    registry: pulumi.Input[str]
    feed: Queue
    inquiry_senders: Sequence[pulumi.Input[str]]
    pseudonym_key: SecretText
    search_url: SecretText
    feed_url: SecretText
    base_c_ca: pulumi.Output[str] | None
    extension_layer: str
    search_reserved: int
    feed_reserved: int


class Events(pulumi.ComponentResource):
    """`search` and `feed` (functions)."""

    def __init__(self, name: str, args: EventsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Events", name, None, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        self._layers: list[pulumi.Input[str]] = [args.extension_layer]
        if args.base_c_ca is not None:
            archive = args.base_c_ca.apply(lambda pem: pulumi.AssetArchive({Path(CA_PATH).name: pulumi.StringAsset(str(pem))}))
            layer = aws.lambda_.LayerVersion(
                "base-c-ca", layer_name="consumidor-base-c-ca", description="Base C's certificate authority", code=archive, opts=self._child
            )
            self._layers.append(layer.arn)
        self.search = self._search()
        self.feed = self._feed()
        self.register_outputs({})

    def _function(self, process: str, environment: Mapping[str, pulumi.Input[str]], base_c: SecretText, timeout: int, reserved: int,
                  may: Sequence[Statement]) -> Function:  # fmt: skip
        args = self._args
        return Function(process, FunctionArgs(
            archive=_BUILD / f"consumidor_{process}.zip",
            handler=f"consumidor.events.{process}.handler",
            environment={"ENVIRONMENT": args.environment.name, **environment},
            secrets={"BASE_C_URL": base_c, "PSEUDONYM_KEY": args.pseudonym_key},
            may=may,
            layers=self._layers,
            timeout=timeout,
            reserved_concurrency=reserved,
            subnets=args.subnets,
            security_group=args.access[process],
            environment_key=args.keys["secrets"],
            log_key=args.keys["logs"],
            log_days=args.environment.log_days,
        ), self._child)  # fmt: skip

    def _search(self) -> Function:
        args = self._args
        return self._function("search", {"CLIENTS": args.registry}, args.search_url, SEARCH_TIMEOUT, args.search_reserved, ())

    def _feed(self) -> Function:
        args = self._args
        may = (
            Statement(("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"), (args.feed.arn,)),
            Statement(("sqs:SendMessage",), (args.feed.dead_letter_arn,)),
            Statement(("kms:GenerateDataKey", "kms:Decrypt"), (args.keys["feed"],)),
        )
        environment = {
            "EVENTS_FEED_DLQ_URL": args.feed.dead_letter_url,
            "INQUIRY_SENDERS": pulumi.Output.all(*args.inquiry_senders).apply(lambda ids: ",".join(map(str, ids))),
        }
        function = self._function("feed", environment, args.feed_url, FEED_TIMEOUT, args.feed_reserved, may)
        aws.lambda_.EventSourceMapping(
            "feed",
            event_source_arn=args.feed.arn,
            function_name=function.arn,
            batch_size=10,
            function_response_types=["ReportBatchItemFailures"],
            scaling_config=aws.lambda_.EventSourceMappingScalingConfigArgs(maximum_concurrency=args.environment.feed_concurrency),
            opts=pulumi.ResourceOptions(parent=function, depends_on=[function.policy]),
        )
        return function
