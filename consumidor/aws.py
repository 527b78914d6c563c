"""The one place where AWS clients are made: region, endpoint, time-outs and pool from the process's settings."""

from typing import Any

import boto3
from botocore.config import Config

from consumidor.settings import Settings


def client(
    settings: Settings, service: str, *, pool: int = 10, read_timeout: float = 5.0, attempts: int = 2
) -> Any:  # boto3-stubs type it where it is used
    """A boto3 client that gives up soon: 2 s to connect, `read_timeout` to answer, `attempts` in all. Threads may share it.

    A retried SendMessage may arrive twice; every consumer here takes repeats for what they are.
    """
    config = Config(
        connect_timeout=2.0,
        read_timeout=read_timeout,
        max_pool_connections=pool,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # "auto" would name S3's global endpoint in a link, which redirects for any region but one, and a link's signature forbids that.
        s3={"addressing_style": "path" if settings.aws_endpoint_url else "virtual"},
        signature_version="s3v4" if service == "s3" else None,
    )
    session: Any = boto3.Session()
    return session.client(service, region_name=settings.aws_region, endpoint_url=settings.aws_endpoint_url, config=config)
