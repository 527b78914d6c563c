"""Writing people into Base B: a user's own, or made-up ones."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, PyMongoError

from consumidor import cpf
from consumidor.errors import CommandError, DependencyDown, FieldError, InvalidInput
from consumidor.json_lines import first_of, lines
from consumidor.problems import convert
from consumidor.score.records import Address, Record, document
from consumidor.score.store import COLLECTION, connect, database_of

BATCH = 1000  # documents in one write
_DUPLICATE_KEY = 11000
_OF_BASE_A = frozenset({"cpf", "name", "debts"})

Documents = Iterable[dict[str, Any]]
Progress = Callable[[int], object]  # told after each batch how many documents it held


def read_people(file: Path) -> Iterator[tuple[str, Record]]:
    """CPF (digits) and record of each line of a file of people, as `consumidor load` takes it; empty lines are skipped.

    The whole file is checked before the first is returned, so nothing is loaded where any line is wrong.

    Raises:
        InvalidInput: names each wrong line and its fields, never a value.
        CommandError: the file cannot be read.
    """
    if wrong := wrong_lines(file):
        raise InvalidInput(first_of(wrong))
    return (_read_line(line) for _, line in lines(file))


def wrong_lines(file: Path) -> list[FieldError]:
    """Every fault of every line, each named as `line <number>: <field>`; raises CommandError as `read_people`."""
    wrong: list[FieldError] = []
    for number, line in lines(file):
        try:
            _read_line(line)
        except InvalidInput as error:
            wrong += [{"field": f"line {number}: {fault['field']}", "detail": fault["detail"]} for fault in error.fields]
    return wrong


def _read_line(line: bytes) -> tuple[str, Record]:
    try:
        members = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput([{"field": "line", "detail": "is not a JSON object"}]) from error
    try:
        digits, wrong = cpf.parse(members.get("cpf")), []
    except cpf.InvalidCpf as error:
        digits, wrong = "", [FieldError(field="cpf", detail=error.detail)]
    try:
        record = read_record(members)
    except InvalidInput as error:
        raise InvalidInput([*wrong, *error.fields]) from None
    if wrong:
        raise InvalidInput(wrong)
    return digits, record


def read_record(line: Mapping[str, Any]) -> Record:
    """What Base B wants of a line of `consumidor load`: `birth_date`, `assets`, `income`, and of `address` all but the street.

    Members that are Base A's (cpf, name, debts, address.street) are passed over; all of Base B's are optional.

    Raises:
        InvalidInput: names each wrong field, and any that neither base knows.
    """
    given = {name: value for name, value in line.items() if name not in _OF_BASE_A}
    wrong: list[FieldError] = []
    if isinstance(address := given.get("address"), dict):
        given["address"], wrong = _address({name: value for name, value in address.items() if name != "street"})
    try:
        record = convert(given, Record)
    except InvalidInput as error:
        raise InvalidInput([*wrong, *error.fields]) from None
    if record.birth_date and record.birth_date > datetime.now(UTC).date():
        wrong.append({"field": "birth_date", "detail": "is in the future"})
    if wrong:
        raise InvalidInput(wrong)
    return record


def _address(given: dict[str, Any]) -> tuple[Any, list[FieldError]]:
    if "postal_code" in given:
        given["postal_code"] = _with_hyphen(given["postal_code"])
    try:
        convert(given, Address)
    except InvalidInput as error:
        return None, [{"field": f"address.{one['field']}", "detail": one["detail"]} for one in error.fields]
    return given, []


def _with_hyphen(postal_code: object) -> object:
    """As Base B stores it; Base A takes it without the hyphen too."""
    if isinstance(postal_code, str) and re.fullmatch("[0-9]{8}", postal_code):
        return f"{postal_code[:5]}-{postal_code[5:]}"
    return postal_code


def load_base_b(uri: str, people: Iterable[tuple[str, Record]], progress: Progress = lambda _: None) -> int:
    """Write people (`person`, record), each replacing what Base B had of them; the number written.

    Raises:
        DependencyDown, CommandError: as `insert_base_b`.
    """
    documents = (document(person, record) for person, record in people)
    return _write(uri, documents, progress, _replace)


def insert_base_b(uri: str, documents: Documents, progress: Progress = lambda _: None) -> int:
    """Write documents, leaving alone those whose person Base B has already, so that a broken run may be repeated; the number seen.

    Raises:
        DependencyDown: Base B does not answer.
        CommandError: it refuses a document (the validator); says how many of the batch, never which.
    """
    return _write(uri, documents, progress, _insert)


def _write(uri: str, documents: Documents, progress: Progress, write: Callable[[Collection[Any], list[dict[str, Any]]], None]) -> int:
    written = 0
    try:
        with connect(uri) as client:
            collection = client[database_of(uri)][COLLECTION]
            for batch in _batches(documents):
                write(collection, batch)
                written += len(batch)
                progress(len(batch))
    except BulkWriteError as error:
        refused = [one for one in error.details["writeErrors"] if one["code"] != _DUPLICATE_KEY]
        raise CommandError(f"Base B refuses {len(refused)} documents: code {refused[0]['code']}") from None  # its text quotes values
    except PyMongoError as error:
        raise DependencyDown("base_b") from error
    return written


def _insert(collection: Collection[Any], batch: list[dict[str, Any]]) -> None:
    try:
        collection.insert_many(batch, ordered=False)
    except BulkWriteError as error:
        if any(one["code"] != _DUPLICATE_KEY for one in error.details["writeErrors"]):
            raise


def _replace(collection: Collection[Any], batch: list[dict[str, Any]]) -> None:
    collection.bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in batch], ordered=False)


def _batches(documents: Documents) -> Iterator[list[dict[str, Any]]]:
    waiting = iter(documents)
    while batch := list(islice(waiting, BATCH)):
        yield batch
