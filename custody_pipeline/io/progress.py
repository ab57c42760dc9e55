"""Progress of long work, reported without knowing the listener.

Belongs here: the one place that holds the listener. Does not: drawing (cli).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[str, int, int | None], None]


def _silent(what: str, done: int, total: int | None) -> None:
    del what, done, total


_listener: ContextVar[Progress] = ContextVar("progress", default=_silent)


def report(what: str, done: int, total: int | None) -> None:
    """Report that `done` of `total` (None: not known yet) of `what` is done."""
    _listener.get()(what, done, total)


@contextmanager
def listening(listener: Progress) -> Iterator[None]:
    """Send the reports of the block to `listener`, and to the listener before it as well."""
    before = _listener.get()

    def both(what: str, done: int, total: int | None) -> None:
        listener(what, done, total)
        before(what, done, total)

    token = _listener.set(both)
    try:
        yield
    finally:
        _listener.reset(token)
