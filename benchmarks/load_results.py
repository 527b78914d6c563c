"""What stands around a load run: checks before it, one table and run.json after it, the exit status.

Imports no Locust, which patches the standard library: notebooks read runs by it.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import urllib3

from benchmarks import slo
from benchmarks.measure import context, write_json
from consumidor.client import ApiError
from consumidor.errors import CommandError

_HEADLINES = {"people": ["people: POST to response"], "score": ["score: GET score"], "events": ["events: GET latest", "events: GET page"]}


class Wrong(Exception):
    """An answer that is not as promised, in words that name nobody."""


def check_token(token: Callable[[], str]) -> None:
    """Raises CommandError where there is none to be had."""
    try:
        token()
    except ApiError as error:
        raise CommandError(f"the issuer refuses a token: {error.detail}") from error
    except urllib3.exceptions.HTTPError as error:
        raise CommandError("the issuer does not answer") from error
    except (KeyError, TypeError) as error:
        raise CommandError("the issuer answers something that is no token") from error


def check_answers(api: str) -> None:
    """Raises CommandError where there is no API."""
    try:
        urllib3.request("GET", f"{api}/v1/score/0", timeout=10, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise CommandError(f"nothing answers at {api}") from error


def refuse(reason: str) -> NoReturn:
    """End the process before any load: one line, status 1."""
    print(reason, file=sys.stderr, flush=True)
    raise SystemExit(1)


def watch(environment: Any, thresholds: dict[str, dict[str, float]], model: dict[str, Any]) -> None:
    """At the end of the run: the table, run.json (where a folder is named), and the exit status by the thresholds."""

    def at_the_end(environment: Any, **_: Any) -> None:
        entries = {entry.name: _numbers(entry) for entry in sorted(environment.stats.entries.values(), key=lambda one: one.name)}
        headlines = {name for one in environment.user_classes for name in _HEADLINES[one.path]}
        wrong = slo.broken(thresholds, entries, headlines)
        total = environment.stats.total
        duration = round((total.last_request_timestamp or total.start_time) - total.start_time, 1)
        run = {**model, "duration_s": duration, "entries": entries, "thresholds": thresholds, "broken": wrong, **context()}
        errors = [f"{error.name}: {error.error} ({error.occurrences})" for error in environment.stats.errors.values()]
        print(table(run, errors))
        if environment.parsed_options and environment.parsed_options.results:
            write_json(Path(environment.parsed_options.results) / "run.json", run)
        environment.process_exit_code = 1 if wrong else 0

    environment.process_exit_code = 1  # unless the end is reached
    environment.events.quitting.add_listener(at_the_end)


def _numbers(entry: Any) -> dict[str, Any]:
    percentiles = {f"p{percent}_ms": entry.get_response_time_percentile(percent / 100) for percent in (50, 95, 99)}
    failures = round(100 * entry.fail_ratio, 2)
    per_second = round(entry.total_rps, 2)
    return {
        "requests": entry.num_requests,
        "per_s": per_second,
        "failures_percent": failures,
        **percentiles,
        "max_ms": entry.max_response_time,
    }


def table(run: dict[str, Any], errors: list[str]) -> str:
    """The run as text: which model, each entry, what was broken."""
    head = f"{'':38}{'requests':>9}{'per s':>8}{'failed %':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}"
    keys = ("requests", "per_s", "failures_percent", "p50_ms", "p95_ms", "p99_ms", "max_ms")
    widths = (9, 8, 10, 9, 9, 9, 9)
    rows = [
        f"{name:38}" + "".join(f"{numbers[key] or 0:>{width}.4g}" if key != "requests" else f"{numbers[key]:>{width}}"
                                for key, width in zip(keys, widths, strict=True))
        for name, numbers in run["entries"].items()
    ]  # fmt: skip
    verdict = ["broken: " + "; ".join(run["broken"])] if run["broken"] else ["every threshold kept"]
    title = f"\n{run['model']}; mix {run['mix']}, stages {run['stages']}, {run['duration_s']:g} s"
    return "\n".join([title, head, *rows, *errors, *verdict])


def read_run(folder: Path) -> dict[str, Any]:
    """The run in a results folder.

    Raises:
        CommandError: the folder is not there or not whole, and what is missing.
    """
    missing = [name for name in ("run.json", "stats.csv", "stats_history.csv") if not (folder / name).is_file()]
    if missing:
        raise CommandError(f"{folder} holds no whole run: {', '.join(missing)} missing")
    return dict(json.loads((folder / "run.json").read_text("utf-8")))
