"""The events path in ratios: feed and search against the same requests without us, the Lambda's imports against the usual ones.

python -m benchmarks.ratios_events     each of 100,000 events twice, in random order, against once in order of time
"""

import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import elasticsearch
import msgspec
import urllib3
from elasticsearch import helpers

from benchmarks.measure import REPETITIONS, ROOT, Figure, Took, Way, in_turns, microseconds, ratio, spread, timed
from benchmarks.stack import Place
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


def seconds(call: Callable[[], object]) -> float:
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


def search_ratio(_: Place, rounds: int = 400) -> Iterator[Figure]:
    """The p50 of the handler over that of its own request sent by urllib3, call by call in turns."""
    with node() as url:
        migrate_base_c(url)
        synthetic_events.load_events(url, random_events(10_000))
        synthetic_events.load_events(url, list(synthetic_events.events(9, 1_999, PERSON, 2026))[:200])
        refresh(url)
        for name, path in (("latest-raw", "/v1/events/latest"), ("search-raw", "/v1/events")):
            ours, raw = recorded(url, path)
            for _warm in range(rounds):
                ours(), raw()
            turns = [[(seconds(ours), seconds(raw)) for _call in range(rounds)] for _turn in range(REPETITIONS)]
            medians = [[statistics.median(side) for side in zip(*turn, strict=True)] for turn in turns]
            slowest = [[statistics.quantiles(side, n=100)[98] for side in zip(*turn, strict=True)] for turn in turns]
            beside = _named("p50", medians) | _named("p99", slowest)
            yield Figure(name, spread(mine / bare for mine, bare in medians), "x", beside)


def _named(figure: str, turns: list[list[float]]) -> dict[str, float]:
    """The median over the turns of each side, in microseconds."""
    return dict(zip((f"handler_{figure}_us", f"urllib3_{figure}_us"), _microseconds(*zip(*turns, strict=True)), strict=True))


def _microseconds(*sides: Iterable[float]) -> list[float]:
    return [round(statistics.median(side) * 1e6) for side in sides]


def imports_ratio(_: Place) -> Iterator[Figure]:
    """CPU time of the packaged search Lambda's imports over that of the naive three, which are installed by themselves too."""
    with tempfile.TemporaryDirectory() as scratch:
        pip = ("-m", "pip", "install", "-q", "--target", f"{scratch}/alone", "-c", str(ROOT / "constraints.txt"))
        python(str(ROOT / "infra_pulumi/lambdas.py"), "--to", scratch)
        python("-m", "zipfile", "-e", f"{scratch}/consumidor_search.zip", f"{scratch}/search")
        python(*pip, "elasticsearch", "pyjwt[crypto]", "boto3")
        sides = {"search": ("consumidor.events.search", f"{scratch}/search"), "naive": ("elasticsearch, jwt, boto3", f"{scratch}/alone")}
        for side in sides.values():
            cpu(*side)  # compiles and warms the disk's cache
        turns = [[cpu(*side) for side in sides.values()] for _ in range(9)]
    beside = dict(zip(("search_us", "naive_us"), _microseconds(*zip(*turns, strict=True)), strict=True))
    yield Figure("search-imports", spread(ours / naive for ours, naive in turns), "x", beside)


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


def raw_all(url: str, bodies: list[bytes]) -> None:
    """The very bodies that the handler sends, by urllib3."""
    pool = urllib3.PoolManager()
    for body in bodies:
        answer = pool.request("POST", f"{url}/_bulk?require_alias=true", body=body, headers={"content-type": "application/x-ndjson"})
        assert answer.status == 200


def feed_ratio(_: Place, count: int = 5_000) -> Iterator[Figure]:
    """Events a second through the handler, by one raw bulk after the other, and by helpers.bulk, each time into fresh indices."""
    events = random_events(count)
    bodies = [base_c.bulk_body(events[start : start + 1_000]) for start in range(0, count, 1_000)]
    with node() as url:

        def way(run: Callable[[], None]) -> Way:
            def work() -> int:
                run()
                return count

            def once() -> Took:
                empty(url)
                return timed(work)

            return once

        took = in_turns({
            "handler": way(lambda: feed_all(url, events)),
            "bulk": way(lambda: raw_all(url, bodies)),
            "helpers": way(lambda: bulk_all(url, events)),
        })  # fmt: skip
    beside = {f"{name}_events_per_s": round(1e6 / microseconds(each)) for name, each in took.items()}
    yield Figure("feed-bulk", ratio(took["bulk"], took["handler"]), "x", beside)
    yield Figure("feed-helpers", ratio(took["helpers"], took["handler"]), "x", beside)


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
    took = seconds(lambda: feed_all(url, twice))
    got = state(url)
    sizes = ", ".join(f"{len(documents):,} in {index}" for index, documents in got.items())
    print(f"exact: {len(twice):,} deliveries in {took:.1f} s leave {sizes}; the same as once in order: {got == wanted}")
    assert got == wanted


if __name__ == "__main__":
    with node() as own:
        exact(own)
