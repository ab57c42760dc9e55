"""The warehouse file: one DuckDB database with one writer.

Belongs here: opening, locking and closing. Does not: its tables.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import duckdb
from filelock import BaseFileLock, FileLock, Timeout

from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.bookkeeping import create_bookkeeping
from custody_pipeline.warehouse.kept_open import NoTurnError, keeper_of

logger = logging.getLogger(__name__)

# A backfill may hold the warehouse for minutes. After an hour, something hangs.
LOCK_TIMEOUT_SECONDS = 3600.0

# Seconds. After this time, a user wants to know what the command waits for.
_SAID_AFTER_SECONDS = 2.0

# The oldest version of DuckDB that can open the warehouse. A file keeps the version of its creation.
STORAGE_VERSION = "v1.5.0"

# DuckDB gives a thread 122,880 rows of a table. With fewer, one thread computes while another turns in a loop: a night
# of ten calls took a quarter more CPU time. A warehouse of five hundred calls has about this size; from two thousand
# on, modelling is slower with one thread than with two.
SMALL_BYTES = 8 * 2**20


class WarehouseError(Exception):
    """The warehouse cannot be used. The message says what to do."""


class WarehouseBusyError(WarehouseError):
    """Another process holds the warehouse."""


class NoWarehouseError(WarehouseError):
    """The file is not there: no night was run, or it was lost."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} does not exist; a first night makes it: custody run --date 2026-11-02; if it was lost, "
            "custody rebuild makes it from what landed and what was published"
        )


class Warehouse:
    """The warehouse of one deployment.

    Args:
        settings: give its place, and the memory that DuckDB may take.
        lock_timeout: seconds to wait for another writer.
    """

    def __init__(self, settings: Settings, *, lock_timeout: float = LOCK_TIMEOUT_SECONDS) -> None:
        self.settings = settings
        self.lock_timeout = lock_timeout

    @property
    def path(self) -> Path:
        """The file."""
        if self.settings.nights_url:
            raise WarehouseError(
                "CUSTODY_NIGHTS_URL is set: each night has its own warehouse, and this command needs one of all nights"
            )
        return self.settings.warehouse_path

    def require_file(self) -> None:
        """Raise NoWarehouseError if there is no file: opening it to write would make an empty one."""
        if not self.path.exists():
            raise NoWarehouseError(self.path)

    @contextlib.contextmanager
    def open(self, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, closed at the end of the block; within a block of `kept_open`, a moment later at the latest.

        A second process waits.

        Raises:
            WarehouseBusyError: another process held the warehouse for longer than `lock_timeout` seconds.
            WarehouseError: the file is not there (reading) or is no DuckDB file of this version.
        """
        path, keeper = self.path, keeper_of(self.path)
        if keeper is None or (read_only and not path.exists()):
            opened = self._opened(path, read_only)
        else:
            opened = keeper.lent(self._opened(path), self.lock_timeout)
        try:
            with opened as con:
                yield con
        except NoTurnError as error:
            raise busy(path, self.lock_timeout) from error

    @contextlib.contextmanager
    def _opened(self, path: Path, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.locked(read_only):
            self._prepare(read_only)
            con = self._connect(path, read_only)
            try:
                if not read_only:
                    create_bookkeeping(con)
                yield con
            finally:
                con.close()

    @contextlib.contextmanager
    def locked(self, read_only: bool = False) -> Iterator[None]:
        """Keep every other process from the file. Raises as `open` does."""
        path = self.path
        if read_only and not path.parent.exists():
            raise NoWarehouseError(path)  # who reads a home that is not there makes none
        path.parent.mkdir(parents=True, exist_ok=True)
        # The thread that closes a kept connection is not the one that opened it.
        lock = FileLock(path.with_suffix(".lock"), timeout=self.lock_timeout, thread_local=False)
        try:
            self._acquire(lock)
        except Timeout as error:
            raise busy(path, self.lock_timeout) from error
        except OSError:
            # Who may only read the home cannot lock it. DuckDB refuses to read a file that a run has open.
            if not read_only:
                raise
        try:
            yield
        finally:
            lock.release()

    def _acquire(self, lock: BaseFileLock) -> None:
        try:
            lock.acquire(timeout=min(_SAID_AFTER_SECONDS, self.lock_timeout))
        except Timeout:
            logger.warning("waiting for another run, which holds %s", self.path)
            lock.acquire()

    def _prepare(self, read_only: bool) -> None:
        """Make sure that the file is there, while the lock is held."""
        if read_only:
            self.require_file()

    def check_in(self, con: duckdb.DuckDBPyConnection, *, again: bool = False) -> None:
        """Share what was written with other workers. Does nothing in a home with one warehouse.

        Args:
            con: the warehouse, open for writing.
            again: this object checked in before, and nothing was loaded or erased since.
        """

    def require_ours(self) -> None:
        """Raise if another worker has checked the night in since this one did."""

    def _connect(self, path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.settings.duckdb_memory_limit,
            "temp_directory": str(spill_path(self.settings)),
            # Older versions of DuckDB cannot read this storage format, which is smaller by a fifth and faster to write.
            # Only this product opens the warehouse.
            "storage_compatibility_version": STORAGE_VERSION,
            # Queries order rows where it matters (publishing). Keeping the order of insertion everywhere costs memory.
            "preserve_insertion_order": False,
        }
        if not path.exists() or path.stat().st_size < SMALL_BYTES:
            config["threads"] = 1
        try:
            con = duckdb.connect(str(path), read_only=read_only, config=config)
        except duckdb.IOException as error:
            raise WarehouseBusyError(
                f"{path} cannot be opened ({str(error).splitlines()[0]}); close the program that has it open (analysts "
                f"read {self.settings.analyst_path.name}); if the file is damaged, move it away and run custody rebuild"
            ) from error
        # Cursors of this connection inherit it.
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        # A progress bar would be part of what `--json` prints.
        con.execute("SET enable_progress_bar = false")
        return con


def spill_path(settings: Settings) -> Path:
    """Where DuckDB puts what does not fit into memory; a killed process leaves its files there."""
    return settings.home / "spill"


def busy(path: Path, seconds: float) -> WarehouseBusyError:
    """The error about a warehouse that another process holds for too long."""
    return WarehouseBusyError(
        f"another run has held {path} for more than {seconds:g} s; wait for that run, or end it, then try again"
    )
