"""The registry of clients, from the setting `CLIENTS`. Quick to import: the search Lambda asks it too."""

import logging
from time import monotonic

from consumidor.errors import SettingsError
from consumidor.settings import Document, registry

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
        if monotonic() >= self._document.look_again:
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
        return registry(text)
    except ValueError as error:
        raise SettingsError(f"CLIENTS {error}") from error
