"""What the vendor's list of all recordings adds: recordings that no other source names."""

from __future__ import annotations

import pytest

from custody_pipeline_tests.sql.conftest import Night, Parts, together


@pytest.mark.parametrize(
    ("status", "reason"),
    [(None, "RECORDING_NOT_FOUND"), (404, "RECORDING_NOT_FOUND"), (403, "CONVERSATION_FORBIDDEN"),
     (503, "CONVERSATION_FETCH_FAILED")],
)  # fmt: skip
@together
def test_a_recording_that_only_the_list_names_has_a_row_with_a_reason(
    night: Night, status: int | None, reason: str
) -> Parts:
    night.call()
    night.listed("r1")
    night.listed("r2", "hidden")
    if status is None:
        night.metadata("hidden")
    else:
        night.refuse(status, "hidden", "recording_metadata")
        night.refuse(status, "hidden")
    yield
    gap = night.gap(reason)
    assert (gap["conversation_id"], gap["recording_id"], gap["severity"]) == ("hidden", "r2", "error")
    assert gap["detail"].startswith(f"the list of all recordings has it, created at {night.day} 10:00:10 UTC; ")
    assert gap["evidence"][0]["what"] == "listed_recordings document"
    assert night.row("r2")["custody_status"] == "gap"
    assert night.row("r1")["custody_status"] == "complete"
    assert night.balance("listed_recordings") == (2, 1, 1, 0)
    assert sum(row["unexplained"] for row in night.table("reconciliation")) == 0
    assert night.check("no_unexplained_recording") == []


@together
def test_a_recording_that_the_list_has_without_a_conversation_is_that_of_the_other_sources(
    night: Night,
) -> Parts:
    night.call()
    night.listed("r1", conversation_id=None)
    night.listed("r2", conversation_id=None)
    yield
    rows = {(row["conversation_id"], row["recording_id"]) for row in night.table("chain_of_custody")}
    assert rows == {("c1", "r1"), ("", "r2")}


LISTS: dict[str, dict[str, object]] = {
    "export_failures": {"job_id": "j1"},
    "export_manifests": {"export_id": "e1", "has_tags_field": True, "tags": {"Legal-Hold": "true"}},
    "listed_recordings": {"creation_time": "2026-11-02 10:00:10"},
    "orphan_recordings": {"orphan_id": "o1"},
}


@pytest.mark.parametrize("named_by", ["export_objects", "recording_metadata", *LISTS])
@together
def test_an_entry_without_a_conversation_is_about_the_only_one_that_is_known(night: Night, named_by: str) -> Parts:
    night.call(recording="r1" if named_by == "export_objects" else "r0")
    if named_by == "recording_metadata":
        night.metadata("c1", {"recording_id": "r1"})
    for resource, fields in LISTS.items():
        known = [{"conversation_id": "c1"}] if resource == named_by else []
        night.rows[resource] += [{**fields, "recording_id": "r1", **conversation} for conversation in [*known, {}]]
    yield
    rows = {row["recording_id"]: row for row in night.table("chain_of_custody")}
    assert {row["conversation_id"] for row in rows.values()} == {"c1"}
    said = {(tag["recording_id"], tag["source"], tag["tag_value"]) for tag in night.table("custom_data")}
    assert ("r1", "manifest", "true") in said
    assert {row["what"] for row in night.table("custody_events") if row["recording_id"] == "r1"} >= {
        f"{resource} document" for resource in LISTS
    }


@together
def test_an_entry_without_a_conversation_is_about_none_of_two(night: Night) -> Parts:
    night.call()
    night.export("c2", "r1")
    for resource, fields in LISTS.items():
        night.rows[resource].append({**fields, "recording_id": "r1"})
    night.job()
    yield
    rows = {row["conversation_id"]: row for row in night.table("chain_of_custody")}
    assert set(rows) == {"c1", "c2", ""}
    assert rows[""]["custom_data_legal_hold"] == "true"
    details = {gap["reason"]: gap["detail"] for gap in night.table("gaps") if gap["conversation_id"] == ""}
    assert details["EXPORT_FAILED"] == "job j1 lists it as failed"


@pytest.mark.parametrize(
    ("date", "reason"), [("exported_date", "OBJECT_MISSING"), ("delete_date", "RECORDING_DELETED")]
)
@together
def test_the_dates_of_the_list_say_why_a_recording_is_missing(night: Night, date: str, reason: str) -> Parts:
    night.call()
    night.listed("r2", "hidden", **{date: "2026-11-03 00:30:00"})
    night.refuse(403, "hidden", "recording_metadata")
    yield
    assert night.gap(reason)["recording_id"] == "r2"


@together
def test_a_recording_is_listed_in_the_night_in_which_its_conversation_began(night: Night) -> Parts:
    night.call()
    for name, began in (("c2", "2026-11-01 23:58:00"), ("c3", "2026-11-02 00:01:00")):
        night.listed(f"of {name}", name, creation_time="2026-11-02 00:05:00")
        night.metadata(name, {"recording_id": f"of {name}"}, {"recording_id": f"unlisted of {name}"})
        night.single(name, agent={})["start_time"] = began
    yield
    assert {row["recording_id"] for row in night.table("chain_of_custody")} == {"r1", "of c3", "unlisted of c3"}
