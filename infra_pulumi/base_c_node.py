"""One Elasticsearch node of Base C on EC2: no SSH and no public address, IMDSv2, its data on a volume that outlives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

_SCRIPT = Path(__file__).with_name("elasticsearch") / "user_data.sh"
_IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"  # Amazon's public parameter: the newest image


@dataclass(frozen=True)
class NodeArgs:
    """`roles`: Elasticsearch's; `settings`: what fills the script's other names. The volume's size in GiB."""

    instance_type: str
    roles: Sequence[str]
    zone: str
    subnet: pulumi.Input[str]
    address: str
    security_group: pulumi.Input[str]
    instance_profile: pulumi.Input[str]
    volume_gib: int
    volume_key: pulumi.Input[str]
    keep: bool
    settings: Mapping[str, pulumi.Input[str]]
    after: Sequence[pulumi.Resource]  # its script runs once: what that needs must be there before


class Node(pulumi.ComponentResource):
    """`instance_id`. The component's name is the node's."""

    def __init__(self, name: str, args: NodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:BaseCNode", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        image = aws.ssm.get_parameter_output(name=_IMAGE, opts=pulumi.InvokeOutputOptions(parent=self))
        own = {"NODE_NAME": name, "ADDRESS": args.address, "ZONE": args.zone, "ROLES": f"[{', '.join(args.roles)}]"}
        volume = aws.ebs.Volume(
            name,
            availability_zone=args.zone,
            size=args.volume_gib,
            type="gp3",
            encrypted=True,
            kms_key_id=args.volume_key,
            tags={"Name": name},
            opts=pulumi.ResourceOptions(parent=self, protect=args.keep),
        )
        instance = aws.ec2.Instance(
            name,
            ami=image.value,
            instance_type=args.instance_type,
            subnet_id=args.subnet,
            private_ip=args.address,
            associate_public_ip_address=False,
            vpc_security_group_ids=[args.security_group],
            iam_instance_profile=args.instance_profile,
            metadata_options=aws.ec2.InstanceMetadataOptionsArgs(
                http_endpoint="enabled",
                http_tokens="required",
                http_put_response_hop_limit=1,
            ),
            root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(
                volume_type="gp3", volume_size=20, encrypted=True, kms_key_id=args.volume_key, delete_on_termination=True
            ),
            user_data=pulumi.Output.all(**args.settings).apply(lambda settings: _script({**settings, **own})),
            disable_api_termination=args.keep,
            tags={"Name": name},
            # A newer image or script is for nodes made from then on: all three replaced at once would be an outage (README, day two).
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=list(args.after), ignore_changes=["ami", "userData"], delete_before_replace=True
            ),
        )
        aws.ec2.VolumeAttachment(
            name, device_name="/dev/sdf", volume_id=volume.id, instance_id=instance.id, stop_instance_before_detaching=True, opts=child
        )
        self.instance_id = instance.id
        self.register_outputs({"instance_id": self.instance_id})


def _script(settings: Mapping[str, object]) -> str:
    text = _SCRIPT.read_text("utf-8")
    for name, value in settings.items():
        text = text.replace(f"@{name}@", str(value))
    return text
