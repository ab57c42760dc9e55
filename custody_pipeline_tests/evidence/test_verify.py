"""The result of a verification without tampering: verified, or not verified with the reason."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from msgspec.structs import replace

from custody_pipeline.evidence.cut.manifest import RECORDS, ROTATION, Coverage, cut_prefix
from custody_pipeline.evidence.cut.proof import ProofFileError, Prover, RecordNotFoundError, read_proof
from custody_pipeline.evidence.log.checkpoint import Head, read_checkpoint
from custody_pipeline.evidence.log.keys import Ed25519Signer, load_signer, new_key, rotation
from custody_pipeline.evidence.log.merkle import ProofError
from custody_pipeline.evidence.log.note import Signer, sign
from custody_pipeline.evidence.reader import Entry, FolderReader, TargetError
from custody_pipeline.evidence.verify import cut_files
from custody_pipeline.evidence.verify.codes import CODES, Severity
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Media, Options
from custody_pipeline.evidence.verify.rotations import follow_rotations
from custody_pipeline.evidence.verify.target import verify, verify_path
from custody_pipeline_tests.evidence.erasing import erase
from custody_pipeline_tests.evidence.memory_reader import MemoryReader
from custody_pipeline_tests.evidence.published import (
    NIGHTS,
    ORIGIN,
    OTHER,
    SIGNER,
    Publisher,
    forked_log,
    receipt,
    rows,
)
from custody_pipeline_tests.evidence.reports import codes, errors

KEYS = [SIGNER.verifier]
FIRST = f"cuts/date={NIGHTS[0]}/r0001"


def test_a_source_that_is_not_asked_any_more_may_have_an_older_load_that_was_cut_short(tmp_path: Path) -> None:
    publisher, landing = Publisher(tmp_path), "landing/conversation_details/20261103T023000Z-00ff.ndjson.gz"
    older = replace(receipt(landing), state="partial")
    newest = replace(receipt(landing), state="not_configured", landing=())
    coverage = (
        Coverage(older.resource, "not_asked", False, "", None, None),
        Coverage("export_jobs", "whole", True, "", None, None),
    )

    publisher.night(NIGHTS[0], rows(NIGHTS[0]), complete="established", coverage=coverage, receipts=[older, newest])

    assert "COMPLETENESS_WRONG" not in errors(verify(FolderReader(tmp_path), Options(KEYS)))


class Broken:
    """A reader that can list, but not read."""

    name = "s3://bucket/prefix"

    def __init__(self, root: Path, fails: str) -> None:
        self._folder = FolderReader(root)
        self._fails = fails

    def list(self, prefix: str = "") -> Iterator[Entry]:
        if self._fails == "list":
            raise TargetError("connection refused")
        return self._folder.list(prefix)

    def open(self, path: str) -> BinaryIO:
        if path.endswith(self._fails):
            raise TargetError(f"{path}: access denied")
        return self._folder.open(path)


# --- 2: could not check


def test_an_empty_target_is_not_verified(tmp_path: Path) -> None:
    report = verify(FolderReader(tmp_path), Options(public_keys=KEYS))

    assert (report.status, codes(report)) == (2, {"NOTHING_FOUND"})
    assert report.verdict.startswith("NOT VERIFIED")


def test_an_unreachable_target_is_not_verified(original: Publisher, tmp_path: Path) -> None:
    for reader in (FolderReader(tmp_path / "none"), Broken(original.root, "list")):
        report = verify(reader, Options(public_keys=KEYS))
        assert (report.status, codes(report)) == (2, {"TARGET_UNREADABLE"})


@pytest.mark.parametrize(
    "path",
    ["log/checkpoint", "log/tile/0/000", f"{FIRST}/cut.json", f"{FIRST}/data/gaps.parquet", "records.ndjson", ".sig"],
)
def test_a_file_that_cannot_be_read_is_not_verified(original: Publisher, path: str) -> None:
    report = verify(Broken(original.root, path), Options(public_keys=KEYS))

    assert (report.status, errors(report)) == (2, set()), "nothing is known, and nothing was removed"
    assert "FILE_UNREADABLE" in codes(report)


def test_without_a_public_key_nothing_is_verified(original: Publisher) -> None:
    report = verify(FolderReader(original.root), Options(public_keys=[]))

    assert report.status == 2
    assert not report.of(Severity.ERROR)
    assert "NO_PUBLIC_KEY" in codes(report)


def test_files_that_are_no_evidence_are_nothing_to_verify(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(b"x")

    assert verify(FolderReader(tmp_path), Options(public_keys=KEYS)).status == 2
    assert verify_path(tmp_path / "report.pdf", Options(public_keys=KEYS)).status == 2


# --- 0: verified, and what else it says


def test_the_report_says_what_was_checked_and_can_be_read_by_machines(original: Publisher) -> None:
    pinned = [original.sealed[0].checkpoint.note.data]
    report = verify(FolderReader(original.root), Options(public_keys=KEYS, pinned=pinned))

    document = json.loads(json.dumps(report.as_dict()))
    assert document["status"] == 0
    assert document["checked"]["records"] == {"valid": 420, "total": 420}
    assert report.summary()[-1] == "VERIFIED"
    assert SIGNER.verifier.fingerprint in "\n".join(report.summary())


def test_a_sentence_is_told_once_for_all_files_that_it_concerns() -> None:
    report = Report("copy")
    for name in ("a", "b", "c"):
        report.add("FILE_MISSING", name)
    report.add("FILE_ALTERED", "d", "sha256 1, not 2")
    missing, altered = CODES["FILE_MISSING"], CODES["FILE_ALTERED"]
    assert report.summary()[1:] == [
        f"  ERROR FILE_MISSING, 3 times: {missing.meaning}",
        "    a",
        "    b",
        "    c",
        f"    → {missing.action}",
        f"  ERROR FILE_ALTERED d: {altered.meaning} [sha256 1, not 2]",
        f"    → {altered.action}",
        "NOT VALID: 4 findings",
    ]


def test_a_check_does_not_import_what_analysts_use(original: Publisher) -> None:
    """Importing pandas takes half a second, and pyarrow imports it easily."""
    code = (
        "import sys; from pathlib import Path; "
        "from custody_pipeline.evidence.verify.target import verify_path; "
        "from custody_pipeline.evidence.verify.options import Options; "
        "from custody_pipeline.evidence.log.note import Verifier; "
        "options = Options([Verifier.parse(sys.argv[2])]); "
        "assert verify_path(Path(sys.argv[1]), options).valid['records']; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, original.root, SIGNER.verifier.vkey], check=True)


def test_a_demo_key_is_named_in_the_verdict(tmp_path: Path) -> None:
    signer = load_signer(new_key("custody.example.com/acme", demo=True).private)
    Publisher(tmp_path, signers=(signer,)).night(NIGHTS[0], rows(NIGHTS[0], count=2))

    report = verify(FolderReader(tmp_path), Options(public_keys=[signer.verifier]))

    assert report.status == 0
    assert "DEMO" in report.verdict
    assert "DEMO_KEY" in codes(report)


def test_a_cut_is_verified_by_itself_wherever_it_lies(original: Publisher, copy: Path) -> None:
    (copy / FIRST).rename(copy.parent / "handed-over")

    report = verify_path(copy.parent / "handed-over", Options(public_keys=KEYS))

    assert report.status == 0
    assert "LOG_NOT_HERE" in codes(report)


@pytest.mark.parametrize("path", ["", "data/gaps.parquet", "checkpoint"], ids=["cut", "file", "head"])
def test_a_pin_is_compared_with_whatever_is_verified_or_said_to_be_unchecked(
    original: Publisher, tmp_path: Path, path: str
) -> None:
    """Pins: the head of this cut, the one before it, a later one, and another log's of the same size and key."""
    fork = forked_log(tmp_path / "fork")
    fork.night(NIGHTS[1], rows(NIGHTS[1]))
    target = original.root / f"cuts/date={NIGHTS[1]}/r0001"
    if path == "checkpoint":
        (tmp_path / "head").mkdir()
        target = Path(shutil.copy(target / path, tmp_path / "head"))
    elif path:
        target = target / path
    verdicts = []
    for pinned in (original.sealed[1], original.sealed[0], original.sealed[3], fork.sealed[1], fork.sealed[0]):
        report = verify_path(target, Options(public_keys=KEYS, pinned=[pinned.checkpoint.note.data]))
        verdicts.append((report.status, codes(report) & {"PINNED_FORKED", "PIN_NOT_COMPARED"}))

    same, unknown, forked = (0, set[str]()), (2, {"PIN_NOT_COMPARED"}), (1, {"PINNED_FORKED"})
    assert (
        verdicts
        == {
            "": [same, same, unknown, forked, forked],
            "data/gaps.parquet": [unknown, same, unknown, unknown, forked],  # the head that follows is not looked at
            "checkpoint": [same, unknown, unknown, forked, unknown],
        }[path]
    )


def test_a_changed_cut_by_itself_is_found(copy: Path) -> None:
    records = copy / FIRST / "data/records.ndjson"
    records.write_bytes(records.read_bytes().replace(b"yes", b"nay", 1))

    report = verify_path(copy / FIRST, Options(public_keys=KEYS))

    assert report.status == 1
    assert {"FILE_ALTERED", "RECORD_ALTERED", "RECORD_NOT_IN_LOG"} <= codes(report)


def test_one_file_of_a_cut_is_verified(original: Publisher, copy: Path) -> None:
    path = copy / FIRST / "data/gaps.parquet"
    assert verify_path(path, Options(public_keys=KEYS)).status == 0
    assert verify_path(copy / FIRST / "cut.json", Options(public_keys=KEYS)).status == 0
    assert codes(verify_path(path, Options(public_keys=[OTHER.verifier]))) == {"CUT_SIGNED_BY_OTHERS"}

    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert codes(verify_path(path, Options(public_keys=KEYS))) == {"ONLY_ONE_FILE", "FILE_ALTERED"}
    (copy / FIRST / "data/new.csv").write_bytes(b"")
    assert codes(verify_path(copy / FIRST / "data/new.csv", Options(public_keys=KEYS))) == {
        "ONLY_ONE_FILE",
        "FILE_EXTRA",
    }


def test_a_checkpoint_is_verified_by_itself(original: Publisher, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(original.sealed[0].checkpoint.note.data)

    assert verify_path(path, Options(public_keys=KEYS)).status == 0
    assert verify_path(path, Options(public_keys=[OTHER.verifier])).status == 1


def test_a_copy_of_the_cuts_and_the_log_is_enough(copy: Path) -> None:
    for folder in ("parquet", "csv", "spreadsheet", "current"):
        (copy / folder).rename(copy.parent / folder)

    report = verify(FolderReader(copy), Options(public_keys=KEYS))

    assert report.status == 0
    assert "COPIES_NOT_HERE" in codes(report)


def test_a_pointer_that_was_put_anew_since_an_earlier_version_says_nothing_of_completeness(copy: Path) -> None:
    path = copy / f"current/date={NIGHTS[0]}.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"complete": None}))

    assert verify(FolderReader(copy), Options(public_keys=KEYS)).status == 0


def test_a_seal_under_way_is_named_and_is_no_evidence(original: Publisher, copy: Path) -> None:
    head = original.sealed[0].checkpoint.head
    for path in ("data/chain_of_custody.parquet", "landing/users/x.gz", "rotation.note"):
        file = copy / "sealing" / ("0a" * 16) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"not sealed")
    claimed = {"size": head.size, "root": head.root.hex(), "pending": None, "agreed": None}
    (copy / "sealing/head").write_text(json.dumps(claimed))

    report = verify(FolderReader(copy), Options(public_keys=KEYS))

    assert report.status == 0
    assert [found.detail for found in report.findings if found.code == "SEALING_UNDER_WAY"] == ["3 files"]


def test_a_night_that_was_never_run_is_named(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    for night in (NIGHTS[0], NIGHTS[2]):
        publisher.night(night, rows(night, count=2))

    report = verify(FolderReader(tmp_path), Options(public_keys=KEYS))

    assert report.status == 0
    assert [finding.detail for finding in report.findings if finding.code == "NIGHT_WITHOUT_CUT"] == [
        f"1, the first is {NIGHTS[1]}"
    ]


def test_progress_reaches_the_end_and_an_interrupted_check_is_resumed(original: Publisher) -> None:
    seen: list[tuple[str, int, int]] = []
    memory: dict[str, str] = {}
    reader = FolderReader(original.root)
    first = verify(reader, Options(public_keys=KEYS, memory=memory, progress=lambda *step: seen.append(step)))
    second = verify(reader, Options(public_keys=KEYS, memory=memory))

    assert memory
    assert first.as_dict() == second.as_dict()
    assert all(0 <= done <= total for _, done, total in seen)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_tiles_are_read_many_at_a_time(original: Publisher) -> None:
    """Over a network, one after the other would take hours for a log of a few years."""
    together = threading.Barrier(2, timeout=20)
    asked: list[str] = []

    class Slow(FolderReader):
        def open(self, path: str) -> BinaryIO:
            if path.startswith("log/tile/0/"):
                asked.append(path)
                if len(asked) <= 2:
                    together.wait()
            return super().open(path)

    report = verify(Slow(original.root), Options(public_keys=KEYS))

    assert report.status == 0
    assert set(asked[:2]) == {"log/tile/0/000", "log/tile/0/001.p/168"}


def test_a_file_that_changed_since_is_not_taken_from_memory(copy: Path) -> None:
    memory: dict[str, str] = {}
    reader = FolderReader(copy)
    assert verify(reader, Options(public_keys=KEYS, memory=memory)).status == 0
    path = copy / FIRST / "data/gaps.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert "FILE_ALTERED" in codes(verify(reader, Options(public_keys=KEYS, memory=memory)))


def test_a_link_that_leads_out_of_the_folder_is_not_followed(copy: Path) -> None:
    path = copy / FIRST / "data/gaps.parquet"
    path.rename(copy.parent / "outside")
    path.symlink_to(copy.parent / "outside")

    report = verify(FolderReader(copy), Options(public_keys=KEYS))

    assert report.status == 1


@pytest.mark.parametrize("pin", [b"", b"\xff", sign(Head(ORIGIN, 7, bytes(32)).text, [OTHER]).data])
def test_a_pinned_checkpoint_that_the_log_did_not_sign_is_a_finding(original: Publisher, pin: bytes) -> None:
    report = verify(FolderReader(original.root), Options(public_keys=KEYS, pinned=[pin]))

    assert report.status == 1
    assert errors(report) == {"PINNED_WRONG"}


# --- rotations


@pytest.mark.parametrize(
    ("last_signers", "expected"), [((OTHER,), set()), ((SIGNER, OTHER), set()), ((SIGNER,), {"KEY_RETIRED"})]
)
def test_a_key_that_was_handed_over_does_not_sign_alone_again(
    tmp_path: Path, last_signers: tuple[Signer, ...], expected: set[str]
) -> None:
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=2))
    publisher.signers = (SIGNER, OTHER)
    publisher.night(NIGHTS[1], rows(NIGHTS[1], count=2), more={ROTATION: rotation(ORIGIN, [SIGNER], [OTHER]).data})
    publisher.signers = last_signers
    publisher.night(NIGHTS[2], rows(NIGHTS[2], count=2))

    report = verify(FolderReader(tmp_path), Options(public_keys=KEYS))

    assert errors(report) == expected, report.summary()
    assert [found.path for found in report.findings if found.code == "KEY_RETIRED"] == (
        [f"cuts/date={NIGHTS[2]}/r0001/cut.json.sig", "log/checkpoint"] if expected else []
    )
    alone = verify(FolderReader(tmp_path / f"cuts/date={NIGHTS[2]}/r0001"), Options(public_keys=KEYS))
    assert alone.status == int(SIGNER not in last_signers), "a lone cut after the rotation does not show it"


@pytest.mark.parametrize("with_old", [False, True])
def test_a_key_that_was_handed_over_does_not_hand_itself_over_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_old: bool
) -> None:
    """Whoever has the retired key could name a successor of their own, and go on with the log."""
    thief = Ed25519Signer(ORIGIN, bytes([3]) * 32)
    publisher = Publisher(tmp_path, signers=(SIGNER, OTHER))
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=2), more={ROTATION: rotation(ORIGIN, [SIGNER], [OTHER]).data})
    publisher.signers = (OTHER,)
    publisher.night(NIGHTS[1], rows(NIGHTS[1], count=2))
    head = read_checkpoint((tmp_path / "log/checkpoint").read_bytes()).head
    monkeypatch.setattr("custody_pipeline_tests.evidence.published.published_head", lambda *_: head)
    publisher.signers = (SIGNER, thief) if with_old else (thief,)
    publisher.night(NIGHTS[2], rows(NIGHTS[2], count=2), more={ROTATION: rotation(ORIGIN, [SIGNER], [thief]).data})

    report = verify(FolderReader(tmp_path), Options(public_keys=KEYS))

    assert errors(report) == {"KEY_RETIRED"}, report.summary()


def test_keys_are_followed_from_one_to_the_next_wherever_the_statements_lie() -> None:
    """A night of January may be sealed after one of March."""
    newest = Ed25519Signer(ORIGIN, bytes([3]) * 32)
    statements = {
        "cuts/date=2026-01-01/r0001/rotation.note": rotation(ORIGIN, [OTHER], [newest]).data,
        "cuts/date=2026-03-01/r0001/rotation.note": rotation(ORIGIN, [SIGNER], [OTHER]).data,
    }
    reader = MemoryReader(statements)
    context = Context(reader, Options(public_keys=KEYS), Report(reader.name))

    follow_rotations(context, statements)

    assert context.keys == [SIGNER.verifier, OTHER.verifier, newest.verifier]


@pytest.mark.parametrize(("room", "times"), [(cut_files.KEPT_BYTES, 1), (0, 2)])
def test_a_csv_is_read_once_and_a_workbook_where_there_is_room_for_it(
    original: Publisher, monkeypatch: pytest.MonkeyPatch, room: int, times: int
) -> None:
    opened = Counter[str]()

    class Watched(FolderReader):
        def open(self, path: str) -> BinaryIO:
            opened[path] += 1
            return super().open(path)

    monkeypatch.setattr(cut_files, "KEPT_BYTES", room)
    report = verify(Watched(original.root), Options(public_keys=KEYS))

    assert report.status == 0
    for suffix, number in {".csv": 1, ".xlsx": times}.items():
        assert {opened[path] for path in opened if path.startswith("cuts/") and path.endswith(suffix)} == {number}


# --- media


class Exports:
    """An export bucket: (uri, version) → bytes."""

    def __init__(self, objects: dict[tuple[str, str | None], bytes]) -> None:
        self.objects = objects

    def sha256(self, uri: str, version_id: str | None) -> str:
        data = self.objects.get((uri, version_id))
        if data is None:
            raise FileNotFoundError(uri)
        if data == b"denied":
            raise TargetError("access denied")
        return hashlib.sha256(data).hexdigest()


def test_recordings_are_compared_with_their_digests(tmp_path: Path) -> None:
    data = rows(NIGHTS[0], count=10)
    for row in data:
        row["media_sha256"] = hashlib.sha256(row["recording_id"].encode()).hexdigest()
    data[4]["media_sha256"] = None
    Publisher(tmp_path).night(NIGHTS[0], data)
    objects = {(row["object_uri"], row["object_version_id"]): row["recording_id"].encode() for row in data}
    reader = FolderReader(tmp_path)

    steps: list[tuple[str, int, int]] = []
    report = verify(
        reader,
        Options(public_keys=KEYS, media=Media(Exports(objects), "all"), progress=lambda *step: steps.append(step)),
    )
    assert (report.status, report.valid["recordings"], report.total["recordings"]) == (0, 7, 8)
    assert [found.path for found in report.findings if found.code == "MEDIA_WITHOUT_DIGEST"] == [data[4]["object_uri"]]
    assert [step for step in steps if step[0] == "recordings"] == [("recordings", done, 8) for done in range(1, 9)]
    report = verify(reader, Options(public_keys=KEYS, media=Media(Exports(objects), "sample", 3)))
    assert (report.status, report.total["recordings"]) == (0, 3)

    objects[data[1]["object_uri"], "v1"] = b"other words"
    del objects[data[2]["object_uri"], "v2"]
    objects[data[3]["object_uri"], "v3"] = b"denied"
    report = verify(reader, Options(public_keys=KEYS, media=Media(Exports(objects), "all")))
    assert report.status == 1
    assert {"MEDIA_CHANGED", "MEDIA_MISSING", "MEDIA_UNREADABLE"} <= codes(report)


class Failing(FolderReader):
    """A reader that fails once, at the file that is opened after a number of others."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self.left = after

    def open(self, path: str) -> BinaryIO:
        self.left -= 1
        if self.left == -1:
            raise TargetError(f"{path}: SlowDown")
        return super().open(path)


def test_whatever_cannot_be_read_once_was_neither_removed_nor_altered(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    for night, revision in ((NIGHTS[0], 1), (NIGHTS[1], 1), (NIGHTS[1], 2)):
        publisher.night(night, rows(night, count=4, revision=revision), revision)
    erase(publisher)
    publisher.signers = (SIGNER, OTHER)
    publisher.night(NIGHTS[2], rows(NIGHTS[2], count=1), more={ROTATION: rotation(ORIGIN, [SIGNER], [OTHER]).data})
    publisher.signers = (OTHER,)
    publisher.night(NIGHTS[2], rows(NIGHTS[2], count=1, revision=2), 2)
    options = Options(public_keys=KEYS, pinned=[publisher.sealed[0].checkpoint.note.data])
    whole = Failing(tmp_path, 1000)
    assert verify(whole, options).status == 0
    for number in range(1000 - whole.left):
        report = verify(Failing(tmp_path, number), options)
        assert errors(report) == set(), (number, report.summary())


class Tiring(FolderReader):
    """A reader that gives no tile any more after a number of them."""

    def __init__(self, root: Path, tiles: int) -> None:
        super().__init__(root)
        self.tiles = tiles

    def open(self, path: str) -> BinaryIO:
        if path.startswith("log/tile/"):
            self.tiles -= 1
            if self.tiles < 0:
                raise TargetError(f"{path}: SlowDown")
        return super().open(path)


def test_a_tile_that_cannot_be_read_again_ends_no_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of a hundred thousand leaves does not fit in memory."""
    for limit in ("CACHED_TILES", "CACHED_NODES"):
        monkeypatch.setattr(f"custody_pipeline.evidence.log.tiles.{limit}", 1)
    publisher = Publisher(tmp_path)
    for night in NIGHTS:
        publisher.night(night, rows(night, count=130))
    options = Options(public_keys=KEYS, pinned=[publisher.sealed[0].checkpoint.note.data])
    # Threads read tiles at the same time, so not each verification counts as many.
    for tiles in itertools.count():
        reader = Tiring(tmp_path, tiles)
        report = verify(reader, options)
        if reader.tiles >= 0:
            break
        assert (report.status, "FILE_UNREADABLE" in codes(report)) == (2, True), (tiles, report.summary())
    assert report.status == 0
    assert tiles > len(NIGHTS)


class Sealing(FolderReader):
    """A reader of a set in which a night is sealed once, after a listing or when the records are opened."""

    def __init__(self, publisher: Publisher, when: str) -> None:
        super().__init__(publisher.root)
        self._publisher, self._when = publisher, when

    def _now(self, when: str) -> None:
        if when == self._when:
            self._when = ""
            self._publisher.night(NIGHTS[1], rows(NIGHTS[1], count=3))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        yield from super().list(prefix)
        self._now("listed")

    def open(self, path: str) -> BinaryIO:
        if path.endswith(RECORDS):
            self._now("opened")
        return super().open(path)


@pytest.mark.parametrize(("when", "grew", "cuts"), [("listed", False, 2), ("opened", True, 1)])
def test_a_night_that_is_sealed_meanwhile_was_not_removed(tmp_path: Path, when: str, grew: bool, cuts: int) -> None:
    publisher = Publisher(tmp_path / "set")
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=3))
    report = verify(Sealing(publisher, when), Options(public_keys=KEYS))
    assert (report.status, report.valid["cuts"], "LOG_GREW" in codes(report)) == (0, cuts, grew), report.summary()


# --- proofs


def proof_of(original: Publisher) -> bytes:
    (proof,) = Prover(FolderReader(original.root), KEYS).each([f"{NIGHTS[2]}-r0123"])
    return proof.data


def check_proof(data: bytes, **options: object) -> Report:
    reader = MemoryReader({"one.tlog-proof": data})
    return verify(reader, Options(public_keys=KEYS, **options))  # type: ignore[arg-type]


def test_a_proof_is_verified_alone(original: Publisher, tmp_path: Path) -> None:
    report = check_proof(proof_of(original))
    assert report.status == 0
    assert report.facts["recording_id"] == f"{NIGHTS[2]}-r0123"
    (tmp_path / "one.tlog-proof").write_bytes(proof_of(original))
    assert verify_path(tmp_path / "one.tlog-proof", Options(public_keys=KEYS)).status == 0


def test_a_proof_discloses_one_record_and_hashes(original: Publisher) -> None:
    data = proof_of(original)
    proof = read_proof(data)

    assert proof.data == data
    for line in data.decode().split("\n")[3:]:
        assert "c0122" not in line
    assert proof.row["recording_id"] == f"{NIGHTS[2]}-r0123"
    assert "_salt" not in proof.row


def test_the_newest_revision_of_a_recording_is_proven(original: Publisher) -> None:
    (proof,) = Prover(FolderReader(original.root), KEYS).each([f"{NIGHTS[1]}-r0003"], NIGHTS[1])

    assert proof.row["revision"] == "2"
    assert proof.row["custom_data_legal_hold"] == "no"
    with pytest.raises(RecordNotFoundError, match="no sealed night"):
        list(Prover(FolderReader(original.root), KEYS).each(["nobody"]))


@pytest.mark.parametrize("altered", [None, lambda data: b"", lambda data: data[: data.rindex(b"\n", 0, -1) + 1]])
def test_records_that_are_not_as_sealed_are_no_reason_to_prove_an_older_revision(
    tmp_path: Path, altered: Callable[[bytes], bytes] | None
) -> None:
    publisher = Publisher(tmp_path / "set")
    for revision in (1, 2):
        publisher.night(NIGHTS[0], rows(NIGHTS[0], count=3, revision=revision), revision)
    records = publisher.root / cut_prefix(NIGHTS[0], 2) / RECORDS
    whole = records.read_bytes()
    records.unlink()
    if altered:
        records.write_bytes(altered(whole))

    prover = Prover(FolderReader(publisher.root), KEYS)
    for asked in ([f"{NIGHTS[0]}-r0002"], None):
        with pytest.raises(ProofError, match="verify the set"):
            list(prover.each(asked, NIGHTS[0]))


def test_a_revision_that_the_pointer_names_and_whose_cut_is_gone_is_no_reason_to_prove_an_older_one(
    tmp_path: Path,
) -> None:
    publisher = Publisher(tmp_path / "set")
    for revision in (1, 2):
        publisher.night(NIGHTS[0], rows(NIGHTS[0], count=3, revision=revision), revision)
    pointer = publisher.root / f"current/date={NIGHTS[0]}.json"
    pointer.parent.mkdir(exist_ok=True)
    pointer.write_text(f'{{"night": "{NIGHTS[0]}", "revision": 2}}')
    prover = Prover(FolderReader(publisher.root), KEYS)
    assert next(prover.each([f"{NIGHTS[0]}-r0001"])).revision == 2

    shutil.rmtree(publisher.root / cut_prefix(NIGHTS[0], 2))

    for asked in ([f"{NIGHTS[0]}-r0001"], None):
        with pytest.raises(ProofError, match=r"r0002/cut\.json is missing.* verify the set"):
            list(prover.each(asked, NIGHTS[0]))


def test_a_proof_says_that_a_newer_revision_may_exist_and_two_say_which_is_newer(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "set")
    for revision in (1, 2):
        publisher.night(NIGHTS[0], rows(NIGHTS[0], count=3, revision=revision), revision)
        (proof,) = Prover(FolderReader(publisher.root), KEYS).each([f"{NIGHTS[0]}-r0001"])
        (tmp_path / "proofs").mkdir(exist_ok=True)
        (tmp_path / f"proofs/{3 - revision}.tlog-proof").write_bytes(proof.data)

    alone = verify_path(tmp_path / "proofs/2.tlog-proof", Options(public_keys=KEYS))
    both = verify(FolderReader(tmp_path / "proofs"), Options(public_keys=KEYS))

    assert (alone.status, codes(alone)) == (0, {"PROOF_ALONE"})
    assert both.status == 0
    assert [found.path for found in both.findings if found.code == "REVISION_SUPERSEDED"] == ["2.tlog-proof"]


def test_every_record_of_a_night_can_be_proven(original: Publisher) -> None:
    for number in range(0, 300, 37):
        (proof,) = Prover(FolderReader(original.root), KEYS).each([f"{NIGHTS[2]}-r{number:04d}"], NIGHTS[2])
        assert check_proof(proof.data).status == 0


def replaced(data: bytes, number: int, line: str) -> bytes:
    lines = data.decode().split("\n")
    lines[number] = line
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("number", "line", "code"),
    [
        (0, "c2sp.org/tlog-proof@v2", "PROOF_MALFORMED"),
        (1, "extra AAAA", "PROOF_WRONG"),
        (1, "extra " + base64.b64encode(b'{"_salt":"' + b"0" * 64 + b'","a":1}').decode(), "PROOF_WRONG"),
        (1, "extra " + base64.b64encode(b'{"_salt":"' + b"0" * 64 + b'","a":"1"}').decode(), "PROOF_WRONG"),
        (2, "index 7", "PROOF_WRONG"),
        (2, "index 07", "PROOF_MALFORMED"),
        (2, "index 99999", "PROOF_WRONG"),
        (3, base64.b64encode(bytes(32)).decode(), "PROOF_WRONG"),
        (3, "AAAA", "PROOF_WRONG"),
        (3, "?", "PROOF_MALFORMED"),
        (-6, "custody.example.com/evil", "LOG_CHECKPOINT_WRONG"),
        (-5, "300", "LOG_CHECKPOINT_WRONG"),
    ],
)
def test_a_changed_proof_is_refused(original: Publisher, number: int, line: str, code: str) -> None:
    report = check_proof(replaced(proof_of(original), number, line))

    assert report.status == 1
    assert code in codes(report)


def test_a_proof_whose_checkpoint_was_changed_or_signed_by_others_is_refused(original: Publisher) -> None:
    data = proof_of(original)
    changed = data.replace(b"custody.example.com/acme\n424", b"custody.example.com/evil\n424")
    assert codes(check_proof(changed)) == {"LOG_CHECKPOINT_WRONG"}
    report = verify(MemoryReader({"one.tlog-proof": data}), Options(public_keys=[OTHER.verifier]))
    assert (report.status, codes(report)) == (1, {"LOG_SIGNED_BY_OTHERS"})


def test_a_proof_is_checked_against_a_pinned_fork(original: Publisher, tmp_path: Path) -> None:
    fork = Publisher(tmp_path)
    data = rows(NIGHTS[0], count=423)
    fork.night(NIGHTS[0], data)

    assert fork.signed is not None
    assert fork.signed.size == 424
    report = check_proof(proof_of(original), pinned=[fork.sealed[0].checkpoint.note.data])
    assert (report.status, codes(report)) == (1, {"PINNED_FORKED", "PROOF_ALONE"})


def test_reading_a_proof_never_fails_otherwise(original: Publisher) -> None:
    data = proof_of(original)
    for end in range(0, len(data), 97):
        with pytest.raises(ProofFileError):
            read_proof(data[:end])


def test_each_code_says_what_it_means_and_what_to_do() -> None:
    for name, code in CODES.items():
        assert name == name.upper()
        assert code.meaning.endswith((".", "?"))
        assert code.action.endswith((".", "?"))
