"""A user's own people: every wrong line is named with its field, and no value is repeated."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consumidor.errors import CommandError, InvalidInput
from consumidor.local import operations
from consumidor.people.load import read_people
from consumidor.people.model import Address, Debt, Person

ADDRESS = {"street": "Rua Sete, 7", "city": "São Paulo", "state": "SP", "postal_code": "01310-100"}
DEBT = {"creditor": "Banco Ipê", "amount_cents": 12990, "due_on": "2026-03-10", "status": "open"}
ANA: dict[str, Any] = {"cpf": "465.092.081-72", "name": "Ana Nóbrega", "address": ADDRESS, "debts": [DEBT]}


def write(folder: Path, *lines: object) -> Path:
    """A file of JSON lines; text is written as it is."""
    file = folder / "people.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return file


def test_people_are_read_with_the_cpf_as_digits(tmp_path: Path) -> None:
    """With or without punctuation, fields of other bases ignored, empty lines skipped."""
    rui = {**ANA, "cpf": "52443289729", "debts": [], "birth_date": "1990-01-01"}
    assert list(read_people(write(tmp_path, ANA, "", rui))) == [
        Person("46509208172", "Ana Nóbrega", Address(**ADDRESS), [Debt("Banco Ipê", 12990, "2026-03-10", "open")]),
        Person("52443289729", "Ana Nóbrega", Address(**ADDRESS), []),
    ]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"cpf": "465.092.081-73"}, "cpf"), ({"cpf": "1"}, "cpf"), ({"cpf": 46509208172}, "cpf"),
        ({"name": ""}, "name"), ({"name": None}, "name"), ({"name": "Ana\u0000"}, "name"), ({"name": "A" * 201}, "name"),
        ({"address": "Rua Sete"}, "address"), ({"address": {**ADDRESS, "state": "sp"}}, "address.state"),
        ({"address": {**ADDRESS, "postal_code": "1310"}}, "address.postal_code"), ({"address": {**ADDRESS, "city": 1}}, "address.city"),
        ({"address": {"street": "Rua Sete"}}, "address"), ({"debts": None}, "debts"), ({"debts": [1]}, "debts[0]"),
        ({"debts": [DEBT, {**DEBT, "due_on": "2026-02-30"}]}, "debts[1].due_on"),
        *(({"debts": [{**DEBT, "amount_cents": amount}]}, "debts[0].amount_cents") for amount in (-1, 12.5, 2**60, "1")),
        *(({"debts": [{**DEBT, name: value}]}, f"debts[0].{name}")
          for name, value in (("status", "Nóbrega"), ("creditor", "a\u0000"), ("due_on", "10/03/2026"))),
    ],
    ids=str,
)  # fmt: skip
def test_each_wrong_field_is_named_with_its_line(tmp_path: Path, wrong: dict[str, Any], field: str) -> None:
    """Line and field, and never the value: it may be somebody's."""
    with pytest.raises(InvalidInput) as caught:
        read_people(write(tmp_path, ANA, {**ANA, "cpf": "52443289729", **wrong}))
    assert [fault["field"] for fault in caught.value.fields] == [f"line 2: {field}"]
    assert "Nóbrega" not in str(caught.value)
    assert "465" not in str(caught.value)


@pytest.mark.parametrize("line", ["{", "[]", "42", '{"cpf": "46509208172"}', "\ufeff{}"])
def test_a_line_that_is_not_a_person_is_named(tmp_path: Path, line: str) -> None:
    """Broken JSON, another shape, a field that is missing."""
    with pytest.raises(InvalidInput, match=r"^line 1: "):
        read_people(write(tmp_path, line))


def test_all_wrong_lines_are_named_at_once(tmp_path: Path) -> None:
    """One look at the message mends the file; past fifty it only counts."""
    with pytest.raises(InvalidInput) as caught:
        read_people(write(tmp_path, ANA, *({**ANA, "cpf": "1"} for _ in range(60))))
    fields = caught.value.fields
    assert [fault["field"] for fault in fields[:50]] == [f"line {number}: cpf" for number in range(2, 52)]
    assert fields[50:] == [{"field": "and", "detail": "10 more"}]


def test_a_cpf_that_comes_twice_names_both_lines(tmp_path: Path) -> None:
    """Neither of two different people may silently win."""
    with pytest.raises(InvalidInput, match="line 3: cpf: is that of line 1"):
        read_people(write(tmp_path, ANA, "", {**ANA, "cpf": "46509208172"}))


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """No such file, no permission, a folder."""
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        read_people(tmp_path / "none.jsonl")


def test_bytes_that_are_not_text_are_a_wrong_line(tmp_path: Path) -> None:
    """Latin-1, as spreadsheets like to save."""
    file = tmp_path / "latin.jsonl"
    file.write_bytes('{"cpf": "46509208172", "name": "Nóbrega"}'.encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"^line 1: "):
        read_people(file)


def test_all_wrong_fields_of_a_line_are_named_in_words(tmp_path: Path) -> None:
    """What each may be is said to a person: no pattern, and every word of a choice."""
    address = {**ADDRESS, "state": "sp", "postal_code": "1310"}
    debts = [{**DEBT, "status": "late"}, {**DEBT, "due_on": "10/03/2026"}]
    with pytest.raises(InvalidInput) as caught:
        read_people(write(tmp_path, {"cpf": "1", "name": "", "address": address, "debts": debts}))
    assert {fault["field"].removeprefix("line 1: "): fault["detail"] for fault in caught.value.fields} == {
        "name": "must be text of 1 to 200 characters, none of them a control character",
        "address.state": "must be two capital letters",
        "address.postal_code": "must be 8 digits, with or without a hyphen",
        "debts[0].status": "must be one of open, paid, renegotiated",
        "debts[1].due_on": "must be a date, YYYY-MM-DD",
        "cpf": "a CPF is 11 digits, as ddd.ddd.ddd-dd or without punctuation",
    }


def test_a_mark_before_the_first_line_is_passed_over(tmp_path: Path) -> None:
    """Editors on Windows put one there."""
    assert len(list(read_people(write(tmp_path, "\ufeff" + json.dumps(ANA))))) == 1


def test_the_faults_of_both_bases_come_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line by line, each once, with the file's name and that nothing was loaded."""
    monkeypatch.setattr(operations, "read_stack", lambda _: {})
    monkeypatch.setattr(operations, "read_environment", lambda _: SimpleNamespace(settings={"PSEUDONYM_KEY": "00"}))
    income = {"income": {"source": "gold"}, "birth_date": "1953-13-01"}
    file = write(tmp_path, {**ANA, **income}, {**ANA, "cpf": "1", "birth_date": "9999-01-01"}, {**ANA, "name": ""}, "{")
    with pytest.raises(CommandError) as caught:
        operations.load_people(tmp_path, file)
    before, _, faults = str(caught.value).partition(" nothing was loaded. ")
    assert before == f"{file}:"
    assert [fault.rpartition(": ")[0] for fault in faults.split("; ")] == [
        *("line 1: birth_date", "line 1: income.source", "line 2: birth_date", "line 2: cpf", "line 3: name", "line 4: line"),
    ]
    assert "must be one of management, self_employed" in faults
