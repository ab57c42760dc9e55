"""Removing a folder of which a killed process must leave no nameless part.

Belongs here: a folder, or the one that a link names. Does not: whether it may be removed.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def is_going(folder: Path) -> bool:
    """Whether a removal was begun and not ended."""
    return not folder.exists() and _going(folder).exists()


def remove_folder(folder: Path) -> None:
    """Give the folder another name, then remove it, so that a killed removal is known and can be ended."""
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
