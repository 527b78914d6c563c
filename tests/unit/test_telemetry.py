"""Logs and metrics: what they show, and what they can never hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumidor import cpf, telemetry
from tests.tokens import b64_json, good_claims

AROUND = ["{}", "about {}.", "cpf={}&x=1", "('{}',)", "/v1/score/{}", "cpf%3D{}%26", "x{}y", "_{}"]


@given(st.integers(1, 10**9 - 1), st.sampled_from(AROUND))
def test_a_cpf_is_masked_wherever_it_stands(base: int, around: str) -> None:
    """With or without punctuation, whatever is around it."""
    digits = f"{base:09d}" + cpf.check_digits(f"{base:09d}")
    for text in (digits, cpf.punctuate(digits)):
        assert text not in telemetry.mask(around.format(text))


def test_a_token_is_masked_and_other_text_stays() -> None:
    """Three long base64url parts with dots between are a token; ids, times and numbers are not."""
    token = f"{b64_json({'alg': 'RS256'})}.{b64_json(good_claims())}.{'A' * 342}"
    assert telemetry.mask(f"Bearer {token}") == "Bearer [token]"
    plain = (
        "id 2f1c9f1e-0f6e-5d4a-9c43-1f2f6b1f6a55, key a46509208173b at 2026-11-22T20:15:00.000Z took 1795378500000 ns, host 127.0.0.1:8080"
    )
    assert telemetry.mask(plain) == plain


@pytest.mark.parametrize("given_header", [None, "", "nonsense", "00-" + "0" * 31 + "-" + "0" * 16 + "-01"])
def test_a_trace_begins_where_none_came(given_header: str | None) -> None:
    """Without a readable traceparent a new trace id is made."""
    assert len(telemetry.trace_id(given_header)) == 32


def test_a_trace_goes_on() -> None:
    """The trace id of a traceparent is kept in the one that follows."""
    first = telemetry.traceparent("ab" * 16)
    assert telemetry.trace_id(first) == "ab" * 16
    assert telemetry.traceparent("ab" * 16) != first
    assert telemetry.is_traceparent(first)
    assert not telemetry.is_traceparent(f"{first}-465.092.081-72")


def test_an_emf_line_tells_of_growth_and_means() -> None:
    """Counters as what they grew by, histograms as the mean since the last line, each declared with its unit."""
    before = {"http_requests_total": 10.0, "http_seconds_sum": 1.0, "http_seconds_count": 10.0, "idle_sum": 1.0, "idle_count": 1.0}
    now = {"http_requests_total": 14.0, "http_seconds_sum": 3.0, "http_seconds_count": 14.0, "idle_sum": 1.0, "idle_count": 1.0}
    line = json.loads(telemetry.emf_line("worker", before, now, 1.5))
    declared = {metric["Name"]: metric["Unit"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert declared == {"http_requests_total": "Count", "http_seconds": "Seconds"}
    assert (line["process"], line["http_requests_total"], line["http_seconds"], line["_aws"]["Timestamp"]) == ("worker", 4.0, 0.5, 1500)
