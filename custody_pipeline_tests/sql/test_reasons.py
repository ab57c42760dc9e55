"""For each reason: a night that has it, and similar nights that do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.reasons import BY_CODE
from custody_pipeline.operations.night_report import Scope, night_report
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import SqlModel
from custody_pipeline_tests.sql.conftest import (
    CUSTOMER_END,
    HEALTHY_AGENT,
    HEALTHY_IVR,
    NIGHT,
    SCRIPT,
    Night,
    Parts,
    Row,
    Tags,
    one_window,
    together,
)

Given = Callable[[Night], Any]
UNHELD: Tags = {"Disposition": "Resolved"}
CALLBACK: Tags = {"Callback-Number": "+15551234567"}
CALLED_BACK: Tags = {**HEALTHY_AGENT, **CALLBACK}
ESCALATED: Tags = {**HEALTHY_AGENT, "Disposition": "Escalated"}


def summary(text: str) -> Tags:
    return {**HEALTHY_AGENT, "Summary": text}


def named(name: str, arrange: Callable[..., object], *values: Any, **fields: Any) -> Given:
    """A situation of this name: the night as `arrange` makes it with these values."""

    def given(night: Night) -> None:
        arrange(night, *values, **fields)

    given.__name__ = name
    return given


# --- the bucket -------------------------------------------------------------------------------------------------------


def without_media(night: Night) -> None:
    night.call()
    night.drop("export_objects", object_role="media")
    night.drop("export_objects", object_role="sidecar")
    night.rows["export_sidecars"].clear()
    night.rows["media_digests"].clear()


def sidecar_missing(night: Night) -> None:
    night.call()
    night.drop("export_objects", object_role="sidecar")
    night.rows["export_sidecars"].clear()


def with_sidecar(night: Night, **fields: Any) -> None:
    """A call whose sidecar has these fields."""
    night.call()
    night.sidecar().update(fields)


def sidecar_empty(night: Night) -> None:
    with_sidecar(night, document_state="empty", start_time=None, end_time=None)
    night.object("sidecar")["object_bytes"] = 0


def sidecar_not_received(night: Night) -> None:
    night.call()
    night.rows["export_sidecars"].clear()


def answer_of_another(night: Night) -> None:
    night.call()
    night.single()["conversation_id"] = "c9"


def with_media_of(night: Night, size: int) -> None:
    night.call()
    night.object()["object_bytes"] = size


def media_unreadable(night: Night) -> None:
    night.call()
    night.rows["media_digests"][0].update(sha256=None, md5=None, error="AccessDenied")


def second_version(night: Night, sha256: str) -> None:
    night.call()
    first = night.object()
    night.rows["export_objects"].append(
        {**first, "version_id": "v2", "etag": "e2", "last_modified": "2026-11-03 03:00:00"}
    )
    first["is_latest"] = False
    night.digest(first["object_key"], sha256, "v2")


def put_under_another_key(night: Night, sha256: str) -> None:
    """The first object has a delete marker."""
    night.call()
    first = night.object()
    first["is_latest"] = False
    key = first["object_key"].replace(".opus", ".mp3")
    night.rows["export_objects"] += [
        {**first, "version_id": "v2", "is_latest": True, "is_delete_marker": True, "object_bytes": None},
        {**first, "is_latest": True, "object_key": key, "media_extension": "mp3", "etag": "e2"},
    ]
    night.digest(key, sha256)


def same_bytes_by_etag(night: Night) -> None:
    """The older version cannot be hashed; S3 wrote the same bytes."""
    second_version(night, "a" * 64)
    older = min(night.rows["media_digests"], key=lambda row: row["version_id"])
    older.update(sha256=None, error="archived")
    for row in night.rows["export_objects"]:
        row["etag"] = "e1"


def object_of_a_list_with_an_unreadable_entry(night: Night) -> None:
    object_of_nobody(night)
    night.rows["recording_metadata"].append({"key_conversation_id": "c1", "document_state": "wrong_shape"})


def two_paths(night: Night) -> None:
    night.call()
    night.export("c1", "r1", folder="month=11/day=02")


def foreign_folder(night: Night) -> None:
    """The same recording also in the folder of another organisation."""
    night.call()
    copies = [{**row} for row in night.rows["export_objects"]]
    for row in copies:
        row["organization_id"], row["object_key"] = "other", row["object_key"].replace("org/", "other/")
    night.rows["export_objects"] += copies
    night.digest(copies[0]["object_key"], "a" * 64)


def with_metadata(night: Night, **fields: Any) -> None:
    """A call whose recording the interface lists with these fields."""
    night.call()
    night.metadata("c1", {"recording_id": "r1", **fields})


def object_of_nobody(night: Night) -> None:
    with_metadata(night, session_id="c1-agent-1-session")
    night.export("c1", "r7")


def object_of_empty_list(night: Night) -> None:
    night.call()
    night.metadata("c1")


def beside(night: Night, **fields: Any) -> None:
    """An object in the folder of the call's conversation that is no recording."""
    night.call()
    name = f"rec_{fields.get('key_finding', 123)}.opus"
    night.rows["export_objects"].append(
        {
            "bucket": "exports", "object_key": f"org/year=2026/month=11/day=2/hour=10/{name}", "is_latest": True,
            "is_delete_marker": False, "object_role": "other", "key_finding": "unrecognised", "object_bytes": 3,
            "last_modified": "2026-11-03 01:00:00", **fields,
        }
    )  # fmt: skip


def object_in_a_bad_folder(night: Night) -> None:
    key = "org/year=2026/month=11/day=2/hour=10/conversation_id=not-an-id/r7.opus"
    beside(night, object_key=key, object_role="media", recording_id="r7", key_finding="bad_conversation_id")


def deleted_object_of_another_name(night: Night) -> None:
    beside(night, is_latest=False)
    night.rows["export_objects"].append(
        {**night.rows["export_objects"][-1], "version_id": "v2", "is_latest": True, "is_delete_marker": True}
    )


def orphan(night: Night) -> None:
    night.call()
    night.rows["orphan_recordings"].append({"orphan_id": "o1", "conversation_id": "c1", "recording_id": "lost"})


# --- exports ----------------------------------------------------------------------------------------------------------


def never_arrived(night: Night) -> None:
    without_media(night)
    night.metadata("c1", {"recording_id": "r1"})
    night.job()


def deleted_from_bucket(night: Night) -> None:
    never_arrived(night)
    night.export("c1", "r1")
    night.drop("export_objects", object_role="sidecar")
    night.rows["export_sidecars"].clear()
    media = night.object()
    media["is_latest"] = False
    night.rows["export_objects"].append(
        {**media, "version_id": "v2", "is_latest": True, "is_delete_marker": True, "object_bytes": None}
    )


def listed_as_failed(night: Night) -> None:
    night.job()
    night.rows["export_failures"].append({"job_id": "j1", "conversation_id": "c1", "recording_id": "r1"})


def failed(night: Night) -> None:
    not_exported(night)
    listed_as_failed(night)


def failed_then_exported(night: Night) -> None:
    night.call()
    listed_as_failed(night)


def not_exported(night: Night, **fields: Any) -> None:
    """The interface lists the recording with these fields, and says of no export."""
    without_media(night)
    night.metadata("c1", {"recording_id": "r1", "export_date": None, "exported_date": None, **fields})


def not_stamped(night: Night, **job: Any) -> None:
    not_exported(night)
    night.job(**job)


def due(night: Night) -> None:
    without_media(night)
    night.metadata("c1", {"recording_id": "r1", "exported_date": None})
    night.job(total_skipped=1)


def recorded_but_unknown(night: Night) -> None:
    without_media(night)
    night.metadata("c1")


def failed_and_deleted(night: Night) -> None:
    failed(night)
    night.audit("Delete")


def deletion_of_another(night: Night, **fields: Any) -> None:
    recorded_but_unknown(night)
    night.audit("Delete", "r9", **fields)


def listened_to(night: Night) -> None:
    night.call()
    night.audit("Read")


# --- conversations ----------------------------------------------------------------------------------------------------


def unknown_conversation(night: Night, status: int | None) -> None:
    night.call()
    night.rows["conversation_details"].clear()
    if status != 0:
        night.refuse(status)


def with_an_erasure(night: Night, status: int, **fields: Any) -> None:
    unknown_conversation(night, status)
    night.erase_at_vendor(**fields)


def before_watermark(night: Night) -> None:
    unknown_conversation(night, 404)
    night.watermark = "2026-11-02 09:00:00"


def within_the_second_of_the_watermark(night: Night) -> None:
    before_watermark(night)
    night.sidecar()["start_time"] = "2026-11-02T10:00:10+0000"
    night.watermark = "2026-11-02 10:00:10.500"


def within_the_hour_of_the_watermark(night: Night) -> None:
    before_watermark(night)
    night.rows["export_sidecars"].clear()
    night.drop("export_objects", object_role="sidecar")
    night.watermark = "2026-11-02 10:30:00"


def only_read_singly(night: Night) -> None:
    night.call()
    night.single()
    night.rows["conversation_details"].clear()


def no_api(night: Night) -> None:
    night.call()
    night.api = False


# --- tags -------------------------------------------------------------------------------------------------------------


def dropped_by_manifest(night: Night) -> None:
    night.call()
    night.rows["export_manifests"].append(
        {"export_id": "e1", "conversation_id": "c1", "recording_id": "r1", "has_tags_field": True, "tags": None}
    )


def nothing_to_drop(night: Night) -> None:
    read_singly(night, {"agent": {}, "ivr": {}})
    night.sidecar().update(has_tags_field=True, tags={})


def read_singly(night: Night, bulk: dict[str, Any], **tags: Any) -> None:
    """A call as the bulk job has it, then its single read with these tags."""
    night.call(**bulk)
    night.single(**tags)


def refused(night: Night, status: int, **bulk: Any) -> None:
    """A call as the bulk job has it; its single read is refused."""
    night.call(**bulk)
    night.refuse(status)


# --- live capture -----------------------------------------------------------------------------------------------------


def captured(night: Night, *seen: tuple[str, Tags]) -> None:
    """A call that capture read at these times, with these tags of the agent."""
    night.call()
    for at, tags in seen:
        night.capture(at, agent=tags)


def vanished(night: Night) -> None:
    captured(night, ("10:11:00", CALLED_BACK))
    night.single()


def vanished_between_captures(night: Night) -> None:
    captured(night, ("10:11:00", CALLED_BACK), ("10:22:00", HEALTHY_AGENT))


def vanished_after_an_event(night: Night) -> None:
    captured(night, ("10:22:00", HEALTHY_AGENT))
    night.event("10:05:00", topic="attributes", participant_id="c1-agent-1", attributes=CALLBACK)


def came_back(night: Night) -> None:
    night.call(agent=CALLED_BACK)
    for at, tags in (("10:05:00", CALLBACK), ("10:06:00", {}), ("10:07:00", CALLBACK)):
        night.capture(at, agent={**HEALTHY_AGENT, **tags})


def captured_late_and_still_there(night: Night) -> None:
    captured(night, ("10:11:00", CALLED_BACK))
    night.single(agent=CALLED_BACK)


def refused_to_capture(night: Night) -> None:
    night.call()
    night.event("10:10:00", outcome="conversation_forbidden")


def running(night: Night, since: str, until: str, topic: str = CUSTOMER_END) -> None:
    """A call that ends at 10:10:00, and the first and the last event of other calls."""
    night.call()
    night.event(since, "c0", topic=topic)
    night.event(until, "c2", topic=topic)


def running_before_and_after(night: Night) -> None:
    running(night, "10:09:59", "10:10:01")


def told_of_impossible_times(night: Night) -> None:
    """Capture ran after the end alone; the clocks of two senders are far off."""
    night.call()
    night.event("10:10:01", "c2")
    night.event("10:10:02", "c0", event_time="1970-01-01 00:00:00")
    night.event("10:10:03", "c3", event_time="9999-12-31 23:59:59")


def without_a_customer(night: Night) -> None:
    running_before_and_after(night)
    night.leg("customer")["purpose"] = "user"


def running_and_captured(night: Night) -> None:
    running_before_and_after(night)
    night.capture("10:11:00", agent=HEALTHY_AGENT)


def captured_without_recording(night: Night) -> None:
    night.call()
    night.capture("10:11:00", "c9", agent=HEALTHY_AGENT, ivr=HEALTHY_IVR)


def announced(night: Night, recording: str) -> None:
    captured(night, ("10:11:00", HEALTHY_AGENT))
    night.event("10:10:30", topic="conversation:recordings:created", recording_id=recording)


def announced_and_unknown(night: Night) -> None:
    announced(night, "r9")
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session"})


def captured_and_not_recorded(night: Night) -> None:
    without_media(night)
    night.leg()["sessions"][0]["recording"] = False
    night.capture("10:11:00", agent=HEALTHY_AGENT)


# --- script, clock ----------------------------------------------------------------------------------------------------


def script_unknown(night: Night) -> None:
    night.call()
    night.rows["published_scripts"].clear()


def published_at(night: Night, moment: str) -> None:
    night.call()
    for row in night.rows["published_scripts"]:
        row["published_date"] = moment


def script_published_later(night: Night) -> None:
    published_at(night, "2026-11-02 10:00:00.001")


def script_published_just_before(night: Night) -> None:
    published_at(night, "2026-11-02 10:00:00")


def script_old(night: Night) -> None:
    night.call()
    night.drop("published_scripts", version_id="2")


def script_without_rule(night: Night) -> None:
    night.call()
    night.leg()["sessions"][0]["script_id"] = "other"
    night.rows["published_scripts"].append(
        {"script_id": "other", "version_id": "9", "published_date": "2026-01-01 00:00:00"}
    )


def no_script(night: Night) -> None:
    night.call()
    night.leg()["sessions"][0]["script_id"] = None


def times(night: Night, start: str, end: str) -> None:
    with_sidecar(night, start_time=start, end_time=end, duration_ms=None)


def lasting(night: Night, milliseconds: int | None, written: str | None = None) -> None:
    with_sidecar(night, duration_ms=milliseconds, duration_written=written)


def away_from_its_conversation(night: Night, began: str, ended: str) -> None:
    """The recording lies in the hour of its export path, from 10:20 to 10:29."""
    times(night, "2026-11-02T10:20:00Z", "2026-11-02T10:29:00Z")
    night.details().update(conversation_start=f"2026-11-02 {began}", conversation_end=f"2026-11-02 {ended}")


def over_midnight(night: Night) -> None:
    times(night, "2026-11-02T11:05:00Z", "2026-11-03T00:20:00Z")
    night.details()["conversation_end"] = "2026-11-03 00:21:00"


NO_FIELDS: dict[str, Any] = dict.fromkeys(("conversation_id", "recording_id", "start_time", "end_time"))
AGENTS_TAGS = {"participant_id": "c1-agent-1", "purpose": "agent", "attributes": {"Legal-Hold": "true"}}

PRESENT: list[tuple[Given, set[str]]] = [
    (sidecar_missing, {"SIDECAR_MISSING"}),
    (named("sidecar_truncated", with_sidecar, document_state="truncated", **NO_FIELDS), {"SIDECAR_UNREADABLE"}),
    (sidecar_empty, {"SIDECAR_UNREADABLE"}),
    (sidecar_not_received, {"SIDECAR_UNREADABLE"}),
    (named("sidecar_of_another", with_sidecar, recording_id="r9"), {"DOCUMENTS_DISAGREE"}),
    (answer_of_another, {"DOCUMENTS_DISAGREE"}),
    (named("media_empty", with_media_of, 0), {"OBJECT_EMPTY"}),
    (media_unreadable, {"OBJECT_UNREADABLE"}),
    (named("other_bytes", second_version, "c" * 64), {"OBJECT_CHANGED"}),
    (named("same_bytes", second_version, "a" * 64), {"DUPLICATE_EXPORT"}),
    (named("other_bytes_under_another_key", put_under_another_key, "c" * 64), {"OBJECT_CHANGED"}),
    (named("same_bytes_under_another_key", put_under_another_key, "a" * 64), {"DUPLICATE_EXPORT"}),
    (same_bytes_by_etag, {"DUPLICATE_EXPORT"}),
    (two_paths, {"DUPLICATE_EXPORT"}),
    (foreign_folder, {"FOREIGN_ORGANISATION"}),
    (object_of_nobody, {"ORPHAN_OBJECT"}),
    (object_of_a_list_with_an_unreadable_entry, set()),
    (object_of_empty_list, {"ORPHAN_OBJECT"}),
    (named("object_of_another_name", beside), {"UNRECOGNISED_OBJECT"}),
    (object_in_a_bad_folder, {"UNRECOGNISED_OBJECT"}),
    (orphan, {"ORPHAN_RECORDING"}),
    (never_arrived, {"OBJECT_MISSING"}),
    (deleted_from_bucket, {"OBJECT_MISSING"}),
    (failed, {"EXPORT_FAILED"}),
    (named("sensitive", not_stamped, total_skipped=1), {"EXPORT_EXCLUDED_SENSITIVE"}),
    (named("nothing_skipped", not_stamped, total_skipped=0), {"EXPORT_PENDING"}),
    (named("sensitive_included", not_stamped, total_skipped=1, include_sensitive=True), {"EXPORT_PENDING"}),
    (due, {"EXPORT_PENDING"}),
    (named("job_running", not_stamped, job_state="PROCESSING", total_skipped=1), {"EXPORT_PENDING"}),
    (named("archived", not_exported, file_state="ARCHIVED"), {"RECORDING_ARCHIVED"}),
    (named("deleted", not_exported, delete_date="2026-11-03 00:00:00", file_state=None), {"RECORDING_DELETED"}),
    (named("protected_from_deletion", not_exported, delete_date="2026-11-03 00:00:00"), {"EXPORT_PENDING"}),
    (failed_and_deleted, {"RECORDING_DELETED"}),
    (named("deleted_and_not_listed", deletion_of_another), {"RECORDING_DELETED"}),
    (named("deletion_that_failed", deletion_of_another, audit_status="Failure"), {"RECORDING_NOT_FOUND"}),
    (named("deleted_in_future", not_exported, delete_date="2030-01-01 00:00:00"), {"EXPORT_PENDING"}),
    (recorded_but_unknown, {"RECORDING_NOT_FOUND"}),
    (named("not_found", unknown_conversation, 404), {"CONVERSATION_NOT_FOUND"}),
    (named("erased_at_vendor", with_an_erasure, 404), {"ERASED_AT_VENDOR"}),
    (named("erasure_that_failed", with_an_erasure, 404, request_status="ERROR"), {"CONVERSATION_NOT_FOUND"}),
    (named("erasure_before_the_call", with_an_erasure, 404, created_date="2026-11-01 23:00:00"),
     {"CONVERSATION_NOT_FOUND"}),
    (named("erasure_of_what_is_refused", with_an_erasure, 403), {"CONVERSATION_FORBIDDEN"}),
    (before_watermark, {"NOT_YET_AVAILABLE"}),
    (within_the_second_of_the_watermark, {"NOT_YET_AVAILABLE"}),
    (within_the_hour_of_the_watermark, {"NOT_YET_AVAILABLE", "SIDECAR_MISSING"}),
    (named("forbidden", unknown_conversation, 403), {"CONVERSATION_FORBIDDEN"}),
    (named("server_error", unknown_conversation, 503), {"CONVERSATION_FETCH_FAILED"}),
    (named("timed_out", unknown_conversation, None), {"CONVERSATION_FETCH_FAILED"}),
    (named("nobody_asked", unknown_conversation, 0), {"CONVERSATION_FETCH_FAILED"}),
    (no_api, {"SOURCE_NOT_CONFIGURED"}),
    (named("dropped", with_sidecar, has_tags_field=True, tags={}), {"EXPORT_DROPPED_TAGS"}),
    (dropped_by_manifest, {"EXPORT_DROPPED_TAGS"}),
    (nothing_to_drop, {"TAG_NEVER_SET"}),
    (named("late", read_singly, {"agent": UNHELD}, agent=HEALTHY_AGENT), {"TAGS_SET_AFTER_END"}),
    (named("all_late", read_singly, {"agent": {}, "ivr": {}}, agent=HEALTHY_AGENT, ivr=HEALTHY_IVR),
     {"TAGS_SET_AFTER_END"}),
    (named("cut_for_good", refused, 404, agent=summary("x" * 1024)), {"TAG_TRUNCATED"}),
    # 1,023 characters and 1,024 UTF-16 units, which are what the job counts.
    (named("cut_with_an_emoji", refused, 404, agent=summary("\U0001f4de" + "x" * 1022)), {"TAG_TRUNCATED"}),
    (named("on_ivr", Night.call, agent=UNHELD, ivr={**HEALTHY_IVR, "Legal-Hold": "true"}),
     {"TAGS_ON_OTHER_PARTICIPANT"}),
    (named("misspelt", Night.call, agent={"legal_hold": "true", **UNHELD}), {"TAG_KEY_VARIANT"}),
    (named("behind_a_prefix", Night.call, agent=UNHELD, customer={"context.Legal-Hold": "true"}),
     {"TAG_KEY_PREFIXED"}),
    (named("behind_a_prefix_and_misspelt", Night.call, agent=UNHELD, customer={"Context.legalhold": "true"}),
     {"TAG_KEY_PREFIXED"}),
    (named("behind_another_prefix", Night.call, agent=UNHELD, customer={"contextual.Legal-Hold": "true"}),
     {"REQUIRED_TAG_MISSING", "UNMAPPED_TAG"}),
    (named("beside_a_prefix", Night.call, customer={"context.Legal-Hold": "false"}), {"UNMAPPED_TAG"}),
    (named("against_a_prefix", Night.call, customer={"context.Legal-Hold": "true"}), {"TAG_CONFLICT", "UNMAPPED_TAG"}),
    (named("side_by_side", Night.call, agent={**HEALTHY_AGENT, "legal_hold": "true", "LegalHold": "true"}),
     {"UNMAPPED_TAG"}),
    (named("conflict", Night.transfer, HEALTHY_AGENT, ESCALATED), {"TAG_CONFLICT"}),
    (named("of_other_rank", Night.call, customer={"Legal-Hold": "true"}), {"TAG_CONFLICT"}),
    (named("on_both", Night.call, ivr={**HEALTHY_IVR, "Legal-Hold": "true"}), {"TAG_CONFLICT"}),
    (named("sidecar_against_conversation", with_sidecar, has_tags_field=True, tags={"Legal-Hold": "true"}),
     {"TAG_CONFLICT"}),
    (named("sidecar_of_participants_against_conversation", with_sidecar, participants=[AGENTS_TAGS]),
     {"TAG_CONFLICT"}),
    (named("unmapped_on_other_rank", Night.call, agent={**HEALTHY_AGENT, "Extra": "1"}, customer={"Extra": "2"}),
     {"UNMAPPED_TAG"}),
    (named("changed", read_singly, {}, agent=ESCALATED), {"TAG_CHANGED_LATER"}),
    (vanished, {"TAG_VANISHED"}),
    (vanished_between_captures, {"TAG_VANISHED"}),
    (named("vanished_before_the_end", captured, ("10:05:00", CALLED_BACK)), {"TAG_VANISHED"}),
    (vanished_after_an_event, {"TAG_VANISHED"}),
    (named("captured_late", captured, ("10:11:00", CALLED_BACK)), {"TAGS_SET_AFTER_END"}),
    (captured_late_and_still_there, {"TAGS_SET_AFTER_END"}),
    (named("captured_value_changed", captured, ("10:05:00", ESCALATED)), {"TAG_CHANGED_LATER"}),
    (refused_to_capture, {"CAPTURE_MISSING"}),
    (running_before_and_after, {"CAPTURE_MISSING"}),
    (captured_without_recording, {"CAPTURE_WITHOUT_RECORDING"}),
    (announced_and_unknown, {"CAPTURE_WITHOUT_RECORDING"}),
    (named("never_set", read_singly, {"agent": {}, "ivr": {}}), {"TAG_NEVER_SET"}),
    (named("set_nowhere", read_singly, {"agent": UNHELD}), {"REQUIRED_TAG_MISSING"}),
    (named("set_to_null", read_singly, {"agent": {**HEALTHY_AGENT, "Legal-Hold": None}}), {"REQUIRED_TAG_MISSING"}),
    (named("set_to_nothing", Night.call, agent={**HEALTHY_AGENT, "Legal-Hold": ""}), {"TAG_EMPTY"}),
    (named("set_to_blanks", Night.call, agent={**HEALTHY_AGENT, "Legal-Hold": " \t\u00a0"}), {"TAG_EMPTY"}),
    # No column requires the tag: only the conflict tells that the customer's leg has a value.
    (named("set_to_nothing_and_not_elsewhere", Night.call, agent={**HEALTHY_AGENT, "Disposition": ""}, customer=UNHELD),
     {"TAG_CONFLICT"}),
    (named("matter_missing", read_singly, {"queue": "q-litigation"}), {"REQUIRED_TAG_MISSING"}),
    (named("unmapped", Night.call, agent={**HEALTHY_AGENT, "recording_id": "x"}), {"UNMAPPED_TAG"}),
    (script_unknown, {"SCRIPT_VERSION_UNKNOWN"}),
    (script_published_later, {"SCRIPT_VERSION_UNKNOWN"}),
    (script_old, {"SCRIPT_VERSION_INCOMPATIBLE"}),
    (named("region_elsewhere", with_metadata, region="eu-central-1"), {"REGION_MISMATCH"}),
    (named("backwards", times, "2026-11-02T10:09:00.000+0000", "2026-11-02T10:01:00.000+0000"), {"TIMESTAMP_SUSPECT"}),
    (named("without_zone", times, "2026-11-02T10:01:00.000", "2026-11-02T10:09:00.000"), {"TIMESTAMP_SUSPECT"}),
    (named("hours_early", times, "2026-11-02T05:01:00.000+0000", "2026-11-02T05:09:00.000+0000"),
     {"TIMESTAMP_SUSPECT"}),
    (named("in_the_future", times, "2099-11-02T10:01:00.000+0000", "2099-11-02T10:09:00.000+0000"),
     {"TIMESTAMP_SUSPECT"}),
    (named("before_its_conversation", away_from_its_conversation, "10:21:01", "10:59:00"), {"TIMESTAMP_SUSPECT"}),
    (named("after_its_conversation", away_from_its_conversation, "10:00:00", "10:18:59"), {"TIMESTAMP_SUSPECT"}),
    (named("unreadable_time", times, "tomorrowZ", "2026-11-02T10:09:00.000Z"), {"TIMESTAMP_SUSPECT"}),
    (named("lasting_a_text", lasting, None, '"ten minutes"'), {"TIMESTAMP_SUSPECT"}),
    (named("lasting_a_text_of_digits", lasting, 580_000, '"580000"'), {"TIMESTAMP_SUSPECT"}),
    (named("lasting_less_than_nothing", lasting, -580_000), {"TIMESTAMP_SUSPECT"}),
    (named("lasting_longer_than_from_start_to_end", lasting, 2**63 - 1), {"TIMESTAMP_SUSPECT"}),
    (named("lasting_shorter_than_from_start_to_end", lasting, 577_999), {"TIMESTAMP_SUSPECT"}),
]  # fmt: skip
NEAR_MISSES: list[Given] = [
    named("set_to_nothing_everywhere", Night.call, agent={**HEALTHY_AGENT, "Disposition": ""},
          customer={"Disposition": " "}),
    listened_to,
    named("healthy", Night.call),
    named("sidecar_without_ids", with_sidecar, conversation_id=None, recording_id=None),
    named("media_of_one_byte", with_media_of, 1),
    named("every_object_listed", with_metadata, session_id="c1-agent-1-session"),
    named("helper_document", beside, key_finding=None),
    deleted_object_of_another_name,
    failed_then_exported,
    named("archived_after_export", with_metadata, file_state="ARCHIVED"),
    only_read_singly,
    named("refused_but_in_details", refused, 403),
    named("kept_by_sidecar", with_sidecar, has_tags_field=True, tags={"Legal-Hold": "false"}),
    named("not_late", read_singly, {}),
    named("cut_then_whole", read_singly, {"agent": summary("x" * 1024)}, agent=summary("x" * 2500)),
    named("exactly_as_long", read_singly, {"agent": summary("x" * 1024)}),
    named("almost_as_long", Night.call, agent=summary("x" * 1023)),
    named("almost_as_long_with_an_emoji", Night.call, agent=summary("\U0001f4de" + "é" * 1021)),
    named("on_customer", Night.call, agent=UNHELD, customer={"Legal-Hold": "true"}),
    named("agreement", Night.transfer, HEALTHY_AGENT, HEALTHY_AGENT),
    named("empty_on_other_rank", Night.call, customer={"Legal-Hold": " "}),
    named("captured_unchanged", captured, ("10:11:00", HEALTHY_AGENT)),
    came_back,
    named("running_until_its_end", running, "10:09:59", "10:10:00"),
    named("running_from_its_end", running, "10:10:00", "10:10:01"),
    told_of_impossible_times,
    named("only_told_of_attributes", running, "10:09:59", "10:10:01", topic="attributes"),
    without_a_customer,
    running_and_captured,
    named("announced_and_exported", announced, "r1"),
    script_published_just_before,
    script_without_rule,
    no_script,
    named("region_unknown", with_metadata, region=None),
    named("lasting_within_the_seconds_of_start_and_end", lasting, 582_000, "582000"),
    named("almost_before_its_conversation", away_from_its_conversation, "10:21:00", "10:59:00"),
    named("almost_after_its_conversation", away_from_its_conversation, "10:00:00", "10:19:00"),
    named("other_zone", times, "2026-11-02T12:01:00+0200", "2026-11-02T12:09:00+02:00"),
    over_midnight,
]  # fmt: skip


# Published scripts add up over all nights, so what concerns them needs a warehouse of its own.
OF_SCRIPTS = {script_unknown, script_published_later, script_published_just_before, script_old, script_without_rule}
NAMES: list[Any] = [pytest.param(given, expected, id=given.__name__) for given, expected in PRESENT]
NAMES += [pytest.param(given, set(), id=given.__name__) for given in NEAR_MISSES]


@pytest.fixture(scope="module")
def nights(
    models: dict[str, SqlModel],
    shipped_mapping: TagMapping,
    empty_warehouse: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Given, Night]]:
    """The night of each situation."""
    situations = [given for given, _ in PRESENT] + NEAR_MISSES
    given: dict[Given, Given] = {given: given for given in situations if given not in OF_SCRIPTS}
    with one_window(models, shipped_mapping, empty_warehouse, tmp_path_factory.mktemp("situations"), given) as found:
        yield found


@pytest.mark.parametrize(("given", "expected"), NAMES)
def test_a_situation_has_exactly_its_reason(request: pytest.FixtureRequest, given: Given, expected: set[str]) -> None:
    if given in OF_SCRIPTS:
        night = request.getfixturevalue("night")
        given(night)
        night.run()
    else:
        night = request.getfixturevalue("nights")[given]
    assert night.reasons() == expected
    assert night.check("no_unexplained_recording") == []
    assert night.check("row_conservation") == []
    for row in night.table("gaps"):
        assert row["evidence"] not in (None, "[]", "[null]")
        assert row["detail"]
        assert row["sentence"] == BY_CODE[row["reason"]].sentence
    if not expected:
        assert {row["custody_status"] for row in night.table("chain_of_custody")} == {"complete"}


def test_a_report_counts_every_situation_as_the_reconciliation_does(nights: dict[Given, Night]) -> None:
    con = next(iter(nights.values())).con
    last = max(night.day for night in nights.values())
    told = {
        night["night"]: (night["recordings"], night["present"], night["explained"], night["unexplained"])
        for night in night_report(con, Scope(NIGHT, last, "every situation")).nights
    }
    counted = con.execute(
        "SELECT partition_date, expected, present, explained, unexplained FROM custody.reconciliation "
        "WHERE source = 'recordings' AND expected > 0"
    ).fetchall()
    assert len(counted) > 80
    assert {night: told[night] for night, *_ in counted} == {night: tuple(numbers) for night, *numbers in counted}


def test_every_reason_of_the_catalogue_is_shown_here() -> None:
    # No source shows an erased conversation: forgetting/test_erase.py does.
    assert set().union(*(expected for _, expected in PRESENT)) == set(BY_CODE) - {"ERASED"}


@together
def test_a_gap_names_what_proves_it(night: Night) -> Parts:
    read_singly(night, {"agent": UNHELD}, agent=HEALTHY_AGENT)
    yield
    gap = night.gap("TAGS_SET_AFTER_END")
    assert gap["detail"] == '"Legal-Hold"'
    assert {proof["what"] for proof in gap["evidence"]} == {"conversation_details document", "conversation document"}
    assert all(len(proof["sha256"]) == 64 and proof["uri"] for proof in gap["evidence"])


@together
def test_a_vanished_tag_is_told_with_when_it_was_seen_and_when_it_was_gone(night: Night) -> Parts:
    vanished_between_captures(night)
    yield
    seen, gone = f"{night.day} 10:11:00 UTC (capture)", f"{night.day} 10:22:00 UTC (capture)"
    told = f'"Callback-Number": seen until {seen}, gone by {gone}'
    gap = night.gap("TAG_VANISHED")
    assert gap["detail"] == told
    assert len(gap["evidence"]) == 2
    kept = {row["tag_key"]: row for row in night.table("custom_data") if row["source"] == "capture"}
    assert (kept["Callback-Number"]["still_there"], kept["Legal-Hold"]["still_there"]) == (False, True)
    assert night.row()["custody_status"] == "complete"
    yield
    assert night.gap("TAG_VANISHED")["detail"] == told


@together
def test_media_of_one_recording_below_two_conversations_are_told(night: Night) -> Parts:
    night.call()
    night.call("c2", "r2")
    night.drop("export_objects", conversation_id="c2")
    night.drop("export_sidecars", key_conversation_id="c2")
    night.export("c2", "r1")
    yield
    gaps = night.table("gaps")
    assert [(gap["conversation_id"], gap["reason"]) for gap in gaps] == [
        ("c1", "DOCUMENTS_DISAGREE"), ("c2", "DOCUMENTS_DISAGREE")
    ]  # fmt: skip
    assert {gap["detail"] for gap in gaps} == {"the bucket has it below several conversations: c1, c2"}


@pytest.mark.parametrize("read", [False, True])
@together
def test_a_required_tag_is_called_missing_only_if_the_conversation_was_read(night: Night, read: bool) -> Parts:
    night.call()
    night.rows["conversation_details"].clear()
    night.sidecar().update(has_tags_field=True, tags={"Consent.Recorded": "true"})
    if read:
        night.single(agent={"Disposition": "Resolved"})
    else:
        night.refuse(403)
    yield
    assert night.reasons("r1") == {"REQUIRED_TAG_MISSING" if read else "CONVERSATION_FORBIDDEN"}


@together
def test_a_tag_that_the_job_has_no_more_is_told(night: Night) -> Parts:
    night.call(agent={**HEALTHY_AGENT, **CALLBACK})
    yield
    night.leg()["attributes"] = HEALTHY_AGENT
    yield
    gap = night.gap("TAG_VANISHED")
    assert (gap["tag_keys"], gap["detail"].count("(details)")) == (["Callback-Number"], 2)
    assert night.row()["custom_data_callback_number"] == CALLBACK["Callback-Number"]


@together
def test_an_answer_about_another_conversation_tells_nothing_of_this_one(night: Night) -> Parts:
    night.call()
    night.rows["conversation_details"].clear()
    night.rows["export_sidecars"][0]["user_ids"] = None
    read = night.single(agent={"Legal-Hold": "true"})
    read |= {"conversation_id": "c9", "start_time": "2026-10-30 09:00:00"}
    read["participants"][0] |= {"user_id": "u9", "queue_id": "q9", "ani": "tel:+1", "dnis": "tel:+2"}
    yield
    row = night.row()
    told = ("ani", "dnis", "conversation_start", "custom_data", "custom_data_legal_hold")
    assert [row[name] for name in told] == [None] * 5
    assert (row["user_ids"], row["queue_ids"], row["custom_data_state"]) == ([], [], "unavailable")
    assert night.reasons("r1") == {"DOCUMENTS_DISAGREE", "CONVERSATION_FETCH_FAILED"}


@together
def test_a_tag_deleted_between_two_readings_is_lost_between_them(night: Night) -> Parts:
    night.call()
    night.single(agent={**HEALTHY_AGENT, **CALLBACK})
    yield
    night.rows["conversations"].clear()
    night.single()
    yield
    assert night.gap("TAG_VANISHED")["detail"] == (
        f'"Callback-Number": seen until {night.day + timedelta(days=3)} 02:30:00 UTC (conversation), '
        f"gone by {night.day + timedelta(days=4)} 02:30:00 UTC (conversation)"
    )


@together
def test_a_captured_conversation_without_recording_has_a_row_with_its_tags(night: Night) -> Parts:
    captured_without_recording(night)
    yield
    row = night.row("capture:c9")
    assert (row["conversation_id"], row["custody_status"], row["custom_data_legal_hold"]) == ("c9", "gap", "false")
    assert night.balance("captures") == (1, 0, 1, 0)


@together
def test_a_captured_conversation_that_was_not_recorded_is_counted_and_no_row(night: Night) -> Parts:
    captured_and_not_recorded(night)
    yield
    assert night.table("chain_of_custody") == []
    balance = next(row for row in night.table("reconciliation") if row["source"] == "captures")
    assert (balance["expected"], balance["explained"], balance["unexplained"]) == (1, 1, 0)
    assert json.loads(balance["detail"]) == {"CAPTURE_WITHOUT_RECORDING": 0, "not_recorded": 1}


@together
def test_a_recording_that_an_event_announced_is_an_error_until_somebody_knows_it(night: Night) -> Parts:
    announced_and_unknown(night)
    yield
    gap = night.gap("CAPTURE_WITHOUT_RECORDING")
    assert (gap["recording_id"], gap["severity"]) == ("r9", "error")
    night.metadata("c1", {"recording_id": "r9", "exported_date": None})
    yield
    assert night.reasons("r9") == {"EXPORT_PENDING"}


@together
def test_a_gap_says_until_when_it_can_be_mended(night: Night) -> Parts:
    not_exported(night, file_state="ARCHIVED")
    night.rows["recording_metadata"][0]["delete_date"] = "2027-01-31 00:00:00"
    yield
    gap = night.gap("RECORDING_ARCHIVED")
    assert (gap["recoverable"], str(gap["recoverable_until"])) == ("until", "2027-01-31 00:00:00")


@together
def test_what_is_there_after_its_deletion_date_has_no_deadline(night: Night) -> Parts:
    """The vendor keeps a protected recording (a legal hold) beyond that date."""
    not_exported(night, delete_date="2026-11-03 00:00:00")
    yield
    gap = night.gap("EXPORT_PENDING")
    assert (gap["recoverable"], gap["recoverable_until"]) == ("yes", None)
    assert "; still there after its deletion date, " in gap["detail"]


@pytest.mark.parametrize(("state", "until"), [("AVAILABLE", None), ("ARCHIVED", 3)])
@together
def test_an_empty_object_can_be_exported_again_while_the_recording_is_there(
    night: Night, state: str, until: int | None
) -> Parts:
    with_media_of(night, 0)
    night.metadata("c1", {"recording_id": "r1", "delete_date": "2026-11-03 00:00:00", "file_state": state})
    yield
    found = night.gap("OBJECT_EMPTY")["recoverable_until"]
    assert (found and (found.date() - night.day).days + 2) == until


@together
def test_no_tag_value_is_in_a_detail(night: Night) -> Parts:
    night.transfer({**HEALTHY_AGENT, "Secret": "v-secret"}, {**HEALTHY_AGENT, "Secret": "v-other"})
    yield
    assert not night.query("SELECT 1 FROM custody.gaps WHERE detail LIKE '%v-%' OR evidence LIKE '%v-%'")


@together
def test_an_object_that_is_no_recording_is_named_by_its_key_and_uri(night: Night) -> Parts:
    beside(night)
    yield
    gap, key = night.gap("UNRECOGNISED_OBJECT"), "org/year=2026/month=11/day=2/hour=10/rec_123.opus"
    assert (gap["conversation_id"], gap["recording_id"]) == ("", f"object:{key}")
    assert [(proof["uri"], proof["what"]) for proof in gap["evidence"]] == [(f"s3://exports/{key}", "3 bytes")]
    assert [row["recording_id"] for row in night.table("chain_of_custody")] == ["r1"]


@together
def test_an_excluded_recording_is_excluded_and_not_a_gap(night: Night) -> Parts:
    not_stamped(night, total_skipped=1)
    yield
    assert night.row()["custody_status"] == "excluded"


@together
def test_the_script_version_is_the_latest_before_the_call_and_labelled_inferred(night: Night) -> Parts:
    night.call()
    yield
    row = night.row()
    assert (row["script_id"], row["script_version"], row["script_version_source"]) == (SCRIPT, "2", "inferred")


@together
def test_a_source_of_which_nothing_could_be_read_is_one_gap(night: Night) -> Parts:
    night.call()
    night.call("c2", "r2")
    for source in ("media_digests", "export_sidecars"):
        night.receipt(source, receipt_state="failed", detail="none of 2 objects could be read: denied")
    yield
    gap = night.gap("OBJECT_UNREADABLE")
    assert (gap["conversation_id"], gap["recording_id"]) == ("", "source:media_digests")
    assert gap["detail"] == "2 recordings; none of 2 objects could be read: denied"
    assert gap["evidence"][0]["uri"] == "receipt:001-media_digests"
    assert night.gap("SIDECAR_UNREADABLE")["recording_id"] == "source:export_sidecars"
    for name in ("r1", "r2"):
        assert night.row(name)["custody_status"] == "gap"
        assert night.row(name)["gap_reasons"] == ["OBJECT_UNREADABLE", "SIDECAR_UNREADABLE"]
    assert night.check("digests_present") == night.check("no_unexplained_recording") == []


@together
def test_a_digest_that_changed_since_an_earlier_load_is_a_changed_object(night: Night) -> Parts:
    night.call()
    yield
    night.rows["media_digests"][0]["sha256"] = "d" * 64
    yield
    assert night.reasons() == {"OBJECT_CHANGED"}
    assert night.row()["media_sha256"] == "d" * 64


@together
def test_other_bytes_under_another_key_are_a_changed_object_when_the_first_key_is_gone(night: Night) -> Parts:
    night.call()
    yield
    for row in (night.object(), night.rows["media_digests"][0]):
        row["object_key"] = row["object_key"].replace(".opus", ".wav")
    night.rows["media_digests"][0]["sha256"] = "d" * 64
    yield
    assert night.reasons() == {"OBJECT_CHANGED"}
    assert "a" * 64 in night.gap("OBJECT_CHANGED")["detail"]


@together
def test_other_bytes_found_by_the_fixity_job_are_a_changed_object_with_both_digests(night: Night) -> Parts:
    night.call()
    yield
    digest = night.rows["media_digests"][0]
    for sha256, result in (("a" * 64, "unchanged"), ("d" * 64, "changed"), (None, "gone")):
        night.execute(
            "INSERT INTO raw.fixity_checks BY NAME SELECT ?::DATE AS partition_date, ? AS bucket, ? AS object_key, "
            "? AS version_id, ? AS sha256, ? AS result, TIMESTAMP '2026-12-01' AS checked_at",
            [night.day, digest["bucket"], night.named(digest["object_key"]), digest["version_id"], sha256, result],
        )
    yield
    assert night.reasons() == {"OBJECT_CHANGED"}
    assert night.row()["media_sha256"] == "a" * 64, "what was exported, not what is there now"
    detail = night.gap("OBJECT_CHANGED")["detail"]
    assert "a" * 64 in detail
    assert "d" * 64 in detail


@together
def test_a_failed_metadata_read_explains_a_recorded_session(night: Night) -> Parts:
    without_media(night)
    night.refuse(503, resource="recording_metadata")
    yield
    assert night.reasons("session:c1-agent-1-session") == {"CONVERSATION_FETCH_FAILED"}
    assert night.check("no_unexplained_recording") == []


REGIONS = [
    ("eu-west-1", "eu-west-1", None, None),
    (None, "eu-west-1", None, None),
    ("us-east-1", "eu-west-1", "warning", "recording: us-east-1; organisation: eu-west-1; bucket: eu-west-1"),
    ("eu-west-1", "us-east-1", "info", "recording: eu-west-1; organisation: eu-west-1; bucket: us-east-1"),
    (None, "us-east-1", "info", "organisation: eu-west-1; bucket: us-east-1"),
    ("us-east-1", "us-east-1", "warning", "recording: us-east-1; organisation: eu-west-1; bucket: us-east-1"),
    ("us-east-1", None, "warning", "recording: us-east-1; organisation: eu-west-1"),
]


def test_recording_organisation_and_bucket_are_compared(night: Night) -> None:
    expected = {}
    for number, (region, bucket, severity, detail) in enumerate(REGIONS):
        recording = f"r{number}"
        night.call(f"c{number}", recording)
        night.metadata(f"c{number}", {"recording_id": recording, "region": region})
        for row in night.rows["export_objects"][-2:]:
            row["bucket_region"] = bucket
        if severity:
            expected[recording] = (severity, detail)
    api = {"genesys_domain": "mypurecloud.ie", "genesys_client_id": "id", "genesys_client_secret": "secret"}
    night.settings = Settings.model_validate(api)
    night.run()
    gaps = [row for row in night.table("gaps") if row["reason"] == "REGION_MISMATCH"]
    assert {row["recording_id"]: (row["severity"], row["detail"]) for row in gaps} == expected
    assert len(gaps) == len(expected)


@together
def test_another_organisations_folder_is_a_finding_and_no_second_export(night: Night) -> Parts:
    foreign_folder(night)
    night.call("c2", "r2")
    yield
    found = {(row["recording_id"], row["reason"]): row["detail"] for row in night.table("gaps")}
    assert found == {
        ("r1", "FOREIGN_ORGANISATION"): "its keys lie in the folders of 2 organisations",
        ("organization:other", "FOREIGN_ORGANISATION"): (
            "2 objects lie in the folder of organisation other; this is org"
        ),
    }


def test_an_organisations_id_that_changes_between_nights_is_named(night: Night) -> None:
    night.call()
    night.run()
    later = Night(night.con, night.models, night.mapping, night.scratch, NIGHT + timedelta(days=1))
    later.call("c2", "r2")
    later.run()
    assert later.check("same_organization") == []
    for row in later.rows["export_objects"]:
        row["organization_id"] = "other"
    later.run()
    (found,) = later.check("same_organization")
    assert (found["organization_id"], found["other_night"], found["other_organization_id"]) == ("other", NIGHT, "org")


@pytest.mark.parametrize(
    ("job", "media", "detail"),
    [
        ({"job_state": None}, {}, "an export job that covers it is not FULFILLED"),
        ({"include_screen": False}, {"media": "Screen"}, "the export job leaves out screen recordings"),
        ({}, {"file_state": "ERROR", "export_date": None}, "file state ERROR"),
        (
            {"job_state": None},
            {"file_state": "ERROR"},
            "an export job that covers it is not FULFILLED; file state ERROR",
        ),
        # The recordings that the job skipped as sensitive are others.
        (
            {"include_screen": False, "total_skipped": 1},
            {"media": "screen", "export_date": None},
            "the export job leaves out screen recordings",
        ),
        (
            {"include_snippet": False, "total_skipped": 1},
            {"media_subtype": "Snippet", "export_date": None},
            "the export job leaves out snippet recordings",
        ),
    ],
)
@together
def test_a_pending_export_names_the_job_that_left_it_out(night: Night, job: Row, media: Row, detail: str) -> Parts:
    night.call()
    night.rows["export_objects"].clear()
    night.rows["export_sidecars"].clear()
    night.metadata("c1", {"recording_id": "r1", "exported_date": None, **media})
    night.job(**job)
    yield
    assert night.gap("EXPORT_PENDING")["detail"] == detail
