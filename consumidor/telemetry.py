"""Logs as JSON lines (pretty in a terminal), metrics for Prometheus; neither ever holds a CPF or a token.

Nothing is logged that names a person in the first place; `mask` is the net below that.
"""

import logging
import os
import re
import secrets
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from random import getrandbits
from typing import Any

import msgspec
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, multiprocess

from consumidor import cpf

_TOKEN = re.compile(r"[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")
_NOISY = ("boto3", "botocore", "urllib3", "elastic_transport", "pymongo", "psycopg", "uvicorn.access")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_PREFIX = "consumidor_"
EMF_SECONDS = 60.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

HTTP_SECONDS = Histogram("consumidor_http_seconds", "Time to answer", ["route", "method"], buckets=_SECONDS)
HTTP_REQUESTS = Counter("consumidor_http_requests_total", "Answers by status", ["route", "method", "status"])
TOKENS = Counter("consumidor_tokens_total", "Tokens accepted: remembered from before (hit), or verified now (miss)", ["cache"])


def mask(text: str) -> str:
    """The text without anything that has the shape of a CPF or a token."""
    return _TOKEN.sub("[token]", cpf.mask(text))


def _mask_values(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if type(value) is str and len(value) > 10:
            event[key] = mask(value)
    return event


def configure_logging(environment: str) -> None:
    """Log to standard output: JSON lines, or coloured where a person looks on. HTTP clients' own lines only from warning on."""
    del environment  # one format everywhere; what differs is whether a terminal is there
    pretty = sys.stdout.isatty()
    renderer = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(serializer=_json)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_values,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory() if pretty else structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[
        structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]))  # fmt: skip
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _json(event: object, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def trace_id(traceparent: str | None) -> str:
    """The trace id of a W3C `traceparent`, or a new one where there is none (w3.org/TR/trace-context)."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return match.group(1) if match else f"{getrandbits(128):032x}"


def is_traceparent(text: str) -> bool:
    """Whether this is one, so that it may be passed on: what a stranger wrote there may be anything."""
    return _TRACEPARENT.fullmatch(text) is not None


def traceparent(trace: str) -> str:
    """A `traceparent` that continues the trace."""
    return f"00-{trace}-{secrets.token_hex(8)}-01"


def emit_metrics(process: str, every: float = EMF_SECONDS) -> None:
    """Write this process's metrics as one CloudWatch EMF log line a minute, from a daemon thread: nothing scrapes on AWS.

    A counter is what it grew by since the last line; a histogram the mean of what it observed since (absent where nothing was).
    Source of the format: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """

    def emit() -> None:
        before = _totals()
        while True:
            time.sleep(every)
            now = _totals()
            sys.stdout.write(emf_line(process, before, now, time.time()) + "\n")
            sys.stdout.flush()
            before = now

    threading.Thread(target=emit, name="emf", daemon=True).start()


def _totals() -> dict[str, float]:
    """Sums over all labels, by sample name without our prefix."""
    totals: dict[str, float] = defaultdict(float)
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name.startswith(_PREFIX) and sample.name.endswith(("_total", "_sum", "_count")):
                totals[sample.name.removeprefix(_PREFIX)] += sample.value
    return dict(totals)


def emf_line(process: str, before: Mapping[str, float], now: Mapping[str, float], at: float) -> str:
    """The EMF line of what happened between two readings of the totals; `at` in seconds since 1970."""
    grown = {name: value - before.get(name, 0.0) for name, value in now.items()}
    values = {name: value for name, value in grown.items() if name.endswith("_total")}
    for name in [name.removesuffix("_sum") for name in grown if name.endswith("_sum")]:
        if count := grown.get(f"{name}_count"):
            values[name] = grown[f"{name}_sum"] / count
    metrics = [{"Name": name, "Unit": "Seconds" if name.endswith("_seconds") else "Count"} for name in values]
    directive = {"Namespace": "consumidor", "Dimensions": [["process"]], "Metrics": metrics}
    return _json({"_aws": {"Timestamp": int(at * 1000), "CloudWatchMetrics": [directive]}, "process": process, **values})


def metrics_page() -> bytes:
    """The Prometheus page: this process's, or where several share a folder (`PROMETHEUS_MULTIPROC_DIR`) that of all of them."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    return generate_latest(together)
