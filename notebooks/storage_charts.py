"""The charts of `02_storage_choices`: one claim each."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from drawing import INK, PATHS, QUIET, draw_latency

CHOSEN = dict(zip(PATHS, ("PostgreSQL", "MongoDB (stand-in)", "Elasticsearch"), strict=True))


def draw_question(rows: Mapping[str, Sequence[float]], path: str, title: str) -> None:
    """How long each engine takes for a question of a path: the engine that serves it in the path's colour, a whole request in black."""
    _, axes = plt.subplots(figsize=(8, 0.9 + 0.55 * len(rows)))
    draw_latency(axes, rows, {name: PATHS[path] if name == CHOSEN[path] else INK if "HTTP" in name else QUIET for name in rows})
    axes.set_title(title)


def draw_sizes(sizes: Mapping[str, int], title: str) -> None:
    """What the same records take on disk."""
    _, axes = plt.subplots(figsize=(8, 2))
    axes.barh(list(sizes), [size / 2**20 for size in sizes.values()], color=list(PATHS.values()), height=0.6)
    axes.set(xlabel="MiB, indices included", ylim=(len(sizes) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    axes.set_title(title)
