"""The events path of the running stack: inquiries of the other two paths, the gateway's refusals, and life without Elasticsearch."""

from pathlib import Path
from typing import Any

import pytest

from consumidor.client import Consumidor
from consumidor.local import synthetic, synthetic_events
from consumidor.local.seeding import SEED
from tests.servers.elasticsearch import eventually
from tests.servers.stack import RunningStack

ELDER = "46509208172"
LATEST = f"/v1/events/latest?cpf={ELDER}"
pytestmark = pytest.mark.stack


def latest_inquiry(stack: RunningStack, cpf: str) -> dict[str, Any]:
    """Somebody's last bureau inquiry, or nothing."""
    return stack.get(f"/v1/events/latest?cpf={cpf}", stack.token())[1]["bureau_inquiry"] or {}


def test_inquiries_of_both_paths_are_events(stack: RunningStack) -> None:
    """A request on the people path, then one on the score path, becomes the person's last bureau inquiry, with client and path."""
    person = next(one for one in synthetic.people(SEED, 60, 2026, 50) if one.index == 50)
    with Consumidor(stack.info["api"], lambda: stack.token("acme")) as client:
        asked = client.submit(person.cpf, "rental")
        asked.result(30)
    eventually(lambda: latest_inquiry(stack, person.cpf).get("event_id") == asked.request_id)
    found = latest_inquiry(stack, person.cpf)
    assert (found["institution"], found["details"]["path"], found["details"]["purpose"]) == ("acme", "people", "rental")
    assert stack.get(f"/v1/score/{person.cpf}", stack.token("globex"))[0] == 200
    eventually(lambda: latest_inquiry(stack, person.cpf).get("institution") == "globex")
    assert latest_inquiry(stack, person.cpf)["details"]["path"] == "score"


def test_seeded_history(stack: RunningStack) -> None:
    """Everybody has the history that was made up for them, page by page."""
    person = next(one for one in synthetic.people(SEED, 8, 2026, 7) if one.index == 7)
    token, cursor, seen = stack.token(), "", []
    while True:
        status, page = stack.get(f"/v1/events?cpf={person.cpf}&limit=2&until=2027-01-01T00:00:00Z{cursor}", token)
        assert status == 200
        seen += [event["event_id"] for event in page["events"] if event["kind"] != "bureau_inquiry"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [f"seed-{SEED}-7-{number}" for number in reversed(range(synthetic_events.count_of(SEED, 7)))]


@pytest.mark.parametrize(
    ("path", "scopes", "status"),
    [
        (LATEST, None, 401),
        (LATEST, ["consumidor/score.read"], 403),
        (LATEST, [], 200),
        ("/v1/events?cpf=1", [], 422),
        (f"/v1/events?cpf={ELDER}&cursor=AAAA", [], 400),
        (f"/v1/events/{ELDER}", [], 404),
    ],
)
def test_the_gateway_refuses_as_amazons_does(stack: RunningStack, path: str, scopes: list[str] | None, status: int) -> None:
    """The local gateway lets in and keeps out whom the authorizer would, and hands over the handler's own refusals."""
    assert stack.get(path, "" if scopes is None else stack.token("acme", *scopes))[0] == status


def test_without_the_jars_the_other_paths_are_served(tmp_path: Path) -> None:
    """Where Elasticsearch's jars can be had neither from a cache nor from Maven Central, `up` says so and serves people and score."""
    empty = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    running = RunningStack(tmp_path / "home", "--people", "10", environment=empty | {"HTTPS_PROXY": "http://127.0.0.1:9"})
    try:
        assert "the events path is not served: Elasticsearch's jars could not be fetched" in running.output.read_text()
        assert (running.info["base_c_url"], "elasticsearch" in running.info["pids"]) == (None, False)
        assert running.get(f"/v1/score/{ELDER}", running.token())[0] == 200
        assert running.get(LATEST, running.token())[0] == 404
        assert '"not served by this stack"' in running.run("demo", "--json")
    finally:
        running.stop()
