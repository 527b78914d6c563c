"""The people API over a queue of a few lines: how much it hands out at once, and how long it waits for a queue that hangs."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from consumidor import aws, web
from consumidor.auth import KeySet, Verifier
from consumidor.clients import Clients
from consumidor.errors import DependencyDown
from consumidor.people import api, model
from consumidor.people.request_token import Signer
from consumidor.queues import receive
from consumidor.settings import Settings
from tests.faults.bureau import SETTINGS
from tests.tokens import AUDIENCE, ISSUER, Issuer

MIB = 1024 * 1024


class FullQueue:
    """Ten responses of almost 1 MiB each, in letters of two bytes."""

    def __init__(self) -> None:
        self.given_back: list[Any] = []

    def receive_message(self, **_: object) -> Any:
        """As SQS."""
        report: dict[str, Any] = {"cpf": "-", "name": "ç" * (MIB // 2 - 16384), "address": None, "debts": [], "total_open_cents": 0}
        raw = msgspec.Raw(msgspec.json.encode(report))
        bodies = [msgspec.json.encode(model.Response(1, str(number), "found", raw)).decode() for number in range(10)]
        return {"Messages": [{"Body": body, "ReceiptHandle": "r" * 400 + str(number)} for number, body in enumerate(bodies)]}

    def change_message_visibility_batch(self, Entries: list[Any], **_: object) -> Any:  # noqa: N803 - boto3's name
        """As SQS."""
        self.given_back += Entries
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def get_queue_attributes(self, **_: object) -> Any:
        """As SQS."""
        return {"Attributes": {"ApproximateNumberOfMessages": "0"}}


@contextmanager
def served(sqs: Any, issuer: Issuer) -> Iterator[TestClient]:
    """The API over a queue, started, with a token in its headers."""
    s3: Any = None
    part = api.PeopleApi(
        Settings.from_env("api", SETTINGS), sqs=sqs, long_sqs=sqs, s3=s3, signer=Signer(SETTINGS["PEOPLE_SIGNING_KEY"])
    ).part()
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, keys=KeySet(issuer.fetch), clients=Clients('{"id-acme": "acme"}'))
    with TestClient(web.build_app("people", verifier, part), headers={"authorization": f"Bearer {issuer.token()}"}) as client:
        yield client


def test_a_delivery_is_bounded_in_bytes() -> None:
    """One GET hands out at most 8 MiB as they go over the wire; what is too much is at once visible again."""
    queue = FullQueue()
    with served(queue, Issuer()) as client:
        answer = client.get("/v1/people/responses")
    delivered = len(json.loads(answer.content)["responses"])
    assert 7 * MIB < len(answer.content) <= 8 * MIB
    assert len(queue.given_back) == 10 - delivered
    assert {entry["VisibilityTimeout"] for entry in queue.given_back} == {0}


def test_a_long_poll_of_a_hanging_queue_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked twice, and the time for one attempt is over before a stop or API Gateway (30 s) cuts the caller off."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert 20 < api.POLL_SECONDS < web.DRAIN_SECONDS < 30
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang() -> None:
            while True:
                try:
                    asked.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=hang, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = Settings.from_env("api", SETTINGS | {"AWS_ENDPOINT_URL": url})
        with pytest.raises(DependencyDown):
            receive(aws.client(settings, "sqs", read_timeout=0.2, attempts=1), f"{url}/1/queue", wait=20)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in asked:
        connection.close()
    assert len(asked) == 1


@pytest.mark.parametrize(("inquiry", "named"), [
    ({"cpf": "465.092.081-73"}, "cpf"), ({"name": "x"}, "name"), ({"465.092.081-72": "x"}, "[unknown]"), ({"Ana Silva": "x"}, "[unknown]"),
])  # fmt: skip
def test_wrong_fields_are_named_in_words_of_our_own(inquiry: dict[str, str], named: str) -> None:
    """Each is named by its place; a name that nobody knows is repeated only where it can be nothing but a name."""
    good = {"cpf": "465.092.081-72", "purpose": "credit"}
    with served(FullQueue(), Issuer()) as client:
        answers = [
            client.post("/v1/people/requests", json=content)
            for content in (good | inquiry, {"requests": [good, good | inquiry]}, {"requests": [good], **inquiry})
        ]
    assert [answer.status_code for answer in answers] == [422] * 3
    assert [answer.json()["errors"][0]["field"] for answer in answers] == [named, f"requests[1].{named}", named]
    assert not any("Silva" in answer.text or "081" in answer.text for answer in answers)
