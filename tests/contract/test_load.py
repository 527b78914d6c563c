"""Loading people into a real Base A: sealed, replaceable, resumable."""

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec
import pytest

from consumidor import cpf
from consumidor.errors import DependencyDown
from consumidor.local.postgres import program
from consumidor.local.synthetic import ELDER, LARGE_REPORT, people
from consumidor.people import load as loading
from consumidor.people.load import load, loaded
from consumidor.people.model import Person
from consumidor.people.store import Outcome, PeopleStore
from consumidor.people.vault import Identity, Vault, ensure_data_key, rotate_data_key
from tests.contract.test_people_store import new
from tests.servers.postgres import BaseA

PSEUDONYM_KEY = bytes(range(32))


def ask(base: BaseA, digits: str) -> Outcome:
    """What the worker gets for a CPF."""
    store = PeopleStore.connect(base.worker_dsn, threads=1)
    try:
        return store.inquire([new(person=cpf.pseudonym(PSEUDONYM_KEY, digits))])[0]
    finally:
        store.close()


def put(base: BaseA, vault: Vault, some: Iterable[Person], source: str | None = None) -> int:
    """Load with the key of these tests."""
    return load(base.owner_dsn, some, vault=vault, pseudonym_key=PSEUDONYM_KEY, source=source)


def test_what_is_loaded_is_what_the_worker_answers(base_a: BaseA, vault: Vault) -> None:
    """Person by person: identity out of the seal, debts as given and in their order, the open ones summed."""
    everyone = list(people(seed=1, count=60, year=2026))
    assert put(base_a, vault, everyone) == 60
    for person in everyone:
        outcome = ask(base_a, person.cpf)
        opened = vault.unseal(cpf.pseudonym(PSEUDONYM_KEY, person.cpf), outcome.key_id, outcome.wrapped_key, outcome.sealed)
        assert opened == Identity(person.cpf, person.name, person.address)
        assert json.loads(outcome.debts) == [msgspec.to_builtins(debt) for debt in person.debts]
        assert outcome.total_open_cents == sum(debt.amount_cents for debt in person.debts if debt.status == "open")
        if person.cpf == LARGE_REPORT:
            assert len(outcome.debts.encode()) > 1024 * 1024


def test_a_dump_of_base_a_names_nobody(base_a: BaseA, vault: Vault) -> None:
    """pg_dump as the owner: no CPF, name or street of anyone in it, in any spelling."""
    everyone = [person for person in people(seed=1, count=40, year=2026) if person.cpf != LARGE_REPORT]
    put(base_a, vault, everyone)
    ask(base_a, ELDER)
    dump = subprocess.run([program("pg_dump"), base_a.owner_dsn], check=True, capture_output=True, text=True).stdout
    assert "COPY public.person" in dump
    for person in everyone:
        assert not any(word in dump for word in (person.cpf, cpf.punctuate(person.cpf), person.name, person.address.street))
        assert person.name.encode().hex() not in dump


def test_loading_again_replaces_a_person_debts_and_all(base_a: BaseA, vault: Vault) -> None:
    """The second version is the only one: no row of the first is left."""
    (elder,) = islice(people(seed=1, count=3, year=2026), 1)
    put(base_a, vault, [elder])
    put(base_a, vault, [msgspec.structs.replace(elder, name="Outro Nome", debts=elder.debts[:1] * 2)])
    outcome = ask(base_a, ELDER)
    assert json.loads(outcome.debts) == [msgspec.to_builtins(elder.debts[0])] * 2
    opened = vault.unseal(cpf.pseudonym(PSEUDONYM_KEY, ELDER), outcome.key_id, outcome.wrapped_key, outcome.sealed)
    assert opened.name == "Outro Nome"


def test_a_broken_off_load_continues_where_it_stopped(base_a: BaseA, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are whole or not there, and their count with them: killed in its third chunk, seeding goes on after the second."""
    monkeypatch.setattr(loading, "CHUNK", 10)

    def breaking() -> Iterator[Person]:
        yield from islice(people(seed=5, count=50, year=2026, start=3), 25)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(base_a, vault, breaking(), source="synthetic 5")
    assert loaded(base_a.owner_dsn, "synthetic 5") == 20
    assert loaded(base_a.owner_dsn, "another") == 0
    assert put(base_a, vault, people(seed=5, count=50, year=2026, start=3 + 20), source="synthetic 5") == 27
    with base_a.as_owner() as owner:
        assert owner.execute("select count(*) from person").fetchone() == (47,)
    assert loaded(base_a.owner_dsn, "synthetic 5") == 47


def test_progress_is_told_chunk_by_chunk(base_a: BaseA, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a progress bar needs."""
    monkeypatch.setattr(loading, "CHUNK", 10)
    told: list[int] = []
    some = people(seed=5, count=28, year=2026, start=3)
    load(base_a.owner_dsn, some, vault=vault, pseudonym_key=PSEUDONYM_KEY, progress=told.append)
    assert told == [10, 10, 5]


def test_after_a_rotation_new_rows_have_the_new_key_and_old_ones_open(base_a: BaseA, vault: Vault) -> None:
    """Rotation is for new rows; both keys stay in the table."""
    before, after = islice(people(seed=1, count=3, year=2026), 2)
    first = ensure_data_key(base_a.owner_dsn, vault)
    assert ensure_data_key(base_a.owner_dsn, vault) == first
    put(base_a, vault, [before])
    second = rotate_data_key(base_a.owner_dsn, vault)
    put(base_a, vault, [after])
    outcomes = [ask(base_a, person.cpf) for person in (before, after)]
    assert [outcome.key_id for outcome in outcomes] == [first.key_id, second.key_id]
    for person, outcome in zip((before, after), outcomes, strict=True):
        opened = vault.unseal(cpf.pseudonym(PSEUDONYM_KEY, person.cpf), outcome.key_id, outcome.wrapped_key, outcome.sealed)
        assert opened.name == person.name


def test_base_a_down_is_a_dependency_down(vault: Vault) -> None:
    """Loading, asking how much is loaded, and making keys."""
    nowhere = "postgresql://nobody:none@127.0.0.1:1/none"
    calls: list[Callable[[], object]] = [
        lambda: load(nowhere, [], vault=vault, pseudonym_key=PSEUDONYM_KEY),
        lambda: loaded(nowhere, "x"),
        lambda: rotate_data_key(nowhere, vault),
    ]
    for call in calls:
        with pytest.raises(DependencyDown, match="base_a"):
            call()
