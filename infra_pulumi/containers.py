"""What every container shares: the ECS cluster and the image repository."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from environments import Environment

CA_BUNDLE = "/usr/local/share/aws/global-bundle.pem"  # in the image: Amazon's certificate authorities for RDS and DocumentDB


@dataclass(frozen=True)
class Platform:
    """What a task runs on; `image` is a digest's reference. `running` is False until there is an image to run."""

    environment: Environment
    region: str
    account: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    repository_arn: pulumi.Input[str]
    subnets: list[pulumi.Output[str]]
    image: pulumi.Input[str]
    extraction_image: pulumi.Input[str]
    running: bool
    extraction_running: bool
    log_key: pulumi.Input[str]

    @property
    def settings(self) -> dict[str, pulumi.Input[str]]:
        """What every process is told. The AWS endpoint is Amazon's own, so AWS_ENDPOINT_URL stays unset."""
        return {"ENVIRONMENT": self.environment.name, "AWS_REGION": self.region}


@dataclass(frozen=True)
class ContainersArgs:
    """Where tasks run, and the digests of the two images ("" until they are built)."""

    environment: Environment
    region: str
    account: pulumi.Input[str]
    subnets: list[pulumi.Output[str]]
    image_digest: str
    extraction_image_digest: str
    log_key: pulumi.Input[str]


class Containers(pulumi.ComponentResource):
    """`platform` for the tasks, `repository_url` to push to."""

    def __init__(self, name: str, args: ContainersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Containers", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        repository = aws.ecr.Repository(
            name,
            name="consumidor",
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
            encryption_configurations=[aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS")],
            force_delete=not args.environment.keep,
            opts=child,
        )
        untagged = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}
        rule = {"rulePriority": 1, "description": "layers that no tag names", "selection": untagged, "action": {"type": "expire"}}
        policy = pulumi.Output.json_dumps({"rules": [rule]})
        aws.ecr.LifecyclePolicy(name, repository=repository.name, policy=policy, opts=pulumi.ResourceOptions(parent=repository))
        insights = aws.ecs.ClusterSettingArgs(name="containerInsights", value="enabled")  # counts running tasks, which the worker scales on
        cluster = aws.ecs.Cluster(name, name="consumidor", settings=[insights], opts=child)
        self.repository_url = repository.repository_url
        self.platform = Platform(
            environment=args.environment,
            region=args.region,
            account=args.account,
            cluster_arn=cluster.arn,
            cluster_name=cluster.name,
            repository_arn=repository.arn,
            subnets=args.subnets,
            image=_reference(repository, args.image_digest),
            extraction_image=_reference(repository, args.extraction_image_digest),
            running=bool(args.image_digest),
            extraction_running=bool(args.extraction_image_digest),
            log_key=args.log_key,
        )
        self.register_outputs({"repository_url": self.repository_url})


def _reference(repository: aws.ecr.Repository, digest: str) -> pulumi.Output[str]:
    """The image by its digest. Before there is one the task definition names a tag that no build makes, and no task runs."""
    return pulumi.Output.format("{}{}", repository.repository_url, f"@{digest}" if digest else ":not-built")
