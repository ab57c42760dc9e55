"""Published tables as DataFrames: from S3 and from a folder, nights of different columns, dtypes that can be empty."""

from __future__ import annotations

import io
from datetime import date, datetime
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from custody_pipeline import analysis

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

FIRST, SECOND = date(2026, 11, 2), date(2026, 11, 3)
NIGHTS = {
    FIRST: {"partition_date": [FIRST], "bytes": pa.array([5], pa.int32()), "found": [True]},
    SECOND: {
        "partition_date": [SECOND, SECOND],
        "bytes": [2**53 + 1, None],
        "found": [None, False],
        "custom_data_new": ["007", None],
        "at": [datetime(2026, 11, 3, 9), None],
    },
}


def _files() -> dict[str, bytes]:
    files = {}
    for night, columns in NIGHTS.items():
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer)
        files[f"parquet/gaps/date={night}/gaps.parquet"] = buffer.getvalue()
    return files


def _check(source: str | Path) -> None:
    both = analysis.table("gaps", source)
    assert both.dtypes.astype(str).to_dict() == {
        "partition_date": "datetime64[ms]",
        "bytes": "Int64",
        "found": "boolean",
        "custom_data_new": "str",
        "at": "datetime64[us]",
    }
    assert both["bytes"].to_list() == [5, 2**53 + 1, pd.NA]
    assert both["custom_data_new"].fillna("").to_list() == ["", "007", ""]
    assert len(analysis.table("gaps", source, first=SECOND, last=SECOND)) == 2
    noon = datetime(2026, 11, 3, 12)
    assert len(analysis.table("gaps", source, first=noon, last=noon)) == 2
    assert analysis.table("gaps", source, last=FIRST, columns=["found", "bytes"]).values.tolist() == [[True, 5]]


def test_from_a_folder(tmp_path: Path) -> None:
    for path, content in _files().items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(content)
    # As docs/queries.md has it: a column that the later mapping added is nothing in the night before.
    by_name = duckdb.sql(f"FROM read_parquet('{tmp_path}/parquet/gaps/*/*.parquet', union_by_name = true)")
    assert by_name.select("partition_date, custom_data_new").order("ALL").fetchall() == [
        (FIRST, None),
        (SECOND, "007"),
        (SECOND, None),
    ]
    _check(tmp_path)


def test_from_s3(memory_s3: S3Client) -> None:
    for path, content in _files().items():
        memory_s3.put_object(Bucket="custody-published", Key=f"prod/{path}", Body=content)
    _check("s3://custody-published/prod")


def test_numbers_of_a_query_have_two_dtypes_whatever_duckdb_sums_them_to(tmp_path: Path) -> None:
    path = tmp_path / "analyst.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE SCHEMA custody; CREATE TABLE custody.gaps AS SELECT unnest([5, 6]) AS bytes")
    found = analysis.query(
        "SELECT sum(bytes) AS total, count(*) AS n, max(bytes) AS most, sum(bytes) FILTER (false) AS nothing, "
        "1::UTINYINT AS small, sum(bytes * 0.5) AS half, 9223372036854775808 AS beyond FROM custody.gaps",
        path,
    )
    whole = dict.fromkeys(("total", "n", "most", "nothing", "small"), "Int64")
    assert found.dtypes.astype(str).to_dict() == {**whole, "half": "float64", "beyond": "object"}
    assert found.iloc[0].to_list() == [11, 2, 6, pd.NA, 1, 5.5, 9223372036854775808]
