"""A folder on a disk or a prefix in S3, in which a file appears whole or not at all."""

import json
import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow.fs as pafs


@dataclass(frozen=True)
class Folder:
    """Where it lies; may be sent to another process. Its methods raise OSError, as the file system does."""

    files: pafs.FileSystem
    root: str

    @classmethod
    def at(cls, to: str, endpoint: str | None = None, region: str | None = None) -> Self:
        """The folder of that name, or of `s3://bucket/prefix`; `endpoint` is another S3 than Amazon's own."""
        if not to.startswith("s3://"):
            return cls(pafs.LocalFileSystem(), str(Path(to).expanduser().resolve()))
        scheme, _, host = (endpoint or "").rpartition("://")
        options = {"endpoint_override": host, "scheme": scheme} if endpoint else {}
        return cls(pafs.S3FileSystem(region=region, **options), to.removeprefix("s3://").rstrip("/"))

    @property
    def _uploads(self) -> bool:
        return str(self.files.type_name) == "s3"

    def prepare(self, name: str) -> None:
        """Make a folder in it. S3 has none, and may refuse to make what looks like one."""
        if not self._uploads:
            self.files.create_dir(self._path(name), recursive=True)

    def put(self, name: str, content: bytes) -> None:
        """Write a file: on a disk aside, then renamed; an upload to S3 is whole by itself."""
        head, tail = posixpath.split(name)
        aside = name if self._uploads else posixpath.join(head, f".{tail}.{os.getpid()}")
        with self.files.open_output_stream(self._path(aside)) as out:
            out.write(content)
        if aside != name:
            self.files.move(self._path(aside), self._path(name))

    def put_json(self, name: str, content: object) -> None:
        """As `put`, of JSON."""
        self.put(name, json.dumps(content, indent=1).encode())

    def get(self, name: str) -> bytes | None:
        """A file's content, None where there is none."""
        try:
            with self.files.open_input_stream(self._path(name)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def get_json(self, name: str) -> dict[str, Any] | None:
        """As `get`, of a JSON object."""
        content = self.get(name)
        return None if content is None else dict(json.loads(content))

    def sweep(self, name: str) -> None:
        """Delete what a process that was killed while it wrote left in a folder of it."""
        for file in self.files.get_file_info(pafs.FileSelector(self._path(name), allow_not_found=True)):
            if file.base_name.startswith("."):
                self.files.delete_file(file.path)

    def _path(self, name: str) -> str:
        return posixpath.join(self.root, name)
