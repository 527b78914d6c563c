"""The charts of `04_score_path`: one claim each."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from drawing import INK, PATHS, QUIET
from matplotlib.axes import Axes

BLUE = PATHS["score"]
BAND_EDGES = (300.5, 500.5, 700.5)
TITLES = {"age": "Age", "property": "Property", "savings": "Savings", "housing": "Housing", "residence": "Time at the address",
          "employment": "Time in work", "job": "Kind of work"}  # fmt: skip


def bins_of(card: Any) -> pd.DataFrame:
    """One row a bin: attribute, its words, loans, share of bad ones, points. `card` is optbinning's, as trained."""
    from consumidor.score.model import Scorecard  # noqa: PLC0415 - beside its use

    table, rows = card.table("detailed"), []
    for attribute in Scorecard.current().attributes:
        inside = table[(table["Variable"] == attribute.name) & (table["Bin"] != "Special")]
        for one, (_, counted) in zip([*attribute.bins, attribute.missing], inside.iterrows(), strict=True):
            if counted["Count"]:
                rows.append((attribute.name, one.text["en"], int(counted["Count"]), float(counted["Event rate"]), one.points))
    return pd.DataFrame(rows, columns=["attribute", "bin", "loans", "bad", "points"])


def draw_bins(bins: pd.DataFrame, column: str, label: str, title: str) -> None:
    """One panel an attribute, one bar a bin."""
    groups = list(bins.groupby("attribute", sort=False))
    figure, panels = plt.subplots(len(groups), 1, figsize=(8, 9), sharex=True, height_ratios=[len(group) for _, group in groups])
    for axes, (name, group) in zip(panels, groups, strict=True):
        axes.barh([text.replace("$", r"\$") for text in group["bin"]], group[column], color=BLUE, height=0.7)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelsize=8, length=0)
        axes.set_ylabel(TITLES[name], rotation=0, ha="left", va="center", weight="bold", fontsize=9)
        axes.yaxis.set_label_coords(1.12, 0.5)
        for place, (value, loans) in enumerate(zip(group[column], group["loans"], strict=True)):
            shown = f" {value:.0f}" if column == "points" else f" {value:.0%} of {loans}"
            axes.text(value, place, shown, va="center", fontsize=8)
    panels[0].set_title(title)
    panels[-1].set(xlabel=label, xlim=(0, 1.05 * bins[column].max()))
    figure.tight_layout(h_pad=0.3)


def draw_auc(models: Mapping[str, Mapping[str, float]], literature: tuple[float, float]) -> None:
    """Each model's AUC with its interval, over the band that the literature reports."""
    axes = _row_axes(list(models), (8, 2.4))
    axes.axvspan(*literature, color=QUIET, alpha=0.25, lw=0, label="literature, all 20")
    for place, auc in enumerate(models.values()):
        axes.plot([auc["low"], auc["high"]], [place, place], color=BLUE, lw=3, alpha=0.5)
        axes.plot(auc["value"], place, "o", color=BLUE, ms=8)
        axes.annotate(f"{auc['value']:.3f}", (auc["value"], place), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9)
    axes.set_xlabel("area under the ROC curve (0.5 is a coin), 95 % interval")
    axes.set_title("Base B knows a little more than half of what a bank does")
    axes.set_xlim(0.6, 0.85)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def in_words(figures: Mapping[str, Mapping[str, float]], *names: str) -> str:
    """Figures with their 95 % intervals."""
    return "  ".join(f"{name} {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for name in names for one in [figures[name]])


def _row_axes(labels: Sequence[str], size: tuple[float, float]) -> Axes:
    _, axes = plt.subplots(figsize=size)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.7)
    return axes


def draw_calibration(bad: np.ndarray, predicted: np.ndarray, groups: int = 10) -> None:
    """Loans in tenths by what was predicted: how many of each were bad."""
    _, axes = plt.subplots(figsize=(5, 4.4))
    tenths = pd.DataFrame({"predicted": predicted, "bad": bad}).groupby(pd.qcut(predicted, groups, labels=False)).agg(["mean", "sem"])
    axes.plot([0, 0.7], [0, 0.7], color=QUIET, ls="--", lw=1)
    axes.errorbar(tenths["predicted"]["mean"], tenths["bad"]["mean"], yerr=1.96 * tenths["bad"]["sem"], fmt="o", color=BLUE, capsize=2)
    axes.set(xlabel="predicted share of bad loans", ylabel="share of loans that were bad", xlim=(0, 0.7), ylim=(0, 0.7))
    axes.set_title("A prediction means what it says")


def draw_odds(scale: Mapping[str, float]) -> None:
    """Good loans for each bad one, by score."""
    _, axes = plt.subplots(figsize=(8, 3))
    scores = np.arange(0, 1001)
    axes.plot(scores, scale["odds_at_500"] * 2 ** ((scores - 500) / scale["points_to_double_odds"]), color=BLUE, lw=2.5)
    axes.set_yscale("log")
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.set(xlabel="score", ylabel="good loans for each bad one", xlim=(0, 1000))
    axes.set_title(f"Every {scale['points_to_double_odds']:.0f} points double the odds")
    _bands(axes)


def _bands(axes: Axes) -> None:
    for edge in BAND_EDGES:
        axes.axvline(edge, color=QUIET, lw=1, ls=":")
    for middle, name in zip((150, 400, 600, 850), ("very low", "low", "good", "excellent"), strict=True):
        axes.text(middle, 1.0, name, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8, color=INK)


def draw_fairness(groups: Sequence[Mapping[str, Any]]) -> None:
    """For each age group: bad, predicted bad, and in a good band, with intervals."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    series = (("bad", "were bad", QUIET), ("predicted_bad", "predicted to be bad", BLUE), ("in_good_bands", "score over 500", INK))
    for offset, (key, label, colour) in zip((-0.25, 0, 0.25), series, strict=True):
        found = [group[key] for group in groups]
        errors = [[one["value"] - one["low"] for one in found], [one["high"] - one["value"] for one in found]]
        axes.bar(np.arange(len(groups)) + offset, [one["value"] for one in found], 0.23, yerr=errors, color=colour, label=label, capsize=2)
    axes.set_xticks(range(len(groups)), [f"{group['age']} ({group['loans']} loans)" for group in groups])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("share of the group")
    axes.set_title("Right for each age on average, and harsh on the young")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def draw_points(people: Mapping[str, Mapping[str, int]], best: Mapping[str, int]) -> None:
    """Who got how many of each attribute's points."""
    figure, panels = plt.subplots(1, len(people), figsize=(9, 2.9), sharex=True, sharey=True)
    for axes, (name, points) in zip(panels, people.items(), strict=True):
        labels = [TITLES[attribute] for attribute in points]
        axes.barh(labels, [best[attribute] for attribute in points], color="#E4E7EB", height=0.7)
        axes.barh(labels, list(points.values()), color=BLUE, height=0.7)
        for place, (attribute, got) in enumerate(points.items()):
            axes.text(best[attribute], place, f" {got} of {best[attribute]}", va="center", fontsize=8)
        axes.grid(axis="y", visible=False)
        axes.set(title=f"{name}: {sum(points.values())}", xlabel="points")
    panels[0].invert_yaxis()
    figure.tight_layout()


def draw_spread(loans: Sequence[float], people: Sequence[int]) -> None:
    """Scores of the loans and of the synthetic people, as shares."""
    _, axes = plt.subplots(figsize=(8, 3))
    edges = np.arange(0, 1001, 50)
    for scores, label, how in ((people, "synthetic people", {"color": BLUE, "alpha": 0.35}),
                               (loans, "the 1,000 loans", {"color": INK, "histtype": "step", "lw": 1.8})):  # fmt: skip
        axes.hist(scores, edges, weights=np.full(len(scores), 1 / len(scores)), label=label, **how)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set(xlabel="score", ylabel="share", xlim=(0, 1000))
    axes.set_title("Synthetic people score as the loans do")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    _bands(axes)
