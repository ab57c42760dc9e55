"""Whether a file is the workbook of a table's rows, part for part.

Belongs here: comparing written bytes with those of a file, without more reading than is written. Does not: which
workbooks, the cells of a CSV (cut_renderings.py).
"""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import SEEK_END
from tempfile import TemporaryFile
from typing import BinaryIO, Protocol, cast

from custody_pipeline.evidence.verify.cut_files import CHUNK

# Raised for a file that is no ZIP file, and for an entry that is damaged, encrypted or of an unknown kind.
NO_ZIP = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
# APPNOTE.TXT, 4.3.7: signature, flags, method, lengths of the name and of the extra field; the rest may be empty there.
_HEADER = struct.Struct("<4s2xHH16xHH")
_DESCRIBED = 8  # flag: a description with digest and sizes follows the part
# Bytes: of that description (4.3.9), of an entry of the list (4.3.12), of the list's end (4.3.16).
_DESCRIPTION, _LISTED, _LAST = 16, 46, 22
_END = struct.Struct("<4s8xI6x")  # of the list: signature, its bytes (4.3.16)
_LOCATOR = 20  # bytes: of the locator of a second end of the list (4.3.15)
_MOST_LISTED = 1 << 20


class DiffersError(Exception):
    """A file differs from the one that its table gives."""


@contextmanager
def same_parts(stream: BinaryIO) -> Iterator[_SameParts]:
    """Takes the parts of a workbook, as `Workbook` writes them, and compares them with those of a file.

    Args:
        stream: the bytes of the file; copied to disk if it cannot be read again.

    Raises:
        DiffersError: the file is not this workbook.
        zipfile.BadZipFile: or another of `NO_ZIP`.
    """
    with ExitStack() as until_compared:
        if not stream.seekable():
            copy = until_compared.enter_context(TemporaryFile())
            shutil.copyfileobj(stream, copy)
            stream = cast("BinaryIO", copy)
        _check_list(stream)
        found = _SameParts(until_compared.enter_context(zipfile.ZipFile(stream)), stream)
        yield found
        found.end()


def _check_list(stream: BinaryIO) -> None:
    """The file must end with a list of parts, no longer than a workbook's: `zipfile` reads the list whole."""
    size = stream.seek(0, SEEK_END)
    stream.seek(max(0, size - _LAST - _LOCATOR))
    end = stream.read()
    if len(end) < _LAST or _END.unpack(end[-_LAST:])[0] != b"PK\5\6" or end.startswith(b"PK\6\7"):
        raise DiffersError("it does not end as a workbook does")
    if _END.unpack(end[-_LAST:])[1] > _MOST_LISTED:
        raise DiffersError("it has more parts than the table makes")


class _SameParts:
    """Takes the parts of a workbook and compares them with those of a file; reads no more than it is given.

    Some readers find the parts by the list at the end of the file, and others read the file from its beginning. So
    nothing but the listed parts may be in it.
    """

    def __init__(self, file: zipfile.ZipFile, stream: BinaryIO) -> None:
        self._file, self._stream = file, stream
        self._names: list[str] = []
        self._end = 0

    @contextmanager
    def open(self, name: str) -> Iterator[SamePart]:
        """The part of this name: the next one."""
        number = len(self._names)
        self._names.append(name)
        if name not in self._file.namelist():
            raise DiffersError(f"it has no {name}")
        entry = self._file.infolist()[number]
        if (entry.filename, entry.header_offset, entry.comment, entry.extra) != (name, self._end, b"", b""):
            raise DiffersError(f"{name} is not where it was written")
        found = _Inflated(self._stream, entry)
        part = SamePart(name, found)
        yield part
        part.end()
        self._end = found.end()

    def end(self) -> None:
        """Every part was given."""
        if self._names != self._file.namelist():
            raise DiffersError("it has more parts than the table makes")
        whole = self._end + sum(_LISTED + len(name) for name in self._names) + _LAST
        if self._file.start_dir != self._end or self._stream.seek(0, SEEK_END) != whole:
            raise DiffersError("it has more than parts")


class _Inflated:
    """A part of a ZIP file, read by its own header, as readers do that ignore the list at the end."""

    def __init__(self, stream: BinaryIO, entry: zipfile.ZipInfo) -> None:
        self._stream, self._entry, self._inflate = stream, entry, zlib.decompressobj(-zlib.MAX_WBITS)
        self._left = entry.compress_size
        stream.seek(entry.header_offset)
        header = _HEADER.unpack(stream.read(_HEADER.size))
        name = entry.filename.encode()
        if header != (b"PK\3\4", entry.flag_bits & _DESCRIBED, zipfile.ZIP_DEFLATED, len(name), 0):
            raise DiffersError(f"{entry.filename} has another header than the list says")
        if stream.read(len(name)) != name:
            raise DiffersError(f"{entry.filename} has another name than the list says")

    def read(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""
        found = b""
        while len(found) < count and not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._stream.read(min(CHUNK, self._left))
            if not self._inflate.unconsumed_tail:
                self._left -= len(data)
            if not data:
                break
            found += self._inflate.decompress(data, count - len(found))
        return found

    def end(self) -> int:
        """Where the part ends; it was read whole."""
        if not self._inflate.eof or self._inflate.unused_data or self._left:
            raise DiffersError(f"{self._entry.filename} has more than its content")
        start = self._entry.header_offset + _HEADER.size + len(self._entry.filename)
        return start + self._entry.compress_size + (_DESCRIPTION if self._entry.flag_bits & _DESCRIBED else 0)


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes:
        """The next bytes; fewer at the end."""


class SamePart:
    """Compares written bytes with the bytes of a file."""

    def __init__(self, name: str, found: _Readable) -> None:
        self._name, self._found = name, found

    def write(self, data: bytes | memoryview, /) -> None:
        """Compare the next bytes."""
        for start in range(0, len(data), CHUNK):
            expected = bytes(data[start : start + CHUNK])
            if self._found.read(len(expected)) != expected:
                raise DiffersError(f"{self._name} is not what the table makes")

    def end(self) -> None:
        """No bytes are left."""
        if self._found.read(1):
            raise DiffersError(f"{self._name} has more than the table")
