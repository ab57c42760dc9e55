"""The warehouse: one DuckDB file, one writer, a night replaced at a time.

Belongs here: opening and closing, running the SQL models, hashing what they made, the analysts' snapshot. Does not:
what the models say (sql/), and filling `raw` (extract/load.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb
from filelock import FileLock, Timeout

from custody_pipeline.actor import Actor
from custody_pipeline.acts import append_joins, create_acts
from custody_pipeline.extract.fixity import create_fixity_checks
from custody_pipeline.extract.load import create_raw_tables
from custody_pipeline.mapping import TagMapping, create_mapping_tables, write_mapping
from custody_pipeline.reasons import write_reasons
from custody_pipeline.sql_models import SQL_DIR, SqlModel, models_sha256, read_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from custody_pipeline.settings import Settings

# The tables that a night publishes, in the order in which its content is hashed.
PUBLISHED_TABLES = ("chain_of_custody", "custom_data", "gaps", "custody_events", "reconciliation")

# Events that say nothing new of a recording: what they are about is in the other tables, and counted there.
NO_CONTENT = ("exception", "joined", "published", "rechecked", "verified")

# A backfill may hold the warehouse for minutes; an hour means that something hangs.
LOCK_TIMEOUT_SECONDS = 3600.0

DEFAULT_LAG_HOURS = 72

# Into how many parts a night is taken apart, if it does not fit into memory whole.
PARTS_OF_A_NIGHT = (1, 4, 16, 64)

# Rows of a group in the analysts' snapshot, a quarter of DuckDB's own: a night rewrites the last group of each table.
# With a thousand small nights before, the snapshot takes 0.2 s instead of 0.6 s. A multiple of 2,048.
SNAPSHOT_ROW_GROUP = 30_720

# The oldest DuckDB that can open the warehouse, and the analysts' snapshot. A file keeps the version it was made with.
STORAGE_VERSION = "v1.5.0"
SNAPSHOT_STORAGE_VERSION = "v1.0.0"

_DIGESTS_AT_ONCE = 100_000

logger = logging.getLogger(__name__)
DEFAULT_RECHECK_DAYS = 30


class WarehouseError(Exception):
    """The warehouse cannot be used. The message says what to do."""


class WarehouseBusyError(WarehouseError):
    """Another process holds the warehouse."""


class SchemaChangedError(WarehouseError):
    """A model gives a column another type than its table has."""


class Warehouse:
    """The warehouse of one deployment.

    Args:
        settings: where it is, and how much memory and how many threads DuckDB may take.
        lock_timeout: seconds to wait for another writer.
    """

    def __init__(self, settings: Settings, *, lock_timeout: float = LOCK_TIMEOUT_SECONDS) -> None:
        self.settings = settings
        self.lock_timeout = lock_timeout

    @contextlib.contextmanager
    def open(self, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, closed whatever happens. Whoever comes second waits.

        Raises:
            WarehouseBusyError: another process held the warehouse for longer than `lock_timeout` seconds.
            WarehouseError: the file is not there (reading) or is no DuckDB file of this version.
        """
        path = self.settings.warehouse_path
        if read_only and not path.exists():
            raise WarehouseError(f"{path} does not exist yet; run a night first: custody run --date 2026-11-02")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"), timeout=self.lock_timeout)
        try:
            lock.acquire()
        except Timeout as error:
            raise WarehouseBusyError(
                f"{path} is being written by another run since more than {self.lock_timeout:g} s; "
                "wait for that run, or end it, then try again"
            ) from error
        try:
            con = self._connect(path, read_only)
            try:
                if not read_only:
                    prepare(con)
                yield con
            finally:
                con.close()
        finally:
            lock.release()

    def _connect(self, path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.settings.duckdb_memory_limit,
            "temp_directory": str(self.settings.home / "spill"),
            # Nobody else opens the warehouse. What older versions of DuckDB cannot read is smaller by a fifth, and
            # written faster.
            "storage_compatibility_version": STORAGE_VERSION,
            # Rows are ordered where order matters (publishing); keeping it everywhere costs memory.
            "preserve_insertion_order": False,
        }
        if self.settings.duckdb_threads is not None:
            config["threads"] = self.settings.duckdb_threads
        try:
            con = duckdb.connect(str(path), read_only=read_only, config=config)
        except duckdb.IOException as error:
            raise WarehouseBusyError(
                f"{path} cannot be opened; if a program of yours has it open, close it (analysts read "
                f"{self.settings.analyst_path.name}): {error}"
            ) from error
        # Cursors of this connection take it over, too.
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        # It would be drawn into what `--json` prints.
        con.execute("SET enable_progress_bar = false")
        return con


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the schemas and every table that Python fills, if they are not there."""
    con.execute("SET TimeZone = 'UTC'")
    for schema in ("raw", "staging", "custody"):
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    ensure_raw_tables(con)
    create_mapping_tables(con)
    write_reasons(con)


def ensure_raw_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Create the raw tables: those that loads fill, and those that our own acts fill."""
    create_raw_tables(con)
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.publications (partition_date DATE, revision INTEGER, content_sha256 VARCHAR, "
        "published_at TIMESTAMP, complete BOOLEAN, files STRUCT(table_name VARCHAR, format VARCHAR, uri VARCHAR, "
        "sha256 VARCHAR, bytes BIGINT, rows BIGINT)[], operator VARCHAR, tool_version VARCHAR)"
    )
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.row_versions (partition_date DATE, conversation_id VARCHAR, "
        "recording_id VARCHAR, row_sha256 VARCHAR, revision INTEGER)"
    )
    con.execute(
        "CREATE TABLE IF NOT EXISTS raw.published_columns (partition_date DATE, revision INTEGER, "
        "published_at TIMESTAMP, table_name VARCHAR, column_name VARCHAR, data_type VARCHAR)"
    )
    for column in ("git_revision", "cut_uri", "cut_sha256"):
        con.execute(f"ALTER TABLE raw.publications ADD COLUMN IF NOT EXISTS {column} VARCHAR")
    create_acts(con)
    create_fixity_checks(con)


# --- models ----------------------------------------------------------------------------------------------------------


def model_params(
    model: SqlModel,
    night: date,
    mapping: TagMapping | None = None,
    settings: Settings | None = None,
    *,
    end: date | None = None,
) -> dict[str, Any]:
    """The values of a model's `$parameters`.

    Args:
        model: the model; only its own parameters are given.
        night: first day of the window.
        mapping: needed by models with mapped columns.
        settings: the lag after which a night is final, how long it is rechecked, and the organisation's region;
            defaults without them.
        end: day after the window; the next day when None.
    """
    values: dict[str, Any] = {
        "window_start": night,
        "window_end": end or night + timedelta(days=1),
        "lag_hours": settings.lag_hours if settings else DEFAULT_LAG_HOURS,
        "recheck_days": settings.recheck_days if settings else DEFAULT_RECHECK_DAYS,
        "api_region": settings.api_region if settings else None,
    }
    if mapping is not None:
        values["mapped_columns"] = mapping.structure
    missing = model.parameters - values.keys()
    if missing:
        raise WarehouseError(f"{model.key} needs {', '.join(sorted(missing))}, which the caller did not give")
    return {name: values[name] for name in model.parameters}


def materialize(
    con: duckdb.DuckDBPyConnection,
    model: SqlModel,
    night: date,
    mapping: TagMapping,
    settings: Settings | None = None,
) -> int:
    """Bring one model up to date for one night.

    Views are replaced; tables get the night's rows replaced in one transaction.

    Returns:
        Rows of the night; 0 for views.
    """
    write_mapping(con, mapping, night)
    return _materialize(con, model, night, mapping, settings)


def _materialize(
    con: duckdb.DuckDBPyConnection, model: SqlModel, night: date, mapping: TagMapping, settings: Settings | None
) -> int:
    if model.materialized == "view":
        _create_view(con, model)
        return 0
    params = model_params(model, night, mapping, settings)
    rows = replace_window(con, model, night, night + timedelta(days=1), params)
    if model.key == "custody.chain_of_custody":
        how = f"SQL sha256:{models_sha256()} mapping sha256:{mapping.sha256}"
        append_joins(con, Actor.of(settings), night, how)
    return rows


def refresh_events(con: duckdb.DuckDBPyConnection, night: date, *, about_night_alone: bool = False) -> None:
    """Bring `custody.custody_events` of a night up to date after an act.

    Args:
        con: the warehouse, open for writing.
        night: which partition.
        about_night_alone: only events of the night as a whole, which is much less work than those of every recording.
    """
    model = read_model(SQL_DIR / "custody" / "custody_events.sql")
    if not table_columns(con, model.key):
        return  # no night was modelled yet
    params = model_params(model, night)
    if not about_night_alone:
        replace_window(con, model, night, night + timedelta(days=1), params)
        return
    _fit_table(con, model, params)
    with _transaction(con):
        con.execute(f"DELETE FROM {model.key} WHERE partition_date = ? AND conversation_id = ''", [night])
        con.execute(
            f"INSERT INTO {model.key} BY NAME SELECT * FROM (\n{model.sql}\n) WHERE conversation_id = ''", params
        )


def run_models(
    con: duckdb.DuckDBPyConnection,
    models: Mapping[str, SqlModel],
    night: date,
    mapping: TagMapping,
    settings: Settings | None = None,
) -> dict[str, int]:
    """Bring every staging and custody model up to date for one night, in the order of their dependencies.

    Returns:
        Rows of the night by `schema.name`.
    """
    write_mapping(con, mapping, night)
    return {
        key: _materialize(con, model, night, mapping, settings)
        for key, model in models.items()
        if model.schema in {"staging", "custody"}
    }


def _create_view(con: duckdb.DuckDBPyConnection, model: SqlModel) -> None:
    _drop_other_kind(con, model, "TABLE")
    with _transaction(con):
        # Commenting on every column costs more than everything else here: only a view that changed is replaced.
        con.execute(f"CREATE OR REPLACE TEMP VIEW view_probe AS {model.sql}")
        there = _view_select(con, model.schema, model.name)
        if there is not None and there == _view_select(con, "main", "view_probe"):
            return
        con.execute(f"CREATE OR REPLACE VIEW {model.key} AS {model.sql}")
        _comment(con, "VIEW", model, [column.name for column in model.columns])


def _drop_other_kind(con: duckdb.DuckDBPyConnection, model: SqlModel, kind: Literal["TABLE", "VIEW"]) -> None:
    """Make room for a staging model that an earlier version made as a view instead of a table, or the reverse."""
    there = con.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_catalog = current_database() AND table_schema = ? "
        "AND table_name = ? AND (table_type = 'VIEW') = ?",
        [model.schema, model.name, kind == "VIEW"],
    ).fetchone()
    if there is not None and model.schema == "staging":
        con.execute(f"DROP {kind} {model.key}")


def _view_select(con: duckdb.DuckDBPyConnection, schema: str, name: str) -> str | None:
    """A view's SELECT as DuckDB writes it; None if there is no such view."""
    row = con.execute(
        "SELECT sql FROM duckdb_views() WHERE schema_name = ? AND view_name = ? "
        "AND database_name IN (current_database(), 'temp')",
        [schema, name],
    ).fetchone()
    return str(row[0]).partition(" AS ")[2] if row else None


@contextlib.contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()


def replace_window(
    con: duckdb.DuckDBPyConnection, model: SqlModel, start: date, end: date, params: Mapping[str, Any]
) -> int:
    """Replace the rows of `model` whose partition_date lies in [start, end), in one transaction.

    The table is created when it is not there and gets columns that are new; columns that the model no longer gives
    stay, null from now on. A night that does not fit into memory is inserted a part of its conversations at a time:
    DuckDB spills rows that it sorts, joins and groups to disk, but not what aggregates such as `arg_min` keep.

    Returns:
        Rows inserted.

    Raises:
        SchemaChangedError: a column's type differs from the table's.
        duckdb.OutOfMemoryException: a part of the conversations does not fit into memory either.
    """
    _fit_table(con, model, params)
    for parts in PARTS_OF_A_NIGHT:
        try:
            with _transaction(con):
                con.execute(f"DELETE FROM {model.key} WHERE partition_date >= ? AND partition_date < ?", [start, end])
                return sum(_insert(con, model, part, params) for part in _parted(con, model, parts))
        except duckdb.OutOfMemoryException:
            if parts == PARTS_OF_A_NIGHT[-1] or "conversation_id" not in model.grain:
                raise
            logger.info("%s does not fit into memory in %d part(s); trying more.", model.key, parts)
    raise AssertionError("unreachable")


def _parted(con: duckdb.DuckDBPyConnection, model: SqlModel, parts: int) -> list[str]:
    """The model's SELECT as so many that give its rows together, each those of some conversations."""
    if parts == 1:
        return [model.sql]
    # Ids are UUIDs, so their first digits divide them evenly. Comparing them with constants is what DuckDB does early,
    # before it groups by conversation: not so with a remainder, which might fail.
    edges = [f"{number:02x}" for number in range(0, 256, 256 // parts)][1:]
    conditions = [
        f"coalesce(conversation_id, '') < '{edges[0]}'",
        *(f"conversation_id >= '{low}' AND conversation_id < '{high}'" for low, high in pairwise(edges)),
        f"conversation_id >= '{edges[-1]}'",
    ]
    return [f"FROM (\n{_reading(con, model, condition)}\n) WHERE {condition}" for condition in conditions]


def _reading(con: duckdb.DuckDBPyConnection, model: SqlModel, condition: str) -> str:
    """The model's SELECT; one that is separable reads what fulfils a condition on its conversations, and what has none.

    What it joins before it groups, or names twice and so computes at once, is then a part of the night as well.
    """
    select = model.sql
    for key in model.depends_on if model.separable else ():
        # What was asked for counts, where a document may name another conversation.
        asked = [name for name in ("key_conversation_id", "conversation_id") if name in table_columns(con, key)]
        if asked:
            of_part = f"{asked[0]} IS NULL OR {asked[0]} = '' OR {condition.replace('conversation_id', asked[0])}"
            select = re.sub(rf"\b{re.escape(key)}\b", f"(SELECT * FROM {key} WHERE {of_part})", select)
    return select


def _insert(con: duckdb.DuckDBPyConnection, model: SqlModel, select: str, params: Mapping[str, Any]) -> int:
    inserted = con.execute(f"INSERT INTO {model.key} BY NAME {select}", dict(params)).fetchone()
    return int(inserted[0]) if inserted else 0


def _fit_table(con: duckdb.DuckDBPyConnection, model: SqlModel, params: Mapping[str, Any]) -> None:
    _drop_other_kind(con, model, "VIEW")
    output = {row[0]: row[1] for row in con.execute(f"DESCRIBE {model.sql}", dict(params)).fetchall()}
    there = table_columns(con, model.key)
    if not there:
        con.execute(f"CREATE TABLE {model.key} AS {_limited(model.sql)}", dict(params))
    for name, kind in output.items() if there else ():
        if name not in there:
            con.execute(f"ALTER TABLE {model.key} ADD COLUMN {_quoted(name)} {kind}")
        elif there[name] != kind:
            raise SchemaChangedError(
                f"{model.key}.{name} is {there[name]} in the warehouse, and {kind} in {model.path.name}: "
                f"drop the table and run the nights again (raw has everything), or restore the type"
            )
    if there.keys() != output.keys():
        _comment(con, "TABLE", model, list(output))


def _limited(sql: str) -> str:
    return f"SELECT * FROM (\n{sql}\n) LIMIT 0"


def table_columns(con: duckdb.DuckDBPyConnection, key: str) -> dict[str, str]:
    """Columns of `schema.name` in order, name → type; empty if it is not there."""
    rows = con.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name || '.' || table_name = ? ORDER BY column_index",
        [key],
    ).fetchall()
    return dict(rows)


def _comment(con: duckdb.DuckDBPyConnection, kind: str, model: SqlModel, columns: Iterable[str]) -> None:
    # COMMENT takes no parameters; literals and names are quoted.
    con.execute(f"COMMENT ON {kind} {model.key} IS {_literal(model.description)}")
    described = {column.name: column for column in model.columns}
    for name in columns:
        column = described.get(name)
        text = (
            f"{column.description}{' [pii]' if column.pii else ''}" if column else "a column of the tag mapping [pii]"
        )
        con.execute(f"COMMENT ON COLUMN {model.key}.{_quoted(name)} IS {_literal(text)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def run_check(
    con: duckdb.DuckDBPyConnection, check: SqlModel, night: date, mapping: TagMapping | None = None
) -> list[dict[str, Any]]:
    """The offending rows of one check for one night; none means that it passed."""
    answer = con.execute(check.sql, model_params(check, night, mapping))
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


# --- content hashes ---------------------------------------------------------------------------------------------------


def append_row_versions(con: duckdb.DuckDBPyConnection, night: date, *, counted_as: int, revision: int) -> int:
    """Record in `raw.row_versions` the content of the night's rows that are new or changed.

    Args:
        con: the warehouse, within the transaction that records the publication.
        night: the partition.
        counted_as: the revision by which the model marked these rows: what it took for the next one.
        revision: the one that they were published with.

    Returns:
        How many rows that were.
    """
    inserted = con.execute(
        """
        INSERT INTO raw.row_versions BY NAME
        SELECT partition_date, conversation_id, recording_id, row_sha256, $revision::INTEGER AS revision
        FROM custody.chain_of_custody
        WHERE partition_date = $night AND revision = $counted_as
        ORDER BY conversation_id, recording_id
        """,
        {"night": night, "counted_as": counted_as, "revision": revision},
    ).fetchone()
    return int(inserted[0]) if inserted else 0


def append_published_columns(
    con: duckdb.DuckDBPyConnection, night: date, *, revision: int, published_at: datetime
) -> None:
    """Record in `raw.published_columns` what readers of this publication rely on: each column and its type.

    Args:
        con: the warehouse, within the transaction that records the publication.
        night: the partition.
        revision: the one that was published.
        published_at: when (UTC, without a zone).
    """
    con.execute(
        """
        INSERT INTO raw.published_columns
        SELECT $night, $revision::INTEGER, $published_at::TIMESTAMP, table_name, column_name, data_type
        FROM duckdb_columns()
        WHERE database_name = current_database() AND schema_name = 'custody' AND list_contains($tables, table_name)
        """,
        {"night": night, "revision": revision, "published_at": published_at, "tables": list(PUBLISHED_TABLES)},
    )


def night_content_sha256(con: duckdb.DuckDBPyConnection, night: date) -> str:
    """SHA-256 over every published row of a night, in order; equal content gives an equal hash.

    Left out: `revision`, which counts publications; events that looking at the night leaves behind (`NO_CONTENT`),
    which would make each publication the reason of the next; and the numbering of events, which counts those too.
    Columns that are null all night do not count, so that a column of a later mapping changes no earlier night.
    """
    digests = [f"{table} {_table_sha256(con, table, night)}" for table in PUBLISHED_TABLES]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _table_sha256(con: duckdb.DuckDBPyConnection, table: str, night: date) -> str:
    names = [name for name in sorted(table_columns(con, f"custody.{table}")) if name not in {"revision", "sequence"}]
    rows = "partition_date = $night"
    if table == "custody_events":
        rows += f" AND action NOT IN {NO_CONTENT}"
    counts = con.execute(
        f"SELECT {', '.join(f'count({_quoted(name)})' for name in names)} FROM custody.{table} WHERE {rows}",
        {"night": night},
    ).fetchone()
    filled = [_quoted(name) for name, count in zip(names, counts or (), strict=True) if count]
    if not filled:
        return "empty"
    # Rows as digests, sorted: DuckDB's sort spills, and sorted digests need no other order.
    digests = con.execute(
        f"SELECT sha256(to_json(struct_pack({', '.join(f'{name} := {name}' for name in filled)}))) AS digest "
        f"FROM custody.{table} WHERE {rows} ORDER BY digest",
        {"night": night},
    ).to_arrow_reader(_DIGESTS_AT_ONCE)
    whole = hashlib.sha256()
    for batch in digests:
        # Text of one length lies in one piece: as if each were taken by itself.
        column, size = batch.column(0), 2 * whole.digest_size
        text = memoryview(column.buffers()[2])
        whole.update(text[column.offset * size : (column.offset + len(column)) * size])
    return whole.hexdigest()


# --- the analysts' snapshot ------------------------------------------------------------------------------------------


def snapshot_for_analysts(con: duckdb.DuckDBPyConnection, settings: Settings, night: date | None = None) -> Path:
    """Write `analyst.duckdb` (schema `custody`, with comments) beside the old one, then put it in its place.

    Whoever has the old file open goes on reading it; whoever opens it next reads the new one.

    With a night, only what changed is written, into a copy of the last snapshot: that night, and each one that has more
    or fewer rows in some table, or another row in `custody.nights`. Everything is written where there is no snapshot,
    where somebody else changed it, or where a table, a column or a comment is another one.

    Args:
        con: the warehouse, open for writing.
        settings: where to.
        night: the night that was modelled last; everything is written if None.
    """
    target = settings.analyst_path
    folder = Path(tempfile.mkdtemp(prefix="analyst-", dir=target.parent))
    try:
        fresh = folder / target.name
        keep = night is not None and _is_as_we_left_it(con, target)
        if keep:
            shutil.copyfile(target, fresh)
        # Analysts may have another version of DuckDB than ours.
        how = f"ROW_GROUP_SIZE {SNAPSHOT_ROW_GROUP}, STORAGE_VERSION '{SNAPSHOT_STORAGE_VERSION}'"
        con.execute(f"ATTACH {_literal(str(fresh))} AS analyst ({how})")
        try:
            if keep and night is not None and _shape(con, "analyst") == _shape(con):
                _replace_nights(con, night)
            else:
                con.execute("DROP SCHEMA IF EXISTS analyst.custody CASCADE")
                _copy_custody(con)
        finally:
            con.execute("DETACH analyst")
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(target)
        con.execute(
            "CREATE OR REPLACE TABLE raw.analyst_snapshot AS SELECT ?::BIGINT AS bytes, ?::BIGINT AS modified_ns",
            _seen(target),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _seen(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_size, there.st_mtime_ns


def _is_as_we_left_it(con: duckdb.DuckDBPyConnection, path: Path) -> bool:
    if not path.exists() or not table_columns(con, "raw.analyst_snapshot"):
        return False
    return con.execute("SELECT bytes, modified_ns FROM raw.analyst_snapshot").fetchall() == [_seen(path)]


def _shape(con: duckdb.DuckDBPyConnection, database: str | None = None) -> list[tuple[Any, ...]]:
    """Tables and columns of a database's schema `custody`, with types and comments."""
    return con.execute(
        """
        SELECT t.table_name, t.comment, c.column_name, c.data_type, c.comment
        FROM duckdb_tables() AS t
        INNER JOIN duckdb_columns() AS c USING (database_name, schema_name, table_name)
        WHERE database_name = coalesce($database, current_database()) AND schema_name = 'custody'
        ORDER BY t.table_name, c.column_index
        """,
        {"database": database},
    ).fetchall()


def _replace_nights(con: duckdb.DuckDBPyConnection, night: date) -> None:
    """Bring the attached snapshot up to date for `night` and whatever else changed since it was written."""
    tables = [_quoted(name) for name in dict.fromkeys(row[0] for row in _shape(con))]
    changed = {night}
    for table in tables:
        rows = "FROM {}" if table == '"nights"' else "SELECT partition_date, count(*) FROM {} GROUP BY ALL"
        both = [rows.format(f"{schema}.{table}") for schema in ("custody", "analyst.custody")]
        for one, other in (both, both[::-1]):
            changed |= {row[0] for row in con.execute(f"({one}) EXCEPT ({other})").fetchall()}
    with _transaction(con):
        for table in tables:
            for day in sorted(changed):
                con.execute(f"DELETE FROM analyst.custody.{table} WHERE partition_date = ?", [day])
                con.execute(
                    f"INSERT INTO analyst.custody.{table} BY NAME FROM custody.{table} WHERE partition_date = ?", [day]
                )


def _copy_custody(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE SCHEMA analyst.custody")
    tables = con.execute(
        "SELECT table_name, comment FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = 'custody' ORDER BY table_name"
    ).fetchall()
    for table, comment in tables:
        con.execute(f"CREATE TABLE analyst.custody.{_quoted(table)} AS FROM custody.{_quoted(table)}")
        if comment:
            con.execute(f"COMMENT ON TABLE analyst.custody.{_quoted(table)} IS {_literal(comment)}")
        columns = con.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = current_database() "
            "AND schema_name = 'custody' AND table_name = ? AND comment IS NOT NULL",
            [table],
        ).fetchall()
        for column, text in columns:
            con.execute(f"COMMENT ON COLUMN analyst.custody.{_quoted(table)}.{_quoted(column)} IS {_literal(text)}")
