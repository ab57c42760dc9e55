"""Sealing: a night's files → `cut.json`, signatures, tiles and the log's next head, as an ordered list of writes.

Belongs here: deciding what is written, in which order. Does not: writing it (publish/). So every step is testable, and
works with any store.

The order of `Sealed.writes` makes a crash harmless at every point:

1. the files of the cut (the caller has put them already, so that `cut.json` can name their object versions),
2. `cut.json.sig`, `.tsr`, `checkpoint`, `checkpoint.consistency`: a folder without `cut.json` is no cut,
3. `cut.json`, written only if absent: from here on the night is sealed,
4. tiles,
5. `log/checkpoint`: from here on the log's head is the new one.

After a crash between 3 and 5, `recover` computes the same tiles and head again from the cut itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.records import leaf_hash
from custody_pipeline.evidence.log.checkpoint import (
    Checkpoint,
    Head,
    InconsistentHeadError,
    sign_checkpoint,
    verify_checkpoint,
    witness_request,
)
from custody_pipeline.evidence.log.merkle import ProofError, consistency_proof
from custody_pipeline.evidence.log.note import Signer, Verifier
from custody_pipeline.evidence.log.tiles import TileError, TileTree, append
from custody_pipeline.evidence.reader import MANIFEST_BYTES, NOTE_BYTES, Reader, read

LOG = "log/"
HEAD = "log/checkpoint"
SEALING = "sealing/"
"""Claims and staged files of seals under way (publish/claims.py); nothing there is sealed."""

CLAIM = SEALING + "head"


class SealError(Exception):
    """A night cannot be sealed as it is. Nothing was signed."""


@dataclass(frozen=True)
class Draft:
    """A cut before it has a place in the log. The fields are those of `Cut`."""

    night: str
    revision: int
    complete: cuts.Completeness
    sealed_at: str
    operator: str
    tool_version: str
    files: Sequence[cuts.CutFile]
    counts: dict[str, int]
    statuses: dict[str, int]
    organization_id: str | None = None
    collector: str | None = None
    git_revision: str | None = None
    receipts: Sequence[cuts.Receipt] = ()
    supersedes: cuts.Superseded | None = None
    lock: cuts.Lock | None = None
    coverage: Sequence[cuts.Coverage] = ()
    clock: cuts.Clock | None = None
    newer_within_days: int | None = None


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A night that is ready to be sealed, before it has a place in the log.

    Attributes:
        id: 32 hex digits; its files are staged below `sealing/<id>/`.
        draft: what will be in `cut.json`; the files have no object versions yet.
        content_types: path within the cut → content type.
        keys: verifier keys that must sign, the current one first. Another home's keys would give another cut.
        signature: signed note of the home that committed the bundle, so that write access to the bucket is not enough.
    """

    id: str
    draft: Draft
    content_types: dict[str, str]
    keys: list[str]
    signature: str = ""


class Agreed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cut.json` and its RFC 3161 response, as every process that seals a night uses them.

    `signature`: signed note of the home that made them.
    """

    cut: bytes
    timestamp: bytes | None
    signature: str = ""


class Claimed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sealing/head`: the log's head, and the night that is being sealed, if one is (publish/claims.py).

    Attributes:
        agreed: the `cut.json` that every home uses for it.
    """

    size: int
    root: str
    pending: Bundle | None = None
    agreed: Agreed | None = None


@dataclass(frozen=True)
class Write:
    """One file to be put.

    Attributes:
        path: relative to the published prefix.
        once: put only if absent (`IfNoneMatch: *`).
    """

    path: str
    data: bytes
    once: bool
    content_type: str


@dataclass(frozen=True)
class Sealed:
    """A sealed night.

    Attributes:
        sha256: of `cut.json`, hex; the next revision's `supersedes`.
        writes: in this order; each group is finished before the next (see the module).
    """

    cut: cuts.Cut
    sha256: str
    checkpoint: Checkpoint
    writes: list[Write]


def seal(
    draft: Draft,
    leaves: Sequence[bytes],
    *,
    reader: Reader,
    head: Head,
    signed_before: Head | None,
    signers: Sequence[Signer],
    timestamp: Callable[[bytes], bytes] | None = None,
    agreed: Callable[[bytes], Agreed] | None = None,
) -> Sealed:
    """Seal a night.

    Args:
        draft: the content of the cut; its files are in place already.
        leaves: leaf hashes of the lines of `data/records.ndjson`, in order.
        reader: the published prefix; only tiles of the right edge are read.
        head: the published head. If it is not the one that the caller published last, call `recover` first.
        signed_before: the newest head this key ever signed, as the caller remembers it outside the bucket; None when
            nothing is remembered. It guards against a bucket that was rolled back.
        signers: current key first; two during a rotation.
        timestamp: `cut.json` → RFC 3161 response; None without a TSA.
        agreed: this process's `cut.json` → the one that every process uses to seal this night; they may differ, because
            object versions and timestamps differ. None: use the one of this process.

    Raises:
        SealError: files that a cut must have are missing, or the cut is there already and was not agreed on.
        InconsistentHeadError: the bucket's log is not the one that was signed before.
        TileError: the bucket's tiles are not those of its head.
    """
    _check(draft, leaves, reader, head, begun=agreed is not None)
    old = TileTree(reader, head.size, LOG)
    try:
        frontier = old.frontier()
    except TileError as error:
        raise InconsistentHeadError(f"{reader.name}: {error}") from error
    if frontier.root() != head.root:
        raise InconsistentHeadError(f"{reader.name}: the tiles are not those of {HEAD}")
    before = [item.hex() for item in frontier.hashes]
    frontier.extend(leaves)
    cut = cuts.Cut(
        **vars(draft)
        | {
            "files": tuple(sorted(draft.files, key=lambda file: file.path)),
            "receipts": tuple(draft.receipts),
            "coverage": tuple(draft.coverage),
            "lock": draft.lock or msgspec.UNSET,
            "clock": draft.clock or msgspec.UNSET,
            "newer_within_days": draft.newer_within_days or msgspec.UNSET,
        },
        timestamped=timestamp is not None,
        keys=tuple(signer.verifier.vkey for signer in signers),
        log=cuts.LogPosition(
            origin=head.origin,
            first=head.size,
            previous_root=head.root.hex(),
            frontier=tuple(before),
            records=len(leaves),
            root=frontier.root().hex(),
        ),
    )
    ours = cuts.encode_cut(cut)
    used = agreed(ours) if agreed else Agreed(ours, timestamp(ours) if timestamp else None)
    data, stamp = used.cut, used.timestamp
    cut = cuts.decode_cut(data)
    tree, tiles = append(old, [*leaves, leaf_hash(data)])
    new = Head(head.origin, tree.size, tree.root())
    checkpoint = sign_checkpoint(new, signers, *_guard(tree, signed_before or head, new))
    proof = consistency_proof(tree.node, head.size, new.size)

    files = {cuts.SIGNATURE: cuts.sign_cut(cut, signers).data, cuts.CHECKPOINT: checkpoint.note.data}
    files[cuts.CONSISTENCY] = witness_request(head.size, proof, checkpoint)
    if stamp is not None:
        files[cuts.TIMESTAMP] = stamp
    writes = [Write(cut.prefix + name, content, True, _content_type(name)) for name, content in sorted(files.items())]
    writes.append(Write(cut.prefix + cuts.CUT_JSON, data, True, "application/json"))
    writes += _log_writes(tiles, checkpoint)
    return Sealed(cut, hashlib.sha256(data).hexdigest(), checkpoint, writes)


def _check(draft: Draft, leaves: Sequence[bytes], reader: Reader, head: Head, *, begun: bool) -> None:
    files = {file.path: file for file in draft.files}
    for path in (cuts.RECORDS, cuts.TABLE):
        if path not in files:
            raise SealError(f"{path} is not among the files of the cut")
        if files[path].rows != len(leaves):
            raise SealError(f"{path} has {files[path].rows} rows, but there are {len(leaves)} leaves")
    own = cuts.cut_prefix(draft.night, draft.revision) + cuts.CUT_JSON
    if not begun and any(entry.path == own for entry in reader.list(own)):
        raise SealError(f"{own} is there already; a cut is written once")
    if head.size == 0 and any(
        entry.path.endswith("/" + cuts.CUT_JSON) and entry.path != own for entry in reader.list("cuts/")
    ):
        raise SealError(f"there are cuts, but {HEAD} is missing; recover the log's head first")


def _guard(tree: TileTree, signed_before: Head, new: Head) -> tuple[Head, list[bytes]]:
    try:
        return signed_before, consistency_proof(tree.node, signed_before.size, new.size)
    except ProofError as error:
        raise InconsistentHeadError(
            f"{new.origin}: a tree of {signed_before.size} leaves was signed before, and this log would have "
            f"{new.size}. The bucket was rolled back, or this is not its only writer."
        ) from error


def _log_writes(tiles: dict[str, bytes], checkpoint: Checkpoint) -> list[Write]:
    writes = [Write(LOG + path, data, False, "application/octet-stream") for path, data in tiles.items()]
    return [*writes, Write(HEAD, checkpoint.note.data, False, "text/plain; charset=utf-8")]


def _content_type(name: str) -> str:
    return "application/timestamp-reply" if name == cuts.TIMESTAMP else "text/plain; charset=utf-8"


def recover(reader: Reader, keys: Sequence[Verifier], head: Head) -> list[Write]:
    """Tiles and head that a run did not write because it died after `cut.json`, computed from the cuts.

    This reads every cut's checkpoint. Call it at the start of a process, or if the head is not the remembered one, and
    not for every night.

    Raises:
        SealError: two cuts claim the same place in the log, one is missing, or a cut does not lead to the head it was
            signed with.
        NoteError: a cut's checkpoint is not signed by one of `keys`.
    """
    pending = _cuts_beyond(reader, keys, head)
    tree = TileTree(reader, head.size, LOG)
    frontier = tree.frontier()
    leaves: list[bytes] = []
    newest: Checkpoint | None = None
    while frontier.size in pending:
        prefix, data, newest = pending.pop(frontier.size)
        lines = read(reader, prefix + cuts.RECORDS).split(b"\n")[:-1]
        added = [*map(leaf_hash, lines), leaf_hash(data)]
        leaves += added
        frontier.extend(added)
        if (frontier.size, frontier.root()) != (newest.head.size, newest.head.root):
            raise SealError(f"{prefix}: its records do not lead to the head that was signed with it")
    if pending:
        prefix = pending[min(pending)][0]
        raise SealError(f"{prefix} begins at leaf {min(pending)}, but what is before it ends at {frontier.size}")
    return _log_writes(append(tree, leaves)[1], newest) if newest else []


def _cuts_beyond(reader: Reader, keys: Sequence[Verifier], head: Head) -> dict[int, tuple[str, bytes, Checkpoint]]:
    """First leaf → (folder, cut.json, checkpoint) of every cut that was signed with a longer log than `head`."""
    beyond: dict[int, tuple[str, bytes, Checkpoint]] = {}
    for entry in reader.list("cuts/"):
        if not entry.path.endswith("/" + cuts.CUT_JSON):
            continue
        prefix = entry.path.removesuffix(cuts.CUT_JSON)
        checkpoint = verify_checkpoint(read(reader, prefix + cuts.CHECKPOINT, NOTE_BYTES), keys, head.origin)
        if checkpoint.head.size <= head.size:
            continue
        data = read(reader, entry.path, MANIFEST_BYTES)
        first = cuts.decode_cut(data).log.first
        if first in beyond:
            raise SealError(f"{prefix} and {beyond[first][0]} both begin at leaf {first}: there were two writers")
        beyond[first] = prefix, data, checkpoint
    return beyond
