"""A sealed table, decoded a part at a time.

Belongs here: how many rows fit in memory. Does not: what the rows say (cut_rows.py, cut_renderings.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

UNREADABLE = (pa.ArrowException, OSError, ValueError, MemoryError)
_ROWS = 4096
_BATCH_BYTES = 64 << 20
_ROOM = 4  # rows in memory may take so many times the bytes of the lines that repeat them


class SealedTable:
    """A Parquet file whose digest a trusted key signed.

    A dictionary stores a text once, and a few bits for each row that has it. Once decoded, each row has the whole text.
    Rows are therefore decoded in batches whose texts take at most 64 MiB, even if each row has the longest text.

    Args:
        data: the file.

    Attributes:
        names: names of its columns.
        rows: number of its rows.

    Raises:
        ArrowException, OSError, ValueError, MemoryError: it cannot be read, or two columns have one name.
    """

    def __init__(self, data: bytes) -> None:
        self._file = pq.ParquetFile(pa.BufferReader(data))
        self.names: list[str] = self._file.schema_arrow.names
        if len(set(self.names)) != len(self.names):
            raise ValueError("a column is there twice")
        self.rows: int = self._file.metadata.num_rows
        self._rows_at_once = max(1, min(_ROWS, _BATCH_BYTES // max(1, _widest_row(data, self._file.metadata))))

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows from the first to the last, or some columns of them."""
        return iter(self._file.iter_batches(self._rows_at_once, columns=columns))

    def in_order(self) -> Rows:
        """The rows, to be taken by number."""
        return Rows(self)

    def none(self) -> pa.Table:
        """The table without rows."""
        return pa.Table.from_batches([], self._file.schema_arrow)


class Rows:
    """A table's rows from the first to the last, so that memory does not grow with the night."""

    def __init__(self, table: SealedTable) -> None:
        self._batches, self._rest = table.batches(), table.none()

    def take(self, count: int, size: int) -> pa.Table:
        """The next `count` rows; fewer at the end.

        Args:
            count: of rows.
            size: bytes of the lines that are to be compared with them.

        Raises:
            ValueError: the rows are much larger than these lines, which cannot be equal then.
        """
        while self._rest.num_rows < count and (batch := next(self._batches, None)) is not None:
            if self._rest.nbytes > _ROOM * size + _BATCH_BYTES:
                raise ValueError("the rows are larger than what repeats them")
            self._rest = pa.concat_tables([self._rest, pa.Table.from_batches([batch])])
        taken, self._rest = self._rest.slice(0, count), self._rest.slice(count)
        return taken


def _widest_row(data: bytes, metadata: pq.FileMetaData) -> int:
    """Bytes of the longest texts that the columns' dictionaries hold, in one row together."""
    schema = metadata.schema
    texts = [number for number in range(metadata.num_columns) if schema.column(number).physical_type == "BYTE_ARRAY"]
    widest = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        in_dictionary = [each for each in texts if group.column(each).has_dictionary_page]
        if sum(group.column(each).total_uncompressed_size for each in in_dictionary) * _ROWS <= _BATCH_BYTES:
            continue
        paths = [schema.column(each).path for each in in_dictionary]
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=paths)
        # Even a batch of one row comes with whole dictionaries.
        first = next(file.iter_batches(1, row_groups=[number], columns=paths), None)
        widest = max(widest, sum(map(_longest, first.columns)) if first is not None else 0)
    return widest


def _longest(column: pa.Array) -> int:
    while isinstance(column, pa.ListArray):
        column = column.values
    if not isinstance(column, pa.DictionaryArray):
        return int(column.nbytes)
    return max(pc.binary_length(column.dictionary).to_pylist(), default=0)
