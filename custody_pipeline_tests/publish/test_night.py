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
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.io.objects import UploadError
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.operations.witnesses import add
from custody_pipeline.publish.claims import SealingError
from custody_pipeline.publish.publication import PublishError, publish_night
from custody_pipeline.publish.readback import read_back
from custody_pipeline.settings import SettingsError
from custody_pipeline_tests.evidence.authority import make_authority, reply_to
from custody_pipeline_tests.evidence.memory_reader import MemoryReader
from custody_pipeline_tests.evidence.witness import Witness
from custody_pipeline_tests.proxy import Answer, running_proxy
from custody_pipeline_tests.publish.homes import BUCKET
from custody_pipeline_tests.publish.killing import Killed, KilledClient
from custody_pipeline_tests.publish.memory import objects
from custody_pipeline_tests.publish.nights import (
    NIGHT,
    NOW,
    TABLES,
    change_recording,
    insert,
    insert_receipt,
    insert_recording,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.publish.current_copies import Publication
    from custody_pipeline.settings import Settings

TWO_TABLES = ("chain_of_custody", "gaps")
"""Enough for what is not about the tables: a call to S3 takes moto some 20 ms."""


def publish(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    client: Any = None,
    tables: Sequence[str] = TWO_TABLES,
    report: dict[str, str] | None = None,
) -> Publication:
    def write_report(folder: Path) -> None:
        for name, text in (report or {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    return publish_night(con, settings, NIGHT, tables=tables, client=client, now=NOW, write_report=write_report)


def dataset(found: dict[str, bytes]) -> dict[str, bytes]:
    """The files that analysts and verifiers read, without the object versions in the seals, which differ by run."""
    return {
        key: data
        for key, data in found.items()
        if key.startswith(("parquet/", "csv/", "spreadsheet/", "report/", "cuts/"))
        and "/cut.json" not in key
        and "/checkpoint" not in key
    }


def test_every_table_is_there_as_parquet_csv_and_spreadsheet(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publication = publish(con, settings, tables=TABLES)
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


def test_the_cut_names_every_file_with_its_hash_and_stored_version(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings, tables=TABLES)
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


def test_landing_files_and_receipts_are_in_the_cut_verbatim(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    publish(con, settings)
    found = objects()
    landed = next((tmp_path / "landing").rglob("*.gz"))
    path = f"landing/conversation_details/{landed.name}"
    assert found[f"cuts/date=2026-11-02/r0001/{path}"] == landed.read_bytes()
    cut = decode_cut(found["cuts/date=2026-11-02/r0001/cut.json"])
    assert [(receipt.resource, receipt.landing) for receipt in cut.receipts] == [("conversation_details", (path,))]
    assert cut.collector == "custody-demo"


def test_what_could_not_be_read_lies_beside_the_documents_of_its_load_and_not_over_them(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    files = insert_receipt(con, tmp_path / "landing", "conversations", folders=("conversations", "fetch_failures"))
    assert files[0].name == files[1].name
    publish(con, settings)
    found = objects()
    for file in files:
        path = f"cuts/date=2026-11-02/r0001/landing/{file.parent.parent.name}/{file.name}"
        assert found[path] == file.read_bytes()


def test_the_load_that_is_read_is_in_the_cut_when_a_later_one_failed(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    (read_one,) = insert_receipt(con, tmp_path / "landing", "queues", hour=3)
    (failed,) = insert_receipt(con, tmp_path / "landing", "queues", hour=4, state="failed")
    publish(con, settings)
    found = objects()
    cut = decode_cut(found["cuts/date=2026-11-02/r0001/cut.json"])
    landed = {receipt.state: receipt.landing for receipt in cut.receipts if receipt.resource == "queues"}
    assert landed == {
        "complete": (f"landing/queues/{read_one.name}",),
        "failed": (f"landing/queues/{failed.name}",),
    }
    assert found[f"cuts/date=2026-11-02/r0001/landing/queues/{read_one.name}"] == read_one.read_bytes()


def test_the_pointer_names_the_revision_and_its_files(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publication = publish(con, settings)
    pointer = json.loads(objects()["current/date=2026-11-02.json"])
    assert (pointer["revision"], pointer["complete"]) == (1, "not_established")
    assert pointer["cut_sha256"] == publication.cut_sha256
    assert len(pointer["files"]) == 6


def test_publication_and_row_versions_are_recorded(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publication = publish(con, settings)
    recorded = con.execute("SELECT revision, content_sha256, completeness, len(files), operator FROM raw.publications")
    assert recorded.fetchall() == [(1, publication.content_sha256, "not_established", 6, "nightly")]
    assert con.execute("SELECT count(*), max(revision) FROM raw.row_versions").fetchone() == (3, 1)


def test_the_same_content_publishes_nothing_again(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings)
    before = objects()
    counting = KilledClient(memory_s3)
    again = publish(con, settings, counting)
    assert (again.changed, again.revision, again.repaired) == (False, 1, ())
    assert counting.calls == 0
    assert objects() == before
    assert con.execute("SELECT count(*) FROM raw.publications").fetchone() == (1,)


def test_changed_content_is_the_next_revision_and_the_old_one_stays(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings)
    before = objects()
    change_recording(con, 1, "no")
    second = publish(con, settings)
    found = objects()
    assert (second.changed, second.revision) == (True, 2)
    assert {key: data for key, data in found.items() if "/r0001/" in key} == {
        key: data for key, data in before.items() if "/r0001/" in key
    }
    assert b'"no"' in found["csv/chain_of_custody/date=2026-11-02/chain_of_custody.csv"]
    cut = decode_cut(found["cuts/date=2026-11-02/r0002/cut.json"])
    assert cut.supersedes is not None
    assert cut.supersedes.sha256 == hashlib.sha256(before["cuts/date=2026-11-02/r0001/cut.json"]).hexdigest()
    versions = con.execute("SELECT recording_id, revision FROM raw.row_versions ORDER BY ALL").fetchall()
    assert versions == [("r-00000", 1), ("r-00001", 1), ("r-00001", 2), ("r-00002", 1)]


def test_the_report_is_sealed_with_the_night_and_its_copies_are_those_of_the_newest_revision(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    folder = "report/date=2026-11-02/"
    publish(con, settings, report={"report.html": "one", "rows/gaps.csv": "reason"})
    first = {name: data for name, data in objects().items() if name.startswith("report/")}
    change_recording(con, 1, "no")
    publish(con, settings, report={"report.html": "two"})
    memory_s3.delete_object(Bucket=BUCKET, Key=f"prod/{folder}report.html")
    again = publish(con, settings, report={"report.html": "never written: nothing changed"})

    found = objects()
    assert first == {f"{folder}report.html": b"one", f"{folder}rows/gaps.csv": b"reason"}
    assert {name: data for name, data in found.items() if "report" in name} == {
        "cuts/date=2026-11-02/r0001/report/report.html": b"one",
        "cuts/date=2026-11-02/r0001/report/rows/gaps.csv": b"reason",
        "cuts/date=2026-11-02/r0002/report/report.html": b"two",
        f"{folder}report.html": b"two",
    }
    assert again.repaired == (f"s3://{BUCKET}/prod/{folder}report.html",)
    keys = parse_public_keys((tmp_path / "keys/demo.key.pub").read_text())
    assert verify(MemoryReader(found), Options(public_keys=keys)).status == 0
    for name, data, code in (
        (f"{folder}report.html", b"ten", "COPY_DIFFERS"),
        (f"{folder}rows/gaps.csv", b"reason", "FILE_EXTRA"),
        ("cuts/date=2026-11-02/r0001/report/report.html", b"ten", "FILE_ALTERED"),
    ):
        report = verify(MemoryReader(found | {name: data}), Options(public_keys=keys))
        assert [(wrong.code, wrong.path) for wrong in report.of(Severity.ERROR)] == [(code, name)]


def test_compressed_copies_take_the_place_of_plain_ones_and_the_other_way_round(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    compressing = settings.model_copy(update={"csv_compression": "gzip"})
    publish(con, settings)
    keys = parse_public_keys((tmp_path / "keys/demo.key.pub").read_text())
    for number, (using, suffix) in enumerate(((compressing, ".csv.gz"), (settings, ".csv"))):
        change_recording(con, number, "no")
        publication = publish(con, using)
        found = objects()
        copies = {name for name in found if name.startswith("csv/")}
        assert copies == {f"csv/{table}/date=2026-11-02/{table}{suffix}" for table in TWO_TABLES}
        assert {file.uri.removeprefix(f"s3://{BUCKET}/prod/") for file in publication.files} >= copies
        assert verify(MemoryReader(found), Options(public_keys=keys)).status == 0


def test_compressed_copies_that_were_lost_are_put_again_whatever_the_setting_is_now(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings.model_copy(update={"csv_compression": "gzip"}))
    before = objects()
    lost = "csv/gaps/date=2026-11-02/gaps.csv.gz"
    memory_s3.delete_object(Bucket=BUCKET, Key=f"prod/{lost}")
    again = publish(con, settings)
    assert (again.changed, again.repaired) == (False, (f"s3://{BUCKET}/prod/{lost}",))
    assert objects() == before


def test_a_cut_says_what_the_night_claims_and_what_that_rests_on(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    assert publish(con, settings).complete == "not_established"
    con.execute("UPDATE custody.nights SET completeness = 'incomplete'")
    con.execute("UPDATE custody.coverage SET state = 'failed', detail = 'HTTP 503' WHERE source = 'export_jobs'")
    # The rows are the same: what is claimed of them is not.
    assert publish(con, settings).complete == "incomplete"
    found = objects()
    cut = decode_cut(found["cuts/date=2026-11-02/r0002/cut.json"])
    assert cut.complete == "incomplete"
    assert isinstance(cut.coverage, tuple)
    states = {source.source: (source.state, source.needed, source.detail) for source in cut.coverage}
    assert states["export_jobs"] == ("failed", True, "HTTP 503")
    assert states["export_objects"] == ("not_asked", True, "never collected")
    assert json.loads(found["current/date=2026-11-02.json"])["complete"] == "incomplete"
    assert publish(con, settings).changed is False


def test_a_night_that_was_never_modelled_claims_nothing(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    con.execute("DELETE FROM custody.nights")
    assert publish(con, settings).complete == "not_established"


def test_an_empty_night_is_published_with_headers_only(
    empty_warehouse: Path, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    shutil.copy(empty_warehouse, tmp_path / "w.duckdb")
    with duckdb.connect(str(tmp_path / "w.duckdb")) as con:
        publication = publish(con, settings)
    header = objects()["csv/chain_of_custody/date=2026-11-02/chain_of_custody.csv"]
    assert header.endswith(b"\r\n")
    assert header.count(b"\r\n") == 1
    assert b"custom_data_legal_hold" in header
    assert {file.rows for file in publication.files} == {0}


def test_a_missing_and_an_altered_copy_are_put_again(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings)
    before = objects()
    gone = "prod/parquet/gaps/date=2026-11-02/gaps.parquet"
    altered = "prod/csv/gaps/date=2026-11-02/gaps.csv"
    memory_s3.delete_object(Bucket=BUCKET, Key=gone)
    memory_s3.put_object(Bucket=BUCKET, Key=altered, Body=b"x" * len(before[altered.removeprefix("prod/")]))
    again = publish(con, settings)
    assert set(again.repaired) == {f"s3://{BUCKET}/{gone}", f"s3://{BUCKET}/{altered}"}
    assert objects() == before


def test_a_cut_that_lost_a_file_is_an_error_and_not_papered_over(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings)
    memory_s3.delete_object(Bucket=BUCKET, Key="prod/cuts/date=2026-11-02/r0001/data/gaps.csv")
    with pytest.raises(PublishError, match=r"data/gaps\.csv"):
        publish(con, settings)


def test_a_cut_that_is_gone_is_an_error(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings)
    memory_s3.delete_object(Bucket=BUCKET, Key="prod/cuts/date=2026-11-02/r0001/cut.json")
    with pytest.raises(PublishError, match="CUSTODY_PUBLISH_URL"):
        publish(con, settings)


def test_without_a_place_to_publish_to_the_setting_is_named(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    with pytest.raises(SettingsError, match="CUSTODY_PUBLISH_URL"):
        publish(con, settings.model_copy(update={"publish_url": None}))


def test_an_altered_landing_file_is_not_sealed(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    next((tmp_path / "landing").rglob("*.gz")).write_bytes(b"other")
    with pytest.raises(UploadError, match="altered since it was received"):
        publish(con, settings)
    assert not any(key.endswith("cut.json") for key in objects())


def test_a_landing_file_that_was_tidied_away_comes_from_the_cut_before(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    publish(con, settings)
    next((tmp_path / "landing").rglob("*.gz")).unlink()
    change_recording(con, 1, "no")
    publish(con, settings)
    cut = decode_cut(objects()["cuts/date=2026-11-02/r0002/cut.json"])
    assert any(file.path.startswith("landing/") for file in cut.files)


def test_a_landing_file_that_is_nowhere_stops_the_sealing(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    next((tmp_path / "landing").rglob("*.gz")).unlink()
    with pytest.raises(UploadError, match="collect the night again"):
        publish(con, settings)


def test_a_bucket_without_object_lock_is_refused_when_a_lock_is_wanted(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    memory_s3.create_bucket(Bucket="plain")
    with pytest.raises(UploadError, match="CUSTODY_LOCK_MODE"):
        publish(con, settings.model_copy(update={"publish_url": "s3://plain/prod", "lock_mode": "COMPLIANCE"}))


def test_a_log_that_was_rolled_back_is_noticed_before_anything_is_signed(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish(con, settings)
    memory_s3.delete_object(Bucket=BUCKET, Key="prod/log/checkpoint")
    for key in list(objects()):
        if key.startswith("cuts/"):
            memory_s3.delete_object(Bucket=BUCKET, Key=f"prod/{key}")
    con.execute("DELETE FROM raw.publications")
    change_recording(con, 1, "no")
    with pytest.raises(InconsistentHeadError):
        publish(con, settings)
    assert "log/checkpoint" not in objects()


def test_a_log_that_was_rolled_back_is_shown_by_the_remembered_head_and_mended_by_restoring_versions(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    """The runbook."""
    publish(con, settings)
    earlier = memory_s3.get_object(Bucket=BUCKET, Key="prod/log/checkpoint")["Body"].read()
    change_recording(con, 1, "no")
    publish(con, settings)
    before = objects()
    for key in before:
        if "/r0002/" in key:
            memory_s3.delete_object(Bucket=BUCKET, Key=f"prod/{key}")
    memory_s3.put_object(Bucket=BUCKET, Key="prod/log/checkpoint", Body=earlier)

    change_recording(con, 1, "perhaps")
    rolled_back = objects()
    with pytest.raises(InconsistentHeadError, match="rolled back"):
        publish(con, settings)
    assert objects() == rolled_back
    keys, pin = public_keys(settings, []), (settings.home / "publish/head").read_bytes()
    codes = {
        finding.code for finding in verify(MemoryReader(objects()), Options(public_keys=keys, pinned=[pin])).findings
    }
    assert "PINNED_AHEAD" in codes

    for marker in memory_s3.list_object_versions(Bucket=BUCKET)["DeleteMarkers"]:
        memory_s3.delete_object(Bucket=BUCKET, Key=marker["Key"], VersionId=marker["VersionId"])
    memory_s3.put_object(Bucket=BUCKET, Key="prod/log/checkpoint", Body=before["log/checkpoint"])
    publish(con, settings)
    report = verify(MemoryReader(objects()), Options(public_keys=keys, pinned=[pin]))
    assert [finding.code for finding in report.findings if finding.kind.severity is Severity.ERROR] == []


def test_another_writer_of_the_log_is_noticed(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    class Intruder(KilledClient):
        """Writes another head just before the pipeline writes its head."""

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._client, name)

            def call(**kwargs: Any) -> Any:
                if name == "put_object" and kwargs["Key"].endswith("r0001/cut.json"):
                    self._client.put_object(Bucket=BUCKET, Key="prod/log/checkpoint", Body=b"theirs")
                return method(**kwargs)

            return call if name == "put_object" else method

    with pytest.raises(SealingError, match="another writer"):
        publish(con, settings, Intruder(memory_s3))
    assert objects()["log/checkpoint"] == b"theirs"


# --- killed anywhere -------------------------------------------------------------------------------------------------


@pytest.fixture
def reference(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> dict[str, bytes]:
    """The dataset of a run that nobody killed."""
    publish_in(con, settings, memory_s3, home_with_bucket(memory_s3, tmp_path / "reference"))
    return dataset(objects("reference"))


def home_with_bucket(client: S3Client, home: Path) -> Path:
    """A home with the common salt, and a bucket of its name."""
    client.create_bucket(Bucket=home.name, ObjectLockEnabledForBucket=True)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "salt").write_text("5a" * 32)
    return home


def publish_in(con: duckdb.DuckDBPyConnection, settings: Settings, client: Any, home: Path) -> Publication:
    own = {"home": home, "publish_url": f"s3://{home.name}/prod"}
    return publish(con, settings.model_copy(update=own), client, report={"report.html": "complete"})


def killed_and_run_again(
    con: duckdb.DuckDBPyConnection, settings: Settings, client: Any, home: Path, number: int, *, done: bool
) -> bool:
    """True if the run was long enough to be killed at that call."""
    con.execute("DELETE FROM raw.publications")
    con.execute("DELETE FROM raw.row_versions")
    home_with_bucket(client, home)
    try:
        publish_in(con, settings, KilledClient(client, number, done=done), home)
    except Killed:
        publish_in(con, settings, client, home)
        return True
    return False


def test_killed_at_any_call_the_next_run_ends_with_the_same_bytes(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    memory_s3: S3Client,
    tmp_path: Path,
    reference: dict[str, bytes],
) -> None:
    number = 0
    # Before a call and after the one before it S3 holds the same, so each state is met once, in turns.
    while killed_and_run_again(con, settings, memory_s3, tmp_path / f"home-{number}", number, done=bool(number % 2)):
        found = objects(f"home-{number}")
        assert dataset(found) == reference, f"killed at writing call {number}"
        assert verified(found), f"killed at writing call {number}"
        assert con.execute("SELECT revision FROM raw.publications").fetchall() == [(1,)]
        assert con.execute("SELECT count(*), max(revision) FROM raw.row_versions").fetchone() == (3, 1)
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


def test_content_that_changes_after_a_run_was_killed_refills_the_unsealed_cut(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    with pytest.raises(Killed):
        publish(con, settings, KilledClient(memory_s3, 5))
    change_recording(con, 1, "no")
    insert_recording(con, 7)
    second = publish(con, settings)
    assert second.revision == 1
    found = objects()
    cut = decode_cut(found["cuts/date=2026-11-02/r0001/cut.json"])
    assert all(
        hashlib.sha256(found[f"cuts/date=2026-11-02/r0001/{file.path}"]).hexdigest() == file.sha256
        for file in cut.files
    )


def test_a_file_of_a_killed_run_that_the_cut_does_not_name_is_removed(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    left_over = "cuts/date=2026-11-02/r0001/landing/conversations/left-over.gz"
    memory_s3.put_object(Bucket=BUCKET, Key=f"prod/{left_over}", Body=b"x")
    publish(con, settings)
    assert left_over not in objects()


class KilledWhenCopying(KilledClient):
    """Dies after the cut is sealed, before the first current copy."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def copy(**kwargs: Any) -> Any:
            if kwargs["Key"].startswith(("prod/parquet/", "prod/csv/")):
                raise Killed
            return method(**kwargs)

        return copy if name == "copy_object" else method


def test_an_event_that_is_no_content_makes_no_revision_of_a_sealed_one_whose_run_was_killed(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    with pytest.raises(Killed):
        publish(con, settings, KilledWhenCopying(memory_s3), tables=TABLES)
    sealed = {key: data for key, data in objects().items() if key.startswith("cuts/")}
    insert(con, "custody.custody_events", partition_date=NIGHT, conversation_id="", recording_id="", action="exception")
    assert publish(con, settings, tables=TABLES).revision == 1
    assert {key: data for key, data in objects().items() if key.startswith("cuts/")} == sealed
    assert con.execute("SELECT revision FROM raw.publications").fetchall() == [(1,)]
    assert not list((settings.home / "publish").glob("date=*"))


def test_a_revision_that_was_sealed_but_not_recorded_stays_and_the_next_takes_the_changes(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    counting = KilledClient(memory_s3)
    publish(con, settings, counting)
    con.execute("DELETE FROM raw.publications")  # killed just before it was recorded
    con.execute("DELETE FROM raw.row_versions")
    before = objects()
    change_recording(con, 1, "no")
    second = publish(con, settings)
    found = objects()
    assert second.revision == 2
    assert {key: data for key, data in found.items() if "/r0001/" in key} == {
        key: data for key, data in before.items() if "/r0001/" in key
    }
    local = settings.home / "read.parquet"
    local.write_bytes(found["parquet/chain_of_custody/date=2026-11-02/chain_of_custody.parquet"])
    assert set(pq.read_table(local).column("revision").to_pylist()) == {2}
    assert con.execute("SELECT revision FROM raw.publications ORDER BY 1").fetchall() == [(1,), (2,)]
    assert publish(con, settings).changed is False


# --- read back -------------------------------------------------------------------------------------------------------


def test_the_copy_holds_what_s3_holds_and_only_new_files_are_fetched(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    publish(con, settings)
    folder = tmp_path / "published"
    assert all(file.fetched for file in read_back(settings, folder))
    reader = FolderReader(folder)
    assert {entry.path: read(reader, entry.path) for entry in reader.list()} == objects()
    assert not any(file.fetched for file in read_back(settings, folder))
    memory_s3.put_object(Bucket=BUCKET, Key="prod/current/date=2026-11-02.json", Body=b"{}")
    memory_s3.delete_object(Bucket=BUCKET, Key="prod/csv/gaps/date=2026-11-02/gaps.csv")
    assert [file.path for file in read_back(settings, folder) if file.fetched] == ["current/date=2026-11-02.json"]
    assert {entry.path: read(reader, entry.path) for entry in reader.list()} == objects()


def test_a_cosigned_head_is_kept_and_the_next_night_builds_on_it(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, tmp_path: Path
) -> None:
    publish(con, settings)
    keys = parse_public_keys(next((settings.home / "keys").glob("*.pub")).read_text())
    witness = Witness()
    head = objects()["log/checkpoint"]
    line = witness.line(head.partition(b"\n\n")[0] + b"\n")
    (tmp_path / "line").write_bytes(line)
    add(settings, tmp_path / "line", [witness.verifier])
    assert objects()["log/checkpoint"] == objects()["log/cosigned/4"] == head + line
    with pytest.raises(SettingsError, match="only its owner"):
        add(settings, tmp_path / "line", [witness.verifier], "s3://custody-published/other")

    change_recording(con, 1, "no")
    publish(con, settings)

    found = objects()
    assert line not in found["log/checkpoint"]
    report = verify(MemoryReader(found), Options(public_keys=keys, witnesses=[witness.verifier], quorum=0))
    assert report.status == 0, report.summary()
    assert report.valid["cosigned checkpoints"] == 1


def test_a_key_that_leads_out_of_the_folder_is_refused(settings: Settings, memory_s3: S3Client, tmp_path: Path) -> None:
    memory_s3.put_object(Bucket=BUCKET, Key="prod/../outside", Body=b"x")
    with pytest.raises(UploadError, match="cannot be a file"):
        read_back(settings, tmp_path / "published")
    assert not (tmp_path / "outside").exists()


def test_a_cut_is_timestamped_by_an_authority_that_verification_knows(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    memory_s3: S3Client,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "authority"
    folder.mkdir()
    _, root = make_authority(folder)
    with running_proxy("http://127.0.0.1:9") as authority:
        authority.answer = lambda request: Answer(200, reply_to(folder, request.body), "application/timestamp-reply")
        stamped = settings.model_copy(update={"timestamp_url": authority.url})
        publish_night(con, stamped, NIGHT, tables=TWO_TABLES, now=datetime.now(UTC))
    found, keys = objects(), public_keys(settings, [])
    assert "cuts/date=2026-11-02/r0001/cut.json.tsr" in found
    report = verify(MemoryReader(found), Options(public_keys=keys, timestamp_roots=[root]))
    assert [finding.code for finding in report.findings if finding.kind.severity is not Severity.NOTE] == []
    assert "timestamp of 2026-11-02 r0001" in report.facts
    unchecked = {finding.code for finding in verify(MemoryReader(found), Options(public_keys=keys)).findings}
    assert "TIMESTAMP_NOT_CHECKED" in unchecked


def test_a_key_is_handed_over_in_the_cuts_that_both_sign(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    memory_s3: S3Client,
    tmp_path: Path,
) -> None:
    for name in ("old", "new"):
        write_new_key(tmp_path / f"{name}.key", new_key("custody.example.com/eu"))
    old, new = (parse_public_keys((tmp_path / f"{name}.key.pub").read_text()) for name in ("old", "new"))
    files = {"signing_key_file": tmp_path / "old.key"}
    publish(con, settings.model_copy(update=files))
    change_recording(con, 0, "no")
    publish(con, settings.model_copy(update={**files, "next_signing_key_file": tmp_path / "new.key"}))
    insert_recording(con, 7)
    publish(con, settings.model_copy(update={"signing_key_file": tmp_path / "new.key"}))

    found = objects()
    folders = [f"cuts/date=2026-11-02/r{revision:04d}/" for revision in (1, 2, 3)]
    assert [f"{folder}rotation.note" in found for folder in folders] == [False, True, False]
    assert all(key.fingerprint in found[f"{folders[1]}rotation.note"].decode() for key in [*old, *new])
    # Whoever trusts the old key alone is led to the new one; without the statement nobody is.
    assert verify(MemoryReader(found), Options(public_keys=old)).status == 0
    codes = {finding.code for finding in verify(MemoryReader(found), Options(public_keys=new)).findings}
    assert codes >= {"CUT_SIGNED_BY_OTHERS"}
    altered = {**found, f"{folders[1]}rotation.note": b"altered"}
    codes = {finding.code for finding in verify(MemoryReader(altered), Options(public_keys=old)).findings}
    assert codes >= {"FILE_SIZE", "LOG_SIGNED_BY_OTHERS"}


def test_a_key_of_another_name_cannot_take_over(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    memory_s3: S3Client,
    tmp_path: Path,
) -> None:
    write_new_key(tmp_path / "new.key", new_key("custody.example.com/elsewhere"))
    with pytest.raises(SettingsError, match=r"custody key new DEMO-custody\.local"):
        publish(con, settings.model_copy(update={"next_signing_key_file": tmp_path / "new.key"}))
    assert objects() == {}
