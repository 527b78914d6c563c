"""Logs as JSON lines (pretty in a terminal), metrics for Prometheus; neither ever holds a CPF or a token.

Nothing is logged that names a person in the first place; `mask` is the net below that.
"""

import logging
import re
import secrets
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter, Histogram

_CPF = re.compile(r"(?<![0-9A-Za-z])[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}(?![0-9A-Za-z])")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")
_NOISY = ("boto3", "botocore", "urllib3", "elastic_transport", "pymongo", "psycopg", "uvicorn.access")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

HTTP_SECONDS = Histogram("consumidor_http_seconds", "Time to answer", ["route", "method"], buckets=_SECONDS)
HTTP_REQUESTS = Counter("consumidor_http_requests_total", "Answers by status", ["route", "method", "status"])


def mask(text: str) -> str:
    """The text without anything that has the shape of a CPF or a token."""
    return _TOKEN.sub("[token]", _CPF.sub("[cpf]", text))


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
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match.group(1) if match else secrets.token_hex(16)


def traceparent(trace: str) -> str:
    """A `traceparent` that continues the trace."""
    return f"00-{trace}-{secrets.token_hex(8)}-01"
