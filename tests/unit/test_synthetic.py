"""Synthetic people: always the same, valid, Brazilian, with a long tail, and with those whom others count on."""

import datetime as dt
import re
from collections import Counter
from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.br import cpf as stdnum_cpf

from consumidor.local.synthetic import ELDER, LARGE_REPORT, NEVER_SEEDED, YOUNGER, SyntheticPerson, people
from consumidor.people.model import Person

SEED, YEAR = 7, 2026
# First three digits of a state's postal codes (Correios).
STATES = {
    "SP": [(10, 199)], "RJ": [(200, 289)], "ES": [(290, 299)], "MG": [(300, 399)], "BA": [(400, 489)], "SE": [(490, 499)], "PE":
    [(500, 569)], "AL": [(570, 579)], "PB": [(580, 589)], "RN": [(590, 599)], "CE": [(600, 639)], "PI": [(640, 649)], "MA":
    [(650, 659)], "PA": [(660, 688)], "AP": [(689, 689)], "AM": [(690, 692), (694, 698)], "RR": [(693, 693)], "AC": [(699,
    699)], "DF": [(700, 727), (730, 736)], "GO": [(728, 729), (737, 767)], "RO": [(768, 769)], "TO": [(770, 779)], "MT": [(780,
    788)], "MS": [(790, 799)], "PR": [(800, 879)], "SC": [(880, 899)], "RS": [(900, 999)],
}  # fmt: skip


@pytest.fixture(scope="module")
def crowd() -> list[SyntheticPerson]:
    """Four thousand of them."""
    return list(people(SEED, 4000, YEAR))


def test_the_same_seed_gives_the_same_people(crowd: list[SyntheticPerson]) -> None:
    """Again, and from any index on, so that three bases can be seeded apart."""
    assert list(people(SEED, 500, YEAR)) == crowd[:500]
    assert list(people(SEED, 4000, YEAR, start=3990)) == crowd[3990:]


def test_these_very_people_are_what_seed_7_gives() -> None:
    """Fixed for ever: data made by an earlier version are still the same people."""
    assert [(person.cpf, person.name, person.address.city) for person in people(SEED, 6, YEAR)] == [
        ("46509208172", "Matheus Campos Pereira", "Curitiba"),
        ("52443289729", "José Gomes Vieira", "Salvador"),
        ("52998224725", "Davi Freitas Freitas", "Florianópolis"),
        ("85415740082", "José Nunes Ramos", "Belém"),
        ("47219138938", "João Correia Rodrigues", "São Paulo"),
        ("09022537862", "Bernardo Santos de Oliveira", "São Paulo"),
    ]


def test_another_seed_gives_other_people(crowd: list[SyntheticPerson]) -> None:
    """Only the fixed ones are shared."""
    others = {person.cpf for person in people(SEED + 1, 1000, YEAR)}
    assert others & {person.cpf for person in crowd[:1000]} == {ELDER, YOUNGER, LARGE_REPORT}


def test_every_cpf_is_valid_and_nobody_elses(crowd: list[SyntheticPerson]) -> None:
    """By python-stdnum's rule; and a bijection gives none twice."""
    assert all(stdnum_cpf.is_valid(person.cpf) for person in crowd)
    assert len({person.cpf for person in crowd}) == len(crowd)


@given(st.integers(0, 10**9), st.lists(st.integers(3, 99_999_999), min_size=2, max_size=20, unique=True))
def test_no_two_indexes_share_a_cpf_nor_take_a_reserved_one(seed: int, indexes: list[int]) -> None:
    """For any seed and any indexes, near or far."""
    found = [next(people(seed, index + 1, YEAR, start=index)).cpf for index in indexes]
    assert len(set(found)) == len(found)
    assert not {ELDER, YOUNGER, LARGE_REPORT, *NEVER_SEEDED} & set(found)
    assert not any(len(set(digits)) == 1 for digits in found)


def test_a_seed_that_lands_on_a_reserved_number_walks_on() -> None:
    """The index whose number would be a reserved CPF's gets another, and that one is no other index's."""
    base = int(NEVER_SEEDED[0][:9])
    seed = next(seed for seed in range(10**6) if (base - seed * 7919) * pow(618_033_989, -1, 10**9) % 10**9 in range(3, 10_000))
    index = (base - seed * 7919) * pow(618_033_989, -1, 10**9) % 10**9
    found = {person.cpf for person in people(seed, index + 500, YEAR, start=index - 2)}
    assert len(found) == 502
    assert NEVER_SEEDED[0] not in found


def test_the_people_of_the_challenge_are_always_there() -> None:
    """Even if only one is asked for; ages come out right on any day of the seeding year."""
    elder, younger, large = people(99, 1, YEAR)
    assert (elder.cpf, elder.born) == ("46509208172", dt.date(YEAR - 73, 1, 1))
    assert (younger.cpf, younger.born) == ("52443289729", dt.date(YEAR - 33, 1, 1))
    assert (large.cpf, large.born) == ("52998224725", None)
    assert len(msgspec.json.encode(large.debts)) > 1024 * 1024


def test_everyone_would_pass_as_a_users_own_person(crowd: list[SyntheticPerson]) -> None:
    """Names, addresses and debts meet the rules that a loaded file has to meet."""
    for person in crowd:
        msgspec.json.decode(msgspec.json.encode(person), type=Person)


def test_postal_codes_belong_to_their_state(crowd: list[SyntheticPerson]) -> None:
    """By the ranges of the Correios; and all states that matter are there."""
    for address in (person.address for person in crowd):
        assert re.fullmatch("[0-9]{5}-[0-9]{3}", address.postal_code)
        assert any(low <= int(address.postal_code[:3]) <= high for low, high in STATES[address.state])
    assert len({person.address.state for person in crowd}) > 20


def test_debts_have_a_long_tail(crowd: list[SyntheticPerson]) -> None:
    """Most owe nothing, most others little, a few a hundred times over; dates lead up to the seeding year."""
    counts = Counter(len(person.debts) for person in crowd if person.cpf != LARGE_REPORT)
    assert 0.55 < counts[0] / len(crowd) < 0.65
    assert counts[1] > counts[2] > counts[5]
    assert max(counts) > 100
    due = {debt.due_on for person in crowd for debt in person.debts}
    assert f"{YEAR - 5}-01-01" <= min(due) < max(due) < f"{YEAR}-01-01"


def test_a_few_more_have_a_report_over_the_limit() -> None:
    """One person in five thousand, so that big reports are not one special case."""
    (person,) = people(SEED, 5003, YEAR, start=5002)
    assert len(msgspec.json.encode(person.debts)) > 1024 * 1024


def test_too_many_are_refused_and_none_is_made_before_it_is_asked_for() -> None:
    """A million people cost nothing until they are read."""
    assert len(list(islice(people(SEED, 1_000_000, YEAR), 2))) == 2
    with pytest.raises(ValueError, match="at most 100000000"):
        next(people(SEED, 100_000_001, YEAR))
