"""The search handler over a Base C in memory: who gets in, what is refused, and where a cursor leads."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumidor.errors import SettingsError
from consumidor.events import search
from consumidor.events.model import read_event
from consumidor.events.search import build_search
from tests.events_doubles import ELDER, SCOPE, YOUNGER, MemoryBaseC, inquiry, person_of, request, settings, wire

HISTORY, LATEST = "/v1/events", "/v1/events/latest"


class Asked:
    """A search handler over a base that holds seven purchases of the elder's and one inquiry."""

    def __init__(self) -> None:
        self.base_c = MemoryBaseC()
        stored = [wire(f"e{number}", occurred_at=f"2026-01-0{number}T00:00:00Z") for number in range(1, 8)]
        self.base_c.write([read_event(json.dumps(one).encode(), 2**41, lambda _: person_of(ELDER)) for one in (*stored, inquiry())])
        self.handler = build_search(settings("search", CLIENTS='{"id-of-acme": "acme", "id-of-globex": "globex"}'), self.base_c)

    def __call__(self, path: str, claims: Any = ..., **parameters: object) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON, headers)."""
        answer = self.handler(request(path, urlencode(parameters), claims), None)
        return answer["statusCode"], json.loads(answer["body"]), answer["headers"]


@pytest.fixture
def asked() -> Asked:
    """A handler of our own."""
    return Asked()


@pytest.mark.parametrize("path", [HISTORY, LATEST])
@pytest.mark.parametrize(
    ("claims", "status"),
    [
        (None, 401),
        ({}, 401),
        ("text", 401),
        ({"scope": SCOPE}, 401),
        ({"client_id": "id-of-acme"}, 403),
        ({"client_id": "id-of-acme", "scope": ""}, 403),
        ({"client_id": "id-of-acme", "scope": f"x{SCOPE} {SCOPE}s"}, 403),
        ({"client_id": "id-of-acme", "scope": "consumidor/score.read"}, 403),
        ({"client_id": "nobody", "scope": SCOPE}, 403),
        ({"client_id": "nobody", "sub": "id-of-acme", "scope": SCOPE}, 403),
        ({"sub": "id-of-acme", "scope": SCOPE}, 200),
        ({"client_id": "id-of-acme", "scope": f"openid {SCOPE}"}, 200),
    ],
)
def test_who_gets_in(asked: Asked, path: str, claims: Any, status: int) -> None:
    """Only a registered client whose verified claims hold the scope; without claims nobody, for it fails closed."""
    got, body, headers = asked(path, claims, cpf=ELDER)
    assert got == status
    if status != 200:
        assert (body["status"], headers["content-type"]) == (status, "application/problem+json")
        assert ("www-authenticate" in headers) == (status == 401)


def test_an_event_as_a_caller_gets_it(asked: Asked) -> None:
    """An event has the contract's members and no person."""
    _, body, headers = asked(LATEST, cpf="465.092.081-72")
    assert body == {
        "bureau_inquiry": {**wire("i1", kind="bureau_inquiry", cpf=None), "amount": None, "currency": None},
        "financial_movement": None,
        "card_purchase": wire("e7", cpf=None, occurred_at="2026-01-07T00:00:00.000Z"),
    }
    assert headers["content-type"] == "application/json"
    assert headers["server-timing"].startswith("events;dur=")


def test_nobody_known_has_no_events(asked: Asked) -> None:
    """An unknown CPF is not an error: an empty page, three nulls."""
    assert asked(HISTORY, cpf=YOUNGER)[:2] == (200, {"events": [], "next": None})
    assert asked(LATEST, cpf=YOUNGER)[:2] == (200, dict.fromkeys(("bureau_inquiry", "financial_movement", "card_purchase")))


@pytest.mark.parametrize(
    ("path", "parameters", "fields"),
    [
        (HISTORY, {}, ["cpf"]),
        (HISTORY, {"cpf": ""}, ["cpf"]),
        (HISTORY, {"cpf": "465.092.081-73"}, ["cpf"]),
        (HISTORY, {"cpf": ELDER, "kind": "loan"}, ["kind"]),
        (HISTORY, {"cpf": ELDER, "kind": ""}, ["kind"]),
        (HISTORY, {"cpf": ELDER, "limit": 0}, ["limit"]),
        (HISTORY, {"cpf": ELDER, "limit": 101}, ["limit"]),
        (HISTORY, {"cpf": ELDER, "limit": "ten"}, ["limit"]),
        (HISTORY, {"cpf": ELDER, "since": "yesterday", "until": "2026-01-01"}, ["since", "until"]),
        (HISTORY, {"cpf": ELDER, "since": "1767225600"}, ["since"]),
        (HISTORY, {"cpf": ELDER, "limit": 0, "kind": ELDER, "page": 2}, ["kind", "limit", "page"]),
        (LATEST, {}, ["cpf"]),
        (LATEST, {"cpf": "4650920817"}, ["cpf"]),
        (LATEST, {"cpf": ELDER, "kind": "card_purchase"}, ["kind"]),
    ],
)
def test_every_wrong_parameter_is_named(asked: Asked, path: str, parameters: dict[str, object], fields: list[str]) -> None:
    """422 with each wrong field; no value, which may be a CPF, is repeated."""
    status, body, _ = asked(path, **parameters)
    assert (status, [wrong["field"] for wrong in body["errors"]]) == (422, fields)
    assert ELDER not in json.dumps(body)


def test_a_parameter_given_twice(asked: Asked) -> None:
    """Which of two values counts is nobody's guess."""
    answer = asked.handler(request(HISTORY, f"cpf={ELDER}&cpf={YOUNGER}"), None)
    assert (answer["statusCode"], json.loads(answer["body"])["errors"][0]["field"]) == (422, "cpf")


def test_another_path(asked: Asked) -> None:
    """There is nothing else here."""
    assert asked("/v1/score", cpf=ELDER)[0] == 404


def test_base_c_is_down(asked: Asked) -> None:
    """503 with Retry-After, and no word of where Base C is."""
    asked.base_c.down = True
    for path in (HISTORY, LATEST):
        status, body, headers = asked(path, cpf=ELDER)
        assert (status, headers["retry-after"], body["detail"]) == (503, "5", "base_c is not answering")


def test_since_is_inclusive_and_until_exclusive(asked: Asked) -> None:
    """A span holds its first moment and not its last; any offset says the same moment."""
    _, body, _ = asked(HISTORY, cpf=ELDER, kind="card_purchase", since="2026-01-02T00:00:00Z", until="2026-01-04T02:00:00+02:00")
    assert [event["event_id"] for event in body["events"]] == ["e3", "e2"]


@pytest.mark.parametrize("bound", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_time(asked: Asked, bound: str) -> None:
    """The first and last times that RFC 3339 can write are as good as any."""
    assert asked(HISTORY, cpf=ELDER, since=bound)[0] == 200


def walk(asked: Asked, limit: int) -> list[str]:
    """Ids along the cursors."""
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        status, page, _ = asked(HISTORY, cpf=ELDER, limit=limit, **cursor)
        assert status == 200
        seen += [event["event_id"] for event in page["events"]]
        if page["next"] is None:
            return seen
        cursor = {"cursor": page["next"]}


def test_a_page_is_of_ten(asked: Asked) -> None:
    """A caller who names no limit gets ten events at most, and where to go on."""
    more = [wire(f"f{number}") for number in range(10)]
    asked.base_c.write([read_event(json.dumps(one).encode(), 2**41, lambda _: person_of(ELDER)) for one in more])
    _, page, _ = asked(HISTORY, cpf=ELDER)
    assert (len(page["events"]), page["next"] is None) == (10, False)
    assert len(asked(HISTORY, cpf=ELDER, cursor=page["next"])[1]["events"]) == 8


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 100])
def test_cursors_lead_through_everything_once(asked: Asked, limit: int) -> None:
    """Whatever the page's size, each event comes once, newest first, and the last page says so."""
    assert walk(asked, limit) == ["e7", "e6", "e5", "e4", "e3", "i1", "e2", "e1"]


def test_a_cursor_serves_only_its_own_query(asked: Asked) -> None:
    """A cursor of another person, kind, span or client is 400; another page size is fine."""
    cursor = asked(HISTORY, cpf=ELDER, limit=2)[1]["next"]
    assert asked(HISTORY, cpf=ELDER, limit=5, cursor=cursor)[0] == 200
    for other in ({"cpf": YOUNGER}, {"cpf": ELDER, "kind": "card_purchase"}, {"cpf": ELDER, "since": "2020-01-01T00:00:00Z"}):
        assert asked(HISTORY, cursor=cursor, **other)[0] == 400
    assert asked(HISTORY, {"client_id": "id-of-globex", "scope": SCOPE}, cpf=ELDER, cursor=cursor)[0] == 400


@given(st.data())
def test_an_altered_cursor_is_refused(data: st.DataObject) -> None:
    """No cursor but the very one that was given is accepted: not with a letter changed, added or lost, nor any other text."""
    asked = Asked()
    cursor = asked(HISTORY, cpf=ELDER, limit=2)[1]["next"]
    place = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from("AZaz09-_=+/ é"))
    altered = data.draw(
        st.sampled_from(
            [cursor[:place] + letter + cursor[place + 1 :], cursor[:place], cursor + letter, cursor[:place] + letter + cursor[place:]]
        )
    )
    assert asked(HISTORY, cpf=ELDER, limit=2, cursor=altered)[0] == (200 if altered == cursor else 400)


@pytest.mark.parametrize("environment", [None, "", "staging"])
def test_without_a_known_environment_it_does_not_start(monkeypatch: pytest.MonkeyPatch, environment: str | None) -> None:
    """Asking for `handler`, as the runtime does at its start, fails and says that ENVIRONMENT is wrong."""
    for name, value in (
        ("ENVIRONMENT", environment),
        ("BASE_C_URL", "http://127.0.0.1:1"),
        ("CLIENTS", "{}"),
        ("PSEUDONYM_KEY", "ab" * 32),
    ):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="ENVIRONMENT"):
        _ = search.handler
