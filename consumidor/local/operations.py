"""What an operator does to a running stack: dead letters, the audit, keys, people and events of one's own."""

import time
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.progress import Progress

from consumidor import cpf, queues
from consumidor.errors import CommandError, FieldError, InvalidInput
from consumidor.json_lines import first_of
from consumidor.local import credentials
from consumidor.local.aws import ACCOUNT, FEED_ACCOUNT, Aws
from consumidor.local.redrive import Senders, send_back
from consumidor.local.running import read_environment, read_stack
from consumidor.settings import senders

PEEK_SECONDS = 5  # a dead letter that was looked at is back after this at the latest
_QUEUES = {"people-requests": "people_requests", "events-feed": "events_feed"}


def _aws(home: Path) -> Aws:
    stack = read_stack(home)
    return Aws(stack["aws_endpoint_url"], stack["aws_region"], own_credentials=read_environment(home).own_credentials)


def list_dead_letters(home: Path, queue: str) -> list[dict[str, Any]]:
    """Reason, age, receives and bytes of each dead letter; never its content. They stay where they are."""
    sqs, url = _aws(home).sqs, read_stack(home)[f"{_QUEUES[queue]}_dlq"]
    letters: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + PEEK_SECONDS - 1
    while time.monotonic() < deadline and (received := queues.receive(sqs, url, visibility=PEEK_SECONDS)):
        for message in received:
            letters[message.receipt] = {
                "reason": message.attributes.get("reason", ""),
                "age_s": round(time.time() - message.sent_at),
                "bytes": len(message.body.encode()),
            }
    queues.change_visibility(sqs, url, dict.fromkeys(letters, 0))  # so that a redrive right after this finds them
    return list(letters.values())


def redrive(home: Path, queue: str) -> dict[str, int]:
    """Send dead letters back to their queue; how many were redriven, and how many are left.

    What stays has no content to be sent (a fingerprint), or an inquiry that nobody here may send in its sender's place.
    """
    stack, sqs = read_stack(home), _aws(home).sqs
    source, target = stack[f"{_QUEUES[queue]}_dlq"], stack[f"{_QUEUES[queue]}_queue"]
    choose = feed_senders(home).choose if queue == "events-feed" else lambda _: sqs
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"Redriving {queue}", total=queues.backlog(sqs, source))
        return send_back(sqs, source, target, choose, lambda count: progress.advance(bar, count))


def feed_senders(home: Path) -> Senders:
    """Who may send a dead letter of the feed again.

    Locally a sender that counts is one of our accounts, whose key anyone on this machine has; with the user's own credentials, all are
    sent by these.
    """
    environment, client = read_environment(home), cache(lambda account: _sqs(home, account))
    trusted = senders(environment.settings["INQUIRY_SENDERS"])
    if environment.own_credentials:
        me = _aws(home).inquiry_senders()
        return Senders(trusted, me, lambda _: (me, client("")))
    return Senders(trusted, FEED_ACCOUNT, lambda sender: (sender, client(sender)) if sender in trusted else (ACCOUNT, client("test")))


def _sqs(home: Path, account: str) -> Any:
    """SQS as one of the accounts of the local AWS; or as whoever the user is, where the AWS is theirs."""
    stack, own = read_stack(home), read_environment(home).own_credentials
    session: Any = boto3.Session() if own else boto3.Session(aws_access_key_id=account, aws_secret_access_key="test")  # noqa: S106
    return session.client("sqs", region_name=stack["aws_region"], endpoint_url=stack["aws_endpoint_url"])


def verify_audit(home: Path) -> dict[str, Any]:
    """The inquiry log's clients, rows and checkpoints checked, and every difference found (none: clean)."""
    from consumidor.people import audit  # noqa: PLC0415 - needs a database driver

    stack = read_stack(home)
    checkpoints = audit.read_checkpoints(_aws(home).s3, stack["audit_checkpoint_bucket"])
    return asdict(audit.verify(stack["base_a_dsn"], checkpoints))


def rotate_keys(home: Path, which: str) -> dict[str, str]:
    """Rotate the issuer's token key, or Base A's data key for new rows; what the old key made stays good."""
    if which == "token":
        return {"key": "token", "kid": credentials.rotate_keys(home)}
    from consumidor.people import vault  # noqa: PLC0415 - needs a database driver

    environment = read_environment(home).settings
    key = vault.rotate_data_key(read_stack(home)["base_a_dsn"], vault.Vault(_aws(home).kms, environment["BASE_A_KMS_KEY"]))
    return {"key": "data", "key_id": key.key_id}


def load_people(home: Path, file: Path) -> dict[str, int]:
    """Load a user's own people into Bases A and B.

    Raises:
        CommandError: names each wrong line and its fields; nothing is loaded then.
    """
    from consumidor.people import load, vault  # noqa: PLC0415 - needs a database driver
    from consumidor.score import loading  # noqa: PLC0415 - as above

    stack, settings = read_stack(home), read_environment(home).settings
    key = bytes.fromhex(settings["PSEUDONYM_KEY"])
    try:
        people, records = load.read_people(file), loading.read_people(file)  # each checks all of it before the first is written
    except InvalidInput:
        both = load.wrong_lines(file) + loading.wrong_lines(file)
        raise CommandError(f"{file}: nothing was loaded. {InvalidInput(first_of(_in_order(both)))}") from None
    seals = vault.Vault(_aws(home).kms, settings["BASE_A_KMS_KEY"])
    loaded = load.load(stack["base_a_dsn"], people, vault=seals, pseudonym_key=key)
    loading.load_base_b(stack["base_b_uri"], ((cpf.pseudonym(key, digits), record) for digits, record in records))
    return {"people": loaded}


def _in_order(wrong: list[FieldError]) -> list[FieldError]:
    """What both bases refuse, said once, line by line (`line 3: name`)."""
    once = {fault["field"]: fault for fault in reversed(wrong)}
    return sorted(once.values(), key=lambda fault: (int(fault["field"].split(":")[0].removeprefix("line ")), fault["field"]))


def publish_events(home: Path, file: Path) -> dict[str, int]:
    """Send a file of events to the feed queue, as an outside producer would.

    Raises:
        CommandError: lines that are wrong, by number and field; nothing is sent then.
    """
    from consumidor.events import producer  # noqa: PLC0415 - only here

    return {"events": producer.publish_file(file, _sqs(home, "test"), read_stack(home)["events_feed_queue"])}
