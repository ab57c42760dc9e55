"""A verification since a checkpoint that was verified before: what it reads, what it still finds, what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import pytest

from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline_tests.evidence.mutants import mutants, small_set, tried
from custody_pipeline_tests.evidence.published import NIGHTS, OTHER, SIGNER, Publisher, forked_log, rows
from custody_pipeline_tests.evidence.reports import codes

OLD, NEW = f"cuts/date={NIGHTS[0]}/r0001/", f"cuts/date={NIGHTS[2]}/r0001/"
TABLE = "data/gaps.parquet"


def since(original: Publisher, root: Path) -> Report:
    """Verify what was sealed after the second night."""
    before = original.sealed[1].checkpoint.note.data
    return verify(FolderReader(root), Options(public_keys=[SIGNER.verifier], since=before))


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_files_of_older_nights_are_not_read_and_the_report_says_so(original: Publisher) -> None:
    opened: list[str] = []

    class Counting(FolderReader):
        def open(self, path: str) -> BinaryIO:
            opened.append(path)
            return super().open(path)

    before = original.sealed[1].checkpoint.note.data
    report = verify(Counting(original.root), Options(public_keys=[SIGNER.verifier], since=before))
    assert report.status == 0
    assert report.verdict == "VERIFIED, what was sealed since the given checkpoint"
    assert "NOT_READ_AGAIN" in codes(report)
    assert "NO_PINNED_CHECKPOINT" not in codes(report)
    assert report.total["cuts"] == len(original.sealed) - 2
    assert [path for path in opened if path.startswith((f"{OLD}data/", f"{OLD}landing/"))] == []
    assert f"{NEW}{TABLE}" in opened


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"{OLD}{TABLE}", False),
        (f"{OLD}cut.json", True),
        (f"{OLD}cut.json.sig", True),
        (f"{OLD}checkpoint", True),
        (f"{NEW}{TABLE}", True),
        ("log/tile/0/000", True),
        ("log/checkpoint", True),
    ],
)
def test_a_changed_file_is_found_unless_it_is_one_that_is_not_read(
    original: Publisher, copy: Path, path: str, found: bool
) -> None:
    change(copy / path)
    report = since(original, copy)
    assert (report.status != 0) == found
    assert not found or not report.not_read or report.verdict.startswith("NOT ")


def test_a_file_that_is_missing_or_has_another_size_or_is_new_is_found_in_older_nights(
    original: Publisher, copy: Path
) -> None:
    (copy / OLD / TABLE).unlink()
    with (copy / OLD / "data/chain_of_custody.parquet").open("ab") as stream:
        stream.write(b"more")
    (copy / OLD / "data/new.parquet").write_bytes(b"new")
    assert codes(since(original, copy)) >= {"FILE_MISSING", "FILE_SIZE", "FILE_EXTRA"}


def test_without_the_nights_before_nothing_is_explained_by_the_checkpoint(original: Publisher, copy: Path) -> None:
    for path in sorted((copy / OLD).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert "LEAVES_UNEXPLAINED" in codes(since(original, copy))


def test_a_checkpoint_of_another_log_or_of_others_lets_nothing_be_skipped(original: Publisher, tmp_path: Path) -> None:
    fork = forked_log(tmp_path / "fork")
    foreign = Publisher(tmp_path / "foreign", signers=[OTHER])
    later = original.sealed[-1].checkpoint.note.data
    for note, code in (
        (fork.sealed[0].checkpoint.note.data, "PINNED_FORKED"),
        (foreign.night(NIGHTS[0], rows(NIGHTS[0])).checkpoint.note.data, "PINNED_WRONG"),
        (b"no checkpoint", "PINNED_WRONG"),
        (b"", "PINNED_WRONG"),
        (later.replace(b"\n", b"\nx", 1), "PINNED_WRONG"),
    ):
        report = verify(FolderReader(original.root), Options(public_keys=[SIGNER.verifier], since=note))
        assert code in codes(report)
        assert report.status != 0
        assert not report.not_read


def test_of_all_changes_only_bits_of_files_that_are_not_read_stay_unseen(tmp_path: Path) -> None:
    """Files of the first night, and their copies. Every change that moves a size, a name or another file is found."""
    root, _ = small_set(tmp_path / "set")
    before, head = (root / OLD / "checkpoint").read_bytes(), (root / "log/checkpoint").read_bytes()
    options = Options(public_keys=[SIGNER.verifier], since=before, pinned=[head])
    found = tried(root, tmp_path / "copy", lambda folder: verify(FolderReader(folder), options), mutants(root)[::20])
    of_first_night = rf"[^:]*date={NIGHTS[0]}/(?:r0001/(?:data|landing|report)/)?[^:]*: flipped [^:]*: 0, .*"
    assert found.made > 300
    assert [line for line in found.survivors if not re.fullmatch(of_first_night, line)] == []
    assert found.survivors
