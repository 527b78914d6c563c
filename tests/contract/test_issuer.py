"""The issuer over HTTP: OAuth 2.0's refusals, the shape of its tokens, and keys and clients that change beside it."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import pytest
from starlette.testclient import TestClient

from consumidor.auth import KeySet, Verifier
from consumidor.clients import Clients
from consumidor.errors import CommandError
from consumidor.local.credentials import TOKEN_SECONDS, add_client, keys_path, prepare, read_clients, registry_path, rotate_keys
from consumidor.local.issuer import AUDIENCE, SCOPES, build_issuer

URL = "http://issuer.test"
GRANT = {"grant_type": "client_credentials"}


class Issuer:
    """An issuer over a home of its own, asked as over HTTP."""

    def __init__(self, home: Path) -> None:
        prepare(home)
        self.home = home
        self.http = TestClient(build_issuer(home, URL), base_url=URL)

    def secrets(self, client: str = "acme") -> dict[str, str]:
        """The client's id and secret."""
        return read_clients(self.home)[client]

    def ask(self, form: Mapping[str, str] | str, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a token request."""
        body = form if isinstance(form, str) else urlencode(form)
        answer = self.http.post("/oauth2/token", content=body, headers={"content-type": "application/x-www-form-urlencoded", **headers})
        assert answer.headers["cache-control"] == "no-store"
        return answer.status_code, answer.json()

    def token(self, client: str = "acme", **extra: str) -> str:
        """A token."""
        status, answer = self.ask({**GRANT, **self.secrets(client), **extra})
        assert status == 200, answer
        return str(answer["access_token"])

    def jwks(self) -> dict[str, Any]:
        """The published keys."""
        return dict(self.http.get("/.well-known/jwks.json").json())

    def verifier(self) -> Verifier:
        """What a door makes of this issuer's tokens."""
        keys = KeySet(lambda: json.dumps(self.jwks()).encode())
        return Verifier(issuer=URL, audience=AUDIENCE, keys=keys, clients=Clients(f"file:{registry_path(self.home)}"))


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    """An issuer with acme and globex."""
    issuer = Issuer(tmp_path)
    yield issuer
    issuer.http.close()


def test_token_is_accepted_by_the_doors(issuer: Issuer) -> None:
    """A token of `acme` makes its caller acme, with all scopes by default."""
    caller = issuer.verifier().verify(issuer.token())
    assert (caller.client, caller.client_id) == ("acme", issuer.secrets()["client_id"])
    assert caller.scopes == set(SCOPES)


def test_token_has_cognitos_shape(issuer: Issuer) -> None:
    """The claims are those of a Cognito access token, and `aud`; an hour of life."""
    token = issuer.token(scope="consumidor/score.read")
    claims = jwt.decode(token, options={"verify_signature": False})
    client_id, now = issuer.secrets()["client_id"], int(time.time())
    assert abs(claims["iat"] - now) <= 2
    assert claims == {
        "sub": client_id, "client_id": client_id, "token_use": "access", "scope": "consumidor/score.read", "iss": URL, "aud": AUDIENCE,
        "auth_time": claims["iat"], "iat": claims["iat"], "exp": claims["iat"] + TOKEN_SECONDS, "version": 2, "jti": claims["jti"],
    }  # fmt: skip
    assert jwt.get_unverified_header(token)["kid"] in {key["kid"] for key in issuer.jwks()["keys"]}


def test_basic_and_form_are_alike(issuer: Issuer) -> None:
    """Credentials may come as HTTP Basic, form-encoded inside, or in the form."""
    secrets = issuer.secrets()
    pair = f"{quote(secrets['client_id'])}:{quote(secrets['client_secret'])}"
    status, answer = issuer.ask(GRANT, authorization=f"Basic {base64.b64encode(pair.encode()).decode()}")
    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", TOKEN_SECONDS)


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": "é"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_id": None}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"scope": "consumidor/everything"}, 400, "invalid_scope"),
        ({"scope": "consumidor/score.read admin"}, 400, "invalid_scope"),
    ],
)
def test_refusals(issuer: Issuer, change: dict[str, str | None], status: int, error: str) -> None:
    """Each wrong or missing parameter has RFC 6749's error."""
    form = {**GRANT, **issuer.secrets(), **change}
    answered, answer = issuer.ask({name: value for name, value in form.items() if value is not None})
    assert (answered, answer["error"]) == (status, error)


def test_wrong_client_is_asked_for_credentials(issuer: Issuer) -> None:
    """A 401 says by which scheme to try again."""
    answer = issuer.http.post("/oauth2/token", data=GRANT)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="consumidor"')


@pytest.mark.parametrize("authorization", ["Bearer abc", "Basic !!!", "Basic bm9jb2xvbg==", "Basic /w==", "Basic"])
def test_malformed_basic(issuer: Issuer, authorization: str) -> None:
    """What is not HTTP Basic is an invalid client, never an error of ours."""
    assert issuer.ask(GRANT, authorization=authorization)[1]["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("grant_type=client_credentials&grant_type=client_credentials", "application/x-www-form-urlencoded"),
        ('{"grant_type": "client_credentials"}', "application/json"),
        ("a=%ff", "application/x-www-form-urlencoded"),
    ],
)
def test_malformed_body(issuer: Issuer, body: str, content_type: str) -> None:
    """A doubled parameter, another content type, or bytes that are not text: invalid_request."""
    status, answer = issuer.ask(body, **{"content-type": content_type})
    assert (status, answer["error"]) == (400, "invalid_request")


def test_credentials_twice(issuer: Issuer) -> None:
    """Credentials both as HTTP Basic and in the form are refused (RFC 6749, 2.3)."""
    assert issuer.ask({**GRANT, **issuer.secrets()}, authorization="Basic YTpi")[1]["error"] == "invalid_request"


def test_discovery(issuer: Issuer) -> None:
    """The discovery document names the endpoints that are there."""
    document = issuer.http.get("/.well-known/openid-configuration").json()
    assert (document["issuer"], document["token_endpoint"]) == (URL, f"{URL}/oauth2/token")
    assert issuer.http.get(document["jwks_uri"]).json() == issuer.jwks()


def test_jwks_is_public(issuer: Issuer) -> None:
    """No private part of a key is ever published."""
    assert all(set(key) == {"kty", "n", "e", "kid", "alg", "use"} for key in issuer.jwks()["keys"])


def test_new_client_needs_no_restart(issuer: Issuer) -> None:
    """A client added beside the running issuer gets tokens at once; added again it keeps its secret."""
    assert add_client(issuer.home, "later")
    first = issuer.secrets("later")
    assert not add_client(issuer.home, "later")
    assert issuer.secrets("later") == first
    assert issuer.verifier().verify(issuer.token("later")).client == "later"


@pytest.mark.parametrize("name", ["", "UPPER", "a" * 41, "a_b", "a/b", "é", "a\n"])
def test_client_names(issuer: Issuer, name: str) -> None:
    """A name that could not be part of a queue's is refused."""
    with pytest.raises(CommandError, match="1 to 40 of a-z, 0-9 and -"):
        add_client(issuer.home, name)


def test_rotation(issuer: Issuer) -> None:
    """The next key signs from now on, and was published before; old tokens are good until they end, and then their key is gone."""
    verifier, old = issuer.verifier(), issuer.token()
    verifier.verify(old)
    published = {key["kid"] for key in issuer.jwks()["keys"]}
    kid = rotate_keys(issuer.home)
    new = issuer.token()
    assert jwt.get_unverified_header(new)["kid"] == kid
    assert kid in published
    assert verifier.verify(new).client == verifier.verify(old).client == "acme"
    retired = jwt.get_unverified_header(old)["kid"]
    document = json.loads(keys_path(issuer.home).read_text())
    document["keys"][2]["until"] = time.time() - 1  # as when an hour has passed
    keys_path(issuer.home).write_text(json.dumps(document))
    assert retired not in {key["kid"] for key in issuer.jwks()["keys"]}


def test_a_retired_key_ends_by_itself(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is published until its last token has ended, and no longer, though nothing is rotated or started anew."""
    retired = jwt.get_unverified_header(issuer.token())["kid"]
    rotate_keys(issuer.home)
    assert retired in {key["kid"] for key in issuer.jwks()["keys"]}
    later = time.time() + TOKEN_SECONDS + 301
    monkeypatch.setattr("consumidor.local.credentials.time", SimpleNamespace(time=lambda: later))
    kids = {key["kid"] for key in issuer.jwks()["keys"]}
    assert (len(kids), retired in kids) == (2, False)


def test_rotation_without_keys(tmp_path: Path) -> None:
    """There is nothing to rotate before the first start."""
    with pytest.raises(CommandError, match="no issuer's keys"):
        rotate_keys(tmp_path)


def test_restart_keeps_keys_and_clients(issuer: Issuer) -> None:
    """A second start finds the keys and secrets of the first, and they are private."""
    keys, clients = issuer.jwks(), read_clients(issuer.home)
    prepare(issuer.home)
    assert (issuer.jwks(), read_clients(issuer.home)) == (keys, clients)
    assert {file.stat().st_mode & 0o777 for file in issuer.home.glob("*.json")} == {0o600}
