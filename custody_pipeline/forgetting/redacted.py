"""Sealed tables and records without the content of erased conversations.

Belongs here: the bytes of one file, before and after. Does not: landing files (extract/erased.py), the places of files
(sealed.py).
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut.removal import placeholder
from custody_pipeline.extract.erased import names_any


def table_holds(ids: Set[str], table: Path) -> bool:
    """Whether a Parquet file has rows of these conversations."""
    file = pq.ParquetFile(table)
    if "conversation_id" not in file.schema_arrow.names:
        return False
    values = file.read(["conversation_id"]).column(0)
    return any(value.lower() in ids for value in pc.unique(values).to_pylist() if value)


def erase_table(ids: Set[str], source: Path, target: Path) -> int:
    """Write a Parquet file without the rows of these conversations; returns how many rows stay."""
    # Not `read_table`: it makes a column from a part of the path such as date=2026-11-02.
    table = pq.ParquetFile(source).read()
    keep = [value is None or value.lower() not in ids for value in table.column("conversation_id").to_pylist()]
    left = table.filter(keep)
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(left, target, compression="zstd")
    return int(left.num_rows)


def erase_records(ids: Set[str], source: Path, target: Path) -> list[tuple[int, str, str]]:
    """Write a records file in which each record of these conversations is replaced by its leaf.

    Returns:
        (line from 0, conversation id, recording id) of each record that was erased; none: nothing was written.
    """
    found: list[tuple[int, str, str]] = []
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as lines, target.open("wb") as out:
        for number, line in enumerate(lines):
            record = line.removesuffix(b"\n")
            if names_any(ids, record) and not record.startswith(b'{"_erased"'):
                row = orjson.loads(record)
                if (row["conversation_id"] or "").lower() in ids:
                    found.append((number, row["conversation_id"], row["recording_id"]))
                    record = placeholder(record)
            out.write(record + b"\n")
    if not found:
        target.unlink()
    return found
