"""Published rows → the text of a CSV file.

Belongs here: the bytes of the header and of records. Does not: which rows, compression, where the file goes (publish),
comparing a sealed CSV with its table (evidence/verify/cut_renderings.py).

The form is RFC 4180: UTF-8 without a byte order mark, CRLF after every record, a header in every file. Text is always
quoted. So are lists, structs and maps, which are written as RFC 8785 JSON. Numbers, dates, times and booleans are never
quoted. Null is an empty cell without quotes; the empty string is `""`.

Equal rows give equal bytes, however they are divided into batches. Verification writes a sealed CSV again and compares
the bytes. If this form changes, verification has to compare the cells, which takes three times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from custody_pipeline.evidence.cut.records import concatenated, filled, is_bare, joined, utf8


def csv_header(names: Iterable[str]) -> bytes:
    """The first record: the names of the columns."""
    return (",".join(map(_name_cell, names)) + "\r\n").encode()


def csv_records(rows: pa.RecordBatch, texts: Sequence[pa.Array]) -> memoryview:
    """The records of some rows; `texts` are the columns as `text_column` gives them."""
    parts: list[Any] = []
    for text, column in zip(texts, rows.columns, strict=True):
        parts += [",", *([filled(text, "")] if is_bare(column.type) else _quoted(text))]
    return utf8(joined(*parts[1:], "\r\n")).data


def _quoted(text: pa.Array) -> list[Any]:
    if text.null_count == len(text):
        return [filled(text, "")]
    # Most columns have no quote. A search costs less than a replacement that finds nothing.
    doubled = pc.replace_substring(text, '"', '""') if (utf8(text) == ord('"')).any() else text
    return [filled(concatenated('"', doubled, '"'), "")] if text.null_count else ['"', doubled, '"']


def _name_cell(name: str) -> str:
    return name if name.replace("_", "").isalnum() else '"' + name.replace('"', '""') + '"'
