"""Nights that earlier versions sealed stay verified: published sets as those versions wrote them, byte for byte.

Each archive is a simulated night of two calls, with the key that verifies it. A version that changes what is sealed
adds one; no archive is ever made anew.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from custody_pipeline.evidence.log.keys import parse_public_keys
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline_tests.evidence.reports import codes

SETS = Path(__file__).parent / "sealed_before"
NOTES = {"DEMO_KEY", "NOT_TIMESTAMPED", "NO_PINNED_CHECKPOINT"}


@pytest.mark.parametrize(
    ("name", "notes"),
    [("spreadsheets-as-csv", NOTES), ("spreadsheets-as-workbooks", NOTES), ("live-tables", NOTES | {"NOT_SEALED"})],
)
def test_a_night_that_an_earlier_version_sealed_verifies(name: str, notes: set[str], tmp_path: Path) -> None:
    with tarfile.open(SETS / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    keys = parse_public_keys((tmp_path / "key.pub").read_text())
    report = verify(FolderReader(tmp_path / "set"), Options(public_keys=keys))
    assert (report.status, report.valid) == (0, report.total)
    assert codes(report) == notes
