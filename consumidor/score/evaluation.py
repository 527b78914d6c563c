"""How good the scorecard is, on loans it has not seen: 3-fold cross-validation, 5 times over, with bootstrap intervals.

Binning is repeated inside every fold, so nothing of a held-out loan reaches the model that judges it. Beside the card's seven
attributes stands the model on all 20 of the data (the one the literature reports), and on the 18 that a Brazilian lender may use.

Who changes a bin (in `training.py`) writes the card anew, from the repository's root; a test holds it to this, byte for byte:

    python -m consumidor.score.evaluation notebooks/data/german_credit.csv consumidor/score/scorecard.json
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold

from consumidor.score import training

FOLDS, REPEATS, SEED, RESAMPLES = 3, 5, 19, 1000
AGE_GROUPS = {"under 30": (0, 30), "30 to 44": (30, 45), "45 and over": (45, 200)}
GOOD_SCORE = 501  # the third band begins here


class HeldOut(NamedTuple):
    """For each repeat (row) and loan (column): the probability of being bad by a model that has not seen the loan.

    `shifts` are the folds', one each: the PSI between the scores of a card's own loans and of those it has not seen.
    """

    card: np.ndarray
    all_20: np.ndarray
    lawful_18: np.ndarray
    card_scores: np.ndarray
    shifts: np.ndarray


def cross_validate(loans: pd.DataFrame, bad: np.ndarray) -> HeldOut:
    """Predict every loan once a repeat."""
    attributes = training.base_b_attributes(loans)
    predicted = {name: np.zeros((REPEATS, len(bad))) for name in ("card", "all_20", "lawful_18", "card_scores")}
    shifts = []
    folds = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=SEED)
    for number, (seen, unseen) in enumerate(folds.split(loans, bad)):
        repeat = number // FOLDS
        card = training.fit(attributes.iloc[seen], bad[seen])
        predicted["card"][repeat, unseen] = card.predict_proba(attributes.iloc[unseen])[:, 1]
        scores = card.score(attributes)
        predicted["card_scores"][repeat, unseen] = scores[unseen]
        shifts.append(stability_index(scores[seen], scores[unseen]))
        with training.quiet():
            binning = training.all_binning(list(loans)).fit(loans.iloc[seen], bad[seen])
        evidence = binning.transform(loans, metric="woe")
        for name, columns in (("all_20", list(loans)), ("lawful_18", [name for name in loans if name not in training.BARRED])):
            model = training.regression().fit(evidence.iloc[seen][columns], bad[seen])
            predicted[name][repeat, unseen] = model.predict_proba(evidence.iloc[unseen][columns])[:, 1]
    return HeldOut(**predicted, shifts=np.array(shifts))


def separation(bad: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """AUC, Gini (2 AUC - 1) and KS of one set of predictions, higher meaning worse; ties count half."""
    order = np.argsort(-predicted, kind="stable")
    ends = np.r_[np.nonzero(np.diff(predicted[order]))[0], len(bad) - 1]  # the last of each run of equal predictions
    caught = np.r_[0.0, np.cumsum(bad[order])[ends] / bad.sum()]
    alarmed = np.r_[0.0, np.cumsum(1 - bad[order])[ends] / (1 - bad).sum()]
    auc = float(np.sum(np.diff(alarmed) * (caught[1:] + caught[:-1]) / 2))
    return {"auc": auc, "gini": 2 * auc - 1, "ks": float(np.max(caught - alarmed))}


def calibration(bad: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Brier score, and the slope and intercept of the outcome's log odds on the predicted ones (1 and 0 where it is honest)."""
    odds = np.column_stack([np.log(predicted / (1 - predicted)), np.ones(len(bad))])
    line = np.array([1.0, 0.0])
    for _ in range(5):  # Newton's method; from so near a start it is exact well before
        fitted = 1 / (1 + np.exp(-(odds @ line)))
        line = line + np.linalg.solve((odds.T * (fitted * (1 - fitted))) @ odds, odds.T @ (bad - fitted))
    return {"brier": float(np.mean((predicted - bad) ** 2)), "slope": float(line[0]), "intercept": float(line[1])}


def stability_index(expected: np.ndarray, actual: np.ndarray, bins: int = 10) -> float:
    """Population stability index over the expected scores' deciles: sum of (a - e) ln(a / e). Under 0.1 is called stable."""
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1) for scores in (expected, actual)]
    before, after = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in shares)
    return float(np.sum((after - before) * np.log(after / before)))


def interval(measure: Callable[[np.ndarray], dict[str, float]], loans: int) -> dict[str, dict[str, float]]:
    """Each figure of `measure(indexes)` on the sample itself, with its 95 % interval over bootstrap resamples of the loans."""
    draw = np.random.default_rng(SEED)
    resampled = [measure(draw.integers(0, loans, loans)) for _ in range(RESAMPLES)]
    return {name: _figure(value, [one[name] for one in resampled]) for name, value in measure(np.arange(loans)).items()}


def _figure(value: float, drawn: Sequence[float] | np.ndarray) -> dict[str, float]:
    """A figure with the middle 95 % of what else it came out as."""
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": round(value, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def _mean(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in figures])) for name in figures[0]}


def quality(bad: np.ndarray, predicted: np.ndarray) -> dict[str, dict[str, float]]:
    """AUC, Gini, KS and calibration of held-out predictions: the mean over repeats, with intervals."""

    def measure(chosen: np.ndarray) -> dict[str, float]:
        return _mean([separation(bad[chosen], repeat[chosen]) | calibration(bad[chosen], repeat[chosen]) for repeat in predicted])

    return interval(measure, len(bad))


def by_age(age: np.ndarray, bad: np.ndarray, held_out: HeldOut) -> list[dict[str, Any]]:
    """What the data lets one say of fairness: per age group, how often bad, how often predicted bad, how often in a good band.

    Sex is not examined: the data mixes it with marital status in one label, and the later edition calls that label wrong.
    """
    groups = []
    for name, (low, high) in AGE_GROUPS.items():
        inside = (age >= low) & (age < high)

        def measure(chosen: np.ndarray, inside: np.ndarray = inside) -> dict[str, float]:
            kept = chosen[inside[chosen]]
            return {
                "bad": float(bad[kept].mean()),
                "predicted_bad": float(held_out.card[:, kept].mean()),
                "in_good_bands": float((held_out.card_scores[:, kept] >= GOOD_SCORE).mean()),
                "auc": float(np.mean([separation(bad[kept], repeat[kept])["auc"] for repeat in held_out.card])),
            }

        groups.append({"age": name, "loans": int(inside.sum())} | interval(measure, len(bad)))
    return groups


def evaluate(path: Path) -> dict[str, Any]:
    """All figures that `scorecard.json` carries under `metrics`."""
    loans, bad = training.read_loans(path)
    held_out = cross_validate(loans, bad)
    return {
        "method": f"{REPEATS}x{FOLDS}-fold cross-validation, 95 % intervals by {RESAMPLES} bootstrap resamples of the loans;"
        f" that of the stability index is the {REPEATS * FOLDS} folds' own",
        "card": quality(bad, held_out.card),
        "all_20_attributes": quality(bad, held_out.all_20),
        "lawful_18_attributes": quality(bad, held_out.lawful_18),
        "stability_index": _figure(float(held_out.shifts.mean()), held_out.shifts),
        "by_age": by_age(loans["age_in_years"].to_numpy(), bad, held_out),
    }


def scorecard_json(path: Path) -> bytes:
    """The whole of `scorecard.json` from the loans' file, the same bytes every time."""
    card = training.train(path) | {"metrics": evaluate(path)}
    return (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(scorecard_json(Path(sys.argv[1])))
