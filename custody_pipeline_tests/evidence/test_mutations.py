"""No simple change of a package or a proof passes: each is a finding, and none a traceback.

The changes are made systematically: every file × every change. What takes the owner's key is in test_tampering.py and
test_package_contents.py.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from custody_pipeline.evidence.package.check import verify_package
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline_tests.evidence.mutations import changed, file_changes, json_changes
from custody_pipeline_tests.evidence.published import SIGNER
from custody_pipeline_tests.evidence.test_package_contents import make_package, publish_with_audio

OPTIONS = Options([SIGNER.verifier])
Check = Callable[[Path], Report]


def published(folder: Path) -> Report:
    return verify(FolderReader(folder), OPTIONS)


def packaged(folder: Path) -> Report:
    return verify_package(folder, OPTIONS)


def survivors(original: Path, copy: Path, check: Check) -> tuple[int, list[tuple[str, str, int]]]:
    """How many changes were made, and those that are no finding."""
    shutil.copytree(original, copy)
    assert check(copy).status == 0, check(copy).summary()
    files = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
    opened: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str) and "mutants" in str(copy):
            opened.append(arguments[0])

    sys.addaudithook(watch)
    made, found = 0, []
    for number, file in enumerate(files):
        changes = [*file_changes(original / file, original / files[number - 1])]
        changes += [
            (name, lambda path, data=data: path.write_bytes(data))
            for name, data in json_changes((original / file).read_bytes())
        ][::7]
        for name, change in changes:
            made += 1
            with changed(original, copy, file, change):
                opened.clear()
                report = check(copy)
                outside = [path for path in opened if path.startswith("/") and not path.startswith(str(copy))]
                outside = [path for path in outside if not path.startswith((sys.prefix, sys.base_prefix, "/work"))]
                if report.status != 1 or outside:
                    found.append((str(file), name, report.status))
    watching.clear()
    assert check(copy).status == 0, "each change was undone"
    return made, found


def test_no_change_of_a_package_survives(tmp_path: Path) -> None:
    package = make_package(publish_with_audio(tmp_path / "published"), tmp_path / "package")

    made, found = survivors(package, tmp_path / "mutants", packaged)

    assert (made > 300, found) == (True, [])


def test_no_change_of_a_proof_survives(tmp_path: Path) -> None:
    """A proof that was renamed is the same proof."""
    package = make_package(publish_with_audio(tmp_path / "published"), tmp_path / "package")
    (tmp_path / "proof").mkdir()
    proof = next(package.rglob("*.tlog-proof"))
    data = proof.read_bytes()
    copy = tmp_path / "proof/one.tlog-proof"
    for at in range(len(data)):
        copy.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert published(copy.parent).status == 1, at
    for end in range(0, len(data), 7):
        copy.write_bytes(data[:end])
        assert published(copy.parent).status == 1, end
