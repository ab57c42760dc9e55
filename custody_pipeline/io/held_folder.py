"""Folders for files of one process, which do not outlive it for long: what a killed process leaves, the next removes.

A process holds its folder by a lock on a file beside it, which the system takes back when the process ends.

Belongs here: making, holding and removing such folders. Does not: what is in them.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = ".lock"


@contextmanager
def held_folder(place: Path) -> Iterator[Path]:
    """A new folder below `place` until the block ends, readable by this user alone.

    First, every folder below `place` that no process holds is removed.
    """
    place.mkdir(parents=True, exist_ok=True)
    remove_left(place)
    folder = place / secrets.token_hex(8)
    # Another thread may end the block.
    with FileLock(folder.with_suffix(_LOCK), thread_local=False):
        try:
            folder.mkdir(0o700)
            yield folder
        finally:
            _remove(folder)


def remove_left(place: Path) -> None:
    """Remove the folders below `place` that no process holds."""
    for folder in place.iterdir() if place.is_dir() else ():
        if folder.suffix != _LOCK:
            with suppress(Timeout), FileLock(folder.with_suffix(_LOCK), timeout=0):
                _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(_LOCK).unlink(missing_ok=True)
