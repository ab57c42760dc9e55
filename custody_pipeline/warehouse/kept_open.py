"""Keeping the warehouse open from one step of a night to the next.

DuckDB takes 40 ms to open and close a file, and a night does so fifteen times. A connection that nobody uses is closed
after a moment, so that other commands get their turn while the night waits for the API. After a long step it is closed
at once: what DuckDB kept in memory would stay there during the next one. So is the file of a night that was checked in
(fleet/shards.py): the next step compares it with S3.

Belongs here: lending the connection, closing it. Does not: opening it (connection.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import duckdb

IDLE_SECONDS = 0.5
LONG_SECONDS = 2.0


class NoTurnError(Exception):
    """Another thread had the connection for too long."""


class Keeper:
    """Lends one connection, to one block at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._opened = ExitStack()
        self._con: duckdb.DuckDBPyConnection | None = None
        self._is_last = False
        self._idle = threading.Timer(0, self._close_if_idle)

    @contextmanager
    def lent(
        self, opening: AbstractContextManager[duckdb.DuckDBPyConnection], patience: float
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """The open connection; if there is none, a new one.

        Raises:
            NoTurnError: another thread had the connection for longer than `patience` seconds.
        """
        if not self._turn.acquire(timeout=patience):
            raise NoTurnError
        try:
            self._idle.cancel()
            if self._con is None:
                self._con, self._is_last = self._opened.enter_context(opening), False
            begun = time.monotonic()
            try:
                yield self._con
            except BaseException:
                # What the error left of the connection is not for the next block.
                self._close()
                raise
            if self._is_last or time.monotonic() - begun > LONG_SECONDS:
                self._close()
                return
            self._idle = threading.Timer(IDLE_SECONDS, self._close_if_idle)
            self._idle.daemon = True
            self._idle.start()
        finally:
            self._turn.release()

    def end_with_block(self) -> None:
        """Close the connection at the end of the block that has it: the next block begins with a new one."""
        self._is_last = True

    def close(self) -> None:
        """Close the connection, after the block that has it."""
        with self._turn:
            self._idle.cancel()
            self._close()

    def _close_if_idle(self) -> None:
        if self._turn.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._turn.release()

    def _close(self) -> None:
        self._con = None
        self._opened.close()


_KEEPERS: dict[Path, Keeper] = {}
_CHANGING = threading.Lock()
_blocks = 0


def keeper_of(path: Path) -> Keeper | None:
    """The keeper of a file, within a block of `kept_open`."""
    with _CHANGING:
        return _KEEPERS.setdefault(path, Keeper()) if _blocks else None


@contextmanager
def kept_open() -> Iterator[None]:
    """Within the block, a file stays open between two blocks of `Warehouse.open` that follow each other at once."""
    global _blocks
    with _CHANGING:
        _blocks += 1
    try:
        yield
    finally:
        left: list[Keeper] = []
        with _CHANGING:
            _blocks -= 1
            if not _blocks:
                left += _KEEPERS.values()
                _KEEPERS.clear()
        for keeper in left:
            keeper.close()
