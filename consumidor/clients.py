"""The registry of clients, from the setting `CLIENTS`. Quick to import: the search Lambda asks it too."""

import json
import logging
import re

from consumidor.errors import SettingsError
from consumidor.settings import Document

log = logging.getLogger(__name__)


class Clients:
    """The registry: client_id -> name `[a-z0-9-]{1,40}`, read again within a second of a change.

    Raises:
        SettingsError: at the first reading; a later wrong file keeps the last good registry.
    """

    def __init__(self, spec: str) -> None:
        self._document = Document(spec)
        self._names: dict[str, str] = {}
        self._names = _registry(self._document.read()[0])

    def names(self) -> dict[str, str]:
        """The registry as it is now: the same object until it changes."""
        if self._document.is_due():
            self._read_again()
        return self._names

    def name(self, client_id: str) -> str | None:
        """The client's name, or None where it is not registered."""
        return self.names().get(client_id)

    def _read_again(self) -> None:
        text, changed = self._document.read()
        if changed:
            try:
                self._names = _registry(text)
            except SettingsError as error:
                log.error("clients_unreadable: %s", error)


def _registry(text: str) -> dict[str, str]:
    try:
        names = json.loads(text)
    except ValueError as error:
        raise SettingsError("CLIENTS is not JSON") from error
    if not isinstance(names, dict) or not all(isinstance(name, str) and re.fullmatch("[a-z0-9-]{1,40}", name) for name in names.values()):
        raise SettingsError("CLIENTS must map each client_id to a name of 1 to 40 of a-z, 0-9 and -")
    if len(set(names.values())) != len(names):
        raise SettingsError("CLIENTS names a client twice")
    return names
