"""Files of a home folder: private, replaced whole, changed by one process at a time."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


def write_private(path: Path, content: object) -> None:
    """Write `content` as JSON, readable by its owner alone; a reader sees the old file or the new one, never a part."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink()
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path`'s lock: two commands that change the same file do so one after the other."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Watched(Generic[Value]):
    """What a JSON file holds now: read again whenever it was replaced. Its errors are those of reading and parsing."""

    def __init__(self, path: Path, parse: Callable[[Any], Value]) -> None:
        self._path = path
        self._parse = parse
        self._stamp: tuple[int, int] | None = None
        self._value: Value

    def read(self) -> Value:
        """The value, parsed at most once a version of the file."""
        status = self._path.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._value = self._parse(json.loads(self._path.read_text(encoding="utf-8")))
            self._stamp = stamp
        return self._value
