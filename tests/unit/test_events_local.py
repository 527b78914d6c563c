"""The local stand-ins of the events path: synthetic history, the mapping between queue and handler, the search's threads, the jars."""

import errno
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest

from consumidor import cpf
from consumidor.errors import CommandError, DependencyDown
from consumidor.events.model import read_event
from consumidor.local import elasticsearch, events_part, synthetic_events
from consumidor.local.elasticsearch import VERSION, cached_distribution, elasticsearch_server
from consumidor.local.events_feed import SourceMapping
from consumidor.local.synthetic_events import LONGEST, count_of, events, load_events
from tests.events_doubles import MemoryBaseC, settings

PERSON = "0" * 32


def test_synthetic_events_are_the_same_again() -> None:
    """A person's events depend on seed and index alone, are valid, distinct and in order of time."""
    made = list(events(1, 7, PERSON, 2026))
    assert made == list(events(1, 7, PERSON, 2026)) != list(events(2, 7, PERSON, 2026))
    assert [read_event(msgspec.json.encode(event), 2**41, cpf.parse) for event in made] == made
    assert sorted(event.occurred_at for event in made) == [event.occurred_at for event in made]
    assert len({event.event_id for event in made}) == len(made)


def test_history_has_a_long_tail() -> None:
    """Most people have a handful of events, a few have ten thousand, nobody has none."""
    counts = sorted(count_of(1, index) for index in range(10_000))
    assert counts[0] >= 1
    assert counts[5_000] <= 5
    assert counts.count(LONGEST) == 3


@pytest.mark.parametrize("per_item", [True, False])
def test_loading_waits_for_a_base_that_is_busy(monkeypatch: pytest.MonkeyPatch, per_item: bool) -> None:
    """A bulk that Base C refuses, whole or in part, is sent again a little later; one that it refuses every time is Base C down."""
    base_c, waits = MemoryBaseC(), []
    made = list(events(1, 0, PERSON, 2026))

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            base_c.down, base_c.busy = False, set()

    def trouble() -> None:
        waits.clear()
        base_c.down, base_c.busy = not per_item, {made[0].event_id} if per_item else set()

    def connected(*_: object) -> MemoryBaseC:
        return base_c

    monkeypatch.setattr(base_c, "close", lambda: None, raising=False)
    monkeypatch.setattr(synthetic_events, "BaseC", connected)
    monkeypatch.setattr(time, "sleep", wait)
    trouble()
    assert load_events("", made) == len(made) == len(base_c.events)
    assert len(waits) == 3
    monkeypatch.setattr(time, "sleep", lambda _: None)
    trouble()
    with pytest.raises(DependencyDown):
        load_events("", made)


class Queue:
    """Hands out one batch and remembers what is deleted of it."""

    def __init__(self, count: int) -> None:
        self.messages = [
            {"MessageId": f"m{n}", "ReceiptHandle": f"r{n}", "Body": f"body {n}", "Attributes": {"SenderId": "1"}} for n in range(count)
        ]
        self.deleted: list[str] = []

    def receive_message(self, **_: object) -> dict[str, Any]:
        """As SQS."""
        return {"Messages": self.messages}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803, ARG002 - boto3's names
        """As SQS."""
        self.deleted += [entry["ReceiptHandle"] for entry in Entries]
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


def test_failed_messages_stay_in_the_queue() -> None:
    """What the handler names as failed is not deleted; the rest is. The handler gets what AWS would give it."""
    queue, batches = Queue(3), []

    def handler(batch: Any, _: object) -> dict[str, Any]:
        batches.append(batch)
        return {"batchItemFailures": [{"itemIdentifier": "m1"}]}

    assert SourceMapping(queue, "url", handler).poll() == 2  # type: ignore[arg-type]  # a double of the two calls that are used
    assert queue.deleted == ["r0", "r2"]
    assert {name: batches[0]["Records"][0][name] for name in ("messageId", "body", "attributes")} == {
        "messageId": "m0",
        "body": "body 0",
        "attributes": {"SenderId": "1"},
    }


@pytest.mark.parametrize("fault", [DependencyDown("base_c"), RuntimeError()])
def test_when_the_handler_fails_polling_slows_down(fault: Exception) -> None:
    """Nothing is deleted, and the pause before the next poll grows up to ten seconds; a good batch ends it."""
    queue, faults = Queue(1), [fault] * 6

    def handler(_: object, __: object) -> dict[str, Any]:
        if faults:
            raise faults.pop()
        return {"batchItemFailures": []}

    mapping = SourceMapping(queue, "url", handler)  # type: ignore[arg-type]  # as above
    pauses = []
    for _ in range(7):
        mapping.poll()
        pauses.append(mapping.pause)
    assert pauses == [1, 2, 4, 8, 10, 10, 0]
    assert queue.deleted == ["r0"]


def test_searches_have_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many searches as there may be wait for Base C, and no thread of those that everything else shares is taken."""
    waiting, answer, default = threading.Semaphore(0), threading.Event(), []

    def handler(*_: object) -> dict[str, Any]:
        waiting.release()
        answer.wait(10)
        return {"statusCode": 200, "headers": {}, "body": "{}"}

    monkeypatch.setattr(events_part, "build_search", lambda *_: handler)
    search = events_part.build_part(settings("search")).operations[0].endpoint
    user = SimpleNamespace(client_id="x", scopes=())
    request: Any = SimpleNamespace(user=user, method="GET", url=SimpleNamespace(path="/v1/events", query=""))

    async def ask() -> None:
        await search(request)

    async def scenario() -> None:
        async with anyio.create_task_group() as searches:
            for _ in range(events_part.THREADS + 1):
                searches.start_soon(ask)
            for _ in range(events_part.THREADS):
                await anyio.to_thread.run_sync(waiting.acquire)
            default.append(anyio.to_thread.current_default_thread_limiter().borrowed_tokens)
            assert not waiting.acquire(blocking=False)
            answer.set()

    anyio.run(scenario)
    assert default == [0]


def _lay_out(scratch: Path) -> None:
    (scratch / "dist/lib").mkdir(parents=True)


def test_the_jars_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are fetched once for every home; a cache that has them is used though nothing could be written to it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(elasticsearch, "_lay_out", _lay_out)
    server = elasticsearch_server(tmp_path / "home", 1)
    place = tmp_path / "cache/consumidor" / f"elasticsearch-{VERSION}"
    assert str(place) in server.command
    monkeypatch.setattr(elasticsearch, "_can_keep", lambda _: False)
    assert cached_distribution(tmp_path / "other") == place


@pytest.mark.parametrize("fault", ["a file", "no user", "foreign"])
def test_without_a_cache_the_jars_lie_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str) -> None:
    """Where the user's cache is none that can be written, or not even read, the home has one of its own, from then on."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file") if fault == "a file" else "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(elasticsearch, "_lay_out", _lay_out)
    if fault == "no user":
        monkeypatch.setattr(Path, "home", _raise(RuntimeError("no home")))
    if fault == "foreign":
        monkeypatch.setattr(elasticsearch, "_can_keep", lambda _: False)
    place = tmp_path / "home/cache" / f"elasticsearch-{VERSION}"
    assert str(place) in elasticsearch_server(tmp_path / "home", 1).command
    assert place.is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "writable"))
    assert cached_distribution(tmp_path / "home") == place


@pytest.mark.parametrize(("home", "used"), [("file", "scratch"), ("", "scratch"), ("good", "good")])
def test_jars_are_fetched_without_a_home_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str, used: str) -> None:
    """What fetches the jars keeps them in the user's home as well; where it could not, it has another for as long as it works."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / home) if home else "")
    if not home:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(Path, "home", _raise(RuntimeError("no home")))
    before, seen = os.environ.get("HOME"), []

    def build(*_: object, **__: object) -> None:
        seen.append(os.environ["HOME"])
        raise ConnectionError

    monkeypatch.setitem(sys.modules, "jgo", SimpleNamespace(build=build))
    with pytest.raises(CommandError, match="could not be fetched from Maven Central"):
        elasticsearch.download(tmp_path / "cache/jars")
    assert (os.environ.get("HOME"), len(seen)) == (before, 1)
    assert (seen[0] == before) == (used == "good")


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EIO])
def test_jars_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    """What the system says against the folder is one line that names it, as `up` can show it and serve the other paths."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(elasticsearch, "_lay_out", _lay_out)
    monkeypatch.setattr(Path, "rename", _raise(OSError(number, os.strerror(number))))
    with pytest.raises(CommandError, match=f"jars cannot be kept in {tmp_path}/consumidor: {os.strerror(number)}"):
        elasticsearch_server(tmp_path / "home", 1)
    monkeypatch.setattr(elasticsearch, "_lay_out", _raise(OSError(number, os.strerror(number))))
    with pytest.raises(CommandError, match=f"jars could not be fetched from Maven Central into {tmp_path}/consumidor: .*{number}"):
        elasticsearch_server(tmp_path / "home", 1)
    assert [left.name for left in (tmp_path / "consumidor").iterdir()] == [".fetching"]


def test_who_comes_while_jars_are_fetched_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Several first starts at once fetch once, whole."""
    fetched: list[Path] = []

    def lay_out(scratch: Path) -> None:
        fetched.append(scratch)
        time.sleep(0.2)
        _lay_out(scratch)

    monkeypatch.setattr(elasticsearch, "_lay_out", lay_out)
    with ThreadPoolExecutor(4) as several:
        list(several.map(elasticsearch.download, [tmp_path / "jars"] * 4))
    assert len(fetched) == 1
    assert (tmp_path / "jars/lib").is_dir()


def _raise(error: Exception) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call
