"""Recordings read again: those of the longest ago first, within a budget, each outcome in an append-only ledger."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from custody_pipeline.cli.evidence_commands import fixity_lines
from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.export_objects import ObjectReader
from custody_pipeline.extract.exports import collect_exports
from custody_pipeline.extract.media import collect_media
from custody_pipeline.extract.receipts import FetchFailure
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.pending_reads import media_objects
from custody_pipeline.models.run import prepare
from custody_pipeline.operations import fixity as fixity_module
from custody_pipeline.operations.fixity import FixityReport, altered_since_recheck, run_fixity
from custody_pipeline.operations.verification import BucketMedia
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline_tests.made_once import made_once

NIGHT = date(2026, 11, 2)
C1 = "11111111-1111-4111-8111-111111111111"
KEYS = [
    f"0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f/year=2026/month=11/day=2/hour=3/conversation_id={C1}/{digit * 8}"
    "-0000-4000-8000-000000000000.opus"
    for digit in "abc"
]


@pytest.fixture
def home(
    bucket: Any, moto_url: str, settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A night of three recordings of 100 bytes, hashed once and copied into a bucket of the test's own."""
    made = settings(export_url=f"s3://{bucket.name}", s3_endpoint_url=moto_url, s3_region="eu-central-1")
    versions = {key: bucket.put_object(Key=key, Body=key[-41:].encode().ljust(100)).version_id for key in KEYS}

    def collected(path: Path) -> None:
        with Collector(made, NIGHT) as collector, Warehouse(made).open() as con:
            load(con, collect_exports(collector))
            load(con, collect_media(collector, {}, media_objects(con, NIGHT)))
            # many at a time: who was first?
            con.execute("UPDATE raw.media_digests SET hashed_at = TIMESTAMP '2026-11-03'")
        shutil.copyfile(made.warehouse_path, path)

    made.home.mkdir(exist_ok=True)
    shutil.copyfile(made_once(tmp_path_factory, "hashed.duckdb", collected), made.warehouse_path)
    with Warehouse(made).open() as con:
        for table in ("export_objects", "media_digests"):
            for key, version in versions.items():
                change = f"UPDATE raw.{table} SET bucket = ?, version_id = ? WHERE object_key = ?"
                con.execute(change, [bucket.name, version, key])
    return made


def ledger(settings: Settings, columns: str = "object_key, result") -> list[Any]:
    with Warehouse(settings).open(read_only=True) as con:
        return con.execute(f"SELECT {columns} FROM raw.fixity_checks ORDER BY checked_at, object_key").fetchall()


def alter(settings: Settings, statement: str, *values: str) -> None:
    with Warehouse(settings).open() as con:
        con.execute(statement, list(values))


def test_every_object_is_read_in_turn_the_longest_unread_first(home: Settings) -> None:
    first, second, third = (run_fixity(home, budget=150) for _ in range(3))

    assert [dict(report.counts) for report in (first, second, third)] == [{"unchanged": 2}] * 3
    assert (first.bytes, first.waiting, second.waiting) == (200, 1, 1)
    read = [key for key, _ in ledger(home)]
    assert set(read[:4]) == set(read[2:]) == set(KEYS), "nothing waits for longer than a round"
    assert next(fixity_lines(first)) == "2 unchanged · 200 bytes read"


def test_a_changed_object_is_a_finding_with_both_digests(home: Settings) -> None:
    before, after = "d" * 64, hashlib.sha256(KEYS[1][-41:].encode().ljust(100)).hexdigest()
    alter(home, "UPDATE raw.media_digests SET sha256 = ? WHERE object_key = ?", before, KEYS[1])

    report = run_fixity(home)

    assert dict(report.counts) == {"unchanged": 2, "changed": 1}
    (finding,) = report.findings
    assert (finding["result"], finding["sha256_before"], finding["sha256"]) == ("changed", before, after)
    with Warehouse(home).open(read_only=True) as con:
        events = con.execute(
            "SELECT recording_id, what, sha256_before, sha256_after FROM raw.acts WHERE why = 'fixity' ORDER BY ALL"
        ).fetchall()
        assert altered_since_recheck(con) == {NIGHT: 1}
    assert events == [
        ("", "2 media objects: unchanged", None, None),
        ("bbbbbbbb-0000-4000-8000-000000000000", "media: changed", before, after),
    ]
    with Warehouse(home).open() as con:
        # The time is wrong; only the order counts.
        act = Act(NIGHT, "rechecked", "revision 1", "", "", occurred_at=datetime(2000, 1, 1))
        append_acts(con, Actor.of(home), [act])
        assert altered_since_recheck(con) == {}
    alter(home, "UPDATE raw.media_digests SET sha256 = ? WHERE object_key = ?", "e" * 64, KEYS[2])
    run_fixity(home)
    alter(home, "UPDATE raw.fixity_checks SET checked_at = TIMESTAMP '1999-01-01'")
    with Warehouse(home).open(read_only=True) as con:
        assert altered_since_recheck(con)[NIGHT] > 0


def test_a_bucket_that_this_s3_does_not_have_says_nothing_of_its_recordings(home: Settings) -> None:
    for table in ("export_objects", "media_digests"):
        alter(home, f"UPDATE raw.{table} SET bucket = 'of-another-s3'")

    report = run_fixity(home)

    assert dict(report.counts) == {"unreadable": 3}
    assert "this S3 has no such bucket; check CUSTODY_S3_ENDPOINT_URL" in str(report.findings[0]["error"])
    with pytest.raises(TargetError, match="no such bucket"):
        BucketMedia(home).sha256(f"s3://of-another-s3/{KEYS[0]}", None)


def test_an_object_that_is_gone_is_told_once(home: Settings, bucket: Any) -> None:
    (version,) = bucket.object_versions.filter(Prefix=KEYS[0])
    version.delete()

    first, second = run_fixity(home), run_fixity(home)

    assert dict(first.counts) == {"unchanged": 2, "gone": 1}
    assert first.findings[0]["uri"] == f"s3://{bucket.name}/{KEYS[0]}?versionId={version.id}"
    assert dict(second.counts) == {"unchanged": 2}


def test_a_delete_marker_hides_nothing_from_the_check(home: Settings, bucket: Any) -> None:
    bucket.Object(KEYS[0]).delete()

    assert dict(run_fixity(home).counts) == {"unchanged": 3}


def test_an_object_that_is_there_again_is_checked_again(home: Settings, bucket: Any) -> None:
    (version,) = bucket.object_versions.filter(Prefix=KEYS[0])
    version.delete()
    run_fixity(home)
    # A night that reads it again takes its digest anew.
    alter(home, "UPDATE raw.media_digests SET hashed_at = TIMESTAMP '2999-01-01' WHERE object_key = ?", KEYS[0])
    assert dict(run_fixity(home).counts) == {"unchanged": 2, "gone": 1}


def test_an_object_that_cannot_be_read_keeps_no_other_from_its_turn(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: ObjectReader, resource: str, key: str, *_: object, **__: object) -> FetchFailure:
        return FetchFailure(resource, key, "access denied; allow s3:GetObjectVersion", 403, "AccessDenied")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectReader, "digest", refused)
        report = run_fixity(home, budget=1)
    assert dict(report.counts) == {"unreadable": 1}
    assert (report.bytes, report.waiting) == (0, 3)
    assert "allow s3:GetObjectVersion" in next(fixity_lines(report))

    for _ in KEYS:
        run_fixity(home, budget=1)
    assert ledger(home) == [(KEYS[0], "unreadable"), *((key, "unchanged") for key in (*KEYS[1:], KEYS[0]))]


def test_the_command_ends_with_the_status_of_what_it_found(
    home: Settings,
    bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
    custody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    for name in ("home", "export_url", "s3_endpoint_url", "s3_region"):
        monkeypatch.setenv(f"CUSTODY_{name.upper()}", str(getattr(home, name)))

    def fixity(*arguments: str) -> tuple[int, str]:
        ran = custody("fixity", *arguments)
        return ran.returncode, ran.stdout

    assert fixity() == (0, "3 unchanged · 300 bytes read\n")
    (version,) = bucket.object_versions.filter(Prefix=KEYS[0])
    version.delete()
    status, text = fixity("--json")
    found = json.loads(text)
    assert (status, found["counts"], found["findings"][0]["result"]) == (1, {"gone": 1, "unchanged": 2}, "gone")
    assert fixity("--bytes", "0")[0] == 64


def test_without_a_bucket_or_objects_nothing_is_checked(settings: Callable[..., Settings], home: Settings) -> None:
    with pytest.raises(SettingsError, match="CUSTODY_EXPORT_URL"):
        run_fixity(settings(export_url=None))
    report = run_fixity(home, budget=0)
    assert report == FixityReport(waiting=3, oldest=report.oldest)
    off, waiting = fixity_lines(report)
    assert "CUSTODY_FIXITY_BYTES is 0" in off
    assert waiting.startswith("3 objects wait")
    assert list(fixity_lines(FixityReport())) == ["nothing was due · 0 bytes read"]


def test_nights_that_the_budget_does_not_reach_are_told(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    several = settings(export_url="s3://exports").model_copy(update={"nights_url": "s3://nights"})
    nights = [date(2026, 11, day) for day in (1, 2, 3)]
    monkeypatch.setattr(fixity_module, "_nights_by_check", lambda _: nights)
    monkeypatch.setattr(fixity_module, "warehouse_of", lambda _, night: night)
    monkeypatch.setattr(fixity_module, "_checked", lambda *_: FixityReport(Counter(unchanged=1), bytes=100))
    report = run_fixity(several, budget=100)
    assert (report.counts["unchanged"], report.nights_waiting) == (1, 2)
    assert list(fixity_lines(report))[-1] == "nights that were not reached: 2"
    assert run_fixity(several, budget=1000).nights_waiting == 0


def test_a_night_of_which_everything_changed_waits_for_its_turn(settings: Callable[..., Settings]) -> None:
    with Warehouse(settings()).open() as con:
        prepare(con)
        for day in (1, 2):
            con.execute("INSERT INTO raw.publications BY NAME SELECT ?::DATE AS partition_date", [date(2026, 11, day)])
        con.execute(
            "INSERT INTO raw.fixity_checks BY NAME SELECT DATE '2026-11-01' AS partition_date, 'changed' AS result, "
            "TIMESTAMP '2026-11-05' AS checked_at"
        )
        nights = con.execute(query("fixity/nights_by_last_check")).fetchall()
    assert [night.day for (night,) in nights] == [2, 1]
