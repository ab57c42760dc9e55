"""A long list in the pieces that one request takes.

Belongs here: the pieces. Does not: requests at the same time (concurrency.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in their order, at most `size` at a time."""
    return (list(items[start : start + size]) for start in range(0, len(items), size))
