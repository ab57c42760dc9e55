"""The night as a whole: counts that add up, repetition that changes nothing, revisions, states."""

from __future__ import annotations

import json

from custody_pipeline.warehouse import row_versions
from custody_pipeline_tests.sql.conftest import HEALTHY_AGENT, Night


def balance(night: Night) -> dict[str, tuple[int, int, int, int]]:
    names = ("expected", "present", "explained", "unexplained")
    return {row["source"]: tuple(row[name] for name in names) for row in night.table("reconciliation")}


def publish(night: Night, revision: int) -> None:
    """What publishing writes back."""
    night.insert("publications", [{"revision": revision, "published_at": "2026-11-09 00:00:00", "complete": True}])
    night.insert(
        "row_versions",
        [
            {
                "conversation_id": row.conversation_id, "recording_id": row.recording_id,
                "row_sha256": row.row_sha256, "revision": row.revision,
            }
            for row in row_versions(night.con, night.day)
        ],
    )  # fmt: skip


def test_an_empty_night_has_every_table_and_every_source(night: Night) -> None:
    night.run()
    assert night.table("chain_of_custody") == []
    assert set(balance(night).values()) == {(0, 0, 0, 0)}
    assert len(balance(night)) == 11
    for name in (
        "row_conservation",
        "no_unexplained_recording",
        "digests_present",
        "header_complete",
        "schema_unchanged",
    ):
        assert night.check(name) == []


def test_expected_is_present_plus_explained(night: Night) -> None:
    night.call()
    night.call("c2", "r2")
    night.drop("export_objects", recording_id="r2")
    night.drop("export_sidecars", key_recording_id="r2")
    night.metadata("c2", {"recording_id": "r2"})
    night.rows["export_objects"].append(
        {"bucket": "exports", "object_key": "notes.txt", "is_latest": True, "is_delete_marker": False,
         "object_role": "other", "key_finding": "unrecognised", "object_bytes": 3}
    )  # fmt: skip
    night.run()
    found = balance(night)
    assert found["recordings"] == (2, 1, 1, 0)
    assert found["details_sessions"] == (2, 1, 1, 0)
    assert found["recording_metadata"] == (1, 0, 1, 0)
    assert found["bucket_keys"] == (3, 2, 1, 0)
    detail = {row["source"]: json.loads(row["detail"]) for row in night.table("reconciliation")}
    assert detail["recordings"] == {"OBJECT_MISSING": 1}


def test_overlapping_jobs_count_a_recording_once(night: Night) -> None:
    night.call()
    night.job()
    night.job(job_id="j2", requested_at="2026-11-03 05:00:00")
    night.run()
    assert balance(night)["export_jobs"] == (1, 1, 0, 0)
    assert night.row()["export_job_id"] == "j2"


def test_checks_notice_what_was_tampered_with(night: Night) -> None:
    night.call()
    night.run()
    night.con.execute("UPDATE custody.chain_of_custody SET media_sha256 = NULL, custom_data_state = 'empty'")
    assert [row["recording_id"] for row in night.check("digests_present")] == ["r1"]
    assert [row["source"] for row in night.check("no_unexplained_recording")] == ["chain_of_custody"]
    night.con.execute("INSERT INTO custody.chain_of_custody SELECT * FROM custody.chain_of_custody")
    assert [row["in_custody"] for row in night.check("row_conservation")] == [2]
    night.con.execute("ALTER TABLE custody.chain_of_custody DROP COLUMN custom_data_summary")
    assert [row["column_name"] for row in night.check("header_complete")] == ["custom_data_summary"]
    night.con.execute("ALTER TABLE custody.chain_of_custody ALTER object_bytes TYPE VARCHAR")
    assert "object_bytes" in [row["column_name"] for row in night.check("schema_unchanged")]


def test_collecting_the_same_again_changes_no_row(night: Night) -> None:
    night.transfer(HEALTHY_AGENT, {"Disposition": "Escalated"})
    night.single()
    night.metadata("c1", {"recording_id": "r1"}, {"recording_id": "r2"})
    night.call("c3", "r3")
    night.drop("conversation_details", conversation_id="c3")
    night.refuse(503, "c3")
    night.run()
    tables = ("chain_of_custody", "custom_data", "gaps", "custody_events", "reconciliation")
    before = {name: night.table(name) for name in tables}
    digest = night.sha256()
    night.run()
    assert {name: night.table(name) for name in tables} == before
    assert night.sha256() == digest


def test_publishing_is_no_reason_to_publish_again(night: Night) -> None:
    night.call()
    night.run()
    digest = night.sha256()
    publish(night, 1)
    night.run()
    assert night.sha256() == digest
    assert night.row()["revision"] == 1
    assert [row["action"] for row in night.table("custody_events")][-1] == "published"


def test_a_row_keeps_its_revision_until_its_content_changes(night: Night) -> None:
    night.call()
    night.call("c2", "r2")
    night.run()
    digest = night.sha256()
    publish(night, 1)
    night.single("c2", agent={**HEALTHY_AGENT, "Disposition": "Escalated"})
    night.run()
    assert night.sha256() != digest
    assert {name: night.row(name)["revision"] for name in ("r1", "r2")} == {"r1": 1, "r2": 2}
    publish(night, 2)
    night.run()
    assert {name: night.row(name)["revision"] for name in ("r1", "r2")} == {"r1": 1, "r2": 2}


def test_rows_of_a_load_without_a_receipt_are_not_seen(night: Night) -> None:
    night.call()
    night.run()
    before = night.sha256()
    night.con.execute(
        "INSERT INTO raw.export_objects "
        "SELECT * REPLACE ('killed' AS landing_id, 'r9' AS recording_id) FROM raw.export_objects"
    )
    night.model()
    assert night.sha256() == before


def test_a_failed_load_leaves_the_earlier_one_current(night: Night) -> None:
    night.call()
    night.run()
    before = night.table("chain_of_custody")
    night.insert(
        "extraction_receipts",
        [{"landing_id": "999", "resource": "conversation_details", "receipt_state": "failed"}],
    )
    night.model()
    assert night.table("chain_of_custody") == before


def test_events_tell_what_happened_in_order_with_hashes(night: Night) -> None:
    night.call()
    night.run()
    night.sidecar()["duration_ms"] = 1
    night.run()
    events = night.table("custody_events")
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["action"] for event in events] == ["exported", "hashed", "collected", "collected", "changed"]
    changed = events[-1]
    assert changed["sha256_before"] != changed["sha256_after"]
    assert changed["sha256_before"] in {event["sha256_after"] for event in events[:-1]}
    assert all(event["who"] and event["how"] and event["occurred_at"] for event in events)


def test_a_night_is_open_then_provisional_then_final(night: Night) -> None:
    def state() -> str:
        night.run()
        return night.table("nights")[0]["state"]

    night.call()
    night.watermark = "2026-11-02 23:00:00"
    assert state() == "open"
    night.watermark = "2026-11-03 00:00:00"
    assert state() == "final"
    night.drop("export_objects", object_role="sidecar")
    night.rows["export_sidecars"].clear()
    assert state() == "provisional"


def test_a_bucket_alone_still_gives_the_dataset(night: Night) -> None:
    night.call()
    night.export("c2", "r2", folder="month=11/day=02")
    night.api = False
    night.run()
    assert [row["gap_reasons"] for row in night.table("chain_of_custody")] == [["SOURCE_NOT_CONFIGURED"]] * 2
    assert {name: night.check(name) for name in ("row_conservation", "no_unexplained_recording")} == {
        "row_conservation": [],
        "no_unexplained_recording": [],
    }
    assert night.table("nights")[0]["unexplained"] == 0


def test_a_production_is_an_event_of_its_recording(night: Night) -> None:
    night.call()
    night.run()
    ids = {name: night.table("chain_of_custody")[0][name] for name in ("conversation_id", "recording_id")}
    produced = {"produced_at": "2026-11-09 00:00:00", "operator": "counsel", "reason": "request 4", "place": "/cases/4"}
    night.insert("productions", [{**ids, **produced, "tool_version": "1", "package_sha256": "ab"}])
    night.model()
    events = [row for row in night.table("custody_events") if row["action"] == "packaged"]
    assert [(row["who"], row["why"], row["where_at"]) for row in events] == [("counsel", "request 4", "/cases/4")]
