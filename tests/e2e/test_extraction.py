"""Base B to Parquet on real servers: what comes out, where to, by whom, and after a kill -9."""

import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumidor.errors import CommandError, DependencyDown
from consumidor.local.supervisor import free_port
from consumidor.local.synthetic import people
from consumidor.local.synthetic_credit import documents
from consumidor.score import extraction
from consumidor.score.columns import SCHEMA
from consumidor.score.extraction import extract
from consumidor.score.folder import Folder
from consumidor.score.loading import insert_base_b
from consumidor.score.records import ASSET_KINDS, Address, Asset, Record, document
from tests.servers.aws import AwsServer
from tests.servers.mongodb import BaseB

PEOPLE, PARTITIONS = 1200, 32
DAY = dt.date(2026, 11, 22)
NOTHING_KNOWN, NOTHING_OWNED, RICH = "00" * 16, "01" * 16, "02" * 16
CENTS = 2**53 - 1  # the validator's largest: more than a float keeps to the cent once three of them are added
STORED = [
    *documents(people(3, PEOPLE - 3, 2026), b"k" * 32, 3, DAY),
    document(NOTHING_KNOWN, Record()),
    document(NOTHING_OWNED, Record(assets=[], address=Address(state="AC"))),
    document(RICH, Record(birth_date=dt.date(1931, 5, 6), assets=[Asset("bonds", CENTS)] * 3)),
]


@pytest.fixture(scope="module")
def filled(mongodb_server: BaseB) -> Iterator[BaseB]:
    """A Base B of 1,200 people, three of them odd; only this module's tests use it meanwhile."""
    from consumidor.score.store import migrate_base_b  # noqa: PLC0415 - beside its use

    with mongodb_server.as_owner() as client:
        client["base_b"].drop_collection("scoredata")
        migrate_base_b(mongodb_server.owner_uri)
        insert_base_b(mongodb_server.owner_uri, STORED)
        yield mongodb_server


@pytest.fixture(scope="module")
def whole(filled: BaseB, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An extraction that nothing interrupted, with the readers' rights: its folder and its manifest."""
    to = tmp_path_factory.mktemp("extraction") / "made"
    return to, extract(filled.reader_uri, str(to), partitions=PARTITIONS)


def hashes(manifest: dict[str, Any]) -> dict[str, str]:
    """The sha256 of each file."""
    return {file["path"]: file["sha256"] for file in manifest["files"]}


def read(folder: Path) -> pd.DataFrame:
    """All of an extraction, as its users would read it."""
    rows = pd.read_parquet(folder / "data", dtype_backend="pyarrow").set_index("person")
    assert rows.index.is_unique
    return rows


def test_everyone_comes_out_once(whole: tuple[Path, dict[str, Any]]) -> None:
    """Each person is one row, under the pseudonym that is stored, in the file of their buckets."""
    to, manifest = whole
    assert manifest["rows"] == PEOPLE
    assert set(read(to).index) == {one["_id"] for one in STORED}
    for file in (to / "data").iterdir():
        _, first, last = file.stem.split("-")
        assert all(first <= person[:2] <= last for person in pq.read_table(file)["person"].to_pylist())


def test_the_values_are_those_stored(whole: tuple[Path, dict[str, Any]]) -> None:
    """Every column of every person is what plain Python makes of the document."""
    rows = read(whole[0]).astype(object).replace({pd.NA: None})
    for one in STORED:
        assert rows.loc[one["_id"]].to_dict() == expected(one)


def expected(stored: dict[str, Any]) -> dict[str, Any]:
    """A document flattened the slow way."""
    assets, day = stored.get("assets"), stored.get("birth_date")
    row: dict[str, Any] = {"birth_date": day and day.date()}
    for kind in ASSET_KINDS:
        values = None if assets is None else [asset["value_cents"] for asset in assets if asset["kind"] == kind]
        row |= {f"{kind}_count": None if values is None else len(values), f"{kind}_cents": None if values is None else sum(values)}
    for group, names in {
        "address": ["state", "city", "postal_code", "housing", "since"],
        "income": ["source", "since", "monthly_cents"],
    }.items():
        for name in names:
            value = stored.get(group, {}).get(name)
            row[f"{group}_{name}"] = value.date() if isinstance(value, dt.datetime) else value
    return row


def test_columns_are_typed(whole: tuple[Path, dict[str, Any]]) -> None:
    """Every file has the one schema, dates as dates and cents as whole numbers, even where a bucket holds nobody."""
    for file in (whole[0] / "data").iterdir():
        assert pq.read_schema(file) == SCHEMA
    assert SCHEMA.field("birth_date").type == pa.date32()
    assert SCHEMA.field("bonds_cents").type == pa.int64()


def test_the_manifest_tells_all(whole: tuple[Path, dict[str, Any]], filled: BaseB) -> None:
    """Rows, bytes and sha256 of each file are the files' own; source and schema are named, the password is not."""
    to, manifest = whole
    assert json.loads((to / "manifest.json").read_text()) == manifest
    assert len(manifest["files"]) == PARTITIONS
    for entry in manifest["files"]:
        content = (to / entry["path"]).read_bytes()
        rows = pq.read_metadata(to / entry["path"]).num_rows
        assert entry == entry | {"rows": rows, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert manifest["source"].endswith("/base_b.scoredata")
    assert manifest["schema"]["income_since"] == "date32[day]"
    password = filled.reader_uri.partition("@")[0].rpartition(":")[2]
    assert password not in (to / "manifest.json").read_text() + (to / "job.json").read_text()


def test_a_finished_one_is_left_alone(whole: tuple[Path, dict[str, Any]], filled: BaseB) -> None:
    """A second run answers with the manifest that is there, and says so."""
    told: list[str] = []
    assert extract(filled.reader_uri, str(whole[0]), notice=told.append) == whole[1]
    completed_at = whole[1]["completed_at"]
    assert told == [f"{whole[0]} is complete since {completed_at} and was left as it is; another folder makes it anew"]


def test_killed_and_continued(whole: tuple[Path, dict[str, Any]], filled: BaseB, tmp_path: Path) -> None:
    """After a kill -9 in the middle, the next run makes only what is missing, and every file is as if nothing had happened."""
    begin = f"from consumidor.score.extraction import extract; extract({filled.reader_uri!r}, {str(tmp_path)!r}, partitions={PARTITIONS})"
    process = subprocess.Popen([sys.executable, "-c", begin])
    data = tmp_path / "data"
    deadline = time.monotonic() + 60
    while len(list(data.glob("*.parquet"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {file.name: file.stat().st_mtime_ns for file in data.glob("*.parquet")}
    assert 5 <= len(before) < PARTITIONS
    assert not (tmp_path / "manifest.json").exists()
    (data / ".buckets-f8-ff.parquet.1").write_bytes(b"half a file, left by the kill")

    command = [sys.executable, "-m", "consumidor.cli", "extract", "--json", "--to", str(tmp_path)]
    environment = {**os.environ, "ENVIRONMENT": "tst", "AWS_REGION": "sa-east-1", "BASE_B_URI": filled.reader_uri}
    summary = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert (summary["rows"], summary["files"]) == (PEOPLE, PARTITIONS)
    assert hashes(json.loads((tmp_path / "manifest.json").read_text())) == hashes(whole[1])
    assert {name: (data / name).stat().st_mtime_ns for name in before} == before
    assert {file.name for file in data.iterdir()} == {Path(path).name for path in hashes(whole[1])}


@pytest.mark.parametrize(("in_a_bucket", "wanted"), [(0, 1), (7, 1), (8, 2), (39, 8), (781, 128), (2048, 256)])
def test_partitions_by_size(in_a_bucket: int, wanted: int) -> None:
    """A small base makes few files, and none makes more than there are buckets."""
    collection = SimpleNamespace(count_documents=lambda _, limit: min(in_a_bucket, limit))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "_CLIENTS", SimpleNamespace(collection=lambda _: collection))
        assert extraction._partitions(extraction.Job("mongodb://x/y", Folder.at("."), None, {})) == wanted


def test_columns_and_filters(filled: BaseB, tmp_path: Path) -> None:
    """Only the columns asked for, of those the filter picks; and progress is told of each partition."""
    told: list[tuple[int, int]] = []
    manifest = extract(
        filled.reader_uri, str(tmp_path), columns=["income_source", "person", "bonds_cents"], filters={"address.state": "SP"},
        progress=lambda done, total: told.append((done, total)), partitions=PARTITIONS,
    )  # fmt: skip
    rows = read(tmp_path)
    chosen = {one["_id"]: one for one in STORED if one.get("address", {}).get("state") == "SP"}
    assert set(rows.index) == set(chosen)
    assert list(rows.columns) == ["bonds_cents", "income_source"]
    assert manifest["filters"] == {"address.state": "SP"}
    assert told == [(number, PARTITIONS) for number in range(1, PARTITIONS + 1)]
    assert rows["income_source"].to_dict() == {person: one["income"]["source"] for person, one in chosen.items()}


def test_filters_with_dates_and_tuples_are_continued(filled: BaseB, tmp_path: Path) -> None:
    """Those that JSON has no kind for pick whom they should, and a run that stopped before its manifest is taken up again."""
    filters = {"birth_date": {"$lt": dt.datetime(1980, 1, 1, tzinfo=dt.UTC)}, "address.state": {"$in": ("SP", "RJ")}}
    manifest = extract(filled.reader_uri, str(tmp_path), filters=filters, partitions=1)
    before = dt.datetime(1980, 1, 1)  # noqa: DTZ001 - as Base B's own come out
    chosen = {
        one["_id"] for one in STORED
        if one.get("address", {}).get("state") in ("SP", "RJ") and one["birth_date"].replace(tzinfo=None) < before
    }  # fmt: skip
    assert set(read(tmp_path).index) == chosen
    (tmp_path / "manifest.json").unlink()
    again = extract(filled.reader_uri, str(tmp_path), filters=filters)
    assert again | {"completed_at": ""} == manifest | {"completed_at": ""}
    with pytest.raises(CommandError, match="another filters"):
        extract(filled.reader_uri, str(tmp_path), filters=filters | {"address.state": {"$in": ("SP",)}})


def test_one_partition_is_everyone(filled: BaseB, tmp_path: Path) -> None:
    """A single file, read without a word of buckets, has all people."""
    manifest = extract(filled.reader_uri, str(tmp_path), partitions=1)
    assert [file["path"] for file in manifest["files"]] == ["data/buckets-00-ff.parquet"]
    assert set(read(tmp_path).index) == {one["_id"] for one in STORED}


def test_to_s3(whole: tuple[Path, dict[str, Any]], filled: BaseB, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files, byte for byte, as objects under a prefix."""
    s3 = ministack.client("s3")
    s3.create_bucket(Bucket="extractions", CreateBucketConfiguration={"LocationConstraint": "sa-east-1"})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    manifest = extract(
        filled.reader_uri, "s3://extractions/base-b/today/", partitions=PARTITIONS, endpoint=ministack.endpoint, region="sa-east-1"
    )
    assert hashes(manifest) == hashes(whole[1])
    content = s3.get_object(Bucket="extractions", Key="base-b/today/data/buckets-00-07.parquet")["Body"].read()
    assert hashlib.sha256(content).hexdigest() == hashes(manifest)["data/buckets-00-07.parquet"]
    assert json.loads(s3.get_object(Bucket="extractions", Key="base-b/today/manifest.json")["Body"].read()) == manifest


def test_on_a_cluster(whole: tuple[Path, dict[str, Any]], filled: BaseB, tmp_path: Path) -> None:
    """A Dask cluster, found by its scheduler's address, makes the same files."""
    from distributed import LocalCluster  # noqa: PLC0415 - slow to import

    told: list[int] = []
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0", host="127.0.0.1") as cluster:
        address = cluster.scheduler_address
        manifest = extract(
            filled.reader_uri, str(tmp_path), scheduler=address, partitions=PARTITIONS, progress=lambda done, _: told.append(done)
        )
    assert address.startswith("tcp://")
    assert hashes(manifest) == hashes(whole[1])
    assert told == list(range(1, PARTITIONS + 1))


@pytest.mark.parametrize(("wanted", "reason"), [
    ({"columns": ["income_source"]}, "holds an extraction with another schema"),
    ({"filters": {"address.state": "SP"}}, "holds an extraction with another filters"),
    ({"filters": {"bucket": 1}}, "cannot name bucket"),
    ({"partitions": 3}, "must be a power of two"),
    ({"columns": ["person", "cpf"]}, "has no column cpf"),
    ({"columns": []}, "needs a column at least"),
    ({"scheduler": "tcp://127.0.0.1:1"}, "no Dask scheduler answers at tcp://127.0.0.1:1"),
])  # fmt: skip
def test_what_is_refused(whole: tuple[Path, dict[str, Any]], filled: BaseB, tmp_path: Path, wanted: dict[str, Any], reason: str) -> None:
    """One line that names what is wrong, and nothing of another extraction is touched."""
    to = str(tmp_path) if "scheduler" in wanted else str(whole[0])
    with pytest.raises(CommandError, match=reason):
        extract(filled.reader_uri, to, **wanted)


def test_a_place_that_cannot_be_written_to(filled: BaseB, tmp_path: Path) -> None:
    """A file in the way is one clear line."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(CommandError, match="cannot be written to"):
        extract(filled.reader_uri, str(tmp_path / "taken"))


def test_base_b_is_not_there(tmp_path: Path) -> None:
    """DependencyDown; what was begun may be continued."""
    with pytest.raises(DependencyDown, match="base_b"):
        extract(f"mongodb://127.0.0.1:{free_port()}/base_b", str(tmp_path))
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("wrong", [{"filters": {"$wrong": 1}}, {"password": "wrong"}])
def test_base_b_refuses(filled: BaseB, tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A filter it does not know, or a login: its code and not its words, which may quote the filter; it is not said to be down."""
    uri = filled.reader_uri.replace("base_b_reader:", "base_b_reader:x") if "password" in wrong else filled.reader_uri
    with pytest.raises(CommandError, match=r"^Base B refuses: code \d+$"):
        extract(uri, str(tmp_path), filters=wrong.get("filters"), partitions=1)
