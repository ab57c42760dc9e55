"""A sealed and published night, read back from S3: its seal, and whether the copies equal the cut.

Belongs here: the seal for Dagster's page, and quick comparisons by what the store states. Does not: the whole
verification (evidence/verify), which reads every byte.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut.manifest import (
    CHECKPOINT,
    CUT_JSON,
    SIGNATURE,
    TIMESTAMP,
    CutError,
    Revision,
    cut_prefix,
    decode_cut,
    open_cut,
)
from custody_pipeline.evidence.cut.timestamp import stated_time
from custody_pipeline.evidence.log.checkpoint import read_checkpoint
from custody_pipeline.evidence.log.note import Verifier
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, POINTER_BYTES, read
from custody_pipeline.evidence.verify.copies import copies_of_tables
from custody_pipeline.io.objects import digest, head
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.publish.bucket_reader import S3Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.cut.manifest import Cut, CutFile
    from custody_pipeline.evidence.log.checkpoint import Checkpoint
    from custody_pipeline.settings import Settings

_WORKERS = 8
_FOOTER_BYTES = 64 << 10


@dataclass(frozen=True)
class Sealed:
    """The newest revision of a night.

    Attributes:
        keys: the keys that signed the cut, as the cut names them.
        checkpoint: the log's head after the cut; `note_text` is its signed note.
        timestamp: the time in the timestamp; None without one. `custody verify` checks who signed it.
    """

    cut: Cut
    keys: tuple[Verifier, ...]
    checkpoint: Checkpoint
    note_text: str
    timestamp: datetime | None


class _Pointer(msgspec.Struct):
    """The content of a pointer below `current/`, as far as it is read. It is not signed."""

    revision: Revision


def read_sealed(settings: Settings, night: date) -> Sealed:
    """The revision that `current/date=….json` names.

    Raises:
        FileNotFoundError: the night is not published, or a file of its seal is gone.
        NoteError, CutError: the files are not those that were signed.
        TargetError: S3 cannot be read.
    """
    reader = S3Reader(s3_client(settings), S3Location.parse(settings.require("publish_url")))
    path = f"current/date={night}.json"
    try:
        pointer = msgspec.json.decode(read(reader, path, POINTER_BYTES), type=_Pointer)
    except (ValueError, RecursionError) as error:
        raise CutError(f"{path} names no revision ({error}); run the night again: that writes it") from error
    prefix = cut_prefix(night.isoformat(), pointer.revision)
    data, signature = read(reader, prefix + CUT_JSON, MANIFEST_BYTES), read(reader, prefix + SIGNATURE, NOTE_BYTES)
    keys = tuple(Verifier.parse(key) for key in decode_cut(data).keys)
    cut, signers = open_cut(data, signature, keys)
    note = read(reader, prefix + CHECKPOINT, NOTE_BYTES)
    timestamp = stated_time(read(reader, prefix + TIMESTAMP, NOTE_BYTES)) if cut.timestamped else None
    return Sealed(cut, tuple(signers), read_checkpoint(note), note.decode(), timestamp)


def differing_copies(settings: Settings, cut: Cut) -> dict[str, list[dict[str, Any]]]:
    """Table → its current copies that have another size, digest or number of rows than was sealed; empty if none.

    The store states size and digest; the rows are those of the Parquet file's footer.
    """
    place, client = S3Location.parse(settings.require("publish_url")), s3_client(settings)

    def look(path: str, file: CutFile) -> dict[str, Any] | None:
        at = place / path
        there = head(client, at)
        sealed: dict[str, Any] = {"bytes": file.bytes, "sha256": file.sha256}
        found = {"bytes": there.bytes, "sha256": digest(client, there)} if there else {}
        if path.endswith(".parquet") and found == sealed:
            sealed["rows"] = file.rows
            found["rows"] = _rows(client, at)
        return None if found == sealed else {"uri": str(at), "sealed": sealed, "found": found or "nothing"}

    copies = copies_of_tables(cut)
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="look") as pool:
        looked = list(pool.map(look, copies, copies.values()))
    differing: dict[str, list[dict[str, Any]]] = {path.split("/")[1]: [] for path in copies}
    for path, wrong in zip(copies, looked, strict=True):
        if wrong is not None:
            differing[path.split("/")[1]].append(wrong)
    return differing


def _rows(client: S3Client, at: S3Location) -> int:
    """Rows of a Parquet file, by its footer: its last eight bytes are the footer's length, and a magic number."""

    def end(size: int) -> bytes:
        return client.get_object(Bucket=at.bucket, Key=at.key, Range=f"bytes=-{size}")["Body"].read()

    footer = end(_FOOTER_BYTES)
    if (size := int.from_bytes(footer[-8:-4], "little") + 8) > len(footer):
        footer = end(size)
    return int(pq.read_metadata(BytesIO(footer)).num_rows)


def differing_files(settings: Settings, cut: Cut) -> Iterator[dict[str, Any]]:
    """Files of the cut that are gone or of another size, by the bucket's listing."""
    reader = S3Reader(s3_client(settings), S3Location.parse(settings.require("publish_url")))
    there = {entry.path.removeprefix(cut.prefix): entry.size for entry in reader.list(cut.prefix)}
    for file in cut.files:
        if there.get(file.path) != file.bytes:
            yield {"file": cut.prefix + file.path, "sealed": file.bytes, "found": there.get(file.path, "nothing")}
