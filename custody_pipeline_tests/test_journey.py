"""The whole night from the user's side: `custody demo`, then the commands and files that it names."""

import collections
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bagit
import dagster as dg
import duckdb
import pandas
import pyarrow.parquet
import pytest

from custody_pipeline import analysis
from custody_pipeline.defs.instance import open_instance
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.operations.packaging import package
from custody_pipeline.operations.verification import verify_target
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.demo import DEMO_ORGANIZATION, demo_environment
from custody_pipeline.simulator.events import Watch
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.content_hash import LIVE_TABLES, NO_CONTENT, PUBLISHED_TABLES
from custody_pipeline_tests.forked import run_custody
from custody_pipeline_tests.proxy import Answer, running_proxy
from custody_pipeline_tests.simulator.answer_keys import vanishing_id, watched

pytestmark = pytest.mark.server

NIGHT = date(2026, 11, 2)
SIZE = 120  # the smallest with every planted reason


@dataclass(frozen=True)
class Home:
    """A home after its demo."""

    path: Path
    result: dict[str, Any]

    def custody(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return custody(self.path, *arguments)


def custody(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CUSTODY_", "AWS_", "DAGSTER_"))}
    told = {**clean, "CUSTODY_HOME": str(home), **environment}
    with tempfile.TemporaryDirectory() as folder:
        return run_custody(*arguments, environment=told, output=Path(folder, "told"), umask=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    ran = custody(path, "demo", "--size", str(SIZE), "--profile", "--json")
    assert ran.returncode == 0, ran.stderr
    return Home(path, json.loads(ran.stdout))


def test_a_profiled_night_explains_its_seconds_rows_and_requests(home: Home) -> None:
    result = home.result
    found = json.loads(Path(result["profile_path"]).read_text())
    assert found == result["profile"]
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert {"start", "exports", "details", "conversations", "media", "model_staging", "publish", "end"} <= set(stages)
    assert sum(stage["seconds"] for stage in found["stages"]) == pytest.approx(found["seconds"])
    assert found["peak_memory"] == max(stage["peak_memory"] for stage in found["stages"])
    assert {part["name"] for part in stages["exports"]["parts"]} >= {"export_objects", "export_sidecars"}
    assert "custody/chain_of_custody" in {part["name"] for part in stages["model_custody"]["parts"]}

    with duckdb.connect(str(home.path / "warehouse.duckdb"), read_only=True) as con:
        receipts = con.execute(
            'SELECT sum(requests), sum(retries), sum("rows") FROM raw.extraction_receipts'
        ).fetchone()
    collected = [stage for stage in stages.values() if stage["requests"] is not None]
    assert receipts == tuple(sum(stage[name] for stage in collected) for name in ("requests", "retries", "rows"))
    published = sum(file["bytes"] for file in result["summary"]["files"])
    assert stages["publish"]["bytes"] == published

    with open_instance(Settings(home=home.path)) as instance:
        seen = instance.fetch_observations(dg.AssetKey(["published", "cut"]), limit=1).records[0].asset_observation
        details = instance.fetch_observations(dg.AssetKey(["raw", "conversation_details"]), limit=1).records[0]
    assert seen is not None
    assert seen.partition == str(NIGHT)
    assert str(seen.metadata["profile: timeline"].value).startswith("![Timeline")
    assert details.asset_observation is not None
    assert details.asset_observation.metadata["profile: stage requests"].value == stages["details"]["requests"]


def test_every_planted_fault_is_found_with_its_reason_and_no_other(home: Home) -> None:
    watch = Watch.of_the_vanishing_tag(Organization(seed=7, night=NIGHT, size=SIZE))
    assert watch is not None
    planted = set(watched(watch))
    with duckdb.connect(str(home.path / "analyst.duckdb"), read_only=True) as con:
        found = set(con.execute("SELECT conversation_id, recording_id, reason FROM custody.gaps").fetchall())
    confusion = collections.Counter((row[2], "missed") for row in planted - found)
    confusion.update((row[2], "invented") for row in found - planted)
    print(f"{len(planted & found)} of {len(planted)} found; {dict(confusion)}")
    assert not confusion
    assert len({row[2] for row in planted}) > 30


def test_only_the_owner_can_read_what_a_night_leaves(home: Home) -> None:
    """Warehouse, snapshot, landing files, captures, spool, Dagster's history: started with a umask of 0.

    The bucket is the simulated vendor's.
    """
    left = [path for path in home.path.rglob("*") if not path.is_symlink() and "s3" not in path.parts]
    assert len(left) > 100
    assert [path for path in left if path.stat().st_mode & 0o077] == []


def test_expected_is_present_plus_explained_to_the_last_recording(home: Home) -> None:
    summary = home.result["summary"]
    assert summary["expected"] == summary["recordings"] == summary["present"] + summary["explained"]
    assert summary["unexplained"] == 0
    assert summary["completeness"] == "not_established"
    assert summary["not_whole"]["conversation_details"] == "partial"
    # The roles do not cover a division. The job may have tags of a refused conversation that were set again later.
    assert {"divisions"} <= summary["not_whole"].keys() <= {"conversation_details", "conversations", "divisions"}


@pytest.mark.parametrize("table", PUBLISHED_TABLES)
def test_parquet_and_csv_hold_the_same_rows_with_every_mapped_column(home: Home, table: str) -> None:
    folder = home.path / "published"
    parquet = pyarrow.parquet.read_table(folder / f"parquet/{table}/date={NIGHT}/{table}.parquet", partitioning=None)
    with (folder / f"csv/{table}/date={NIGHT}/{table}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == parquet.column_names
    assert len(rows) - 1 == parquet.num_rows
    if table == "chain_of_custody":
        mapped = load_mapping(Settings.model_fields["mapping_path"].default).output_columns
        assert set(mapped) <= set(rows[0])
        assert parquet.num_rows == home.result["summary"]["recordings"]


@pytest.mark.parametrize("name", [*PUBLISHED_TABLES, *LIVE_TABLES])
def test_a_notebook_reads_the_same_table_from_the_files_and_from_the_snapshot(home: Home, name: str) -> None:
    from_files = analysis.table(name, home.path / "published")
    from_snapshot = analysis.table(name, home.path / "analyst.duckdb", first=NIGHT, last=NIGHT)
    order = [str(column) for column in from_files if column != "sequence"]
    if name == "custody_events":  # the snapshot goes on: it has what was done to the files afterwards
        from_files, from_snapshot = (frame[~frame.action.isin(NO_CONTENT)] for frame in (from_files, from_snapshot))
    whole, same = (
        frame[order].astype(str).sort_values(order, ignore_index=True) for frame in (from_files, from_snapshot)
    )
    assert len(whole)
    pandas.testing.assert_frame_equal(whole, same)
    assert {kind for kind in from_files.dtypes.astype(str) if kind.startswith(("int", "float"))} == set()
    before = analysis.table(name, home.path / "published", last=NIGHT - timedelta(days=1), columns=order[:2])
    assert (len(before), before.columns.to_list()) == (0, order[:2])


def test_a_notebook_is_told_what_is_not_there(home: Home, tmp_path: Path) -> None:
    for source in (home.path / "published", home.path / "analyst.duckdb"):
        with pytest.raises(ValueError, match="no_such_column"):
            analysis.table("gaps", source, columns=["no_such_column"])
    with pytest.raises(ValueError, match="no table 'recordings' is published"):
        analysis.table("recordings", home.path / "published")
    with pytest.raises(FileNotFoundError, match=re.escape("holds no parquet/gaps/date=…")):
        analysis.table("gaps", tmp_path)
    with pytest.raises(FileNotFoundError, match="is not there"):
        analysis.table("gaps", tmp_path / "analyst.duckdb")


def test_the_copy_read_back_verifies_offline_and_a_changed_byte_does_not(home: Home, tmp_path: Path) -> None:
    (key,) = (home.path / "keys").glob("*.pub")
    copy = (str(home.path / "published"), "--key", str(key))
    intact = home.custody("verify", *copy, "--json")
    assert intact.returncode == 0, intact.stdout

    victim = home.path / f"published/csv/gaps/date={NIGHT}/gaps.csv"
    before = victim.read_bytes()
    victim.write_bytes(before[:-1] + b"!")
    try:
        altered = home.custody("verify", *copy)
    finally:
        victim.write_bytes(before)
    assert altered.returncode == 1
    assert "COPY_DIFFERS" in altered.stdout
    assert home.custody("verify", str(tmp_path)).returncode == 2


def test_one_record_is_proven_without_the_others(home: Home, tmp_path: Path) -> None:
    with duckdb.connect(str(home.path / "analyst.duckdb"), read_only=True) as con:
        found = con.execute("SELECT recording_id FROM custody.chain_of_custody ORDER BY 1 LIMIT 1").fetchone()
    assert found is not None
    written = home.custody("prove", found[0], "--output", str(tmp_path))
    assert written.returncode == 0, written.stderr
    proof = written.stdout.strip()
    assert home.custody("verify", proof).returncode == 2  # a copy says nothing about whose key is the right one
    (key,) = (home.path / "keys").glob("*.pub")
    assert home.custody("verify", proof, "--key", str(key)).returncode == 0


def test_a_tag_that_was_gone_before_the_night_is_published_with_the_proof_of_when_it_was_seen(home: Home) -> None:
    organization = Organization(seed=7, night=NIGHT, size=SIZE)
    caught = home.result["caught"]
    assert caught["conversation_id"] == vanishing_id(organization)
    with duckdb.connect(str(home.path / "warehouse.duckdb"), read_only=True) as con:
        bound = [caught["conversation_id"]]
        nightly = con.execute(
            "SELECT participants FROM staging.conversations WHERE key_conversation_id = ?", bound
        ).fetchall()
        (uri,) = con.execute(
            "SELECT source_uri FROM raw.captures WHERE conversation_id = ? ORDER BY observed_at LIMIT 1", bound
        ).fetchone() or ("",)
    assert nightly
    assert not any("Legal-Hold" in leg["attributes"] for (legs,) in nightly for leg in legs)

    document = (home.path / "captures" / uri).read_bytes()
    assert hashlib.sha256(document).hexdigest() == caught["sha256"]
    assert any(leg["attributes"].get("Legal-Hold") == "true" for leg in json.loads(document)["participants"])

    folder = home.path / f"published/parquet/chain_of_custody/date={NIGHT}"
    rows = pyarrow.parquet.read_table(folder / "chain_of_custody.parquet", partitioning=None).to_pylist()
    published = [row for row in rows if row["conversation_id"] == caught["conversation_id"]]
    assert sorted(row["recording_id"] for row in published) == caught["recordings"]
    assert {row["custom_data_legal_hold"] for row in published} == {"true"}
    assert {json.loads(row["custom_data_source"])["Legal-Hold"] for row in published} == {"capture"}
    assert {row["custody_status"] for row in published} == {"complete"}
    links = home.path / f"captures/links/date={NIGHT}/conversation_id={caught['conversation_id']}"
    for row in published:
        link = json.loads((links / f"{row['recording_id']}.json").read_bytes())
        assert link["audio"]["sha256"] == row["media_sha256"]
        assert link["capture"]["observed_at"] == caught["gone_at"]
    assert caught["seen_at"] < caught["gone_at"]
    assert caught["still_there"] is False

    story = " ".join(home.custody("explain", caught["recordings"][0]).stdout.split())
    assert re.search(r"→ capture [0-9: -]+, gone", story)
    assert re.search(r'TAG_VANISHED.*"Legal-Hold": seen until .* \(capture\), gone by ', story)


def test_explain_tells_the_story_of_a_recording_with_a_gap(home: Home) -> None:
    with duckdb.connect(str(home.path / "analyst.duckdb"), read_only=True) as con:
        found = con.execute("SELECT recording_id FROM custody.gaps WHERE reason = 'TAG_NEVER_SET' LIMIT 1").fetchone()
    assert found is not None
    story = home.custody("explain", found[0].upper())
    assert story.returncode == 0, story.stderr
    for part in (
        "Timeline", "Sources", "bulk analytics job (details): no tag", "single read (conversation): no tag",
        "recording interface: no document",
        "TAG_NEVER_SET", "proof:", "recoverable:",
    ):  # fmt: skip
        assert part in story.stdout
    assert json.loads(home.custody("explain", found[0], "--json").stdout)["recordings"]
    assert home.custody("explain", "nobody-knows-this").returncode == 2


def test_gaps_and_status_list_the_night(home: Home) -> None:
    listed = home.custody("gaps", "--date", str(NIGHT), "--reason", "TAG_CONFLICT", "--csv")
    assert {row["reason"] for row in csv.DictReader(listed.stdout.splitlines())} == {"TAG_CONFLICT"}
    never = home.custody("gaps", "--date", "2026-10-01", "--csv")
    assert (never.returncode, never.stdout) == (2, "")
    unknown = home.custody("gaps", "--reason", "TAG_LOST")
    assert (unknown.returncode, "the nearest is TAG_CONFLICT" in unknown.stderr) == (64, True)
    nights = json.loads(home.custody("status", "--json").stdout)
    assert [(night["night"], night["state"]) for night in nights] == [(str(NIGHT), "open")]


def test_running_the_night_again_publishes_nothing_even_after_it_was_verified(home: Home) -> None:
    verified = home.custody("verify")
    assert (verified.returncode, "Verification of s3://" in verified.stdout) == (0, True)
    before = sealed_files(home)
    again = home.custody("demo", "--size", str(SIZE), "--json")
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert result["summary"]["revision"] == 1
    after = sealed_files(home)
    assert {str(path) for path in after} == {str(path) for path in before}
    assert after == before
    events = {action: (what, why) for action, what, why in of_the_night(home, "action, what, why")}
    assert set(events) == {"published", "verified", "rechecked"}
    assert events["verified"] == ("revision 1: as sealed (with a DEMO key)", "verification")
    assert events["rechecked"] == ("revision 1: nothing changed", "run again")
    (found,) = of_the_night(home, "sha256_before = sha256_after, length(sha256_after)", "verified")[:1]
    assert found == (True, 64)


def sealed_files(home: Home) -> dict[Path, bytes]:
    """The published files, without unsealed ones, which contain the time of the last collection."""
    there = (path for path in (home.path / "published").rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in there if (home.path / "published/live") not in path.parents}


def of_the_night(home: Home, columns: str, action: str = "%") -> list[tuple[Any, ...]]:
    """Events of the night as a whole that analysts see."""
    with duckdb.connect(str(home.path / "analyst.duckdb"), read_only=True) as con:
        return con.execute(
            f"SELECT {columns} FROM custody.custody_events WHERE conversation_id = '' AND action LIKE ?", [action]
        ).fetchall()


def test_every_event_names_who_did_what_when_where_why_and_how(home: Home) -> None:
    with duckdb.connect(str(home.path / "analyst.duckdb"), read_only=True) as con:
        unfilled = con.execute(
            "SELECT action, count(*) FROM custody.custody_events "
            "WHERE list_count([who, what, occurred_at::VARCHAR, where_at, why, how]) < 6 "
            "OR action NOT IN ('exported', 'tagged', 'deleted') AND (operator IS NULL OR tool_version IS NULL) "
            "GROUP BY ALL"
        ).fetchall()
        actions = {row[0] for row in con.execute("SELECT DISTINCT action FROM custody.custody_events").fetchall()}
        joined = con.execute("""
            SELECT count(*) FROM custody.chain_of_custody AS c
            ANTI JOIN custody.custody_events AS e
                ON e.recording_id = c.recording_id AND e.action = 'joined' AND e.sha256_after = c.row_sha256
        """).fetchone()
    assert unfilled == []
    assert actions >= {"exported", "collected", "hashed", "joined", "published", "exception"}
    assert joined == (0,)


def test_a_whole_night_is_packaged_with_a_list_of_what_is_missing_and_why(home: Home, tmp_path: Path) -> None:
    with duckdb.connect(str(home.path / "analyst.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT recording_id, object_uri, sidecar_uri, media_sha256, sidecar_sha256, gap_reasons "
            "FROM custody.chain_of_custody ORDER BY recording_id"
        ).fetchall()
    whole = [row for row in rows if row[3] and row[4] and not row[5]]
    unreadable = (urlsplit(whole[0][1]).path, urlsplit(whole[1][2]).path)
    folder = tmp_path / "night"
    with demo_environment(home.path, replace(DEMO_ORGANIZATION, size=SIZE), lambda _: None) as settings:
        assert settings.s3_endpoint_url is not None
        with running_proxy(settings.s3_endpoint_url) as s3:
            s3.answer = lambda request: Answer(403) if request.path.endswith(unreadable) else None
            behind = settings.model_copy(update={"s3_endpoint_url": s3.url})
            target = str(settings.publish_url)
            result = package(behind, target, folder, recordings=None, night=NIGHT, reason="request 4")
            report = verify_target(settings, str(folder), keys=sorted((settings.home / "keys").glob("*.pub")))
    lacking = {"audio": sum(not row[3] for row in rows), "documents": sum(not row[4] for row in rows)}
    assert lacking["audio"] > 5
    # The sidecar that could not be read again is in the cut, as it was received.
    assert (result["recordings"], result["lost"]) == (len(rows), 1)
    assert result["without"] == {**lacking, "audio": lacking["audio"] + 1}
    missing = json.loads((folder / "data/missing.json").read_bytes())
    assert all(item["why"] or item["gap_reasons"] for item in missing if item["kind"] == "audio")
    (lost,) = [item for item in missing if item["why"]]
    assert (lost["recording_id"], lost["sha256"]) == (whole[0][0], whole[0][3])
    assert {row[4] for row in rows if row[4]} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "data/documents").iterdir()
    }
    assert report.status == 2
    weighty = [finding.code for finding in report.findings if finding.kind.severity is not Severity.NOTE]
    assert weighty == ["PACKAGE_INCOMPLETE"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library leaves files open, and calls re.sub in an old way
        bagit.Bag(str(folder)).validate()
    packaged = "SELECT count(*) FROM custody.custody_events WHERE action = 'packaged' AND why = 'request 4'"
    with duckdb.connect(str(home.path / "warehouse.duckdb"), read_only=True) as con:
        assert con.execute(packaged).fetchone() == (len(rows),)


def test_a_wrong_or_missing_setting_is_refused_before_any_work(tmp_path: Path) -> None:
    missing = custody(tmp_path, "run", "--date", str(NIGHT))
    assert missing.returncode == 64
    assert "CUSTODY_EXPORT_URL" in missing.stderr
    assert "s3://" in missing.stderr

    places = {"CUSTODY_EXPORT_URL": "s3://exports", "CUSTODY_PUBLISH_URL": "s3://dataset"}
    for name, value in (
        ("CUSTODY_EXPORT_URL", "not-a-url"),
        ("CUSTODY_LOCK_MODE", "FOREVER"),
        ("CUSTODY_ALERT_SERVICENOW_URL", "https://acme.service-now.com"),
    ):
        wrong = custody(tmp_path, "run", "--date", str(NIGHT), **(places | {name: value}))
        assert wrong.returncode == 64, wrong.stderr
        assert name in wrong.stderr
    assert not list(tmp_path.iterdir())

    assert custody(tmp_path, "run", "--date", "yesterday").returncode == 64


def test_what_a_person_asks_often_is_answered_without_pandas(home: Home) -> None:
    """DuckDB imports it when a value is bound: half of the time of these commands."""
    for arguments in (("status",), ("gaps", "--date", str(NIGHT)), ("explain", "0" * 8)):
        command = [sys.executable, "-X", "importtime", "-m", "custody_pipeline", *arguments]
        environment = {**os.environ, "CUSTODY_HOME": str(home.path)}
        asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        imported = {line.rpartition("|")[2].strip() for line in asked.stderr.splitlines()}
        assert "duckdb" in imported, asked.stderr
        assert not imported & {"numpy", "pandas.core"}


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'dagster', 'dlt', 'duckdb', 'boto3', 'pandas', 'pyarrow', 'pydantic'} & set(sys.modules)"
    code = f"""
import atexit, sys
atexit.register(lambda: print({heavy} or 'light'))
sys.argv = ["custody", "--help"]
from custody_pipeline.cli.main import main
main()
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "light"
