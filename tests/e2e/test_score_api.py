"""The score path on the real stack, and its deployed process: one process a core, graceful, with every inquiry in the feed queue."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import urllib3

from consumidor import cpf
from consumidor.events.model import read_message
from consumidor.local.supervisor import free_port
from consumidor.local.synthetic import ELDER, NEVER_SEEDED, YOUNGER, people
from consumidor.local.synthetic_credit import documents
from consumidor.score.loading import insert_base_b
from consumidor.score.model import Scorecard, score
from tests.servers.aws import AwsServer
from tests.servers.mongodb import BaseB
from tests.servers.stack import RunningStack
from tests.tokens import AUDIENCE, ISSUER, Issuer

KEY = b"k" * 32
POOL = urllib3.PoolManager(maxsize=8)
SCOPES = {"scope": "consumidor/score.read consumidor/profile.read"}


@pytest.mark.stack
def test_both_sample_people_have_a_score(stack: RunningStack) -> None:
    """The elder, with two properties, scores higher than the younger, who has nothing; the reasons say which points are missing."""
    token = stack.token()
    elder, younger = (stack.get(f"/v1/score/{digits}", token) for digits in (ELDER, YOUNGER))
    assert (elder[0], younger[0]) == (200, 200)
    assert elder[1]["score"] > younger[1]["score"]
    assert elder[1]["band"] == "excellent"
    assert younger[1]["reasons"][0] == {"code": "property", "text": "No property on record", "points_lost": 268}
    assert elder[1]["as_of"] == datetime.now(UTC).date().isoformat()


@pytest.mark.stack
def test_the_samples_profiles(stack: RunningStack) -> None:
    """73 and 33 years old in the seeding year, two properties and none."""
    token = stack.token()
    elder, younger = (stack.get(f"/v1/score/{digits}/profile", token)[1] for digits in (ELDER, YOUNGER))
    assert [asset["kind"] for asset in elder["assets"]] == ["real_estate", "real_estate"]
    assert younger["assets"] == []
    assert elder["age"] - younger["age"] == 40


@pytest.mark.stack
def test_bad_input_on_the_real_stack(stack: RunningStack) -> None:
    """Each refusal of the contract, through the gateway."""
    token = stack.token()
    assert stack.get(f"/v1/score/{NEVER_SEEDED[0]}", token)[0] == 404
    assert stack.get("/v1/score/123", token)[1]["errors"][0]["field"] == "cpf"
    assert stack.get(f"/v1/score/{ELDER}")[0] == 401
    assert stack.get(f"/v1/score/{ELDER}/profile", stack.token("acme", "consumidor/score.read"))[0] == 403


class Service(NamedTuple):
    """A deployed score service: its address, process, feed queue, and an issuer it trusts."""

    url: str
    process: "subprocess.Popen[bytes]"
    queue: str
    token: str

    def get(self, path: str, **more: str) -> urllib3.BaseHTTPResponse:
        """GET with a good token, and more headers."""
        return POOL.request("GET", self.url + path, headers={"authorization": f"Bearer {self.token}"} | more, retries=False, timeout=10)


@pytest.fixture
def jwks() -> Iterator[tuple[Issuer, str]]:
    """An issuer whose keys are published on 127.0.0.1."""
    issuer = Issuer()

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The JWKS, whatever is asked."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(issuer.fetch())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield issuer, f"http://127.0.0.1:{server.server_port}/jwks"
        server.shutdown()


@pytest.fixture
def environment(base_b: BaseB, ministack: AwsServer, jwks: tuple[Issuer, str]) -> dict[str, str]:
    """What ECS would tell the process, over the real servers, with 50 people."""
    insert_base_b(base_b.owner_uri, documents(people(1, 50, 2026), KEY, 1, date(2026, 11, 22)))
    queue, port = ministack.queue(f"feed-{time.time_ns()}"), free_port()
    return {
        "PATH": os.environ["PATH"], "ENVIRONMENT": "tst", "AWS_REGION": "sa-east-1", "AWS_ENDPOINT_URL": ministack.endpoint,
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "JWKS_URL": jwks[1],
        "CLIENTS": '{"id-acme": "acme"}', "BASE_B_URI": base_b.reader_uri, "EVENTS_FEED_QUEUE_URL": queue, "PSEUDONYM_KEY": KEY.hex(),
        "PORT": str(port),
    }  # fmt: skip


@contextmanager
def serving(command: list[str], environment: dict[str, str], issuer: Issuer, log: Path) -> Iterator[Service]:
    """The service by a command of Python's, once it answers; ended after use."""
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=output)
    url = f"http://127.0.0.1:{environment['PORT']}"
    running = Service(url, process, environment["EVENTS_FEED_QUEUE_URL"], issuer.token(SCOPES))
    try:
        wait_until(lambda: running.get("/health").status == 200, 30)
        yield running
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def service(environment: dict[str, str], jwks: tuple[Issuer, str], tmp_path: Path) -> Iterator[Service]:
    """`consumidor score-api` as ECS would run it."""
    with serving(["-m", "consumidor.cli", "score-api"], environment, jwks[0], tmp_path / "log") as running:
        yield running


def wait_until(condition: Any, seconds: float) -> None:
    """Until it holds; a server that does not answer yet does not hold it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError("did not come about in time")


def inquiries(ministack: AwsServer, queue: str) -> list[dict[str, Any]]:
    """All events that are in the queue now."""
    events: list[dict[str, Any]] = []
    sqs = ministack.client("sqs")
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        events += [json.loads(bytes(raw)) for message in messages for raw in read_message(message["Body"])]
        for message in messages:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return events


def test_sigterm_under_load(service: Service, ministack: AwsServer) -> None:
    """What is under way when SIGTERM comes is answered, and each answered request is one inquiry, once, by the right person."""
    digits = [person.cpf for person in people(1, 50, 2026)]
    stop = threading.Event()

    def ask(start: int) -> list[str]:
        answered: list[str] = []
        while not stop.is_set():
            asked = digits[(start + len(answered)) % len(digits)]
            try:
                answer = service.get(f"/v1/score/{asked}")
            except urllib3.exceptions.HTTPError:  # the listener is closed: this request was never taken
                break
            assert answer.status == 200, answer.data
            answered.append(cpf.pseudonym(KEY, asked))
        return answered

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, start) for start in range(0, 48, 6)]
        time.sleep(1.5)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) in (0, -signal.SIGTERM)
        stop.set()
        answered = [person for one in asking for person in one.result()]
    events = inquiries(ministack, service.queue)
    assert len(answered) > 50
    assert sorted(event["person"] for event in events) == sorted(answered)
    assert len({event["event_id"] for event in events}) == len(events)
    assert {(event["kind"], event["institution"]) for event in events} == {("bureau_inquiry", "acme")}


def ask_afresh(service: Service, times: int) -> int:
    """Score requests, a connection each, so that any process may take any of them; how many were answered."""
    with ThreadPoolExecutor(4) as pool:
        return [one.status for one in pool.map(lambda _: service.get(f"/v1/score/{ELDER}", connection="close"), range(times))].count(200)


def counted(service: Service) -> float:
    """Answered score requests, by the metrics page of whichever process is asked."""
    page = service.get("/metrics", connection="close").data.decode().splitlines()
    [line] = [line for line in page if line.startswith('consumidor_http_requests_total{method="GET",route="/v1/score/{cpf}",status="200"}')]
    return float(line.split()[-1])


def test_metrics_speak_for_all_processes(service: Service) -> None:
    """With one process a core, /metrics sums them up, whichever answers."""
    assert ask_afresh(service, 30) == 30
    wait_until(lambda: counted(service) == 30, 5)  # an answer is counted once it is sent
    assert {counted(service) for _ in range(10)} == {30.0}


# The command with hurried metrics that name their process. Those it starts run this file too, as processes that are spawned do.
HURRIED = """
import os

from consumidor import telemetry

line = telemetry.emf_line
telemetry.emf_line = lambda process, *readings: line(f"{process} {os.getpid()}", *readings)
telemetry.emit_metrics.__defaults__ = (0.2,)
if __name__ == "__main__":
    from consumidor.cli import main

    main(["score-api"])
"""


def test_each_process_emits_its_own_metrics(
    environment: dict[str, str], ministack: AwsServer, jwks: tuple[Issuer, str], tmp_path: Path
) -> None:
    """On AWS itself each process that serves writes EMF lines, which add up to what all answered; one that serves nothing writes none."""
    environment["AWS_ENDPOINT_URL_SQS"] = ministack.endpoint  # of the AWS library, not of ours: there is a queue all the same
    del environment["AWS_ENDPOINT_URL"]
    script, log, cores, answered = tmp_path / "hurried.py", tmp_path / "log", os.cpu_count() or 1, 0
    script.write_text(HURRIED)

    def each_has_answered() -> bool:
        nonlocal answered
        answered += ask_afresh(running, 20)
        return len(sent_by(log) - Counter()) == cores

    with serving([str(script)], environment, jwks[0], log) as running:
        wait_until(each_has_answered, 30)
        wait_until(lambda: sent_by(log).total() == answered, 10)
        assert {counted(running) for _ in range(10)} == {answered}
    assert (f"score-api {running.process.pid}" in sent_by(log)) == (cores == 1)


def sent_by(log: Path) -> Counter[str]:
    """Inquiries sent by each process that writes metrics, one for each answered score request; of whole lines."""
    sent: Counter[str] = Counter()
    for line in log.read_text().splitlines(keepends=True):
        if line.endswith("\n") and "_aws" in (read := json.loads(line)):
            sent[read["process"]] += int(read.get("score_inquiries_sent_total", 0))
    return sent


def test_base_b_killed(service: Service, base_b: BaseB) -> None:
    """A kill -9 of Base B: requests get 503 with Retry-After within the deadline, or their answer; and all is well when it is back."""
    expected = service.get(f"/v1/score/{YOUNGER}").json()
    os.kill(base_b.supervisor.pids()["mongodb"], signal.SIGKILL)
    killed = time.monotonic()
    seen: list[int] = []
    while not seen or seen[-1] != 200 or time.monotonic() - killed < 2:
        started = time.monotonic()
        assert started - killed < 20, seen
        answer = service.get(f"/v1/score/{YOUNGER}")
        assert time.monotonic() - started < 4
        assert answer.status == 200 or (answer.status, answer.headers["retry-after"]) == (503, "5")
        seen.append(answer.status)
    assert answer.json() == expected


def test_a_stored_score_is_the_pure_function_s(service: Service) -> None:
    """For each of the 50 people the service answers what the function makes of their document."""
    card, today = Scorecard.current(), datetime.now(UTC).date()
    for person, stored in zip(people(1, 50, 2026), documents(people(1, 50, 2026), KEY, 1, date(2026, 11, 22)), strict=True):
        answer = service.get(f"/v1/score/{cpf.punctuate(person.cpf)}").json()
        assert answer["score"] == score(stored, today, card).score
