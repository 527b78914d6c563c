"""The vault: what is sealed opens again for the same person and key, and in no other way."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from consumidor.errors import DependencyDown, SealBroken
from consumidor.people.model import Address
from consumidor.people.vault import DataKey, Identity, Vault

ANA, RUI = "a" * 32, "b" * 32
SOMEONE = Identity("46509208172", "Ana Nóbrega", Address("Rua Sete, 7", "São Paulo", "SP", "01310-100"))
words = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=200)
identities = st.builds(Identity, words, words, st.builds(Address, words, words, st.just("SP"), st.just("01310-100")))


@pytest.fixture(scope="module")
def kms() -> Iterator[Any]:
    """An in-process KMS; its calls are counted by name."""
    with mock_aws():
        client: Any = boto3.client("kms", region_name="sa-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        client.calls = []
        client.meta.events.register("before-call.kms.*", lambda model, **_: client.calls.append(model.name))
        yield client


@pytest.fixture(scope="module")
def kms_key(kms: Any) -> str:
    """A key to wrap data keys with."""
    return str(kms.create_key()["KeyMetadata"]["KeyId"])


@pytest.fixture(scope="module")
def vault(kms: Any, kms_key: str) -> Vault:
    """A vault in one process."""
    return Vault(kms, kms_key)


@pytest.fixture(scope="module")
def key(vault: Vault) -> DataKey:
    """A data key of it."""
    return vault.new_key()


@given(identities)
def test_what_is_sealed_opens_again(vault: Vault, key: DataKey, identity: Identity) -> None:
    """Any text in any field."""
    assert vault.unseal(ANA, *key, vault.seal(ANA, key, identity)) == identity


def test_a_blob_tells_nothing_and_no_two_are_alike(vault: Vault, key: DataKey) -> None:
    """The same person sealed twice gives two blobs, and neither holds a word of the text."""
    first, second = vault.seal(ANA, key, SOMEONE), vault.seal(ANA, key, SOMEONE)
    assert first[:12] != second[:12]
    assert first[12:] != second[12:]
    assert not any(word.encode() in first for word in ("46509208172", "Nóbrega", "Paulo", "01310"))


@given(st.data())
def test_one_changed_bit_breaks_the_seal(vault: Vault, key: DataKey, data: st.DataObject) -> None:
    """Anywhere in nonce, ciphertext or tag."""
    sealed = bytearray(vault.seal(ANA, key, SOMEONE))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealBroken):
        vault.unseal(ANA, *key, bytes(sealed))


@given(st.data())
def test_a_shortened_blob_breaks_the_seal(vault: Vault, key: DataKey, data: st.DataObject) -> None:
    """Cut anywhere, down to nothing."""
    sealed = vault.seal(ANA, key, SOMEONE)
    with pytest.raises(SealBroken):
        vault.unseal(ANA, *key, sealed[: data.draw(st.integers(0, len(sealed) - 1))])


def test_another_persons_blob_does_not_open(vault: Vault, key: DataKey) -> None:
    """Whoever can write the table cannot pass one person off as another by moving blobs between rows."""
    with pytest.raises(SealBroken, match="belongs to another person or key") as caught:
        vault.unseal(RUI, *key, vault.seal(ANA, key, SOMEONE))
    assert "Nóbrega" not in str(caught.value)


def test_another_keys_blob_does_not_open(vault: Vault, key: DataKey) -> None:
    """Nor by naming another key."""
    with pytest.raises(SealBroken):
        vault.unseal(ANA, *vault.new_key(), vault.seal(ANA, key, SOMEONE))


def test_after_a_rotation_old_and_new_rows_open_in_a_new_process(kms: Any, kms_key: str, vault: Vault) -> None:
    """Every key ever used opens what it sealed, and KMS is asked once for each."""
    keys = [vault.new_key() for _ in range(3)]
    rows = [(key, vault.seal(ANA, key, SOMEONE)) for key in keys for _ in range(5)]
    another = Vault(kms, kms_key)
    kms.calls.clear()
    assert all(another.unseal(ANA, *key, sealed) == SOMEONE for key, sealed in rows)
    assert kms.calls == ["Decrypt"] * 3


def test_a_wrapped_key_under_another_id_is_refused(kms: Any, kms_key: str, key: DataKey) -> None:
    """KMS binds a wrapped key to its id: another id in the table does not unwrap."""
    with pytest.raises(SealBroken, match="wrapped data key"):
        Vault(kms, kms_key).unseal(ANA, "7d5b2a7e-0000-4000-8000-000000000000", key.wrapped, b"")


def test_an_altered_wrapped_key_is_refused(kms: Any, kms_key: str, key: DataKey) -> None:
    """One byte of the wrapped key changed."""
    altered = key.wrapped[:-1] + bytes([key.wrapped[-1] ^ 1])
    with pytest.raises(SealBroken, match="wrapped data key"):
        Vault(kms, kms_key).unseal(ANA, key.key_id, altered, b"")


def test_kms_down_is_a_dependency_down_and_known_keys_still_open(vault: Vault, key: DataKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """With KMS away a new key cannot be had, but what is in memory goes on working."""
    sealed = vault.seal(ANA, key, SOMEONE)
    settings = Config(connect_timeout=0.2, retries={"total_max_attempts": 1})
    away = boto3.client(
        "kms", region_name="sa-east-1", endpoint_url="http://127.0.0.1:1", config=settings, aws_access_key_id="t", aws_secret_access_key="t"
    )
    monkeypatch.setattr(vault, "_kms", away)
    for call in (vault.new_key, vault.ping, lambda: Vault(away, "k").unseal(ANA, *key, sealed)):
        with pytest.raises(DependencyDown, match="kms is not answering"):
            call()
    assert vault.unseal(ANA, *key, sealed) == SOMEONE


def test_a_key_that_kms_refuses_is_a_dependency_down(kms: Any) -> None:
    """A disabled or unknown KMS key is an outage to be mended there, not a broken record."""
    with pytest.raises(DependencyDown, match="kms"):
        Vault(kms, "00000000-0000-4000-8000-000000000000").ping()
