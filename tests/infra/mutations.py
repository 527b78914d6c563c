"""Deliberate faults: one small change of the program's text each, and the property that has to catch it.

Running a program takes longer than checking it, so faults that different properties have to catch share a run.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROGRAM = Path(__file__).parents[2] / "infra_pulumi"


class Mutation(NamedTuple):
    """In `file`, `old` (there exactly once) becomes `new`; the property `caught_by` must then say `shown`."""

    file: str
    old: str
    new: str
    caught_by: str
    shown: str


MUTATIONS = {
    "an open port": Mutation(
        "access.py", "referenced_security_group_id=source.id,", 'cidr_ipv4="0.0.0.0/0",',
        "nothing_is_reached_but_through_the_gateway", "lets in an address range",
    ),
    "a public database": Mutation(
        "base_a.py", "publicly_accessible=False", "publicly_accessible=True",
        "nothing_is_reached_but_through_the_gateway", "rds:Instance base-a is not told to stay private",
    ),
    "a plain secret": Mutation(
        "people.py", '"METRICS_PORT": str(METRICS_PORT),', '"METRICS_PORT": __import__("credentials").password("leaked", self),',
        "no_secret_is_in_plain_text", "ecs:TaskDefinition worker is given a secret in containerDefinitions",
    ),
    "a secret in an output": Mutation(
        "__main__.py", 'pulumi.export("events_feed_queue", feed.url)', 'pulumi.export("events_feed_queue", pseudonym.hex)',
        "no_secret_is_in_plain_text", "the stack's output events_feed_queue shows a secret",
    ),
    "a missing dead letter queue": Mutation(
        "queues.py", "redrive_policy=redrive,", "redrive_policy=None,",
        "queues_keep_what_they_are_given", "sqs:Queue people-requests has no dead letter queue of its own behind it",
    ),
    "a wrong handler": Mutation(
        "events.py", "consumidor.events.{process}.handler", "consumidor.events.{process}.main",
        "lambdas_are_what_the_code_is", "lambda:Function search calls consumidor.events.search.main",
    ),
    "a missing scope": Mutation(
        "gateway.py", "authorization_scopes=[scope(route.scope)],", "authorization_scopes=None,",
        "every_route_of_the_contract_asks_for_its_scope", "route POST /v1/people/requests asks for None",
    ),
    "a wrong scope": Mutation(
        "gateway.py", '{cpf}/profile", "profile.read"', '{cpf}/profile", "score.read"',
        "every_route_of_the_contract_asks_for_its_scope", "asks for ['consumidor/score.read'], not for consumidor/profile.read",
    ),
    "a route without a token": Mutation(
        "gateway.py", 'authorization_type="JWT",', 'authorization_type="NONE",',
        "every_route_of_the_contract_asks_for_its_scope", "asks for no token",
    ),
    "a way from the people API to Base A": Mutation(
        "access.py", 'Flow("worker", "base-a", POSTGRES),', 'Flow("worker", "base-a", POSTGRES), Flow("api", "base-a", POSTGRES),',
        "the_people_api_has_no_way_to_base_a", "other groups than the worker's and the migration's reach Base A",
    ),
    "a right of the people API to Base A's key": Mutation(
        "people.py", '(keys["responses"], keys["results"])', '(keys["responses"], keys["results"], keys["vault"])',
        "the_people_api_has_no_way_to_base_a", "iam:RolePolicy api may use",
    ),
    "the pseudonym key in the worker": Mutation(
        "people.py", 'environment, {"BASE_A_DSN": args.base_a.worker_dsn}',
        'environment, {"BASE_A_DSN": args.base_a.worker_dsn, "HOST": args.pseudonym_key}',
        "each_process_reads_its_own_secrets_only", "worker may read the secrets ['base-a-worker-dsn', 'pseudonym-key']",
    ),
    "a star in a role": Mutation(
        "score.py", 'Statement(("sqs:SendMessage",)', 'Statement(("sqs:*",)',
        "no_star_without_a_reason", "iam:RolePolicy score: Allow sqs:*",
    ),
    "a right to what does not exist": Mutation(
        "events.py", "(args.feed.dead_letter_arn,)", '("arn:aws:sqs:sa-east-1:123456789012:events-dead",)',
        "policies_speak_of_what_exists", "iam:RolePolicy feed names arn:aws:sqs:sa-east-1:123456789012:events-dead",
    ),
    "an unencrypted queue": Mutation(
        "queues.py", "kms_master_key_id=self._args.key,", "kms_master_key_id=None,",
        "everything_is_encrypted", "sqs:Queue events-feed is not encrypted",
    ),
    "requests without TLS": Mutation(
        "buckets.py", "policy = iam.document([iam.tls_only(bucket.arn, ", "policy = iam.document([iam.tls_only(",
        "queues_and_buckets_take_tls_only", "s3:Bucket people-results accepts requests without TLS",
    ),
    "half a bucket without TLS": Mutation(
        "buckets.py", 'action="s3:*")', 'action="s3:GetObject")',
        "queues_and_buckets_take_tls_only", "s3:Bucket people-results accepts requests without TLS: denied are [('*', ('s3:GetObject',)",
    ),
    "a topic without TLS": Mutation(
        "alarms.py", ', iam.tls_only(topic, action="sns:Publish")', "",
        "queues_and_buckets_take_tls_only", "sns:Topic alarms accepts requests without TLS",
    ),
    "a path in the access log": Mutation(
        "gateway.py", '"route": "$context.routeKey"', '"route": "$context.path"',
        "no_log_holds_a_path", "logs ['path']",
    ),
    "a log kept for ever": Mutation(
        "task.py", "retention_in_days=platform.environment.log_days,", "",
        "logs_end_and_have_a_place", "cloudwatch:LogGroup worker keeps its lines for ever",
    ),
    "a setting forgotten": Mutation(
        "people.py", '"AUDIT_CHECKPOINT_BUCKET": args.checkpoints.name,', "",
        "every_process_is_told_what_it_needs", "worker lacks AUDIT_CHECKPOINT_BUCKET",
    ),
    "a setting too many": Mutation(
        "score.py", '"EVENTS_FEED_QUEUE_URL": args.feed.url,', '"EVENTS_FEED_QUEUE_URL": args.feed.url, "BASE_A_DSN": "x",',
        "every_process_is_told_what_it_needs", "score-api is given BASE_A_DSN, which it does not read",
    ),
    "a setting that cannot be read": Mutation(
        "base_b.py", '"mongodb://{}:{}@{}:{}/{}?{}"', '"mongo://{}:{}@{}:{}/{}?{}"',
        "every_setting_can_be_read", "BASE_B_URI must be a mongodb:// URI",
    ),
    "a message shown again too soon": Mutation(
        "events.py", "FEED_VISIBILITY = 6 * FEED_TIMEOUT", "FEED_VISIBILITY = FEED_TIMEOUT",
        "the_feed_takes_partial_failures", "less than 6 times the Lambda's timeout",
    ),
    "a root container": Mutation(
        "task.py", '"user": "10001:10001"', '"user": "0:0"',
        "containers_are_confined", "ecs:TaskDefinition worker runs as 0:0",
    ),
    "a worker that stops at night": Mutation(
        "service.py", "min_capacity=self._args.min_tasks,\n", "min_capacity=0,\n",
        "services_scale", "appautoscaling:Target worker scales from 0",
    ),
    "scaling that stays suspended": Mutation(
        "service.py", "dynamic_scaling_out_suspended=waiting, ", "",
        "services_scale", "appautoscaling:Target worker is told",
    ),
    "a node before its ways out": Mutation(
        "base_c.py", "(*args.after, secret.version)", "(secret.version,)",
        "nodes_start_with_all_that_they_need", "ec2:Instance base-c-0 may start before ec2:NatGateway consumidor-nat-sa-east-1a",
    ),
    "a node before its secret": Mutation(
        "base_c.py", "(*args.after, secret.version)", "args.after",
        "nodes_start_with_all_that_they_need", "ec2:Instance base-c-0 may start before secretsmanager:SecretVersion base-c-0",
    ),
    "an address that anything may take": Mutation(
        "network.py", "known = aws.ec2.SubnetCidrReservation(", "_ = aws.ec2.SubnetCidrReservation(",
        "fixed_addresses_are_reserved", "may take an address of ec2:SubnetCidrReservation consumidor-private-sa-east-1a",
    ),
    "connections closed too soon": Mutation(
        "load_balancer.py", "idle_timeout=60,", "idle_timeout=75,",
        "the_load_balancer_hangs_up_first", "lb:LoadBalancer consumidor keeps connections 75 s",
    ),
    "a misspelt metric": Mutation(
        "watching.py", '"FreeStorageSpace"', '"FreeStorage"',
        "what_is_looked_at_exists", "cloudwatch:MetricAlarm base-a-storage looks at AWS/RDS FreeStorage",
    ),
    "a way to the internet": Mutation(
        "access.py", 'Flow("score", "internet", HTTPS),', 'Flow("score", "internet", HTTPS), Flow("worker", "internet", HTTPS),',
        "the_network_is_laid_out_as_drawn", "access-worker-to-internet-443 leads to the internet",
    ),
    "snapshots with a key of S3's": Mutation(
        "elasticsearch/user_data.sh", '"base_path": "@SNAPSHOT_PATH@"', '"base_path": "@SNAPSHOT_PATH@", "server_side_encryption": true',
        "base_c_survives_a_zone", "ec2:Instance base-c-0 has its snapshots encrypted with a key of S3's",
    ),
    "instance metadata for anyone": Mutation(
        "base_c_node.py", 'http_tokens="required"', 'http_tokens="optional"',
        "base_c_survives_a_zone", "ec2:Instance base-c-0 answers IMDSv1",
    ),
    "dead letters that nobody hears of": Mutation(
        "watching.py", '{"QueueName": dead}, 0, about, minutes=1', '{"QueueName": queue}, 0, about, minutes=1',
        "somebody_is_told", "nobody watches events-feed-dlq",
    ),
    "a database without backups": Mutation(
        "base_b.py", "backup_retention_period=env.backup_days,", "backup_retention_period=0,",
        "data_survives", "docdb:Cluster base-b keeps backups 0 days",
    ),
    "resources without tags": Mutation(
        "tagging.py", '"tags": {**tags, **own}', '"tags": own',
        "everything_is_tagged", "sqs:Queue people-requests lacks the tags",
    ),
}  # fmt: skip


def runs() -> list[list[str]]:
    """The names of the mutations, so grouped that each property has one fault to catch in a run, and each text one change."""
    grouped: list[list[str]] = []
    for name, mutation in MUTATIONS.items():
        for group in grouped:
            if all(mutation.caught_by != MUTATIONS[other].caught_by for other in group):
                group.append(name)
                break
        else:
            grouped.append([name])
    return grouped


def mutate(names: Iterable[str], folder: Path) -> None:
    """Copy the program to `folder` with these changes."""
    shutil.copytree(PROGRAM, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for mutation in map(MUTATIONS.__getitem__, names):
        file = folder / mutation.file
        text = file.read_text("utf-8")
        assert text.count(mutation.old) == 1, f"{mutation.old!r} is {text.count(mutation.old)} times in {mutation.file}"
        file.write_text(text.replace(mutation.old, mutation.new), "utf-8")
