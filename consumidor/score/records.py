"""What Base B holds of a person: the types, the document made of them, and the schema by which the server refuses anything else. Pure."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, get_args

import msgspec

from consumidor.score.model import attributes

AssetKind = Literal["real_estate", "life_insurance", "vehicle", "other", "savings", "bonds"]
Housing = Literal["own", "rent", "free"]
IncomeSource = Literal[
    "management", "self_employed", "skilled_employee", "public_servant", "unskilled_employee", "pension", "unemployed"
]  # fmt: skip
ASSET_KINDS: tuple[str, ...] = get_args(AssetKind)
HOUSINGS: tuple[str, ...] = get_args(Housing)
INCOME_SOURCES: tuple[str, ...] = get_args(IncomeSource)
_MOST_CENTS = 2**53 - 1  # RFC 8259: the largest integer that every JSON reader agrees on
_MOST_ASSETS = 1000

Cents = Annotated[int, msgspec.Meta(ge=0, le=_MOST_CENTS)]


class Asset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something owned: of which kind, worth how many cents, since when."""

    kind: AssetKind
    value_cents: Cents
    since: date | None = None


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a person lives, less the street, which only Base A knows; housed how, and since when."""

    state: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$", extra={"words": "two capital letters"})] | None = None
    city: Annotated[str, msgspec.Meta(min_length=1, max_length=100, extra={"words": "text of 1 to 100 characters"})] | None = None
    postal_code: (
        Annotated[str, msgspec.Meta(pattern="^[0-9]{5}-[0-9]{3}$", extra={"words": "8 digits, with or without a hyphen"})] | None
    ) = None
    housing: Housing | None = None
    since: date | None = None


class Income(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a person's income comes from, since when, and how many cents a month."""

    source: IncomeSource | None = None
    since: date | None = None
    monthly_cents: Cents | None = None


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Base B holds of a person, all of it optional: what is absent gets the scorecard's missing bin.

    `assets` left out means that nothing is known of them; an empty list, that there are none.
    """

    birth_date: date | None = None
    assets: Annotated[list[Asset], msgspec.Meta(max_length=_MOST_ASSETS)] | None = None
    address: Address | None = None
    income: Income | None = None


class Profile(msgspec.Struct, frozen=True):
    """The answer of the profile call: a record, with the age in whole years in the place of the birth date."""

    age: int | None
    assets: list[Asset] | None
    address: Address | None
    income: Income | None


def document(person: str, record: Record) -> dict[str, Any]:
    """The record as Base B stores it under `person` (32 hex digits); `bucket`, its first byte, is what extraction partitions by."""
    stored = {name: value for name, value in msgspec.to_builtins(record, builtin_types=(date,)).items() if value is not None}
    return {"_id": person, "bucket": int(person[:2], 16)} | {name: _dates_to_times(value) for name, value in stored.items()}


def _dates_to_times(value: Any) -> Any:  # BSON knows no date but a time; JSON-like data has no one type
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, dict):
        return {name: _dates_to_times(inner) for name, inner in value.items()}
    return [_dates_to_times(inner) for inner in value] if isinstance(value, list) else value


def _times_to_dates(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, dict):
        return {name: _times_to_dates(inner) for name, inner in value.items()}
    return [_times_to_dates(inner) for inner in value] if isinstance(value, list) else value


def profile(stored: Mapping[str, Any], as_of: date) -> Profile:
    """The profile of a stored document on a date."""
    plain = {name: _times_to_dates(stored.get(name)) for name in ("assets", "address", "income")}
    return msgspec.convert(plain | {"age": attributes(stored, as_of)["age"]}, Profile)


def _closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"bsonType": "object", "additionalProperties": False, "properties": properties}
    return schema | {"required": list(required)} if required else schema


def validator() -> dict[str, Any]:
    """The collection's `$jsonSchema`: a field it does not know is refused at writing, since extraction would drop it silently."""
    day = {"bsonType": "date"}
    cents = {"bsonType": ["int", "long"], "minimum": 0, "maximum": _MOST_CENTS}
    asset = _closed({"kind": {"enum": list(ASSET_KINDS)}, "value_cents": cents, "since": day}, "kind", "value_cents")
    address = _closed({
        "state": {"bsonType": "string", "pattern": "^[A-Z]{2}$"},
        "city": {"bsonType": "string", "minLength": 1, "maxLength": 100},
        "postal_code": {"bsonType": "string", "pattern": "^[0-9]{5}-[0-9]{3}$"},
        "housing": {"enum": list(HOUSINGS)},
        "since": day,
    })  # fmt: skip
    income = _closed({"source": {"enum": list(INCOME_SOURCES)}, "since": day, "monthly_cents": cents})
    whole = {
        "_id": {"bsonType": "string", "pattern": "^[0-9a-f]{32}$"},
        "bucket": {"bsonType": "int", "minimum": 0, "maximum": 255},
        "birth_date": day,
        "assets": {"bsonType": "array", "maxItems": _MOST_ASSETS, "items": asset},
        "address": address,
        "income": income,
    }
    return {"$jsonSchema": _closed(whole, "_id", "bucket")}
