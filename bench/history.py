"""Stages `history` and `history: rows`: the same night with many nights there before, or with few.

In the first a small night is modelled, published and shown to analysts; its size is the number of nights in the
warehouse before, and the floor is the very same work with one. Earlier nights are copies of this one, moved back in
time, in every table of the warehouse, published versions of their rows included. In the second one table's night is
replaced; its size is the table's number of rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb

from bench.load import same_rows
from bench.measure import Prepared, Stage
from bench.night import NIGHT, LoadedNight, copy_of, modelled_night
from bench.publish import GRAINS, PUBLISHED, publishing
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import materialize, run_models
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import load_models

CONVERSATIONS = 50  # of each night


@contextmanager
def _prepared(nights: int, folder: Path) -> Iterator[Prepared]:
    night = modelled_night(CONVERSATIONS)
    many, one = (_with_history(night, count, folder / str(count)) for count in (nights, 1))
    with LocalS3(folder / "server") as endpoint:
        endpoint.client().create_bucket(Bucket=PUBLISHED)
        yield Prepared(
            partial(_work, many, endpoint),
            partial(_work, one, endpoint),
            _same,
            rows=night.recordings,
            bytes=many.settings.warehouse_path.stat().st_size,
        )


def _with_history(night: LoadedNight, nights: int, folder: Path) -> LoadedNight:
    folder.mkdir(parents=True)
    path = folder / night.settings.warehouse_path.name
    shutil.copyfile(night.settings.warehouse_path, path)
    with duckdb.connect(str(path)) as con:
        con.execute(
            "INSERT INTO raw.row_versions BY NAME SELECT partition_date, conversation_id, recording_id, row_sha256, "
            "revision FROM custody.chain_of_custody"
        )
        tables = con.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_columns() JOIN duckdb_tables() "
            "USING (database_name, schema_name, table_name) WHERE column_name = 'partition_date'"
        ).fetchall()
        for (table,) in tables:
            con.execute(f"CREATE TEMP TABLE tonight AS FROM {table} WHERE partition_date = DATE '{NIGHT}'")
            con.execute(f"DELETE FROM {table}")
            # In the order of time, as nights come in.
            con.execute(
                f"INSERT INTO {table} BY NAME SELECT t.* REPLACE ((partition_date - back::INT)::DATE AS partition_date)"
                f" FROM range({nights}, 0, -1) AS nights(back), tonight AS t ORDER BY back DESC"
            )
            if table.startswith("raw.") and table != "raw.row_versions":
                con.execute(f"INSERT INTO {table} FROM tonight")
            con.execute("DROP TABLE tonight")
    return replace(night, settings=Settings.model_validate({**night.settings.model_dump(), "home": folder}))


def _work(night: LoadedNight, endpoint: S3Endpoint, folder: Path) -> Callable[[], object]:
    settings = publishing(night, endpoint, folder)
    with Warehouse(settings).open() as con:
        # The snapshot of the night before.
        snapshot_for_analysts(con, settings)
    models, mapping = load_models(), load_mapping(settings.mapping_path)

    def work() -> None:
        with Warehouse(settings).open() as con:
            run_models(con, models, NIGHT, mapping, settings)
            publish_night(con, settings, NIGHT)
            snapshot_for_analysts(con, settings, NIGHT)

    return work


def _same(ours: Path, floor: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{ours / 'analyst.duckdb'}' AS ours (READ_ONLY)")
        con.execute(f"ATTACH '{floor / 'analyst.duckdb'}' AS floor (READ_ONLY)")
        for table in PUBLISHED_TABLES:
            tonight = f"FROM {{}}.custody.{table} WHERE partition_date = DATE '{NIGHT}'"
            rows = f"SELECT {', '.join(GRAINS[table])} {tonight}"
            same_rows(con, rows.format("ours"), rows.format("floor"))


# --- one table's night ------------------------------------------------------------------------------------------------

TABLE = "custody.custom_data"
FEW = 200_000


@contextmanager
def _prepared_rows(rows: int, folder: Path) -> Iterator[Prepared]:
    night = modelled_night(20_000)
    many, few = (_with_rows(night, count, folder / str(count)) for count in (rows, FEW))
    yield Prepared(
        partial(_replaced, many),
        partial(_replaced, few),
        _same_night,
        rows=_count(night, f"WHERE partition_date = DATE '{NIGHT}'"),
        bytes=many.settings.warehouse_path.stat().st_size,
    )


def _with_rows(night: LoadedNight, rows: int, folder: Path) -> LoadedNight:
    """The night in a warehouse whose table has so many rows, those before it in nights of the same size."""
    folder.mkdir(parents=True)
    path = folder / night.settings.warehouse_path.name
    shutil.copyfile(night.settings.warehouse_path, path)
    with duckdb.connect(str(path)) as con:
        con.execute(f"CREATE TEMP TABLE tonight AS FROM {TABLE}")
        con.execute(f"DELETE FROM {TABLE}")
        con.execute(
            f"INSERT INTO {TABLE} BY NAME SELECT t.* REPLACE ((partition_date - back::INT)::DATE AS partition_date) "
            f"FROM range({rows} // (SELECT count(*) FROM tonight), -1, -1) AS nights(back), tonight AS t "
            "ORDER BY back DESC"
        )
    return replace(night, settings=Settings.model_validate({**night.settings.model_dump(), "home": folder}))


def _count(night: LoadedNight, which: str) -> int:
    with duckdb.connect(str(night.settings.warehouse_path), read_only=True) as con:
        row = con.execute(f"SELECT count(*) FROM {TABLE} {which}").fetchone()
    assert row is not None
    return int(row[0])


def _replaced(night: LoadedNight, folder: Path) -> Callable[[], object]:
    settings = copy_of(night, folder)
    models, mapping = load_models(), load_mapping(settings.mapping_path)
    with Warehouse(settings).open() as con:
        # As on every night but the first after millions of rows were written at once. What comparing tables with SQL
        # files costs the first time is the same for both, and would hide a difference.
        list(materialize(con, [models[TABLE]], NIGHT, mapping, settings))

    def work() -> None:
        with Warehouse(settings).open() as con:
            list(materialize(con, [models[TABLE]], NIGHT, mapping, settings))

    return work


def _same_night(ours: Path, floor: Path) -> None:
    with duckdb.connect() as con:
        for name, folder in (("ours", ours), ("floor", floor)):
            con.execute(f"ATTACH '{folder / 'warehouse.duckdb'}' AS {name} (READ_ONLY)")
        tonight = f"FROM {{}}.{TABLE} WHERE partition_date = DATE '{NIGHT}'"
        same_rows(con, tonight.format("ours"), tonight.format("floor"))


REPLACED = Stage(
    "history: rows",
    f"a night of 20,000 conversations replaced in {TABLE}, the warehouse closed; size: rows in it",
    f"the same among {FEW:,} rows",
    _prepared_rows,
    sizes=(10_000_000,),
    goals={10_000_000: 1.1},
)
STAGE = Stage(
    "history",
    f"a night of {CONVERSATIONS} conversations modelled, published, shown to analysts; size: nights before",
    "the same with one night before",
    _prepared,
    sizes=(100, 1_000),
    goals={100: 1.05, 1_000: 1.05},
)
