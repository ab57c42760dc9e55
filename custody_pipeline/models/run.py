"""Running the SQL models: a night's rows are replaced, one model after the other.

Belongs here: parameters, the order, adding columns to tables, splitting a night that does not fit into memory. Does
not: the models (sql/).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import duckdb

from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.mapping_tables import create_mapping_tables, write_mapping
from custody_pipeline.models.night_views import EVERY_ID, IdRange, reading, restricted, show
from custody_pipeline.models.reasons import write_reasons
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.bookkeeping import create_bookkeeping
from custody_pipeline.warehouse.connection import WarehouseError
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.erasures import write_erasures
from custody_pipeline.warehouse.ledger import Actor, append_joins
from custody_pipeline.warehouse.sql_files import SQL_DIR, SqlModel, declared_columns, models_sha256, query, read_model
from custody_pipeline.warehouse.sql_text import create_table, literal, quoted, rows_of, table_columns, transaction

LAG_HOURS = 72

# A night that does not fit into memory is computed in this many parts.
PARTS_OF_A_NIGHT = (1, 4, 16, 64)
logger = logging.getLogger(__name__)
RECHECK_DAYS = 30


class SchemaChangedError(WarehouseError):
    """A model gives a column another type than its table has."""


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the missing tables that the models read and Python fills. Call this before `materialize`."""
    create_bookkeeping(con)
    create_raw_tables(con)
    create_mapping_tables(con)
    write_reasons(con)
    con.execute("CREATE TABLE IF NOT EXISTS raw.made_by (model VARCHAR, made_by VARCHAR)")


def model_params(
    model: SqlModel, mapping: TagMapping | None = None, settings: Settings | None = None
) -> dict[str, Any]:
    """The values of a model's `$parameters`.

    Args:
        model: the model; only its own parameters are returned.
        settings: have the organisation's region; without settings it is unknown.
    """
    values: dict[str, Any] = {
        "lag_hours": LAG_HOURS,
        "recheck_days": RECHECK_DAYS,
        "api_region": settings.api_region if settings else None,
        "declared_columns": declared_columns(PUBLISHED_TABLES),
    }
    if mapping is not None:
        values["mapped_columns"] = mapping.structure
    missing = model.parameters - values.keys()
    if missing:
        raise WarehouseError(f"{model.key} needs {', '.join(sorted(missing))}, which the caller did not give")
    return {name: values[name] for name in model.parameters}


def materialize(
    con: duckdb.DuckDBPyConnection,
    models: Iterable[SqlModel],
    night: date,
    mapping: TagMapping,
    settings: Settings | None = None,
) -> Iterator[tuple[SqlModel, int]]:
    """Bring models up to date for one night, one after the other, in the given order: dependencies come first.

    Views are replaced. The night's rows of a table are replaced in one transaction.

    Yields:
        Each model when it is up to date, and the number of its rows of the night; 0 for views.
    """
    write_mapping(con, mapping, night)
    fitting, shown, made = _fitting(con, mapping), set[str](), list[str]()
    for model in models:
        fits, rows = model.key in fitting, 0
        if model.materialized != "view":
            params = model_params(model, mapping, settings)
            rows = replace_window(con, model, night, night + timedelta(days=1), params, shown=shown, fits=fits)
        elif not fits:
            _create_view(con, model)
        if not fits:
            made.append(model.key)
        if model.key == "custody.chain_of_custody":
            how = f"SQL sha256:{models_sha256()} mapping sha256:{mapping.sha256}"
            append_joins(con, Actor.of(settings), night, how)
        yield model, rows
    if made:
        con.execute("DELETE FROM raw.made_by WHERE list_contains(?, model)", [made])
        con.execute(
            f"INSERT INTO raw.made_by SELECT model, ? || ' ' || shape FROM ({query('models/shapes')}) "
            "WHERE list_contains(?, model)",
            [_made_by(mapping), made],
        )


def _made_by(mapping: TagMapping) -> str:
    """A digest of everything that decides the columns of models. A plan to compare them costs a third of a model."""
    decisive = f"{models_sha256()} {mapping.structure} DuckDB {duckdb.__version__}"
    return hashlib.sha256(decisive.encode()).hexdigest()


def _fitting(con: duckdb.DuckDBPyConnection, mapping: TagMapping) -> frozenset[str]:
    """Models whose table or view was made by the same SQL and mapping, and has not changed since."""
    fitting = con.execute(
        f"SELECT model FROM raw.made_by JOIN ({query('models/shapes')}) USING (model) "
        "WHERE made_by = ? || ' ' || shape",
        [_made_by(mapping)],
    ).fetchall()
    return frozenset(model for (model,) in fitting)


def refresh_events(con: duckdb.DuckDBPyConnection, night: date, *, about_night_alone: bool = False) -> None:
    """Bring `custody.custody_events` of a night up to date after an act.

    If the model's inputs are tables of an earlier version, nothing is done: the ledger has the act, and the night's
    next run makes these tables and all events.

    Args:
        con: the warehouse, open for writing.
        about_night_alone: refresh only events of the night as a whole, which is much less work.
    """
    model = read_model(SQL_DIR / "custody" / "custody_events.sql")
    if not table_columns(con, model.key):
        return  # no night was modelled yet
    params, end = model_params(model), night + timedelta(days=1)
    with suppress(duckdb.BinderException):
        if not about_night_alone:
            replace_window(con, model, night, end, params)
            return
        show(con, model.depends_on)
        with reading(con, night, end) as warehouse:
            _fit_table(con, model, params, warehouse)
            with transaction(con):
                table = f"{warehouse}.{model.key}"
                con.execute(f"DELETE FROM {table} WHERE partition_date = ? AND conversation_id = ''", [night])
                con.execute(f"INSERT INTO {table} BY NAME FROM (\n{model.sql}\n) WHERE conversation_id = ''", params)


def add_events(con: duckdb.DuckDBPyConnection, night: date, since: datetime) -> None:
    """Add the acts of a night that are later than all its events to `custody.custody_events`.

    Acts that a killed process left are added as well. If an event is not before `since`, for example by the vendor's
    clock, all events of the night are brought up to date instead.
    """
    events = "custody.custody_events"
    if not table_columns(con, events):
        return  # no night was modelled yet
    (newest,) = con.execute(f"SELECT max(occurred_at) FROM {events} WHERE partition_date = ?", [night]).fetchone() or ()
    if newest is not None and since <= newest:
        refresh_events(con, night)
    else:
        acts = query("ledger/acts_as_events")
        con.execute(f"INSERT INTO {events} BY NAME {acts}", {"night": night, "newest": newest})


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
    prepare(con)
    if settings is not None:
        write_erasures(con, settings)
    wanted = [model for model in models.values() if model.schema in {"staging", "custody"}]
    return {model.key: rows for model, rows in materialize(con, wanted, night, mapping, settings)}


def _create_view(con: duckdb.DuckDBPyConnection, model: SqlModel) -> None:
    _drop_other_kind(con, model, "TABLE")
    with transaction(con):
        # The comments on every column cost more than everything else here, so only a changed view is replaced.
        con.execute(f"CREATE OR REPLACE TEMP VIEW view_probe AS {model.sql}")
        selects = con.execute(
            "SELECT substr(sql, strpos(sql, ' AS ')) FROM duckdb_views() WHERE (database_name, schema_name, view_name) "
            "IN ((current_database(), ?, ?), ('temp', 'main', 'view_probe'))",
            [model.schema, model.name],
        ).fetchall()
        if len(selects) == 2 and selects[0] == selects[1]:
            return
        con.execute(f"CREATE OR REPLACE VIEW {model.key} AS {model.sql}")
        comment_on(con, "VIEW", model, [column.name for column in model.columns], model.key)


def _drop_other_kind(con: duckdb.DuckDBPyConnection, model: SqlModel, kind: Literal["TABLE", "VIEW"]) -> None:
    """Drop a staging model that an earlier version made as a view instead of a table, or the reverse."""
    there = (
        f"SELECT 1 FROM duckdb_{kind.lower()}s() WHERE database_name = current_database() AND schema_name = ? "
        f"AND {kind.lower()}_name = ?"
    )
    if model.schema == "staging" and con.execute(there, [model.schema, model.name]).fetchone():
        con.execute(f"DROP {kind} {model.key}")


def replace_window(
    con: duckdb.DuckDBPyConnection,
    model: SqlModel,
    start: date,
    end: date,
    params: Mapping[str, Any],
    *,
    shown: set[str] | None = None,
    fits: bool = False,
) -> int:
    """Replace the rows of `model` whose partition_date lies in [start, end), in one transaction.

    A missing table is created, and new columns are added. A column that the model lacks stays, and is null in
    the new rows. A night that does not fit into memory is inserted in ranges of conversation ids: DuckDB spills sorts,
    joins and groups to disk, but not the states of aggregates such as `arg_min`.

    Args:
        start: first day of the window.
        end: day after the window.
        shown: tables whose views are up to date; the model's inputs are added. None: no view is up to date.
        fits: True if the table is known to have the model's columns.

    Returns:
        Rows inserted.

    Raises:
        SchemaChangedError: a column's type differs from the table's.
        duckdb.OutOfMemoryException: one range of conversation ids does not fit into memory either.
    """
    show(con, model.depends_on, shown)
    if not fits:
        _drop_other_kind(con, model, "VIEW")
    with reading(con, start, end) as warehouse:
        if not fits:
            _fit_table(con, model, params, warehouse)
        for parts in PARTS_OF_A_NIGHT:
            try:
                with transaction(con):
                    con.execute(
                        f"DELETE FROM {warehouse}.{model.key} WHERE partition_date >= ? AND partition_date < ?",
                        [start, end],
                    )
                    return sum(_insert(con, model, ids, params, warehouse) for ids in _id_ranges(model, parts))
            except duckdb.OutOfMemoryException:
                if parts == PARTS_OF_A_NIGHT[-1] or "conversation_id" not in model.grain:
                    raise
                logger.info("%s does not fit into memory in %d part(s); trying more.", model.key, parts)
    raise AssertionError("unreachable")


def _id_ranges(model: SqlModel, parts: int) -> list[IdRange]:
    """Ranges of conversation ids of about equal size; one range for a model whose rows have no conversation."""
    if "conversation_id" not in model.grain:
        return [EVERY_ID]
    # Ids are UUIDs, so ranges of the first digits have about equal size.
    step = 256 // parts
    edges = [None, *(f"{number:02x}" for number in range(step, 256, step)), None]
    return [IdRange(first, end) for first, end in pairwise(edges)]


def _insert(
    con: duckdb.DuckDBPyConnection, model: SqlModel, ids: IdRange, params: Mapping[str, Any], warehouse: str
) -> int:
    into = f"INSERT INTO {warehouse}.{model.key} BY NAME"
    if ids == EVERY_ID:
        inserted = con.execute(f"{into} {model.sql}", dict(params)).fetchone()
    else:
        # Also restrict a separable model's inputs, so that joins and materialized CTEs process one range of ids.
        with restricted(con, ids if model.separable else EVERY_ID):
            inserted = con.execute(f"{into} FROM (\n{model.sql}\n) WHERE {ids.condition}", dict(params)).fetchone()
    return int(inserted[0]) if inserted else 0


def _fit_table(con: duckdb.DuckDBPyConnection, model: SqlModel, params: Mapping[str, Any], warehouse: str) -> None:
    table = f"{warehouse}.{model.key}"
    output = {row[0]: row[1] for row in con.execute(f"DESCRIBE {model.sql}", dict(params)).fetchall()}
    there = table_columns(con, table)
    for name in there.keys() & output.keys():
        if there[name] != output[name]:
            raise SchemaChangedError(
                f"{model.key}.{name} is {there[name]} in the warehouse, and {output[name]} in {model.path.name}: "
                f"drop the table and run the nights again (raw has everything), or restore the type"
            )
    with transaction(con):
        create_table(con, table, output)
        # A table that came from other nights has the columns, but not their comments.
        comment_on(con, "TABLE", model, list(output), table)


def comment_on(con: duckdb.DuckDBPyConnection, kind: str, model: SqlModel, columns: Iterable[str], table: str) -> None:
    """Comment on a `TABLE` or `VIEW` and on these columns of it, as the model's header describes them."""
    # COMMENT takes no parameters; literals and names are quoted.
    comments = [f"COMMENT ON {kind} {table} IS {literal(model.description)}"]
    described = {column.name: column for column in model.columns}
    for name in columns:
        column = described.get(name)
        text = (
            f"{column.description}{' [pii]' if column.pii else ''}" if column else "a column of the tag mapping [pii]"
        )
        comments.append(f"COMMENT ON COLUMN {table}.{quoted(name)} IS {literal(text)}")
    con.execute(";".join(comments))


def run_check(
    con: duckdb.DuckDBPyConnection,
    check: SqlModel,
    night: date,
    mapping: TagMapping | None = None,
    shown: set[str] | None = None,
) -> list[dict[str, Any]]:
    """The offending rows of one check for one night; none means that it passed. `shown`: as of `replace_window`."""
    show(con, check.depends_on, shown)
    with reading(con, night, night + timedelta(days=1)):
        return rows_of(con, check.sql, model_params(check, mapping))
