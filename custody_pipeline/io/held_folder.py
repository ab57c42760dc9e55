"""Folders for files of one process, which do not outlive it for long: what a killed process leaves, the next removes.

A process holds its folder by a lock on the folder itself, which the system takes back when the process ends.

Belongs here: making, holding and removing such folders. Does not: what is in them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def held_folder(place: Path) -> Iterator[Path]:
    """A new folder below `place` until the block ends, readable by this user alone.

    First, everything below `place` that no process holds is removed.
    """
    place.mkdir(parents=True, exist_ok=True)
    remove_left(place)
    folder = place / secrets.token_hex(8)
    with ExitStack() as held:
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        unseen = folder.with_name(f".{folder.name}")
        unseen.mkdir(0o700)
        lock = os.open(unseen, os.O_RDONLY)
        held.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        unseen.rename(folder)
        yield folder


def remove_left(place: Path) -> None:
    """Remove the folders below `place` that no process holds."""
    # A hidden folder is not held yet.
    for folder in place.glob("[!.]*"):
        with suppress(FileNotFoundError, BlockingIOError), ExitStack() as held:
            lock = os.open(folder, os.O_RDONLY)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
