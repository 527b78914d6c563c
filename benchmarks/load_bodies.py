"""What is wrong with an answer's body, in words that name nobody; None where it is as promised.

A body of another shape may raise what reading it raises (`fault` makes words of it). Imports no Locust, which patches the standard
library: tests ask these by themselves.
"""

from collections.abc import Callable
from typing import Any

from consumidor import cpf


def fault(check: Callable[..., str | None], *given: Any) -> str | None:
    """What `check` finds wrong; a body that it cannot even read is wrong too."""
    try:
        return check(*given)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return f"another body than promised ({type(error).__name__})"


def score(body: dict[str, Any]) -> str | None:
    """Between 0 and 1000, with a band, a model, and reasons that cost points."""
    right = 0 <= body["score"] <= 1000 and body["band"] and body["model"] and all(one["points_lost"] > 0 for one in body["reasons"])
    return None if right else "no score as promised"


def latest(body: dict[str, Any]) -> str | None:
    """An event of its kind under each kind, or null."""
    kinds = ("bureau_inquiry", "financial_movement", "card_purchase")
    return None if all(body[kind] is None or body[kind]["kind"] == kind for kind in kinds) else "an event of another kind"


def page(body: dict[str, Any]) -> str | None:
    """At most 20 events, newest first."""
    times = [event["occurred_at"] for event in body["events"]]
    return None if times == sorted(times, reverse=True) and len(times) <= 20 else "not newest first"


def accepted(body: dict[str, Any]) -> str | None:
    """A request id."""
    return None if len(body["request_id"]) == 36 else "no request id"


def responses(body: dict[str, Any]) -> str | None:
    """A list of responses that can be told apart and acknowledged."""
    return None if all(one["request_id"] and one["receipt"] for one in body["responses"]) else "a response without id or receipt"


def acknowledged(body: dict[str, Any]) -> str | None:
    """Each one deleted."""
    return None if all(one["outcome"] == "deleted" for one in body["receipts"]) else "not deleted"


def delivery(body: dict[str, Any], asked: str) -> str | None:
    """Everyone asked about (`asked`: 11 digits) is there: a response has their report, or a link to a large one, which is not followed."""
    if body["status"] != "found":
        return f"status {body['status']}"
    if "report_url" in body:
        return None if body["bytes"] > 1_000_000 and len(body["sha256"]) == 64 else "a link to no large report"
    report = body["report"]
    if report["cpf"] != cpf.punctuate(asked):
        return "a report on somebody else"
    total = sum(debt["amount_cents"] for debt in report["debts"] if debt["status"] == "open")
    return None if report["name"] and report["total_open_cents"] == total else "a report that does not add up"
