"""The score: a pure function of a person's document in Base B, a date and a scorecard, with reasons. No input makes it raise.

The card (`scorecard.json`, made by `training.py`) cuts seven attributes into bins of whole points that begin at 0, and whose best add
up to 1000; a score is the sum, so nothing is ever clamped. What is absent, or not of the kind the card knows, gets the missing bin.

Whole numbers are any `int` but a `bool`: BSON's 64-bit ones arrive as a subclass. Text is exactly `str`: BSON's code arrives as a subclass
that cannot be looked up (it has no hash), and is no text of ours.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import date
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

Band = Literal["very_low", "low", "good", "excellent"]
Language = Literal["en", "pt"]
MOST_REASONS = 4
_BANDS: tuple[Band, ...] = get_args(Band)
_BAND_ENDS = (300, 500, 700)  # as Brazil's bureaus have them

# Property and savings as the loans' data tells them apart: the best of what one has, in this order, and the sum of money kept.
_PROPERTY = {"real_estate": 3, "life_insurance": 2, "vehicle": 1, "other": 1}
_PROPERTY_NAMES = (None, "vehicle", "life_insurance", "real_estate")
_SAVINGS = ("savings", "bonds")
# A pension is no work: the loans know none, so it leaves both attributes of work missing.
_JOBS = {
    "management": "management", "self_employed": "management", "skilled_employee": "skilled", "public_servant": "skilled",
    "unskilled_employee": "unskilled", "unemployed": "unskilled",
}  # fmt: skip


class Reason(msgspec.Struct, frozen=True):
    """Why a score is not higher: the attribute, what it is like, and the points to its best bin."""

    code: str
    text: str
    points_lost: int


class Score(msgspec.Struct, frozen=True):
    """The answer of the score path. `score` is 0 to 1000; at most four reasons, the costliest first."""

    score: int
    band: Band
    reasons: list[Reason]
    model: str
    as_of: date


class Bin(msgspec.Struct, frozen=True):
    """A bin as the file holds it: numbers below `below` (the last bin has no end), or any of `values`."""

    points: int
    text: dict[Language, str]
    below: int | None = None
    values: list[str] = []


class Attribute(msgspec.Struct, frozen=True):
    """An attribute as the file holds it: bins in order, and the one for what is missing."""

    name: str
    bins: list[Bin]
    missing: Bin


class _File(msgspec.Struct):
    version: str
    attributes: list[Attribute]


class _Placed(msgspec.Struct, frozen=True):
    """What falling into a bin means, ready to hand out."""

    points: int
    lost: int
    reasons: dict[Language, Reason]


class _Table:
    """One attribute's look-up: by bisection over the edges, or by name."""

    def __init__(self, attribute: Attribute) -> None:
        best = max(one.points for one in (*attribute.bins, attribute.missing))
        placed = [_place(attribute.name, best, one) for one in attribute.bins]
        self.name = attribute.name
        self.missing = _place(attribute.name, best, attribute.missing)
        self.edges = [one.below for one in attribute.bins if one.below is not None]
        self.placed = placed
        self.by_value = {value: at for one, at in zip(attribute.bins, placed, strict=True) for value in one.values}

    def find(self, value: object) -> _Placed:
        """The bin of a value; of anything it does not know, the missing bin."""
        if type(value) is str:
            return self.by_value.get(value, self.missing)
        if isinstance(value, int) and not isinstance(value, bool) and not self.by_value:
            return self.placed[bisect_right(self.edges, value)]
        return self.missing


def _place(code: str, best: int, one: Bin) -> _Placed:
    lost = best - one.points
    return _Placed(one.points, lost, {language: Reason(code, text, lost) for language, text in one.text.items()})


class Scorecard:
    """A card ready for use. `version` changes with any bin or point; `attributes` are as the file holds them."""

    def __init__(self, text: bytes) -> None:
        card = msgspec.json.decode(text, type=_File)
        self.version = card.version
        self.attributes = card.attributes
        self._tables = [_Table(attribute) for attribute in card.attributes]

    @classmethod
    def current(cls) -> "Scorecard":
        """The card this package ships."""
        return cls(Path(__file__).with_name("scorecard.json").read_bytes())

    def place(self, document: Mapping[str, Any], as_of: date) -> list[_Placed]:
        """The bin of each attribute, in the card's order."""
        values = attributes(document, as_of)
        return [table.find(values.get(table.name)) for table in self._tables]


def attributes(document: Mapping[str, Any], as_of: date) -> dict[str, int | str | None]:
    """The seven attributes that cards are made of, on a date; None where the document does not tell.

    Ages and times are whole years, savings are cents.
    """
    address, income = _mapping(document.get("address")), _mapping(document.get("income"))
    owned, savings = _assets(document.get("assets"))
    source, job = income.get("source"), None
    if type(source) is str:
        job = _JOBS.get(source)
    return {
        "age": _years(document.get("birth_date"), as_of),
        "property": owned,
        "savings": savings,
        "housing": address.get("housing"),
        "residence": _years(address.get("since"), as_of),
        "employment": 0 if source == "unemployed" else _years(income.get("since"), as_of) if job else None,
        "job": job,
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _years(since: object, as_of: date) -> int | None:
    """Whole years, as birthdays are counted; None for what is no date, or not yet."""
    if not isinstance(since, date):
        return None
    years = as_of.year - since.year - ((as_of.month, as_of.day) < (since.month, since.day))
    return years if years >= 0 else None


def _assets(assets: object) -> tuple[str | None, int | None]:
    """The best kind of property, and the cents in savings (None where there is no such account)."""
    rank, savings = 0, None
    for asset in assets if isinstance(assets, list) else ():
        kind = asset.get("kind") if isinstance(asset, dict) else None
        if type(kind) is not str:
            continue
        rank = max(rank, _PROPERTY.get(kind, 0))
        if kind in _SAVINGS and isinstance(value := asset.get("value_cents"), int) and not isinstance(value, bool):
            savings = (savings or 0) + value
    return _PROPERTY_NAMES[rank], savings


def points(document: Mapping[str, Any], as_of: date, scorecard: Scorecard) -> dict[str, int]:
    """The points of each attribute; they add up to the score."""
    placed = scorecard.place(document, as_of)
    return {attribute.name: at.points for attribute, at in zip(scorecard.attributes, placed, strict=True)}


_by_loss = attrgetter("lost")


def score(document: Mapping[str, Any], as_of: date, scorecard: Scorecard, language: Language = "en") -> Score:
    """The score of a Base B document on a date. The same document, date and card give the same answer for ever."""
    placed = scorecard.place(document, as_of)
    total = sum([at.points for at in placed])
    costly = sorted([at for at in placed if at.lost], key=_by_loss, reverse=True)[:MOST_REASONS]
    return Score(total, band(total), [at.reasons[language] for at in costly], scorecard.version, as_of)


def band(total: int) -> Band:
    """0-300 very_low, 301-500 low, 501-700 good, 701-1000 excellent."""
    return _BANDS[bisect_left(_BAND_ENDS, total)]
