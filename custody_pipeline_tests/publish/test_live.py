"""What is published and not sealed: the states of all nights, and the agents' names."""

from __future__ import annotations

import io
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custody_pipeline import analysis
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish import live
from custody_pipeline.publish.live import publish_live
from custody_pipeline.publish.readback import read_back
from custody_pipeline_tests.publish.homes import BUCKET
from custody_pipeline_tests.publish.memory import objects
from custody_pipeline_tests.publish.nights import NIGHT, OneNight, insert

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.settings import Settings

KEY = "live/parquet/nights/nights.parquet"
BEFORE, AFTER = NIGHT - timedelta(days=1), NIGHT + timedelta(days=1)
COLLECTED = datetime(2026, 11, 3, 2, 30)


def given_night(con: duckdb.DuckDBPyConnection, night: date, state: str, collected_at: datetime | None) -> None:
    con.execute("DELETE FROM custody.nights WHERE partition_date = ?", [night])
    given = {"state": state, "collected_at": collected_at, "completeness": "not_established"}
    insert(con, "custody.nights", partition_date=night, **given)


def published() -> dict[date, str]:
    """Night → state."""
    rows = pq.read_table(io.BytesIO(objects()[KEY])).to_pylist()
    return {row["partition_date"]: row["state"] for row in rows}


@pytest.fixture
def mine(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    given_night(con, BEFORE, "missing", None)
    given_night(con, NIGHT, "final", COLLECTED)
    insert(con, "custody.agents", partition_date=NIGHT, user_id="u-1", user_name="Ann", email="ann@example.com")
    return con


def test_nights_and_agents_are_there_for_engines_and_people_and_only_what_changed_is_put_again(
    mine: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish_live(mine, settings, NIGHT)
    agents = f"agents/date={NIGHT}/agents"
    names = [("parquet", "parquet"), ("csv", "csv"), ("spreadsheet", "xlsx")]
    assert sorted(objects()) == sorted(
        f"live/{folder}/{table}.{suffix}" for table in ("nights/nights", agents) for folder, suffix in names
    )
    assert published() == {BEFORE: "missing", NIGHT: "final"}
    assert b'"u-1","Ann","ann@example.com"' in objects()[f"live/csv/{agents}.csv"]
    publish_live(mine, settings, NIGHT)
    given_night(mine, NIGHT, "provisional", COLLECTED)
    publish_live(mine, settings, NIGHT)
    listed = memory_s3.list_object_versions(Bucket=BUCKET)["Versions"]
    put = [version["Key"].rpartition("/")[2] for version in listed]
    assert {name: put.count(name) for name in set(put)} == {
        "nights.parquet": 2, "nights.csv": 2, "nights.xlsx": 2, "agents.parquet": 1, "agents.csv": 1, "agents.xlsx": 1
    }  # fmt: skip


def test_another_homes_nights_stay_and_the_row_that_was_collected_last_counts(
    mine: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client
) -> None:
    publish_live(mine, settings, NIGHT)
    # Another home: it collected the night before, and ours again later; the night after is missing to it.
    given_night(mine, BEFORE, "open", COLLECTED)
    given_night(mine, NIGHT, "open", COLLECTED + timedelta(hours=1))
    given_night(mine, AFTER, "missing", None)
    publish_live(mine, settings, BEFORE)
    # This home again, as it was, but for a night that it collected since.
    given_night(mine, BEFORE, "missing", None)
    given_night(mine, NIGHT, "final", COLLECTED)
    given_night(mine, AFTER, "final", COLLECTED)
    publish_live(mine, settings, AFTER)
    assert published() == {BEFORE: "open", NIGHT: "open", AFTER: "final"}


def test_a_clock_that_is_behind_loses_no_night_of_another_home(
    mine: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_live(mine, settings, NIGHT)
    monkeypatch.setattr(live, "utc_now", lambda: COLLECTED - timedelta(minutes=1))
    given_night(mine, NIGHT, "missing", None)
    publish_live(mine, settings, BEFORE)
    assert published() == {BEFORE: "missing", NIGHT: "final"}


def test_a_home_that_is_faster_between_reading_and_putting_loses_nothing(
    mine: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, faster = live._get, iter([True])

    def read_then_let_another_put(client: Any, at: Any) -> Any:
        found = get(client, at)
        if next(faster, False):
            rows = pa.table({"partition_date": [AFTER], "state": ["final"], "collected_at": [COLLECTED]})
            buffer = io.BytesIO()
            pq.write_table(rows, buffer)
            client.put_object(Bucket=at.bucket, Key=at.key, Body=buffer.getvalue())
        return found

    monkeypatch.setattr(live, "_get", read_then_let_another_put)
    publish_live(mine, settings, NIGHT)
    assert published() == {BEFORE: "missing", NIGHT: "final", AFTER: "final"}
    assert objects()["live/csv/nights/nights.csv"].count(b"final") == 2


@pytest.mark.parametrize("there", ["no table", "of the future"])
def test_what_somebody_else_put_there_decides_nothing(
    mine: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, there: str
) -> None:
    buffer = io.BytesIO(b"PAR1 is what it begins with")
    if there == "of the future":
        rows = {"partition_date": [NIGHT], "state": ["missing"], "collected_at": [datetime(2999, 1, 1)], "more": [1]}
        pq.write_table(pa.table(rows), buffer)
    memory_s3.put_object(Bucket=BUCKET, Key=f"prod/{KEY}", Body=buffer.getvalue())
    publish_live(mine, settings, NIGHT)
    assert published() == {BEFORE: "missing", NIGHT: "final"}


def test_verification_names_what_is_not_sealed_and_finds_what_else_lies_there(
    mine: duckdb.DuckDBPyConnection, settings: Settings, night: OneNight, tmp_path: Path
) -> None:
    night.publish()
    publish_live(mine, settings, NIGHT)
    copy = tmp_path / "copy"
    read_back(settings, copy)
    options = Options(public_keys=public_keys(settings, []))
    intact = verify(FolderReader(copy), options)
    assert intact.status == 0, intact.summary()
    (told,) = [finding for finding in intact.findings if finding.code == "NOT_SEALED"]
    assert (told.path, told.detail) == ("live/", "6 files")
    assert analysis.table("nights", copy)["state"].to_list() == ["missing", "final"]
    assert analysis.table("nights", copy, first=NIGHT, columns=["state"])["state"].to_list() == ["final"]
    assert analysis.table("agents", copy, columns=["user_name"])["user_name"].to_list() == ["Ann"]

    others = [
        "live/notes.txt", "live/parquet/gaps/date=2026-11-02/gaps.parquet", "live/parquet/nights/more.parquet",
        f"live/parquet/agents/date={AFTER}/agents.parquet", f"live/csv/agents/date={NIGHT}/agents.parquet",
    ]  # fmt: skip
    for other in others:
        (copy / other).parent.mkdir(parents=True, exist_ok=True)
        (copy / other).write_bytes(b"")
    found = verify(FolderReader(copy), options)
    assert sorted(finding.path for finding in found.findings if finding.code == "FILE_EXTRA") == sorted(others)
    assert found.status == 1
