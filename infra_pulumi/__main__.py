"""The whole bureau on AWS: configuration in, components wired together, outputs out. Everything else is in the components."""

import pulumi
import pulumi_aws as aws
import pulumi_random as random
from access import Access, AccessArgs
from alarms import Alarms, AlarmsArgs
from base_a import BaseA, BaseAArgs
from base_b import BaseB, BaseBArgs
from base_c import HOST, BaseC, BaseCArgs
from buckets import Bucket, BucketArgs
from config import ConfigError, Configuration
from containers import Containers, ContainersArgs
from credentials import Secret, SecretArgs, SecretText
from events import CA_PATH, FEED_VISIBILITY, Events, EventsArgs
from gateway import Gateway, GatewayArgs
from identity import Identity, IdentityArgs
from keys import Keys, KeysArgs
from load_balancer import LoadBalancer, LoadBalancerArgs
from network import Network, NetworkArgs
from people import MIGRATION_CA_PATH, People, PeopleArgs
from pulumi.runtime import get_config_env
from queues import DAY, Queue, QueueArgs
from score import Score, ScoreArgs
from signing import Signing, SigningArgs
from tagging import tag_everything
from watching import Dashboard, Watched, watches

# All that the engine hands over, known or not: `pulumi.Config` only answers about keys that one asks for, and misses a misspelt one.
given = {key.removeprefix("consumidor:"): text for key, text in get_config_env().items() if key.startswith("consumidor:")}
try:
    config = Configuration.load(pulumi.get_stack(), pulumi.Config("aws").get("region"), given)
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None

env, region = config.environment, config.region
tag_everything({"project": "consumidor", "environment": env.name, "managed-by": "pulumi"})
account = aws.get_caller_identity_output().account_id
keys = Keys("keys", KeysArgs(account, region, env.key_deletion_days))

# Network and who may talk to whom
snapshots = None if config.snapshot_uri else Bucket("base-c-snapshots", BucketArgs(keys["base-c"], env.keep))
outside_bucket, _, outside_path = config.snapshot_uri.removeprefix("s3://").partition("/")
network = Network("consumidor", NetworkArgs(
    region, account, config.zones, config.vpc_cidr, config.public_cidrs, config.private_cidrs, config.tie_breaker_cidr,
    env.nat_gateways, None if config.base_c_secret_arn else HOST, outside_bucket, keys["logs"], env.log_days,
))  # fmt: skip
balancer_port = 443 if config.domain else 80
access = Access("access", AccessArgs(
    network.vpc_id, network.s3_prefix_list, balancer_port,
    outside_base_b_port=config.base_b_port if config.base_b_secret_arn else None,
    outside_base_c_port=config.base_c_port if config.base_c_secret_arn else None,
))  # fmt: skip
network.interface_endpoints(access["endpoints"])

# Queues, buckets, secrets
requests = Queue("people-requests", QueueArgs(keys["requests"], visibility=30, retention=4 * DAY, dead_letters=True))
feed = Queue("events-feed", QueueArgs(keys["feed"], visibility=FEED_VISIBILITY, retention=4 * DAY, dead_letters=True))
results = Bucket("people-results", BucketArgs(keys["results"], env.keep, expire_days=3, expire_prefix="responses/"))
checkpoints = Bucket("audit-checkpoints", BucketArgs(keys["audit"], env.keep, lock_days=env.audit_lock_days))
extractions = Bucket("extractions", BucketArgs(keys["base-b"], env.keep, expire_days=90))
# Lost, it takes every person's pseudonym with it: nothing in the three bases could be found again.
pseudonym = random.RandomBytes("pseudonym-key", length=32, opts=pulumi.ResourceOptions(protect=env.keep))
pseudonym_key = Secret("pseudonym-key", SecretArgs(pseudonym.hex, keys["secrets"], env.key_deletion_days, "makes pseudonyms")).where
signing = Signing("signing", SigningArgs(config.signing_keys, keys["secrets"], env.key_deletion_days))
identity = Identity("identity", IdentityArgs(
    region, env.keep, config.clients, config.client_trust, results.arn, keys["responses"], keys["results"]
))  # fmt: skip

# The three bases
base_a = BaseA("base-a", BaseAArgs(
    env, network.private, access["base-a"], config.multi_az, keys["base-a"], keys["secrets"], keys["logs"]
))  # fmt: skip
base_b = None
if config.base_b_secret_arn:
    base_b_uri = base_b_reader_uri = SecretText(config.base_b_secret_arn, None)
else:
    base_b = BaseB("base-b", BaseBArgs(env, network.private, access["base-b"], keys["base-b"], keys["secrets"], keys["logs"]))
    base_b_uri, base_b_reader_uri = base_b.uri, base_b.reader_uri
base_c = None
if config.base_c_secret_arn:
    search_url = feed_url = migrate_url = SecretText(config.base_c_secret_arn, None)
else:
    base_c = BaseC("base-c", BaseCArgs(
        env, region, config.base_c_version, [*network.private, network.tie_breaker], [*config.private_cidrs, config.tie_breaker_cidr],
        config.zones, access["base-c"], snapshots.name if snapshots else outside_bucket, outside_path or "base-c",
        keys["base-c"], keys["secrets"], keys["logs"], after=(*network.ways_out, *access.rules["base-c"]),
    ))  # fmt: skip
    search_url, feed_url = (base_c.url(user, CA_PATH).where for user in ("search", "feed"))
    migrate_url = base_c.url("migrate", MIGRATION_CA_PATH).where

# The three paths
containers = Containers("containers", ContainersArgs(
    env, region, account, network.private, config.image_digest, config.extraction_image_digest, keys["logs"]
))  # fmt: skip
platform = containers.platform
balancer = LoadBalancer("consumidor", LoadBalancerArgs(
    network.vpc_id, network.private, access["load-balancer"], balancer_port, config.certificate_arn, env.keep
))  # fmt: skip
people = People("people", PeopleArgs(
    platform, access, keys, identity, requests, feed, results, checkpoints, base_a, signing, pseudonym_key, balancer,
    base_b_uri, base_b_reader_uri if base_b else None, migrate_url, base_c.ca_pem if base_c else None,
))  # fmt: skip
score = Score("score", ScoreArgs(platform, access, keys, identity, feed, base_b_reader_uri, pseudonym_key, extractions, balancer))
events = Events("events", EventsArgs(
    env, network.private, access, keys, identity.registry, feed,
    [people.worker.task.role.unique_id, score.service.task.role.unique_id],
    pseudonym_key, search_url, feed_url, base_c.ca_pem if base_c else None,
    config.secrets_extension_layer, config.search_reserved_concurrency, config.feed_reserved_concurrency,
))  # fmt: skip
gateway = Gateway("gateway", GatewayArgs(
    env, identity, network.private, access["gateway"], balancer.listener_arn, events.search,
    config.domain, config.certificate_arn, keys["logs"],
))  # fmt: skip

# Watching
seen = Watched(
    env, region, {queue.name: f"{queue.name}-dlq" for queue in (requests, feed)}, gateway.api_id,
    balancer.arn_suffix, balancer.target_groups["score"].arn_suffix, platform.cluster_name,
    {"api": people.api.name, "worker": people.worker.name, "score": score.service.name},
    {"search": events.search.name, "feed": events.feed.name},
    base_a.identifier, base_b.cluster_identifier if base_b else None,
    {f"base-c-{number}": node.instance_id for number, node in enumerate(base_c.nodes)} if base_c else {},
)  # fmt: skip
logged = {"api": people.api.task, "worker": people.worker.task, "score": score.service.task}
alarms = Alarms("alarms", AlarmsArgs(
    account, keys["alarms"], config.alarm_email, platform.cluster_arn, watches(seen),
    {process: task.log_group.name for process, task in logged.items()},
))  # fmt: skip
Dashboard("consumidor", seen, alarms.alarm_arns)

pulumi.export("api", gateway.url)
pulumi.export("api_target_domain", gateway.target_domain)
pulumi.export("issuer", identity.issuer)
pulumi.export("token_url", identity.token_url)
pulumi.export("client_ids", {client.short_name: client.client_id for client in identity.clients})
pulumi.export("client_roles", {client.short_name: client.role_arn for client in identity.clients if client.role_arn is not None})
pulumi.export("response_queues", {client.short_name: client.queue.url for client in identity.clients})
pulumi.export("events_feed_queue", feed.url)
pulumi.export("repository", containers.repository_url)
pulumi.export("cluster", platform.cluster_name)
pulumi.export("migration_task", people.migration.family)
migration_network = {"subnets": platform.subnets, "securityGroups": [access["migrate"]], "assignPublicIp": "DISABLED"}
pulumi.export("migration_network", {"awsvpcConfiguration": migration_network})  # as `aws ecs run-task` takes it
pulumi.export("audit_checkpoint_bucket", checkpoints.name)
pulumi.export("extraction_bucket", extractions.name)
pulumi.export("alarms_topic", alarms.topic_arn)
