"""Stages `files: …`: the night's tables → Parquet and CSV on disk; and what other stages publish with.

The floor is DuckDB's COPY of each table to Parquet (zstd) or to CSV. Ours writes more: the spreadsheet of
every table, and the SHA-256 of every file.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import obstore
import pyarrow.parquet as pq

from bench.load import same_rows
from bench.measure import Prepared, Stage
from bench.night import NIGHT, LoadedNight, copy_of, modelled_night
from custody_pipeline.io.s3 import S3Location, s3_store
from custody_pipeline.publish import tables
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.publish.tables import describe_table, export_table
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.sql_files import load_models

PUBLISHED = "bench-published"
UPLOADS_IN_FLIGHT = 8
GRAINS = {table: load_models()[f"custody.{table}"].grain for table in PUBLISHED_TABLES}


def in_bucket(settings: Settings, endpoint: S3Endpoint, **more: object) -> Settings:
    """The settings with this S3 server, whose keys go into the environment."""
    os.environ.update(AWS_ACCESS_KEY_ID=endpoint.access_key, AWS_SECRET_ACCESS_KEY=endpoint.secret_key)
    found = {"s3_endpoint_url": endpoint.url, "s3_region": endpoint.region, **more}
    return Settings.model_validate({**settings.model_dump(), **found})


PARQUET, CSV = "parquet", "csv"


@contextmanager
def _files_prepared(formats: tuple[str, ...], size: int, folder: Path) -> Iterator[Prepared]:
    night = modelled_night(size)
    folder.mkdir()
    copy_tables(night.settings.warehouse_path, folder, formats=formats)
    written = sum(file.stat().st_size for file in folder.iterdir())
    yield Prepared(
        partial(_write_files, night, formats),
        partial(_copy_files, night, formats),
        partial(_same_files, night.settings.warehouse_path, formats),
        rows=night.recordings,
        bytes=written,
    )


def _write_files(night: LoadedNight, formats: tuple[str, ...], folder: Path) -> Callable[[], object]:
    path = night.settings.warehouse_path
    # All of them are written in one pass. To see what one costs, the other is left empty.
    if PARQUET not in formats:
        pq.ParquetWriter.write_batch = _nothing
    if CSV not in formats:
        vars(tables).update(csv_records=_no_text, _workbook=_no_workbook)

    def work() -> None:
        with duckdb.connect(str(path), read_only=True) as con:
            con.execute("SET TimeZone = 'UTC'")
            for table in PUBLISHED_TABLES:
                export_table(con, describe_table(con, table, GRAINS[table]), NIGHT, folder, revision=1)

    return work


def _nothing(*_: object) -> None:
    pass


def _no_text(*_: object) -> bytes:
    return b""


@contextmanager
def _no_workbook(*_: object) -> Iterator[_NoWorkbook]:
    yield _NoWorkbook()


class _NoWorkbook:
    def add(self, *_: object) -> None:
        pass


def _copy_files(night: LoadedNight, formats: tuple[str, ...], folder: Path) -> Callable[[], object]:
    return partial(copy_tables, night.settings.warehouse_path, folder, formats=formats)


def copy_tables(
    warehouse: Path,
    folder: Path,
    *,
    schema: str = "custody",
    names: Sequence[str] = PUBLISHED_TABLES,
    formats: Sequence[str] = (PARQUET, CSV),
) -> None:
    """COPY every published table, in order, to Parquet and to CSV."""
    with duckdb.connect(str(warehouse), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        for table in names:
            order = ", ".join(GRAINS[table])
            rows = f"SELECT * FROM {schema}.{table} WHERE partition_date = DATE '{NIGHT}' ORDER BY {order}"
            for kind in formats:
                how = "FORMAT parquet, COMPRESSION zstd" if kind == PARQUET else "FORMAT csv, HEADER"
                con.execute(f"COPY ({rows}) TO '{folder / table}.{kind}' ({how})")


def _same_files(warehouse: Path, formats: Sequence[str], ours: Path, floor: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{warehouse}' AS night (READ_ONLY)")
        for table in PUBLISHED_TABLES:
            if PARQUET in formats:
                same_rows(con, *(f"SELECT * FROM '{folder / table}.parquet'" for folder in (ours, floor)))
            if CSV in formats:
                texts = [
                    row[0]
                    for row in con.execute(f"DESCRIBE night.custody.{table}").fetchall()
                    if row[1] == "VARCHAR" and not row[0].startswith("custom_data_")
                ]
                # Lists and times are written otherwise in the two kinds of CSV; texts are the same.
                cells = ", ".join(texts) or "count(*)"
                same_rows(con, *(f"SELECT {cells} FROM {_csv(folder / table)}" for folder in (ours, floor)))


def _csv(path: Path) -> str:
    return f"read_csv('{path}.csv', all_varchar=true, header=true, quote='\"', escape='\"', max_line_size=10000000)"


def publish_once(night: LoadedNight, endpoint: S3Endpoint, folder: Path) -> S3Location:
    """Publish a copy of the night; returns where its cut is."""
    folder.mkdir()
    settings = publishing(night, endpoint, folder)
    with Warehouse(settings).open() as con:
        cut = publish_night(con, settings, NIGHT).cut
    return S3Location.parse(cut.rpartition("/")[0])


def publishing(night: LoadedNight, endpoint: S3Endpoint, folder: Path) -> Settings:
    """Copy the night into `folder`; returns settings that publish it below a prefix of its own."""
    place = f"s3://{PUBLISHED}/{uuid.uuid4().hex}"
    return in_bucket(copy_of(night, folder), endpoint, publish_url=place)


def fetch_cut(cut: S3Location, endpoint: S3Endpoint, folder: Path) -> None:
    """Every object of the cut, below `folder`."""
    client = endpoint.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=cut.bucket, Prefix=f"{cut.key}/"):
        for entry in page.get("Contents", []):
            local = folder / entry["Key"].removeprefix(f"{cut.key}/")
            local.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(cut.bucket, entry["Key"], str(local))


def put_plainly(settings: Settings, folder: Path) -> Callable[[], None]:
    """What puts every file below `folder` under a prefix of its own, when called."""
    store = s3_store(settings, PUBLISHED)
    prefix = uuid.uuid4().hex
    files = [file for file in folder.rglob("*") if file.is_file()]

    def put(file: Path) -> None:
        obstore.put(store, f"{prefix}/{file.relative_to(folder)}", file)

    def work() -> None:
        with ThreadPoolExecutor(UPLOADS_IN_FLIGHT) as pool:
            list(pool.map(put, files))

    return work


FILES = (
    Stage(
        "files: parquet",
        "the published tables → Parquet, hashed; the pass without its text",
        "COPY of each table to Parquet (zstd)",
        partial(_files_prepared, (PARQUET,)),
        goals=dict.fromkeys((20_000, 100_000), 1.3),
    ),
    Stage(
        "files: csv",
        "the published tables → CSV and spreadsheets, hashed; the pass without Parquet and records",
        "COPY of each table to CSV",
        partial(_files_prepared, (CSV,)),
        goals=dict.fromkeys((20_000, 100_000), 1.8),
    ),
)
