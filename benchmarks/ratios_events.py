"""The events path in ratios: each figure beside the same work done without us, both sides interleaved in one run, medians.

python benchmarks/ratios_events.py [search] [imports] [feed] [exact] [size]      all of them by default, on a node of its own
"""

import functools
import itertools
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import elasticsearch
import msgspec
import urllib3
from elasticsearch import helpers

from consumidor import cpf
from consumidor.events import base_c
from consumidor.events.feed import build_feed
from consumidor.events.index import migrate_base_c
from consumidor.events.model import Event, history_id, latest_id, latest_version
from consumidor.events.producer import pack
from consumidor.events.search import build_search
from consumidor.local import synthetic_events
from consumidor.local.elasticsearch import elasticsearch_server
from consumidor.local.supervisor import Supervisor, free_port
from consumidor.settings import Settings

KEY = "ab" * 32
CPF = "46509208172"
PERSON = cpf.pseudonym(bytes.fromhex(KEY), CPF)
ROOT = Path(__file__).resolve().parent.parent
REPETITIONS = 5


@contextmanager
def node() -> Iterator[str]:
    """A real Elasticsearch of our own, with empty indices."""
    with tempfile.TemporaryDirectory() as home:
        supervisor, port = Supervisor(Path(home), announce=print), free_port()
        try:
            supervisor.start(elasticsearch_server(Path(home), port))
            yield f"http://127.0.0.1:{port}"
        finally:
            supervisor.stop()


def settings(process: str, url: str) -> Settings:
    return Settings.from_env(process, {
        "ENVIRONMENT": "dev", "AWS_REGION": "sa-east-1", "BASE_C_URL": url, "EVENTS_FEED_DLQ_URL": "http://127.0.0.1/none",
        "INQUIRY_SENDERS": "1", "PSEUDONYM_KEY": KEY, "CLIENTS": '{"acme":"acme"}'})  # fmt: skip


def empty(url: str) -> None:
    """Both indices anew."""
    for name in ("events-v1", "latest-v1"):
        urllib3.request("DELETE", f"{url}/{name}")
    migrate_base_c(url)


def refresh(url: str) -> None:
    urllib3.request("POST", f"{url}/events,latest/_refresh")


def random_events(count: int, people: int = 2_000) -> list[Event]:
    """Events of synthetic people in no order, ids unique."""
    generated = (event for index in itertools.count(3) for event in synthetic_events.events(7, index, f"{index % people:032x}", 2026))
    chosen = list(itertools.islice(generated, count))
    random.Random(1).shuffle(chosen)
    return chosen


def request(path: str, query: str) -> dict[str, object]:
    claims = {"client_id": "acme", "scope": "consumidor/events.read"}
    return {"rawPath": path, "rawQueryString": query, "requestContext": {"authorizer": {"jwt": {"claims": claims}}}}


def percentiles(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms"


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def recorded(url: str, path: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """The handler's call, and the very request it makes, sent again by urllib3 over keep-alive."""
    searcher = base_c.BaseC(url, 5)
    sent: list[tuple[str, bytes]] = []
    original = searcher.request

    def spy(method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        sent.append((target, body or b""))
        return original(method, target, body)

    searcher.request = spy  # type: ignore[assignment, method-assign]  # once, to learn the request
    query = request(path, f"cpf={CPF}")
    build_search(settings("search", url), searcher)(query, None)
    handler = build_search(settings("search", url))
    pool = urllib3.PoolManager()
    headers = {"content-type": "application/json", "accept": "application/json"}
    ((target, body),) = sent
    return lambda: handler(query, None), lambda: pool.request("POST", url + target, body=body, headers=headers).json()


def search(url: str, rounds: int = 2_000) -> None:
    """Handler against the same request by urllib3, in turns."""
    for path in ("/v1/events/latest", "/v1/events"):
        ours, raw = recorded(url, path)
        for _ in range(300):
            ours(), raw()
        ratios: list[float] = []
        all_ours: list[float] = []
        all_raw: list[float] = []
        for _ in range(REPETITIONS):
            mine, bare = zip(*((timed(ours), timed(raw)) for _ in range(rounds // REPETITIONS)), strict=True)
            ratios.append(statistics.median(mine) / statistics.median(bare))
            all_ours += mine
            all_raw += bare
        print(f"search {path}: handler {percentiles(all_ours)}; raw {percentiles(all_raw)}; p50 ratio {statistics.median(ratios):.3f}")


def imports() -> None:
    """CPU time of the packaged search Lambda's imports against the naive three: in this environment, and installed by themselves."""
    with tempfile.TemporaryDirectory() as scratch:
        pip = ("-m", "pip", "install", "-q", "--target", f"{scratch}/alone", "-c", str(ROOT / "constraints.txt"))
        python(str(ROOT / "infra_pulumi/lambdas.py"), "--to", scratch)
        python("-m", "zipfile", "-e", f"{scratch}/consumidor_search.zip", f"{scratch}/search")
        python(*pip, "elasticsearch", "pyjwt[crypto]", "boto3")
        folders = {"here": next(path for path in sys.path if path.endswith("site-packages")), "alone": f"{scratch}/alone"}
        seconds: dict[str, list[float]] = {"search": [], "here": [], "alone": []}
        for _ in range(9):
            seconds["search"].append(cpu("consumidor.events.search", f"{scratch}/search"))
            for name, folder in folders.items():
                seconds[name].append(cpu("elasticsearch, jwt, boto3", folder))
    ours = statistics.median(seconds["search"])
    others = ((name, statistics.median(seconds[name])) for name in folders)
    print(f"imports: search {ours * 1000:.0f} ms; " + ", ".join(f"naive {name} {s * 1000:.0f} ms ({ours / s:.2f}x)" for name, s in others))


def python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, capture_output=True, text=True).stdout


def cpu(modules: str, path: str) -> float:
    code = "import sys, time; sys.path.insert(0, sys.argv[1]); start = time.process_time(); import {}; print(time.process_time() - start)"
    return float(python("-I", "-S", "-c", code.format(modules), path))


def records(events: list[Event]) -> list[dict[str, object]]:
    return [{"messageId": str(number), "body": body, "attributes": {"SenderId": "1"}} for number, body in enumerate(pack(events))]


def feed_all(url: str, events: list[Event]) -> None:
    """Through the feed handler, ten messages a batch, as the mapping delivers them."""
    handler = build_feed(settings("feed", url))
    messages = records(events)
    for start in range(0, len(messages), 10):
        assert handler({"Records": messages[start : start + 10]}, None) == {"batchItemFailures": []}


def actions(events: list[Event]) -> Iterator[dict[str, object]]:
    """The feed's actions as helpers.bulk takes them."""
    for event in events:
        common = {"routing": event.person, "_source": json.loads(msgspec.json.encode(event))}
        yield {"_op_type": "create", "_index": "events", "_id": history_id(event.person, event.event_id), **common}
        version = {"version": latest_version(event.event_id, event.occurred_at), "version_type": "external_gte"}
        yield {"_op_type": "index", "_index": "latest", "_id": latest_id(event.person, event.kind), **common, **version}


def bulk_all(url: str, events: list[Event]) -> None:
    """The same actions by the official client's helpers.bulk, in batches of the same size."""
    client = elasticsearch.Elasticsearch(url)
    helpers.bulk(client, actions(events), chunk_size=2_000, max_chunk_bytes=100 * 2**20, raise_on_error=False)
    client.close()


def feed(url: str, count: int = 10_000) -> None:
    """Events a second through the handler and by helpers.bulk, on fresh indices each time, in turns."""
    events = random_events(count)
    ways: dict[str, Callable[[str, list[Event]], None]] = {"handler": feed_all, "helpers.bulk": bulk_all}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    feed_all(url, events)  # warms the node
    for _ in range(REPETITIONS):
        for name, run in ways.items():
            empty(url)
            started = time.perf_counter()
            run(url, events)
            speeds[name].append(count / (time.perf_counter() - started))
    ratio = statistics.median(ours / theirs for ours, theirs in zip(*speeds.values(), strict=True))
    print("feed: " + ", ".join(f"{name} {statistics.median(each):,.0f} events/s" for name, each in speeds.items()) + f"; ratio {ratio:.2f}")


def state(url: str) -> dict[str, list[tuple[str, str]]]:
    """Everything in both indices, by id."""
    refresh(url)
    client = elasticsearch.Elasticsearch(url, request_timeout=60)
    found = {}
    for index in ("events", "latest"):
        hits = helpers.scan(client, index=index, size=5_000)
        found[index] = sorted((hit["_id"], json.dumps(hit["_source"], sort_keys=True)) for hit in hits)
    client.close()
    return found


def exact(url: str, count: int = 100_000) -> None:
    """Each event twice in random order against once in order of time."""
    once = sorted(random_events(count), key=lambda event: event.occurred_at)
    empty(url)
    feed_all(url, once)
    wanted = state(url)
    twice = once * 2
    random.Random(2).shuffle(twice)
    empty(url)
    seconds = timed(lambda: feed_all(url, twice))
    got = state(url)
    sizes = ", ".join(f"{len(documents):,} in {index}" for index, documents in got.items())
    print(f"exact: {len(twice):,} deliveries in {seconds:.1f} s leave {sizes}; the same as once in order: {got == wanted}")
    assert got == wanted


def size(url: str, sizes: tuple[int, ...] = (10_000, 1_000_000)) -> None:
    """p50 of latest and of a page at both sizes."""
    empty(url)
    filled, source = 0, (event for index in itertools.count(3) for event in synthetic_events.events(9, index, f"{index:032x}", 2026))
    synthetic_events.load_events(url, list(synthetic_events.events(9, 1_999, PERSON, 2026))[:200])
    medians: dict[str, list[float]] = {"/v1/events/latest": [], "/v1/events": []}
    handler = build_search(settings("search", url))
    for wanted in sizes:
        filled += synthetic_events.load_events(url, itertools.islice(source, wanted - filled))
        refresh(url)
        time.sleep(5)  # what merges are still under way
        for path, found in medians.items():
            asked = request(path, f"cpf={CPF}")
            found.append(statistics.median([timed(functools.partial(handler, asked, None)) for _ in range(1_500)][300:]))
    for path, found in medians.items():
        at = ", ".join(f"p50 {seconds * 1000:.2f} ms at {count:,} events" for count, seconds in zip(sizes, found, strict=True))
        print(f"size {path}: {at}; ratio {found[-1] / found[0]:.2f}")


def main(chosen: list[str]) -> None:
    print(f"# {platform.platform()}, Python {platform.python_version()}, Elasticsearch on the same machine")
    if "imports" in chosen:
        imports()
    with node() as url:
        migrate_base_c(url)
        if "search" in chosen:
            synthetic_events.load_events(url, random_events(10_000))
            synthetic_events.load_events(url, list(synthetic_events.events(9, 1_999, PERSON, 2026))[:200])
            refresh(url)
            search(url)
        for run in (feed, exact, size):
            if run.__name__ in chosen:
                run(url)


if __name__ == "__main__":
    main(sys.argv[1:] or ["imports", "search", "feed", "exact", "size"])
