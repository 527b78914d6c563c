"""Cost against size: the result of `scale.py`, as ratios."""

import json
from collections.abc import Iterator

from benchmarks import scale
from benchmarks.measure import RESULTS, Figure, Spread
from benchmarks.stack import Place


def size(_: Place) -> Iterator[Figure]:
    """Each path's p50 with the most people over its p50 with the fewest, from the last run of `benchmarks.scale`; run here if there is none."""
    if not scale.FILE.exists():
        scale.measure_sizes(scale.SIZES)
    sizes = json.loads(scale.FILE.read_text())["sizes"]
    fewest, most = sizes[0], sizes[-1]
    for path in scale.PATHS:
        value = most["paths"][path]["p50_us"] / fewest["paths"][path]["p50_us"]
        beside = {f"p50_us_at_{one['people']}": one["paths"][path]["p50_us"] for one in sizes}
        yield Figure(f"size-{path}", Spread(value, value, value, 1), "x", beside)


__all__ = ["RESULTS", "size"]
