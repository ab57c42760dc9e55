"""What a night claims of its completeness, and the sources that the claim rests on."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from custody_pipeline.models.pending_reads import recordings_to_read
from custody_pipeline.settings import Settings
from custody_pipeline_tests.sql.conftest import HEALTHY_AGENT, together

if TYPE_CHECKING:
    from collections.abc import Callable

    from custody_pipeline_tests.sql.conftest import Night, Parts

NEEDED = {
    "export_objects", "conversation_details", "recording_metadata", "export_jobs", "export_failures",
    "orphan_recordings", "listed_recordings",
}  # fmt: skip


def claim(night: Night) -> tuple[str, dict[str, str]]:
    """What the night claims, and the state of each needed source."""
    (row,) = night.table("nights")
    return row["completeness"], {part["source"]: part["state"] for part in night.table("coverage") if part["is_needed"]}


@together
def test_a_night_is_established_only_if_every_needed_source_answered_whole(night: Night) -> Parts:
    night.call()
    yield
    assert claim(night) == ("established", dict.fromkeys(sorted(NEEDED), "whole"))
    assert night.source("recording_metadata")["detail"].startswith("1 conversations were not read one by one")


@pytest.mark.parametrize("source", sorted(NEEDED))
@pytest.mark.parametrize(
    ("receipt", "state"), [("failed", "failed"), ("partial", "partial"), ("not_configured", "not_asked")]
)
@together
def test_a_source_that_is_not_whole_leaves_the_night_not_established(
    night: Night, source: str, receipt: str, state: str
) -> Parts:
    night.call()
    night.receipt(source, receipt_state=receipt)
    yield
    completeness, states = claim(night)
    assert (completeness, states[source]) == ("not_established", state)
    assert "yet" not in (night.source(source)["detail"] or ""), "waiting would not help"


@pytest.mark.parametrize(
    ("receipt", "state"), [("failed", "provisional"), ("partial", "provisional"), ("complete", "final")]
)
@together
def test_a_night_with_a_source_that_is_cut_short_is_rechecked(night: Night, receipt: str, state: str) -> Parts:
    night.call()
    night.receipt("orphan_recordings", receipt_state=receipt)
    night.receipt(finished_at="2026-11-10 00:00:00")
    yield
    assert [row["state"] for row in night.table("nights")] == [state]


@together
def test_a_bucket_only_night_is_never_established(night: Night) -> Parts:
    night.api = False
    night.call()
    yield
    completeness, states = claim(night)
    assert completeness == "not_established"
    assert {source for source, state in states.items() if state == "not_asked"} == NEEDED - {"export_objects"}


@pytest.mark.parametrize(
    ("watermark", "source"), [("watermark", "conversation_details"), ("listed_until", "listed_recordings")]
)
@together
def test_a_night_is_not_established_before_the_vendors_data_are_complete(
    night: Night, watermark: str, source: str
) -> Parts:
    setattr(night, watermark, "2026-11-02 23:00:00")
    night.call()
    yield
    completeness, states = claim(night)
    assert (completeness, states[source]) == ("not_established", "partial")


@pytest.mark.parametrize("source", ["recording_metadata", "export_manifests", "conversation_attributes"])
@together
def test_a_request_that_failed_for_good_leaves_the_night_not_established(night: Night, source: str) -> Parts:
    night.call()
    night.receipt(source, failures=1)
    yield
    assert claim(night)[0] == "not_established"


@pytest.mark.parametrize(
    ("status", "completeness"), [(403, "not_established"), (400, "not_established"), (404, "established")]
)
@together
def test_a_conversation_that_is_refused_may_have_other_tags_than_the_job(
    night: Night, status: int, completeness: str
) -> Parts:
    night.call()
    night.refuse(status)
    yield
    assert (night.reasons("r1"), claim(night)[0]) == (set(), completeness)


@pytest.mark.parametrize("source", ["captures", "conversation_events", "conversation_attributes", "recording_audits"])
@together
def test_what_cannot_be_read_may_name_a_recording_a_tag_or_an_access(night: Night, source: str) -> Parts:
    night.call()
    night.rows[source].append({"document_state": "truncated"})
    yield
    found = night.source(source)
    assert (claim(night)[0], found["state"], found["detail"]) == ("not_established", "partial", "1 could not be read")


WHOLE_NIGHT = {"interval_start": "2026-11-02 00:00:00", "interval_end": "2026-11-03 00:00:00"}


def carried_over(night: Night, *ends: str) -> None:
    """The night before was modelled; its recordings belong to conversations that go on until these moments."""
    night.execute("INSERT INTO staging.carried_over SELECT DATE '2026-11-01', ?::TIMESTAMP[]", [list(ends)])


def test_a_job_that_states_more_recordings_than_are_known_makes_the_night_incomplete(night: Night) -> None:
    night.call()
    night.job(total_recordings=1000, **WHOLE_NIGHT)
    carried_over(night)
    night.run()
    assert night.balance("job_totals") == (1000, 1, 0, 999)
    assert claim(night)[0] == "incomplete"
    assert [row["source"] for row in night.check("no_unexplained_recording")] == ["job_totals"]


def test_without_the_night_before_a_difference_leaves_the_night_not_established(night: Night) -> None:
    # A job selects every conversation that is active in its interval, those begun before it as well.
    night.call()
    night.job(total_recordings=2, **WHOLE_NIGHT)
    night.run()
    assert night.balance("job_totals") == (2, 1, 1, 0)
    completeness, states = claim(night)
    assert (completeness, states["export_jobs"]) == ("not_established", "partial")


@pytest.mark.parametrize(
    ("end", "expected"), [("2026-11-02 00:10:00", (2, 2, 0, 0)), ("2026-11-01 23:59:00", (2, 1, 0, 1))]
)
def test_a_call_begun_the_evening_before_is_among_those_that_a_job_states(
    night: Night, end: str, expected: tuple[int, int, int, int]
) -> None:
    night.call()
    night.job(total_recordings=2, **WHOLE_NIGHT)
    carried_over(night, end)
    night.run()
    assert night.balance("job_totals") == expected


@together
def test_a_conversation_that_goes_on_after_the_night_is_carried_over(night: Night) -> Parts:
    night.call()
    night.details()["conversation_end"] = "2026-11-03 00:05:00"
    yield
    ((ends,),) = night.execute("SELECT ends FROM staging.carried_over WHERE partition_date = ?", [night.day]).fetchall()
    assert ends == [datetime.combine(night.day, time(0, 5)) + timedelta(days=1)]


@pytest.mark.parametrize(
    "source", ["recording_metadata", "export_jobs", "export_failures", "orphan_recordings", "listed_recordings"]
)
@together
def test_an_answer_that_cannot_be_read_leaves_the_night_not_established(night: Night, source: str) -> Parts:
    night.call()
    keys = {"recording_metadata": {"key_conversation_id": "c1"}, "export_jobs": {"job_id": "j1"}}
    night.rows[source].append({"document_state": "wrong_shape", **keys.get(source, {})})
    yield
    completeness, states = claim(night)
    assert (completeness, states[source]) == ("not_established", "partial")


@together
def test_details_that_cannot_be_read_may_flag_a_recording_that_no_list_has(night: Night) -> Parts:
    night.call()
    night.details()["document_state"] = "not_json"
    night.metadata("c1", {"recording_id": "r1"})
    yield
    completeness, states = claim(night)
    assert (completeness, states["conversation_details"]) == ("not_established", "partial")


@together
def test_an_interface_of_audits_that_refuses_was_not_asked(night: Night) -> Parts:
    night.call()
    night.rows["recording_audits"].append({"audit_id": "a1"})
    night.receipt("recording_audits", failures=1, detail="HTTP 403")
    yield
    found = night.source("recording_audits")
    assert (claim(night)[0], found["state"], found["detail"]) == ("established", "not_asked", "HTTP 403")


@together
def test_what_a_whole_source_could_not_see_stands_beside_a_wrong_clock(night: Night) -> Parts:
    night.call()
    night.receipt(sequence=1, started_at="2026-12-02 00:00:00", detail="versioning is off")
    night.load()
    night.receipt(sequence=2, started_at="2026-12-01 00:00:00")
    yield
    assert "a clock was wrong; versioning is off" in night.source("export_objects")["detail"]


@together
def test_sessions_without_an_id_are_expected_each_by_itself(night: Night) -> Parts:
    night.call()
    legs = night.leg()["sessions"]
    legs[:] = [{**legs[0], "session_id": None}, {**legs[0], "session_id": None}]
    for leg in (*legs, *night.leg("customer")["sessions"]):
        leg["recording"] = leg in legs
    yield
    assert night.balance("details_sessions") == (2, 1, 0, 1)
    assert claim(night)[0] == "incomplete"


@together
def test_the_load_that_was_taken_last_counts_whatever_its_clock_said(night: Night) -> Parts:
    night.call(agent={"Legal-Hold": "true"})
    night.receipt(sequence=2)
    night.load()
    night.details()["participants"][2]["attributes"] = {"Legal-Hold": "false"}
    # The second load was taken first, by a clock that was fast.
    night.receipt(sequence=1)
    yield
    assert night.row()["custom_data_legal_hold"] == "true"
    assert {row["landing_id"][:3] for row in night.check("clock_steady")} == {"002"}
    assert "a clock was wrong" in night.source("export_objects")["detail"]
    # Loads of an earlier version have no sequence, and come before all others.
    night.execute(
        "UPDATE raw.extraction_receipts SET sequence = NULL WHERE landing_id < '002' AND partition_date = ?",
        [night.day],
    )
    night.load_nothing()
    yield
    assert night.row()["custom_data_legal_hold"] == "false"
    assert night.check("clock_steady") == []


@together
def test_a_job_of_several_nights_states_nothing_about_one(night: Night) -> Parts:
    night.call()
    night.job(total_recordings=1000, interval_start="2026-11-01 00:00:00", interval_end="2026-11-08 00:00:00")
    yield
    assert night.balance("job_totals") == (0, 0, 0, 0)


def screen_of_the_agent(night: Night) -> None:
    """A call whose agent's screen was recorded, by the flag of the participant."""
    night.call()
    night.details()["screen_recorded"] = ["c1-agent-1"]


@together
def test_the_flag_of_a_screen_is_tied_to_a_session_with_an_id(night: Night) -> Parts:
    screen_of_the_agent(night)
    legs = night.leg()["sessions"]
    legs.insert(0, {**legs[0], "session_id": None, "media_type": "screenshare", "recording": False})
    yield
    assert screens(night) == ["screen:c1-agent-1"]


def screens(night: Night) -> list[str]:
    return [row["recording_id"] for row in night.table("chain_of_custody") if row["recording_id"].startswith("screen:")]


@together
def test_a_screen_of_which_the_flag_alone_is_left_has_a_row(night: Night) -> Parts:
    screen_of_the_agent(night)
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session"})
    yield
    gap = night.gap("RECORDING_NOT_FOUND")
    assert gap["recording_id"] == "screen:c1-agent-1"
    assert gap["detail"] == (
        "the screen of participant c1-agent-1 was recorded; the recording interface does not have it"
    )
    assert night.row("screen:c1-agent-1")["session_id"] == "c1-agent-1-session"
    assert night.balance("details_sessions") == (2, 1, 1, 0)


@pytest.mark.parametrize("session", ["c1-agent-1-session", "c1-agent-1-screen", "of nobody", None])
@together
def test_a_screen_recording_answers_the_flag_of_its_participant(night: Night, session: str | None) -> Parts:
    screen_of_the_agent(night)
    legs = night.leg()["sessions"]
    legs.append({**legs[0], "session_id": "c1-agent-1-screen", "media_type": "screenshare", "recording": False})
    night.metadata(
        "c1",
        {"recording_id": "r1", "session_id": "c1-agent-1-session"},
        {"recording_id": "r2", "session_id": session, "media_subtype": "Screen"},
    )
    night.export("c1", "r2")
    yield
    assert screens(night) == []
    assert night.balance("details_sessions") == (2, 2, 0, 0)


@together
def test_the_screen_recording_of_one_agent_does_not_stand_for_that_of_another(night: Night) -> Parts:
    night.transfer({"Legal-Hold": "false"}, {"Legal-Hold": "false"})
    night.details()["screen_recorded"] = ["c1-agent-1", "c1-agent-2"]
    night.metadata(
        "c1",
        {"recording_id": "r1", "session_id": "c1-agent-1-session"},
        {"recording_id": "r2", "session_id": "c1-agent-2-session"},
        # The vendor gives the subtype, or the media alone.
        {"recording_id": "r3", "session_id": "c1-agent-2-session", "media": "screen", "media_subtype": None},
    )
    yield
    assert screens(night) == ["screen:c1-agent-1"]


@together
def test_a_screen_recording_does_not_stand_for_lost_audio(night: Night) -> Parts:
    night.call()
    for row in night.rows["export_objects"]:
        row["object_key"] = row["object_key"].replace(".opus", ".webm")
        row["media_extension"] = "webm" if row.get("media_extension") == "opus" else row.get("media_extension")
    yield
    missing = [row for row in night.table("chain_of_custody") if row["recording_id"].startswith("session:")]
    assert len(missing) == 1
    assert missing[0]["custody_status"] == "gap"
    assert night.balance("details_sessions") == (1, 0, 1, 0)


@pytest.mark.parametrize(("named", "told"), [("c1-agent-1-session", ""), (None, ", or another one")])
@together
def test_a_session_without_a_recording_is_named_only_as_far_as_it_can_be_told(
    night: Night, named: str | None, told: str
) -> Parts:
    night.transfer({"Legal-Hold": "false"}, {"Legal-Hold": "false"})
    night.rows["export_objects"].clear()  # one recording is archived, the other lost
    night.metadata("c1", {"recording_id": "r1", "session_id": named, "file_state": "ARCHIVED", "exported_date": None})
    yield
    gap = night.gap("RECORDING_NOT_FOUND")
    assert "was recorded" + (told or "; ") in gap["detail"]


@together
def test_a_digest_of_other_bytes_under_the_same_key_is_not_the_objects(night: Night) -> Parts:
    # A bucket without versions: the export wrote the key again, and the new object cannot be read.
    night.call()
    for row in (*night.rows["export_objects"], *night.rows["media_digests"], *night.rows["export_sidecars"]):
        row["version_id"] = None
    night.load()
    night.object().update(etag="e2", last_modified="2026-11-03 05:00:00")
    night.rows["media_digests"][0].update(
        etag="e2", last_modified="2026-11-03 05:00:00", sha256=None, md5=None, hashed_at=None, error="AccessDenied"
    )
    yield
    assert (night.row()["media_sha256"], night.row()["custody_status"]) == (None, "gap")
    assert "OBJECT_UNREADABLE" in night.reasons("r1")


@pytest.mark.parametrize("flags", [(True, False), (False, True)])
@together
def test_a_session_that_one_of_two_documents_flags_was_recorded(night: Night, flags: tuple[bool, bool]) -> Parts:
    night.call()
    night.rows["export_objects"].clear()
    second = deepcopy(night.details())
    night.rows["conversation_details"].append(second)
    for document, flag in zip(night.rows["conversation_details"], flags, strict=True):
        document["participants"][2]["sessions"][0]["recording"] = flag
        document["screen_recorded"] = [] if flag else ["c1-agent-1"]
    yield
    rows = [row["recording_id"] for row in night.table("chain_of_custody")]
    assert rows == ["screen:c1-agent-1", "session:c1-agent-1-session"]
    assert night.balance("details_sessions")[0] == 2


@pytest.mark.parametrize(("name", "rows"), [("c1-agent-1", ["screen:c1-agent-1"]), (None, ["screen:s1", "screen:s2"])])
@together
def test_screens_are_told_apart_by_participant(night: Night, name: str | None, rows: list[str]) -> Parts:
    """Two entries of one participant are one screen; two participants without an id are two."""
    night.call()
    agent = night.leg()
    agent["participant_id"] = name
    night.details()["participants"].append(deepcopy(agent))
    for number, leg in enumerate(night.details()["participants"][-2:], start=1):
        leg["sessions"][0].update(session_id=f"s{number}", recording=False)
    night.details()["screen_recorded"] = [name or ""]
    night.rows["export_objects"].clear()
    yield
    assert [row["recording_id"] for row in night.table("chain_of_custody")] == rows


def a_snippet_by_metadata(night: Night) -> None:
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session", "media_subtype": "Snippet"})


def a_snippet_by_its_sidecar(night: Night) -> None:
    night.sidecar()["media_subtype"] = "Snippet"


def a_screen_by_its_sidecar(night: Night) -> None:
    night.sidecar().update(media_type="Screen", media_subtype=None)


def a_message_by_metadata(night: Night) -> None:
    # The vendor's words: "message" at RecordingMetadata.media, "messaging" at Recording.media.
    night.metadata("c1", {"recording_id": "r1", "media": "messaging", "media_subtype": None})


def a_screen_orphan(night: Night) -> None:
    empty_the_bucket(night)
    night.rows["orphan_recordings"].append(
        {"orphan_id": "o1", "conversation_id": "c1", "recording_id": "r1", "media_type": "SCREEN"}
    )


@pytest.mark.parametrize(
    "given",
    [a_snippet_by_metadata, a_snippet_by_its_sidecar, a_screen_by_its_sidecar, a_message_by_metadata, a_screen_orphan],
)
@together
def test_no_recording_of_another_kind_stands_for_lost_audio(night: Night, given: Callable[[Night], None]) -> Parts:
    night.call()
    given(night)
    yield
    assert [row["recording_id"] for row in night.table("chain_of_custody")] == ["r1", "session:c1-agent-1-session"]
    assert night.balance("details_sessions") == (1, 0, 1, 0)


@together
def test_a_sidecar_of_another_recording_makes_no_screen_of_an_audio_recording(night: Night) -> Parts:
    night.call()
    night.details()["screen_recorded"] = [night.leg()["participant_id"]]
    night.sidecar().update(recording_id="r9", media_type="Screen", media_subtype="Screen")
    yield
    assert [row["recording_id"] for row in night.table("chain_of_custody")] == ["r1", "screen:c1-agent-1"]


@together
def test_a_sidecar_may_write_its_ids_in_capitals(night: Night) -> Parts:
    night.call()
    night.sidecar().update(conversation_id="C1", recording_id="R1")
    yield
    assert "DOCUMENTS_DISAGREE" not in night.reasons("r1")


@pytest.mark.parametrize(
    ("second", "state", "reasons"), [(False, "partial", {"CAPTURE_MISSING"}), (True, "whole", set())]
)
@together
def test_an_answer_that_was_no_conversation_is_no_capture(
    night: Night, second: bool, state: str, reasons: set[str]
) -> Parts:
    night.call()
    night.event("10:05:00", outcome="conversation_unreadable")
    night.rows["captures"].append(
        {"conversation_id": "c1", "document_state": "not_json", "conversation_sha256": "e" * 64}
    )
    if second:
        night.capture("10:06:00", agent=HEALTHY_AGENT)
    yield
    assert (night.source("captures")["state"], night.reasons("r1")) == (state, reasons)


@together
def test_a_damaged_capture_may_hold_what_no_other_shows(night: Night) -> Parts:
    night.call()
    night.capture("10:06:00", agent=HEALTHY_AGENT)
    night.rows["captures"].append({"conversation_id": "c1", "document_state": "truncated"})
    yield
    states = {part["source"]: part["state"] for part in night.table("coverage")}
    assert (states["captures"], claim(night)[0]) == ("partial", "not_established")


@together
def test_typed_attributes_that_live_capture_kept_and_nobody_can_read_may_be_tags(night: Night) -> Parts:
    night.call()
    night.capture("10:06:00", agent=HEALTHY_AGENT)
    night.rows["captures"][0]["typed_state"] = "wrong_shape"
    yield
    assert (night.source("captures")["state"], claim(night)[0]) == ("partial", "not_established")


def test_a_capture_under_the_day_of_its_event_is_of_the_night_that_has_the_conversation(night: Night) -> None:
    night.rows["captures"].append({"conversation_id": "c1", "document_state": "not_json"})
    night.execute("INSERT INTO staging.placed_ids SELECT DATE '2026-11-01', 'c1', true")
    night.run()
    assert night.table("chain_of_custody") == []


def a_chat(night: Night) -> None:
    """No flag says that a chat was recorded."""
    night.call()
    for leg in night.details()["participants"]:
        leg["sessions"][0].update(recording=False, media_type="chat")


def empty_the_bucket(night: Night) -> None:
    for resource in ("export_objects", "export_sidecars", "media_digests"):
        night.rows[resource].clear()


@pytest.mark.parametrize("was_exported", [True, False])
@pytest.mark.parametrize(
    ("status", "reason"),
    [(None, "RECORDING_NOT_FOUND"), (403, "CONVERSATION_FORBIDDEN"), (503, "CONVERSATION_FETCH_FAILED")],
)
@together
def test_a_recording_that_no_source_names_any_more_keeps_its_row(
    night: Night, was_exported: bool, status: int | None, reason: str
) -> Parts:
    a_chat(night)
    night.metadata("c1", {"recording_id": "r1", "media": "chat", "exported_date": None})
    if not was_exported:
        empty_the_bucket(night)
    night.load()
    empty_the_bucket(night)
    night.rows["recording_metadata"].clear()
    if status:
        night.refuse(status, resource="recording_metadata")
    else:
        night.metadata("c1")
    yield
    assert night.reasons() == {"OBJECT_MISSING" if was_exported else reason}
    assert night.balance("recordings") == (1, 0, 1, 0)
    assert night.row()["custody_status"] == "gap"
    assert night.row()["media_state"] == ("removed" if was_exported else "not_exported")
    assert night.check("row_conservation") == night.check("gaps_told") == []
    before = night.sha256()
    yield
    assert night.sha256() == before


def flags_withdrawn(night: Night) -> None:
    for leg in night.details()["participants"]:
        leg["sessions"][0]["recording"] = False
    night.details()["screen_recorded"] = []


def other_sessions(night: Night) -> None:
    for leg in night.details()["participants"]:
        leg["sessions"] = []
    night.details()["screen_recorded"] = []


def no_conversation(night: Night) -> None:
    night.rows["conversation_details"].clear()


@pytest.mark.parametrize("changed", [flags_withdrawn, other_sessions, no_conversation])
@together
def test_a_session_that_an_earlier_load_flagged_as_recorded_keeps_its_row(
    night: Night, changed: Callable[[Night], None]
) -> Parts:
    night.call()
    night.details()["screen_recorded"] = ["c1-agent-1"]
    empty_the_bucket(night)
    night.metadata("c1")
    night.load()
    changed(night)
    yield
    assert [(row["recording_id"], row["gap_reasons"]) for row in night.table("chain_of_custody")] == [
        ("screen:c1-agent-1", ["RECORDING_NOT_FOUND"]),
        ("session:c1-agent-1-session", ["RECORDING_NOT_FOUND"]),
    ]
    assert night.balance("details_sessions") == (2, 0, 2, 0)
    assert all("/landing/001-conversation_details.ndjson.gz#L1" in row["evidence"] for row in night.table("gaps"))
    settings = Settings(export_url="s3://exports", publish_url="s3://dataset")
    assert "flagged_before" in recordings_to_read(night.con, settings, night.day)[night.named("c1")]
    assert night.check("row_conservation") == night.check("gaps_told") == []


def test_a_flagged_session_of_a_conversation_that_another_night_has_now_gives_no_row(night: Night) -> None:
    night.call()
    empty_the_bucket(night)
    night.load()
    no_conversation(night)
    night.execute("INSERT INTO staging.placed_ids SELECT DATE '2026-11-01', 'c1', true")
    night.run()
    assert night.table("chain_of_custody") == []


def excluded_as_sensitive(night: Night) -> None:
    night.job(total_skipped=1)
    night.metadata("c1", {"recording_id": "r1", "media": "chat", "export_date": None, "exported_date": None})


def failed_again(night: Night) -> None:
    night.rows["export_failures"].append({"job_id": "j2", "conversation_id": "c1", "recording_id": "r1"})


def stamped_as_exported(night: Night) -> None:
    night.metadata("c1", {"recording_id": "r1", "media": "chat"})


@pytest.mark.parametrize("told", [excluded_as_sensitive, failed_again, stamped_as_exported])
@together
def test_what_the_bucket_had_was_exported_whatever_else_is_told_of_it(
    night: Night, told: Callable[[Night], None]
) -> Parts:
    a_chat(night)
    night.load()
    empty_the_bucket(night)
    told(night)
    yield
    gap = night.gap("OBJECT_MISSING")
    assert gap["detail"] == "an earlier listing of the bucket had its object, and the newest one has not"
    assert [found["what"] for found in gap["evidence"] if "listing" in found["what"]] == [
        "1000 bytes, by an earlier listing", "300 bytes, by an earlier listing"
    ]  # fmt: skip
    assert night.reasons() == {"OBJECT_MISSING"}
    assert (night.row()["custody_status"], night.row()["media_state"]) == ("gap", "removed")
    before = night.sha256()
    yield
    assert night.sha256() == before


@together
def test_what_was_deleted_from_the_bucket_and_at_the_vendor_had_been_exported(night: Night) -> Parts:
    a_chat(night)
    night.object().update(is_delete_marker=True, object_bytes=None)
    night.metadata("c1", {"recording_id": "r1", "media": "chat", "exported_date": None, "file_state": "DELETED"})
    night.audit("delete")
    yield
    assert night.reasons() == {"OBJECT_MISSING"}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"file_state": "DELETED"}, "RECORDING_DELETED"),
        ({"delete_date": "2026-11-04 00:00:00"}, "RECORDING_DELETED"),
        ({"delete_date": "2026-12-04 00:00:00"}, "RECORDING_NOT_FOUND"),
        ({"exported_date": "2026-11-03 00:45:00", "file_state": "DELETED"}, "OBJECT_MISSING"),
    ],
)
@together
def test_what_was_told_of_a_recording_that_is_gone_gives_the_reason(
    night: Night, told: dict[str, str], reason: str
) -> Parts:
    a_chat(night)
    night.metadata("c1", {"recording_id": "r1", "media": "chat", "exported_date": None, **told})
    empty_the_bucket(night)
    night.load()
    night.load()
    night.rows["recording_metadata"].clear()
    night.metadata("c1")
    yield
    assert night.reasons() == {reason}
    # The second load changed nothing, so no cut has it: no row may depend on it.
    evidence = [found["uri"] for found in night.gap(reason)["evidence"]]
    assert [uri[9:12] for uri in evidence if "recording_metadata" in uri] == ["003", "001"]


def a_manifest(night: Night) -> None:
    night.rows["export_manifests"].append({"export_id": "e1", "conversation_id": "c1", "recording_id": "r1"})


@pytest.mark.parametrize(("named", "reason"), [(a_manifest, "CONVERSATION_FETCH_FAILED"), (None, "OBJECT_MISSING")])
@together
def test_what_an_earlier_load_named_is_asked_for_again(
    night: Night, named: Callable[[Night], None] | None, reason: str
) -> Parts:
    night.call()
    night.rows["conversation_details"].clear()
    if named:
        empty_the_bucket(night)
        named(night)
    night.load()
    empty_the_bucket(night)
    night.rows["export_manifests"].clear()
    yield
    settings = Settings(export_url="s3://exports", publish_url="s3://dataset")
    assert recordings_to_read(night.con, settings, night.day) == {night.named("c1"): ["not_in_details", "read_before"]}
    assert reason in night.reasons("r1")
    details = {row["reason"]: row["detail"] for row in night.table("gaps")}
    assert reason == "OBJECT_MISSING" or details[reason].endswith("; the recording interface was not asked")


@together
def test_an_earlier_list_of_another_nights_recording_gives_no_row(night: Night) -> Parts:
    night.rows["export_failures"].append({"job_id": "j1", "conversation_id": "c9", "recording_id": "r9"})
    night.single("c9", agent={})["start_time"] = "2026-11-01 10:00:00"
    night.load()
    night.rows["export_failures"].clear()
    night.rows["conversations"].clear()
    yield
    assert night.table("chain_of_custody") == []


@together
def test_a_conversation_that_the_job_has_no_more_leaves_the_night_not_established(night: Night) -> Parts:
    night.call()
    empty_the_bucket(night)
    night.load()
    night.rows["conversation_details"].clear()
    yield
    found = night.source("conversation_details")
    told = "1 conversations that other answers have are missing"
    assert (claim(night)[0], found["state"], found["detail"]) == ("not_established", "partial", told)


@pytest.mark.parametrize(
    ("start", "completeness"),
    [
        ("2026-11-02 10:00:00", "not_established"),
        # Another clock may have put it into another night.
        ("2026-11-02 23:59:30", "established"),
        ("2026-11-01 23:59:30", "established"),
        (None, "established"),
    ],
)
@together
def test_a_conversation_of_the_night_that_the_job_lacks_shows_that_the_job_is_not_whole(
    night: Night, start: str | None, completeness: str
) -> Parts:
    night.call()
    night.call("c2", "r2")
    night.single("c2")["start_time"] = start
    night.drop("conversation_details", conversation_id="c2")
    yield
    assert claim(night)[0] == completeness


def test_a_recording_that_another_night_has_now_is_not_gone(night: Night) -> None:
    night.call()
    night.listed("r9")
    night.load()
    night.rows["listed_recordings"].clear()
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session"})
    night.execute("INSERT INTO staging.placed_ids SELECT DATE '2026-11-01', 'r9', true")
    night.run()
    assert [row["recording_id"] for row in night.table("chain_of_custody")] == ["r1"]


@pytest.mark.parametrize(
    ("named", "legal_hold", "reasons"),
    [("C1", "true", set()), (None, "true", set()), ("c9", None, {"DOCUMENTS_DISAGREE", "REQUIRED_TAG_MISSING"})],
)
@together
def test_typed_attributes_are_of_the_conversation_that_their_record_names(
    night: Night, named: str | None, legal_hold: str | None, reasons: set[str]
) -> Parts:
    night.call(agent={"Disposition": "Resolved"})
    night.single()["conversation_id"] = "C1" if named == "C1" else None
    night.rows["conversation_attributes"].append(
        {
            "key_conversation_id": "c1", "conversation_id": named, "attribute_key": "Legal-Hold",
            "attribute_value": "true",
        }
    )  # fmt: skip
    yield
    assert (night.row()["custom_data_legal_hold"], night.reasons("r1")) == (legal_hold, reasons)


@pytest.mark.parametrize("told_by", ["metadata", "extension", "sidecar"])
@together
def test_a_screen_that_is_gone_does_not_stand_for_lost_audio(night: Night, told_by: str) -> Parts:
    night.call()
    if told_by == "metadata":
        night.metadata("c1", {"recording_id": "r1", "media_subtype": "Screen", "exported_date": None})
    elif told_by == "sidecar":
        night.sidecar().update(media_type="Screen", media_subtype=None)
    else:
        night.object()["media_extension"] = "webm"
    night.load()
    empty_the_bucket(night)
    night.rows["recording_metadata"].clear()
    night.metadata("c1")
    yield
    assert [row["recording_id"] for row in night.table("chain_of_custody")] == ["r1", "session:c1-agent-1-session"]


ONE, CAPITALS = "aaaaaaaa-0000-4000-8000-00000000000a", "AAAAAAAA-0000-4000-8000-00000000000A"


@pytest.mark.parametrize(
    ("then", "last"),
    [
        (lambda night: night.listed(ONE, "c2"), ("c2", ONE)),
        (lambda night: night.listed(CAPITALS), ("c1", CAPITALS)),
        (lambda night: night.metadata("c2", {"recording_id": CAPITALS, "exported_date": None}), ("c2", CAPITALS)),
    ],
)
@together
def test_a_recording_that_is_gone_has_the_row_of_its_last_conversation_and_spelling(
    night: Night, then: Callable[[Night], None], last: tuple[str, str]
) -> Parts:
    a_chat(night)
    empty_the_bucket(night)
    night.listed(ONE)
    night.load()
    night.rows["listed_recordings"].clear()
    then(night)
    night.load()
    for resource in ("listed_recordings", "recording_metadata"):
        night.rows[resource].clear()
    yield
    assert [(row["conversation_id"], row["recording_id"]) for row in night.table("chain_of_custody")] == [last]
    (row,) = night.table("chain_of_custody")
    assert row["gap_reasons"] == sorted(set(row["gap_reasons"]))


@together
def test_a_recording_that_is_gone_from_the_bucket_has_the_row_of_its_folder(night: Night) -> Parts:
    night.call("c1", ONE)
    night.load()
    empty_the_bucket(night)
    night.listed(CAPITALS, "c2")
    night.load()
    night.rows["listed_recordings"].clear()
    yield
    (row,) = night.table("chain_of_custody")
    assert (row["conversation_id"], row["recording_id"], row["gap_reasons"]) == ("c1", ONE, ["OBJECT_MISSING"])


@pytest.mark.parametrize("swap", [False, True])
@together
def test_the_order_of_two_entries_of_a_recording_decides_nothing(night: Night, swap: bool) -> Parts:
    night.call()
    entries = [{"file_state": "AVAILABLE"}, {"file_state": "DELETED"}]
    night.metadata("c1", *({"recording_id": "r1", "document_sha256": "d" * 64, **entry} for entry in entries))
    if swap:
        night.rows["recording_metadata"].reverse()
    yield
    assert night.row()["file_state"] == "AVAILABLE"


@together
def test_a_sidecar_may_write_its_times_without_seconds(night: Night) -> Parts:
    night.call()
    night.sidecar().update(start_time="2026-11-02T10:00Z", end_time="2026-11-02T10:10Z", duration_ms=600_000)
    yield
    assert night.row()["recording_start"] == datetime.combine(night.day, time(10))
    assert night.reasons() == set()
