"""What commands print: tables, in colour in a terminal (they need rich, which comes with the extra `local`), or JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

PIPED_WIDTH = 160  # columns where no terminal says how wide it is
MOST_ROWS = 20  # of a part of a document


def show(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """Print rows (or one) to standard output: as a table, or as one JSON document where asked or rich is missing."""
    console = None if as_json else _console()
    if console is None:
        print(_json(rows))
        return
    from rich.table import Table  # noqa: PLC0415 - an extra, wanted only here

    listed = [rows] if isinstance(rows, Mapping) else rows
    table = Table(title=title or None, header_style="bold cyan")
    for column in dict.fromkeys(name for row in listed for name in row):
        table.add_column(column, overflow="fold")
    for row in listed:
        table.add_row(*(_text(row.get(name)) for name in dict.fromkeys(name for row in listed for name in row)))
    console.print(table)


def show_parts(document: Mapping[str, Any], parts: Mapping[str, str], *, as_json: bool) -> None:
    """Print a document, each of its members named in `parts` (with its title) as a table of its own; as one JSON document where asked."""
    if as_json or _console() is None:
        show(document, as_json=True)
        return
    show({name: value for name, value in document.items() if name not in parts}, as_json=False)
    for name, title in parts.items():
        rows = document.get(name) or []
        if isinstance(rows, Mapping) or rows:
            more = f", the first {MOST_ROWS} of {len(rows):,}" if len(rows) > MOST_ROWS else ""
            show(rows if isinstance(rows, Mapping) else rows[:MOST_ROWS], as_json=False, title=title + more)


def _json(rows: object) -> str:
    """With letters as they are, where standard output has them; else as JSON's own escapes."""
    indent = 2 if sys.stdout.isatty() else None
    text = json.dumps(rows, ensure_ascii=False, indent=indent, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(rows, indent=indent, default=str)
    return text


def _console() -> Any:
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
