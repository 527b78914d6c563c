"""The one local process that stands for API Gateway: every HTTP path on one port, behind one token check.

    python -m consumidor.local.gateway

Its environment is that of the deployed services it stands for, put together.
"""

from starlette.applications import Starlette

from consumidor import telemetry, web
from consumidor.auth import build_verifier
from consumidor.people import api as people
from consumidor.settings import Settings


def build_gateway() -> Starlette:
    """All paths whose base the environment names; people always."""
    settings = Settings.from_env("api")
    parts = [people.build_part(settings)]
    return web.build_app("consumidor", build_verifier(settings), *parts)


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.from_env("api")
    telemetry.configure_logging(settings.environment)
    web.serve(build_gateway(), settings.host, settings.port)


if __name__ == "__main__":
    main()
