"""A sealed and published night, read back from S3: its seal, and whether the copies equal the cut.

Belongs here: the seal for Dagster's page, and quick comparisons by what the store states. Does not: the whole
verification (evidence/verify), which reads every byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.timestamp import stated_time
from custody_pipeline.evidence.log.checkpoint import Checkpoint, read_checkpoint
from custody_pipeline.evidence.log.note import Verifier
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, read
from custody_pipeline.evidence.verify.copies import copies_of_tables
from custody_pipeline.io.objects import digest, head
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.current_copies import read_pointer
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WORKERS = 8
_FOOTER_BYTES = 64 << 10


@dataclass(frozen=True)
class Sealed:
    """The newest revision of a night.

    Attributes:
        keys: the keys that signed the cut, as the cut names them.
        checkpoint: the log's head after the cut.
        timestamp: the time in the timestamp; None without one. `custody verify` checks who signed it.
    """

    cut: cuts.Cut
    keys: tuple[Verifier, ...]
    checkpoint: Checkpoint
    timestamp: datetime | None


def read_sealed(settings: Settings, night: date) -> Sealed:
    """The revision that `current/date=….json` names.

    Raises:
        FileNotFoundError: the night is not published, or a file of its seal is gone.
        NoteError, CutError: the pointer is none, or the files are not those that were signed.
        TargetError: S3 cannot be read.
    """
    reader = S3Reader(s3_client(settings), S3Location.parse(settings.require("publish_url")))
    prefix = cuts.cut_prefix(night.isoformat(), read_pointer(reader, cuts.pointer_path(night.isoformat())).revision)
    data = read(reader, prefix + cuts.CUT_JSON, MANIFEST_BYTES)
    signature = read(reader, prefix + cuts.SIGNATURE, NOTE_BYTES)
    keys = tuple(Verifier.parse(key) for key in cuts.decode_cut(data).keys)
    cut, signers = cuts.open_cut(data, signature, keys)
    checkpoint = read_checkpoint(read(reader, prefix + cuts.CHECKPOINT, NOTE_BYTES))
    timestamp = stated_time(read(reader, prefix + cuts.TIMESTAMP, NOTE_BYTES)) if cut.timestamped else None
    return Sealed(cut, tuple(signers), checkpoint, timestamp)


def differing_copies(settings: Settings, cut: cuts.Cut) -> dict[str, list[dict[str, Any]]]:
    """Table → its current copies that have another size, digest or number of rows than was sealed; empty if none.

    The store states size and digest; the rows are those of the Parquet file's footer.
    """
    place, client = S3Location.parse(settings.require("publish_url")), s3_client(settings)

    def look(path: str, file: cuts.CutFile) -> dict[str, Any] | None:
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


def differing_files(settings: Settings, cut: cuts.Cut) -> Iterator[dict[str, Any]]:
    """Files of the cut that are gone or of another size, by the bucket's listing."""
    reader = S3Reader(s3_client(settings), S3Location.parse(settings.require("publish_url")))
    there = {entry.path.removeprefix(cut.prefix): entry.size for entry in reader.list(cut.prefix)}
    for file in cut.files:
        if there.get(file.path) != file.bytes:
            yield {"file": cut.prefix + file.path, "sealed": file.bytes, "found": there.get(file.path, "nothing")}
