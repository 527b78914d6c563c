"""One request down each path, as a user would send it, with the milliseconds of each hop."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from consumidor.client import ApiError, Consumidor

ELDER, YOUNGER, BIG = "465.092.081-72", "524.432.897-29", "529.982.247-25"  # always among the synthetic people
UNKNOWN = "111.444.777-35"  # never among them


def run_demo(client: Consumidor) -> list[dict[str, Any]]:
    """Rows of path, hop, ms and answer; raises the first error of the API."""
    with client:
        rows = [row for cpf in (ELDER, YOUNGER, UNKNOWN, BIG) for row in _people(client, cpf)]
        rows += [_timed("score", f"GET score of {cpf}", partial(_score, client, cpf)) for cpf in (ELDER, YOUNGER)]
        return rows + _events(client)


def _timed(path: str, hop: str, call: Callable[[], str]) -> dict[str, Any]:
    started = time.perf_counter()
    answer = call()
    return {"path": path, "hop": hop, "ms": round((time.perf_counter() - started) * 1000, 1), "answer": answer}


def _people(client: Consumidor, cpf: str) -> list[dict[str, Any]]:
    started = time.perf_counter()
    pending = client.submit(cpf, "credit")
    accepted = time.perf_counter()
    answer = pending.result(60)
    answered = time.perf_counter()
    delivery = pending.future.result()
    how = "by link from S3" if delivery.report_url else "in the queue"
    text = answer.status
    if answer.report:
        debts = f"{len(answer.report.debts)} debt{'s' * (len(answer.report.debts) != 1)}"
        text = f"found {how}: {debts}, {answer.report.total_open_cents / 100:,.2f} BRL open"
    return [
        {"path": "people", "hop": f"POST request about {cpf}", "ms": round((accepted - started) * 1000, 1), "answer": "202"},
        {"path": "people", "hop": "queue, worker, Base A, queue", "ms": round((answered - accepted) * 1000, 1), "answer": text},
    ]


def _score(client: Consumidor, cpf: str) -> str:
    return in_points(client.score(cpf))


def in_points(score: dict[str, Any]) -> str:
    """A score as the sum it is: of 1000 points, what each reason costs, and what all that the answer does not name does."""
    losses = [(reason["points_lost"], f"({reason['text']})") for reason in score["reasons"]]
    unnamed = 1000 - score["score"] - sum(lost for lost, _ in losses)
    terms = [f" - {lost} {why}" for lost, why in [*losses, (unnamed, "elsewhere")] if lost]
    return f"{score['score']} {score['band']} = 1000{''.join(terms)}"


def _events(client: Consumidor) -> list[dict[str, Any]]:
    """The inquiries above reach Base C through the feed queue within a second or two; then latest, and what of its time is ours."""
    try:
        fed = _timed("events", "feed queue, feed, Base C", partial(_inquiry_arrives, client))
    except ApiError as error:
        if error.code != 404:
            raise
        return [{"path": "events", "hop": "GET latest", "ms": 0.0, "answer": "not served by this stack"}]
    latest = _timed("events", "GET latest", partial(_latest, client))
    share = float(client.server_timing.rpartition("=")[2] or 0)
    return [fed, latest, {"path": "events", "hop": "  of it handler and Base C", "ms": round(share, 1), "answer": "the rest is transport"}]


def _inquiry_arrives(client: Consumidor) -> str:
    deadline = time.monotonic() + 10
    while client.latest(ELDER)["bureau_inquiry"] is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return "the inquiry is there" if client.latest(ELDER)["bureau_inquiry"] else "the inquiry is not there yet"


def _latest(client: Consumidor) -> str:
    return ", ".join(f"{kind} {event['occurred_at'] if event else 'none'}" for kind, event in client.latest(ELDER).items())
