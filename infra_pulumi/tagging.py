"""Every resource that can carry tags carries the same ones."""

from collections.abc import Mapping
from typing import Any

import pulumi


def tag_everything(tags: Mapping[str, str]) -> None:
    """Give `tags` to each resource declared from now on; its own ones win."""

    def add(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        # The SDK sets `tags` among the properties of whatever takes them, to None where none are given.
        if not args.type_.startswith("aws:") or "tags" not in args.props:
            return None
        own: Any = args.props["tags"] or {}
        return pulumi.ResourceTransformationResult({**args.props, "tags": {**tags, **own}}, args.opts)

    pulumi.runtime.register_stack_transformation(add)
