"""Cost against size: the result of `scale.py`, as ratios."""

import json
from collections.abc import Iterator

from benchmarks import scale
from benchmarks.measure import Figure, spread
from benchmarks.stack import Place
from consumidor.errors import CommandError


def size(_: Place) -> Iterator[Figure]:
    """Each path's p50 with a million people over its p50 with ten thousand, by the last run of `benchmarks.scale`.

    Raises:
        CommandError: it has not run, or not with a million.
    """
    if not scale.FILE.exists():
        raise CommandError("the figures of size come from results/scale.json: run python -m benchmarks.scale first")
    sizes = json.loads(scale.FILE.read_text())["sizes"]
    fewest, most = sizes[0], sizes[-1]
    if (fewest["people"], most["people"]) != (10_000, 1_000_000):
        raise CommandError("results/scale.json has other sizes than 10,000 and 1,000,000: run make scale first")
    for path in scale.PATHS:
        much, little = most["paths"][path], fewest["paths"][path]
        value = spread([over / under for over, under in zip(much["turns_us"], little["turns_us"], strict=True)])
        beside = {f"p50_us_at_{one['people']}": one["paths"][path]["p50_us"] for one in sizes}
        yield Figure(f"size-{path}", value, "x", beside)
