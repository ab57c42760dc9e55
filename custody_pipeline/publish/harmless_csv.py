"""Rows → a CSV for people, in which no spreadsheet takes a text for a formula.

Belongs here: the apostrophe before such a text. Does not: the CSV that is published and sealed (tables.py), which
changes no value.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from custody_pipeline.evidence.cut.csv_text import csv_header, csv_records
from custody_pipeline.evidence.cut.records import concatenated, is_text, text_columns, utf8

# Characters that spreadsheets evaluate, or skip before they evaluate: white space, control and invisible characters,
# quotes. Some spreadsheets treat full-width forms as the ASCII characters.
_FORMULA = r"""\A(?:[\s\p{C}\p{Z}"']*[=+\-@＝＋－＠]|[\t\r\n])"""
# The bytes with which such a text can begin: not those of other visible ASCII characters.
_BEFORE_FORMULA = np.array([not 0x20 < byte < 0x7F or chr(byte) in "\"'=+-@" for byte in range(256)])


def harmless_csv(rows: pa.RecordBatchReader) -> Iterator[bytes]:
    """The header, then records, with an apostrophe before every text that a spreadsheet could take for a formula.

    Raises:
        CanonicalError: a column has a type without a canonical text (floating point, binary).
    """
    yield csv_header(rows.schema.names)
    for batch in rows:
        if batch.num_rows:
            pairs = zip(text_columns(batch), batch.columns, strict=True)
            safe = [_harmless(text) if is_text(column.type) else text for text, column in pairs]
            yield bytes(csv_records(batch, safe))


def _harmless(cells: pa.Array) -> pa.Array:
    if not _BEFORE_FORMULA[utf8(pc.binary_slice(cells.cast(pa.large_binary()), 0, 1))].any():
        return cells
    risky = pc.fill_null(pc.match_substring_regex(cells, _FORMULA), False)
    if not pc.any(risky).as_py():
        return cells
    return pc.if_else(risky, concatenated("'", cells), cells)
