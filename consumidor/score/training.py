"""How `scorecard.json` is made from 1,000 real loans: recoded to what Base B knows, binned, fitted, scaled and rounded.

A scorecard in the classical sense (Siddiqi, "Credit Risk Scorecards", 2006): each attribute in a few bins, each bin's weight of
evidence ln(share of good loans / share of bad loans) into a logistic regression, and the result scaled to whole points. The work is
optbinning's; what is ours is the choice of attributes, of the direction each may take, and the words.

Needs the extra `notebooks`; no service imports this. `notebooks/04_score_path.ipynb` tells the story.
"""

import hashlib
import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

# optbinning loads cvxpy, which tries the solver HiGHS of highspy, which clashes with the one inside ortools; neither is used here.
logging.getLogger("__cvxpy__").addFilter(lambda record: "HIGHS" not in record.getMessage())
from optbinning import BinningProcess, Scorecard  # noqa: E402 - after the filter above

MAJOR_VERSION = 1
CENTS_PER_MARK = 1000  # see `base_b_attributes`
SCORE_MIN, SCORE_MAX = 0, 1000

# 20 attributes of the data that are categories to a model; the rest are numbers.
_NUMBERS = [
    "duration_in_month", "credit_amount", "installment_rate_in_percentage_of_disposable_income", "present_residence_since", "age_in_years",
    "number_of_existing_credits_at_this_bank", "number_of_people_being_liable_to_provide_maintenance_for",
]  # fmt: skip
# Never used in the card: Brazil's Lei 12.414/2011, art. 7-A bars sex and origin from a credit score; marital status shares the label.
BARRED = ["personal_status_and_sex", "foreign_worker"]

_PROPERTY = {
    "real estate": "real_estate",
    "building society savings agreement/ life insurance": "life_insurance",
    "car or other, not in attribute Savings account/bonds": "vehicle",
    "unknown / no property": None,
}
_SAVINGS = {
    "... < 100 DM": 0, "100 <= ... < 500 DM": 100, "500 <= ... < 1000 DM": 500, "... >= 1000 DM": 1000, "unknown/ no savings account": None,
}  # fmt: skip
_HOUSING = {"own": "own", "rent": "rent", "for free": "free"}
_RESIDENCE = {1: 0, 2: 1, 3: 4, 4: 7}
_EMPLOYMENT = {"unemployed": 0, "... < 1 year": 0, "1 <= ... < 4 years": 1, "4 <= ... < 7 years": 4, "... >= 7 years": 7}
_JOB = {
    "management/ self-employed/ highly qualified employee/ officer": "management",
    "skilled employee / official": "skilled",
    "unskilled - resident": "unskilled",
    "unemployed/ unskilled - non-resident": "unskilled",
}


class Attribute(NamedTuple):
    """One attribute of the card: the cuts a bin may begin at (numbers only; None leaves them to optbinning) and its words.

    A number's words hold {low} and {high}: for the first bin, the middle ones, and the last one.
    """

    name: str
    cuts: list[int] | None
    words: dict[str, tuple[str, str]]  # category, or below/between/from, or missing -> English, Portuguese


_YEARS = [1, 4, 7]
ATTRIBUTES = [
    Attribute("age", None, {
        "below": ("Age under {high}", "Idade abaixo de {high} anos"),
        "between": ("Age from {low} to under {high}", "Idade de {low} a menos de {high} anos"),
        "from": ("Age {low} or over", "Idade de {low} anos ou mais"),
        "missing": ("Age not on record", "Idade não informada"),
    }),
    Attribute("property", [], {
        "real_estate": ("Real estate", "Imóvel"),
        "life_insurance": ("Life insurance or a savings plan, no real estate", "Seguro de vida ou plano de poupança, sem imóvel"),
        "vehicle": ("A vehicle or other goods, no real estate or life insurance", "Veículo ou outros bens, sem imóvel nem seguro de vida"),
        "missing": ("No property on record", "Nenhum bem informado"),
    }),
    Attribute("savings", [mark * CENTS_PER_MARK for mark in (100, 500, 1000)], {
        "below": ("Savings under R$ {high}", "Poupança abaixo de R$ {high}"),
        "between": ("Savings from R$ {low} to under R$ {high}", "Poupança de R$ {low} a menos de R$ {high}"),
        "from": ("Savings of R$ {low} or more", "Poupança de R$ {low} ou mais"),
        "missing": ("No savings account on record", "Nenhuma poupança informada"),
    }),
    Attribute("housing", [], {
        "own": ("Lives in a home of their own", "Mora em imóvel próprio"),
        "rent": ("Lives in a rented home", "Mora em imóvel alugado"),
        "free": ("Lives in a home free of rent", "Mora em imóvel cedido"),
        "missing": ("Housing not on record", "Moradia não informada"),
    }),
    Attribute("residence", _YEARS, {
        "below": ("Under {high} years at the address", "Menos de {high} anos no endereço"),
        "between": ("From {low} to under {high} years at the address", "De {low} a menos de {high} anos no endereço"),
        "from": ("{low} years or more at the address", "{low} anos ou mais no endereço"),
        "missing": ("Time at the address not on record", "Tempo no endereço não informado"),
    }),
    Attribute("employment", _YEARS, {
        "below": ("In the present work for under {high} year, or out of work", "No trabalho atual há menos de {high} ano, ou sem trabalho"),
        "between": ("In the present work for {low} to under {high} years", "No trabalho atual de {low} a menos de {high} anos"),
        "from": ("In the present work for {low} years or more", "No trabalho atual há {low} anos ou mais"),
        "missing": ("Time in work not on record", "Tempo de trabalho não informado"),
    }),
    Attribute("job", [], {
        "management": ("Management, self-employed or highly qualified work", "Gestão, trabalho autônomo ou altamente qualificado"),
        "skilled": ("Skilled work or public service", "Trabalho qualificado ou serviço público"),
        "unskilled": ("Unskilled work, or out of work", "Trabalho não qualificado, ou sem trabalho"),
        "missing": ("Kind of work not on record", "Tipo de trabalho não informado"),
    }),
]  # fmt: skip


def read_loans(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """All 20 attributes of the loans, and whether each was bad (1) or good (0)."""
    loans = pd.read_csv(path)
    return loans.drop(columns="creditability"), (loans["creditability"] == "bad").to_numpy(int)


def base_b_attributes(loans: pd.DataFrame) -> pd.DataFrame:
    """The seven attributes as Base B would hold them; the data's "unknown / none" is a missing value.

    Savings are in cents of today's real. One mark of 1974 stands for about R$ 10: 0.51 euro at the fixed rate, about three times German
    consumer prices since, about 6 reais a euro; an assumption, made in this one place. Times are the lower end of the label, in years.
    Someone out of work has 0 years in it. The job label "unemployed/unskilled, non-resident" (22 loans) joins "unskilled", so that
    origin does not enter by that door.
    """
    columns = {
        "age": loans["age_in_years"],
        "property": loans["property"].map(_PROPERTY),
        "savings": loans["savings_account_and_bonds"].map(_SAVINGS) * CENTS_PER_MARK,
        "housing": loans["housing"].map(_HOUSING),
        "residence": loans["present_residence_since"].map(_RESIDENCE),
        "employment": loans["present_employment_since"].map(_EMPLOYMENT),
        "job": loans["job"].map(_JOB),
    }
    return pd.DataFrame({name: column if column.dtype == "str" else column.astype(float) for name, column in columns.items()})


def base_b_binning() -> BinningProcess:
    """Numbers may only ever gain by being larger: no one loses points for being old, for saving more or for staying longer.

    Left free, age would find a bump at 35 and 36 that the next sample would not repeat, and take points from people over 52.
    """
    numbers = {
        attribute.name: {"monotonic_trend": "descending"} | ({"user_splits": attribute.cuts} if attribute.cuts else {})
        for attribute in ATTRIBUTES
        if attribute.cuts != []
    }
    names = [attribute.name for attribute in ATTRIBUTES]
    return BinningProcess(names, categorical_variables=[name for name in names if name not in numbers], binning_fit_params=numbers)


def all_binning(columns: list[str]) -> BinningProcess:
    """The 20 attributes of the data as they are, for comparison; no direction is imposed."""
    return BinningProcess(columns, categorical_variables=[name for name in columns if name not in _NUMBERS])


def regression() -> LogisticRegression:
    """scikit-learn's own default penalty; the tight tolerance makes the result the same to the last printed digit anywhere."""
    return LogisticRegression(tol=1e-10, max_iter=1000)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what pandas 3 says of optbinning 1.0 (ways of writing that will end with pandas 4); no code of ours is concerned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        yield


def fit(attributes: pd.DataFrame, bad: np.ndarray) -> Scorecard:
    """The card: points of each attribute begin at 0, and the best of all seven add up to 1000.

    optbinning rounds by integer programming, so that the sums of the smallest and of the largest points stay exact.
    """
    card = Scorecard(
        base_b_binning(), regression(), scaling_method="min_max", scaling_method_params={"min": SCORE_MIN, "max": SCORE_MAX},
        intercept_based=True, rounding=True,
    )  # fmt: skip
    with quiet():
        return card.fit(attributes, bad, metric_missing="empirical")


def train(path: Path) -> dict[str, Any]:
    """The card as `scorecard.json` holds it, less the metrics: bins, points, words, scale, and what it was trained on.

    Its version ends in a hash of its bins and points: another card can never go by the same version.
    """
    loans, bad = read_loans(path)
    card = fit(base_b_attributes(loans), bad)
    attributes = [_attribute(card, attribute) for attribute in ATTRIBUTES]
    digest = hashlib.sha256(json.dumps(attributes, sort_keys=True).encode()).hexdigest()
    return {
        "version": f"{MAJOR_VERSION}-{digest[:8]}",
        "attributes": attributes,
        "scale": scale(card),
        "training": {
            "data": "Statlog (German Credit Data), Hans Hofmann, 1994, UCI Machine Learning Repository, CC BY 4.0, doi:10.24432/C5NC77",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "loans": len(bad),
            "bad": int(bad.sum()),
        },
    }


def scale(card: Scorecard) -> dict[str, float]:
    """Which odds (good to bad, in this sample) a score means: those at 500, and the points that double them."""
    table = card.table("detailed")
    evidence = (table["WoE"].astype(float) * table["Coefficient"]).groupby(table["Variable"])
    intercept = float(card.estimator_.intercept_[0])
    best, worst = (intercept + float(logits.sum()) for logits in (evidence.min(), evidence.max()))  # log odds of being bad
    per_point = (worst - best) / (SCORE_MAX - SCORE_MIN)
    return {
        "points_to_double_odds": round(math.log(2) / per_point, 1),
        "odds_at_500": round(math.exp(-(worst - 500 * per_point)), 2),
    }


def _attribute(card: Scorecard, attribute: Attribute) -> dict[str, Any]:
    table = card.table("detailed")
    points = table[table["Variable"] == attribute.name]["Points"].to_numpy()
    binned = card.binning_process_.get_binned_variable(attribute.name)
    bins = _number_bins(binned.splits, attribute) if binned.dtype == "numerical" else _category_bins(binned.splits, attribute)
    for place, one in enumerate(bins):
        one["points"] = round(points[place])
    missing = {"points": round(points[-1]), "text": _text(attribute.words["missing"])}
    return {"name": attribute.name, "bins": bins, "missing": missing}


def _number_bins(splits: np.ndarray, attribute: Attribute) -> list[dict[str, Any]]:
    """Whole numbers below 25.5 are those below 26. Cents are spoken of in reais."""
    edges = [math.ceil(split) for split in splits]
    unit = 100 if attribute.name == "savings" else 1
    bins = []
    for low, high in zip([None, *edges], [*edges, None], strict=True):
        kind = "below" if low is None else "from" if high is None else "between"
        text = _text(attribute.words[kind], low=(low or 0) // unit, high=(high or 0) // unit)
        bins.append(({} if high is None else {"below": high}) | {"text": text})
    return bins


def _category_bins(splits: list[np.ndarray], attribute: Attribute) -> list[dict[str, Any]]:
    """A bin of several categories is spoken of by all of them."""
    return [
        {
            "values": [str(value) for value in values],
            "text": {language: "; ".join(_text(attribute.words[str(value)])[language] for value in values) for language in ("en", "pt")},
        }
        for values in splits
    ]


def _text(words: tuple[str, str], **numbers: int) -> dict[str, str]:
    english = words[0].format(**{name: f"{number:,}" for name, number in numbers.items()})
    portuguese = words[1].format(**{name: f"{number:,}".replace(",", ".") for name, number in numbers.items()})
    return {"en": english, "pt": portuguese}
