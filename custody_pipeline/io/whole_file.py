"""Local files and folders: small files replaced in one step, digests of any, folders that go in one step.

A reader sees the old content of a file or the new one, and a killed process leaves no nameless part of a folder.

Belongs here: writing, reading back, hashing, removing. Does not: what the files hold, whether a folder may be removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import msgspec

_Written = TypeVar("_Written")


class DamagedFileError(Exception):
    """A file is not as it was written. The message names it."""


def why_unreadable(error: OSError | ValueError) -> str:
    """Why a file that somebody named cannot be used: `missing.pub: No such file or directory`, for example."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def read_json(path: Path, kind: type[_Written]) -> _Written:
    """What a JSON file of ours holds.

    Raises:
        DamagedFileError: it is not as it was written.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path} is not as it was written ({error}): put it back from a backup") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step, and its folder if needed; durable when this returns, and only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name that nobody else has: another writer of this file, or of one with the same stem, has its own draft.
    descriptor, draft = tempfile.mkstemp(".draft", f".{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HashedFile:
    """A file that is hashed while it is written.

    Attributes:
        sha256: of the bytes so far.
        size: their number.
    """

    def __init__(self, target: IO[bytes]) -> None:
        self._target, self.sha256, self.size = target, hashlib.sha256(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._target.closed

    def write(self, data: Any) -> int:
        """Write bytes, and hash them."""
        self.sha256.update(data)
        self.size += len(data)
        return self._target.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self._target.flush()

    def close(self) -> None:
        """Close the file."""
        self._target.close()


def found_in(folder: Path, pattern: str) -> list[Path]:
    """What `Path.glob` finds, in order. A folder that may not be read is an error: pathlib takes it for an empty one.

    Args:
        pattern: names, between slashes; `**` is any number of folders.

    Raises:
        OSError: a folder cannot be read.
    """
    name, _, rest = pattern.partition("/")
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if name == "**":
        below = (Path(entry) for entry in inside if entry.is_dir(follow_symlinks=False))
        return [*found_in(folder, rest), *(path for one in below for path in found_in(one, pattern))]
    found = [Path(entry) for entry in inside if fnmatchcase(entry.name, name)]
    return [path for one in found for path in found_in(one, rest)] if rest else found


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_going(folder: Path) -> bool:
    """Whether a removal was begun and not ended."""
    return not folder.exists() and _going(folder).exists()


def remove_folder(folder: Path) -> None:
    """Give the folder, or the one that a link names, another name, then remove it: a killed removal can be ended."""
    going = _going(folder)
    if going.exists():
        shutil.rmtree(going)
    if folder.exists():
        folder.resolve().rename(going)
        shutil.rmtree(going)
    if folder.is_symlink():
        folder.unlink()


def _going(folder: Path) -> Path:
    real = folder.resolve()
    return real.with_name(f".{real.name}.going")
