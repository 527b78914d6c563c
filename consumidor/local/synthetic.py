"""Synthetic people: made up, the same for a given seed, and each computed from (seed, index) alone.

So Bases A, B and C can be seeded by separate processes, from any index on, and still speak of the same people. Names, places and
postal code ranges are Brazilian (`brazil.json`; the ranges are the public ones of the Correios); any likeness to a real person is
chance. Only `Random.random` is drawn from, the one method whose sequence Python promises to keep between versions.
"""

import datetime as dt
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from consumidor import cpf
from consumidor.people.model import Address, Debt, DebtStatus, Person

ELDER = "46509208172"  # from the design challenge: born 1 January of the seeding year less 73, two real-estate assets
YOUNGER = "52443289729"  # from the design challenge: born 1 January of the seeding year less 33, no assets
LARGE_REPORT = "52998224725"  # always has a report over 1 MiB
NEVER_SEEDED = ("11144477735", "12345678909")
_FIXED = (ELDER, YOUNGER, LARGE_REPORT)
_FIXED_AGES = (73, 33)
FIXED_PEOPLE = len(_FIXED)
MAX_PEOPLE = 100_000_000  # below every reserved base number, see _cpf

_BASES = 10**9  # the nine digits before the check digits
_MULTIPLIER = 618_033_989  # 10^9 over the golden ratio, and coprime with it: i -> i * m + offset spreads and never repeats
_REPEATED_DIGITS = frozenset(int(str(digit) * 9) for digit in range(10))  # true check digits, yet refused by many systems
_RESERVED = frozenset(int(digits[:9]) for digits in (*_FIXED, *NEVER_SEEDED)) | _REPEATED_DIGITS

_LARGE_EVERY = 5_000  # people 2, 5002, ... have a report over 1 MiB
_LARGE_DEBTS = 15_000
_NO_DEBT = 0.6
_TAIL = 1.2  # Pareto exponent of the number of debts of those who have any
_MOST_DEBTS = 400

_BRAZIL: dict[str, Any] = json.loads(Path(__file__).with_name("brazil.json").read_text("utf-8"))
_GIVEN, _FAMILY, _STREETS, _CREDITORS = (_BRAZIL[key] for key in ("given", "family", "streets", "creditors"))
_CITIES = [city for city in _BRAZIL["cities"] for _ in range(city["weight"])]
_STATUSES: tuple[DebtStatus, ...] = (*("open",) * 11, *("paid",) * 6, *("renegotiated",) * 3)


class SyntheticPerson(Person, frozen=True):
    """A person as Base A holds one, with the index they were computed from; `born` only where it is prescribed."""

    index: int
    born: dt.date | None = None


def people(seed: int, count: int, year: int, start: int = 0) -> Iterator[SyntheticPerson]:
    """People `start` to `count` - 1 of this seed; `year` is the year of seeding, which debts' dates lead up to.

    The three fixed people are indexes 0 to 2; a count below three is taken as three, so that they are always there.

    Raises:
        ValueError: more people than there are numbers for (`MAX_PEOPLE`).
    """
    if count > MAX_PEOPLE:
        raise ValueError(f"at most {MAX_PEOPLE} people can be made up")
    dates = _due_dates(year)
    for index in range(start, max(count, FIXED_PEOPLE)):
        yield _person(seed, index, year, dates)


def _person(seed: int, index: int, year: int, dates: list[str]) -> SyntheticPerson:
    draw = Random(f"{seed}/{index}").random  # noqa: S311 - made-up people, not secrets
    large = index % _LARGE_EVERY == _FIXED.index(LARGE_REPORT)
    return SyntheticPerson(
        cpf=_cpf(seed, index),
        name=f"{_GIVEN[int(draw() * len(_GIVEN))]} {_FAMILY[int(draw() * len(_FAMILY))]} {_FAMILY[int(draw() * len(_FAMILY))]}",
        address=_address(draw(), draw(), draw(), draw()),
        debts=[
            Debt(
                creditor=_CREDITORS[int(draw() * len(_CREDITORS))],
                amount_cents=int(10 ** (3 + 3.5 * draw())),  # from R$ 10 to R$ 31,000, most of them small
                due_on=dates[int(draw() * len(dates))],
                status=_STATUSES[int(draw() * len(_STATUSES))],
            )
            for _ in range(_LARGE_DEBTS if large else _debt_count(index, draw(), draw()))
        ],
        index=index,
        born=dt.date(year - _FIXED_AGES[index], 1, 1) if index < len(_FIXED_AGES) else None,
    )


def _cpf(seed: int, index: int) -> str:
    """The index's own CPF: an affine bijection on the nine digits, walked on past reserved ones.

    Walking on keeps it one-to-one because no index from 3 to `MAX_PEOPLE` is itself a reserved number (cycle walking, Black and
    Rogaway, "Ciphers with arbitrary finite domains", 2002).
    """
    if index < FIXED_PEOPLE:
        return _FIXED[index]
    base = _scatter(seed, index)
    while base in _RESERVED:
        base = _scatter(seed, base)
    digits = f"{base:09}"
    return digits + cpf.check_digits(digits)


def _scatter(seed: int, number: int) -> int:
    return (number * _MULTIPLIER + seed * 7919) % _BASES


def _address(place: float, street: float, number: float, postal: float) -> Address:
    city = _CITIES[int(place * len(_CITIES))]
    area = city["postal_from"] + int(postal * (city["postal_to"] - city["postal_from"] + 1))
    return Address(
        street=f"{_STREETS[int(street * len(_STREETS))]}, {1 + int(number * 2999)}",
        city=city["city"],
        state=city["state"],
        postal_code=f"{area:05}-{int(number * 900):03}",
    )


def _debt_count(index: int, whether: float, how_many: float) -> int:
    return 0 if whether < _NO_DEBT and index >= FIXED_PEOPLE else min(_MOST_DEBTS, int((1 - how_many) ** (-1 / _TAIL)))


@lru_cache
def _due_dates(year: int) -> list[str]:
    """Every day of the five years before the seeding year, as YYYY-MM-DD."""
    first = dt.date(year - 5, 1, 1)
    return [(first + dt.timedelta(days=day)).isoformat() for day in range((dt.date(year, 1, 1) - first).days)]
