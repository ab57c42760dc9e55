"""`cut.json`, the list of everything in one night's revision, and the note that signs it.

Belongs here: the form of the file, written and read strictly. Does not: its content (seal.py), checking it against the
set (evidence/verify).

`cut.json` is RFC 8785 JSON without a line break. `cut.json.sig` is a signed note with four lines of text:

    custody-cut/v1
    <origin of the log>
    <path of the cut, for example cuts/date=2026-11-02/r0001/>
    <sha256 of cut.json in hex>  cut.json

The last line is a line of `sha256sum --check`. A note is better here than a bare signature: it names the key, it holds
several signatures while keys are being rotated, and it stays below the 4,096 bytes that AWS KMS signs.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Literal, TypeVar

import msgspec
import rfc8785

from custody_pipeline.evidence.log.merkle import Frontier
from custody_pipeline.evidence.log.note import (
    Note,
    NoteError,
    OtherLogError,
    Signer,
    UnknownSignerError,
    Verifier,
    check_origin,
    parse,
    sign,
)
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, Reader, read

SCHEMA = "custody-cut/v1"
CUT_JSON = "cut.json"
SIGNATURE = "cut.json.sig"
TIMESTAMP = "cut.json.tsr"
CHECKPOINT = "checkpoint"
CONSISTENCY = "checkpoint.consistency"
SEAL_FILES = (CUT_JSON, SIGNATURE, TIMESTAMP, CHECKPOINT, CONSISTENCY)
"""Files of a cut that `cut.json` does not list, because they are made from it."""

RECORDS = "data/records.ndjson"
"""The salted records, one a line, in the order of their leaves and of the rows of `TABLE`."""

TABLE = "data/chain_of_custody.parquet"

REPORT = "report/"
"""The night for people, with the rows behind its numbers. Its bytes are sealed; verification does not read them."""

ROTATION = "rotation.note"
"""While two keys sign: the statement, signed by both, that the second takes over (evidence/log/keys.py)."""

_PATH = re.compile(r"[^/\\\x00-\x1f\x7f]+(/[^/\\\x00-\x1f\x7f]+)*")

Hex256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Revision = Annotated[int, msgspec.Meta(ge=1, le=9999)]

_T = TypeVar("_T")


class CutError(ValueError):
    """A `cut.json` or its signature is malformed. The message says what is wrong and where."""


class CutAlteredError(CutError):
    """A `cut.json` is not the one that its signature is for."""


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every field is required unless it has a default; unknown fields are refused."""


class CutFile(Strict, frozen=True):
    """A file of the cut.

    Attributes:
        path: relative to the cut's folder.
        sha256: hex.
        rows: of a table's file.
        version_id: its object version, if the bucket keeps versions.
    """

    path: str
    bytes: Count
    sha256: Hex256
    rows: Count | None = None
    version_id: str | None = None


class Receipt(Strict, frozen=True):
    """What was asked of one source and received from it (see `raw.extraction_receipts`).

    `landing` are paths of the cut: the documents as received.
    """

    resource: str
    state: str
    asked: Count | None
    documents: Count | None
    rows: Count | None
    failures: Count | None
    requests: Count | None
    retries: Count | None
    started_at: str | None
    finished_at: str | None
    data_available_until: str | None
    detail: str | None
    landing: tuple[str, ...]


class Superseded(Strict, frozen=True, omit_defaults=True):
    """The revision that this one replaces.

    Attributes:
        sha256: of its cut.json.
        changed: rows of chain_of_custody that are new or changed; their column `revision` has this cut's revision.
    """

    revision: Revision
    sha256: Hex256
    why: str = ""
    changed: Count = 0


class Lock(Strict, frozen=True):
    """How every object of the cut was locked when it was sealed.

    Attributes:
        mode: of the retention; None without one.
        until: when the retention ends, RFC 3339, UTC.
    """

    mode: Literal["GOVERNANCE", "COMPLIANCE"] | None
    until: str | None
    legal_hold: bool


class Clock(Strict, frozen=True):
    """Where `sealed_at` comes from.

    Attributes:
        source: `system`: the clock of the sealing machine.
        compared_with: `store`: the `Date` header of the store's answer (RFC 9110, 6.6.1), in whole seconds.
        ahead_seconds: by how much the source was ahead of the store; negative if it was behind, 0 if they agreed.
    """

    source: Literal["system"]
    compared_with: Literal["store"]
    ahead_seconds: Annotated[int, msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)]


class LogPosition(Strict, frozen=True):
    """Where the cut is in the log.

    Attributes:
        first: index of the first record's leaf = size of the log before this cut.
        previous_root: root of the log at that size, hex.
        frontier: hashes of the complete subtrees of that tree, left to right, hex: with them and the cut's own records
            anyone recomputes the new root, which proves inclusion and consistency at once.
        root: root after the records, hex. The next leaf is `cut.json` itself; `checkpoint` covers it.
    """

    origin: str
    first: Count
    previous_root: Hex256
    frontier: tuple[Hex256, ...]
    records: Count
    root: Hex256

    @property
    def cut_index(self) -> int:
        """Index of the leaf that is `cut.json`."""
        return self.first + self.records

    @property
    def size(self) -> int:
        """Leaves after this cut, as its checkpoint says."""
        return self.cut_index + 1

    def frontier_before(self) -> Frontier:
        """The right edge of the log before this cut.

        Raises:
            ProofError: the number of hashes is not the one for `first` leaves.
        """
        return Frontier(self.first, [bytes.fromhex(item) for item in self.frontier])


Completeness = Literal["established", "incomplete", "not_established"]
"""What a night claims: every needed source is whole and nothing is unexplained · something is unexplained · some needed
source is not whole."""


class Coverage(Strict, frozen=True):
    """One source of the night, and whether its answer is whole.

    Attributes:
        state: `whole`, `partial`, `failed` or `not_asked`.
        needed: while the source is not whole, a recording may be missing without a row.
        sees: what the source shows, and what it cannot show.
        complete_until: UTC, RFC 3339; absent if the source does not say until when it is complete.
    """

    source: str
    state: Literal["whole", "partial", "failed", "not_asked"]
    needed: bool
    sees: str
    complete_until: str | None
    detail: str | None


class Cut(Strict, frozen=True):
    """One night's revision.

    Attributes:
        night: UTC day, `YYYY-MM-DD`.
        complete: what the night claims; cuts of earlier versions say `true` for "nothing is unexplained".
        sealed_at: UTC, RFC 3339; a claim of the sealing machine, which the timestamp can confirm.
        organization_id: id of the Genesys Cloud organisation, if known.
        collector: identity of the service account that collected.
        operator: person or service that ran the pipeline.
        files: every file of the cut's folder but `SEAL_FILES`, ordered by path; `file` relies on the order.
        counts: table → rows.
        statuses: custody_status → rows of chain_of_custody.
        supersedes: the revision before; None for revision 1.
        timestamped: an RFC 3161 timestamp was made: `cut.json.tsr` must be there.
        keys: verifier keys that signed.
        lock: absent if no lock was configured.
        coverage: the sources that `complete` rests on; absent in cuts of earlier versions.
        clock: the clock of `sealed_at`; absent in cuts of earlier versions, and if the store stated no time.
        newer_within_days: the deployment seals a newer cut at least this often; absent without such a promise.
    """

    night: str
    revision: Revision
    complete: Completeness | bool
    sealed_at: str
    organization_id: str | None
    collector: str | None
    operator: str
    tool_version: str
    git_revision: str | None
    files: tuple[CutFile, ...]
    counts: dict[str, Count]
    statuses: dict[str, Count]
    receipts: tuple[Receipt, ...]
    supersedes: Superseded | None
    timestamped: bool
    keys: tuple[str, ...]
    log: LogPosition
    lock: Lock | msgspec.UnsetType = msgspec.UNSET
    coverage: tuple[Coverage, ...] | msgspec.UnsetType = msgspec.UNSET
    clock: Clock | msgspec.UnsetType = msgspec.UNSET
    newer_within_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] | msgspec.UnsetType = msgspec.UNSET
    schema: Literal["custody-cut/v1"] = "custody-cut/v1"

    @property
    def prefix(self) -> str:
        """The cut's folder, with a trailing slash."""
        return cut_prefix(self.night, self.revision)

    def file(self, path: str) -> CutFile | None:
        """The file at `path` of the cut."""
        at = bisect_left(self.files, path, key=lambda file: file.path)
        return self.files[at] if at < len(self.files) and self.files[at].path == path else None


def cut_prefix(night: str, revision: int) -> str:
    """`cuts/date=2026-11-02/r0001/`."""
    return f"cuts/date={night}/r{revision:04d}/"


def pointer_path(night: str) -> str:
    """`current/date=2026-11-02.json`, which names the night's newest revision. It is not signed."""
    return f"current/date={night}.json"


def is_safe_path(path: str) -> bool:
    """True for a relative path without `..`, backslashes, control characters or empty parts."""
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def is_moment(text: str) -> bool:
    """Whether a text is a time with a zone, as RFC 3339 writes it."""
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False


def encode_cut(cut: Cut) -> bytes:
    """The bytes of `cut.json`.

    Raises:
        CutError: the cut contradicts itself.
    """
    _check(cut)
    return rfc8785.dumps(msgspec.to_builtins(cut))


def decode_cut(data: bytes) -> Cut:
    """Read a `cut.json`.

    Raises:
        CutError: not RFC 8785 JSON of this schema, to the byte; unknown fields included.
    """
    return decode_strictly("cut.json", data, Cut, encode_cut)


def decode_strictly(name: str, data: bytes, kind: type[_T], encode: Callable[[_T], bytes]) -> _T:
    """Read a file of a cut; only the very bytes that `encode` writes are accepted. `name`: for messages.

    Raises:
        CutError: not RFC 8785 JSON of this schema, to the byte, or `encode` refuses its content.
    """
    try:
        value = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CutError(f"{name}: {error}") from error
    if encode(value) != data:
        raise CutError(f"{name} is not in the form of RFC 8785 (order, spaces, repeated or missing members)")
    return value


def _check(cut: Cut) -> None:
    try:
        valid_night = date.fromisoformat(cut.night).isoformat() == cut.night
    except ValueError:
        valid_night = False
    if not valid_night:
        raise CutError("cut.json: night is not a day in the form YYYY-MM-DD")
    paths = [file.path for file in cut.files]
    if paths != sorted(set(paths)):
        raise CutError("cut.json: files are not ordered by path, or one is there twice")
    unsafe = [path for path in paths if not is_safe_path(path) or path in SEAL_FILES]
    if unsafe:
        raise CutError(f"cut.json: {unsafe[0]!r} cannot be the path of a file of a cut")
    if (cut.supersedes.revision if cut.supersedes else 0) != cut.revision - 1:
        raise CutError("cut.json: a revision supersedes the one before it, and the first supersedes none")
    if isinstance(cut.lock, Lock):
        lasts = cut.lock.until is None or is_moment(cut.lock.until)
        if not lasts or (cut.lock.mode is None) != (cut.lock.until is None):
            raise CutError("cut.json: the lock has no time at which it ends")
    listed = set(paths)
    for receipt in cut.receipts:
        for path in receipt.landing:
            if path not in listed:
                raise CutError(f"cut.json: the receipt of {receipt.resource} names {path!r}, which is not in the cut")


def sign_cut(cut: Cut, signers: Sequence[Signer]) -> Note:
    """The note for `cut.json.sig`."""
    return sign(_note_text(cut.log.origin, cut.prefix, encode_cut(cut)), signers)


def open_cut(data: bytes, signature: bytes, keys: Sequence[Verifier]) -> tuple[Cut, list[Verifier]]:
    """Read a `cut.json`, but only when a known key signed it.

    Args:
        keys: known public keys.

    Returns:
        The cut, and the known keys that signed it.

    Raises:
        NoteError: the signature is malformed, by no known key (`UnknownSignerError`), or of another log
            (`OtherLogError`).
        CutAlteredError: the signature is for another `cut.json`.
        CutError: `cut.json` is signed and malformed.
    """
    note = parse(signature)
    signers = note.verified_by(keys)
    lines = note.text.decode()[:-1].split("\n")
    if len(lines) != 4 or lines[0] != SCHEMA:
        raise NoteError("the text of cut.json.sig is not that of a cut")
    origin, prefix = lines[1:3]
    check_origin(origin, signers)
    if note.text != _note_text(origin, prefix, data):
        raise CutAlteredError("cut.json.sig was made for another cut.json")
    cut = decode_cut(data)
    if cut.prefix != prefix:
        raise CutAlteredError(f"cut.json.sig was made for {prefix}, not for {cut.prefix}")
    if cut.log.origin != origin:
        raise OtherLogError(f"cut.json is of the log {cut.log.origin}, and its signature of {origin}")
    _check_claimed_keys(cut, note)
    return cut, signers


def read_cut(reader: Reader, prefix: str, keys: Sequence[Verifier]) -> Cut:
    """The cut in a folder, if a known key signed it.

    Raises:
        NoteError, CutError: as for `open_cut`.
        FileNotFoundError, TargetError: a file of its seal is missing or cannot be read.
    """
    data = read(reader, prefix + CUT_JSON, MANIFEST_BYTES)
    return open_cut(data, read(reader, prefix + SIGNATURE, NOTE_BYTES), keys)[0]


def read_file(reader: Reader, cut: Cut, path: str) -> bytes | None:
    """The bytes of a file of a signed cut, as they were sealed; None if the cut has no such file.

    Raises:
        CutAlteredError: other bytes are there.
        FileNotFoundError, TargetError: it is missing or cannot be read, or is larger than it was.
    """
    file = cut.file(path)
    if file is None:
        return None
    data = read(reader, cut.prefix + path, file.bytes)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise CutAlteredError(f"{reader.name}/{cut.prefix}{path} is not the file that was sealed; restore its version")
    return data


def _check_claimed_keys(cut: Cut, note: Note) -> None:
    """Every key that `cut.json` names must have signed it."""
    for vkey in cut.keys:
        try:
            note.verified_by([Verifier.parse(vkey)])
        except UnknownSignerError as error:
            raise NoteError(f"cut.json names the key {vkey}, which did not sign it") from error


def _note_text(origin: str, prefix: str, data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return f"{SCHEMA}\n{origin}\n{prefix}\n{digest}  {CUT_JSON}\n".encode()
