"""Loads people into Base A by COPY: sealed, chunk by chunk, each chunk whole or not at all.

A person who is there already is replaced, debts and all. With a `source`, how many of its people are loaded is kept in the same
transactions, so that a load which was broken off continues where it stopped.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import msgspec
import psycopg

from consumidor import cpf
from consumidor.errors import DependencyDown, FieldError, InvalidInput
from consumidor.json_lines import first_of, lines
from consumidor.people.model import Debt, Person
from consumidor.people.queries import QUERIES
from consumidor.people.vault import DataKey, Identity, Vault, ensure_data_key
from consumidor.problems import faults

CHUNK = 5_000  # people a transaction; two chunks are in memory at a time
_decoder = msgspec.json.Decoder(Person)
_due_on = lru_cache(maxsize=10_000)(dt.date.fromisoformat)


class Sealed(NamedTuple):
    """A person on the way into Base A: pseudonym, sealed identity, debts."""

    person: str
    sealed: bytes
    debts: list[Debt]


def loaded(owner_dsn: str, source: str) -> int:
    """How many people of `source` are loaded.

    Raises:
        DependencyDown: Base A.
    """
    try:
        with psycopg.connect(owner_dsn, connect_timeout=5) as connection:
            found = connection.execute(QUERIES["loaded"], (source,)).fetchone()
            return int(found[0]) if found else 0
    except psycopg.OperationalError as error:
        raise DependencyDown("base_a") from error


def load(
    owner_dsn: str,
    people: Iterable[Person],
    *,
    vault: Vault,
    pseudonym_key: bytes,
    source: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Load people, no CPF twice in one call; returns how many. `progress` is told the number of each chunk once it is committed.

    Raises:
        DependencyDown: Base A or KMS; the chunks before are loaded.
    """
    key, everyone, count = ensure_data_key(owner_dsn, vault), iter(people), 0

    def prepare() -> list[Sealed]:
        return [_seal(person, pseudonym_key, vault, key) for person in islice(everyone, CHUNK)]

    try:
        with psycopg.connect(owner_dsn, connect_timeout=5, autocommit=True) as connection, ThreadPoolExecutor(1) as ahead:
            connection.execute(QUERIES["lock_load"])
            following = ahead.submit(prepare)
            while chunk := following.result():
                following = ahead.submit(prepare)  # made and sealed while PostgreSQL is busy with the one before
                with connection.transaction():
                    _replace(connection, chunk, UUID(key.key_id))
                    if source:
                        connection.execute(QUERIES["add_loaded"], (source, len(chunk)))
                count += len(chunk)
                progress(len(chunk))
            # What was just written is marked as such here, in one sweep, and not page by page by the first who read it.
            connection.execute(QUERIES["settle_people"])
    except psycopg.OperationalError as error:
        raise DependencyDown("base_a") from error
    return count


def _seal(known: Person, pseudonym_key: bytes, vault: Vault, key: DataKey) -> Sealed:
    person = cpf.pseudonym(pseudonym_key, known.cpf)
    return Sealed(person, vault.seal(person, key, Identity(known.cpf, known.name, known.address)), known.debts)


def _replace(connection: psycopg.Connection, chunk: list[Sealed], key_id: UUID) -> None:
    connection.execute(QUERIES["delete_people"], ([row.person for row in chunk],), prepare=True)
    with connection.cursor() as cursor:
        with cursor.copy(QUERIES["copy_people"]) as copy:
            copy.set_types(("text", "uuid", "bytea"))
            for row in chunk:
                copy.write_row((row.person, key_id, row.sealed))
        with cursor.copy(QUERIES["copy_debts"]) as copy:
            copy.set_types(("text", "int4", "text", "int8", "date", "text"))
            for row in chunk:
                for number, debt in enumerate(row.debts):
                    copy.write_row((row.person, number, debt.creditor, debt.amount_cents, _due_on(debt.due_on), debt.status))


def read_people(file: Path) -> Iterator[Person]:
    """The people of a file of JSON lines `{cpf, name, address, debts}`; other fields are ignored, empty lines skipped.

    The whole file is checked before the first is returned, so nothing is loaded where any line is wrong.

    Raises:
        InvalidInput: names each wrong line and its fields, a CPF that comes twice included; never repeats a value.
        CommandError: the file cannot be read.
    """
    if wrong := wrong_lines(file):
        raise InvalidInput(first_of(wrong))
    return (_person(line) for _, line in lines(file))


def wrong_lines(file: Path) -> list[FieldError]:
    """Every fault of every line, each named as `line <number>: <field>`; raises CommandError as `read_people`."""
    wrong: list[FieldError] = []
    seen: dict[int, int] = {}  # numbers, since a million strings would take three times the memory
    for number, line in lines(file):
        try:
            person = _person(line)
        except InvalidInput as error:
            wrong += [{"field": f"line {number}: {fault['field']}", "detail": fault["detail"]} for fault in error.fields]
            continue
        if (first := seen.setdefault(int(person.cpf), number)) != number:
            wrong.append({"field": f"line {number}: cpf", "detail": f"is that of line {first}"})
    return wrong


def _person(line: bytes) -> Person:
    """One line's person, the CPF as digits."""
    try:
        person = _decoder.decode(line)
    except msgspec.ValidationError as error:
        raise InvalidInput(_wrong_members(line) or [{"field": "person", "detail": str(error).partition(" - at `$")[0]}]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput([{"field": "line", "detail": "is not JSON"}]) from error
    digits, wrong = _digits(person.cpf)
    for number, debt in enumerate(person.debts):
        try:
            _due_on(debt.due_on)
        except ValueError:
            wrong.append({"field": f"debts[{number}].due_on", "detail": "is not a day of the calendar"})
    if wrong:
        raise InvalidInput(wrong)
    return msgspec.structs.replace(person, cpf=digits)


def _wrong_members(line: bytes) -> list[FieldError]:
    """All that is wrong with a line that is no person, its CPF's check digits included."""
    members = msgspec.json.decode(line)
    wrong: list[FieldError] = [{"field": fault["field"] or "person", "detail": fault["detail"]} for fault in faults(members, Person)]
    if isinstance(members, dict) and isinstance(given := members.get("cpf"), str):
        wrong += _digits(given)[1]
    return wrong


def _digits(given: str) -> tuple[str, list[FieldError]]:
    try:
        return cpf.parse(given), []
    except cpf.InvalidCpf as error:
        return "", [{"field": "cpf", "detail": error.detail}]
