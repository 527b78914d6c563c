"""`GET /v1/score/{cpf}` at 1, 16 and 64 connections beside a bare Starlette route that does the same read, in turns.

python -m benchmarks.score_connections   on a stack of its own; prints a table, rewrites results/score-connections.json
"""

import itertools
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import served
from benchmarks.measure import REPETITIONS, RESULTS, context, write_json
from benchmarks.ratios_http import digits_of, token_of
from benchmarks.stack import Place, Stack
from consumidor import cpf

CONNECTIONS = (1, 16, 64)
REQUESTS = 1_500  # of each server in a turn
FILE = RESULTS / "score-connections.json"


def measure(stack: Stack) -> list[dict[str, Any]]:
    """One row a server and number of connections: medians over the turns of requests/s, CPU, p50 and p99."""
    environment, token, key = stack.environment.of("score-api"), token_of(stack), stack.settings("score-api").pseudonym_key
    people = list(itertools.islice(itertools.cycle(digits_of(1_000)), REQUESTS))
    requests = {
        "ours": [served.get(f"/v1/score/{digits}", token) for digits in people],
        "bare": [served.get(f"/v1/score/{cpf.pseudonym(key, digits)}") for digits in people],
    }
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as exits:
        start, log = exits.enter_context, Path(scratch) / "log"
        servers = {
            "ours": start(served.uvicorn("consumidor.score.api:from_environment", environment, log)),
            "bare": start(served.uvicorn("benchmarks.peers.bare_score:build", environment, log.with_suffix(".bare"))),
        }
        return [row for connections in CONNECTIONS for row in _in_turns(servers, requests, connections)]


def _in_turns(servers: dict[str, served.Served], requests: dict[str, list[bytes]], connections: int) -> Iterator[dict[str, Any]]:
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for turn in range(REPETITIONS + 1):
        for name in list(servers) if turn % 2 else list(reversed(servers)):
            one = _turn(servers[name], requests[name], connections)
            if turn:  # the first warms up
                turns[name].append(one)
    for name, ones in turns.items():
        medians = {figure: round(statistics.median(one[figure] for one in ones), 2) for figure in ones[0]}
        yield {"server": name, "connections": connections} | medians


def _turn(server: served.Served, requests: Sequence[bytes], connections: int) -> dict[str, float]:
    each: list[float] = []
    took = server.answer(requests, connections, each)
    cuts = statistics.quantiles(each, n=100)
    return {"requests_per_s": 1 / took.each(), "cpu_us": 1e6 * took.each("cpu"), "p50_ms": 1e3 * cuts[49], "p99_ms": 1e3 * cuts[98]}


def main() -> None:
    """Measure, write, print."""
    with ExitStack() as exits:
        rows = measure(Place(exits).stack)
    write_json(FILE, {"context": context(), "rows": rows})
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
