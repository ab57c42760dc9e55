"""The published tables as pandas DataFrames, for notebooks and plots.

    from custody_pipeline import analysis
    recordings = analysis.table("chain_of_custody", "s3://acme-custody/prod", first=date(2026, 11, 1))

Belongs here: reading published tables with the dtypes that an analyst expects. Does not: writing, or reading `raw`.
"""

from __future__ import annotations

import re
from contextlib import closing
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from custody_pipeline.evidence.reader import FolderReader, read
from custody_pipeline.evidence.verify.copies import LIVE
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.settings import load_settings
from custody_pipeline.warehouse.content_hash import LIVE_TABLES, PUBLISHED_TABLES
from custody_pipeline.warehouse.snapshot import refuse_other_writes
from custody_pipeline.warehouse.sql_text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from custody_pipeline.evidence.reader import Reader

_NIGHT = re.compile(r"/date=(\d{4}-\d\d-\d\d)/")


def table(
    name: str,
    source: str | Path | None = None,
    *,
    first: date = date.min,
    last: date = date.max,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One published table, the rows of the nights from `first` to `last`.

    Args:
        name: one of `PUBLISHED_TABLES`, such as `chain_of_custody`, or of `LIVE_TABLES`, which are not sealed.
        source: `s3://bucket/prefix`, or a folder with a copy of it; or a file `analyst.duckdb`.
            None: this deployment's `analyst.duckdb`.
        last: the last night, itself included.
        columns: the wanted columns, in this order; None: all. A column that a night was published without is empty.

    Returns:
        A DataFrame: whole numbers are `Int64`, other numbers `float64`, truth values `boolean`, times (UTC) and dates
        `datetime64`, texts `str`; each can be empty. Whole numbers beyond 64 bits are `object`, and exact. Rows are in
        the order of their files.

    Raises:
        ValueError: there is no such table, or it has no such column.
        FileNotFoundError: the source is not there, or holds no night of this table.
        TargetError: S3 cannot be reached.
        SnapshotError: another program wrote to the source.
    """
    first, last = (day.date() if isinstance(day, datetime) else day for day in (first, last))
    if name not in (tables := (*PUBLISHED_TABLES, *LIVE_TABLES)):
        raise ValueError(f"no table {name!r} is published; there are {', '.join(tables)}")
    if isinstance(source, str) and source.startswith("s3://"):
        return _from_files(S3Reader(s3_client(load_settings()), S3Location.parse(source)), name, first, last, columns)
    path = Path(source) if source is not None else load_settings().analyst_path
    if path.is_dir():
        return _from_files(FolderReader(path), name, first, last, columns)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    refuse_other_writes(path)
    with closing(duckdb.connect(str(path), read_only=True)) as con:
        return _from_snapshot(con, name, first, last, columns)


def query(sql: str, source: str | Path | None = None) -> pd.DataFrame:
    """The answer to a SQL query over schema `custody`, with the dtypes of `table`.

    Args:
        sql: one SELECT; docs/queries.md has examples.
        source: a file `analyst.duckdb`; None: this deployment's.

    Raises:
        FileNotFoundError: the source is not there.
        SnapshotError: another program wrote to the source.
        duckdb.Error: the query is wrong.
    """
    path = Path(source) if source is not None else load_settings().analyst_path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    refuse_other_writes(path)
    with closing(duckdb.connect(str(path), read_only=True)) as con:
        return _frame(con.execute(sql).to_arrow_table())


def statuses_by_night(con: duckdb.DuckDBPyConnection, nights: int) -> pd.DataFrame:
    """Numbers of recordings in the latest nights of a warehouse: one row per night, one column per custody status."""
    counts = _frame(
        con.execute(
            """
            SELECT partition_date, custody_status, count(*) AS recordings
            FROM custody.chain_of_custody
            WHERE partition_date > (SELECT max(partition_date) FROM custody.chain_of_custody) - $nights::INTEGER
            GROUP BY ALL ORDER BY ALL
            """,
            {"nights": nights},
        ).to_arrow_table()
    )
    return counts.pivot_table(index="partition_date", columns="custody_status", values="recordings", fill_value=0)


def _from_snapshot(
    con: duckdb.DuckDBPyConnection, name: str, first: date, last: date, columns: Sequence[str] | None
) -> pd.DataFrame:
    wanted = ", ".join(map(quoted, columns)) if columns else "*"
    rows = f"SELECT {wanted} FROM custody.{name} WHERE partition_date BETWEEN $first AND $last"
    try:
        return _frame(con.execute(rows, {"first": first, "last": last}).to_arrow_table())
    except duckdb.BinderException as error:
        raise ValueError(str(error)) from error


def _from_files(reader: Reader, name: str, first: date, last: date, columns: Sequence[str] | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.compute as pc

    files = _files_by_night(reader, name)
    if not files:
        raise FileNotFoundError(f"{reader.name} holds no parquet/{name}/date=…")
    nights = [night for night in files if night is None or first <= night <= last]
    # Without a night in the range, a night outside it gives the columns.
    parts = [_part(read(reader, files[night])) for night in nights or list(files)[-1:]]
    whole = pa.concat_tables(parts, promote_options="permissive")
    if None in files:
        day = pc.field("partition_date")
        whole = whole.filter((day >= first) & (day <= last))
    if columns:
        if unknown := [column for column in columns if column not in whole.column_names]:
            raise ValueError(f"{name} has no column {', '.join(unknown)}")
        whole = whole.select(list(columns))
    return _frame(whole if nights else whole.slice(0, 0))


def _files_by_night(reader: Reader, name: str) -> Mapping[date | None, str]:
    """Files by night, oldest first; None for the one file of all nights."""
    folder = f"{LIVE if name in LIVE_TABLES else ''}parquet/{name}/"
    paths = sorted(entry.path for entry in reader.list(folder) if entry.path.endswith(".parquet"))
    found: dict[date | None, str] = {date.fromisoformat(at[1]): path for path in paths if (at := _NIGHT.search(path))}
    return found or ({None: f"{folder}{name}.parquet"} if f"{folder}{name}.parquet" in paths else {})


def _part(content: bytes) -> pa.Table:
    import pyarrow.parquet as pq

    # The rows have the night already; the folder's name would add it again.
    return pq.read_table(BytesIO(content), partitioning=None)


def _frame(rows: pa.Table) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    columns = [_number(column) for column in rows.columns]
    kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = pa.table(columns, rows.column_names).to_pandas(types_mapper=kinds.get, date_as_object=False)
    return frame


def _number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of numbers in one of two types; any other as it is. DuckDB's sums of whole numbers are decimals."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_decimal(kind) and kind.scale > 0:
        return column.cast(pa.float64())
    if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column
