"""A token issuer for development: OAuth 2.0 client credentials, tokens shaped like Amazon Cognito's access tokens plus `aud`.

    python -m consumidor.local.issuer HOME PORT

Clients are added and keys rotated beside it while it runs (`credentials.py`): it reads both files again when they change.
"""

import base64
import binascii
import hmac
import secrets
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus

import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from consumidor.local.credentials import TOKEN_SECONDS, clients_path, keys_path, parse_keys, prepare
from consumidor.local.files import Watched
from consumidor.local.supervisor import Server, http_ready

AUDIENCE = "consumidor"
SCOPES = ("consumidor/people.read", "consumidor/score.read", "consumidor/profile.read", "consumidor/events.read")
_BODY_LIMIT = 16 * 1024


class Refusal(Exception):
    """An OAuth 2.0 error response (RFC 6749, 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status


class Issuer:
    """The endpoints over one home folder; `url` is the issuer's own name, the `iss` of its tokens."""

    def __init__(self, home: Path, url: str) -> None:
        self._url = url
        self._clients = Watched(clients_path(home), lambda clients: {each["client_id"]: each["client_secret"] for each in clients.values()})
        self._keys = Watched(keys_path(home), parse_keys)

    async def token(self, request: Request) -> JSONResponse:
        """`POST /oauth2/token`, client credentials (RFC 6749, 4.4)."""
        headers = {"cache-control": "no-store", "pragma": "no-cache"}
        try:
            form = _form(request.headers.get("content-type", ""), await request.body())
            client_id = self._authenticated(*_credentials(request.headers.get("authorization"), form))
            if form.get("grant_type") != "client_credentials":
                given = "grant_type" in form
                raise Refusal("unsupported_grant_type" if given else "invalid_request", "grant_type must be client_credentials")
            scope = _granted(form.get("scope", ""))
        except Refusal as refusal:
            if refusal.status == 401:
                headers["www-authenticate"] = 'Basic realm="consumidor"'
            return JSONResponse({"error": refusal.error, "error_description": str(refusal)}, refusal.status, headers)
        answer = {"access_token": self._sign(client_id, scope), "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": scope}
        return JSONResponse(answer, headers=headers)

    def _authenticated(self, client_id: str, secret: str) -> str:
        known = self._clients.read().get(client_id)
        # Compared also where the id is unknown, so that both refusals take the same time.
        matches = hmac.compare_digest(secret.encode(), (known or secrets.token_urlsafe(32)).encode())
        if known is None or not matches:
            raise Refusal("invalid_client", "unknown client or wrong secret", 401)
        return client_id

    def _sign(self, client_id: str, scope: str) -> str:
        now, keys = int(time.time()), self._keys.read()
        claims = {
            "sub": client_id, "token_use": "access", "scope": scope, "auth_time": now, "iss": self._url, "exp": now + TOKEN_SECONDS,
            "iat": now, "version": 2, "jti": str(uuid.uuid4()), "client_id": client_id, "aud": AUDIENCE,
        }  # fmt: skip
        return jwt.encode(claims, keys.private, "RS256", headers={"kid": keys.kid})

    async def jwks(self, _: Request) -> JSONResponse:
        """`GET /.well-known/jwks.json` (RFC 7517)."""
        return JSONResponse(self._keys.read().jwks())

    async def configuration(self, _: Request) -> JSONResponse:
        """`GET /.well-known/openid-configuration` (OpenID Connect Discovery 1.0)."""
        return JSONResponse({
            "issuer": self._url, "token_endpoint": f"{self._url}/oauth2/token", "jwks_uri": f"{self._url}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"], "scopes_supported": SCOPES, "response_types_supported": ["token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        })  # fmt: skip


async def _live(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def _form(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refusal("invalid_request", "the body must be application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError as error:
        raise Refusal("invalid_request", "the body is not a form") from error
    if len(dict(pairs)) != len(pairs):
        raise Refusal("invalid_request", "a parameter is given twice")
    return dict(pairs)


def _credentials(authorization: str | None, form: dict[str, str]) -> tuple[str, str]:
    """Client id and secret, from HTTP Basic (each form-encoded inside, RFC 6749, 2.3.1) or from the form, not both."""
    if authorization is None:
        if "client_id" not in form or "client_secret" not in form:
            raise Refusal("invalid_client", "client_id and client_secret are needed, as HTTP Basic or in the form", 401)
        return form["client_id"], form["client_secret"]
    if "client_secret" in form:
        raise Refusal("invalid_request", "credentials are given twice, as HTTP Basic and in the form")
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refusal("invalid_client", "the Authorization header is not HTTP Basic", 401) from error
    if scheme.lower() != "basic" or not colon:
        raise Refusal("invalid_client", "the Authorization header is not HTTP Basic", 401)
    return unquote_plus(client_id), unquote_plus(secret)


def _granted(asked: str) -> str:
    """All scopes where none is asked for; those asked for otherwise, each once."""
    wanted = list(dict.fromkeys(asked.split())) or list(SCOPES)
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown:
        raise Refusal("invalid_scope", f"known scopes are {', '.join(SCOPES)}")
    return " ".join(wanted)


def build_issuer(home: Path, url: str) -> Starlette:
    """The issuer's application over `home`, which `prepare` has made ready."""
    issuer = Issuer(home, url)
    return Starlette(
        routes=[
            Route("/oauth2/token", issuer.token, methods=["POST"], max_body_size=_BODY_LIMIT),
            Route("/.well-known/jwks.json", issuer.jwks),
            Route("/.well-known/openid-configuration", issuer.configuration),
            Route("/live", _live),
        ]
    )


def issuer_server(home: Path, port: int) -> Server:
    """The issuer on 127.0.0.1:`port`."""
    return Server(
        name="issuer", command=[sys.executable, "-m", "consumidor.local.issuer", str(home), str(port)],
        ready=http_ready(f"http://127.0.0.1:{port}/live"), before_start=lambda: prepare(home),
    )  # fmt: skip


def main(home: str, port: str) -> None:
    """Serve until SIGTERM."""
    app = build_issuer(Path(home), f"http://127.0.0.1:{port}")
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning", server_header=False, timeout_graceful_shutdown=2
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
