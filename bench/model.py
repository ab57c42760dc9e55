"""Stage `model`: `raw` → every staging and custody table, against one script written by hand for this very night.

The script (`model.sql`) gives the same chain_of_custody and custom_data, and the events of objects and documents,
compared cell by cell. It is written for a healthy night, one load of each resource and one mapping: it looks for no
fault, so it has no gaps, reconciliation or state of the night to give; it keeps none of the tables by which a gap is
explained, nor the acts of this tool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb

from bench.load import same_rows
from bench.measure import Prepared, Stage
from bench.night import NIGHT, LoadedNight, copy_of, loaded_night
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import run_models
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.sql_files import load_models

SAME = ("chain_of_custody", "custom_data", "custody_events")


@contextmanager
def _prepared(size: int, _: Path) -> Iterator[Prepared]:
    night = loaded_night(size)
    yield Prepared(
        partial(modelling, night),
        partial(_floor, night),
        _same,
        rows=night.recordings,
        bytes=night.settings.warehouse_path.stat().st_size,
    )


def modelling(night: LoadedNight, folder: Path) -> Callable[[], object]:
    """Work that brings every model of a copy of the night up to date."""
    settings = copy_of(night, folder)
    models, mapping = load_models(), load_mapping(settings.mapping_path)

    def work() -> None:
        with Warehouse(settings).open() as con:
            run_models(con, models, NIGHT, mapping, settings)

    return work


def _floor(night: LoadedNight, folder: Path) -> Callable[[], object]:
    path = copy_of(night, folder).warehouse_path

    def work() -> None:
        model_by_hand(path)

    return work


def model_by_hand(path: Path) -> None:
    """Run `model.sql` in the warehouse at `path`: its tables are those of schema `main`."""
    statements = (Path(__file__).parent / "model.sql").read_text().split(";\n")
    with duckdb.connect(str(path), config={"preserve_insertion_order": False}) as con:
        con.execute("SET TimeZone = 'UTC'")
        for statement in filter(str.strip, statements):
            con.execute(statement, {"night": NIGHT} if "$night" in statement else None)


def _same(ours: Path, floor: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{ours / 'warehouse.duckdb'}' AS ours (READ_ONLY)")
        con.execute(f"ATTACH '{floor / 'warehouse.duckdb'}' AS floor (READ_ONLY)")
        for table in SAME:
            shown, acts = "*", ""
            if table == "custody_events":
                shown, acts = "* EXCLUDE (sequence)", "WHERE action IN ('exported', 'collected', 'hashed')"
            ours_rows = f"SELECT {shown} FROM ours.custody.{table} {acts}"
            same_rows(con, ours_rows, f"SELECT {shown} FROM floor.main.{table}")
        gaps = con.execute("SELECT count(*) FROM ours.custody.gaps").fetchone()
        assert gaps == (0,), "a healthy night has no gaps"


STAGE = Stage(
    "model",
    "raw → every staging and custody table of the night, by run_models in a warehouse that has nights already",
    "one DuckDB script written by hand: the same chain_of_custody, custom_data and events of objects and documents",
    _prepared,
    goals={20_000: 1.3, 100_000: 1.3},
)
