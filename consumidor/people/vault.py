"""The vault: CPF, name and address of a person sealed as one AES-256-GCM blob, under data keys that KMS wraps.

The associated data are person and key id, so a blob moved to another row does not open. A nonce is 96 random bits, which is safe for
2^32 seals a key (NIST SP 800-38D, 8.3): rotate before that many rows. The newest key seals, every key ever used still opens.
"""

import os
import threading
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consumidor.errors import DependencyDown, SealBroken
from consumidor.people.model import Address
from consumidor.people.queries import QUERIES

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

_NONCE_BYTES = 12
# What KMS says when the blob, the key or its context is not what was wrapped; anything else is KMS being unwell.
_NOT_OURS = {"InvalidCiphertextException", "IncorrectKeyException"}


class Identity(msgspec.Struct, frozen=True):
    """Who a person is, in clear: the 11 digits of the CPF, name, address."""

    cpf: str
    name: str
    address: Address


class DataKey(NamedTuple):
    """A data key as Base A keeps it: its id and, wrapped by KMS, its 32 bytes."""

    key_id: str
    wrapped: bytes


class Vault:
    """Seals and unseals; unwrapped keys are kept by id, so that KMS is asked once a key. Threads may share it."""

    def __init__(self, kms: "KMSClient", kms_key: str) -> None:
        self._kms = kms
        self._kms_key = kms_key
        self._ciphers: dict[str, AESGCM] = {}
        self._lock = threading.Lock()
        self._decoder = msgspec.json.Decoder(Identity)

    def new_key(self) -> DataKey:
        """A new data key, wrapped; KMS binds it to its id, so that one key cannot be passed off as another.

        Raises:
            DependencyDown: KMS does not answer or refuses.
        """
        key_id = str(uuid.uuid4())
        made = self._ask(self._kms.generate_data_key, KeySpec="AES_256", EncryptionContext=_context(key_id))
        self._ciphers[key_id] = AESGCM(made["Plaintext"])
        return DataKey(key_id, made["CiphertextBlob"])

    def seal(self, person: str, key: DataKey, identity: Identity) -> bytes:
        """Nonce, ciphertext and tag of `identity` under `key`, bound to `person`.

        Raises:
            DependencyDown: KMS, where the key is not unwrapped yet.
            SealBroken: KMS did not wrap this key under this id.
        """
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher(key.key_id, key.wrapped).encrypt(nonce, msgspec.json.encode(identity), _bound_to(person, key.key_id))
        return nonce + sealed

    def unseal(self, person: str, key_id: str, wrapped: bytes, sealed: bytes) -> Identity:
        """What was sealed for `person` under that key.

        Raises:
            DependencyDown: KMS, where the key is not unwrapped yet.
            SealBroken: the blob or the wrapped key was altered, or is another person's or key's.
        """
        cipher = self._cipher(key_id, wrapped)
        try:
            return self._decoder.decode(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(person, key_id)))
        except (InvalidTag, ValueError, msgspec.DecodeError) as error:
            raise SealBroken("a sealed record of Base A was altered, or belongs to another person or key") from error

    def ping(self) -> None:
        """Raises DependencyDown where KMS does not know our key or does not answer."""
        self._ask(self._kms.describe_key)

    def _cipher(self, key_id: str, wrapped: bytes) -> AESGCM:
        known = self._ciphers.get(key_id)
        if known:
            return known
        with self._lock:  # threads that miss together ask KMS once
            if key_id not in self._ciphers:
                clear = self._ask(self._kms.decrypt, CiphertextBlob=wrapped, EncryptionContext=_context(key_id))
                self._ciphers[key_id] = AESGCM(clear["Plaintext"])
            return self._ciphers[key_id]

    def _ask(self, call: Any, **arguments: object) -> Any:
        try:
            return call(KeyId=self._kms_key, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_OURS:
                raise SealBroken("a wrapped data key of Base A was altered, or is another key's") from error
            raise DependencyDown("kms") from error
        except BotoCoreError as error:
            raise DependencyDown("kms") from error


def _context(key_id: str) -> dict[str, str]:
    return {"base": "a", "key_id": key_id}


def _bound_to(person: str, key_id: str) -> bytes:
    return f"{person}/{key_id}".encode()


def ensure_data_key(owner_dsn: str, vault: Vault) -> DataKey:
    """The key that seals new rows: the newest, or the first, made now.

    Raises:
        DependencyDown: Base A or KMS.
    """
    return _active_key(owner_dsn, vault, rotate=False)


def rotate_data_key(owner_dsn: str, vault: Vault) -> DataKey:
    """A new key for the rows sealed from now on; those sealed before keep theirs.

    Raises:
        DependencyDown: Base A or KMS.
    """
    return _active_key(owner_dsn, vault, rotate=True)


def _active_key(owner_dsn: str, vault: Vault, *, rotate: bool) -> DataKey:
    try:
        with psycopg.connect(owner_dsn, connect_timeout=5) as connection:
            connection.execute(QUERIES["lock_data_keys"])
            newest = connection.execute(QUERIES["newest_data_key"]).fetchone()
            if newest and not rotate:
                return DataKey(*newest)
            key = vault.new_key()
            connection.execute(QUERIES["add_data_key"], key)
            return key
    except psycopg.OperationalError as error:
        raise DependencyDown("base_a") from error
