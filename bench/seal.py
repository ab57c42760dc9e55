"""Stage `seal`: a modelled night's rows → salted records, leaves, tiles, the signed cut and head, against its SQL.

Every file of the cut is hashed as well, and everything is written to disk; nothing is uploaded.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from bench.measure import Prepared, Stage
from bench.model import modelling
from bench.night import NIGHT, LoadedNight, copy_of, modelled_night
from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import CutFile, cut_prefix
from custody_pipeline.evidence.cut.records import leaf_hash, lines_of, salted_records
from custody_pipeline.evidence.cut.seal import HEAD, Draft, seal
from custody_pipeline.evidence.log.checkpoint import Head, read_checkpoint
from custody_pipeline.evidence.log.keys import Ed25519Signer
from custody_pipeline.evidence.log.merkle import Frontier
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.publish.sealed_landing import landing_of
from custody_pipeline.publish.tables import describe_table, export_table
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.sql_files import SQL_DIR, read_model

SIGNER = Ed25519Signer("custody.example.com/bench", bytes(range(32)))
_SECRET = bytes(32)
_PREFIX = cut_prefix(NIGHT.isoformat(), 1)


def write_files(con: duckdb.DuckDBPyConnection, root: Path) -> dict[str, int]:
    """The files of the night's cut below `root`, its records apart; returns the rows of each table's file."""
    data = root / _PREFIX / "data"
    data.mkdir(parents=True)
    rows = {}
    for name in PUBLISHED_TABLES:
        table = describe_table(con, name, read_model(SQL_DIR / "custody" / f"{name}.sql").grain)
        for file in export_table(con, table, NIGHT, data, revision=1):
            rows[f"data/{file.path.name}"] = file.rows
    for landed in landing_of(con, NIGHT).files:
        target = root / _PREFIX / landed.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(landed.uri, target)
    return rows


def seal_night(con: duckdb.DuckDBPyConnection, root: Path, rows: dict[str, int]) -> None:
    """Seal the night below `root`, whose files (`write_files`) are in place."""
    folder = root / _PREFIX
    leaves: list[bytes] = []
    with (folder / cuts.RECORDS).open("wb") as out:
        grain = ", ".join(read_model(SQL_DIR / "custody" / "chain_of_custody.sql").grain)
        ordered = f"SELECT * FROM custody.chain_of_custody WHERE partition_date = $night ORDER BY {grain}"
        for batch in con.execute(ordered, {"night": NIGHT}).to_arrow_reader(16_384):
            records = salted_records(pa.Table.from_batches([batch]), _SECRET)
            out.write(records)
            leaves += map(leaf_hash, lines_of(records))
    statuses = con.execute("SELECT custody_status, count(*) FROM custody.chain_of_custody GROUP BY ALL").fetchall()
    rows = rows | {cuts.RECORDS: len(leaves)}
    files = [_described(path, path.relative_to(folder).as_posix(), rows) for path in folder.rglob("*.*")]
    reader = FolderReader(root)
    sealed = seal(
        Draft(
            night=NIGHT.isoformat(),
            revision=1,
            complete="not_established",
            sealed_at=f"{NIGHT}T23:59:59Z",
            operator="bench",
            tool_version="bench",
            files=files,
            receipts=landing_of(con, NIGHT).for_cut,
            counts={Path(file.path).stem: file.rows or 0 for file in files if file.path.endswith(".parquet")},
            statuses=dict(statuses),
        ),
        leaves,
        reader=reader,
        head=Head.empty(SIGNER.verifier.name),
        signed_before=None,
        signers=[SIGNER],
    )
    for write in sealed.writes:
        path = root / write.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write.data)


def _described(file: Path, path: str, rows: dict[str, int]) -> CutFile:
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return CutFile(path, file.stat().st_size, sha256, rows.get(path))


@contextmanager
def _prepared(size: int, folder: Path) -> Iterator[Prepared]:
    del folder
    night = modelled_night(size)
    yield Prepared(partial(_ours, night), partial(modelling, night), _same, rows=night.recordings)


def _ours(night: LoadedNight, folder: Path) -> Callable[[], object]:
    settings = copy_of(night, folder)
    with Warehouse(settings).open() as con:
        rows = write_files(con, folder)

    def work() -> None:
        with Warehouse(settings).open(read_only=True) as con:
            seal_night(con, folder, rows)

    return work


def _same(ours: Path, floor: Path) -> None:
    records = (ours / _PREFIX / cuts.RECORDS).read_bytes().splitlines()
    frontier = Frontier()
    frontier.extend(hashlib.sha256(b"\0" + record).digest() for record in records)
    frontier.extend([hashlib.sha256(b"\0" + (ours / _PREFIX / cuts.CUT_JSON).read_bytes()).digest()])
    head = read_checkpoint((ours / HEAD).read_bytes()).head
    assert (head.size, head.root) == (frontier.size, frontier.root()), "the log is not that of the records"
    with duckdb.connect(str(floor / "warehouse.duckdb"), read_only=True) as con:
        rows = con.execute("SELECT count(*) FROM custody.chain_of_custody").fetchone()
    assert rows == (len(records),), f"{rows} rows, {len(records)} records"


STAGE = Stage(
    "seal",
    "rows → salted records, leaves, SHA-256 of every file, tiles, signed cut.json and checkpoint, on disk",
    "the SQL of the same night: run_models",
    _prepared,
    goals={2_000: 1.0, 20_000: 1.0, 100_000: 1.0},
)
