"""Publishing a night: the files in S3 after the first run, a second run, changes, and a kill at any request."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest

from custody_pipeline.evidence.cut.manifest import decode_cut
from custody_pipeline.evidence.log.checkpoint import InconsistentHeadError
from custody_pipeline.evidence.log.keys import new_key, parse_public_keys, write_new_key
from custody_pipeline.evidence.reader import FolderReader, read
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.io.objects import UploadError
from custody_pipeline.operations.witnesses import add
from custody_pipeline.publish.claims import SealingError
from custody_pipeline.publish.publication import PublishError
from custody_pipeline.publish.readback import read_back
from custody_pipeline.settings import SettingsError
from custody_pipeline_tests.evidence.authority import make_authority, reply_to
from custody_pipeline_tests.evidence.witness import Witness
from custody_pipeline_tests.proxy import Answer, running_proxy
from custody_pipeline_tests.publish.homes import BUCKET
from custody_pipeline_tests.publish.killing import Killed, KilledClient, Replaced
from custody_pipeline_tests.publish.memory import objects
from custody_pipeline_tests.publish.nights import (
    NIGHT,
    TABLES,
    TWO_TABLES,
    OneNight,
    change_recording,
    insert,
    insert_receipt,
    insert_recording,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.cut.manifest import Cut
    from custody_pipeline.publish.current_copies import Publication
    from custody_pipeline.settings import Settings


def cut_of(revision: int) -> Cut:
    return decode_cut(objects()[f"cuts/date={NIGHT}/r{revision:04d}/cut.json"])


def dataset(found: dict[str, bytes]) -> dict[str, bytes]:
    """The files that analysts and verifiers read, without the object versions in the seals, which differ by run."""
    return {
        key: data
        for key, data in found.items()
        if key.startswith(("parquet/", "csv/", "spreadsheet/", "report/", "cuts/"))
        and "/cut.json" not in key
        and "/checkpoint" not in key
    }


def test_every_table_is_there_as_parquet_csv_and_spreadsheet(night: OneNight) -> None:
    publication = night.publish(tables=TABLES)
    found = objects()
    for table in TABLES:
        folder = f"{table}/date=2026-11-02/{table}"
        for key in (f"parquet/{folder}.parquet", f"csv/{folder}.csv", f"spreadsheet/{folder}.xlsx"):
            assert found[key] == found[f"cuts/date=2026-11-02/r0001/data/{key.rsplit('/', 1)[1]}"]
    hashes = {file.uri.removeprefix(f"s3://{BUCKET}/prod/"): file.sha256 for file in publication.files}
    assert hashes == {
        key: hashlib.sha256(data).hexdigest()
        for key, data in found.items()
        if key.startswith(("parquet/", "csv/", "spreadsheet/"))
    }


def test_the_cut_names_every_file_with_its_hash_and_stored_version(night: OneNight) -> None:
    night.publish(tables=TABLES)
    found = objects()
    prefix = "cuts/date=2026-11-02/r0001/"
    cut = decode_cut(found[f"{prefix}cut.json"])
    assert {file.path: file.sha256 for file in cut.files} == {
        key.removeprefix(prefix): hashlib.sha256(data).hexdigest()
        for key, data in found.items()
        if key.startswith((f"{prefix}data/", f"{prefix}landing/"))
    }
    assert all(file.version_id for file in cut.files)
    assert cut.counts == {
        "chain_of_custody": 3,
        "custom_data": 3,
        "gaps": 0,
        "custody_events": 3,
        "reconciliation": 14,
    }
    assert cut.statuses == {"complete": 3}
    assert cut.log.size == 4
    assert cut.keys[0].startswith("DEMO")


def test_landing_files_and_receipts_are_in_the_cut_verbatim(night: OneNight) -> None:
    night.publish()
    found = objects()
    landed = night.landed()
    path = f"landing/conversation_details/{landed.name}"
    assert found[f"cuts/date=2026-11-02/r0001/{path}"] == landed.read_bytes()
    cut = cut_of(1)
    assert [(receipt.resource, receipt.landing) for receipt in cut.receipts] == [("conversation_details", (path,))]
    assert cut.collector == "custody-demo"


def test_what_could_not_be_read_lies_beside_the_documents_of_its_load_and_not_over_them(
    night: OneNight, tmp_path: Path
) -> None:
    folders = ("conversations", "fetch_failures")
    files = insert_receipt(night.con, tmp_path / "landing", "conversations", folders=folders)
    assert files[0].name == files[1].name
    night.publish()
    found = objects()
    for file in files:
        path = f"cuts/date=2026-11-02/r0001/landing/{file.parent.parent.name}/{file.name}"
        assert found[path] == file.read_bytes()


def test_the_load_that_is_read_is_in_the_cut_when_a_later_one_failed(night: OneNight, tmp_path: Path) -> None:
    (read_one,) = insert_receipt(night.con, tmp_path / "landing", "queues", hour=3)
    (failed,) = insert_receipt(night.con, tmp_path / "landing", "queues", hour=4, state="failed")
    night.publish()
    found = objects()
    cut = cut_of(1)
    landed = {receipt.state: receipt.landing for receipt in cut.receipts if receipt.resource == "queues"}
    assert landed == {
        "complete": (f"landing/queues/{read_one.name}",),
        "failed": (f"landing/queues/{failed.name}",),
    }
    assert found[f"cuts/date=2026-11-02/r0001/landing/queues/{read_one.name}"] == read_one.read_bytes()


def test_the_pointer_names_the_revision_and_its_files(night: OneNight) -> None:
    publication = night.publish()
    pointer = json.loads(objects()["current/date=2026-11-02.json"])
    assert (pointer["revision"], pointer["complete"]) == (1, "not_established")
    assert pointer["cut_sha256"] == publication.cut_sha256
    assert len(pointer["files"]) == 6


def test_publication_and_row_versions_are_recorded(night: OneNight) -> None:
    publication = night.publish()
    recorded = "SELECT revision, content_sha256, completeness, len(files), operator FROM raw.publications"
    assert night.con.execute(recorded).fetchall() == [(1, publication.content_sha256, "not_established", 6, "nightly")]
    assert night.con.execute("SELECT count(*), max(revision) FROM raw.row_versions").fetchone() == (3, 1)


def test_the_same_content_publishes_nothing_again(night: OneNight) -> None:
    night.publish()
    before = objects()
    counting = KilledClient(night.s3)
    again = night.publish(counting)
    assert (again.changed, again.revision, again.repaired) == (False, 1, ())
    assert counting.calls == 0
    assert objects() == before
    assert night.con.execute("SELECT count(*) FROM raw.publications").fetchone() == (1,)


def test_changed_content_is_the_next_revision_and_the_old_one_stays(night: OneNight) -> None:
    night.publish()
    before = objects()
    change_recording(night.con, 1, "no")
    second = night.publish()
    found = objects()
    assert (second.changed, second.revision) == (True, 2)
    assert {key: data for key, data in found.items() if "/r0001/" in key} == {
        key: data for key, data in before.items() if "/r0001/" in key
    }
    assert b'"no"' in found["csv/chain_of_custody/date=2026-11-02/chain_of_custody.csv"]
    cut = cut_of(2)
    assert cut.supersedes is not None
    assert cut.supersedes.sha256 == hashlib.sha256(before["cuts/date=2026-11-02/r0001/cut.json"]).hexdigest()
    versions = night.con.execute("SELECT recording_id, revision FROM raw.row_versions ORDER BY ALL").fetchall()
    assert versions == [("r-00000", 1), ("r-00001", 1), ("r-00001", 2), ("r-00002", 1)]


def test_the_report_is_sealed_with_the_night_and_its_copies_are_those_of_the_newest_revision(night: OneNight) -> None:
    folder = "report/date=2026-11-02/"
    night.publish(report={"report.html": "one", "rows/gaps.csv": "reason"})
    first = {name: data for name, data in objects().items() if name.startswith("report/")}
    change_recording(night.con, 1, "no")
    night.publish(report={"report.html": "two"})
    night.s3.delete_object(Bucket=BUCKET, Key=f"prod/{folder}report.html")
    again = night.publish(report={"report.html": "never written: nothing changed"})

    found = objects()
    assert first == {f"{folder}report.html": b"one", f"{folder}rows/gaps.csv": b"reason"}
    assert {name: data for name, data in found.items() if "report" in name} == {
        "cuts/date=2026-11-02/r0001/report/report.html": b"one",
        "cuts/date=2026-11-02/r0001/report/rows/gaps.csv": b"reason",
        "cuts/date=2026-11-02/r0002/report/report.html": b"two",
        f"{folder}report.html": b"two",
    }
    assert again.repaired == (f"s3://{BUCKET}/prod/{folder}report.html",)
    assert night.check(found).status == 0
    for name, data, code in (
        (f"{folder}report.html", b"ten", "COPY_DIFFERS"),
        (f"{folder}rows/gaps.csv", b"reason", "FILE_EXTRA"),
        ("cuts/date=2026-11-02/r0001/report/report.html", b"ten", "FILE_ALTERED"),
    ):
        report = night.check(found | {name: data})
        assert [(wrong.code, wrong.path) for wrong in report.of(Severity.ERROR)] == [(code, name)]


def test_compressed_copies_take_the_place_of_plain_ones_and_the_other_way_round(night: OneNight) -> None:
    night.publish()
    for number, (compression, suffix) in enumerate((("gzip", ".csv.gz"), ("none", ".csv"))):
        change_recording(night.con, number, "no")
        publication = night.publish(csv_compression=compression)
        found = objects()
        copies = {name for name in found if name.startswith("csv/")}
        assert copies == {f"csv/{table}/date=2026-11-02/{table}{suffix}" for table in TWO_TABLES}
        assert {file.uri.removeprefix(f"s3://{BUCKET}/prod/") for file in publication.files} >= copies
        assert night.check(found).status == 0


def test_compressed_copies_that_were_lost_are_put_again_whatever_the_setting_is_now(night: OneNight) -> None:
    night.publish(csv_compression="gzip")
    before = objects()
    lost = "csv/gaps/date=2026-11-02/gaps.csv.gz"
    night.s3.delete_object(Bucket=BUCKET, Key=f"prod/{lost}")
    again = night.publish()
    assert (again.changed, again.repaired) == (False, (f"s3://{BUCKET}/prod/{lost}",))
    assert objects() == before


def test_a_cut_says_what_the_night_claims_and_what_that_rests_on(night: OneNight) -> None:
    assert night.publish().complete == "not_established"
    night.con.execute("UPDATE custody.nights SET completeness = 'incomplete'")
    night.con.execute("UPDATE custody.coverage SET state = 'failed', detail = 'HTTP 503' WHERE source = 'export_jobs'")
    # The rows are the same: what is claimed of them is not.
    assert night.publish().complete == "incomplete"
    found = objects()
    cut = cut_of(2)
    assert cut.complete == "incomplete"
    assert isinstance(cut.coverage, tuple)
    states = {source.source: (source.state, source.needed, source.detail) for source in cut.coverage}
    assert states["export_jobs"] == ("failed", True, "HTTP 503")
    assert states["export_objects"] == ("not_asked", True, "never collected")
    assert json.loads(found["current/date=2026-11-02.json"])["complete"] == "incomplete"
    assert night.publish().changed is False


def test_a_night_that_was_never_modelled_claims_nothing(night: OneNight) -> None:
    night.con.execute("DELETE FROM custody.nights")
    assert night.publish().complete == "not_established"


def test_an_empty_night_is_published_with_headers_only(
    empty_warehouse: Path, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    shutil.copy(empty_warehouse, tmp_path / "w.duckdb")
    with duckdb.connect(str(tmp_path / "w.duckdb")) as con:
        publication = OneNight(con, settings, memory_s3).publish()
    header = objects()["csv/chain_of_custody/date=2026-11-02/chain_of_custody.csv"]
    assert header.endswith(b"\r\n")
    assert header.count(b"\r\n") == 1
    assert b"custom_data_legal_hold" in header
    assert {file.rows for file in publication.files} == {0}


def test_a_missing_and_an_altered_copy_are_put_again(night: OneNight) -> None:
    night.publish()
    before = objects()
    gone = "prod/parquet/gaps/date=2026-11-02/gaps.parquet"
    altered = "prod/csv/gaps/date=2026-11-02/gaps.csv"
    night.s3.delete_object(Bucket=BUCKET, Key=gone)
    night.s3.put_object(Bucket=BUCKET, Key=altered, Body=b"x" * len(before[altered.removeprefix("prod/")]))
    again = night.publish()
    assert set(again.repaired) == {f"s3://{BUCKET}/{gone}", f"s3://{BUCKET}/{altered}"}
    assert objects() == before


def test_a_cut_that_lost_a_file_is_an_error_and_not_papered_over(night: OneNight) -> None:
    night.publish()
    night.s3.delete_object(Bucket=BUCKET, Key="prod/cuts/date=2026-11-02/r0001/data/gaps.csv")
    with pytest.raises(PublishError, match=r"data/gaps\.csv"):
        night.publish()


def test_a_cut_that_is_gone_is_an_error(night: OneNight) -> None:
    night.publish()
    night.s3.delete_object(Bucket=BUCKET, Key="prod/cuts/date=2026-11-02/r0001/cut.json")
    with pytest.raises(PublishError, match="CUSTODY_PUBLISH_URL"):
        night.publish()


def test_without_a_place_to_publish_to_the_setting_is_named(night: OneNight) -> None:
    with pytest.raises(SettingsError, match="CUSTODY_PUBLISH_URL"):
        night.publish(publish_url=None)


def test_an_altered_landing_file_is_not_sealed(night: OneNight) -> None:
    night.landed().write_bytes(b"other")
    with pytest.raises(UploadError, match="altered since it was received"):
        night.publish()
    assert not any(key.endswith("cut.json") for key in objects())


def test_a_landing_file_that_was_tidied_away_comes_from_the_cut_before(night: OneNight) -> None:
    night.publish()
    night.landed().unlink()
    change_recording(night.con, 1, "no")
    night.publish()
    cut = cut_of(2)
    assert any(file.path.startswith("landing/") for file in cut.files)


def test_a_landing_file_that_is_nowhere_stops_the_sealing(night: OneNight) -> None:
    night.landed().unlink()
    with pytest.raises(UploadError, match="collect the night again"):
        night.publish()


def test_a_bucket_without_object_lock_is_refused_when_a_lock_is_wanted(night: OneNight) -> None:
    night.s3.create_bucket(Bucket="plain")
    with pytest.raises(UploadError, match=r"CUSTODY_LOCK_MODE .* remove s3://plain/prod/sealing/head"):
        night.publish(publish_url="s3://plain/prod", lock_mode="COMPLIANCE")
    # The seal that was begun asks for the lock, whatever the settings say by now; without it the night is sealed.
    with pytest.raises(UploadError, match="asks for the lock"):
        night.publish(publish_url="s3://plain/prod")
    night.s3.delete_object(Bucket="plain", Key="prod/sealing/head")
    night.publish(publish_url="s3://plain/prod")
    assert night.s3.head_object(Bucket="plain", Key="prod/log/checkpoint")


def test_a_log_that_was_rolled_back_is_noticed_before_anything_is_signed(night: OneNight) -> None:
    night.publish()
    night.s3.delete_object(Bucket=BUCKET, Key="prod/log/checkpoint")
    for key in list(objects()):
        if key.startswith("cuts/"):
            night.s3.delete_object(Bucket=BUCKET, Key=f"prod/{key}")
    night.con.execute("DELETE FROM raw.publications")
    change_recording(night.con, 1, "no")
    with pytest.raises(InconsistentHeadError):
        night.publish()
    assert "log/checkpoint" not in objects()


def test_a_log_that_was_rolled_back_is_shown_by_the_remembered_head_and_mended_by_restoring_versions(
    night: OneNight,
) -> None:
    """The runbook."""
    night.publish()
    earlier = night.s3.get_object(Bucket=BUCKET, Key="prod/log/checkpoint")["Body"].read()
    change_recording(night.con, 1, "no")
    night.publish()
    before = objects()
    for key in before:
        if "/r0002/" in key:
            night.s3.delete_object(Bucket=BUCKET, Key=f"prod/{key}")
    night.s3.put_object(Bucket=BUCKET, Key="prod/log/checkpoint", Body=earlier)

    change_recording(night.con, 1, "perhaps")
    rolled_back = objects()
    with pytest.raises(InconsistentHeadError, match="rolled back"):
        night.publish()
    assert objects() == rolled_back
    pin = (night.settings.home / "publish/head").read_bytes()
    codes = {finding.code for finding in night.check(objects(), pinned=[pin]).findings}
    assert "PINNED_AHEAD" in codes

    for marker in night.s3.list_object_versions(Bucket=BUCKET)["DeleteMarkers"]:
        night.s3.delete_object(Bucket=BUCKET, Key=marker["Key"], VersionId=marker["VersionId"])
    night.s3.put_object(Bucket=BUCKET, Key="prod/log/checkpoint", Body=before["log/checkpoint"])
    night.publish()
    report = night.check(objects(), pinned=[pin])
    assert [finding.code for finding in report.findings if finding.kind.severity is Severity.ERROR] == []


def test_another_writer_of_the_log_is_noticed(night: OneNight) -> None:
    """It writes another head just before the pipeline writes its head."""

    def intrude(put: Any, **request: Any) -> Any:
        if request["Key"].endswith("r0001/cut.json"):
            put(Bucket=BUCKET, Key="prod/log/checkpoint", Body=b"theirs")
        return put(**request)

    with pytest.raises(SealingError, match="another writer"):
        night.publish(Replaced(night.s3, put_object=intrude))
    assert objects()["log/checkpoint"] == b"theirs"


# --- killed anywhere -------------------------------------------------------------------------------------------------


@pytest.fixture
def reference(night: OneNight, tmp_path: Path) -> dict[str, bytes]:
    """The dataset of a run that nobody killed."""
    publish_in(night, night.s3, home_with_bucket(night.s3, tmp_path / "reference"))
    return dataset(objects("reference"))


def home_with_bucket(client: S3Client, home: Path) -> Path:
    """A home with the common salt, and a bucket of its name."""
    client.create_bucket(Bucket=home.name, ObjectLockEnabledForBucket=True)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "salt").write_text("5a" * 32)
    return home


def publish_in(night: OneNight, client: Any, home: Path) -> Publication:
    url = f"s3://{home.name}/prod"
    return night.publish(client, report={"report.html": "complete"}, home=home, publish_url=url)


def killed_and_run_again(night: OneNight, home: Path, number: int, *, done: bool) -> bool:
    """True if the run was long enough to be killed at that call."""
    night.con.execute("DELETE FROM raw.publications")
    night.con.execute("DELETE FROM raw.row_versions")
    home_with_bucket(night.s3, home)
    try:
        publish_in(night, KilledClient(night.s3, number, done=done), home)
    except Killed:
        publish_in(night, night.s3, home)
        return True
    return False


def test_killed_at_any_call_the_next_run_ends_with_the_same_bytes(
    night: OneNight, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    number = 0
    # Before a call and after the one before it S3 holds the same, so each state is met once, in turns.
    while killed_and_run_again(night, tmp_path / f"home-{number}", number, done=bool(number % 2)):
        found = objects(f"home-{number}")
        assert dataset(found) == reference, f"killed at writing call {number}"
        assert verified(found), f"killed at writing call {number}"
        assert night.con.execute("SELECT revision FROM raw.publications").fetchall() == [(1,)]
        assert night.con.execute("SELECT count(*), max(revision) FROM raw.row_versions").fetchone() == (3, 1)
        number += 1
    assert number > 20


def verified(found: dict[str, bytes]) -> bool:
    """The log's head covers the one cut, and the cut covers its files."""
    cut = decode_cut(found["cuts/date=2026-11-02/r0001/cut.json"])
    size = int(found["log/checkpoint"].split(b"\n")[1])
    named = {f"{cut.prefix}{file.path}": file.sha256 for file in cut.files}
    there = {
        key: hashlib.sha256(data).hexdigest()
        for key, data in found.items()
        if key.startswith(tuple(f"{cut.prefix}{folder}/" for folder in ("data", "landing", "report")))
    }
    return size == cut.log.size and named == there


def test_content_that_changes_after_a_run_was_killed_refills_the_unsealed_cut(night: OneNight) -> None:
    with pytest.raises(Killed):
        night.publish(KilledClient(night.s3, 5))
    change_recording(night.con, 1, "no")
    insert_recording(night.con, 7)
    second = night.publish()
    assert second.revision == 1
    found = objects()
    cut = cut_of(1)
    assert all(
        hashlib.sha256(found[f"cuts/date=2026-11-02/r0001/{file.path}"]).hexdigest() == file.sha256
        for file in cut.files
    )


def test_a_file_of_a_killed_run_that_the_cut_does_not_name_is_removed(night: OneNight) -> None:
    left_over = "cuts/date=2026-11-02/r0001/landing/conversations/left-over.gz"
    night.s3.put_object(Bucket=BUCKET, Key=f"prod/{left_over}", Body=b"x")
    night.publish()
    assert left_over not in objects()


def die_once_sealed(copy: Any, **request: Any) -> Any:
    """Die after the cut is sealed, before the first current copy."""
    if request["Key"].startswith(("prod/parquet/", "prod/csv/")):
        raise Killed
    return copy(**request)


@pytest.mark.parametrize("damaged", [b"{", b'{"content":"x"}', b"[" * 100_000])
def test_without_its_note_a_sealed_revision_is_known_by_its_files(night: OneNight, damaged: bytes) -> None:
    with pytest.raises(Killed):
        night.publish(Replaced(night.s3, copy_object=die_once_sealed), tables=TABLES)
    (note,) = (night.settings.home / "publish").glob("date=*/r0001.content")
    note.write_bytes(damaged)
    assert night.publish(tables=TABLES).revision == 1
    assert night.con.execute("SELECT revision FROM raw.publications").fetchall() == [(1,)]


def test_an_event_that_is_no_content_makes_no_revision_of_a_sealed_one_whose_run_was_killed(night: OneNight) -> None:
    with pytest.raises(Killed):
        night.publish(Replaced(night.s3, copy_object=die_once_sealed), tables=TABLES)
    sealed = {key: data for key, data in objects().items() if key.startswith("cuts/")}
    of_the_night = {"partition_date": NIGHT, "conversation_id": "", "recording_id": ""}
    insert(night.con, "custody.custody_events", **of_the_night, action="exception")
    assert night.publish(tables=TABLES).revision == 1
    assert {key: data for key, data in objects().items() if key.startswith("cuts/")} == sealed
    assert night.con.execute("SELECT revision FROM raw.publications").fetchall() == [(1,)]
    assert not list((night.settings.home / "publish").glob("date=*"))


def test_a_revision_that_was_sealed_but_not_recorded_stays_and_the_next_takes_the_changes(night: OneNight) -> None:
    counting = KilledClient(night.s3)
    night.publish(counting)
    night.con.execute("DELETE FROM raw.publications")  # killed just before it was recorded
    night.con.execute("DELETE FROM raw.row_versions")
    before = objects()
    change_recording(night.con, 1, "no")
    second = night.publish()
    found = objects()
    assert second.revision == 2
    assert {key: data for key, data in found.items() if "/r0001/" in key} == {
        key: data for key, data in before.items() if "/r0001/" in key
    }
    local = night.settings.home / "read.parquet"
    local.write_bytes(found["parquet/chain_of_custody/date=2026-11-02/chain_of_custody.parquet"])
    assert set(pq.read_table(local).column("revision").to_pylist()) == {2}
    assert night.con.execute("SELECT revision FROM raw.publications ORDER BY 1").fetchall() == [(1,), (2,)]
    assert night.publish().changed is False


# --- read back -------------------------------------------------------------------------------------------------------


def test_the_copy_holds_what_s3_holds_and_only_new_files_are_fetched(night: OneNight, tmp_path: Path) -> None:
    night.publish()
    folder = tmp_path / "published"
    assert all(file.fetched for file in read_back(night.settings, folder))
    reader = FolderReader(folder)
    assert {entry.path: read(reader, entry.path) for entry in reader.list()} == objects()
    assert not any(file.fetched for file in read_back(night.settings, folder))
    night.s3.put_object(Bucket=BUCKET, Key="prod/current/date=2026-11-02.json", Body=b"{}")
    night.s3.delete_object(Bucket=BUCKET, Key="prod/csv/gaps/date=2026-11-02/gaps.csv")
    assert [file.path for file in read_back(night.settings, folder) if file.fetched] == ["current/date=2026-11-02.json"]
    assert {entry.path: read(reader, entry.path) for entry in reader.list()} == objects()


def test_a_cosigned_head_is_kept_and_the_next_night_builds_on_it(night: OneNight, tmp_path: Path) -> None:
    night.publish()
    witness = Witness()
    head = objects()["log/checkpoint"]
    line = witness.line(head.partition(b"\n\n")[0] + b"\n")
    (tmp_path / "line").write_bytes(line)
    add(night.settings, tmp_path / "line", [witness.verifier])
    assert objects()["log/checkpoint"] == objects()["log/cosigned/4"] == head + line
    with pytest.raises(SettingsError, match="only its owner"):
        add(night.settings, tmp_path / "line", [witness.verifier], "s3://custody-published/other")

    change_recording(night.con, 1, "no")
    night.publish()

    found = objects()
    assert line not in found["log/checkpoint"]
    report = night.check(found, witnesses=[witness.verifier], quorum=0)
    assert report.status == 0, report.summary()
    assert report.valid["cosigned checkpoints"] == 1


def test_a_key_that_leads_out_of_the_folder_is_refused(settings: Settings, memory_s3: S3Client, tmp_path: Path) -> None:
    memory_s3.put_object(Bucket=BUCKET, Key="prod/../outside", Body=b"x")
    with pytest.raises(UploadError, match="cannot be a file"):
        read_back(settings, tmp_path / "published")
    assert not (tmp_path / "outside").exists()


def test_a_key_that_is_also_the_folder_of_another_is_refused(
    settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    folder = tmp_path / "published"
    for key in ("a", "a/b", "a.partial"):
        memory_s3.put_object(Bucket=BUCKET, Key=f"prod/{key}", Body=key.encode())
    with pytest.raises(UploadError, match="the key 'a' cannot be a file"):
        read_back(settings, folder)
    assert list(folder.iterdir()) == []
    # One after the other they are a file and a folder of the same name.
    for gone in ("a", "a/b"):
        memory_s3.put_object(Bucket=BUCKET, Key="prod/a", Body=b"a")
        memory_s3.put_object(Bucket=BUCKET, Key="prod/a/b", Body=b"a/b")
        memory_s3.delete_object(Bucket=BUCKET, Key=f"prod/{gone}")
        (tmp_path / "published.read-back.json").write_bytes(b"{")
        copied = read_back(settings, folder)
        assert {file.path: (folder / file.path).read_text() for file in copied} == {
            path: path for path in ("a", "a/b", "a.partial") if path != gone
        }


def test_a_cut_is_timestamped_by_an_authority_that_verification_knows(night: OneNight, tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    folder.mkdir()
    _, root = make_authority(folder)
    with running_proxy("http://127.0.0.1:9") as authority:
        authority.answer = lambda request: Answer(200, reply_to(folder, request.body), "application/timestamp-reply")
        night.publish(timestamp_url=authority.url, now=datetime.now(UTC))
    found = objects()
    assert "cuts/date=2026-11-02/r0001/cut.json.tsr" in found
    report = night.check(found, timestamp_roots=[root])
    assert [finding.code for finding in report.findings if finding.kind.severity is not Severity.NOTE] == []
    assert "timestamp of 2026-11-02 r0001" in report.facts
    unchecked = {finding.code for finding in night.check(found).findings}
    assert "TIMESTAMP_NOT_CHECKED" in unchecked


def test_a_key_is_handed_over_in_the_cuts_that_both_sign(night: OneNight, tmp_path: Path) -> None:
    for name in ("old", "new"):
        write_new_key(tmp_path / f"{name}.key", new_key("custody.example.com/eu"))
    old, new = (parse_public_keys((tmp_path / f"{name}.key.pub").read_text()) for name in ("old", "new"))
    night.publish(signing_key_file=tmp_path / "old.key")
    change_recording(night.con, 0, "no")
    night.publish(signing_key_file=tmp_path / "old.key", next_signing_key_file=tmp_path / "new.key")
    insert_recording(night.con, 7)
    night.publish(signing_key_file=tmp_path / "new.key")

    found = objects()
    folders = [f"cuts/date=2026-11-02/r{revision:04d}/" for revision in (1, 2, 3)]
    assert [f"{folder}rotation.note" in found for folder in folders] == [False, True, False]
    assert all(key.fingerprint in found[f"{folders[1]}rotation.note"].decode() for key in [*old, *new])
    # Whoever trusts the old key alone is led to the new one; without the statement nobody is.
    assert night.check(found, public_keys=old).status == 0
    codes = {finding.code for finding in night.check(found, public_keys=new).findings}
    assert codes >= {"CUT_SIGNED_BY_OTHERS"}
    altered = {**found, f"{folders[1]}rotation.note": b"altered"}
    codes = {finding.code for finding in night.check(altered, public_keys=old).findings}
    assert codes >= {"FILE_SIZE", "LOG_SIGNED_BY_OTHERS"}


def test_a_key_of_another_name_cannot_take_over(night: OneNight, tmp_path: Path) -> None:
    write_new_key(tmp_path / "new.key", new_key("custody.example.com/elsewhere"))
    with pytest.raises(SettingsError, match=r"custody key new DEMO-custody\.local"):
        night.publish(next_signing_key_file=tmp_path / "new.key")
    assert objects() == {}
