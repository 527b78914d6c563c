"""What Base B holds: from a line or a record to a document and back."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumidor.errors import InvalidInput
from consumidor.score.loading import read_people, read_record
from consumidor.score.records import ASSET_KINDS, Address, Asset, Income, Record, document, profile

PERSON = "0fab" * 8
LINE = {
    "cpf": "465.092.081-72", "name": "Ana", "debts": [], "birth_date": "1953-01-01",
    "address": {"street": "Rua das Flores, 1", "city": "Natal", "state": "RN", "postal_code": "59000-000",
                "housing": "own", "since": "2001-02-03"},
    "assets": [{"kind": "real_estate", "value_cents": 85000000, "since": "1990-01-01"}],
    "income": {"source": "pension", "monthly_cents": 250000},
}  # fmt: skip


def test_a_line_becomes_a_record() -> None:
    """Base B's members are read, Base A's passed over; the street stays in Base A."""
    assert read_record(LINE) == Record(
        date(1953, 1, 1),
        [Asset("real_estate", 85000000, date(1990, 1, 1))],
        Address("RN", "Natal", "59000-000", "own", date(2001, 2, 3)),
        Income("pension", None, 250000),
    )


def test_all_of_it_is_optional() -> None:
    """A line of Base A's alone is a record of the address, with nothing else known."""
    line = {"cpf": "1", "name": "Ana", "debts": [], "address": {"street": "x", "city": "Natal", "state": "RN", "postal_code": "59000-000"}}
    assert read_record(line) == Record(address=Address("RN", "Natal", "59000-000"))


@pytest.mark.parametrize(("members", "fields"), [
    ({"birth_date": "1953-13-01"}, ["birth_date"]),
    ({"birth_date": 1953, "assets": {}}, ["assets", "birth_date"]),
    ({"assets": [{"kind": "boat", "value_cents": 1}]}, ["assets[0].kind"]),
    ({"assets": [{"kind": "vehicle", "value_cents": -1}]}, ["assets[0].value_cents"]),
    ({"assets": [{"kind": "vehicle", "value_cents": 1.5}]}, ["assets[0].value_cents"]),
    ({"assets": [{"kind": "vehicle", "value_cents": 1, "colour": "red"}]}, ["assets[0]"]),
    ({"address": {"state": "Rio", "housing": "tent"}}, ["address.housing", "address.state"]),
    ({"address": {"country": "BR"}, "income": {"source": "gold"}}, ["address.country", "income.source"]),
    ({"income": {"monthly_cents": 2**53}}, ["income.monthly_cents"]),
    ({"asets": []}, ["asets"]),
    ({"birth_date": "9999-01-01"}, ["birth_date"]),
    ({"assets": [{"kind": "boat", "value_cents": -1}, {"kind": "ship"}]}, ["assets[0].kind", "assets[0].value_cents", "assets[1].kind"]),
])  # fmt: skip
def test_wrong_members_are_named(members: dict[str, Any], fields: list[str]) -> None:
    """Each wrong member is named where it stands; nothing is guessed or dropped."""
    with pytest.raises(InvalidInput) as caught:
        read_record(LINE | members)
    assert [wrong["field"] for wrong in caught.value.fields] == fields


def test_what_a_member_may_be_is_said() -> None:
    """Every word of a choice, however deep it stands, and a date as it is written."""
    with pytest.raises(InvalidInput) as caught:
        read_record({"assets": [{"kind": "boat", "value_cents": 1}], "birth_date": "tomorrow", "address": {"state": "Rio"}})
    assert [wrong["detail"] for wrong in caught.value.fields] == [
        "must be two capital letters",
        "must be one of real_estate, life_insurance, vehicle, other, savings, bonds",
        "must be a date, YYYY-MM-DD",
    ]


def test_a_postal_code_has_its_hyphen() -> None:
    """In Base B, whether it was given or not."""
    assert read_record({"address": {"postal_code": "59000000"}}).address == Address(postal_code="59000-000")


def test_a_file_of_people(tmp_path: Path) -> None:
    """A line a person; empty lines are skipped."""
    file = tmp_path / "people.jsonl"
    file.write_text(f"{json.dumps(LINE)}\n\n{json.dumps({'cpf': '52443289729'})}\n")
    assert [(digits, record.birth_date) for digits, record in read_people(file)] == [
        ("46509208172", date(1953, 1, 1)),
        ("52443289729", None),
    ]


def test_a_file_with_wrong_lines(tmp_path: Path) -> None:
    """Every wrong line is named before anything is read, without a value of it."""
    file = tmp_path / "people.jsonl"
    lines = [json.dumps(LINE | change) for change in ({}, {"cpf": "46509208173"}, {"birth_date": "tomorrow"})]
    file.write_text("\n".join([*lines, "[1]", "{"]))
    with pytest.raises(InvalidInput) as caught:
        read_people(file)
    assert [wrong["field"] for wrong in caught.value.fields] == ["line 2: cpf", "line 3: birth_date", "line 4: line", "line 5: line"]
    assert "46509208173" not in str(caught.value)


records = st.builds(
    Record,
    st.none() | st.dates(date(1, 1, 1), date(2100, 1, 1)),
    st.none() | st.lists(st.builds(Asset, st.sampled_from(ASSET_KINDS), st.integers(0, 2**53 - 1), st.none() | st.dates()), max_size=3),
    st.none() | st.builds(Address, housing=st.none() | st.sampled_from(["own", "rent", "free"]), since=st.none() | st.dates()),
    st.none() | st.builds(Income, since=st.none() | st.dates(), monthly_cents=st.none() | st.integers(0, 10**9)),
)


@settings(max_examples=30)
@given(records)
def test_nothing_is_lost_on_the_way(record: Record) -> None:
    """A record stored and shown is the record: dates, amounts, and what is not known."""
    shown = profile(document(PERSON, record), date(2101, 1, 1))
    assert (shown.assets, shown.address, shown.income) == (record.assets, record.address, record.income)
    assert (shown.age is None) == (record.birth_date is None)


def test_the_bucket_is_the_first_byte() -> None:
    """Extraction partitions by it: 0 to 255, evenly, since a pseudonym's bits are."""
    assert document(PERSON, Record()) == {"_id": PERSON, "bucket": 0x0F}
