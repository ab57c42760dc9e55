"""Where a text is found: in files raw and unpacked, in databases by query, in every version of every object."""

from __future__ import annotations

import base64
import gzip
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CORE = "Qx7marker4711zV"
MARK = f'Müller "{CORE}" \U0001f600\\'
"""It has characters that each format escapes in its own way; `CORE` stands unchanged in all of them."""

SECOND, THIRD = "Qx8marker4712zW", "Qx9marker4713zX"
"""Marks of other conversations."""


def _forms(core: str) -> list[bytes]:
    forms = [core.encode(), core.encode("utf-16-le"), core.encode("utf-16-be")]
    return forms + [base64.b64encode(b"x" * shift + core.encode())[4 if shift else 0 : -4] for shift in range(3)]


def in_bytes(data: bytes, core: str = CORE) -> bool:
    """Whether the mark is in the bytes, or in their unpacked content."""
    if any(form in data for form in _forms(core)):
        return True
    if data.startswith(b"\x1f\x8b"):
        return in_bytes(gzip.decompress(data), core)
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(in_bytes(archive.read(member), core) for member in archive.infolist())
    if data.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(data))
        return any(core in str(column.to_pylist()) for column in table.columns)
    return False


def in_database(path: Path, core: str = CORE) -> bool:
    """Whether some table of a DuckDB or SQLite file shows the mark; values that DuckDB packs are in no raw byte."""
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as con:
            tables = con.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
            return any(
                con.execute(
                    f'SELECT 1 FROM "{schema}"."{table}" AS t WHERE contains(t::VARCHAR, ?) LIMIT 1', [core]
                ).fetchone()
                for schema, table in tables
            )
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return any(core in line or core.encode().hex() in line.lower() for line in database.iterdump())


def in_home(home: Path, core: str = CORE) -> set[str]:
    """Files below the home that hold the mark."""
    found = set()
    for path in home.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        database = path.suffix in {".duckdb", ".db", ".sqlite"} and bool(data)
        if in_bytes(data, core) or (database and in_database(path, core)):
            found.add(path.relative_to(home).as_posix())
    return found


def in_bucket(client: S3Client, bucket: str, core: str = CORE) -> set[str]:
    """Keys of objects of which some version holds the mark."""
    return {key for key, data in versions(client, bucket) if in_bytes(data, core)}


def versions(client: S3Client, bucket: str) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of every version of every object."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for item in page.get("Versions", []):
            answer = client.get_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])
            yield item["Key"], answer["Body"].read()
