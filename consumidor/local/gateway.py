"""The one local process that stands for API Gateway: every HTTP path on one port, behind one token check.

    python -m consumidor.local.gateway

Its environment is that of the services it stands for, put together; each of them reads its own settings from it.
"""

import os

from starlette.applications import Starlette

from consumidor import telemetry, web
from consumidor.auth import build_verifier
from consumidor.local import events_part
from consumidor.people import api as people
from consumidor.score import api as score
from consumidor.settings import Settings


def build_gateway(settings: Settings) -> Starlette:
    """People, score and events as one application; `settings` are those of the process `api`. Without a Base C, no events."""
    parts = [people.build_part(settings), score.build_part(Settings.from_env("score-api"))]
    if os.environ.get("BASE_C_URL"):
        parts.append(events_part.build_part(Settings.from_env("search")))
    return web.build_app("consumidor", build_verifier(settings), *parts)


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.from_env("api")
    telemetry.configure_logging(settings.environment)
    web.serve(build_gateway(settings), settings.host, settings.port)


if __name__ == "__main__":
    main()
