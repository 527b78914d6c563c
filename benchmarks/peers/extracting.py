"""One extraction of Base B in a process of its own: `python -m benchmarks.peers.extracting MODE URI FOLDER`.

Of the modes (`ours`, `pandas`, `one-worker`, `two-workers`, `drain`) the peer is `pandas`, what one writes first: a cursor, a row of plain
values for each document, a DataFrame, one Parquet file. It holds the same columns. `drain` takes all documents from the server and looks
at none: nothing can be faster. Prints seconds, CPU seconds, rows, and peak memory over what the processes held once all was imported.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from pymongo import MongoClient

from consumidor.score.extraction import extract
from consumidor.score.records import ASSET_KINDS


def by_pandas(uri: str, folder: str) -> int:
    """Rows of a Parquet file made by way of a DataFrame."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri) as client:
        stored: Any = client.get_default_database()["scoredata"]
        frame = pd.DataFrame([_row(document) for document in stored.find()])
    frame.to_parquet(Path(folder) / "people.parquet", compression="zstd", index=False)
    return len(frame)


def _row(document: dict[str, Any]) -> dict[str, Any]:
    row = {"person": document["_id"], "birth_date": document.get("birth_date")}
    assets = document.get("assets")
    for kind in ASSET_KINDS:
        cents = None if assets is None else [asset["value_cents"] for asset in assets if asset["kind"] == kind]
        row[f"{kind}_count"] = None if cents is None else len(cents)
        row[f"{kind}_cents"] = None if cents is None else sum(cents)
    for part in ("address", "income"):
        row |= {f"{part}_{name}": value for name, value in document.get(part, {}).items()}
    return row


def drain(uri: str) -> int:
    """Rows that the server sent, as bytes."""
    with MongoClient[dict[str, Any]](uri) as client:
        stored: Any = client.get_default_database()["scoredata"]
        assert sum(map(len, stored.find_raw_batches()))
        return int(stored.estimated_document_count())


def by_cluster(uri: str, folder: str, workers: int) -> tuple[float, int, float]:
    """Seconds, rows and MiB of the workers together, on a Dask cluster of so many processes, one thread each; its start does not count."""
    from distributed import Client, LocalCluster  # noqa: PLC0415 - only here

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        cluster.wait_for_workers(workers, timeout=60)
        extract(uri, f"{folder}/warm", cluster.scheduler_address, progress=_silent, filters={"address.state": "none"})  # imports
        held = client.run(_mark)
        started = time.perf_counter()
        rows = extract(uri, f"{folder}/out", cluster.scheduler_address, progress=_silent)["rows"]
        took = time.perf_counter() - started
        return took, rows, sum(client.run(_memory_mib, "VmHWM").values()) - sum(held.values())


def _silent(_: int, __: int) -> None:
    pass


def _memory_mib(field: str) -> float:
    """Of this process: VmRSS now, or VmHWM, the most since the mark was reset (proc(5); getrusage would count the parent's)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def _mark() -> float:
    """MiB that this process holds now; the most it holds is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mib("VmRSS")


def main(mode: str, uri: str, folder: str) -> None:
    held, cpu, started = _mark(), time.process_time(), time.perf_counter()
    wall = peak = 0.0
    if mode == "pandas":
        rows = by_pandas(uri, folder)
    elif mode == "ours":
        rows = extract(uri, f"{folder}/out", progress=_silent)["rows"]
    elif mode == "drain":
        rows = drain(uri)
    else:
        wall, rows, peak = by_cluster(uri, folder, 1 if mode == "one-worker" else 2)
    took = {
        "wall": wall or time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "rows": rows,
        "peak_mib": peak or _memory_mib("VmHWM") - held,
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
