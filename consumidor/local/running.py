"""What commands know of a running stack: `stack.json`, written for anyone, and `environment.json`, its processes' own settings.

Both are readable by the owner of the home folder alone, and gone when the stack is stopped.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from consumidor.errors import CommandError
from consumidor.local.aws import Aws, credentials
from consumidor.local.credentials import add_client, check_name, read_clients
from consumidor.settings import PROCESSES

STACK_FILE = "stack.json"
ENVIRONMENT_FILE = "environment.json"
LOCK_FILE = "lock"
_REGISTRY_SECONDS = 1.1  # the doors read the registry again within one


class Environment(NamedTuple):
    """All settings of a stack's processes.

    `own_credentials`: its AWS is the user's, as are the credentials for it. `base_b_owner`: Base B's URI for who may write,
    where that is another than the readers'.
    """

    settings: dict[str, str]
    own_credentials: bool
    base_b_owner: str

    def of(self, process: str) -> dict[str, str]:
        """What `process` (one of `PROCESSES`) has in its environment, and nothing else."""
        chosen = {name: self.settings[name] for name in PROCESSES[process] if name in self.settings}
        if process == "migrate" and self.base_b_owner:
            chosen["BASE_B_URI"] = self.base_b_owner
        if self.own_credentials:
            return chosen | {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return chosen | credentials(process)


def read_stack(home: Path) -> dict[str, Any]:
    """The running stack of `home`, as its `stack.json` describes it.

    Raises:
        CommandError: none runs there, or it is not ready yet.
    """
    return dict(_read(home, STACK_FILE))


def read_environment(home: Path) -> Environment:
    """The settings of the stack that runs in `home`.

    Raises:
        CommandError: none runs there, or it is not ready yet.
    """
    return Environment(**_read(home, ENVIRONMENT_FILE))


def _read(home: Path, name: str) -> Any:
    home = home.expanduser()
    if not _runs(home):
        raise CommandError(f"no stack is running in {home}: start one with `consumidor up`, or name its --home")
    try:
        return json.loads((home / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CommandError(f"the stack in {home} is still starting") from error
    except OSError as error:
        raise CommandError(f"cannot read {home / name}: {error.strerror}") from error


def _runs(home: Path) -> bool:
    """Whether a stack holds the lock of `home`."""
    try:
        with (home / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def register_client(home: Path, name: str) -> dict[str, str]:
    """The client's id and secret; a new one is registered first, with a response queue, and known everywhere on return.

    Raises:
        CommandError: not a name, no stack runs, or its issuer is not ours.
    """
    check_name(name)
    stack = read_stack(home)
    if name in stack["clients"]:
        return dict(stack["clients"][name])
    if not stack["clients"]:
        raise CommandError("this stack's tokens come from an issuer of its own: register clients there, and in CLIENTS")
    own = read_environment(home).own_credentials
    Aws(stack["aws_endpoint_url"], stack["aws_region"], own_credentials=own).ensure_response_queue(name)
    home = home.expanduser()
    if add_client(home, name):
        time.sleep(_REGISTRY_SECONDS)
    return read_clients(home)[name]


def described_in(home: Path) -> tuple[Path, ...]:
    """The files that describe the running stack of `home`."""
    return home / STACK_FILE, home / ENVIRONMENT_FILE


def forget(home: Path) -> None:
    """Remove them: nothing runs here, or not yet, or no more."""
    for file in described_in(home):
        file.unlink(missing_ok=True)
