"""The CSV files of a cut: they say what the Parquet file of the same table says.

Belongs here: reading CSV and comparing its cells. Does not: how it is written (publish/tables.py).

A cell is the text that stands for the value in a sealed record; null is an empty cell without quotes. The spreadsheet
twin may have an apostrophe before a text.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut.manifest import Cut, CutFile
from custody_pipeline.evidence.cut.records import CanonicalError, concatenated, text_column
from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import WORKERS
from custody_pipeline.evidence.verify.cut_rows import Rows

_BLOCK_BYTES = 1 << 26
"""Twice the longest document that is loaded: no row of a table is larger."""


def check_csvs(
    context: Context, prefix: str, cut: Cut, as_sealed: Set[str], tables: Mapping[str, pq.ParquetFile]
) -> None:
    """Compare each CSV with the table of its name; a finding for each that contradicts it, or has none.

    Args:
        context: the verification.
        prefix: the cut's folder in the target.
        cut: what is compared.
        as_sealed: files whose bytes have their sealed digest: no other CSV is read.
        tables: those whose Parquet files have theirs.
    """
    by_table: dict[str, list[CutFile]] = {}
    for file in cut.files:
        if _is_csv(file.path) and file.path in as_sealed:
            by_table.setdefault(f"{file.path.partition('.')[0]}.parquet", []).append(file)

    def compare(name: str) -> list[tuple[str, str | None]]:
        """One thread reads a table's file at a time."""
        return [
            (file.path, _compared(context, prefix + file.path, file, cut.file(name), tables.get(name)))
            for file in by_table[name]
        ]

    with ThreadPoolExecutor(WORKERS) as pool:
        for path, problem in chain.from_iterable(pool.map(compare, sorted(by_table))):
            if problem is not None:
                context.report.add("CSV_DIFFERS", prefix + path, problem)


def _is_csv(path: str) -> bool:
    return path.startswith("data/") and path.removesuffix(".gz").endswith(".csv")


def _compared(
    context: Context, path: str, file: CutFile, of_table: CutFile | None, table: pq.ParquetFile | None
) -> str | None:
    if of_table is None:
        return "the cut has no Parquet of this table"
    if table is None:
        return None  # its own finding says why
    question = f"csv|{file.sha256}|{of_table.sha256}"
    if question not in context.memory:
        try:
            with context.reader.open(path) as stream:
                problem = contradiction(file.path, stream, table)
        except (TargetError, OSError) as error:
            context.report.add("FILE_UNREADABLE", path, str(error))
            return None
        if problem is not None:
            return problem
        context.memory[question] = "equal"
    return None


def contradiction(path: str, stream: BinaryIO, table: pq.ParquetFile) -> str | None:
    """What a CSV says that its table does not; None when both say the same.

    Args:
        path: of the CSV in its cut.
        stream: the CSV's bytes, which a trusted key signed.
        table: opened by no other thread.
    """
    names = table.schema_arrow.names
    twin = ".spreadsheet." in path
    try:
        plain = cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if path.endswith(".gz") else stream
        reader = pacsv.open_csv(
            plain,
            pacsv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
        if reader.schema.names != names:
            return "its columns are not those of the Parquet"
        rows, number = Rows(table), 0
        for batch in reader:
            expected = rows.take(batch.num_rows)
            if expected.num_rows < batch.num_rows:
                return "it has more rows than the Parquet"
            for name, cells in zip(names, batch.columns, strict=True):
                if not _same(cells, text_column(name, expected.column(name)), twin=twin):
                    return f"{name} differs in the rows {number + 1} to {number + batch.num_rows}"
            number += batch.num_rows
        return "it has fewer rows than the Parquet" if rows.take(1).num_rows else None
    except (pa.ArrowException, CanonicalError, OSError, EOFError, ValueError) as error:
        return f"it cannot be read: {type(error).__name__}"


def _same(cells: pa.Array, texts: pa.Array, *, twin: bool) -> bool:
    if not cells.is_null().equals(texts.is_null()):
        return False
    same = pc.equal(cells, texts)
    if twin:
        same = pc.or_(same, pc.equal(cells, concatenated("'", texts)))
    return pc.all(same, min_count=0).as_py() is not False
