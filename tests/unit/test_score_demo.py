"""How the demo shows a score: as a sum that a reader can check."""

import re
from datetime import date
from typing import Any

import msgspec
from hypothesis import given

from consumidor.local.demo import in_points
from consumidor.score.model import score
from tests.unit.test_score_model import CARD, DAY, documents


@given(documents)
def test_the_points_shown_add_up(document: dict[str, Any]) -> None:
    """For any document the line is a right sum: the score is 1000 less every loss on it, the reasons' and what is elsewhere."""
    answer = score(document, DAY, CARD)
    total, _, terms = in_points(msgspec.to_builtins(answer)).partition(f" {answer.band} = 1000")
    losses = [int(lost) for lost in re.findall(r" - (\d+) (?=\(|elsewhere)", terms)]
    assert int(total) == answer.score == 1000 - sum(losses)
    assert losses[: len(answer.reasons)] == [reason.points_lost for reason in answer.reasons]


def test_a_score_in_points() -> None:
    """Each reason with its points; `elsewhere` for the rest, and not a word of it where there is none."""
    reasons = [{"text": "No property on record", "points_lost": 268}, {"text": "Rents", "points_lost": 75}]
    answer = {"score": 600, "band": "good", "reasons": reasons}
    assert in_points(answer) == "600 good = 1000 - 268 (No property on record) - 75 (Rents) - 57 elsewhere"
    assert in_points(answer | {"score": 657}) == "657 good = 1000 - 268 (No property on record) - 75 (Rents)"
    assert in_points({"score": 1000, "band": "excellent", "reasons": []}) == "1000 excellent = 1000"
    assert "elsewhere" in in_points(msgspec.to_builtins(score({"birth_date": date(1993, 1, 1), "assets": []}, DAY, CARD)))
