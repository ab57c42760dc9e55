"""The night as a whole: counts that add up, repetition that changes nothing, revisions, states."""

from __future__ import annotations

import json
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.models.run import add_events, refresh_events
from custody_pipeline.warehouse.bookkeeping import append_row_versions
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts
from custody_pipeline.warehouse.sql_text import table_columns
from custody_pipeline_tests.sql.conftest import HEALTHY_AGENT, Night, together

if TYPE_CHECKING:
    from collections.abc import Generator

    from custody_pipeline.warehouse.ledger import Action
    from custody_pipeline_tests.sql.conftest import Parts

ACTOR = Actor("counsel", "1", "c0ffee")


def publish(night: Night, revision: int) -> None:
    """What publishing writes back."""
    told = {"published_at": "2026-11-09 00:00:00", "completeness": "established", "cut_sha256": f"{revision:064}"}
    night.insert("publications", [{"revision": revision, **told}])
    append_row_versions(night.con, night.day, revision=revision)


@together
def test_an_empty_night_has_every_table_and_every_source(night: Night) -> Parts:
    yield
    assert night.table("chain_of_custody") == []
    sources = [row["source"] for row in night.table("reconciliation")]
    assert [night.balance(source) for source in sources] == [(0, 0, 0, 0)] * 14
    for name in (
        "row_conservation", "no_unexplained_recording", "digests_present", "header_complete", "schema_unchanged",
        "gaps_told",
    ):  # fmt: skip
        assert night.check(name) == []


@together
def test_expected_is_present_plus_explained(night: Night) -> Parts:
    night.call()
    night.call("c2", "r2")
    night.drop("export_objects", recording_id="r2")
    night.drop("export_sidecars", key_recording_id="r2")
    night.metadata("c2", {"recording_id": "r2"})
    night.rows["export_objects"].append(
        {"bucket": "exports", "object_key": "notes.txt", "is_latest": True, "is_delete_marker": False,
         "object_role": "other", "key_finding": "unrecognised", "object_bytes": 3}
    )  # fmt: skip
    yield
    assert night.balance("recordings") == (2, 1, 1, 0)
    assert night.balance("details_sessions") == (2, 1, 1, 0)
    assert night.balance("recording_metadata") == (1, 0, 1, 0)
    assert night.balance("bucket_keys") == (3, 2, 1, 0)
    detail = {row["source"]: json.loads(row["detail"]) for row in night.table("reconciliation")}
    assert detail["recordings"] == {"OBJECT_MISSING": 1}
    assert night.check("gaps_told") == []
    night.con.execute(
        "UPDATE custody.gaps SET reason = 'OBJECT_EMPTY' WHERE reason = 'OBJECT_MISSING' AND partition_date = ?",
        [night.day],
    )
    assert [(row["reason"], row["finding"]) for row in night.check("gaps_told")] == [
        ("OBJECT_EMPTY", "not in gap_reasons"), ("OBJECT_MISSING", "no row in gaps")
    ]  # fmt: skip


@together
def test_overlapping_jobs_count_a_recording_once(night: Night) -> Parts:
    night.call()
    night.job()
    night.job(job_id="j2", requested_at="2026-11-03 05:00:00")
    yield
    assert night.balance("export_jobs") == (1, 1, 0, 0)
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


@together
def test_collecting_the_same_again_changes_no_row(night: Night) -> Parts:
    night.transfer(HEALTHY_AGENT, {"Disposition": "Escalated"})
    night.single()
    night.metadata("c1", {"recording_id": "r1"}, {"recording_id": "r2"})
    night.call("c3", "r3")
    night.drop("conversation_details", conversation_id="c3")
    night.refuse(503, "c3")
    yield
    tables = ("chain_of_custody", "custom_data", "gaps", "custody_events", "reconciliation")
    before = {name: night.table(name) for name in tables}
    digest = night.sha256()
    yield
    assert {name: night.table(name) for name in tables} == before
    assert night.sha256() == digest


@together
def test_publishing_is_no_reason_to_publish_again(night: Night) -> Parts:
    night.call()
    yield
    digest = night.sha256()
    publish(night, 1)
    yield
    assert night.sha256() == digest
    assert night.row()["revision"] == 1
    assert [row["action"] for row in night.table("custody_events") if row["recording_id"]].count("published") == 1


@together
def test_a_row_keeps_its_revision_until_its_content_changes(night: Night) -> Parts:
    night.call()
    night.call("c2", "r2")
    yield
    digest = night.sha256()
    publish(night, 1)
    night.single("c2", agent={**HEALTHY_AGENT, "Disposition": "Escalated"})
    yield
    assert night.sha256() != digest
    assert {name: night.row(name)["revision"] for name in ("r1", "r2")} == {"r1": 1, "r2": 2}
    publish(night, 2)
    yield
    assert {name: night.row(name)["revision"] for name in ("r1", "r2")} == {"r1": 1, "r2": 2}


@together
def test_rows_of_a_load_without_a_receipt_are_not_seen(night: Night) -> Parts:
    night.call()
    yield
    before = night.sha256()
    night.execute(
        "INSERT INTO raw.export_objects "
        "SELECT * REPLACE ('killed' AS landing_id, 'r9' AS recording_id) FROM raw.export_objects "
        "WHERE partition_date = ?",
        [night.day],
    )
    night.load_nothing()
    yield
    assert night.sha256() == before


@together
def test_a_failed_load_leaves_the_earlier_one_current(night: Night) -> Parts:
    night.call()
    yield
    before = night.table("chain_of_custody")
    failed = {"landing_id": "999", "resource": "conversation_details", "receipt_state": "failed"}
    night.insert("extraction_receipts", [failed])
    night.load_nothing()
    yield
    assert night.table("chain_of_custody") == before


def test_events_tell_what_happened_in_order_with_hashes(night: Night) -> None:
    night.call()
    night.load()
    night.model(now=True)
    night.sidecar()["duration_ms"] = 1
    night.run()
    events = night.table("custody_events")
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    actions = ["exported", "hashed", "collected", "collected", "changed", "joined", "joined"]
    assert [event["action"] for event in events] == actions
    for earlier, later in ((events[2:4], events[4]), (events[5:6], events[6])):
        assert later["sha256_before"] != later["sha256_after"]
        assert later["sha256_before"] in {event["sha256_after"] for event in earlier}
    assert events[-1]["sha256_after"] == night.row()["row_sha256"]
    assert all(event[name] for event in events for name in ("who", "what", "occurred_at", "where_at", "why", "how"))
    assert [event["sha256_after"] is None for event in events] == [False] * 7
    ours = [event for event in events if event["action"] != "exported"]
    assert all(event["operator"] and event["tool_version"] for event in ours)
    assert {event["who"] for event in ours if event["action"] != "joined"} == {"client-1"}


@together
def test_no_clock_decides_which_content_was_first(night: Night) -> Parts:
    def row_after(load: int, content: str, fetched_at: str) -> Generator[None, None, str]:
        night.sidecar().update(document_sha256=content, fetched_at=fetched_at)
        night.receipt(sequence=load)
        yield
        return str(night.row()["row_sha256"])

    night.call()
    first = yield from row_after(1, "a" * 64, "2026-11-20 00:00:00")
    again = yield from row_after(2, "a" * 64, "2026-11-05 00:00:00")
    assert again == first, "the first observation stays the first"
    yield from row_after(3, "b" * 64, "2026-11-05 12:00:00")
    changes = [event for event in night.table("custody_events") if event["what"] == "export_sidecars document"]
    assert {event["action"]: (event["sha256_before"], event["sha256_after"]) for event in changes} == {
        "collected": (None, "a" * 64),
        "changed": ("a" * 64, "b" * 64),
    }


@together
def test_no_clock_decides_which_entry_or_request_was_first(night: Night) -> Parts:
    def content_after(load: int, fetched_at: str) -> Generator[None, None, str]:
        night.rows["recording_audits"][0]["fetched_at"] = night.rows["gdpr_requests"][0]["fetched_at"] = fetched_at
        night.receipt(sequence=load)
        yield
        return night.sha256()

    night.call()
    night.drop("conversation_details", conversation_id="c1")
    night.refuse(404)
    night.erase_at_vendor(document_sha256="e" * 64)
    night.audit("Download", document_sha256="d" * 64)
    first = yield from content_after(1, "2026-11-20 00:00:00")
    again = yield from content_after(2, "2026-11-05 00:00:00")
    assert again == first
    observed = night.gap("ERASED_AT_VENDOR")["evidence"][-1]["observed_at"]
    assert observed.startswith(str(night.day + timedelta(days=18)))


@together
def test_what_names_a_recording_without_a_conversation_is_an_event_of_it_alone(night: Night) -> Parts:
    night.call()
    night.rows["orphan_recordings"] += [
        {"orphan_id": "o1"},
        {"orphan_id": "o2", "conversation_id": "c1"},
        {"orphan_id": "o3", "recording_id": "r3"},
    ]
    night.job()
    yield
    found = [row["recording_id"] for row in night.table("custody_events") if "orphan_recordings" in row["what"]]
    assert found == ["orphan:o1", "r3", "orphan:o2"]


def state(night: Night) -> Generator[None, None, str]:
    yield
    return str(night.table("nights")[0]["state"])


@together
def test_a_night_is_open_then_provisional_then_final(night: Night) -> Parts:
    night.call()
    night.loads = -1  # collected on the 4th, then on the 5th: within the lag of 72 hours
    night.watermark = "2026-11-02 23:00:00"
    assert (yield from state(night)) == "open"
    night.watermark = "2026-11-03 00:00:00"
    assert (yield from state(night)) == "provisional"
    night.loads = 1
    assert (yield from state(night)) == "final"


@together
def test_a_conversation_that_goes_on_keeps_a_night_provisional(night: Night) -> Parts:
    """A tag may be set, or a recording be made, on the last day of a conversation that lasts a week."""
    night.call()
    night.loads = 10
    night.details()["conversation_end"] = None
    assert (yield from state(night)) == "provisional"
    night.details()["conversation_end"] = "2026-11-09 10:00:00"
    assert (yield from state(night)) == "final"


def rechecked(night: Night, reason: str) -> int:
    """Until how many days after the night's day the gap of this reason is rechecked."""
    until: datetime = night.gap(reason)["recheck_until"]
    assert until.time() == time()
    return (until.date() - night.day).days


@together
def test_a_gap_that_no_recheck_can_close_does_not_keep_a_night_provisional(night: Night) -> Parts:
    night.call()
    night.drop("export_objects", object_role="sidecar")
    night.rows["export_sidecars"].clear()
    night.loads = 0
    assert (yield from state(night)) == "provisional"
    assert rechecked(night, "SIDECAR_MISSING") == 4
    night.loads = 1
    assert (yield from state(night)) == "final"
    assert night.reasons() == {"SIDECAR_MISSING"}


@together
def test_a_night_is_rechecked_until_its_recordings_are_deleted(night: Night) -> Parts:
    night.call()
    night.rows["export_objects"].clear()
    night.rows["export_sidecars"].clear()
    night.metadata(
        "c1", {"recording_id": "r1", "session_id": "c1-agent-1-session", "delete_date": "2026-11-10 00:00:00"}
    )
    night.loads = 3
    assert (yield from state(night)) == "provisional"
    assert rechecked(night, "OBJECT_MISSING") == 8
    night.rows["recording_metadata"][0] |= {"exported_date": None, "file_state": None}
    night.loads = 7
    assert (yield from state(night)) == "final"
    assert night.reasons() == {"RECORDING_DELETED"}


@together
def test_rechecks_of_a_gap_without_an_end_are_bounded(night: Night) -> Parts:
    night.call()
    night.refuse(503)
    night.drop("conversation_details", conversation_id="c1")
    assert (yield from state(night)) == "provisional"
    assert rechecked(night, "CONVERSATION_FETCH_FAILED") == 31


def test_columns_keep_the_types_that_another_night_was_published_with(night: Night) -> None:
    night.call()
    night.run()
    published = {"revision": 1, "published_at": "2026-11-01 00:00:00", "partition_date": "2026-10-31"}
    columns = [
        {"table_name": "gaps", "column_name": "detail", "data_type": "VARCHAR"},
        {"table_name": "gaps", "column_name": "weight", "data_type": "DOUBLE"},
        {"table_name": "gaps", "column_name": "sentence", "data_type": "BLOB"},
    ]
    night.insert("published_columns", [{**published, **column} for column in columns])
    older = {**published, "published_at": "2026-10-30 00:00:00", "column_name": "gone", "data_type": "BLOB"}
    night.insert("published_columns", [{**older, "table_name": "gaps"}])
    found = [(row["column_name"], row["expected_type"], row["actual_type"]) for row in night.check("schema_unchanged")]
    assert found == [("sentence", "BLOB", "VARCHAR"), ("weight", "DOUBLE", None)]


@together
def test_a_bucket_alone_still_gives_the_dataset(night: Night) -> Parts:
    night.call()
    night.export("c2", "r2", folder="month=11/day=02")
    night.api = False
    yield
    assert [row["gap_reasons"] for row in night.table("chain_of_custody")] == [["SOURCE_NOT_CONFIGURED"]] * 2
    assert night.check("row_conservation") == night.check("no_unexplained_recording") == []
    assert night.table("nights")[0]["unexplained"] == 0


def act(night: Night, action: Action, **fields: Any) -> None:
    """Something is done to the night."""
    append_acts(night.con, ACTOR, [Act(night.day, action, **{"what": "it", "why": "request 4", "how": "so", **fields})])


@together
def test_a_production_is_an_event_of_its_recording_and_is_published(night: Night) -> Parts:
    night.call()
    yield
    digest = night.sha256()
    names = {"conversation_id": night.named("c1"), "recording_id": night.named("r1")}
    act(night, "packaged", **names, where_at="/cases/4", sha256_after="ab")
    night.load_nothing()
    yield
    events = [row for row in night.table("custody_events") if row["action"] == "packaged"]
    assert [(row["who"], row["why"], row["where_at"]) for row in events] == [("counsel", "request 4", "/cases/4")]
    assert night.sha256() != digest


@pytest.mark.parametrize("action", ["verified", "rechecked", "exception"])
@together
def test_looking_at_a_night_leaves_an_event_and_is_no_reason_to_publish_it_again(night: Night, action: Action) -> Parts:
    night.call()
    yield
    digest = night.sha256()
    before = [row for row in night.table("custody_events") if row["conversation_id"]]
    act(night, action, occurred_at=datetime.combine(night.day, time()) - timedelta(days=1))
    night.load_nothing()
    yield
    assert night.sha256() == digest
    events = night.table("custody_events")
    assert [row for row in events if row["conversation_id"]] == before
    (event,) = [row for row in events if not row["conversation_id"]]
    assert (event["action"], event["recording_id"], event["sequence"]) == (action, "", 1)
    assert (event["who"], event["tool_version"], event["git_revision"]) == ("counsel", "1", "c0ffee")


@together
def test_events_of_the_night_alone_are_brought_up_to_date_without_the_recordings(night: Night) -> Parts:
    night.call()
    yield
    publish(night, 1)
    act(night, "verified")
    refresh_events(night.con, night.day, about_night_alone=True)
    quick = night.table("custody_events")
    assert {row["action"] for row in quick if not row["conversation_id"]} == {"published", "verified"}
    night.load_nothing()
    yield
    slow = night.table("custody_events")
    assert [row for row in slow if not row["conversation_id"]] == [row for row in quick if not row["conversation_id"]]


@pytest.mark.parametrize("vendor_is_ahead", [False, True])
@together
def test_acts_are_added_to_the_events_as_the_model_would_place_them(night: Night, vendor_is_ahead: bool) -> Parts:
    night.call()
    yield
    publish(night, 1)
    night.load_nothing()
    yield
    began = datetime(2099, 1, 1)
    call, recording = night.named("c1"), night.named("r1")
    acts = [
        Act(night.day, "packaged", what=what, why="request 4", how="so", occurred_at=began, **of_call)
        for of_call in (*({"conversation_id": call, "recording_id": name} for name in (recording, "new")), {})
        for what in ("listening copy", "audio")
    ]
    left = Act(night.day, "held", what="it", why="its process was killed", how="so", occurred_at=datetime(2098, 12, 31))
    append_acts(night.con, ACTOR, [left, *acts])
    if vendor_is_ahead:
        night.con.execute(
            "UPDATE custody.custody_events SET occurred_at = '2099-01-02' WHERE recording_id = ?", [recording]
        )
    add_events(night.con, night.day, began)
    added = night.table("custody_events")
    night.load_nothing()
    yield
    assert added == night.table("custody_events")
    assert [row["what"] for row in added if row["action"] == "packaged"] == ["audio", "listening copy"] * 3


@together
def test_what_could_not_be_read_is_an_exception_of_its_recording_told_once(night: Night) -> Parts:
    night.call()
    night.call("c2", "r2")
    night.sidecar()["document_state"] = "not_json"
    night.refuse(403, "c2")
    night.refuse(404, "org/year=2026/month=11/day=2/hour=10/conversation_id=c2/r2.opus", "media_digests")
    night.refuse(500, "jobs", "export_jobs")
    yield
    digest = night.sha256()
    found = [
        (row["recording_id"], row["what"], row["how"], row["who"])
        for row in night.table("custody_events")
        if row["action"] == "exception"
    ]
    assert sorted(found) == [
        ("", "export_jobs cannot be read", "HTTP 500", "client-1"),
        ("r1", "export_sidecars document", "kept as received", "client-1"),
        ("r2", "conversations cannot be read", "HTTP 403", "client-1"),
        ("r2", "media_digests cannot be read", "HTTP 404", "client-1"),
    ]
    yield
    again = [row for row in night.table("custody_events") if row["action"] == "exception"]
    assert len(again) == len(found)
    assert night.sha256() == digest


@together
def test_a_digest_taken_once_stays_that_of_the_load_that_took_it(night: Night) -> Parts:
    night.call()
    yield
    digest = night.sha256()
    night.loads += 1
    night.receipt(tool_version="0.2.0")
    yield
    assert night.sha256() == digest
    assert [row["tool_version"] for row in night.table("custody_events") if row["action"] == "hashed"] == ["0.1.0"]


@together
def test_a_publication_is_an_event_of_the_night_with_the_cut_before_and_after(night: Night) -> Parts:
    night.call()
    yield
    publish(night, 1)
    publish(night, 2)
    night.load_nothing()
    yield
    events = [row for row in night.table("custody_events") if not row["conversation_id"]]
    assert [(row["action"], row["what"], row["sha256_before"], row["sha256_after"]) for row in events] == [
        ("published", "revision 1", None, f"{1:064}"),
        ("published", "revision 2", f"{1:064}", f"{2:064}"),
    ]


def test_a_staging_model_may_become_a_view_or_a_table_in_a_warehouse_that_has_the_other(night: Night) -> None:
    night.call()
    night.run()
    before = night.sha256()
    night.con.execute("DROP VIEW staging.resolved_tags; CREATE TABLE staging.resolved_tags AS SELECT 1 AS a")
    night.con.execute("DROP TABLE staging.sessions; CREATE VIEW staging.sessions AS SELECT 1 AS a")
    night.execute("UPDATE raw.made_by SET made_by = 'an earlier version'")
    night.model()
    assert night.sha256() == before


def test_events_of_a_night_find_room_in_a_table_from_before_a_column_was_added(night: Night) -> None:
    night.run()
    night.con.execute("ALTER TABLE custody.custody_events DROP COLUMN operator")
    refresh_events(night.con, night.day, about_night_alone=True)
    assert "operator" in table_columns(night.con, "custody.custody_events")


def test_what_somebody_dropped_or_altered_is_made_again(night: Night) -> None:
    def view() -> list[Any]:
        return night.con.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'users'").fetchall()

    night.call(agent={})
    night.run()
    before = night.table("chain_of_custody"), night.table("gaps"), view()
    night.con.execute("DROP TABLE custody.chain_of_custody; DROP VIEW staging.recording_metadata")
    night.con.execute("ALTER TABLE custody.gaps DROP COLUMN detail")
    night.con.execute("CREATE OR REPLACE VIEW staging.users AS SELECT * FROM staging.queues")
    night.model()
    assert (night.table("chain_of_custody"), night.table("gaps"), view()) == before
    assert night.con.execute("SELECT count(*) FROM staging.recording_metadata").fetchone() == (0,)


@pytest.mark.parametrize(
    ("segments", "users", "tag"),
    [(["alert", "wrapup"], ["c1-user-2"], "true"), (["alert", "interact"], ["c1-user-1", "c1-user-2"], "false")],
)
@together
def test_an_agent_who_did_not_answer_is_not_in_the_recording(
    night: Night, segments: list[str], users: list[str], tag: str
) -> Parts:
    """As the analytics job writes a call that was offered to two agents: both sessions name the customer's as peer."""
    night.transfer({"Legal-Hold": "false"}, {"Legal-Hold": "true"})
    for resource in ("export_objects", "export_sidecars", "media_digests"):
        night.rows[resource].clear()
    _, _, first, second = night.details()["participants"]
    customer = night.leg("customer")["sessions"][0]
    customer["recording"] = True
    for leg in (first, second):
        leg["sessions"][0] |= {"peer_id": customer["session_id"], "recording": False}
    (segment,) = first["sessions"][0]["segments"]
    first["sessions"][0]["segments"] = [{**segment, "segment_type": kind} for kind in segments]
    night.metadata("c1", {"recording_id": "r1", "session_id": customer["session_id"]})
    yield
    assert (night.row()["user_ids"], night.row()["custom_data_legal_hold"]) == (users, tag)


@together
def test_the_sidecar_tells_whose_leg_was_recorded_if_the_session_is_the_customers(night: Night) -> Parts:
    night.transfer({"Legal-Hold": "false"}, {"Legal-Hold": "true"})
    customer = night.leg("customer")["sessions"][0]
    for leg in night.details()["participants"][2:]:
        leg["sessions"][0] |= {"peer_id": customer["session_id"], "recording": False}
    night.metadata("c1", *({"recording_id": name, "session_id": customer["session_id"]} for name in ("r1", "r2")))
    yield
    assert [night.row(name)["custom_data_legal_hold"] for name in ("r1", "r2")] == ["false", "true"]
    night.sidecar()["user_ids"] = ["c1-user-9"]
    yield
    assert night.row("r1")["user_ids"] == ["c1-user-9"]
    assert night.query(
        "SELECT leg_users FROM staging.recordings WHERE recording_id LIKE 'r1%' AND partition_date = ?", [night.day]
    ) == [{"leg_users": ["c1-user-1", "c1-user-2"]}]


@together
def test_an_agent_who_took_a_call_twice_has_the_tag_of_each_leg(night: Night) -> Parts:
    night.transfer({"Legal-Hold": "false"}, {"Legal-Hold": "true"})
    first, again = night.details()["participants"][2:]
    again["user_id"] = first["user_id"]
    night.rows["export_sidecars"][-1]["user_ids"] = [first["user_id"]]
    legs = {"r1": first, "r2": again}
    night.metadata(
        "c1", *({"recording_id": name, "session_id": leg["sessions"][0]["session_id"]} for name, leg in legs.items())
    )
    yield
    assert [night.row(name)["custom_data_legal_hold"] for name in ("r1", "r2")] == ["false", "true"]
    # Without a session, both legs may be the recorded one.
    for row in night.rows["recording_metadata"]:
        row["session_id"] = None
    yield
    assert night.query("SELECT * FROM staging.other_legs WHERE partition_date = ?", [night.day]) == []
