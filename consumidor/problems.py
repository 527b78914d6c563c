"""What every door makes of bad input, whatever its framework: members into Structs, errors into RFC 9457 problems."""

import functools
import re
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import islice
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from consumidor import cpf
from consumidor.errors import ConsumidorError, FieldError, InvalidInput, Unauthenticated, shown

MEDIA_TYPE = "application/problem+json"
Members = TypeVar("Members", bound=msgspec.Struct)
_NAMED = 50  # wrong parts of one member that are named
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
            found = list(islice(faults(given[field.name], field.type, field.name, strict=strict), _NAMED))
            wrong += found or [{"field": field.name, "detail": str(error)}]
    if wrong:
        raise InvalidInput(sorted(wrong, key=lambda one: one["field"]))
    return kind(**values)


def faults(value: Any, kind: Any, where: str = "", *, strict: bool = True) -> Iterator[FieldError]:
    """Every innermost part of a value that is not of its type, by its path; where all parts are right, the whole that is not."""
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        inner = (fault for part, its_kind, path in _parts(value, kind, where) for fault in faults(part, its_kind, path, strict=strict))
        if (first := next(inner, None)) is None:
            yield {"field": where, "detail": _in_words(str(error).partition(" - at `$")[0], kind)}
            return
        yield first
        yield from inner


def _parts(value: Any, kind: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    """The members of an object and the elements of a list, each with its type and path."""
    plain = _plain(kind)
    if isinstance(value, dict) and isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        yield from ((value[one.name], one.type, f"{where}.{one.name}".lstrip(".")) for one in _fields(plain) if one.name in value)
    elif isinstance(value, list) and get_origin(plain) is list:
        yield from ((one, get_args(plain)[0], f"{where}[{number}]") for number, one in enumerate(value))


def _plain(kind: Any) -> Any:  # a type expression has no one type
    """A type without its constraints, and without None."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    others = [part for part in get_args(kind) if part is not type(None)]
    return _plain(others[0]) if get_origin(kind) in (Union, UnionType) and len(others) == 1 else kind


def _in_words(detail: str, kind: Any) -> str:
    """What a value of the type must be, where that can be said better than msgspec does."""
    if detail.startswith("Object "):  # a member is missing or unknown
        return detail
    if words := _words(kind):
        return f"must be {words}"
    if detail.startswith("Invalid enum value"):
        return f"must be one of {', '.join(get_args(_plain(kind)))}"
    return "must be a date, YYYY-MM-DD" if _plain(kind) is date else detail


def _words(kind: Any) -> str:
    """The words of a constraint, wherever it stands in the type."""
    if get_origin(kind) is Annotated:
        return next((str(note.extra["words"]) for note in kind.__metadata__ if isinstance(note, msgspec.Meta) and note.extra), "")
    return next(filter(None, map(_words, get_args(kind))), "") if get_origin(kind) in (Union, UnionType) else ""
