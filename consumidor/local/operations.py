"""What an operator does to a running stack: dead letters, the audit, keys, people and events of one's own."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.progress import Progress

from consumidor import cpf, queues
from consumidor.errors import DependencyDown
from consumidor.local import credentials
from consumidor.local.aws import Aws
from consumidor.local.running import read_environment, read_stack

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
    """Send every dead letter back to its queue, then delete it; a stop in between repeats a message and loses none.

    Receive, send and delete, since the local AWS has no StartMessageMoveTask.
    """
    stack, sqs = read_stack(home), _aws(home).sqs
    source, target = stack[f"{_QUEUES[queue]}_dlq"], stack[f"{_QUEUES[queue]}_queue"]
    total = queues.backlog(sqs, source) or 0
    moved = 0
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"Redriving {queue}", total=total)
        while moved < total and (received := queues.receive(sqs, source)):
            letters = [queues.Outgoing(message.body, _without_reason(message.attributes)) for message in received]
            failures = queues.send(sqs, target, letters)
            sent = [message.receipt for message, failed in zip(received, failures, strict=True) if failed is None]
            queues.delete(sqs, source, sent)
            moved += len(sent)
            progress.advance(bar, len(sent))
            if len(sent) < len(received):
                raise DependencyDown("sqs")
    return {"redriven": moved}


def _without_reason(attributes: Any) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if name != "reason"}


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
        InvalidInput: names each wrong line and its field; nothing is loaded then.
    """
    from consumidor.people import load, vault  # noqa: PLC0415 - needs a database driver
    from consumidor.score import loading  # noqa: PLC0415 - as above

    stack, settings = read_stack(home), read_environment(home).settings
    key = bytes.fromhex(settings["PSEUDONYM_KEY"])
    people, records = load.read_people(file), loading.read_people(file)  # each checks all of it before the first is written
    seals = vault.Vault(_aws(home).kms, settings["BASE_A_KMS_KEY"])
    loaded = load.load(stack["base_a_dsn"], people, vault=seals, pseudonym_key=key)
    loading.load_base_b(stack["base_b_uri"], ((cpf.pseudonym(key, digits), record) for digits, record in records))
    return {"people": loaded}


def publish_events(home: Path, file: Path) -> dict[str, int]:
    """Send a file of events to the feed queue, as an outside producer would.

    Raises:
        CommandError: lines that are wrong, by number and field; nothing is sent then.
    """
    from consumidor.events import producer  # noqa: PLC0415 - only here

    stack = read_stack(home)
    own = read_environment(home).own_credentials
    session: Any = boto3.Session() if own else boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")  # noqa: S106
    sqs = session.client("sqs", region_name=stack["aws_region"], endpoint_url=stack["aws_endpoint_url"])
    return {"events": producer.publish_file(file, sqs, stack["events_feed_queue"])}
