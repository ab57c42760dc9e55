"""The lines of a volume, on disk while the volume is written.

Belongs here: keeping them, and giving them back in order. Does not: what is in a line (production_tables.py).

Records come in the order of the cuts that have them, tables are in the order of control numbers. Memory holds twelve
bytes a line.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec


class SpooledLine(msgspec.Struct, frozen=True):
    """A recording of a volume.

    Attributes:
        key: night, conversation and recording.
        row: as a line of the index.
        native_path: of its audio below the volume, with slashes.
        masked: fields of its record are withheld.
        row_sha256: of the sealed row, hex.
        media_sha256: of its audio, hex.
        conversation_sha256: of the conversation's document, hex; empty if the night has none.
        is_new: the night was sealed again since the volume was begun, with another row.
    """

    control: str
    key: tuple[str, str, str]
    row: dict[str, str]
    native_path: str
    masked: bool
    row_sha256: str
    media_sha256: str
    conversation_sha256: str
    is_new: bool


class Spool:
    """Lines by their number; iterates in the order of numbers. To be closed.

    Args:
        folder: on the disk where there is room. The file has no name there.
        size: numbers are below it.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see close
        self._places, self._sizes = array("Q", [0]) * size, array("I", [0]) * size
        self._number = self._end = 0
        self.names: list[str] = []
        """Columns of all rows. Nights that were sealed with differing mappings have differing tags."""

    def close(self) -> None:
        """Forget the lines."""
        self._file.close()

    def __len__(self) -> int:
        return self._number

    def put(self, number: int, line: SpooledLine) -> None:
        """Keep a line, once."""
        data = msgspec.msgpack.encode(line)
        self._file.write(data)
        self._places[number], self._sizes[number] = self._end, len(data)
        self._end += len(data)
        self._number += 1
        known = set(self.names)
        for name in line.row:
            if name not in known:
                self.names.insert(self.names.index("sha256") if "sha256" in known else len(self.names), name)

    def __iter__(self) -> Iterator[SpooledLine]:
        self._file.flush()
        decoder, file = msgspec.msgpack.Decoder(SpooledLine), self._file.fileno()
        for place, size in zip(self._places, self._sizes, strict=True):
            if size:
                yield decoder.decode(os.pread(file, size, place))

    def rows(self) -> Iterator[dict[str, str]]:
        """The lines of the index, each with every column."""
        for line in self:
            yield {name: line.row.get(name, "") for name in self.names}
