"""`custody.nights` and `custody.agents` below `live/`: their present state, written with each night, not sealed.

`nights` is one file over all nights, including missing ones; `agents` is one file per night. Several homes may publish
to one prefix: compare-and-swap changes `nights`, and keeps the nights that other homes collected.

Belongs here: the content of these files, and putting them. Does not: anything that is sealed (publication.py). No
decision is based on these files.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from custody_pipeline.evidence.verify.copies import LIVE
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.objects import CHANGED, Uploads, digest, error_code, get_object, head, put_file
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.publish.current_copies import CONTENT_TYPES, current_key, remove_others
from custody_pipeline.publish.tables import ExportedFile, describe_table, write_table
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import SQL_DIR, query, read_model
from custody_pipeline.warehouse.sql_text import quoted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NOT_SEALED = {"sealed": "no: as it was known when this file was written"}
_UNREADABLE = (pa.ArrowException, OSError, ValueError)
_MOST_BYTES = 64 << 20


def live_key(table: str, name: str, night: date) -> str:
    """Key of the file `name` of a table that is not sealed, below the published prefix; of `nights` for all nights."""
    key = current_key(table, name, night)
    return LIVE + (key.replace(f"/date={night}", "") if table == "nights" else key)


def publish_live(con: duckdb.DuckDBPyConnection, settings: Settings, night: date) -> None:
    """Write what changed of `custody.nights`, and of the night's `custody.agents`, to S3.

    Args:
        settings: `CUSTODY_PUBLISH_URL` must be set.

    Raises:
        UploadError, botocore.exceptions.BotoCoreError, ClientError: as `io.objects.put_file`.
    """
    place = S3Location.parse(settings.require("publish_url"))
    with tempfile.TemporaryDirectory(prefix="custody-live-") as folder:
        compressed = settings.csv_compression == "gzip"
        live = _Live(con, s3_client(settings), place, night, Path(folder), compressed)
        live.put(live.write("agents", "(FROM custody.agents WHERE partition_date = $night)", {"night": night}))
        live.put_nights()


@dataclass
class _Live:
    con: duckdb.DuckDBPyConnection
    client: S3Client
    place: S3Location
    night: date
    folder: Path
    compressed: bool

    def write(self, name: str, source: str, bound: dict[str, object]) -> list[ExportedFile]:
        """Write the rows of `source`, which has the columns of the table, to local files."""
        table = describe_table(self.con, name, read_model(SQL_DIR / "custody" / f"{name}.sql").grain)
        columns, order = _listed([column.name for column in table.columns]), _listed(table.order)
        rows = self.con.execute(f"SELECT {columns} FROM {source} ORDER BY {order}", bound).to_arrow_reader()
        return write_table(rows, table, self.folder, _NOT_SEALED, compressed=self.compressed)

    def put(self, files: Sequence[ExportedFile]) -> None:
        """Put the files that differ from those in the bucket."""
        with Uploads(self.client) as uploads:
            for file in files:
                uploads.submit(self._put_one, file)

    def _put_one(self, file: ExportedFile) -> None:
        to = self.place / live_key(file.table, file.path.name, self.night)
        there = head(self.client, to)
        if there is None or there.sha256 != file.sha256:
            put_file(self.client, file.path, file.sha256, to, ContentType=CONTENT_TYPES[file.path.suffix])
            remove_others(self.client, to)

    def put_nights(self) -> None:
        """Put `nights`: the Parquet by compare-and-swap, then the other formats. Repeat if another home was faster."""
        at = self.place / live_key("nights", "nights.parquet", self.night)
        while True:
            found = _get(self.client, at)
            parquet, *others = self._nights(found[0] if found else b"")
            if found is None or hashlib.sha256(found[0]).hexdigest() != parquet.sha256:
                condition: dict[str, Any] = {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}
                kind = CONTENT_TYPES[parquet.path.suffix]
                try:
                    put_file(self.client, parquet.path, parquet.sha256, at, ContentType=kind, **condition)
                except ClientError as error:
                    if error_code(error) not in CHANGED:
                        raise
                    continue
            self.put(others)
            now = head(self.client, at)
            if now is not None and digest(self.client, now) == parquet.sha256:
                return

    def _nights(self, published: bytes) -> list[ExportedFile]:
        """Our nights and those of other homes. If two homes have a night, the row that was collected last counts.

        A row of the future, by this machine's clock, replaces no row of ours, and is not lost: the clock may be behind.
        """
        others = _rows(published)
        if others is None:
            return self.write("nights", "custody.nights", {})
        known = [column for column in describe_table(self.con, "nights").columns if column.name in others.column_names]
        theirs = ", ".join(f"TRY_CAST({quoted(one.name)} AS {one.type}) AS {quoted(one.name)}" for one in known)
        self.con.register("nights_read", others)
        merged = f"(WITH nights_of_others AS (SELECT {theirs} FROM nights_read) {query('publish/nights_of_all')})"
        try:
            return self.write("nights", merged, {"now": utc_now()})
        finally:
            self.con.unregister("nights_read")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names))


def _get(client: S3Client, at: S3Location) -> tuple[bytes, str] | None:
    """An object and its ETag; no bytes if it is larger than such a file can be."""
    answer = get_object(client, at)
    if answer is None:
        return None
    data = answer["Body"].read() if answer["ContentLength"] <= _MOST_BYTES else b""
    return data, answer["ETag"]


def _rows(parquet: bytes) -> pa.Table | None:
    """The published rows; None if the file is not such a table: it is then replaced."""
    try:
        rows = pq.read_table(BytesIO(parquet))
    except _UNREADABLE:
        return None
    return rows if {"partition_date", "collected_at"} <= set(rows.column_names) else None
