"""Stage `load`: landed documents → `raw` through dlt, against DuckDB alone reading the same files by the same SELECT.

The floor computes each document's SHA-256 as well: ours took it when the bytes arrived, before the load.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import dlt  # noqa: F401 - importing it is not loading
import duckdb

from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.load import create_raw_tables, load
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.documents import details
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.sql_models import SQL_DIR, read_model

NIGHT = date(2026, 11, 2)
TABLE = "conversation_details"


def run(size: int, rounds: int, folder: Path) -> dict[str, object]:
    """Load `size` conversations `rounds` times each way, alternating; medians in seconds, rows compared.

    Raises:
        AssertionError: the two did not give the same rows.
    """
    settings = Settings(home=folder)
    landing = _land(settings, size)
    ours, floor = [], []
    for number in range(rounds):
        ours.append(_timed(lambda n=number: _ours(folder / f"ours-{n}.duckdb", landing)))
        floor.append(_timed(lambda n=number: _floor(folder / f"floor-{n}.duckdb", landing)))
    _assert_equal(folder / "ours-0.duckdb", folder / "floor-0.duckdb")
    a, b = statistics.median(ours), statistics.median(floor)
    return {"stage": "load", "documents": size, "ours_s": round(a, 2), "floor_s": round(b, 2), "ratio": round(a / b, 2)}


def _land(settings: Settings, size: int) -> Landing:
    organization = Organization(size=size)
    with Collector(settings, NIGHT) as collector:
        with collector.load(TABLE) as writing:
            for conversation in organization.conversations():
                document = json.dumps(details(conversation), separators=(",", ":")).encode()
                writing.add({"page_sha256": "0" * 64, "job_id": "bench"}, "bench:", document)
        return writing.landing


def _ours(path: Path, landing: Landing) -> None:
    with duckdb.connect(str(path)) as con:
        create_raw_tables(con)
        load(con, [landing])


def _floor(path: Path, landing: Landing) -> None:
    arguments = {
        "partition_date": landing.night,
        "landing_id": landing.landing_id,
        "folder": landing.folder,
        "files": [str(file.local) for file in landing.files],
    }
    select = read_model(SQL_DIR / "raw" / f"{TABLE}.sql").sql
    with duckdb.connect(str(path)) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"CREATE TABLE floor AS {select}", arguments)
        con.execute(
            "SELECT max(sha256(line)) FROM read_csv($files, columns={'line': 'VARCHAR'}, delim='\x01', quote='', "
            "escape='', header=false, max_line_size=100000000)",
            {"files": arguments["files"]},
        )


def _assert_equal(ours: Path, floor: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{ours}' AS ours (READ_ONLY); ATTACH '{floor}' AS floor (READ_ONLY)")
        count = "SELECT count(*) FROM ({} EXCEPT ALL {})"
        mine, theirs = f"SELECT * EXCLUDE (_dlt_load_id) FROM ours.raw.{TABLE}", "SELECT * FROM floor.floor"
        for pair in ((mine, theirs), (theirs, mine)):
            found = con.execute(count.format(*pair)).fetchone()
            assert found == (0,), found


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
