"""The SQL of the people path: the named blocks of `queries.sql`, read once."""

import re
from pathlib import Path
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def parse(text: str) -> dict[str, LiteralString]:
    """Blocks of SQL by name; each begins with a line `-- name: <name>`.

    Raises:
        ValueError: two blocks of one name.
    """
    _, *parts = _NAME.split(text)
    names, blocks = parts[::2], parts[1::2]
    if len(set(names)) < len(names):
        raise ValueError("two blocks of SQL have the same name")
    # A file of ours, not a user's words: psycopg's type for that is LiteralString.
    return {name: cast("LiteralString", block.strip()) for name, block in zip(names, blocks, strict=True)}


QUERIES = parse(Path(__file__).with_name("queries.sql").read_text("utf-8"))
