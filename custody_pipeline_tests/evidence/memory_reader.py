"""A published prefix held in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from custody_pipeline.evidence.reader import Entry


class MemoryReader:
    """Files held in memory: path → bytes."""

    name = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file."""
        return (Entry(path, len(data)) for path, data in list(self._files.items()) if path.startswith(prefix))

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        try:
            return io.BytesIO(self._files[path])
        except KeyError:
            raise FileNotFoundError(path) from None
