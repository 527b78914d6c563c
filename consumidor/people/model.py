"""What the people path speaks of: an inquiry, a person's report, and the response that answers a request. Pure."""

import json
import uuid
from typing import Annotated, Literal, get_args

import msgspec

from consumidor.errors import FieldError, shown

Purpose = Literal["credit", "rental", "employment", "collection", "own"]
DebtStatus = Literal["open", "paid", "renegotiated"]
# `$` alone would let a line break at the end pass. `words` say to a person what a pattern says to a machine.
Text = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
        extra={"words": "text of 1 to 200 characters, none of them a control character"},
    ),
]
State = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$(?!\n)", extra={"words": "two capital letters"})]
PostalCode = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{5}-?[0-9]{3}$(?!\n)", extra={"words": "8 digits, with or without a hyphen"})]
Cents = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Date = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", extra={"words": "a date, YYYY-MM-DD"})]
PURPOSES: tuple[str, ...] = get_args(Purpose)
MESSAGE_VERSION = 1
NO_REPORT = msgspec.Raw()  # one object for all: a field is left out where it is this very default
_REQUEST_IDS = uuid.UUID("b6a1b2a4-6f0e-5a0e-9c43-1f2f6b1f6a55")  # a namespace of our own; any fixed value serves


class Inquiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question: who (a CPF, with or without punctuation) and for what purpose the law allows asking."""

    cpf: str
    purpose: Purpose


class Address(msgspec.Struct, frozen=True):
    """Where a person lives."""

    street: Text
    city: Text
    state: State
    postal_code: PostalCode


class Debt(msgspec.Struct, frozen=True):
    """One debt: integer cents, due date as YYYY-MM-DD, `open`, `paid` or `renegotiated`."""

    creditor: Text
    amount_cents: Cents
    due_on: Date
    status: DebtStatus


class Person(msgspec.Struct, frozen=True):
    """A person as they are loaded into Base A."""

    cpf: str  # the 11 digits
    name: Text
    address: Address
    debts: list[Debt]


class Report(msgspec.Struct, frozen=True):
    """All that Base A knows of a person, in clear. Lives only in the delivered response."""

    cpf: str  # punctuated
    name: str
    address: Address
    debts: list[Debt]
    total_open_cents: int


class ReportLocation(msgspec.Struct, frozen=True):
    """Claim check: where in S3 a report over the queue's limit lies, and how to know it is whole."""

    bucket: str
    key: str
    bytes: int
    sha256: str


class ResponseError(msgspec.Struct, frozen=True):
    """Why a request failed: the error's class and its fixed phrase, never a value."""

    type: str
    title: str


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message in a client's response queue; report (a `Report` as JSON), report_at or error, by `status`."""

    version: int
    request_id: str
    status: Literal["found", "not_found", "failed"]
    report: msgspec.Raw = NO_REPORT
    report_at: ReportLocation | None = None
    error: ResponseError | None = None


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A response as the API hands it out: with a receipt, and a presigned link (15 min) where the report lies in S3."""

    request_id: str
    status: Literal["found", "not_found", "failed"]
    receipt: str
    report: msgspec.Raw = NO_REPORT
    report_url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    expires_at: str | None = None
    error: ResponseError | None = None


class Deliveries(msgspec.Struct, frozen=True):
    """What one GET of the client's queue brings."""

    responses: list[Delivery]


def request_id(client: str, idempotency_key: str | None, position: int, person: str, purpose: str) -> str:
    """The id of one inquiry: the same for the same client, key, position, person and purpose; new without a key.

    A JSON list keeps the five parts apart, so that no two different tuples read alike (RFC 9562, version 5).
    """
    if idempotency_key is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(_REQUEST_IDS, json.dumps([client, idempotency_key, position, person, purpose])))


def wrong_fields(item: object, where: str = "") -> list[FieldError]:
    """Every fault of one decoded inquiry but the CPF's check digits, each named as `<where>.<field>`."""
    prefix = f"{where}." if where else ""
    if not isinstance(item, dict):
        return [{"field": where or "body", "detail": "must be an object with cpf and purpose"}]
    wrong: list[FieldError] = [
        {"field": f"{prefix}{shown(name)}", "detail": "is not a field of an inquiry"} for name in item if name not in ("cpf", "purpose")
    ]
    if not isinstance(item.get("cpf"), str):
        wrong.append({"field": f"{prefix}cpf", "detail": "is missing" if "cpf" not in item else "must be a string"})
    if item.get("purpose") not in PURPOSES:
        wrong.append({"field": f"{prefix}purpose", "detail": f"must be one of {', '.join(PURPOSES)}"})
    return wrong
