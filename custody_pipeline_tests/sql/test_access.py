"""Who listened: the vendor's audits as rows of custody.access_events."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from custody_pipeline.warehouse.sql_files import query
from custody_pipeline_tests.sql.conftest import together

if TYPE_CHECKING:
    from custody_pipeline_tests.sql.conftest import Night, Parts


@together
def test_an_entry_says_who_did_what_to_which_recording_and_from_where(night: Night) -> Parts:
    night.call()
    night.rows["users"].append({"user_id": "reviewer", "user_name": "Rae Viewer", "email": "rae@example.com"})
    changed = {"property": "deleteDate", "old_values": ["2027-01-01"], "new_values": ["2026-11-03"]}
    night.audit("Download")
    night.audit("UpdateRetention", property_changes=[changed])
    night.audit("Read", recording="gone")
    night.audit("Read", recording="other", conversation="of another night")
    yield
    yield
    tomorrow = night.day + timedelta(days=1)
    found = [(row["recording_id"], row["action"], row["user_name"], row["from_ips"], row["changes"])
             for row in night.table("access_events")]  # fmt: skip
    assert found == [
        ("gone", "viewed", "Rae Viewer", ["192.0.2.10"], None),
        ("r1", "downloaded", "Rae Viewer", ["192.0.2.10"], None),
        ("r1", "retention_changed", "Rae Viewer", ["192.0.2.10"],
         f'[{{"property":"deleteDate","old_values":["2027-01-01"],"new_values":["{tomorrow}"]}}]'),
    ]  # fmt: skip
    (agent,) = night.table("agents")
    assert (agent["user_id"], agent["user_name"]) == ("c1-user-1", None)


@together
def test_what_the_collecting_client_does_is_no_reason_to_publish_again(night: Night) -> Parts:
    night.call()
    yield
    before = night.sha256()
    night.audit("Read", client_id="client-1")
    yield
    assert [row["is_own_collection"] for row in night.table("access_events")] == [True]
    assert night.sha256() == before
    night.audit("Export")
    yield
    assert night.sha256() != before


@together
def test_a_deletion_in_the_audits_is_the_evidence_of_a_deleted_recording(night: Night) -> Parts:
    night.call()
    night.rows["export_objects"].clear()
    night.rows["export_sidecars"].clear()
    night.metadata("c1")
    night.audit("Delete", "r9")
    yield
    gap = night.gap("RECORDING_DELETED")
    assert f"the vendor's audit says that it was deleted at {night.day} 12:00:00 UTC" in gap["detail"]
    (proof,) = [item for item in gap["evidence"] if item["what"] == "recording_audits document"]
    assert proof["sha256"] == night.table("access_events")[0]["document_sha256"]


@together
def test_the_deletion_of_an_annotation_does_not_explain_a_lost_recording(night: Night) -> Parts:
    night.call()
    night.rows["export_objects"].clear()
    night.rows["export_sidecars"].clear()
    night.metadata("c1")
    night.audit("Delete", "note", entity_type="RecordingAnnotation")
    yield
    assert night.reasons() == {"RECORDING_NOT_FOUND"}


@together
def test_an_entry_that_names_no_conversation_belongs_to_no_recording_without_one(night: Night) -> Parts:
    night.call()
    night.rows["orphan_recordings"].append({"orphan_id": "o1"})
    night.audit("Update", recording="policy", conversation="", entity_type="RecordingSettings")
    yield
    assert night.table("access_events") == []


def test_an_entry_about_a_conversation_counts_for_each_of_its_recordings(night: Night) -> None:
    night.call()
    night.audit("Read", entity_id=None)
    night.run()
    night.con.execute("CREATE TEMP TABLE asked AS SELECT 'c1' AS c, unnest(['r1', 'r2']) AS r")
    ((who, action, recordings, *_),) = night.execute(query("matters/accesses")).fetchall()
    assert (who, action, recordings) == ("reviewer", "viewed", 2)
