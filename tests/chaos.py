"""Faults on purpose: collaborators some of whose calls crash the process, fail, lose their answer, are done in part or are overtaken."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, get_args

from botocore.exceptions import ClientError

from consumidor.errors import DependencyDown
from consumidor.people.store import Outcome, PeopleRequest

Fault = Literal["crash before", "crash after", "fail", "lose the answer", "do a part", "overtake"]
FAULTS: tuple[Fault, ...] = get_args(Fault)


OFTEN = 0.25  # of all calls
MET: Counter[str] = Counter()  # how often each fault was met, in all


class Crash(BaseException):
    """The process is gone: nothing of ours may catch this."""


class Chaos:
    """Stands before all collaborators and lets some of their calls meet a fault, as a seed decides; 0 is a day without faults.

    `overtake` is what happens beside us during a call that takes too long: time passes, and another worker has its turn.
    """

    def __init__(self, overtake: Callable[[], None]) -> None:
        self._random: Random | None = None
        self._overtake = overtake
        self._beside = False

    def expect(self, seed: int) -> None:
        """Meet the faults of this seed from now on."""
        self._random = Random(seed) if seed else None

    def _fault(self) -> Fault | None:
        if self._beside or self._random is None or self._random.random() > OFTEN:
            return None
        return self._random.choice(FAULTS)

    def around(self, call: Callable[[], Any], down: Exception, part: Callable[[], Any] | None = None) -> Any:
        """Do `call`, unless it meets something else; `down` is what its failing raises, `part` does some of it."""
        fault = self._fault()
        MET[fault or "none"] += 1
        if fault == "crash before":
            raise Crash
        if fault == "fail":
            raise down
        if fault == "overtake":
            self._let_others()
        answer = part() if fault == "do a part" and part else call()
        if fault == "crash after":
            raise Crash
        if fault == "lose the answer":
            raise down
        return answer

    def _let_others(self) -> None:
        self._beside = True
        try:
            self._overtake()
        finally:
            self._beside = False


def refused() -> ClientError:
    """What boto3 raises for a service that is down."""
    return ClientError({"Error": {"Code": "ServiceUnavailable", "Message": ""}}, "call")


class ChaosAws:
    """An AWS client whose calls go through chaos; a batch can be done in part."""

    def __init__(self, client: Any, chaos: Chaos) -> None:
        self._client, self._chaos = client, chaos

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def through_chaos(**arguments: Any) -> Any:
            entries = arguments.get("Entries")
            part = (lambda: _in_part(call, entries, arguments)) if entries else None
            return self._chaos.around(lambda: call(**arguments), refused(), part)

        return through_chaos


def _in_part(call: Callable[..., Any], entries: list[Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Every second entry is done, the others are reported as failed."""
    done: dict[str, Any] = call(**{**arguments, "Entries": entries[::2]})
    return {**done, "Failed": [*done.get("Failed", []), *({"Id": entry["Id"]} for entry in entries[1::2])]}


class ChaosStore:
    """A people store whose calls go through chaos."""

    def __init__(self, store: Any, chaos: Chaos) -> None:
        self._store, self._chaos = store, chaos

    def inquire(self, batch: Sequence[PeopleRequest]) -> list[Outcome]:
        """As the store's."""
        outcomes: list[Outcome] = self._chaos.around(lambda: self._store.inquire(batch), DependencyDown("base_a"))
        return outcomes

    def ping(self) -> None:
        """As the store's."""
        self._store.ping()
