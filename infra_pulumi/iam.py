"""Policy documents: statements that say what they allow, and trust that says to whom."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pulumi

Text = pulumi.Input[str]


class Statement(NamedTuple):
    """Allow `actions` on `resources` (ARNs), under `condition` where there is one."""

    actions: Sequence[str]
    resources: Sequence[Text]
    condition: Mapping[str, Mapping[str, Text]] | None = None


def allow(*statements: Statement) -> pulumi.Output[str]:
    """An identity policy: what the role it hangs on may do."""
    return document([_statement(statement) for statement in statements])


def document(statements: Sequence[Mapping[str, Any]]) -> pulumi.Output[str]:
    """A whole policy document; outputs within the statements are waited for."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _statement(statement: Statement) -> dict[str, Any]:
    shown = {"Effect": "Allow", "Action": list(statement.actions), "Resource": list(statement.resources)}
    return shown | ({"Condition": statement.condition} if statement.condition else {})


def assumed_by(service: str, account: Text | None = None) -> pulumi.Output[str]:
    """Trust in one AWS service, and where that service says for whom it acts, on behalf of `account` alone."""
    trust: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if account is not None:
        trust["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return document([trust])


def tls_only(*resources: Text, action: str) -> dict[str, Any]:
    """The statement of a resource policy that denies everyone whatever does not come over TLS."""
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
