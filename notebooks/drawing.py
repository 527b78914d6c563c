"""How the notebooks draw: one palette for the three paths, latency on a log axis, boxes and arrows for diagrams."""

from collections.abc import Mapping, Sequence
from statistics import quantiles

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

PATHS = {"people": "#C8540A", "score": "#0A6AAE", "events": "#0B7D5B"}  # told apart by colour-blind readers too
INK, QUIET, PAPER = "#22272E", "#8A929C", "#FFFFFF"
PERCENTILES = {"p50": "o", "p95": "D", "p99": "|"}

plt.rcParams.update({
    "figure.dpi": 110, "savefig.bbox": "tight", "font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": QUIET,
    "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#E4E7EB", "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
})  # fmt: skip


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of some durations, in milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {name: 1000 * cuts[int(name[1:]) - 1] for name in PERCENTILES}


def p50(rows: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each row, in milliseconds."""
    return {name: percentiles(seconds)["p50"] for name, seconds in rows.items()}


def draw_latency(axes: Axes, rows: Mapping[str, Sequence[float]], colours: Mapping[str, str]) -> None:
    """One row a label, from the top: p50, p95 and p99 of its durations in seconds, as ms on a log axis."""
    draw_percentiles(axes, {label: percentiles(seconds) for label, seconds in rows.items()}, colours)


def draw_percentiles(axes: Axes, rows: Mapping[str, Mapping[str, float]], colours: Mapping[str, str]) -> None:
    """As `draw_latency`, of percentiles in milliseconds: p50 is a dot, p95 a diamond, p99 a bar."""
    for place, (label, found) in enumerate(rows.items()):
        colour = colours[label]
        axes.plot([found["p50"], found["p99"]], [place, place], color=colour, lw=2, alpha=0.4)
        for name, marker in PERCENTILES.items():
            axes.plot(found[name], place, marker, color=colour, ms=11 if marker == "|" else 7, mew=2.5)
        axes.annotate(f"{found['p50']:.3g} ms", (found["p50"], place), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, log axis")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    for name, marker in PERCENTILES.items():
        axes.plot([], [], marker, color=QUIET, mew=2.5, label=name)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


class Diagram:
    """A page of boxes, areas and arrows in units of its own: x to the right, y upwards."""

    def __init__(self, width: float, height: float, title: str, scale: float = 1.0) -> None:
        self.figure, self.axes = plt.subplots(figsize=(width * scale, height * scale))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()
        self.axes.set_title(title)
        self._boxes: dict[str, tuple[float, float, float, float]] = {}

    def box(self, name: str, x: float, y: float, text: str = "", colour: str = INK, width: float = 1.7, height: float = 0.72) -> None:
        """A box with its middle at (x, y); arrows find it by `name`, whose first line is bold where there is more `text`."""
        self._boxes[name] = x, y, width / 2, height / 2
        shape = FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=PAPER, ec=colour, lw=1.8, zorder=3
        )
        self.axes.add_patch(shape)
        self.axes.text(x, y + (0.15 if text else 0), name, ha="center", va="center", color=colour, weight="bold", fontsize=9, zorder=4)
        self.axes.text(x, y - 0.13, text, ha="center", va="center", fontsize=7.5, zorder=4)

    def area(self, text: str, x: float, y: float, width: float, height: float, colour: str = QUIET, fill: str = "#F6F7F9") -> None:
        """A rectangle behind the boxes, its lower left at (x, y), labelled inside its upper left corner."""
        self.axes.add_patch(plt.Rectangle((x, y), width, height, fc=fill, ec=colour, lw=1, ls=(0, (4, 3)), zorder=1))
        self.axes.text(x + 0.1, y + height - 0.1, text, va="top", fontsize=8, color=colour, zorder=2)

    def text(self, x: float, y: float, text: str, **how: object) -> None:
        """Words with their middle at (x, y)."""
        self.axes.text(x, y, text, ha="center", va="center", fontsize=8.5, **how)

    def axis(self, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
        """A scale's arrow with what it measures beside it: below where it lies, to the left where it stands."""
        self.axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK})
        lies = start[1] == end[1]
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        self.text(middle[0] - (0 if lies else 0.3), middle[1] - (0.55 if lies else 0), text, rotation=0 if lies else 90, weight="bold")

    def arrow(self, start: str, end: str, text: str = "", colour: str = INK, **how: float) -> None:
        """From edge to edge of two boxes. In `how`: `bend` curves it, `heads` is 1 or 2, `shift` and `aside` move the text."""
        (x1, y1, w1, h1), (x2, y2, w2, h2) = self._boxes[start], self._boxes[end]
        a, b = _edge((x1, y1), (x2, y2), w1, h1), _edge((x2, y2), (x1, y1), w2, h2)
        style, bend = "<|-|>" if how.get("heads") == 2 else "-|>", how.get("bend", 0.0)
        curve = f"arc3,rad={bend}"
        self.axes.add_patch(
            FancyArrowPatch(a, b, arrowstyle=style, mutation_scale=11, color=colour, lw=1.4, connectionstyle=curve, zorder=2.5)
        )
        x = (a[0] + b[0]) / 2 + bend * (b[1] - a[1]) / 2 + how.get("aside", 0.0)
        y = (a[1] + b[1]) / 2 - bend * (b[0] - a[0]) / 2 + how.get("shift", 0.0)
        label = {"fc": PAPER, "ec": "none", "pad": 0.8, "alpha": 0.9}
        self.axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color=colour, bbox=label if text else None, zorder=5)


def _edge(inside: tuple[float, float], towards: tuple[float, float], half_width: float, half_height: float) -> tuple[float, float]:
    """Where the line from a box's middle towards a point leaves the box."""
    dx, dy = towards[0] - inside[0], towards[1] - inside[1]
    part = min(half_width / abs(dx) if dx else 9e9, half_height / abs(dy) if dy else 9e9)
    return inside[0] + dx * part, inside[1] + dy * part
