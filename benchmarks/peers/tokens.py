"""Tokens as users of these frameworks check them: PyJWT and its JWKS client, which keeps the issuer's keys but verifies each token anew."""

from collections.abc import Callable

import jwt

from consumidor.clients import Clients
from consumidor.settings import Settings


class Refused(Exception):
    """With the HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def checker(settings: Settings, scope: str) -> Callable[[str], str]:
    """A function that gives the client's name behind a bearer token; it raises `Refused`."""
    keys, clients = jwt.PyJWKClient(settings.jwks_url), Clients(settings.clients)

    def check(token: str) -> str:
        try:
            key = keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(token, key, algorithms=["RS256"], issuer=settings.jwt_issuer, audience=settings.jwt_audience)
        except jwt.PyJWTError as error:
            raise Refused(401) from error
        name = clients.name(claims["client_id"])
        if name is None or scope not in claims["scope"].split():
            raise Refused(403)
        return name

    return check
