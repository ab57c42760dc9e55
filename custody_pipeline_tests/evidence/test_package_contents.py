"""A package whose parts contradict each other is not valid, even when the owner of the key signed it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from custody_pipeline.evidence.cut.proof import Prover, read_proof
from custody_pipeline.evidence.log.keys import Ed25519Signer, rotation
from custody_pipeline.evidence.log.note import Signer, sign
from custody_pipeline.evidence.package import check as check_package
from custody_pipeline.evidence.package.check import verify_package
from custody_pipeline.evidence.package.layout import ATTACHED, SCHEMA, TAG_MANIFEST, Absent
from custody_pipeline.evidence.reader import FolderReader, NotAFileError, read
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify_path
from custody_pipeline_tests.evidence.changes import later
from custody_pipeline_tests.evidence.packages import INFO, sign_again, write_package
from custody_pipeline_tests.evidence.published import NIGHTS, ORIGIN, OTHER, SIGNER, Publisher, rows
from custody_pipeline_tests.evidence.reports import codes, errors

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


def make_package(publisher: Publisher, folder: Path, signer: Signer = SIGNER, masked: Sequence[str] = ()) -> Path:
    """A package of the two recordings, of which the columns `masked` are withheld."""
    proofs = list(Prover(FolderReader(publisher.root), [SIGNER.verifier]).each(CHOSEN))
    (folder / "data/audio").mkdir(parents=True)
    for name in CHOSEN:
        (folder / f"data/audio/{name}.opus").write_bytes(AUDIO[name])
    absent = [Absent.of(proof.row, "documents", str(proof.row["recording_id"]), None, {}) for proof in proofs]
    by_name = {str(proof.row["recording_id"]): proof for proof in proofs}
    write_package(folder, by_name, [signer], absent, masked=masked)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return publish_with_audio(tmp_path_factory.mktemp("published"))


@pytest.fixture
def package(published: Publisher, tmp_path: Path) -> Path:
    return make_package(published, tmp_path / "package")


def check(folder: Path) -> Report:
    return verify_package(folder, Options([SIGNER.verifier]))


def test_a_package_without_its_signature_is_no_folder_of_proofs(package: Path) -> None:
    """Without what marks a package its proofs still verify, and what people read beside them may be anything."""
    for path in list(package.iterdir()):
        if path.is_file():
            path.unlink()
    (package / f"data/audio/{CHOSEN[0]}.opus").write_bytes(b"another voice")

    report = verify_path(package, Options([SIGNER.verifier]))

    assert report.status == 2
    assert "NOT_COVERED" in codes(report)


@pytest.mark.parametrize(("room", "times"), [(check_package.HELD_BYTES, 1), (0, 2)])
def test_records_and_proofs_are_read_once_where_there_is_room_for_them(
    package: Path, monkeypatch: pytest.MonkeyPatch, room: int, times: int
) -> None:
    opened = Counter[str]()
    opens = FolderReader.open

    def watched(reader: FolderReader, path: str) -> BinaryIO:
        opened[path] += 1
        return opens(reader, path)

    monkeypatch.setattr(FolderReader, "open", watched)
    monkeypatch.setattr(check_package, "HELD_BYTES", room)

    assert check(package).status == 0
    assert {number for path, number in opened.items() if path.startswith("data/records/")} == {times}
    assert {number for path, number in opened.items() if path.startswith("data/audio/")} == {1}


def test_a_name_in_another_case_is_a_finding_where_the_file_system_ignores_case(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / TAG_MANIFEST).rename(package / TAG_MANIFEST.upper())
    opens = FolderReader.open
    monkeypatch.setattr(
        FolderReader, "open", lambda reader, path: opens(reader, path.upper() if path == TAG_MANIFEST else path)
    )

    assert codes(check(package)) == {"FILE_EXTRA"}


def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    """Not even between two files: what was found in a folder is read in that folder."""
    for folder in ("target/data", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("one", "two"):
            (tmp_path / folder / name).write_text(folder)
    reader, fresh = FolderReader(tmp_path / "target"), FolderReader(tmp_path / "target")
    first = read(reader, "data/one")

    (tmp_path / "target/data").rename(tmp_path / "target/moved")
    (tmp_path / "target/data").symlink_to(tmp_path / "elsewhere")

    assert (first, read(reader, "data/two")) == (b"target/data", b"target/data")
    with pytest.raises(NotAFileError, match="a link"):
        fresh.open("data/two")


def test_one_log_signs_no_package_of_another(published: Publisher, tmp_path: Path) -> None:
    """Not even for a verifier who trusts the keys of both."""
    stranger = Ed25519Signer("custody.example.com/other", bytes([9]) * 32)
    folder = make_package(published, tmp_path / "package", stranger)

    report = verify_package(folder, Options([SIGNER.verifier, stranger.verifier]))

    assert errors(report) == {"PACKAGE_INCONSISTENT"}


@later
def edited(folder: Path, /, path: str, **members: object) -> None:
    document: Any = json.loads((folder / path).read_bytes())
    (folder / path).write_text(json.dumps(document | members))


@later
def stated(folder: Path, /, **members: object) -> None:
    """Change what the statement says of the first record."""
    file = folder / "data/package.json"
    document = json.loads(file.read_bytes())
    document["records"][0] |= members
    file.write_text(json.dumps(document))


@later
def put(folder: Path, path: str, data: bytes) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)


@later
def lacking(folder: Path, /, number: int, **members: object) -> None:
    """Change what `missing.json` says of what is not here; without members, take it out of the list."""
    file = folder / "data/missing.json"
    document = json.loads(file.read_bytes())
    if members:
        document[number] |= members
    else:
        del document[number]
        edited("data/package.json", left_out=len(document))(folder)
    file.write_text(json.dumps(document))


@later
def twice(folder: Path, path: str, member: bytes) -> None:
    """Give the first object of a document a member that it has already; parsers take one of the two."""
    file = folder / path
    file.write_bytes(file.read_bytes().replace(b"{", b"{" + member + b",", 1))


def under_two_names(folder: Path) -> None:
    """One record's files once more under another name, stated as another record."""
    for suffix in (".json", ".tlog-proof"):
        shutil.copyfile(folder / f"data/records/{CHOSEN[0]}{suffix}", folder / f"data/records/again{suffix}")
    shutil.copyfile(folder / f"data/audio/{CHOSEN[0]}.opus", folder / "data/audio/again.opus")
    file = folder / "data/package.json"
    document = json.loads(file.read_bytes())
    document["records"].append(document["records"][0] | {"name": "again"})
    document["left_out"] += 1
    file.write_text(json.dumps(document))
    missing = json.loads((folder / "data/missing.json").read_bytes())
    (folder / "data/missing.json").write_text(json.dumps([*missing, missing[0] | {"name": "again"}]))


@later
def masked(
    folder: Path, column: str, gone: Sequence[str] = (), *, of: str = CHOSEN[0], leaf: bytes = b"", salted: bool = False
) -> None:
    """Withhold a column of the first record, in a way that its producer might wish for.

    Args:
        column: that is said to be withheld.
        gone: columns that are not shown.
        of: the record whose commitment is given.
        leaf: given instead of its leaf.
        salted: the salt is shown.
    """
    name = CHOSEN[0]
    proof = read_proof((folder / f"data/records/{of}.tlog-proof").read_bytes())
    data = proof.commitment.data
    if leaf:
        extra = base64.b64encode(b"custody-commitment/v1 " + leaf)
        data = re.sub(rb"(?m)^extra .*$", b"extra " + extra, data)
    row = json.loads((folder / f"data/records/{name}.json").read_bytes())
    left = {key: value for key, value in row.items() if key not in gone and (salted or key != "_salt")}
    (folder / f"data/records/{name}.json").write_text(json.dumps(left))
    (folder / f"data/records/{name}.tlog-proof").unlink()
    (folder / f"data/records/{name}.tlog-commitment").write_bytes(data)
    stated(masked=[column])(folder)


def test_a_record_of_which_a_column_is_withheld_is_not_called_proven(package: Path) -> None:
    masked("custom_data", gone=("custom_data",))(package)
    sign_again(package, [SIGNER])

    report = check(package)

    assert (report.status, codes(report)) == (2, {"RECORD_MASKED"})


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
    "the statement has a member twice": ("PACKAGE_INCONSISTENT", twice("data/package.json", b'"night":"2020-01-01"')),
    "what is missing has a member twice": ("PACKAGE_INCONSISTENT", twice("data/missing.json", b'"why":"destroyed"')),
    "what is missing has a member of somebody's own": ("PACKAGE_INCONSISTENT", lacking(0, court="x")),
    "another reason is given for what is missing": ("PACKAGE_INCONSISTENT", lacking(0, gap_reasons={"X": ""})),
    "what is missing is said to be another call's": ("PACKAGE_INCONSISTENT", lacking(0, conversation_id="other")),
    "something is missing of no record": ("PACKAGE_INCONSISTENT", lacking(0, name="other")),
    "what is missing is not told": ("PACKAGE_INCONSISTENT", lacking(0)),
    "three were asked for, and nothing is said of one": (
        "PACKAGE_INCONSISTENT",
        edited("data/package.json", asked=[*CHOSEN, f"{NIGHT}-r0004"]),
    ),
    "a record is here under two names": ("PACKAGE_INCONSISTENT", lambda folder: under_two_names(folder)),
    "a record's files have a name that no file has": ("PACKAGE_INCONSISTENT", stated(name="a\x00b")),
    "a record's files have a name that leads out": ("PACKAGE_INCONSISTENT", stated(name="../../../etc/passwd")),
    "a record's files have a name of half a character": ("PACKAGE_INCONSISTENT", stated(name="\ud800")),
    "a record's files have no name": ("PACKAGE_INCONSISTENT", stated(name="")),
    "a column is withheld that is shown": ("PACKAGE_INCONSISTENT", masked("custody_status")),
    "a column is neither shown nor said to be withheld": (
        "PACKAGE_INCONSISTENT",
        masked("custom_data", gone=("custom_data", "custody_status")),
    ),
    "a withheld record has its salt": (
        "PACKAGE_INCONSISTENT",
        masked("custom_data", gone=("custom_data",), salted=True),
    ),
    "a commitment is of another record that is shown": (
        "PACKAGE_INCONSISTENT",
        masked("custom_data", gone=("custom_data",), of=CHOSEN[1]),
    ),
    "a commitment is of no leaf": ("PROOF_WRONG", masked("custom_data", gone=("custom_data",), leaf=b"0" * 64)),
    "a commitment is a proof": ("PROOF_MALFORMED", masked("custom_data", gone=("custom_data",), leaf=b"x" * 64)),
    "a revision below the first": ("PACKAGE_INCONSISTENT", stated(revision=2**70)),
    "the statement is no JSON": ("PACKAGE_INCONSISTENT", put("data/package.json", b"[" * 100_000)),
}


def test_a_package_is_valid_and_says_what_it_is(package: Path) -> None:
    report = check(package)

    assert report.status == 0, report.summary()
    assert report.facts["scope"] == "chosen recordings, 2 recordings"
    assert report.facts["External-Description"] == INFO["External-Description"]


def test_nobody_is_told_to_take_the_key_from_the_package(package: Path) -> None:
    words = " ".join((package / "data/VERIFY.md").read_text().split())

    assert (
        "Ask the owner for the public key over another channel. A key that lies in this folder proves nothing" in words
    )
    assert "--key KEY`, with the key that the owner gave you" in words


@pytest.mark.parametrize(("code", "change"), CHANGES.values(), ids=CHANGES)
def test_a_contradiction_that_the_owner_signed_is_found(
    package: Path, code: str, change: Callable[[Path], object]
) -> None:
    change(package)
    sign_again(package, [SIGNER])

    assert check(package).status == 1
    assert code in codes(check(package))


@pytest.mark.parametrize(("code", "change"), CHANGES.values(), ids=CHANGES)
def test_nothing_can_be_said_without_the_key(package: Path, code: str, change: Callable[[Path], object]) -> None:
    change(package)
    sign_again(package, [OTHER])

    assert (check(package).status, codes(check(package))) == (1, {"PACKAGE_UNSIGNED"})


def test_the_number_of_files_that_the_owner_signed_is_compared(package: Path) -> None:
    info = package / "bag-info.txt"
    info.write_text(re.sub(r"(Payload-Oxum: .*)\.\d+", r"\1.1", info.read_text()))
    tags = ("bag-info.txt", "bagit.txt", "manifest-sha256.txt")
    manifest = "".join(f"{hashlib.sha256((package / tag).read_bytes()).hexdigest()}  {tag}\n" for tag in tags)
    (package / "tagmanifest-sha256.txt").write_text(manifest)
    sha256 = hashlib.sha256(manifest.encode()).hexdigest()
    text = f"{SCHEMA}\n{ORIGIN}\n{sha256}  tagmanifest-sha256.txt\n"
    (package / "tagmanifest-sha256.txt.sig").write_bytes(sign(text.encode(), [SIGNER]).data)

    assert (check(package).status, codes(check(package))) == (1, {"PACKAGE_INCONSISTENT"})


@pytest.mark.parametrize("name", ["bag-info.txt", "fetch.txt", "manifest-md5.txt", "README.txt"])
def test_files_beside_the_payload_are_signed_or_found(package: Path, name: str) -> None:
    (package / name).write_text("External-Description: another matter\n")

    assert check(package).status == 1


def test_a_package_that_is_a_published_set_as_well_is_refused(package: Path, published: Publisher) -> None:
    for name in ("cuts", "log"):
        shutil.copytree(published.root / name, package / name)

    assert "TARGET_AMBIGUOUS" in codes(check(package))


def test_a_record_of_a_superseded_revision_is_named(published: Publisher, package: Path) -> None:
    stated(newest=2)(package)
    sign_again(package, [SIGNER])

    assert (check(package).status, "REVISION_SUPERSEDED" in codes(check(package))) == (0, True)


@pytest.mark.parametrize("statement", ["none", "forged", "true"])
def test_a_rotation_leads_the_holder_of_an_older_key_to_the_newer_one(tmp_path: Path, statement: str) -> None:
    publisher = Publisher(tmp_path / "set", signers=(OTHER,))
    publisher.night(NIGHT, rows(NIGHT, count=2))
    proofs = list(Prover(FolderReader(publisher.root), [OTHER.verifier]).each([f"{NIGHT}-r0000"]))
    true = rotation(ORIGIN, [SIGNER], [OTHER])
    notes = {"none": [], "forged": [sign(true.text, [OTHER]).data], "true": [true.data]}[statement]
    absent = [Absent.of(proofs[0].row, kind, "one", "gone", {}) for kind in ATTACHED]
    write_package(tmp_path / "package", {"one": proofs[0]}, [OTHER], absent, notes)

    status, expected = (2, {"PACKAGE_INCOMPLETE"}) if statement == "true" else (1, {"PACKAGE_UNSIGNED"})
    assert (check(tmp_path / "package").status, codes(check(tmp_path / "package"))) == (status, expected)
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
        verdicts.append((report.status, codes(report)))

    assert verdicts == [(0, set()), (1, {"PINNED_FORKED"}), (2, {"PIN_NOT_COMPARED"})]
