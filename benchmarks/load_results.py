"""What stands around a load run: checks before it, one table and run.json after it, the exit status.

Imports no Locust, which patches the standard library: notebooks read runs by it.
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import urllib3

from benchmarks import slo
from benchmarks.locust_tables import HEADLINES
from benchmarks.measure import context, write_json
from consumidor.client import ApiError
from consumidor.errors import CommandError

REFUSED = 3  # exit status of a run that was refused before any load, and has said why
# What is asked of each path before any load: reads, so that nothing is left of them.
_PROBES = {"people": "/v1/people/responses?limit=1", "score": "/v1/score/{cpf}", "events": "/v1/events/latest?cpf={cpf}"}
_WHY = {
    401: ": the token is refused",
    403: ": the token lacks its scope, or the client is not registered",
    404: ": there is no such path",
}
_OR_NOBODY = ", or there are not as many people as --people says"


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


def check_paths(api: str, token: str, paths: Iterable[str], digits: str) -> None:
    """Ask each path of a mix once, about the person with this CPF.

    Raises:
        CommandError: there is no API, or a path does not answer 200; names the path, and not the person.
    """
    for path in paths:
        probe, headers = _PROBES[path], {"authorization": f"Bearer {token}"}
        try:
            answer = urllib3.request("GET", api + probe.format(cpf=digits), headers=headers, timeout=10, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise CommandError(f"nothing answers at {api}") from error
        if answer.status != 200:
            why = _WHY.get(answer.status, "") + (_OR_NOBODY if (path, answer.status) == ("score", 404) else "")
            raise CommandError(f"the {path} path cannot be loaded: GET {probe.partition('?')[0]} answers {answer.status}{why}")


def refuse(reason: str) -> NoReturn:
    """End the process before any load: one line, status `REFUSED`."""
    print(reason, file=sys.stderr, flush=True)
    raise SystemExit(REFUSED)


def watch(environment: Any, thresholds: dict[str, dict[str, float]], model: dict[str, Any]) -> None:
    """At the end of the run: the table, run.json (where a folder is named and the run is whole), and the exit status by the thresholds."""

    def at_the_end(environment: Any, **_: Any) -> None:
        entries = {entry.name: entry_numbers(entry) for entry in sorted(environment.stats.entries.values(), key=lambda one: one.name)}
        headlines = {name for one in environment.user_classes for name in HEADLINES[one.path]}
        wrong = slo.broken(thresholds, entries, headlines)
        total = environment.stats.total
        duration = round((total.last_request_timestamp or total.start_time) - total.start_time, 1)
        run = {**model, "duration_s": duration, "entries": entries, "thresholds": thresholds, "broken": wrong, **context()}
        errors = [f"{error.name}: {error.error} ({error.occurrences})" for error in environment.stats.errors.values()]
        print(table(run, errors))
        if not environment.shape_class.ended:
            print("interrupted: not a whole run")
            return
        if environment.parsed_options and environment.parsed_options.results:
            write_json(Path(environment.parsed_options.results) / "run.json", run)
        environment.process_exit_code = 1 if wrong else 0

    environment.process_exit_code = 1  # unless the end is reached
    environment.events.quitting.add_listener(at_the_end)


def entry_numbers(entry: Any) -> dict[str, Any]:
    """A row of the table from an entry of Locust's statistics."""
    percentiles = {f"p{percent}_ms": entry.get_response_time_percentile(percent / 100) for percent in (50, 95, 99)}
    return {
        "requests": entry.num_requests,
        "per_s": round(entry.total_rps, 2),
        "failures_percent": 100 * entry.fail_ratio,  # as it is: 4 in 100,000 are not none
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
