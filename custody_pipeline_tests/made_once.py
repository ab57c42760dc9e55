"""A file that one process of the tests makes, and all of them copy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The file of this name; `make` is given the path to write to."""
    folder = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / name
    with FileLock(folder / f"{name}.lock"):
        if not path.exists():
            make(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
    return path
