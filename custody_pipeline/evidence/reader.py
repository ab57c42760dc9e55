"""What is verified: a folder, a prefix in S3 or anything else that can list, and open by name.

Belongs here: the protocol and the folder. Does not: S3 (publish/), what the files mean (verify.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable


class TargetError(Exception):
    """The target, or something in it, could not be read. Nothing is known about what it would have said."""


@dataclass(frozen=True)
class Entry:
    """One file of a target.

    Attributes:
        path: relative to the target, `/` between its parts.
        size: bytes.
        stamp: changes when the file does (modification time, ETag, version id); lets a check be resumed.
    """

    path: str
    size: int
    stamp: str = ""


class Reader(Protocol):
    """Read access to a target.

    Each method raises `TargetError` when the target cannot be reached; `open` raises `FileNotFoundError` when there is
    no such file.
    """

    @property
    def name(self) -> str:
        """What people call the target: a folder's path, an `s3://` URL."""
        ...

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file whose path starts with `prefix`, in no particular order."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A stream of the file's bytes; the caller closes it."""
        ...


@dataclass(frozen=True)
class ObjectLock:
    """The lock of an object as it is now.

    Attributes:
        mode: of the retention: GOVERNANCE, COMPLIANCE or None.
        until: when it ends.
        legal_hold: there is one.
    """

    mode: str | None
    until: datetime | None
    legal_hold: bool


@runtime_checkable
class LockReader(Protocol):
    """A reader of a store that can lock objects."""

    def lock(self, path: str) -> ObjectLock:
        """The lock of the file's newest version.

        Raises:
            TargetError: it may not be read.
        """
        ...


def read(reader: Reader, path: str) -> bytes:
    """The whole file."""
    with reader.open(path) as stream:
        return stream.read()


class FolderReader:
    """A folder on this machine. Links that lead out of it are not followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self._root)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file below the folder; symbolic links are listed and never followed."""
        if not self._root.is_dir():
            raise TargetError(f"{self._root}: no such folder")

        def failed(error: OSError) -> None:
            raise TargetError(f"{error.filename}: {error.strerror}") from error

        for folder, _, names in os.walk(self._root, onerror=failed):
            for name in names:
                file = Path(folder, name)
                path = file.relative_to(self._root).as_posix()
                if path.startswith(prefix):
                    status = file.lstat()
                    yield Entry(path, status.st_size, f"{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}")

    def open(self, path: str) -> BinaryIO:
        """Open a file of the folder for reading."""
        file = self._root / path
        try:
            if not file.resolve().is_relative_to(self._root.resolve()):
                raise TargetError(f"{path}: leads out of {self._root}")
            return file.open("rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise TargetError(f"{path}: {error.strerror}") from error
