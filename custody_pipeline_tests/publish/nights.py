"""Nights for the tests: a warehouse with the real models' tables, and rows that a test names."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import duckdb

from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import prepare, run_models
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import load_models
from custody_pipeline_tests.evidence.memory_reader import MemoryReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.verify.findings import Report
    from custody_pipeline.publish.current_copies import Publication

NIGHT = date(2026, 11, 2)
NOW = datetime(2026, 11, 3, 2, 30, tzinfo=UTC)
TABLES = ("chain_of_custody", "custom_data", "gaps", "custody_events", "reconciliation")
TWO_TABLES = ("chain_of_custody", "gaps")
"""Enough for what is not about the tables: a call to S3 takes moto some 20 ms."""
RECORDINGS = 3


@dataclass
class OneNight:
    """A night in a warehouse, and the bucket in memory that it is published to."""

    con: duckdb.DuckDBPyConnection
    settings: Settings
    s3: S3Client

    def publish(
        self,
        client: Any = None,
        *,
        tables: Sequence[str] = TWO_TABLES,
        report: dict[str, str] | None = None,
        now: datetime = NOW,
        **settings: Any,
    ) -> Publication:
        """Publish with other values of some settings, a report of the given files, and another `client` than `s3`."""

        def write_report(folder: Path) -> None:
            for name, text in (report or {}).items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text)

        own = self.settings.model_copy(update=settings)
        return publish_night(
            self.con, own, NIGHT, tables=tables, client=client or self.s3, now=now, write_report=write_report
        )

    def check(self, found: dict[str, bytes], **options: Any) -> Report:
        """Verify published objects with the keys of this home, unless `options` names others."""
        return verify(MemoryReader(found), Options(**{"public_keys": public_keys(self.settings, []), **options}))

    def landed(self) -> Path:
        """The one landing file."""
        (file,) = (self.settings.home / "landing").rglob("*.gz")
        return file


def write_empty_warehouse(path: Path) -> None:
    """A warehouse file in which every model ran for a night without data."""
    with duckdb.connect(str(path)) as con:
        prepare(con)
        run_models(con, load_models(), NIGHT, load_mapping(Settings().mapping_path), Settings())


def write_recordings(path: Path, empty: Path) -> None:
    """A warehouse file of three recordings, made from one without data."""
    shutil.copy(empty, path)
    with duckdb.connect(str(path)) as con:
        for number in range(RECORDINGS):
            insert_recording(con, number)


def insert(con: duckdb.DuckDBPyConnection, table: str, **values: Any) -> None:
    """Insert one row; columns that are not named are null."""
    names = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    con.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))


def insert_recording(con: duckdb.DuckDBPyConnection, number: int, legal_hold: str | None = "yes") -> None:
    """A recording with one tag and one event."""
    key = {"partition_date": NIGHT, "conversation_id": f"c-{number:05}", "recording_id": f"r-{number:05}"}
    revision = next_revision(con)
    insert(
        con,
        "custody.chain_of_custody",
        **key,
        user_ids=["u-1", 'u"2'],
        conversation_start=datetime(2026, 11, 2, 9, 30, 0, 123456),
        duration_ms=61_000,
        ani="+15551234567",
        custom_data_legal_hold=legal_hold,
        custody_status="complete",
        row_sha256=hashlib.sha256(f"{number} {legal_hold}".encode()).hexdigest(),
        revision=revision,
    )
    insert(
        con,
        "custody.custom_data",
        **key,
        participant_id="p",
        tag_key="Legal-Hold",
        source="details",
        tag_value=legal_hold,
        observed_at=datetime(2026, 11, 3),
    )
    insert(con, "custody.custody_events", **key, sequence=1, action="collected", who="custody", what="document")


def change_recording(con: duckdb.DuckDBPyConnection, number: int, legal_hold: str) -> None:
    """Give a recording another tag value, as a later collection would."""
    con.execute("DELETE FROM custody.chain_of_custody WHERE recording_id = ?", [f"r-{number:05}"])
    con.execute("DELETE FROM custody.custom_data WHERE recording_id = ?", [f"r-{number:05}"])
    con.execute("DELETE FROM custody.custody_events WHERE recording_id = ?", [f"r-{number:05}"])
    insert_recording(con, number, legal_hold)


def next_revision(con: duckdb.DuckDBPyConnection) -> int:
    """The revision that the model gives to a row with new content."""
    row = con.execute(
        "SELECT coalesce(max(revision), 0) + 1 FROM raw.publications WHERE partition_date = ?", [NIGHT]
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert_receipt(
    con: duckdb.DuckDBPyConnection,
    landing: Path,
    resource: str = "conversation_details",
    *,
    hour: int = 2,
    state: str = "complete",
    folders: Sequence[str] = (),
) -> list[Path]:
    """A load's landing files, one below each of `folders` (its resource's otherwise), and their receipt."""
    landing_id = f"20261103T{hour:02}3000Z-0a1b"
    files = [landing / folder / f"date={NIGHT}/{landing_id}.ndjson.gz" for folder in folders or (resource,)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        line = f'{{"k":{{}},"document":{{"from":"{file.parent.parent.name} {hour}"}}}}\n'
        file.write_bytes(gzip.compress(line.encode(), mtime=0))
    named = [(str(file), hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size) for file in files]
    con.execute(
        f"""
        INSERT INTO raw.extraction_receipts BY NAME
        SELECT ?::DATE AS partition_date, ? AS landing_id, ? AS resource, ? AS receipt_state,
            1::BIGINT AS documents, 1::BIGINT AS "rows", 0::BIGINT AS failures,
            TIMESTAMP '2026-11-03 {hour:02}:30:00' AS started_at, TIMESTAMP '2026-11-03 {hour:02}:31:00' AS finished_at,
            list_transform(?, lambda file: {{'uri': file[1], 'sha256': file[2], 'bytes': file[3]::BIGINT}})
                AS landing_files, 'custody-demo' AS collector,
            '0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f' AS organization_id
        """,
        [NIGHT, landing_id, resource, state, [[uri, sha256, str(size)] for uri, sha256, size in named]],
    )
    return files
