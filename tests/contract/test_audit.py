"""The audit on a real log: whatever its owner does to it shows."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any, LiteralString, NamedTuple

import boto3
import pytest
from moto import mock_aws

from consumidor.errors import DependencyDown
from consumidor.people.audit import Head, read_checkpoints, verify, write_checkpoint
from consumidor.people.store import PeopleStore
from tests.servers.aws import AwsServer
from tests.servers.postgres import BaseA


class Asked(NamedTuple):
    """A request as the worker hands it over."""

    request_id: str
    client: str
    person: str = "a" * 32
    purpose: str = "credit"


class Log(NamedTuple):
    """Base A with 10 rows of acme and 5 of globex in its log, and the heads the worker learned on the way."""

    base: BaseA
    heads: list[Head]

    def tamper(self, *statements: LiteralString) -> list[str]:
        """As the owner; then the differences the audit finds without any checkpoint."""
        with self.base.as_owner() as owner:
            for statement in statements:
                owner.execute(statement)
        return verify(self.base.owner_dsn, []).differences


@pytest.fixture
def log(base_a: BaseA) -> Log:
    """Five batches, logged as the worker does."""
    store = PeopleStore.connect(base_a.worker_dsn, threads=1)
    heads: list[Head] = []
    for _ in range(5):
        outcomes = store.inquire([Asked(str(uuid.uuid4()), client) for client in ("acme", "globex", "acme")])
        heads += {Head(outcome.client, outcome.position, outcome.hash) for outcome in outcomes}
    store.close()
    return Log(base_a, heads)


def test_an_honest_log_is_clean(log: Log) -> None:
    """SQL and Python compute the same hashes, and every head the worker was told is in the log."""
    audit = verify(log.base.owner_dsn, log.heads)
    assert (audit.rows, audit.clients, audit.checkpoints, audit.differences) == (15, 2, 10, [])


def test_an_empty_log_is_clean(base_a: BaseA) -> None:
    """Nothing asked yet is no difference."""
    assert verify(base_a.owner_dsn, []).differences == []


@pytest.mark.parametrize(
    "change",
    [
        "request_id = 'another'", "person = repeat('b', 32)", "purpose = 'own'", "at = at + interval '1 microsecond'",
        "hash = sha256('x')", "previous_hash = sha256('x')",
    ],
)  # fmt: skip
def test_an_altered_row_shows(log: Log, change: LiteralString) -> None:
    """Any column of any row, changed by as little as a microsecond."""
    differences = log.tamper("update inquiry_log set " + change + " where client = 'acme' and position = 4")
    assert "acme, row 4: was altered" in differences
    assert not any(difference.startswith("globex") for difference in differences)


def test_a_row_moved_to_another_client_shows_in_both_chains(log: Log) -> None:
    """The client is part of the hash."""
    differences = log.tamper("update inquiry_log set client = 'globex', position = 6 where client = 'acme' and position = 10")
    assert "globex, row 6: was altered" in differences
    assert "acme: the chain ends at row 9, its head is at 10" in differences


def test_a_missing_row_shows(log: Log) -> None:
    """A gap in the positions, named from where to where."""
    assert log.tamper("delete from inquiry_log where client = 'acme' and position in (4, 5)") == [
        "acme, row 6: rows 4 to 5 are missing before it"
    ]


def test_a_missing_row_shows_even_if_positions_are_closed_up(log: Log) -> None:
    """Renumbering after a deletion breaks the links."""
    differences = log.tamper(
        "delete from inquiry_log where client = 'acme' and position = 4",
        "alter table inquiry_log drop constraint inquiry_log_client_position_key",
        "update inquiry_log set position = position - 1 where client = 'acme' and position > 4",
        "update chain_head set position = 9 where client = 'acme'",
        "alter table inquiry_log add constraint inquiry_log_client_position_key unique (client, position)",
    )
    assert "acme, row 4: does not name the row before it" in differences


def test_reordered_rows_show(log: Log) -> None:
    """Two rows that change places, with links and hashes left as they were."""
    differences = log.tamper(
        "update inquiry_log set position = 1000 where client = 'acme' and position = 3",
        "update inquiry_log set position = 3 where client = 'acme' and position = 7",
        "update inquiry_log set position = 7 where client = 'acme' and position = 1000",
    )
    assert {"acme, row 3: was altered", "acme, row 7: was altered"} <= set(differences)


def test_a_cut_tail_shows_at_the_head(log: Log) -> None:
    """The last rows deleted: the chain no longer reaches its head."""
    differences = log.tamper("delete from inquiry_log where client = 'acme' and position > 8")
    assert differences == ["acme: the chain ends at row 8, its head is at 10"]


def test_a_tail_cut_with_its_head_shows_only_against_checkpoints(log: Log) -> None:
    """Someone who also mends the head leaves a perfect, shorter chain: that is what checkpoints are for."""
    unseen = log.tamper(
        "delete from inquiry_log where client = 'acme' and position > 8",
        """update chain_head as head set position = 8, hash = (
            select hash from inquiry_log as log where log.client = head.client and log.position = 8
        ) where client = 'acme'""",
    )
    assert unseen == []
    assert verify(log.base.owner_dsn, log.heads).differences == ["acme, row 10: is missing, a checkpoint has it"]


def test_a_whole_chain_gone_shows_only_against_checkpoints(log: Log) -> None:
    """A client wiped out of log and heads is still in the bucket."""
    unseen = log.tamper("delete from inquiry_log where client = 'globex'", "delete from chain_head where client = 'globex'")
    assert unseen == []
    lost = [f"globex, row {position}: is missing, a checkpoint has it" for position in range(1, 6)]
    assert set(lost) <= set(verify(log.base.owner_dsn, log.heads).differences)


def test_a_chain_computed_anew_shows_only_against_checkpoints(log: Log) -> None:
    """The owner rewrites who was asked about and recomputes every later hash: right in itself, and not what was written down."""
    unseen = log.tamper(
        """do $$
        declare link record; previous bytea := decode(repeat('00', 32), 'hex');
        begin
            for link in select * from inquiry_log where client = 'acme' order by position loop
                update inquiry_log set person = repeat('b', 32), previous_hash = previous,
                    hash = link_hash(previous, 'acme', link.request_id, repeat('b', 32), link.purpose, link.at, link.position)
                    where request_id = link.request_id returning hash into previous;
            end loop;
            update chain_head set hash = previous where client = 'acme';
        end $$"""
    )
    assert unseen == []
    differences = verify(log.base.owner_dsn, log.heads).differences
    assert differences == [f"acme, row {position}: is not what the checkpoint says" for position in (2, 4, 6, 8, 10)]


def test_a_lost_head_shows(log: Log) -> None:
    """A chain without its head row would start again at 1."""
    assert log.tamper("delete from chain_head where client = 'acme'") == ["acme: the chain ends at row 10, it has no head"]


def test_two_checkpoints_that_disagree_show(log: Log) -> None:
    """A database restored from an old backup and run on writes a second history: one of the two heads is not in the log."""
    forked = Head("acme", 4, bytes(32))
    assert verify(log.base.owner_dsn, [*log.heads, forked]).differences == ["acme, row 4: is not what the checkpoint says"]


def test_base_a_down_is_a_dependency_down() -> None:
    """No server is neither clean nor a difference."""
    with pytest.raises(DependencyDown):
        verify("postgresql://nobody:none@127.0.0.1:1/none", [])


@pytest.fixture(params=["moto", "ministack"])
def bucket(request: pytest.FixtureRequest) -> Iterator[tuple[Any, str]]:
    """An S3 client and a bucket with Object Lock, in process and on the emulator."""
    name = f"checkpoints-{uuid.uuid4().hex[:8]}"
    if request.param == "ministack":
        server: AwsServer = request.getfixturevalue("ministack")
        yield _locked(server.client("s3"), name), name
        return
    with mock_aws():
        yield _locked(boto3.client("s3", region_name="sa-east-1", aws_access_key_id="t", aws_secret_access_key="t"), name), name


def _locked(s3: Any, name: str) -> Any:
    here = {"LocationConstraint": s3.meta.region_name}
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True, CreateBucketConfiguration=here)
    return s3


def test_checkpoints_are_read_as_written_whatever_is_deleted_later(bucket: tuple[Any, str]) -> None:
    """Heads come back whole, more than a page of them, and a delete marker hides none."""
    s3, name = bucket
    heads = [Head("acme", position, position.to_bytes(32, "big")) for position in range(1, 6)] + [Head("globex", 10**12, bytes(32))]
    for head in heads:
        write_checkpoint(s3, name, {head.client: (head.position, head.hash)})
    s3.put_object(Bucket=name, Key="heads/not-a-checkpoint", Body=b"")
    s3.delete_object(Bucket=name, Key=f"heads/acme/{3:020}-{heads[2].hash.hex()}")
    assert sorted(read_checkpoints(s3, name)) == heads


def test_s3_down_is_a_dependency_down(bucket: tuple[Any, str]) -> None:
    """A bucket that is not there: retryable for the worker, no verdict for the audit."""
    s3, _ = bucket
    calls: list[Callable[[], object]] = [
        lambda: write_checkpoint(s3, "no-such-bucket", {"acme": (1, bytes(32))}),
        lambda: list(read_checkpoints(s3, "no-such-bucket")),
    ]
    for call in calls:
        with pytest.raises(DependencyDown, match="s3"):
            call()
