"""Changes to a folder, named in a table and made later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec

P = ParamSpec("P")


def later(change: Callable[Concatenate[Path, P], None]) -> Callable[P, Callable[[Path], None]]:
    """Called with all arguments but the folder, the function gives what changes a folder."""
    return lambda *args, **options: lambda folder: change(folder, *args, **options)
