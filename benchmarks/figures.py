"""Figures in prose that cannot rot: a number in a text names where it comes from, and a test fails where the two differ.

    ... answers **0.86**<!-- figure: ratios.json#figures.score-bare.median --> of what the bare driver does ...

The comment stands right behind the number; the file is one of `benchmarks/results`, the key a path of names and list places in it. The
text chooses the decimals. `python -m benchmarks.figures` writes the files' numbers into all texts, `--check` only compares.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import RESULTS, ROOT, write_text

_FIGURE = re.compile(r"(?P<number>-?\d[\d,]*(?:\.\d+)?)(?P<close>\**)<!-- figure: (?P<file>[\w./-]+)#(?P<key>[^<>]+?) -->")
_MENTION = "<!-- figure:"


class Wrong(NamedTuple):
    """A figure that its file does not bear out."""

    text: str
    said: str
    expected: str  # the number, or why there is none


def texts() -> list[Path]:
    """Every text that may hold figures."""
    return [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("*/*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]


def lookup(file: str, key: str, results: Path = RESULTS) -> float:
    """The number at a key of a results file.

    Raises:
        LookupError: no such file, or nothing or no number at the key.
    """
    try:
        found: Any = json.loads((results / file).read_text("utf-8"))
        for part in key.split("."):
            found = found[int(part)] if isinstance(found, list) else found[part]
        return float(found)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise LookupError(f"no number at {file}#{key}") from error


def shown(value: float, like: str) -> str:
    """A number with the decimals, and the commas, of the one that stands in the text."""
    decimals = len(like.partition(".")[2])
    return f"{value:,.{decimals}f}" if "," in like or abs(value) >= 1000 else f"{value:.{decimals}f}"


def wrong_figures(text: str, name: str, results: Path = RESULTS) -> Iterator[Wrong]:
    """Each figure of a text that its file does not bear out; a comment that stands behind no number is one too."""
    matches = list(_FIGURE.finditer(text))
    if text.count(_MENTION) > len(matches):
        yield Wrong(name, _MENTION, "a comment of this shape must stand right behind a number")
    for match in matches:
        try:
            expected = shown(lookup(match["file"], match["key"], results), match["number"])
        except LookupError as error:
            yield Wrong(name, match[0], str(error))
            continue
        if expected != match["number"]:
            yield Wrong(name, match[0], expected)


def refreshed(text: str, results: Path = RESULTS) -> str:
    """The text with its files' numbers."""
    return _FIGURE.sub(
        lambda match: match[0].replace(match["number"], shown(lookup(match["file"], match["key"], results), match["number"]), 1), text
    )


def main(arguments: list[str]) -> int:
    """0 all figures are right (now), 1 some are not, 2 wrong use."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    for path in texts():
        text = path.read_text("utf-8")
        if not arguments and _MENTION in text:
            try:
                new = refreshed(text)
            except LookupError as error:
                print(f"{path.name}: {error}", file=sys.stderr)
                return 1
            if new != text:
                write_text(path, new)
    wrong = [one for path in texts() for one in wrong_figures(path.read_text("utf-8"), path.name)]
    for one in wrong:
        print(f"{one.text}: {one.said} should be {one.expected}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
