"""S3 buckets: private, SSE-KMS with a key of their purpose, TLS only."""

from dataclasses import dataclass

import iam
import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class BucketArgs:
    """`expire_days` under `expire_prefix`; `lock_days`: Object Lock in compliance mode for so long (0: none, and unversioned)."""

    key: pulumi.Input[str]
    keep: bool
    expire_days: int = 0
    expire_prefix: str = ""
    lock_days: int = 0


class Bucket(pulumi.ComponentResource):
    """`name` and `arn` of the bucket (its name is made unique by the provider)."""

    def __init__(self, name: str, args: BucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Bucket", name, None, opts)
        bucket = aws.s3.Bucket(
            name,
            object_lock_enabled=bool(args.lock_days),
            force_destroy=not args.keep and not args.lock_days,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name, self.arn = bucket.bucket, bucket.arn
        child = pulumi.ResourceOptions(parent=bucket)
        blocked = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        owner = aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced")
        aws.s3.BucketOwnershipControls(name, bucket=bucket.id, rule=owner, opts=child)
        self._encrypt(name, bucket, args.key)
        policy = iam.document([iam.tls_only(bucket.arn, pulumi.Output.format("{}/*", bucket.arn), action="s3:*")])
        aws.s3.BucketPolicy(name, bucket=bucket.id, policy=policy, opts=pulumi.ResourceOptions(parent=bucket, depends_on=[blocked]))
        if args.expire_days:
            self._expire(name, bucket, args)
        if args.lock_days:
            self._lock(name, bucket, args.lock_days)
        self.register_outputs({"name": self.name})

    def _encrypt(self, name: str, bucket: aws.s3.Bucket, key: pulumi.Input[str]) -> None:
        default = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="aws:kms", kms_master_key_id=key
        )
        rule = aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
            apply_server_side_encryption_by_default=default, bucket_key_enabled=True
        )
        aws.s3.BucketServerSideEncryptionConfiguration(name, bucket=bucket.id, rules=[rule], opts=pulumi.ResourceOptions(parent=bucket))

    def _expire(self, name: str, bucket: aws.s3.Bucket, args: BucketArgs) -> None:
        rule = aws.s3.BucketLifecycleConfigurationRuleArgs(
            id="expire",
            status="Enabled",
            filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=args.expire_prefix),
            expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=args.expire_days),
            abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                days_after_initiation=1
            ),
        )
        aws.s3.BucketLifecycleConfiguration(name, bucket=bucket.id, rules=[rule], opts=pulumi.ResourceOptions(parent=bucket))

    def _lock(self, name: str, bucket: aws.s3.Bucket, days: int) -> None:
        versions = aws.s3.BucketVersioning(
            name,
            bucket=bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=pulumi.ResourceOptions(parent=bucket),
        )
        retention = aws.s3.BucketObjectLockConfigurationRuleDefaultRetentionArgs(mode="COMPLIANCE", days=days)
        rule = aws.s3.BucketObjectLockConfigurationRuleArgs(default_retention=retention)
        aws.s3.BucketObjectLockConfiguration(
            name, bucket=bucket.id, rule=rule, opts=pulumi.ResourceOptions(parent=bucket, depends_on=[versions])
        )
