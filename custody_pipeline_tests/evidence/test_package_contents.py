"""A package whose parts contradict each other is not valid, even when the owner of the key signed it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custody_pipeline.evidence.cut.proof import prove_all
from custody_pipeline.evidence.log.keys import rotation
from custody_pipeline.evidence.log.note import sign
from custody_pipeline.evidence.package.bag import close_package, write_records
from custody_pipeline.evidence.package.check import verify_package
from custody_pipeline.evidence.package.layout import Absent
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline_tests.evidence.published import NIGHTS, ORIGIN, OTHER, SIGNER, Publisher, rows

INFO = {"External-Description": "Smith v. Acme, request 4"}
NIGHT = NIGHTS[0]
CHOSEN = [f"{NIGHT}-r0002", f"{NIGHT}-r0003"]
AUDIO = {name: f"audio of {name}".encode() for name in CHOSEN}


def publish_with_audio(root: Path) -> Publisher:
    """A night; two of its recordings have the digests of `AUDIO`."""
    data = rows(NIGHT, count=5)
    for row in data:
        if row["recording_id"] in AUDIO:
            row["media_sha256"] = hashlib.sha256(AUDIO[row["recording_id"]]).hexdigest()
    publisher = Publisher(root)
    publisher.night(NIGHT, data)
    return publisher


def make_package(publisher: Publisher, folder: Path) -> Path:
    """A package of the two recordings."""
    proofs = prove_all(FolderReader(publisher.root), CHOSEN, [SIGNER.verifier])
    (folder / "data/audio").mkdir(parents=True)
    for name in CHOSEN:
        (folder / f"data/audio/{name}.opus").write_bytes(AUDIO[name])
    write_records(folder, [str(proof.row["recording_id"]) for proof in proofs], proofs, [SIGNER])
    close_package(folder, [SIGNER], INFO)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return publish_with_audio(tmp_path_factory.mktemp("published"))


@pytest.fixture
def package(published: Publisher, tmp_path: Path) -> Path:
    return make_package(published, tmp_path / "package")


def check(folder: Path) -> Report:
    return verify_package(folder, Options([SIGNER.verifier]))


def codes(folder: Path) -> set[str]:
    return {found.code for found in check(folder).findings}


def edited(path: str, **members: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        document: Any = json.loads((folder / path).read_bytes())
        (folder / path).write_text(json.dumps(document | members))

    return change


def stated(**members: object) -> Callable[[Path], object]:
    """Change what the statement says of the first record."""

    def change(folder: Path) -> None:
        file = folder / "data/package.json"
        document = json.loads(file.read_bytes())
        document["records"][0] |= members
        file.write_text(json.dumps(document))

    return change


def put(path: str, data: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    return change


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "the readable record is another one": (
        "PACKAGE_INCONSISTENT",
        put(f"data/records/{CHOSEN[0]}.json", b'{"custody_status":"complete"}'),
    ),
    "a record has no proof": ("FILE_EXTRA", put("data/records/other.json", b"{}")),
    "a proof has no readable record": (
        "FILE_MISSING",
        lambda folder: (folder / f"data/records/{CHOSEN[0]}.json").unlink(),
    ),
    "a recording has a second file": ("PACKAGE_INCONSISTENT", put(f"data/audio/{CHOSEN[0]}.wav", b"other words")),
    "audio of no record": ("FILE_EXTRA", put("data/audio/other.opus", b"x")),
    "another key is named": ("PACKAGE_INCONSISTENT", put("data/public-key.txt", OTHER.verifier.vkey.encode())),
    "another head is shown": ("PACKAGE_INCONSISTENT", put("data/checkpoint", b"custody.example.com/acme\n1\n\n")),
    "a page that nobody asked for": ("FILE_EXTRA", put("data/READ-ME-FIRST.html", b"<script>")),
    "a recording is not stated": ("PACKAGE_INCONSISTENT", stated(recording_id="other")),
    "another night is stated": ("PACKAGE_INCONSISTENT", stated(night=NIGHTS[1])),
    "a revision that is newer than the newest": ("PACKAGE_INCONSISTENT", stated(revision=3)),
    "another log is stated": ("PACKAGE_INCONSISTENT", edited("data/package.json", origin="elsewhere")),
    "a shorter log is stated": ("PACKAGE_INCONSISTENT", edited("data/package.json", size=2)),
    "a whole other night is stated": ("PACKAGE_INCONSISTENT", edited("data/package.json", night=NIGHTS[1])),
    "other recordings were asked for": ("PACKAGE_INCONSISTENT", edited("data/package.json", asked=["other"])),
    "more is left out than is listed": ("PACKAGE_INCONSISTENT", edited("data/package.json", left_out=9)),
    "the statement has a member of somebody's own": ("PACKAGE_INCONSISTENT", edited("data/package.json", court="x")),
    "the statement is no JSON": ("PACKAGE_INCONSISTENT", put("data/package.json", b"[" * 100_000)),
}


def test_a_package_is_valid_and_says_what_it_is(package: Path) -> None:
    report = check(package)

    assert report.status == 0, report.summary()
    assert report.facts["scope"] == "chosen recordings, 2 recordings"
    assert report.facts["External-Description"] == INFO["External-Description"]


@pytest.mark.parametrize(("code", "change"), CHANGES.values(), ids=CHANGES)
def test_a_contradiction_that_the_owner_signed_is_found(
    package: Path, code: str, change: Callable[[Path], object]
) -> None:
    change(package)
    close_package(package, [SIGNER], INFO)

    assert check(package).status == 1
    assert code in codes(package)


@pytest.mark.parametrize(("code", "change"), CHANGES.values(), ids=CHANGES)
def test_nothing_can_be_said_without_the_key(package: Path, code: str, change: Callable[[Path], object]) -> None:
    change(package)
    close_package(package, [OTHER], INFO)

    assert (check(package).status, codes(package)) == (1, {"PACKAGE_UNSIGNED"})


@pytest.mark.parametrize("name", ["bag-info.txt", "fetch.txt", "manifest-md5.txt", "README.txt"])
def test_files_beside_the_payload_are_signed_or_found(package: Path, name: str) -> None:
    (package / name).write_text("External-Description: another matter\n")

    assert check(package).status == 1


def test_a_package_that_is_a_published_set_as_well_is_refused(package: Path, published: Publisher) -> None:
    for name in ("cuts", "log"):
        shutil.copytree(published.root / name, package / name)

    assert "TARGET_AMBIGUOUS" in codes(package)


def test_a_record_of_a_superseded_revision_is_named(published: Publisher, package: Path) -> None:
    stated(newest=2)(package)
    close_package(package, [SIGNER], INFO)

    assert (check(package).status, "REVISION_SUPERSEDED" in codes(package)) == (0, True)


@pytest.mark.parametrize("statement", ["none", "forged", "true"])
def test_a_rotation_leads_the_holder_of_an_older_key_to_the_newer_one(tmp_path: Path, statement: str) -> None:
    publisher = Publisher(tmp_path / "set", signers=(OTHER,))
    publisher.night(NIGHT, rows(NIGHT, count=2))
    proofs = prove_all(FolderReader(publisher.root), [f"{NIGHT}-r0000"], [OTHER.verifier])
    true = rotation(ORIGIN, [SIGNER], [OTHER])
    notes = {"none": [], "forged": [sign(true.text, [OTHER]).data], "true": [true.data]}[statement]
    absent = Absent(f"{NIGHT}-r0000", f"{NIGHT}-c0000", "audio", "one", "0" * 64, "gone", {})
    write_records(tmp_path / "package", ["one"], proofs, [OTHER], [absent], rotations=notes)
    close_package(tmp_path / "package", [OTHER], INFO)

    status, expected = (2, {"PACKAGE_INCOMPLETE"}) if statement == "true" else (1, {"PACKAGE_UNSIGNED"})
    assert (check(tmp_path / "package").status, codes(tmp_path / "package")) == (status, expected)
    assert verify_package(tmp_path / "package", Options([OTHER.verifier])).status == 2


def test_pins_are_compared_with_the_head_of_the_proofs(published: Publisher, package: Path, tmp_path: Path) -> None:
    fork = Publisher(tmp_path / "fork")
    fork.night(NIGHT, rows(NIGHT, count=5))
    longer = Publisher(tmp_path / "longer")
    longer.night(NIGHT, rows(NIGHT, count=7))
    verdicts = []
    for publisher in (published, fork, longer):
        pin = publisher.sealed[0].checkpoint.note.data
        report = verify_package(package, Options([SIGNER.verifier], pinned=[pin]))
        verdicts.append((report.status, {found.code for found in report.findings}))

    assert verdicts == [(0, set()), (1, {"PINNED_FORKED"}), (2, {"PIN_NOT_COMPARED"})]
