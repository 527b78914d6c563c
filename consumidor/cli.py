"""The `consumidor` command: thin doors to what does the work. Exit status 0 done, 1 failed, 2 wrong use."""

import errno
import io
import os
import re
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from consumidor.errors import CommandError, ConsumidorError, SettingsError
from consumidor.settings import Settings
from consumidor.show import show, show_parts

Function = TypeVar("Function", bound=Callable[..., Any])
# Those of the models, written again: to load them would slow every command down, and a test holds the two together.
_PURPOSES = ("credit", "rental", "employment", "collection", "own")
_KINDS = ("bureau_inquiry", "financial_movement", "card_purchase")
_DAY_SECONDS = 86_400  # as long as a response stays in its queue
_OF_EXTRACTION = {"dask", "distributed", "pandas", "pyarrow", "pymongoarrow", "tqdm"}  # packages of the extra of that name


class Cli(click.Group):
    """Every error of ours is one readable line and a status, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; wrong settings are wrong use (2), all else that is refused has failed (1)."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that has no such letter shows its number
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except ConsumidorError as error:
            click.secho(f"consumidor: {error.detail}", fg="red", err=True)
            ctx.exit(2 if isinstance(error, SettingsError) else 1)
        except TimeoutError as error:
            click.secho(f"consumidor: {str(error) or 'no answer in time'}", fg="red", err=True)
            ctx.exit(1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on: click's to end
                raise
            where = f"{error.filename}: " if error.filename else ""
            click.secho(f"consumidor: {where}{error.strerror or error}", fg="red", err=True)
            _drop_output()
            ctx.exit(1)
        except ModuleNotFoundError as error:
            click.secho(f"consumidor: {_needed(error)}", fg="red", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.secho("consumidor: stopped", err=True)
            ctx.exit(1)
        else:
            return result


def _drop_output() -> None:
    """What could not be written is not tried again at the interpreter's end, where it would be a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _needed(error: ModuleNotFoundError) -> str:
    """Which extra brings the package that is missing; a module of our own that is missing is a mistake, and raised again."""
    package = (error.name or "").partition(".")[0]
    if package == "consumidor":
        raise error
    extra = "extraction" if package in _OF_EXTRACTION else "local"
    return f"this command needs pip install 'consumidor[{extra}]' (there is no {package} here)"


home_option = click.option(
    "--home", type=click.Path(path_type=Path), default=".local", show_default=True, help="Folder of the running stack."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def process(function: Function) -> Callable[..., None]:
    """A deployed process: settings from the environment, logs to standard output."""
    name = function.__name__.replace("_", "-")

    @wraps(function)
    def start(**options: Any) -> None:
        from consumidor import telemetry  # noqa: PLC0415 - each command imports what it needs, so that all start quickly

        settings = Settings.from_env(name)
        telemetry.configure_logging(settings.environment)
        if settings.aws_endpoint_url is None and name != "score-api":  # on AWS itself, where nothing scrapes; that one's children do it
            telemetry.emit_metrics(name)
        function(settings, **options)

    return main.command(name)(start)


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consumidor")
def main() -> None:
    """A credit bureau for Brazil: people, score and events.

    \b
    Examples:
      consumidor up                          start everything on this machine, with synthetic people
      consumidor demo                        one request down each path, with times
      consumidor people 465.092.081-72       ask Base A through the queues
      consumidor score 465.092.081-72        the credit score and its reasons
      consumidor token --client acme         a token for curl
    """  # noqa: D301 - \b is click's mark for lines kept as they are


@main.command()
@home_option
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port of the API; 0 picks one.")
@click.option("--people", type=click.IntRange(min=0), default=10000, show_default=True, help="Synthetic people to seed.")
@click.option("--worker-threads", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--demo", is_flag=True, help="Show one request down each path when ready, then keep serving.")
def up(home: Path, port: int, people: int, worker_threads: int, demo: bool) -> None:
    """Start every server and service, serve until Ctrl-C.

    The data stays in --home, and the next start is on it.

    \b
    Examples:
      consumidor up
      consumidor up --port 9000 --people 1000000 --home /tmp/bureau
    """  # noqa: D301
    from consumidor.local import stack  # noqa: PLC0415

    then = (lambda: _demo(home, as_json=False)) if demo else None
    stack.up(home, port, people, worker_threads, then)


@main.command()
@home_option
@json_option
def demo(home: Path, as_json: bool) -> None:
    """One request down each path: answers and times.

    \b
    Example:
      consumidor demo
    """  # noqa: D301
    _demo(home, as_json=as_json)


def _demo(home: Path, *, as_json: bool) -> None:
    from consumidor.local.demo import run_demo  # noqa: PLC0415

    show(run_demo(_client_of(home)), as_json=as_json, title="One request down each path")


def _stack(home: Path) -> dict[str, Any]:
    from consumidor.local.running import read_stack  # noqa: PLC0415

    return read_stack(home)


def _client_of(home: Path, name: str = "acme") -> Any:
    """A client of the running stack, as any requester would have it."""
    from consumidor.client import Consumidor, TokenSource  # noqa: PLC0415

    stack = _stack(home)
    if name not in stack["clients"]:
        raise CommandError(f"no client {name}; `consumidor token --client {name}` registers one")
    secrets = stack["clients"][name]
    return Consumidor(stack["api"], TokenSource(f"{stack['issuer']}/oauth2/token", secrets["client_id"], secrets["client_secret"]))


@main.command()
@home_option
@click.option("--client", required=True, help="Client's name; registered here if it is new.")
@click.option("--scope", "scopes", multiple=True, help="A scope, such as consumidor/score.read; all by default.")
def token(home: Path, client: str, scopes: tuple[str, ...]) -> None:
    """Print a token, alone, on standard output.

    \b
    Example:
      curl -H "Authorization: Bearer $(consumidor token --client acme)" http://127.0.0.1:8080/v1/score/46509208172
    """  # noqa: D301
    from consumidor.client import TokenSource  # noqa: PLC0415
    from consumidor.local.running import register_client  # noqa: PLC0415

    secrets = register_client(home, client)
    source = TokenSource(f"{_stack(home)['issuer']}/oauth2/token", secrets["client_id"], secrets["client_secret"], scopes)
    print(source())


def _seconds(_: click.Context, __: click.Parameter, timeout: float) -> float:
    """Refuse what is no time to wait, such as inf and nan, which are numbers too."""
    if not 0 <= timeout <= _DAY_SECONDS:
        raise click.BadParameter(f"must be 0 to {_DAY_SECONDS} seconds")
    return timeout


@main.command()
@click.argument("cpf", required=False)
@click.option("--purpose", type=click.Choice(_PURPOSES), default="credit", show_default=True, help="What the law allows asking for.")
@click.option("--client", default="acme", show_default=True)
@click.option("--timeout", type=float, callback=_seconds, default=60, show_default=True, help="Seconds to wait for the response.")
@click.option("--waiting", is_flag=True, help="Take the answers to earlier requests from the client's queue instead.")
@home_option
@json_option
def people(cpf: str | None, purpose: str, client: str, timeout: float, waiting: bool, home: Path, as_json: bool) -> None:
    """Ask Base A about CPF, and wait for the response.

    \b
    Examples:
      consumidor people 465.092.081-72
      consumidor people 465.092.081-72 --purpose rental --json
      consumidor people --waiting            answers that came too late for who asked
    """  # noqa: D301
    if (cpf is None) != waiting:
        raise click.UsageError("needs either CPF or --waiting")
    with _client_of(home, client) as bureau:
        if cpf is None:
            _show_waiting(bureau, as_json=as_json)
            return
        answer = bureau.ask(cpf, purpose, timeout)
    _show_answer(_document(answer), answer.link_bytes, as_json=as_json)
    if answer.status == "failed":
        raise CommandError(f"the request failed: {answer.error.title}")


def _show_answer(document: dict[str, Any], link_bytes: int | None, *, as_json: bool) -> None:
    if as_json or not document.get("report"):
        show(document, as_json=as_json)
        return
    report = document["report"]
    where = f"by link, {link_bytes:,} bytes, length and SHA-256 as promised" if link_bytes else "in the queue"
    document = {name: value for name, value in document.items() if name != "report"} | {"delivered": where}
    person = {name: report[name] for name in ("cpf", "name", "total_open_cents")}
    parts = {"person": "Person", "address": "Address", "debts": "Debts"}
    show_parts(document | {"person": person, "address": report["address"], "debts": report["debts"]}, parts, as_json=False)


def _show_waiting(bureau: Any, *, as_json: bool) -> None:
    """Each answer is acknowledged once it is shown; one that cannot be opened stays, and holds up no other."""
    opened: dict[str, Any] = {}
    refused = None
    for delivery in bureau.waiting():
        try:
            opened[delivery.receipt] = bureau.open(delivery)
        except ConsumidorError as error:
            refused = error
    show([_document(answer) for answer in opened.values()], as_json=as_json)
    for receipt in opened:
        bureau.acknowledge_later(receipt)
    if refused:
        raise refused


def _document(answer: Any) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    return {name: value for name, value in msgspec.to_builtins(answer).items() if name != "link_bytes"}


@main.command()
@click.argument("cpf")
@click.option("--client", default="acme", show_default=True)
@click.option("--language", type=click.Choice(["en", "pt"]), default="en", show_default=True, help="Language of the reasons.")
@home_option
@json_option
def score(cpf: str, client: str, language: str, home: Path, as_json: bool) -> None:
    """The credit score of CPF, with its reasons.

    \b
    Examples:
      consumidor score 465.092.081-72
      consumidor score 524.432.897-29 --language pt --json
    """  # noqa: D301
    with _client_of(home, client) as bureau:
        show_parts(bureau.score(cpf, language), {"reasons": "Where points were lost"}, as_json=as_json)


@main.group()
def events() -> None:
    """Read and publish events."""


@events.command("get")
@click.argument("cpf")
@click.option("--kind", type=click.Choice(_KINDS), help="Only events of this kind.")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="At most so many, newest first.")
@click.option("--latest", is_flag=True, help="Only the latest of each kind.")
@click.option("--client", default="acme", show_default=True)
@home_option
@json_option
def events_get(cpf: str, kind: str | None, limit: int, latest: bool, client: str, home: Path, as_json: bool) -> None:
    """The events of CPF, newest first.

    \b
    Examples:
      consumidor events get 465.092.081-72 --kind card_purchase --limit 50
      consumidor events get 465.092.081-72 --latest
    """  # noqa: D301
    from itertools import islice  # noqa: PLC0415

    if latest and kind:
        raise click.UsageError("--latest is of every kind: leave --kind out")
    with _client_of(home, client) as bureau:
        if latest:
            found = bureau.latest(cpf)
            show(found if as_json else [{"latest": name, **(event or {})} for name, event in found.items()], as_json=as_json)
        else:
            filters = {"limit": min(limit, 100)} | ({"kind": kind} if kind else {})
            show(list(islice(bureau.events(cpf, **filters), limit)), as_json=as_json)


@events.command("publish")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
@json_option
def events_publish(file: Path, home: Path, as_json: bool) -> None:
    """Send the events in FILE (JSON lines) to the feed queue.

    A bureau_inquiry counts from the bureau's own services alone: anyone else's becomes a dead letter.

    \b
    Example:
      consumidor events publish purchases.jsonl
    A line: {"event_id": "...", "cpf": "...", "kind": "card_purchase", "occurred_at": "2026-11-22T20:15:00Z",
             "institution": "...", "amount": 12990, "currency": "BRL", "details": {}}
    """  # noqa: D301
    from consumidor.local import operations  # noqa: PLC0415

    show(operations.publish_events(home, file), as_json=as_json)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
@json_option
def load(file: Path, home: Path, as_json: bool) -> None:
    """Load people of your own from FILE into Bases A and B.

    \b
    Example:
      consumidor load people.jsonl
    A line: {"cpf": "...", "name": "...", "address": {"street": "...", "city": "...", "state": "SP", "postal_code": "..."},
             "debts": [{"creditor": "...", "amount_cents": 12990, "due_on": "2026-03-10", "status": "open"}]}
    and, for Base B, any of "birth_date": "1953-01-01",
             "assets": [{"kind": "real_estate", "value_cents": 85000000, "since": "1990-01-01"}],
             "income": {"source": "pension", "since": "2018-01-01", "monthly_cents": 250000},
             and in address "housing": "own", "since": "2004-05-28"
    """  # noqa: D301
    from consumidor.local import operations  # noqa: PLC0415

    show(operations.load_people(home, file), as_json=as_json)


def _folder(_: click.Context, __: click.Parameter, to: str) -> str:
    """Refuse what would become a folder of that strange name, or the one that one stands in."""
    if not to.strip() or ("://" in to and not re.fullmatch(r"s3://[a-z0-9.-]+(/.*)?", to)):
        raise click.BadParameter("must be a folder or s3://bucket/prefix")
    return to


@main.command()
@click.option("--to", required=True, callback=_folder, help="A folder, or s3://bucket/prefix.")
@click.option("--scheduler", help="A Dask cluster, such as tcp://10.0.0.1:8786; else this machine.")
@home_option
@json_option
def extract(to: str, scheduler: str | None, home: Path, as_json: bool) -> None:
    """Extract Base B to partitioned Parquet.

    A second run continues where the first stopped. Readers of Parquet take the folder `data` in it as one table.

    \b
    Examples:
      consumidor extract --to ./base-b
      consumidor extract --to s3://bucket/base-b --scheduler tcp://10.0.0.1:8786
    """  # noqa: D301
    from consumidor.score import extraction  # noqa: PLC0415

    if "BASE_B_URI" not in os.environ:  # a running stack's Base B; a deployed job has it in its environment
        from consumidor.local.running import read_environment  # noqa: PLC0415

        os.environ |= read_environment(home).of("extract")
    show(extraction.extract_from_settings(Settings.from_env("extract"), to, scheduler, _notice), as_json=as_json)


def _notice(text: str) -> None:
    """On standard error, where it is in nobody's way."""
    click.echo(f"consumidor: {text}", err=True)


@main.group()
def dlq() -> None:
    """Look at dead letters and send them back."""


@dlq.command("list")
@click.argument("queue", type=click.Choice(["people-requests", "events-feed"]))
@home_option
@json_option
def dlq_list(queue: str, home: Path, as_json: bool) -> None:
    """The dead letters of QUEUE: reason, age and size, never their content.

    \b
    Example:
      consumidor dlq list people-requests
    """  # noqa: D301
    from consumidor.local import operations  # noqa: PLC0415

    letters = operations.list_dead_letters(home, queue)
    if letters or as_json:
        show(letters, as_json=as_json, title=f"Dead letters of {queue}")
    else:
        click.echo(f"no dead letters in {queue}")


@dlq.command("redrive")
@click.argument("queue", type=click.Choice(["people-requests", "events-feed"]))
@home_option
@json_option
def dlq_redrive(queue: str, home: Path, as_json: bool) -> None:
    """Send the dead letters of QUEUE back to it; each is deleted only once it is sent.

    \b
    Example:
      consumidor dlq redrive events-feed
    """  # noqa: D301
    from consumidor.local import operations  # noqa: PLC0415

    show(operations.redrive(home, queue), as_json=as_json)


@main.group()
def audit() -> None:
    """The inquiry log."""


@audit.command("verify")
@click.option("--bucket", help="Where the checkpoints are, for a deployed task: the rest from the settings of `migrate`.")
@home_option
@json_option
def audit_verify(bucket: str | None, home: Path, as_json: bool) -> None:
    """Recompute the inquiry log's hash chains and hold them against the checkpoints; exit 1 on any difference.

    \b
    Examples:
      consumidor audit verify
      consumidor audit verify --bucket CHECKPOINTS       deployed: the rest from the settings of `migrate`
    """  # noqa: D301
    if bucket is None:
        from consumidor.local import operations  # noqa: PLC0415

        result = operations.verify_audit(home)
    else:
        result = _verify_deployed(bucket)
    show(result, as_json=as_json, title="Inquiry log")
    if result["differences"]:
        raise CommandError(f"the inquiry log has {len(result['differences'])} differences")


def _verify_deployed(bucket: str) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    from consumidor import aws  # noqa: PLC0415
    from consumidor.people.audit import read_checkpoints, verify  # noqa: PLC0415

    settings = Settings.from_env("migrate")
    return asdict(verify(settings.base_a_owner_dsn, read_checkpoints(aws.client(settings, "s3"), bucket)))


@main.group()
def keys() -> None:
    """Keys of the running stack."""


@keys.command("rotate")
@click.argument("which", type=click.Choice(["token", "data"]), default="token")
@home_option
@json_option
def keys_rotate(which: str, home: Path, as_json: bool) -> None:
    """Rotate the issuer's token key (default), or Base A's data key for new rows; what the old key made stays good.

    \b
    Examples:
      consumidor keys rotate
      consumidor keys rotate data
    """  # noqa: D301
    from consumidor.local import operations  # noqa: PLC0415

    show(operations.rotate_keys(home, which), as_json=as_json)


@process
def api(settings: Settings) -> None:
    """The people API, as deployed: settings from the environment."""
    from consumidor import web  # noqa: PLC0415
    from consumidor.people.api import build_api  # noqa: PLC0415

    web.serve(build_api(settings), settings.host, settings.port)


@process
def worker(settings: Settings) -> None:
    """The people worker, as deployed."""
    from consumidor.people import worker as people_worker  # noqa: PLC0415

    people_worker.run(settings, people_worker.build_worker(settings))


@process
def score_api(settings: Settings) -> None:
    """The score service, as deployed."""
    from consumidor.score.api import serve  # noqa: PLC0415

    serve(settings)


@process
@json_option
def migrate(settings: Settings, as_json: bool) -> None:
    """Create or upgrade the bases that the settings name."""
    from consumidor.migrate import migrate_all  # noqa: PLC0415

    started = time.monotonic()
    show({"migrated": migrate_all(settings), "seconds": round(time.monotonic() - started, 1)}, as_json=as_json or not sys.stdout.isatty())


if __name__ == "__main__":
    main()
