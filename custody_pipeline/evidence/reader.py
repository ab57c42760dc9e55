"""The target of a verification: a folder, a prefix in S3, or anything else that can list and open files.

Belongs here: the protocol and the folder. Does not: S3 (publish/bucket_reader.py), what the files mean
(evidence/verify).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""A file may change after the reader looked at it: a link is not followed, a pipe does not make the reader wait."""
_LOOKS_UP_IN_FOLDERS = {os.open, os.stat} <= os.supports_dir_fd
_NO_NAMES = ("", ".", "..")
_OPEN_FOLDERS = 16
_CHUNK = 1 << 20


class TargetError(Exception):
    """The target, or a file in it, could not be read. Its content is unknown."""


@dataclass(frozen=True)
class Entry:
    """One file of a target.

    Attributes:
        path: relative to the target, `/` between its parts.
        stamp: changes when the file does (modification time, ETag, version id); lets a check be resumed.
        regular: False for a link, a pipe, a socket or a device, which no reader opens.
    """

    path: str
    size: int
    stamp: str = ""
    regular: bool = True


class Reader(Protocol):
    """Read access to a target.

    Each method raises `TargetError` when the target cannot be reached; `open` raises `FileNotFoundError` when there is
    no such file.
    """

    @property
    def name(self) -> str:
        """The target's name for people: a folder's path or an `s3://` URL."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file whose path starts with `prefix`, in no particular order."""

    def open(self, path: str) -> BinaryIO:
        """A stream of the file's bytes; the caller closes it."""


@dataclass(frozen=True)
class ObjectLock:
    """The lock of an object as it is now.

    Attributes:
        mode: of the retention: GOVERNANCE, COMPLIANCE or None.
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


NOTE_BYTES = 1 << 16
"""No signed note, proof of consistency, tile or timestamp is larger."""

MANIFEST_BYTES = 1 << 26
"""No cut.json, manifest of a package or proof of a record is larger. It is parsed only once a signature covers it."""

POINTER_BYTES = 1 << 20
"""No pointer below current/ is larger. It is not signed, so this limit bounds the cost of parsing it."""

CLAIM_BYTES = 1 << 23
"""No claim below sealing/ is larger; it lists the files of a night. It is not signed either."""


class NotAFileError(TargetError):
    """A folder, a link, a pipe or a device lies where a regular file belongs."""


class TooLargeError(TargetError):
    """A file is larger than the caller reads."""


def read(reader: Reader, path: str, limit: int | None = None) -> bytes:
    """The whole file.

    Raises:
        TooLargeError: it has more bytes than `limit`.
    """
    with reader.open(path) as stream:
        if limit is None:
            return stream.read()
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise TooLargeError(f"{path} has more than {limit:,} bytes")
    return data


def signed_lines(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines in the first `size` bytes, which are the signed ones. A stream from S3 has no method for lines.

    Raises:
        TooLargeError: a line is longer than any record.
    """
    rest, tail = size, b""
    while chunk := stream.read(min(_CHUNK, rest)):
        rest -= len(chunk)
        *lines, tail = (tail + chunk).split(b"\n")
        yield from lines
        if len(tail) > MANIFEST_BYTES:
            raise TooLargeError("a line is longer than any record")
    if tail:
        yield tail


class FolderReader:
    """A folder on this machine. Links are listed and never followed; only regular files are opened."""

    def __init__(self, root: Path) -> None:
        self._root, self.name = root, str(root)
        self._folders: dict[str, _Folder] = {}

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file, link, pipe and device below the folder whose path starts with `prefix`."""
        if self._root.is_symlink():
            raise TargetError(f"{self._root}: a link; name the folder that it leads to")
        if not self._root.is_dir():
            raise TargetError(f"{self._root}: no such file or folder")
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(self._root / folder) as found:
                    for item in found:
                        path = folder + item.name
                        if item.is_dir(follow_symlinks=False):
                            if (path + "/").startswith(prefix) or prefix.startswith(path + "/"):
                                waiting.append(path + "/")
                        elif path.startswith(prefix):
                            status = item.stat(follow_symlinks=False)
                            stamp = f"{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"
                            yield Entry(path, status.st_size, stamp, stat.S_ISREG(status.st_mode))
            except OSError as error:
                raise TargetError(f"{error.filename}: {error.strerror}") from error

    def open(self, path: str) -> BinaryIO:
        """Open a regular file for reading. No part of its path below the folder may be a link."""
        folder, _, name = path.rpartition("/")
        try:
            within = self._folder(folder)
            if not stat.S_ISREG(within.mode(name)):
                raise NotAFileError(f"{path}: not a regular file")
            found = within.open(name, os.O_RDONLY | _NO_LINK)
            if not stat.S_ISREG(os.fstat(found).st_mode):
                os.close(found)
                raise NotAFileError(f"{path}: no regular file any more")
            return os.fdopen(found, "rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise TargetError(f"{path}: {error.strerror}") from error
        except ValueError as error:  # NUL, or a lone surrogate
            raise NotAFileError(f"{path}: no name of a file") from error

    def _folder(self, path: str) -> _Folder:
        """The open folder at a path below the root. A few stay open: each may hold thousands of files."""
        found = self._folders.get(path)
        if found is None:
            found = _Folder.at(str(self._root))
            for name in path.split("/") if path else ():
                found = found.folder(name)
            if len(self._folders) >= _OPEN_FOLDERS:
                self._folders = {}
            self._folders[path] = found
        return found


class _Folder:
    """An open folder, which garbage collection closes. Names are found in it even if it is moved meanwhile.

    On a system without such a look-up (Windows), names are found by their path.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self._path, self._descriptor = path, descriptor

    @classmethod
    def at(cls, path: str) -> _Folder:
        return cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY) if _LOOKS_UP_IN_FOLDERS else None)

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def mode(self, name: str) -> int:
        """The mode of the file or folder at a name. A link is refused."""
        if name in _NO_NAMES:
            raise NotAFileError(f"{self._path}: {name!r} leads out of the folder")
        mode = os.stat(self._of(name), dir_fd=self._descriptor, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise NotAFileError(f"{self._path}{os.sep}{name}: a link, which may lead out of the folder")
        return mode

    def open(self, name: str, flags: int) -> int:
        """A descriptor of the file or folder at a name."""
        return os.open(self._of(name), flags, dir_fd=self._descriptor)

    def folder(self, name: str) -> _Folder:
        """The folder at a name."""
        path = f"{self._path}{os.sep}{name}"
        if not stat.S_ISDIR(self.mode(name)):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NO_LINK
        return _Folder(path, self.open(name, flags) if _LOOKS_UP_IN_FOLDERS else None)

    def _of(self, name: str) -> str:
        return name if self._descriptor is not None else f"{self._path}{os.sep}{name}"


class PartReader:
    """The part of a target below a prefix, as a target of its own."""

    def __init__(self, whole: Reader, prefix: str) -> None:
        self._whole, self._prefix, self.name = whole, prefix, f"{whole.name}/{prefix}"

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file below both prefixes."""
        for entry in self._whole.list(self._prefix + prefix):
            yield replace(entry, path=entry.path.removeprefix(self._prefix))

    def open(self, path: str) -> BinaryIO:
        """As the whole opens it."""
        return self._whole.open(self._prefix + path)
