"""What is read again from cuts, when a warehouse is lost: only what the log's key signed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from custody_pipeline.evidence.reader import FolderReader, TargetError
from custody_pipeline.publish.landed import cuts_by_night
from custody_pipeline_tests.evidence.published import NIGHTS, OTHER, SIGNER, Publisher, rows
from custody_pipeline_tests.evidence.test_tampering import FIRST, NEWEST, REVISED, copy_over, edit_cut

KEYS = [SIGNER.verifier]


def test_every_cut_of_the_log_is_read(original: Publisher) -> None:
    found = cuts_by_night(FolderReader(original.root), KEYS)

    assert [(str(night), len(cuts)) for night, cuts in found.items()] == [
        (NIGHTS[0], 1),
        (NIGHTS[1], 2),
        (NIGHTS[2], 1),
    ]


def test_a_cut_that_was_sealed_after_the_head_counts_if_it_is_signed(copy: Path) -> None:
    copy_over(REVISED + "checkpoint", "log/checkpoint")(copy)
    assert len(cuts_by_night(FolderReader(copy), KEYS)) == 3
    edit_cut(copy, NEWEST, lambda document: document.update(operator="somebody"), OTHER)
    with pytest.raises(TargetError, match="no key of this log sealed it"):
        cuts_by_night(FolderReader(copy), KEYS)


def test_a_cut_of_a_key_that_is_gone_is_known_by_its_place_in_the_log(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, signers=(OTHER,))
    publisher.night(NIGHTS[0], rows(NIGHTS[0], 3))
    publisher.signers = (OTHER, SIGNER)
    publisher.night(NIGHTS[1], rows(NIGHTS[1], 3))
    publisher.signers = (SIGNER,)
    publisher.night(NIGHTS[2], rows(NIGHTS[2], 3))
    assert len(cuts_by_night(FolderReader(tmp_path), KEYS)) == 3

    edit_cut(tmp_path, FIRST, lambda document: document.update(operator="somebody"), OTHER)
    with pytest.raises(TargetError, match="no key of this log sealed it"):
        cuts_by_night(FolderReader(tmp_path), KEYS)


def planted(root: Path) -> None:
    """A later revision of a night, as somebody would write it who has no key."""
    target = root / f"cuts/date={NIGHTS[0]}/r0002"
    shutil.copytree(root / FIRST, target)
    document = json.loads((target / "cut.json").read_bytes())
    document |= {"revision": 2, "supersedes": {"revision": 1, "sha256": "0" * 64}}
    (target / "cut.json").write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "change",
    [
        planted,
        lambda root: edit_cut(root, FIRST, lambda document: document.update(operator="somebody")),
        lambda root: shutil.copytree(root / FIRST, root / f"cuts/date={NIGHTS[0]}/r0002"),
        lambda root: (root / FIRST / "cut.json").write_bytes(b"{"),
        lambda root: (root / FIRST / "cut.json.sig").unlink(),
    ],
    ids=["a revision more", "another operator", "a copy", "no JSON", "no signature"],
)
def test_what_somebody_else_wrote_into_the_bucket_is_not_loaded(copy: Path, change: Callable[[Path], object]) -> None:
    change(copy)

    with pytest.raises(TargetError):
        cuts_by_night(FolderReader(copy), KEYS)
