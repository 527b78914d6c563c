"""Files of JSON lines, as the commands that load people take them."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from consumidor.errors import CommandError, FieldError

_NAMED = 50  # wrong fields named in one error


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, by their numbers; without the mark that some editors put before the first.

    Raises:
        CommandError: the file cannot be read.
    """
    try:
        with file.open("rb") as content:
            for number, line in enumerate(content, 1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    yield number, text
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error


def first_of(wrong: list[FieldError]) -> list[FieldError]:
    """As many faults as one error names, and how many more there are."""
    more: list[FieldError] = [{"field": "and", "detail": f"{len(wrong) - _NAMED} more"}] if len(wrong) > _NAMED else []
    return wrong[:_NAMED] + more
