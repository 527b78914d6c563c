"""All that differs between dev, tst and prd: one table, sizes only. Security is the same everywhere."""

from dataclasses import dataclass

from autoscaling import BacklogScaling


@dataclass(frozen=True)
class Size:
    """Fargate size of one task: cpu in units (1024 = one vCPU), memory in MiB, and how many of them."""

    cpu: int
    memory: int
    min_tasks: int = 1
    max_tasks: int = 1


@dataclass(frozen=True)
class Environment:
    """Sizes of one stack. `keep` protects data: no deletion without two steps, a final snapshot, buckets never emptied for us."""

    name: str
    keep: bool
    nat_gateways: int
    log_days: int
    backup_days: int
    key_deletion_days: int
    api: Size
    score: Size
    extract: Size
    worker: Size
    worker_scaling: BacklogScaling
    base_a_class: str
    base_a_storage_gib: int
    base_b_class: str
    base_b_instances: int
    base_c_class: str
    base_c_tie_breaker_class: str
    base_c_volume_gib: int
    audit_lock_days: int  # Object Lock, compliance mode: for so long not even the account's root can remove a chain head
    feed_concurrency: int  # most feed Lambdas at once (2..1000)
    throttle_rate: int  # requests a second over the whole API
    throttle_burst: int
    score_requests_per_task: int  # requests a minute that one score task is counted on for
    p99_milliseconds: int  # alarm: the gateway's slowest hundredth, long polls apart


ENVIRONMENTS = {
    "dev": Environment(
        name="dev", keep=False, nat_gateways=1, log_days=7, backup_days=1, key_deletion_days=7,
        api=Size(256, 512, 1, 2), score=Size(256, 512, 1, 2), extract=Size(1024, 4096),
        worker=Size(256, 512), worker_scaling=BacklogScaling(min_tasks=1, max_tasks=3),
        base_a_class="db.t4g.micro", base_a_storage_gib=20,
        base_b_class="db.t4g.medium", base_b_instances=1,
        base_c_class="t4g.medium", base_c_tie_breaker_class="t4g.small", base_c_volume_gib=20, audit_lock_days=1, feed_concurrency=2,
        throttle_rate=50, throttle_burst=100, score_requests_per_task=6_000, p99_milliseconds=2_000,
    ),
    "tst": Environment(
        name="tst", keep=False, nat_gateways=1, log_days=30, backup_days=7, key_deletion_days=7,
        api=Size(512, 1024, 2, 4), score=Size(512, 1024, 2, 4), extract=Size(2048, 8192),
        worker=Size(512, 1024), worker_scaling=BacklogScaling(min_tasks=1, max_tasks=6),
        base_a_class="db.t4g.medium", base_a_storage_gib=50,
        base_b_class="db.t4g.medium", base_b_instances=2,
        base_c_class="t4g.large", base_c_tie_breaker_class="t4g.small", base_c_volume_gib=50, audit_lock_days=1, feed_concurrency=5,
        throttle_rate=500, throttle_burst=1_000, score_requests_per_task=12_000, p99_milliseconds=1_000,
    ),
    "prd": Environment(
        name="prd", keep=True, nat_gateways=2, log_days=365, backup_days=35, key_deletion_days=30,
        api=Size(1024, 2048, 2, 10), score=Size(1024, 2048, 2, 20), extract=Size(4096, 16384),
        worker=Size(1024, 2048), worker_scaling=BacklogScaling(min_tasks=2, max_tasks=20),
        base_a_class="db.r8g.large", base_a_storage_gib=200,
        base_b_class="db.r8g.large", base_b_instances=3,
        base_c_class="r8g.large", base_c_tie_breaker_class="t4g.small", base_c_volume_gib=500, audit_lock_days=1_825, feed_concurrency=20,
        throttle_rate=5_000, throttle_burst=10_000, score_requests_per_task=30_000, p99_milliseconds=500,
    ),
}  # fmt: skip
