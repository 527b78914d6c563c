"""What Base B holds of the synthetic people: each gets the attributes of one of 1,000 real loans, so that scores spread as in the data.

`credit_profiles.csv` holds the loans' attributes as the scorecard's training recodes them (a test holds the two together). A profile
says "savings from R$ 5,000 to under R$ 10,000"; the amount inside that range is drawn, as is all that the loans do not tell. Everything
is as of the day of seeding, and computed from that day, the seed and the person's index alone.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, get_args

from consumidor import cpf
from consumidor.local.synthetic import ELDER, YOUNGER, SyntheticPerson
from consumidor.score.loading import insert_base_b
from consumidor.score.records import Address, Asset, AssetKind, Housing, Income, IncomeSource, Record, document

Draw = Callable[[], float]

# From each range's lower end, as the profiles name it, to its upper end; the last ones are bounded by our own choice.
_SAVINGS_END = {0: 100_000, 100_000: 500_000, 500_000: 1_000_000, 1_000_000: 20_000_000}  # cents
_YEARS_END = {0: 1, 1: 4, 4: 7, 7: 25}
_VALUES: dict[str, tuple[int, int]] = {  # cents, from a third to three times what is common
    "real_estate": (10_000_000, 120_000_000),
    "life_insurance": (2_000_000, 30_000_000),
    "vehicle": (1_500_000, 12_000_000),
    "other": (200_000, 3_000_000),
}
_OTHER_GOODS = 0.2  # the loans' label is "car or other"
_ALSO_VEHICLE = 0.5  # of those with real estate; the label tells only the best they have
_SOURCES: dict[str, tuple[tuple[IncomeSource, float], ...]] = {
    "management": (("management", 0.6), ("self_employed", 1.0)),
    "skilled": (("skilled_employee", 0.8), ("public_servant", 1.0)),
    "unskilled": (("unskilled_employee", 1.0),),
}
_OUT_OF_WORK = 0.27  # of those with less than a year in their work: 62 of 234 loans; told apart only where the job label allows it
_MONTHLY = {"management": 900_000, "self_employed": 600_000, "skilled_employee": 320_000, "public_servant": 550_000,
            "unskilled_employee": 180_000, "unemployed": 60_000}  # fmt: skip


class Profile(NamedTuple):
    """One loan's attributes: lower ends of ranges, names of categories, None for "unknown or none"."""

    age: int
    property: AssetKind | None
    savings: int | None
    housing: Housing
    residence: int
    employment: int
    job: str


def profiles() -> list[Profile]:
    """The 1,000 profiles, in the order of the data."""
    lines = Path(__file__).with_name("credit_profiles.csv").read_text("utf-8").splitlines()
    return [_profile(row) for row in csv.DictReader(line for line in lines if not line.startswith("#"))]


def _profile(row: dict[str, str]) -> Profile:
    kind = next((kind for kind in get_args(AssetKind) if kind == row["property"]), None)
    housing = next(housing for housing in get_args(Housing) if housing == row["housing"])
    savings = int(row["savings"]) if row["savings"] else None
    return Profile(int(row["age"]), kind, savings, housing, int(row["residence"]), int(row["employment"]), row["job"])


def documents(people: Iterable[SyntheticPerson], pseudonym_key: bytes, seed: int, day: date) -> Iterator[dict[str, Any]]:
    """Base B's documents of these people, the same for the same seed and day."""
    drawn_from = profiles()
    for person in people:
        draw = Random(f"{seed}/credit/{person.index}").random  # noqa: S311 - made-up people, not secrets
        made = record(drawn_from[int(draw() * len(drawn_from))], day, draw, person)
        yield document(cpf.pseudonym(pseudonym_key, person.cpf), made)


def seed_base_b(
    uri: str,
    people: Iterable[SyntheticPerson],
    pseudonym_key: bytes,
    seed: int,
    day: date,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Write these people's documents into Base B, leaving alone those it has; the number seen.

    Raises:
        DependencyDown, CommandError: as `insert_base_b`.
    """
    return insert_base_b(uri, documents(people, pseudonym_key, seed, day), progress)


def record(profile: Profile, day: date, draw: Draw, person: SyntheticPerson | None = None) -> Record:
    """A record that the scorecard sees on that day as exactly this profile; for one of the two sample people, their own."""
    if person is not None and person.cpf in _SAMPLES:
        profile = _SAMPLES[person.cpf]
    return Record(
        birth_date=person.born if person and person.born else _whole_years_before(day, profile.age, draw),
        assets=_sample_assets(day.year) if person and person.cpf == ELDER else _assets(profile, day, draw),
        address=Address(
            state=person.address.state if person else None,
            city=person.address.city if person else None,
            postal_code=person.address.postal_code if person else None,
            housing=profile.housing,
            since=_within_years(day, profile.residence, draw),
        ),
        income=_income(profile, day, draw),
    )


def _whole_years_before(day: date, years: int, draw: Draw) -> date:
    """When something began that is `years` whole years old on `day`: up to 364 days before the anniversary."""
    leap_day = (day.month, day.day) == (2, 29)
    anniversary = date(day.year - years, day.month, 28 if leap_day else day.day)
    return anniversary - timedelta(days=int(draw() * 365))


def _within_years(day: date, low: int, draw: Draw) -> date:
    return _whole_years_before(day, low + int(draw() * (_YEARS_END[low] - low)), draw)


def _assets(profile: Profile, day: date, draw: Draw) -> list[Asset]:
    kinds: list[AssetKind] = [profile.property] if profile.property else []
    if profile.property == "vehicle" and draw() < _OTHER_GOODS:
        kinds = ["other"]
    if profile.property == "real_estate" and draw() < _ALSO_VEHICLE:
        kinds.append("vehicle")
    assets = [Asset(kind, _between(*_VALUES[kind], draw), _whole_years_before(day, int(draw() * 10), draw)) for kind in kinds]
    if profile.savings is not None:
        amount = _between(profile.savings, _SAVINGS_END[profile.savings], draw)
        assets.append(Asset("savings", amount, _whole_years_before(day, int(draw() * 10), draw)))
    return assets


def _between(low: int, high: int, draw: Draw) -> int:
    return low + int(draw() * (high - low))


def _income(profile: Profile, day: date, draw: Draw) -> Income:
    chosen = draw()
    source = next(source for source, below in _SOURCES[profile.job] if chosen < below)
    if profile.job == "unskilled" and profile.employment == 0 and draw() < _OUT_OF_WORK:
        source = "unemployed"
    monthly = int(_MONTHLY[source] * (0.6 + draw()))
    return Income(source, _within_years(day, profile.employment, draw), monthly)


# The two sample people of the design challenge: 73 with two properties, 33 with nothing. The rest is ours.
_SAMPLES = {
    ELDER: Profile(73, "real_estate", None, "own", 7, 7, "skilled"),
    YOUNGER: Profile(33, None, None, "rent", 1, 1, "skilled"),
}


def _sample_assets(year: int) -> list[Asset]:
    return [Asset("real_estate", 85_000_000, date(year - 40, 1, 1)), Asset("real_estate", 42_000_000, date(year - 18, 1, 1))]
