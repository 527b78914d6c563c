"""The whole of /openapi.json under fuzz by schemathesis: no 5xx, every answer as documented, nothing without a token."""

import os
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.test_people_path import ELDER, Http, drain
from tests.faults.results import record
from tests.servers.stack import RunningStack

EXAMPLES = int(os.environ.get("FAULT_HTTP_EXAMPLES", "12"))  # of each call and kind; `make faults`: 300
CALLS = [
    ("POST", "/v1/people/requests"), ("GET", "/v1/people/responses"), ("POST", "/v1/people/responses/ack"),
    ("POST", "/v1/people/responses/release"), ("GET", "/v1/score/{cpf}"), ("GET", "/v1/score/{cpf}/profile"), ("GET", "/v1/events"),
    ("GET", "/v1/events/latest"),
]  # fmt: skip
fuzzed = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize="FAULT_HTTP_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STATUSES: dict[str, Counter[str]] = {}
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def api(stack: RunningStack) -> Any:
    """The document that the running stack serves."""
    return schemathesis.openapi.from_url(f"{stack.info['api']}/openapi.json")


def test_the_table_is_whole(api: Any) -> None:
    """Every call of the document is in the table here."""
    described = {(method.upper(), path) for path, calls in api.raw_schema["paths"].items() for method in calls}
    assert described == set(CALLS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as documented", "otherwise"])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_answer_is_documented(stack: RunningStack, api: Any, method: str, path: str, mode: GenerationMode) -> None:
    """What is sent as the document says, and what is sent otherwise, gets an answer that the document has, and never a 5xx."""
    headers = {"Authorization": f"Bearer {stack.token()}"}
    sent: list[int] = []

    @fuzzed
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if len(sent) % 2 == 0:
            _ask_for_somebody(case)
        if (case.query or {}).get("wait"):
            case.query["wait"] = min(1, case.query["wait"]) if isinstance(case.query["wait"], int) else case.query["wait"]
        answer = case.call(headers=headers)
        sent.append(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    check()
    STATUSES.setdefault(f"{method} {path}", Counter()).update(str(status) for status in sent)
    requests = sum(counts.total() for counts in STATUSES.values())
    record("http_fuzz", {"requests": requests, "statuses": {call: dict(sorted(counts.items())) for call, counts in STATUSES.items()}})
    drain(Http(stack, "acme"))


def _ask_for_somebody(case: Any) -> None:
    """Put a true CPF where there is one: hardly any of the made-up ones would have the right check digits."""
    bodies = [case.body] if isinstance(case.body, dict) else []
    lists = [body["requests"] for body in bodies if isinstance(body.get("requests"), list)]
    bodies += [each for many in lists for each in many if isinstance(each, dict)]
    for members in (case.path_parameters, case.query, *bodies):
        if members and "cpf" in members:
            members["cpf"] = ELDER


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_no_call_is_answered_without_a_token(stack: RunningStack, api: Any, method: str, path: str) -> None:
    """Without a token, and with one that is none, each call is a 401 as documented."""
    call = api[path][method]

    @settings(fuzzed, max_examples=1)
    @given(case=call.as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {stack.token()}"}, checks=[ignored_auth])

    check()
