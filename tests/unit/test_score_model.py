"""The score: sums, reasons, bands, missing attributes, and that nothing makes it raise."""

from datetime import date, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

import bson
import msgspec
import pytest
from bson.code import Code
from bson.int64 import Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumidor.local.synthetic_credit import profiles, record
from consumidor.score.model import MOST_REASONS, Scorecard, attributes, band, points, score
from consumidor.score.records import ASSET_KINDS, HOUSINGS, INCOME_SOURCES, Record
from consumidor.score.records import document as stored

CARD = Scorecard.current()
DAY = date(2026, 11, 22)
BEST = {one.name: max(each.points for each in (*one.bins, one.missing)) for one in CARD.attributes}

dates = st.dates(date(1900, 1, 1), date(2030, 1, 1))
assets = st.lists(st.fixed_dictionaries({"kind": st.sampled_from(ASSET_KINDS), "value_cents": st.integers(0, 10**12)}), max_size=5)
documents = st.fixed_dictionaries({}, optional={
    "birth_date": dates,
    "assets": assets,
    "address": st.fixed_dictionaries({}, optional={"housing": st.sampled_from(HOUSINGS), "since": dates}),
    "income": st.fixed_dictionaries({}, optional={"source": st.sampled_from(INCOME_SOURCES), "since": dates}),
})  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "value_cents", "since", "source"]), inner),
    max_leaves=8,
)


@given(documents, st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_points_add_up(document: dict[str, Any], day: date) -> None:
    """The points of the seven attributes add up to the score, from 0 to 1000; what each lost, to what is missing from 1000."""
    answer, parts = score(document, day, CARD), points(document, day, CARD)
    assert sum(parts.values()) == answer.score
    assert 0 <= answer.score <= 1000
    assert sum(BEST[name] - got for name, got in parts.items()) == 1000 - answer.score


@given(documents)
def test_reasons_are_the_costliest_first(document: dict[str, Any]) -> None:
    """At most four, by points lost, none that lost nothing, and no attribute left out lost more than one named."""
    answer, parts = score(document, DAY, CARD), points(document, DAY, CARD)
    lost = {name: BEST[name] - got for name, got in parts.items()}
    assert {reason.code: reason.points_lost for reason in answer.reasons}.items() <= lost.items()
    assert [reason.points_lost for reason in answer.reasons] == sorted((cost for cost in lost.values() if cost), reverse=True)[
        :MOST_REASONS
    ]


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])  # a fresh checkout's first text makes tables of Unicode
@given(st.dictionaries(st.sampled_from(["birth_date", "assets", "address", "income", "other"]), junk))
def test_nothing_makes_it_raise(document: dict[str, Any]) -> None:
    """Whatever a document holds, there is a score; what has the wrong kind is as good as missing."""
    assert 0 <= score(document, DAY, CARD).score <= 1000


@given(documents)
def test_the_same_score_through_bson(document: dict[str, Any]) -> None:
    """A document has the same score before it is stored and after it is read back, when its larger numbers are of BSON's own kind."""
    made = stored("0" * 32, msgspec.convert(document, Record))
    read = bson.decode(bson.encode(made))
    assert score(read, DAY, CARD) == score(made, DAY, CARD)


@pytest.mark.parametrize("cents", [2**31 - 1, 2**31, 2**53 - 1, Int64(1_000_000)])
def test_savings_beyond_32_bits_count(cents: int) -> None:
    """BSON's 64-bit numbers, which a number over 2^31 - 1 becomes and any may be, are cents as all others are; true and false are none."""
    held = [{"kind": "savings", "value_cents": cents}, {"kind": "bonds", "value_cents": 1}, {"kind": "bonds", "value_cents": True}]
    assert attributes(bson.decode(bson.encode({"assets": held})), DAY)["savings"] == cents + 1


def test_code_is_no_text() -> None:
    """BSON's code, a kind of `str` that cannot be looked up, is as good as missing wherever a name is expected."""
    names = {"address": {"housing": Code("own")}, "income": {"source": Code("management")}, "assets": [{"kind": Code("real_estate")}]}
    assert points(bson.decode(bson.encode(names)), DAY, CARD) == points({}, DAY, CARD)


@given(documents, assets)
def test_more_property_never_costs_points(document: dict[str, Any], more: list[dict[str, Any]]) -> None:
    """Whatever is added to what a person owns, the points of property never fall: its bins are in order."""
    richer = document | {"assets": document.get("assets", []) + more}
    assert points(richer, DAY, CARD)["property"] >= points(document, DAY, CARD)["property"]


@given(documents, st.integers(0, 10**12), st.integers(0, 10**12))
def test_more_savings_never_cost_points(document: dict[str, Any], cents: int, more: int) -> None:
    """Of two people with savings, the one with more never gets fewer points. (No account at all is a bin of its own.)"""
    less, richer = (document | {"assets": [{"kind": "savings", "value_cents": value}]} for value in (cents, cents + more))
    assert points(richer, DAY, CARD)["savings"] >= points(less, DAY, CARD)["savings"]


@given(documents, st.integers(0, 40))
def test_being_older_never_costs_points(document: dict[str, Any], years: int) -> None:
    """The same document years later never has fewer points for age: the card takes none from the old."""
    if (born := document.get("birth_date")) and born > DAY:
        return
    now, later = points(document, DAY, CARD), points(document, DAY.replace(year=DAY.year + years), CARD)
    assert later["age"] >= now["age"]


def test_a_document_of_nothing() -> None:
    """With nothing known every attribute gets its missing bin."""
    assert points({}, DAY, CARD) == {one.name: one.missing.points for one in CARD.attributes}


def test_the_best_and_the_worst() -> None:
    """0 and 1000 are the card's own ends: someone can have either, so nothing is ever clamped."""
    long_ago = datetime(1980, 1, 1)  # noqa: DTZ001 - Base B's dates come without a zone
    best = {"birth_date": long_ago, "assets": [{"kind": "real_estate", "value_cents": 1}, {"kind": "savings", "value_cents": 10**8}],
            "address": {"housing": "own", "since": long_ago}, "income": {"source": "unskilled_employee", "since": long_ago}}  # fmt: skip
    lately = datetime(2026, 11, 1)  # noqa: DTZ001 - as above
    worst = {"birth_date": datetime(2005, 1, 1), "assets": [{"kind": "savings", "value_cents": 0}],  # noqa: DTZ001 - as above
             "address": {"housing": "free", "since": lately}, "income": {"source": "management", "since": lately}}  # fmt: skip
    assert (score(best, DAY, CARD).score, score(best, DAY, CARD).reasons) == (1000, [])
    assert (score(worst, DAY, CARD).score, score(worst, DAY, CARD).band) == (0, "very_low")


@pytest.mark.parametrize(("born", "years"), [
    (date(1993, 11, 22), 33), (date(1993, 11, 23), 32), (date(2026, 11, 22), 0), (date(2026, 11, 23), None), (date(1992, 2, 29), 34),
])  # fmt: skip
def test_age_is_counted_by_birthdays(born: date, years: int | None) -> None:
    """Whole years, one more on the birthday itself; someone born after the date has none."""
    assert attributes({"birth_date": born}, DAY)["age"] == years


@pytest.mark.parametrize(("held", "owned", "savings"), [
    ([], None, None),
    ([("vehicle", 1)], "vehicle", None),
    ([("other", 1)], "vehicle", None),
    ([("vehicle", 1), ("real_estate", 1), ("life_insurance", 1)], "real_estate", None),
    ([("savings", 5), ("bonds", 7)], None, 12),
    ([("savings", 0)], None, 0),
])  # fmt: skip
def test_assets_as_the_loans_tell_them_apart(held: list[tuple[str, int]], owned: str | None, savings: int | None) -> None:
    """Property is the best one has; savings and bonds add up, and none at all is not the same as zero."""
    found = attributes({"assets": [{"kind": kind, "value_cents": cents} for kind, cents in held]}, DAY)
    assert (found["property"], found["savings"]) == (owned, savings)


@pytest.mark.parametrize(("income", "job", "employment"), [
    ({"source": "public_servant", "since": date(2020, 1, 1)}, "skilled", 6),
    ({"source": "unemployed", "since": date(2020, 1, 1)}, "unskilled", 0),
    ({"source": "pension", "since": date(2020, 1, 1)}, None, None),
    ({"since": date(2020, 1, 1)}, None, None),
])  # fmt: skip
def test_work_as_the_loans_tell_it_apart(income: dict[str, Any], job: str | None, employment: int | None) -> None:
    """Someone out of work has no years in it; a pension is neither a job nor time in one."""
    found = attributes({"income": income}, DAY)
    assert (found["job"], found["employment"]) == (job, employment)


@pytest.mark.parametrize(("total", "name"), [
    (0, "very_low"), (300, "very_low"), (301, "low"), (500, "low"), (501, "good"), (700, "good"), (701, "excellent"), (1000, "excellent"),
])  # fmt: skip
def test_bands(total: int, name: str) -> None:
    """The bands of Brazil's bureaus, to the point."""
    assert band(total) == name


def test_the_answer_names_card_and_date() -> None:
    """A score can be had again: the answer carries the card's version and the date; nothing else is needed."""
    document = {"birth_date": date(1990, 1, 1), "assets": []}
    answer = msgspec.to_builtins(score(document, DAY, CARD))
    assert list(answer) == ["score", "band", "reasons", "model", "as_of"]
    assert (answer["model"], answer["as_of"]) == (CARD.version, "2026-11-22")
    assert score(document, DAY, Scorecard.current()) == score(document, DAY, CARD)


def test_a_version_means_the_same_for_ever() -> None:
    """The answers for 1,000 documents on a date are those they have always been: who changes one must change the card's version too."""
    made = [record(profile, DAY, Random(number).random) for number, profile in enumerate(profiles())]
    answers = msgspec.json.encode([score(stored("0" * 32, one), DAY, CARD) for one in made])
    assert (CARD.version, sha256(answers).hexdigest()[:16]) == ("1-938eab65", "06dd3678beb595f6")


@given(documents)
def test_reasons_in_two_languages(document: dict[str, Any]) -> None:
    """English and Portuguese name the same attributes and points, in words of their own, and no placeholder is left in them."""
    english, portuguese = (score(document, DAY, CARD, language).reasons for language in ("en", "pt"))
    assert [(one.code, one.points_lost) for one in english] == [(one.code, one.points_lost) for one in portuguese]
    assert all(one.text != other.text and "{" not in one.text + other.text for one, other in zip(english, portuguese, strict=True))


def test_times_grow_with_the_date() -> None:
    """The years at the address are as of the date asked for, not of today."""
    document = {"address": {"since": DAY - timedelta(days=800)}}
    assert [attributes(document, DAY.replace(year=DAY.year + more))["residence"] for more in (0, 1, 5)] == [2, 3, 7]
