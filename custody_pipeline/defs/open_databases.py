"""Dagster's SQLite storage, with databases that stay open while a night runs.

Dagster opens a database for each of the thousand statements of a run, and each time the last connection closes, SQLite
copies its log into the file. That was a third of a small night. The files are the same; Dagster's own processes read
them as usual.

Belongs here: keeping connections, forgetting an old run's events. Does not: what is stored (Dagster), and where.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from dagster._core.events import DagsterEventType, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster_shared.serdes import deserialize_value, serialize_value
from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.pool import QueuePool


def _engine(url: str) -> Engine:
    # QueuePool keeps a returned connection; Dagster asks for NullPool, which closes it.
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
    event.listen(engine, "connect", _sync_at_checkpoints)
    return engine


def _sync_at_checkpoints(connection: Any, _: object) -> None:
    # After a power failure, a run may have lost its last lines; the file stays sound (https://sqlite.org/wal.html).
    connection.execute("PRAGMA synchronous = NORMAL")


class OpenEventLog(SqliteEventLogStorage):
    """Keeps the index of all runs open, and the run that was used last."""

    def __init__(self, base_dir: str) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir)
        # A run asks a hundred times, each time over a connection of its own.
        self.has_table = cache(super().has_table)  # type: ignore[method-assign]

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._kept(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection
            if shard != INDEX_SHARD_NAME:
                # Dagster's page waits for a change of the run's file, but SQLite has written only to its log.
                os.utime(self.path_for_shard(shard))

    def _kept(self, shard: str) -> Engine:
        if shard not in self._engines:
            for other in self._engines.keys() - {INDEX_SHARD_NAME}:
                self._engines.pop(other).dispose()
            self._engines[shard] = _engine(self.conn_string_for_shard(shard))
        return self._engines[shard]

    def forget(self, run_id: str) -> int:
        """Remove the events of a run. Its materializations stay, with the numbers that Dagster plots over the nights.

        Returns:
            The bytes that are free now.
        """
        table = SqlEventLogStorageTable
        shown = (table.c.run_id == run_id, table.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value)
        with self.index_connection() as index:
            for key, text in index.execute(select(table.c.id, table.c.event).where(*shown)).fetchall():
                kept = serialize_value(_with_numbers(deserialize_value(text, EventLogEntry)))
                index.execute(table.update().where(table.c.id == key).values(event=kept))
            # A plan without a materialization stays: it shows Dagster that the night failed.
            planned = table.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
            made = select(table.c.asset_key).where(*shown).scalar_subquery()
            index.execute(table.delete().where(shown[0], planned, table.c.asset_key.in_(made)))
        if engine := self._engines.pop(run_id, None):
            engine.dispose()
        self._initialized_dbs.discard(run_id)
        files = list(Path(self.path_for_shard(run_id)).parent.glob(f"{run_id}.db*"))
        freed = sum(path.stat().st_size for path in files)
        for path in files:
            path.unlink()
        return freed

    def dispose(self) -> None:
        """Close the open databases."""
        super().dispose()
        for engine in self._engines.values():
            engine.dispose()


def _with_numbers(entry: EventLogEntry) -> EventLogEntry:
    event, whole = entry.dagster_event, entry.asset_materialization
    if event is None or whole is None:
        return entry
    numbers = {name: value for name, value in whole.metadata.items() if isinstance(value.value, int | float)}
    kept = StepMaterializationData(whole.with_metadata(dict(numbers)))
    return entry._replace(dagster_event=event._replace(event_specific_data=kept))


class OpenRuns(SqliteRunStorage):
    """Keeps the database of runs open."""

    _engine: Engine | None = None

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        self._engine = self._engine or _engine(self._conn_string)
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the open databases."""
        super().dispose()
        if self._engine is not None:
            self._engine.dispose()


class OpenStorage(DagsterSqliteStorage):
    """Runs and events that stay open. A night writes no schedules, so Dagster's own storage serves for them."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        history = Path(base_dir) / "history"
        self._run_storage = OpenRuns.from_local(str(history))
        self._event_log_storage = OpenEventLog(str(history / "runs"))

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> OpenStorage:
        """Called by Dagster with the settings of `storage`."""
        return cls(inst_data=inst_data, **config_value)
