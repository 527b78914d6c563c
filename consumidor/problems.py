"""What every door makes of bad input, whatever its framework: members into Structs, errors into RFC 9457 problems."""

import functools
import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import msgspec

from consumidor import cpf
from consumidor.errors import ConsumidorError, FieldError, InvalidInput, Unauthenticated, shown

MEDIA_TYPE = "application/problem+json"
Members = TypeVar("Members", bound=msgspec.Struct)
_DIGITS = re.compile("-?[0-9]+")
_fields = functools.cache(msgspec.structs.fields)  # a third of what a request costs here, if asked anew each time


def problem_document(error: ConsumidorError) -> dict[str, Any]:
    """The members of a problem: type, title, status, detail, and `errors` where fields are wrong.

    A field that nobody knows may have been named by a CPF: `/v1/events?465.092.081-72`. That is masked here too, whoever named it.
    """
    document = {"type": problem_type(error), "title": error.title, "status": error.status, "detail": cpf.mask(error.detail)}
    if not isinstance(error, InvalidInput):
        return document
    return document | {"errors": [{"field": cpf.mask(wrong["field"]), "detail": wrong["detail"]} for wrong in error.fields]}


def named(name: str) -> str:
    """How an error text names a field that the caller named: as it is, `[cpf]` or `[unknown]`."""
    return shown(name) if cpf.mask(name) == name else "[cpf]"


def problem_type(error: ConsumidorError) -> str:
    """The URI of an error's class: InvalidInput -> urn:consumidor:invalid-input."""
    return "urn:consumidor:" + re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


def problem_headers(error: ConsumidorError) -> dict[str, str]:
    """The headers that go with a problem, its media type among them."""
    headers = {"content-type": MEDIA_TYPE, "cache-control": "no-store"}
    if (retry_after := getattr(error, "retry_after", None)) is not None:
        headers["retry-after"] = str(retry_after)
    if isinstance(error, Unauthenticated):  # RFC 6750: no error code where no token came at all
        headers["www-authenticate"] = "Bearer" if error.__cause__ is None else 'Bearer error="invalid_token"'
    return headers


def convert(given: Mapping[str, Any], kind: type[Members], *, strict: bool = True) -> Members:
    """A Struct from plain members, with every wrong field named at once and no value repeated (it may be a CPF).

    Raises:
        InvalidInput: wrong, missing or unknown members.
    """
    values: dict[str, Any] = {}
    wrong: list[FieldError] = [{"field": named(name), "detail": "is not known here"} for name in given.keys() - set(kind.__struct_fields__)]
    for field in _fields(kind):
        if field.name not in given:
            if field.required:
                wrong.append({"field": field.name, "detail": "is missing"})
            continue
        try:
            values[field.name] = value = msgspec.convert(given[field.name], field.type, strict=strict)
            if not strict and type(value) is int and not _DIGITS.fullmatch(given[field.name]):
                raise msgspec.ValidationError("Expected `int`, got `str`")  # msgspec reads 1e1 and 1.0 as whole numbers too
        except msgspec.ValidationError as error:
            detail, _, inner = str(error).partition(" - at `$")
            if detail.startswith("Invalid enum value"):
                detail = f"must be one of {', '.join(_choices(field.type))}"
            wrong.append({"field": field.name + inner.rstrip("`"), "detail": detail})
    if wrong:
        raise InvalidInput(sorted(wrong, key=lambda one: one["field"]))
    return kind(**values)


def _choices(kind: Any) -> list[str]:  # a type expression has no one type
    """The words of a Literal, wherever it stands in the type."""
    return [word for part in get_args(kind) for word in ([part] if isinstance(part, str) else _choices(part))]
