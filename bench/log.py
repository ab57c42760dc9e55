"""Stage `log`: nights sealed into a log that has many nights already, and verified in it, against a log with ten.

Ours and the floor do the same, so the ratio shows what a night costs because of the nights before it. A night here is a
cut of 60 recordings without files: what its own files cost is in the stages `seal` and `verify`. Everything is on disk.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from bench.measure import Prepared, Stage
from bench.night import NIGHT
from bench.seal import SIGNER
from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import CutFile
from custody_pipeline.evidence.cut.records import leaf_hash
from custody_pipeline.evidence.cut.seal import HEAD, LOG, Draft, Sealed, seal
from custody_pipeline.evidence.log.checkpoint import Head, read_checkpoint, verify_checkpoint
from custody_pipeline.evidence.log.merkle import (
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from custody_pipeline.evidence.log.tiles import TileTree
from custody_pipeline.evidence.reader import FolderReader

RECORDINGS, NIGHTS, FEW = 60, 100, 10


def _seal(root: Path, number: int, head: Head) -> Sealed:
    """Seal night `number` below `root`, and write what that gives."""
    leaves = [hashlib.sha256(b"%d/%d" % (number, line)).digest() for line in range(RECORDINGS)]
    files = [CutFile(path, 1, hashlib.sha256().hexdigest(), RECORDINGS) for path in (cuts.RECORDS, cuts.TABLE)]
    night = (NIGHT + timedelta(days=number)).isoformat()
    draft = Draft(night, 1, "established", f"{night}T23:59:59Z", "bench", "bench", files, {}, {})
    sealed = seal(draft, leaves, reader=FolderReader(root), head=head, signed_before=head, signers=[SIGNER])
    for write in sealed.writes:
        path = root / write.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write.data)
    return sealed


def _verify(root: Path, sealed: Sealed, before: Head) -> None:
    """That the night's `cut.json` is in the published head, and that the head extends the one before."""
    head = verify_checkpoint((root / HEAD).read_bytes(), [SIGNER.verifier]).head
    tree = TileTree(FolderReader(root), head.size, LOG)
    place = sealed.cut.log.first + sealed.cut.log.records
    leaf = leaf_hash((root / (sealed.cut.prefix + cuts.CUT_JSON)).read_bytes())
    verify_inclusion(leaf, place, head.size, inclusion_proof(tree.node, place, head.size), head.root)
    verify_consistency(
        before.size, head.size, consistency_proof(tree.node, before.size, head.size), before.root, head.root
    )


def _log_of(nights: int, root: Path) -> Path:
    root.mkdir(parents=True)
    head = Head.empty(SIGNER.verifier.name)
    for number in range(nights):
        head = _seal(root, number, head).checkpoint.head
    return root


@contextmanager
def _prepared(nights: int, folder: Path) -> Iterator[Prepared]:
    many, few = (_log_of(count, folder / str(count)) for count in (nights, FEW))
    yield Prepared(partial(_more, many, nights), partial(_more, few, FEW), partial(_same, nights), rows=NIGHTS)


def _more(log: Path, nights: int, folder: Path) -> Callable[[], object]:
    root = shutil.copytree(log, folder / "published")

    def work() -> None:
        head = read_checkpoint((root / HEAD).read_bytes()).head
        for number in range(nights, nights + NIGHTS):
            sealed = _seal(root, number, head)
            _verify(root, sealed, head)
            head = sealed.checkpoint.head

    return work


def _same(nights: int, ours: Path, floor: Path) -> None:
    for folder, before in ((ours, nights), (floor, FEW)):
        head = read_checkpoint((folder / "published" / HEAD).read_bytes()).head
        assert head.size == (before + NIGHTS) * (RECORDINGS + 1), f"{head.size} leaves"


STAGE = Stage(
    "log",
    f"{NIGHTS} nights sealed and verified one by one, on disk; size: nights in the log before",
    f"the same with {FEW} nights before",
    _prepared,
    sizes=(1_000,),
    goals={1_000: 1.05},
)
