"""Landing files: received documents, one a line, whose exact bytes are recoverable from the line.

`{landing}/{resource}/date=YYYY-MM-DD/{landing_id}.ndjson.gz`, then `{landing_id}-0002.ndjson.gz` and so on. A line:

    {"k":{…keys…},"row":1,"source_uri":"…","fetched_at":"2026-11-03T02:30:00.123456","sha256":"…","bytes":17,
     "state":"ok","document":{"as":"received"}}

The document comes last and verbatim, so anybody with the file can cut the received bytes out of the line without
parsing them. A document that cannot stand in a line (no JSON, or with line breaks) is `"document_base64"` instead.

With a key for the night the file is encrypted under its name (io/encrypted_files.py): its digest and size are those of
the encrypted bytes. Receipts are not encrypted: they hold no documents, and state what is lost with a forgotten key.

Belongs here: writing and reading these files, in a folder or in S3. Does not: the meaning of documents.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import orjson

from custody_pipeline.extract.documents import BYTE_ORDER_MARK, Document
from custody_pipeline.extract.verbatim import with_verbatim_tags
from custody_pipeline.io.encrypted_files import EncryptingFile, opened
from custody_pipeline.io.gzipped import gzipped
from custody_pipeline.io.held_folder import held_folder
from custody_pipeline.io.night_keys import NO_KEYS, NightKeys
from custody_pipeline.io.objects import put_file
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import HashedFile, sync_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


# Uncompressed bytes of one part: DuckDB reads one gzip file with one thread, several at once.
PART_BYTES = 128 * 1024 * 1024
RECEIPTS = "extraction_receipts"
"""The resource whose documents are receipts."""
_DOCUMENT = b',"document":'
_ENCODED = b',"document_base64":"'
_BYTES = b',"bytes":'
_STATE = b',"state":"'


class LandingError(Exception):
    """A landing file or row is not what its name or URI promises."""


@contextmanager
def errors_that_name(uri: str) -> Iterator[None]:
    """Within the block, the error of a landing file that cannot be read names it.

    Raises:
        LandingError: the file at `uri` is damaged, or is none of ours.
    """
    try:
        yield
    except (LandingError, EOFError, gzip.BadGzipFile, zlib.error, orjson.JSONDecodeError) as error:
        raise LandingError(
            f"{uri} is damaged, or no landing file ({error}): restore the file, or look after its content by hand "
            "and move it away; then run the command again"
        ) from error


def new_landing_id(now: datetime) -> str:
    """A name for one load of one resource: sorts by time, never repeats."""
    return f"{now:%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class LandedFile:
    """One finished file: where it lies, its SHA-256 and size, and how many lines it has.

    `local` is the same bytes on this machine. `adapted` counts readable documents that a parser is given in another
    form (`as_readable`).
    """

    uri: str
    local: Path
    sha256: str
    size: int
    lines: int
    adapted: int


class Place(Protocol):
    """A folder or bucket of landing files. `keys`: the keys that encrypt them."""

    keys: NightKeys

    def put(self, relative: str, local: Path, sha256: str) -> tuple[str, Path]:
        """Keep the finished file `local`, whose SHA-256 is known, under `relative`.

        Returns:
            Its URI, and a local path of the same bytes.
        """

    def spool(self, relative: str) -> Path:
        """A path for a file that is still being written."""


class Folder:
    """A place on a local disk: files appear whole, by a rename."""

    def __init__(self, root: str, keys: NightKeys = NO_KEYS):
        self._root, self.keys = Path(root), keys

    def spool(self, relative: str) -> Path:
        """A hidden name beside the final one, so that the rename stays within one file system."""
        final = self._root / relative
        final.parent.mkdir(parents=True, exist_ok=True)
        return final.with_name(f".{final.name}.tmp")

    def put(self, relative: str, local: Path, sha256: str) -> tuple[str, Path]:
        """Rename to the final name; durable when this returns."""
        del sha256
        final = self._root / relative
        local.rename(final)
        sync_folder(final.parent)
        return str(final), final


class Bucket:
    """A place in S3. A local copy is kept until the place is closed, for loading without reading back.

    Args:
        spools: where the local copies are; those of a killed process are removed.
    """

    def __init__(self, url: str, client: S3Client, spools: Path, keys: NightKeys = NO_KEYS):
        self._root = S3Location.parse(url)
        self._client, self.keys = client, keys
        self._closing = ExitStack()
        self._spool = self._closing.enter_context(held_folder(spools))

    def spool(self, relative: str) -> Path:
        """A path in a folder of this process."""
        path = self._spool / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, relative: str, local: Path, sha256: str) -> tuple[str, Path]:
        """Upload with a SHA-256 that S3 checks."""
        target = self._root / relative
        put_file(self._client, local, sha256, target)
        return str(target), local

    def close(self) -> None:
        """Remove the local copies."""
        self._closing.close()


def line_of(row: int, keys: dict[str, Any], source_uri: str, fetched_at: datetime, doc: Document) -> bytes:
    """One landing line, with its line break."""
    head = orjson.dumps(
        {
            "k": keys,
            "row": row,
            "source_uri": source_uri,
            "fetched_at": fetched_at.isoformat(timespec="microseconds"),
            "sha256": doc.sha256,
            "bytes": len(doc.content),
            "state": doc.state,
        }
    )
    if doc.one_line:
        return b"".join((head[:-1], _DOCUMENT, doc.content, b"}\n"))
    return b"".join((head[:-1], _ENCODED, base64.b64encode(doc.content), b'"}\n'))


class LandingWriter:
    """Writes the landing files of one load of one resource; `files` is complete after `close`.

    Leaving the `with` block by an exception removes the unfinished part: parts already finished stay, but no receipt
    will name them.
    """

    def __init__(self, place: Place, resource: str, night: date, landing_id: str, *, part_bytes: int = PART_BYTES):
        self._place, self._part_bytes = place, part_bytes
        self._base = f"{resource}/date={night.isoformat()}/{landing_id}"
        self._key = place.keys.of(night) if resource != RECEIPTS else None
        self._raw: IO[bytes] | None = None
        self._sealing: EncryptingFile | None = None
        self._zip: gzip.GzipFile | None = None
        self._row = self._adapted = self._written = 0
        self.files: list[LandedFile] = []

    def __enter__(self) -> LandingWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._raw is not None:
            with suppress(OSError), self._raw:  # the disk may be full
                if self._zip is not None:
                    self._zip.close()
            self._spooled.unlink(missing_ok=True)

    def add(self, keys: dict[str, Any], source_uri: str, fetched_at: datetime, doc: Document) -> None:
        """Append one document under its `keys`. `fetched_at` is UTC without a zone."""
        if self._zip is None:
            self._open()
        assert self._zip is not None  # noqa: S101 - _open made it
        self._row += 1
        line = line_of(self._row, keys, source_uri, fetched_at, doc)
        self._zip.write(line)
        self._written += len(line)
        self._adapted += doc.state == "ok" and (not doc.one_line or with_verbatim_tags(doc.content) is not doc.content)
        if self._written >= self._part_bytes:
            self.close()

    def _open(self) -> None:
        part = len(self.files) + 1
        self._relative = f"{self._base}{f'-{part:04d}' if part > 1 else ''}.ndjson.gz"
        self._spooled = self._place.spool(self._relative)
        self._raw = self._spooled.open("wb")
        self._hashing = HashedFile(self._raw)
        self._sealing = EncryptingFile(self._hashing, self._key) if self._key else None
        self._zip = gzipped(self._sealing or self._hashing)
        self._row = self._adapted = self._written = 0

    def close(self) -> None:
        """Finish the part being written, if any."""
        if self._zip is None or self._raw is None:
            return
        self._zip.close()
        if self._sealing is not None:
            self._sealing.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        sha256 = self._hashing.sha256.hexdigest()
        uri, local = self._place.put(self._relative, self._spooled, sha256)
        self.files.append(LandedFile(uri, local, sha256, self._hashing.size, self._row, self._adapted))
        self._zip = self._raw = None


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """A landing line as its envelope (an open JSON object, up to the document) and the rest (with the document's key).

    Raises:
        LandingError: the line is not one of ours.
    """
    # Inside a JSON string a quote is escaped, and no key of ours is called "bytes" or "state": the first of these
    # after each other are the envelope's.
    state = line.find(_STATE, line.find(_BYTES))
    end = line.find(b'"', state + len(_STATE)) + 1
    rest = line[end:].rstrip(b"\n")
    if state < 0 or not rest.startswith((_DOCUMENT, _ENCODED)) or not rest.endswith(b"}"):
        raise LandingError("not a landing line")
    return line[:end], rest


def content_of(line: bytes) -> bytes:
    """The document's bytes as received, cut out of a landing line.

    Raises:
        LandingError: the line is not one of ours.
    """
    _, rest = split_line(line)
    if rest.startswith(_DOCUMENT):
        return rest[len(_DOCUMENT) : -1]
    try:
        return base64.b64decode(rest[len(_ENCODED) : -2], validate=True)
    except binascii.Error as error:
        raise LandingError("the line's base64 is damaged") from error


def as_readable(line: bytes) -> bytes:
    """The line with its document as a parser may read it: on one line, without a byte-order mark, tags as texts.

    Outside of strings a line break is but a space, and inside of strings JSON has none.
    """
    head, _ = split_line(line)
    if not head.endswith(b'"ok"'):
        return line
    content = with_verbatim_tags(content_of(line).removeprefix(BYTE_ORDER_MARK))
    content = content.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"".join((head, _DOCUMENT, content, b"}\n"))


def without_document(line: bytes, state: str) -> bytes:
    """The line's envelope alone, with another state."""
    envelope = orjson.loads(split_line(line)[0] + b"}")
    return orjson.dumps(envelope | {"state": state}) + b"\n"


def read_lines(path: Path, keys: NightKeys = NO_KEYS) -> Iterator[bytes]:
    """The lines of a local landing file, each with its line break.

    Raises:
        NightKeyError, EncryptedFileError: it is encrypted, and cannot be opened.
    """
    with opened(path, keys.named) as file, gzip.open(file) as lines:
        yield from lines
