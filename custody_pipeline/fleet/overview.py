"""One database over all nights: what `status`, `gaps`, `explain` and rechecks read.

With one warehouse, this is the warehouse or the analysts' snapshot. With several workers, it is an `analyst.duckdb` of
views over the published Parquet, with the small tables that nights share. The next reader makes the file again after a
night shared something new.

Belongs here: that file, opening what readers read, and access to S3 for the views. Does not: queries (operations).
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from filelock import FileLock

from custody_pipeline.evidence.cut.manifest import cut_prefix
from custody_pipeline.fleet.night_objects import Nights
from custody_pipeline.fleet.shared_rows import SHARED, take_over
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.s3 import S3Location, s3_store
from custody_pipeline.models.run import add_events, comment_on, prepare
from custody_pipeline.settings import SettingsError
from custody_pipeline.warehouse.connection import LOCK_TIMEOUT_SECONDS, Warehouse
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.ledger import append_acts
from custody_pipeline.warehouse.night_states import mark_nights
from custody_pipeline.warehouse.snapshot import (
    SNAPSHOT_STORAGE_VERSION,
    SnapshotError,
    log_beside,
    nights_left_out,
    refuse_other_writes,
)
from custody_pipeline.warehouse.sql_files import SQL_DIR, declared_columns, load_models, query, read_model
from custody_pipeline.warehouse.sql_text import literal, table_columns, transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date, datetime

    from custody_pipeline.settings import Settings
    from custody_pipeline.warehouse.ledger import Act, Actor


@contextmanager
def overview(
    settings: Settings, *, lock_timeout: float = LOCK_TIMEOUT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """All nights, read-only: with one warehouse the warehouse itself. None before there is any night."""
    if settings.nights_url is None:
        if not settings.warehouse_path.exists():
            yield None
            return
        with Warehouse(settings, lock_timeout=lock_timeout).open(read_only=True) as con, _of_this_version(con):
            yield con
        return
    path = refresh(settings)
    with duckdb.connect(str(path), read_only=True, config={"memory_limit": settings.duckdb_memory_limit}) as con:
        reach_s3(con, settings)
        with _of_this_version(con):
            yield con if table_columns(con, "raw.publications") else None


def lost_warehouse(settings: Settings) -> str:
    """A sentence if this home has sealed nights and its warehouse is gone; otherwise empty."""
    from custody_pipeline.publish.sealing import has_sealed

    if settings.nights_url is not None or settings.warehouse_path.exists() or not has_sealed(settings):
        return ""
    return f"{settings.warehouse_path} is not there, and this home has sealed nights: custody rebuild"


@contextmanager
def analyst_database(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The read-only snapshot. It can be read while a night runs.

    Raises:
        SettingsError: there is no snapshot yet.
        SnapshotError: it is damaged, another program wrote to it, or it lacks a column that is asked for.
    """
    if settings.nights_url is not None:
        refresh(settings)
    if not settings.analyst_path.exists():
        raise SettingsError(
            lost_warehouse(settings)
            or f"{settings.analyst_path} is not there: no run of this home published a night; custody status says why, "
            "and CUSTODY_HOME names another home"
        )
    refuse_other_writes(settings.analyst_path)
    try:
        limit: dict[str, str | bool | int | float | list[str]] = {"memory_limit": settings.duckdb_memory_limit}
        with duckdb.connect(str(settings.analyst_path), read_only=True, config=limit) as con:
            if settings.nights_url is not None:
                reach_s3(con, settings)
            with _of_this_version(con):
                yield con
    except duckdb.IOException as error:
        raise SnapshotError(
            f"{settings.analyst_path} cannot be read ({str(error).splitlines()[0]}); run a night: that replaces it"
        ) from error


@contextmanager
def every_night(
    settings: Settings, first: date | None = None, last: date | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """As `analyst_database`, with the nights that the retention policy leaves out of the snapshot.

    If there are any from `first` to `last`, this is the warehouse, and waits for a run. No run of this process may have
    the warehouse open.
    """
    left_out = any((first or night) <= night <= (last or night) for night in nights_left_out(settings))
    whole = left_out and settings.nights_url is None
    if not whole:
        with analyst_database(settings) as con:
            yield con
        return
    with Warehouse(settings).open(read_only=True) as con, _of_this_version(con):
        yield con


@contextmanager
def _of_this_version(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Raise SnapshotError if a query fails because an earlier version made a table, without a column of today."""
    try:
        yield
    except duckdb.BinderException as error:
        tables = tuple(model.name for model in load_models().values() if model.schema == "custody")
        there = {table: table_columns(con, f"custody.{table}") for table in tables}
        declared = [(column["table_name"], column["column_name"]) for column in declared_columns(tables)]
        lacking = [f"{table}.{name}" for table, name in declared if there[str(table)] and name not in there[str(table)]]
        if not lacking:
            raise
        raise SnapshotError(
            f"an earlier version of custody made the tables of this home (no {lacking[0]}): "
            "run its nights again, custody run --from … --to …"
        ) from error


def refresh(settings: Settings) -> Path:
    """Bring `analyst.duckdb` of a deployment with several workers up to date.

    Returns:
        Its path.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: S3 cannot be read.
    """
    target = settings.analyst_path.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        shared = Nights.of(settings).shared_copies()
        names = " ".join([str(settings.publish_url), *(path.name for path in shared)])
        made_from = hashlib.sha256(names.encode()).hexdigest()
        log = log_beside(target)
        if target.exists() and not log.exists() and _made_from(target) == made_from:
            return target
        folder = Path(tempfile.mkdtemp(prefix="analyst-", dir=target.parent))
        try:
            fresh = folder / target.name
            _write(settings, shared, made_from, fresh)
            fresh.chmod(0o400)
            log.unlink(missing_ok=True)
            fresh.replace(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return target


def _made_from(path: Path) -> str | None:
    """The names of the objects that the file was made from, as a digest; None if the file does not tell."""
    with suppress(duckdb.IOException), duckdb.connect(str(path), read_only=True) as con:
        if not table_columns(con, "raw.made_from"):
            return None
        (found,) = con.execute("SELECT told FROM raw.made_from").fetchone() or (None,)
        return None if found is None else str(found)
    return None  # the file is damaged


def _write(settings: Settings, shared: list[Path], made_from: str, to: Path) -> None:
    # Analysts may use another version of DuckDB.
    with duckdb.connect(str(to), config={"storage_compatibility_version": SNAPSHOT_STORAGE_VERSION}) as con:
        prepare(con)
        take_over(con, None, shared)
        if table_columns(con, "custody.nights"):
            mark_nights(con, settings)
        con.execute("CREATE TABLE raw.made_from AS SELECT ? AS told", [made_from])
        reach_s3(con, settings)
        for table in (table for table in PUBLISHED_TABLES if f"custody.{table}" not in SHARED):
            _create_view(con, S3Location.parse(settings.require("publish_url")), table)
        for (table,) in con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'custody'").fetchall():
            _comment(con, "TABLE", table)


def _create_view(con: duckdb.DuckDBPyConnection, place: S3Location, table: str) -> None:
    """A view of a published table: the sealed files of the newest revisions, which never change.

    Nights with the same columns are read together: DuckDB then opens only one file to learn the columns.
    """
    groups: dict[str, list[str]] = {}
    found = con.execute(query("fleet/columns_of_nights"), {"table": table}).fetchall()
    for night, revision, columns in found:
        at = place / f"{cut_prefix(night.isoformat(), revision)}data/{table}.parquet"
        groups.setdefault(columns, []).append(str(at))
    if not groups:
        return
    # The night is taken from the path, so that a query about one night opens one file.
    selects = [
        'SELECT * EXCLUDE ("date") REPLACE ("date" AS partition_date) '
        f"FROM read_parquet([{', '.join(map(literal, files))}]"
        ", hive_partitioning = true, hive_types = {'date': DATE})"
        for files in groups.values()
    ]
    con.execute(f"CREATE VIEW custody.{table} AS {' UNION ALL BY NAME '.join(selects)}")
    _comment(con, "VIEW", table)


def _comment(con: duckdb.DuckDBPyConnection, kind: str, table: str) -> None:
    model = read_model(SQL_DIR / "custody" / f"{table}.sql")
    comment_on(con, kind, model, table_columns(con, model.key), model.key)


def reach_s3(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Let this connection read `s3://` with the settings' credentials, without DuckDB's extension `httpfs`.

    A selection denies its connection external access: only the published place can be read then.
    """
    from obstore.fsspec import FsspecStore

    class Store(FsspecStore):
        """obstore's file system, with clients made by `io.s3`."""

        def _construct_store(self, bucket: str) -> Any:
            return s3_store(settings, bucket)

    con.register_filesystem(Store("s3"))
    con.execute(f"SET allowed_directories = [{literal(settings.require('publish_url').rstrip('/') + '/')}]")


def record_acts(
    settings: Settings, actor: Actor, acts: Iterable[Act], *, lock_timeout: float = LOCK_TIMEOUT_SECONDS
) -> None:
    """Append to the ledger, all acts or none, and bring the custody events of their nights up to date.

    With several workers the acts are stored on S3: the next run of each night adds them.

    Args:
        acts: of any nights.
        lock_timeout: seconds to wait for the warehouse.

    Raises:
        WarehouseError: the warehouse is in use, or S3 cannot be written: nothing was recorded.
    """
    if settings.nights_url is not None:
        Nights.of(settings).put_acts(actor, acts)
        return
    nights: dict[date, datetime] = {}
    now = utc_now()

    def seen() -> Iterator[Act]:
        for act in acts:
            nights[act.night] = min(nights.get(act.night, now), act.occurred_at or now)
            yield act

    with Warehouse(settings, lock_timeout=lock_timeout).open() as con:
        with transaction(con):
            append_acts(con, actor, seen())
        con.execute("CHECKPOINT")  # otherwise the acts stay in memory while their events are made
        for night, since in nights.items():
            add_events(con, night, since)


def is_packaged(settings: Settings, sha256: str) -> bool:
    """Whether the ledger has the hand-over of a manifest. False, not known, with several workers: acts wait on S3."""
    if settings.nights_url is not None:
        return False
    with Warehouse(settings).open() as con:
        found = con.execute("SELECT 1 FROM raw.acts WHERE action = 'packaged' AND sha256_after = ? LIMIT 1", [sha256])
        return found.fetchone() is not None
