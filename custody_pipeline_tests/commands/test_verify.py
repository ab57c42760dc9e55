"""`custody verify`: its custody events, and its resumption."""

from __future__ import annotations

import base64
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.evidence.cut.manifest import RECORDS
from custody_pipeline.evidence.log.merkle import ProofError
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.operations.verification import record_verification, verify_target, write_proofs
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.connection import Warehouse, WarehouseBusyError
from custody_pipeline_tests.evidence.published import NIGHTS, ORIGIN, SIGNER, publish

_MATERIAL = base64.b64encode(bytes([1]) * 33).decode()
PRIVATE = f"PRIVATE+KEY+{ORIGIN}+{SIGNER.verifier.key_id.hex()}+{_MATERIAL}"
"""The private half of SIGNER as text."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home that published three nights and has them read back."""
    publisher = publish(tmp_path / "published")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/custody.key.pub").write_text(SIGNER.verifier.vkey)
    (tmp_path / "keys/custody.key").write_text(PRIVATE)
    (tmp_path / "keys/custody.key").chmod(0o600)
    settings = Settings(home=tmp_path, operator="auditor", signing_key_file=tmp_path / "keys/custody.key")
    with Warehouse(settings).open() as con:
        for sealed in publisher.sealed:
            con.execute(
                "INSERT INTO raw.publications BY NAME SELECT ?::DATE AS partition_date, ?::INTEGER AS revision, "
                "? AS cut_sha256",
                [sealed.cut.night, sealed.cut.revision, sealed.sha256],
            )
    return settings


HELD_AT = """
import sys
from custody_pipeline.cli.main import main
from custody_pipeline.evidence.reader import FolderReader

held, opened = sys.argv.pop(1), FolderReader.open

def open_or_hold(self, path):
    if path == held:
        print("held", flush=True)
        sys.stdin.read()
    return opened(self, path)

FolderReader.open = open_or_hold
main()
"""
"""A verification that waits when it comes to one file, until it is killed."""


def check(settings: Settings, target: Path) -> Report:
    return verify_target(settings, str(target))


def events(settings: Settings) -> list[tuple[object, ...]]:
    with Warehouse(settings).open(read_only=True) as con:
        return con.execute(
            "SELECT partition_date, operator, what, sha256_before = sha256_after FROM raw.acts "
            "WHERE where_at = 'published' ORDER BY ALL"
        ).fetchall()


def test_every_night_has_its_result_with_the_digest_sealed_and_found(settings: Settings) -> None:
    place = settings.home / "published"
    assert record_verification(settings, f"{place}/", "none", check(settings, place))
    assert events(settings) == [
        (date(2026, 11, 2), "auditor", "revision 1: as sealed", True),
        (date(2026, 11, 3), "auditor", "revision 2: as sealed", True),
        (date(2026, 11, 4), "auditor", "revision 1: as sealed", True),
    ]


def test_what_is_wrong_is_told_of_the_night_that_it_is_about(settings: Settings) -> None:
    place = settings.home / "published"
    (place / "cuts/date=2026-11-02/r0001/data/gaps.parquet").write_bytes(b"x")
    shutil.rmtree(place / "cuts/date=2026-11-04")
    record_verification(settings, str(place), "none", check(settings, place))
    assert [event[2:] for event in events(settings)] == [
        ("revision 1: FILE_SIZE, LEAVES_UNEXPLAINED", True),
        ("revision 2: LEAVES_UNEXPLAINED", True),
        ("revision 1: its cut was not found", None),
    ]


def test_a_copy_elsewhere_is_nobodys_custody(settings: Settings, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(settings.home / "published", copy)
    assert not record_verification(settings, str(copy), "none", check(settings, copy))
    assert events(settings) == []


def test_who_has_no_warehouse_gets_none(settings: Settings, tmp_path: Path) -> None:
    outsider = Settings(home=tmp_path / "outsider")
    outsider.home.mkdir()
    place = settings.home / "published"
    shutil.copytree(place, outsider.home / "published")
    assert not record_verification(outsider, str(outsider.home / "published"), "none", check(settings, place))
    assert [path.name for path in outsider.home.iterdir()] == ["published"]


def test_a_warehouse_in_use_keeps_nobody_from_verifying(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.operations.verification._LOCK_TIMEOUT_SECONDS", 0.05)
    report = check(settings, settings.home / "published")
    with Warehouse(settings).open(), pytest.raises(WarehouseBusyError):
        record_verification(settings, str(settings.home / "published"), "none", report)
    assert report.status == 0


def test_an_event_that_cannot_be_recorded_keeps_nobody_from_the_verdict(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2")
    monkeypatch.setattr("custody_pipeline.operations.verification.record_verification", Mock(side_effect=denied))
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    monkeypatch.setenv("CUSTODY_SIGNING_KEY_FILE", str(settings.signing_key_file))
    told = CliRunner().invoke(app, ["verify"])
    assert (told.exit_code, told.stdout.splitlines()[-1]) == (0, "VERIFIED")
    assert "left no custody event: S3 or another AWS service answered AccessDenied" in " ".join(told.stderr.split())


def test_a_check_that_was_killed_is_resumed_and_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, custody: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    place = settings.home / "published"
    held = place / "cuts/date=2026-11-04/r0001/data/chain_of_custody.csv"
    arguments = ["verify", str(place), "--json"]
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    monkeypatch.setenv("CUSTODY_SIGNING_KEY_FILE", str(settings.signing_key_file))
    command = [sys.executable, "-c", HELD_AT, held.relative_to(place).as_posix(), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    (place / "cuts/date=2026-11-02/r0001/data/chain_of_custody.csv").write_bytes(b"changed since")

    resumed = custody(*arguments)

    report = json.loads(resumed.stdout)
    assert resumed.returncode == 1
    assert {(found["code"], found["path"]) for found in report["findings"] if found["severity"] == "error"} == {
        ("FILE_SIZE", "cuts/date=2026-11-02/r0001/data/chain_of_custody.csv"),
    }
    taken_over = int(report["facts"]["resumed"].split()[0])
    assert taken_over >= 3 * 2 + 3, "two files of each of three cuts, and the records of each"
    assert not list(Path(os.environ["XDG_STATE_HOME"]).rglob("*.ndjson"))


def test_progress_is_shown_on_a_terminal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, custody: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    monkeypatch.setenv("CUSTODY_SIGNING_KEY_FILE", str(settings.signing_key_file))
    monkeypatch.setenv("TERM", "xterm")
    parent, child = pty.openpty()
    with os.fdopen(child, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        ended = custody("verify", str(settings.home / "published"))

    assert ended.returncode == 0
    assert b"bytes" in os.read(parent, 1 << 16)
    os.close(parent)


def test_who_has_no_place_to_write_to_verifies_all_the_same(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    outsider = Settings(home=tmp_path / "file/home")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file/state"))
    keys = [settings.home / "keys/custody.key.pub"]
    report = verify_target(outsider, str(settings.home / "published"), keys=keys)

    assert report.status == 0


def test_a_copy_is_verified_only_with_a_key_that_was_named(settings: Settings, tmp_path: Path) -> None:
    copy = shutil.copytree(settings.home / "published", tmp_path / "copy")

    report = check(settings, copy)
    assert (report.status, [found.code for found in report.findings]) == (2, ["NO_PUBLIC_KEY"])

    keys = [settings.home / "keys/custody.key.pub"]
    report = verify_target(settings, str(copy), keys=keys)
    assert report.status == 0


def test_names_that_are_not_utf_8_end_in_findings(settings: Settings, tmp_path: Path) -> None:
    copy = tmp_path / os.fsdecode(b"copy \xff")
    shutil.copytree(tmp_path / "published", copy)
    report = copy / "cuts" / f"date={NIGHTS[0]}" / "r0001" / "data/chain_of_custody.parquet"
    report.rename(report.with_name(os.fsdecode(b"\xfe.parquet")))
    key = tmp_path / "keys/custody.key.pub"
    found = verify_target(settings, str(copy), keys=[key])
    assert [(one.code, one.detail) for one in found.findings if one.kind.severity is Severity.ERROR] == [
        ("FILE_MOVED", "found at data/\\udcfe.parquet")
    ]
    orjson.dumps(found.as_dict())


def test_a_delivery_that_ships_a_home_is_not_believed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its keys nor its memory count, and no link of it is written through."""
    delivery, victim = tmp_path / "delivery", tmp_path / "victim"
    copy = shutil.copytree(settings.home / "published", delivery / "set")
    shutil.copytree(settings.home / "keys", delivery / ".custody/keys")
    victim.write_text("mine")
    (delivery / ".custody/interrupted").symlink_to(victim)
    monkeypatch.chdir(delivery)

    report = check(Settings(home=Path(".custody")), copy)

    assert (report.status, [found.code for found in report.findings]) == (2, ["NO_PUBLIC_KEY"])
    assert victim.read_text() == "mine"

    # Even where the delivery lies as the place of the home that it ships, and nothing else is named.
    shutil.copytree(copy, delivery / ".custody/published")
    report = check(Settings(home=Path(".custody")), delivery / ".custody/published")
    assert (report.status, [found.code for found in report.findings]) == (2, ["NO_PUBLIC_KEY"])


def test_a_record_of_a_copy_is_proven_only_with_a_key_that_was_named(settings: Settings, tmp_path: Path) -> None:
    copy, recording = shutil.copytree(settings.home / "published", tmp_path / "copy"), f"{NIGHTS[0]}-r0001"
    with pytest.raises(SettingsError, match="--key"):
        write_proofs(settings, str(copy), recording, [], tmp_path)

    (written,) = write_proofs(settings, str(copy), recording, [settings.home / "keys/custody.key.pub"], tmp_path)
    assert written.name == f"{recording}.tlog-proof"


@pytest.mark.parametrize(
    "records", [b"[]\n" * 99, b"{" * 1000, b'{"recording_id":"x"}\n'], ids=["no records", "no JSON", "other records"]
)
def test_records_that_nobody_sealed_are_no_proof_and_no_fault(
    settings: Settings, tmp_path: Path, records: bytes
) -> None:
    (settings.home / f"published/cuts/date={NIGHTS[0]}/r0001" / RECORDS).write_bytes(records)
    with pytest.raises((ProofError, LookupError)):
        write_proofs(settings, str(settings.home / "published"), f"{NIGHTS[0]}-r0001", [], tmp_path)


def test_a_record_is_found_in_an_answer_that_has_no_lines(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Iterating over an answer of S3 gives parts of 1 KiB."""
    opened = FolderReader.open

    def streamed(self: FolderReader, path: str) -> Any:
        file = opened(self, path)
        return StreamingBody(file, os.fstat(file.fileno()).st_size) if path.endswith(RECORDS) else file

    monkeypatch.setattr(FolderReader, "open", streamed)
    assert write_proofs(settings, str(settings.home / "published"), f"{NIGHTS[2]}-r0299", [], tmp_path)


def test_the_head_that_was_signed_last_is_a_pin_for_the_own_place(settings: Settings) -> None:
    place = settings.home / "published"
    (settings.home / "publish").mkdir()
    (settings.home / "publish/head").write_bytes((place / "log/checkpoint").read_bytes())
    assert check(settings, place).valid["pinned checkpoints"] == 1

    (place / "log/checkpoint").write_bytes((place / "cuts/date=2026-11-02/r0001/checkpoint").read_bytes())
    assert "PINNED_AHEAD" in {found.code for found in check(settings, place).findings}


def test_a_folder_that_others_may_write_keeps_no_memory(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state/custody").mkdir(parents=True)
    (tmp_path / "state/custody").chmod(0o777)

    assert check(settings, settings.home / "published").status == 0
    assert list((tmp_path / "state/custody").iterdir()) == []


def test_a_quorum_needs_as_many_witnesses(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="--quorum 1"):
        verify_target(settings, str(settings.home / "published"), quorum=1)
