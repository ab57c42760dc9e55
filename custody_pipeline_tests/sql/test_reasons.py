"""For each reason: a night that has it, and similar nights that do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.mapping_tables import write_mapping
from custody_pipeline.models.reasons import BY_CODE
from custody_pipeline.models.run import model_params, replace_window, run_models
from custody_pipeline.operations.night_report import Scope, night_report
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import SqlModel
from custody_pipeline_tests.sql.conftest import HEALTHY_AGENT, HEALTHY_IVR, NIGHT, SCRIPT, Night

Given = Callable[[Night], Any]


def healthy(night: Night) -> None:
    night.call()


def without_media(night: Night) -> None:
    night.call()
    night.drop("export_objects", object_role="media")
    night.drop("export_objects", object_role="sidecar")
    night.rows["export_sidecars"].clear()
    night.rows["media_digests"].clear()


# --- the bucket -------------------------------------------------------------------------------------------------------


def sidecar_missing(night: Night) -> None:
    night.call()
    night.drop("export_objects", object_role="sidecar")
    night.rows["export_sidecars"].clear()


def sidecar_truncated(night: Night) -> None:
    night.call()
    night.sidecar().update(
        document_state="truncated", conversation_id=None, recording_id=None, start_time=None, end_time=None
    )


def sidecar_empty(night: Night) -> None:
    night.call()
    night.object("sidecar")["object_bytes"] = 0
    night.sidecar().update(document_state="empty", start_time=None, end_time=None)


def sidecar_not_received(night: Night) -> None:
    night.call()
    night.rows["export_sidecars"].clear()


def sidecar_of_another(night: Night) -> None:
    night.call()
    night.sidecar()["recording_id"] = "r9"


def sidecar_without_ids(night: Night) -> None:
    night.call()
    night.sidecar().update(conversation_id=None, recording_id=None)


def answer_of_another(night: Night) -> None:
    night.call()
    night.single()["conversation_id"] = "c9"


def media_empty(night: Night) -> None:
    night.call()
    night.object()["object_bytes"] = 0


def media_of_one_byte(night: Night) -> None:
    night.call()
    night.object()["object_bytes"] = 1


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


def other_bytes(night: Night) -> None:
    second_version(night, "c" * 64)


def same_bytes(night: Night) -> None:
    second_version(night, "a" * 64)


def same_bytes_by_etag(night: Night) -> None:
    """The older version cannot be hashed; S3 wrote the same bytes."""
    same_bytes(night)
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


def object_of_nobody(night: Night) -> None:
    night.call()
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session"})
    night.export("c1", "stray")


def object_of_empty_list(night: Night) -> None:
    night.call()
    night.metadata("c1")


def every_object_listed(night: Night) -> None:
    night.call()
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session"})


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


def object_of_another_name(night: Night) -> None:
    beside(night)


def object_in_a_bad_folder(night: Night) -> None:
    key = "org/year=2026/month=11/day=2/hour=10/conversation_id=not-an-id/r7.opus"
    beside(night, object_key=key, object_role="media", recording_id="r7", key_finding="bad_conversation_id")


def helper_document(night: Night) -> None:
    beside(night, key_finding=None)


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


def failed(night: Night) -> None:
    without_media(night)
    night.metadata("c1", {"recording_id": "r1", "export_date": None, "exported_date": None})
    night.job()
    night.rows["export_failures"].append({"job_id": "j1", "conversation_id": "c1", "recording_id": "r1"})


def failed_then_exported(night: Night) -> None:
    night.call()
    night.job()
    night.rows["export_failures"].append({"job_id": "j1", "conversation_id": "c1", "recording_id": "r1"})


def not_stamped(night: Night, **job: Any) -> None:
    without_media(night)
    night.metadata("c1", {"recording_id": "r1", "export_date": None, "exported_date": None})
    night.job(**job)


def sensitive(night: Night) -> None:
    not_stamped(night, total_skipped=1)


def nothing_skipped(night: Night) -> None:
    not_stamped(night, total_skipped=0)


def sensitive_included(night: Night) -> None:
    not_stamped(night, total_skipped=1, include_sensitive=True)


def due(night: Night) -> None:
    without_media(night)
    night.metadata("c1", {"recording_id": "r1", "exported_date": None})
    night.job(total_skipped=1)


def job_running(night: Night) -> None:
    not_stamped(night, job_state="PROCESSING", total_skipped=1)


def archived(night: Night) -> None:
    without_media(night)
    stub = {"recording_id": "r1", "file_state": "ARCHIVED", "export_date": None, "exported_date": None}
    night.metadata("c1", stub)


def archived_after_export(night: Night) -> None:
    night.call()
    night.metadata("c1", {"recording_id": "r1", "file_state": "ARCHIVED"})


def deleted(night: Night) -> None:
    without_media(night)
    gone = {"recording_id": "r1", "delete_date": "2026-11-03 00:00:00", "export_date": None, "exported_date": None}
    night.metadata("c1", gone)


def deleted_in_future(night: Night) -> None:
    without_media(night)
    going = {"recording_id": "r1", "delete_date": "2030-01-01 00:00:00", "export_date": None, "exported_date": None}
    night.metadata("c1", going)


def recorded_but_unknown(night: Night) -> None:
    without_media(night)
    night.metadata("c1")


def failed_and_deleted(night: Night) -> None:
    failed(night)
    night.audit("Delete")


def deleted_and_not_listed(night: Night) -> None:
    recorded_but_unknown(night)
    night.audit("Delete", "r9")


def deletion_that_failed(night: Night) -> None:
    recorded_but_unknown(night)
    night.audit("Delete", "r9", audit_status="Failure")


def listened_to(night: Night) -> None:
    night.call()
    night.audit("Read")


# --- conversations ----------------------------------------------------------------------------------------------------


def unknown_conversation(night: Night, status: int | None) -> None:
    night.call()
    night.rows["conversation_details"].clear()
    if status != 0:
        night.refuse(status)


def not_found(night: Night) -> None:
    unknown_conversation(night, 404)


def erased_at_vendor(night: Night) -> None:
    unknown_conversation(night, 404)
    night.erase_at_vendor()


def erasure_that_failed(night: Night) -> None:
    unknown_conversation(night, 404)
    night.erase_at_vendor(request_status="ERROR")


def erasure_before_the_call(night: Night) -> None:
    unknown_conversation(night, 404)
    night.erase_at_vendor(created_date="2026-11-01 23:00:00")


def erasure_of_what_is_refused(night: Night) -> None:
    unknown_conversation(night, 403)
    night.erase_at_vendor()


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


def forbidden(night: Night) -> None:
    unknown_conversation(night, 403)


def server_error(night: Night) -> None:
    unknown_conversation(night, 503)


def timed_out(night: Night) -> None:
    unknown_conversation(night, None)


def nobody_asked(night: Night) -> None:
    unknown_conversation(night, 0)


def only_read_singly(night: Night) -> None:
    night.call()
    night.single()
    night.rows["conversation_details"].clear()


def refused_but_in_details(night: Night) -> None:
    night.call()
    night.refuse(403)


def no_api(night: Night) -> None:
    night.call()
    night.api = False


# --- tags -------------------------------------------------------------------------------------------------------------


def dropped(night: Night) -> None:
    night.call()
    night.sidecar().update(has_tags_field=True, tags={})


def dropped_by_manifest(night: Night) -> None:
    night.call()
    night.rows["export_manifests"].append(
        {"export_id": "e1", "conversation_id": "c1", "recording_id": "r1", "has_tags_field": True, "tags": None}
    )


def kept_by_sidecar(night: Night) -> None:
    night.call()
    night.sidecar().update(has_tags_field=True, tags={"Legal-Hold": "false"})


def nothing_to_drop(night: Night) -> None:
    night.call(agent={}, ivr={})
    night.single()
    night.sidecar().update(has_tags_field=True, tags={})


def late(night: Night) -> None:
    night.call(agent={"Disposition": "Resolved"})
    night.single(agent=HEALTHY_AGENT)


def all_late(night: Night) -> None:
    night.call(agent={}, ivr={})
    night.single(agent=HEALTHY_AGENT, ivr=HEALTHY_IVR)


def not_late(night: Night) -> None:
    night.call()
    night.single()


def cut(night: Night, status: int) -> None:
    night.call(agent={**HEALTHY_AGENT, "Summary": "x" * 1024})
    night.refuse(status)


def cut_for_good(night: Night) -> None:
    cut(night, 404)


def cut_with_an_emoji(night: Night) -> None:
    # 1,023 characters and 1,024 UTF-16 units, which are what the job counts.
    night.call(agent={**HEALTHY_AGENT, "Summary": "\U0001f4de" + "x" * 1022})
    night.refuse(404)


def cut_then_whole(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Summary": "x" * 1024})
    night.single(agent={**HEALTHY_AGENT, "Summary": "x" * 2500})


def exactly_as_long(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Summary": "x" * 1024})
    night.single()


def almost_as_long(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Summary": "x" * 1023})


def almost_as_long_with_an_emoji(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Summary": "\U0001f4de" + "é" * 1021})


def on_ivr(night: Night) -> None:
    night.call(agent={"Disposition": "Resolved"}, ivr={**HEALTHY_IVR, "Legal-Hold": "true"})


def on_both(night: Night) -> None:
    night.call(ivr={**HEALTHY_IVR, "Legal-Hold": "true"})


def on_customer(night: Night) -> None:
    night.call(agent={"Disposition": "Resolved"}, customer={"Legal-Hold": "true"})


def misspelt(night: Night) -> None:
    night.call(agent={"legal_hold": "true", "Disposition": "Resolved"})


def behind_a_prefix(night: Night) -> None:
    night.call(agent={"Disposition": "Resolved"}, customer={"context.Legal-Hold": "true"})


def behind_a_prefix_and_misspelt(night: Night) -> None:
    night.call(agent={"Disposition": "Resolved"}, customer={"Context.legalhold": "true"})


def behind_another_prefix(night: Night) -> None:
    night.call(agent={"Disposition": "Resolved"}, customer={"contextual.Legal-Hold": "true"})


def beside_a_prefix(night: Night) -> None:
    night.call(customer={"context.Legal-Hold": "false"})


def against_a_prefix(night: Night) -> None:
    night.call(customer={"context.Legal-Hold": "true"})


def side_by_side(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "legal_hold": "true", "LegalHold": "true"})


def conflict(night: Night) -> None:
    night.transfer(HEALTHY_AGENT, {**HEALTHY_AGENT, "Disposition": "Escalated"})


def agreement(night: Night) -> None:
    night.transfer(HEALTHY_AGENT, HEALTHY_AGENT)


def of_other_rank(night: Night) -> None:
    night.call(customer={"Legal-Hold": "true"})


def sidecar_against_conversation(night: Night) -> None:
    night.call()
    night.sidecar().update(has_tags_field=True, tags={"Legal-Hold": "true"})


def sidecar_of_participants_against_conversation(night: Night) -> None:
    night.call()
    leg = {"participant_id": "c1-agent-1", "purpose": "agent", "attributes": {"Legal-Hold": "true"}}
    night.sidecar()["participants"] = [leg]


def empty_on_other_rank(night: Night) -> None:
    night.call(customer={"Legal-Hold": " "})


def unmapped_on_other_rank(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Extra": "1"}, customer={"Extra": "2"})


def changed(night: Night) -> None:
    night.call()
    night.single(agent={**HEALTHY_AGENT, "Disposition": "Escalated"})


def captured_unchanged(night: Night) -> None:
    night.call()
    night.capture("10:11:00", agent=HEALTHY_AGENT)


def never_set(night: Night) -> None:
    night.call(agent={}, ivr={})
    night.single()


def set_nowhere(night: Night) -> None:
    night.call(agent={"Disposition": "Resolved"})
    night.single()


def set_to_null(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Legal-Hold": None})
    night.single()


def set_to_nothing(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Legal-Hold": ""})


def set_to_blanks(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Legal-Hold": " \t\u00a0"})


def set_to_nothing_and_not_elsewhere(night: Night) -> None:
    """No column requires the tag: only the conflict tells that the customer's leg has a value."""
    night.call(agent={**HEALTHY_AGENT, "Disposition": ""}, customer={"Disposition": "Resolved"})


def set_to_nothing_everywhere(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "Disposition": ""}, customer={"Disposition": " "})


def matter_missing(night: Night) -> None:
    night.call(queue="q-litigation")
    night.single()


def unmapped(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, "recording_id": "x"})


# --- live capture -----------------------------------------------------------------------------------------------------

CALLBACK = {"Callback-Number": "+15551234567"}


def vanished(night: Night) -> None:
    night.call()
    night.capture("10:11:00", agent={**HEALTHY_AGENT, **CALLBACK})
    night.single()


def vanished_between_captures(night: Night) -> None:
    night.call()
    night.capture("10:11:00", agent={**HEALTHY_AGENT, **CALLBACK})
    night.capture("10:22:00", agent=HEALTHY_AGENT)


def vanished_before_the_end(night: Night) -> None:
    night.call()
    night.capture("10:05:00", agent={**HEALTHY_AGENT, **CALLBACK})


def vanished_after_an_event(night: Night) -> None:
    night.call()
    night.capture("10:22:00", agent=HEALTHY_AGENT)
    night.event("10:05:00", topic="attributes", participant_id="c1-agent-1", attributes=CALLBACK)


def came_back(night: Night) -> None:
    night.call(agent={**HEALTHY_AGENT, **CALLBACK})
    for at, tags in (("10:05:00", CALLBACK), ("10:06:00", {}), ("10:07:00", CALLBACK)):
        night.capture(at, agent={**HEALTHY_AGENT, **tags})


def captured_late(night: Night) -> None:
    night.call()
    night.capture("10:11:00", agent={**HEALTHY_AGENT, **CALLBACK})


def captured_late_and_still_there(night: Night) -> None:
    night.call()
    night.capture("10:11:00", agent={**HEALTHY_AGENT, **CALLBACK})
    night.single(agent={**HEALTHY_AGENT, **CALLBACK})


def captured_value_changed(night: Night) -> None:
    night.call()
    night.capture("10:05:00", agent={**HEALTHY_AGENT, "Disposition": "Escalated"})


def refused_to_capture(night: Night) -> None:
    night.call()
    night.event("10:10:00", outcome="conversation_forbidden")


def running_before_and_after(night: Night) -> None:
    night.call()
    night.event("10:09:59", "c0")
    night.event("10:10:01", "c2")


def running_until_its_end(night: Night) -> None:
    night.call()
    night.event("10:09:59", "c0")
    night.event("10:10:00", "c2")


def running_from_its_end(night: Night) -> None:
    night.call()
    night.event("10:10:00", "c0")
    night.event("10:10:01", "c2")


def told_of_impossible_times(night: Night) -> None:
    """Capture ran after the end alone; the clocks of two senders are far off."""
    night.call()
    night.event("10:10:01", "c2")
    night.event("10:10:02", "c0", event_time="1970-01-01 00:00:00")
    night.event("10:10:03", "c3", event_time="9999-12-31 23:59:59")


def only_told_of_attributes(night: Night) -> None:
    night.call()
    night.event("10:09:59", "c0", topic="attributes")
    night.event("10:10:01", "c2", topic="attributes")


def without_a_customer(night: Night) -> None:
    running_before_and_after(night)
    night.leg("customer")["purpose"] = "user"


def running_and_captured(night: Night) -> None:
    running_before_and_after(night)
    night.capture("10:11:00", agent=HEALTHY_AGENT)


def captured_without_recording(night: Night) -> None:
    night.call()
    night.capture("10:11:00", "c9", agent=HEALTHY_AGENT, ivr=HEALTHY_IVR)


def announced_and_unknown(night: Night) -> None:
    night.call()
    night.capture("10:11:00", agent=HEALTHY_AGENT)
    night.event("10:10:30", topic="conversation:recordings:created", recording_id="r9")
    night.metadata("c1", {"recording_id": "r1", "session_id": "c1-agent-1-session"})


def announced_and_exported(night: Night) -> None:
    night.call()
    night.capture("10:11:00", agent=HEALTHY_AGENT)
    night.event("10:10:30", topic="conversation:recordings:created", recording_id="r1")


def captured_and_not_recorded(night: Night) -> None:
    without_media(night)
    night.leg()["sessions"][0]["recording"] = False
    night.capture("10:11:00", agent=HEALTHY_AGENT)


# --- script, region, clock --------------------------------------------------------------------------------------------


def script_unknown(night: Night) -> None:
    night.call()
    night.rows["published_scripts"].clear()


def script_published_later(night: Night) -> None:
    night.call()
    for row in night.rows["published_scripts"]:
        row["published_date"] = "2026-11-02 10:00:00.001"


def script_published_just_before(night: Night) -> None:
    night.call()
    for row in night.rows["published_scripts"]:
        row["published_date"] = "2026-11-02 10:00:00"


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


def region_elsewhere(night: Night) -> None:
    night.call()
    night.metadata("c1", {"recording_id": "r1", "region": "eu-central-1"})


def region_unknown(night: Night) -> None:
    night.call()
    night.metadata("c1", {"recording_id": "r1", "region": None})


def times(night: Night, start: str, end: str) -> None:
    night.call()
    night.sidecar().update(start_time=start, end_time=end, duration_ms=None)


def backwards(night: Night) -> None:
    times(night, "2026-11-02T10:09:00.000+0000", "2026-11-02T10:01:00.000+0000")


def without_zone(night: Night) -> None:
    times(night, "2026-11-02T10:01:00.000", "2026-11-02T10:09:00.000")


def hours_early(night: Night) -> None:
    times(night, "2026-11-02T05:01:00.000+0000", "2026-11-02T05:09:00.000+0000")


def in_the_future(night: Night) -> None:
    times(night, "2099-11-02T10:01:00.000+0000", "2099-11-02T10:09:00.000+0000")


def unreadable_time(night: Night) -> None:
    times(night, "tomorrowZ", "2026-11-02T10:09:00.000Z")


def lasting(night: Night, milliseconds: int | None, written: str | None = None) -> None:
    night.call()
    night.sidecar().update(duration_ms=milliseconds, duration_written=written)


def lasting_a_text(night: Night) -> None:
    lasting(night, None, '"ten minutes"')


def lasting_a_text_of_digits(night: Night) -> None:
    lasting(night, 580_000, '"580000"')


def lasting_less_than_nothing(night: Night) -> None:
    lasting(night, -580_000)


def lasting_longer_than_from_start_to_end(night: Night) -> None:
    lasting(night, 2**63 - 1)


def lasting_shorter_than_from_start_to_end(night: Night) -> None:
    lasting(night, 577_999)


def lasting_within_the_seconds_of_start_and_end(night: Night) -> None:
    lasting(night, 582_000, "582000")


def other_zone(night: Night) -> None:
    times(night, "2026-11-02T12:01:00+0200", "2026-11-02T12:09:00+02:00")


def over_midnight(night: Night) -> None:
    times(night, "2026-11-02T11:05:00Z", "2026-11-03T00:20:00Z")
    night.details()["conversation_end"] = "2026-11-03 00:21:00"


PRESENT: list[tuple[Given, set[str]]] = [
    (sidecar_missing, {"SIDECAR_MISSING"}),
    (sidecar_truncated, {"SIDECAR_UNREADABLE"}),
    (sidecar_empty, {"SIDECAR_UNREADABLE"}),
    (sidecar_not_received, {"SIDECAR_UNREADABLE"}),
    (sidecar_of_another, {"DOCUMENTS_DISAGREE"}),
    (answer_of_another, {"DOCUMENTS_DISAGREE"}),
    (media_empty, {"OBJECT_EMPTY"}),
    (media_unreadable, {"OBJECT_UNREADABLE"}),
    (other_bytes, {"OBJECT_CHANGED"}),
    (same_bytes, {"DUPLICATE_EXPORT"}),
    (same_bytes_by_etag, {"DUPLICATE_EXPORT"}),
    (two_paths, {"DUPLICATE_EXPORT"}),
    (foreign_folder, {"FOREIGN_ORGANISATION"}),
    (object_of_nobody, {"ORPHAN_OBJECT"}),
    (object_of_a_list_with_an_unreadable_entry, set()),
    (object_of_empty_list, {"ORPHAN_OBJECT"}),
    (object_of_another_name, {"UNRECOGNISED_OBJECT"}),
    (object_in_a_bad_folder, {"UNRECOGNISED_OBJECT"}),
    (orphan, {"ORPHAN_RECORDING"}),
    (never_arrived, {"OBJECT_MISSING"}),
    (deleted_from_bucket, {"OBJECT_MISSING"}),
    (failed, {"EXPORT_FAILED"}),
    (sensitive, {"EXPORT_EXCLUDED_SENSITIVE"}),
    (nothing_skipped, {"EXPORT_PENDING"}),
    (sensitive_included, {"EXPORT_PENDING"}),
    (due, {"EXPORT_PENDING"}),
    (job_running, {"EXPORT_PENDING"}),
    (archived, {"RECORDING_ARCHIVED"}),
    (deleted, {"RECORDING_DELETED"}),
    (failed_and_deleted, {"RECORDING_DELETED"}),
    (deleted_and_not_listed, {"RECORDING_DELETED"}),
    (deletion_that_failed, {"RECORDING_NOT_FOUND"}),
    (deleted_in_future, {"EXPORT_PENDING"}),
    (recorded_but_unknown, {"RECORDING_NOT_FOUND"}),
    (not_found, {"CONVERSATION_NOT_FOUND"}),
    (erased_at_vendor, {"ERASED_AT_VENDOR"}),
    (erasure_that_failed, {"CONVERSATION_NOT_FOUND"}),
    (erasure_before_the_call, {"CONVERSATION_NOT_FOUND"}),
    (erasure_of_what_is_refused, {"CONVERSATION_FORBIDDEN"}),
    (before_watermark, {"NOT_YET_AVAILABLE"}),
    (within_the_second_of_the_watermark, {"NOT_YET_AVAILABLE"}),
    (within_the_hour_of_the_watermark, {"NOT_YET_AVAILABLE", "SIDECAR_MISSING"}),
    (forbidden, {"CONVERSATION_FORBIDDEN"}),
    (server_error, {"CONVERSATION_FETCH_FAILED"}),
    (timed_out, {"CONVERSATION_FETCH_FAILED"}),
    (nobody_asked, {"CONVERSATION_FETCH_FAILED"}),
    (no_api, {"SOURCE_NOT_CONFIGURED"}),
    (dropped, {"EXPORT_DROPPED_TAGS"}),
    (dropped_by_manifest, {"EXPORT_DROPPED_TAGS"}),
    (nothing_to_drop, {"TAG_NEVER_SET"}),
    (late, {"TAGS_SET_AFTER_END"}),
    (all_late, {"TAGS_SET_AFTER_END"}),
    (cut_for_good, {"TAG_TRUNCATED"}),
    (cut_with_an_emoji, {"TAG_TRUNCATED"}),
    (on_ivr, {"TAGS_ON_OTHER_PARTICIPANT"}),
    (misspelt, {"TAG_KEY_VARIANT"}),
    (behind_a_prefix, {"TAG_KEY_PREFIXED"}),
    (behind_a_prefix_and_misspelt, {"TAG_KEY_PREFIXED"}),
    (behind_another_prefix, {"REQUIRED_TAG_MISSING", "UNMAPPED_TAG"}),
    (beside_a_prefix, {"UNMAPPED_TAG"}),
    (against_a_prefix, {"TAG_CONFLICT", "UNMAPPED_TAG"}),
    (side_by_side, {"UNMAPPED_TAG"}),
    (conflict, {"TAG_CONFLICT"}),
    (of_other_rank, {"TAG_CONFLICT"}),
    (on_both, {"TAG_CONFLICT"}),
    (sidecar_against_conversation, {"TAG_CONFLICT"}),
    (sidecar_of_participants_against_conversation, {"TAG_CONFLICT"}),
    (unmapped_on_other_rank, {"UNMAPPED_TAG"}),
    (changed, {"TAG_CHANGED_LATER"}),
    (vanished, {"TAG_VANISHED"}),
    (vanished_between_captures, {"TAG_VANISHED"}),
    (vanished_before_the_end, {"TAG_VANISHED"}),
    (vanished_after_an_event, {"TAG_VANISHED"}),
    (captured_late, {"TAGS_SET_AFTER_END"}),
    (captured_late_and_still_there, {"TAGS_SET_AFTER_END"}),
    (captured_value_changed, {"TAG_CHANGED_LATER"}),
    (refused_to_capture, {"CAPTURE_MISSING"}),
    (running_before_and_after, {"CAPTURE_MISSING"}),
    (captured_without_recording, {"CAPTURE_WITHOUT_RECORDING"}),
    (announced_and_unknown, {"CAPTURE_WITHOUT_RECORDING"}),
    (never_set, {"TAG_NEVER_SET"}),
    (set_nowhere, {"REQUIRED_TAG_MISSING"}),
    (set_to_null, {"REQUIRED_TAG_MISSING"}),
    (set_to_nothing, {"TAG_EMPTY"}),
    (set_to_blanks, {"TAG_EMPTY"}),
    (set_to_nothing_and_not_elsewhere, {"TAG_CONFLICT"}),
    (matter_missing, {"REQUIRED_TAG_MISSING"}),
    (unmapped, {"UNMAPPED_TAG"}),
    (script_unknown, {"SCRIPT_VERSION_UNKNOWN"}),
    (script_published_later, {"SCRIPT_VERSION_UNKNOWN"}),
    (script_old, {"SCRIPT_VERSION_INCOMPATIBLE"}),
    (region_elsewhere, {"REGION_MISMATCH"}),
    (backwards, {"TIMESTAMP_SUSPECT"}),
    (without_zone, {"TIMESTAMP_SUSPECT"}),
    (hours_early, {"TIMESTAMP_SUSPECT"}),
    (in_the_future, {"TIMESTAMP_SUSPECT"}),
    (unreadable_time, {"TIMESTAMP_SUSPECT"}),
    (lasting_a_text, {"TIMESTAMP_SUSPECT"}),
    (lasting_a_text_of_digits, {"TIMESTAMP_SUSPECT"}),
    (lasting_less_than_nothing, {"TIMESTAMP_SUSPECT"}),
    (lasting_longer_than_from_start_to_end, {"TIMESTAMP_SUSPECT"}),
    (lasting_shorter_than_from_start_to_end, {"TIMESTAMP_SUSPECT"}),
]
NEAR_MISSES: list[Given] = [
    set_to_nothing_everywhere,
    listened_to,
    healthy,
    sidecar_without_ids,
    media_of_one_byte,
    every_object_listed,
    helper_document,
    deleted_object_of_another_name,
    failed_then_exported,
    archived_after_export,
    only_read_singly,
    refused_but_in_details,
    kept_by_sidecar,
    not_late,
    cut_then_whole,
    exactly_as_long,
    almost_as_long,
    almost_as_long_with_an_emoji,
    on_customer,
    agreement,
    empty_on_other_rank,
    captured_unchanged,
    came_back,
    running_until_its_end,
    running_from_its_end,
    told_of_impossible_times,
    only_told_of_attributes,
    without_a_customer,
    running_and_captured,
    announced_and_exported,
    script_published_just_before,
    script_without_rule,
    no_script,
    region_unknown,
    lasting_within_the_seconds_of_start_and_end,
    other_zone,
    over_midnight,
]


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
    """Each situation has its own night, weeks apart; all nights are modelled in one window."""
    folder = tmp_path_factory.mktemp("situations")
    path = folder / "warehouse.duckdb"
    shutil.copyfile(empty_warehouse, path)
    with duckdb.connect(str(path), config={"threads": 2}) as con:
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        found: dict[Given, Night] = {}
        situations = [given for given, _ in PRESENT] + NEAR_MISSES
        for number, given in enumerate(given for given in situations if given not in OF_SCRIPTS):
            found[given] = Night(con, models, shipped_mapping, folder, NIGHT + timedelta(days=7 * number))
            given(found[given])
            found[given].load()
            write_mapping(con, shipped_mapping, found[given].day)
        end = NIGHT + timedelta(days=7 * len(found))
        for model in models.values():
            if model.materialized == "window":
                params = model_params(model, shipped_mapping)
                replace_window(con, model, NIGHT, end, params)
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


def test_a_gap_names_what_proves_it(night: Night) -> None:
    late(night)
    night.run()
    gap = night.gap("TAGS_SET_AFTER_END")
    assert gap["detail"] == '"Legal-Hold"'
    assert {proof["what"] for proof in gap["evidence"]} == {"conversation_details document", "conversation document"}
    assert all(len(proof["sha256"]) == 64 and proof["uri"] for proof in gap["evidence"])


def test_a_vanished_tag_is_told_with_when_it_was_seen_and_when_it_was_gone(night: Night) -> None:
    vanished_between_captures(night)
    night.run()
    told = '"Callback-Number": seen until 2026-11-02 10:11:00 UTC (capture), gone by 2026-11-02 10:22:00 UTC (capture)'
    gap = night.gap("TAG_VANISHED")
    assert gap["detail"] == told
    assert len(gap["evidence"]) == 2
    kept = {row["tag_key"]: row for row in night.table("custom_data") if row["source"] == "capture"}
    assert (kept["Callback-Number"]["still_there"], kept["Legal-Hold"]["still_there"]) == (False, True)
    assert night.row()["custody_status"] == "complete"
    night.run()
    assert night.gap("TAG_VANISHED")["detail"] == told


def test_a_tag_deleted_between_two_readings_is_lost_between_them(night: Night) -> None:
    night.call()
    night.single(agent={**HEALTHY_AGENT, **CALLBACK})
    night.run()
    night.rows["conversations"].clear()
    night.single()
    night.run()
    assert night.gap("TAG_VANISHED")["detail"] == (
        '"Callback-Number": seen until 2026-11-05 02:30:00 UTC (conversation), '
        "gone by 2026-11-06 02:30:00 UTC (conversation)"
    )


def test_a_captured_conversation_without_recording_has_a_row_with_its_tags(night: Night) -> None:
    captured_without_recording(night)
    night.run()
    row = night.row("capture:c9")
    assert (row["conversation_id"], row["custody_status"], row["custom_data_legal_hold"]) == ("c9", "gap", "false")
    balance = next(row for row in night.table("reconciliation") if row["source"] == "captures")
    assert (balance["expected"], balance["present"], balance["explained"], balance["unexplained"]) == (1, 0, 1, 0)


def test_a_captured_conversation_that_was_not_recorded_is_counted_and_no_row(night: Night) -> None:
    captured_and_not_recorded(night)
    night.run()
    assert night.table("chain_of_custody") == []
    balance = next(row for row in night.table("reconciliation") if row["source"] == "captures")
    assert (balance["expected"], balance["explained"], balance["unexplained"]) == (1, 1, 0)
    assert json.loads(balance["detail"]) == {"CAPTURE_WITHOUT_RECORDING": 0, "not_recorded": 1}


def test_a_recording_that_an_event_announced_is_an_error_until_somebody_knows_it(night: Night) -> None:
    announced_and_unknown(night)
    night.run()
    gap = night.gap("CAPTURE_WITHOUT_RECORDING")
    assert (gap["recording_id"], gap["severity"]) == ("r9", "error")
    night.metadata("c1", {"recording_id": "r9", "exported_date": None})
    night.run()
    assert night.reasons("r9") == {"EXPORT_PENDING"}


def test_a_gap_says_until_when_it_can_be_mended(night: Night) -> None:
    archived(night)
    night.rows["recording_metadata"][0]["delete_date"] = "2027-01-31 00:00:00"
    night.run()
    gap = night.gap("RECORDING_ARCHIVED")
    assert (gap["recoverable"], str(gap["recoverable_until"])) == ("until", "2027-01-31 00:00:00")


def test_no_tag_value_is_in_a_detail(night: Night) -> None:
    night.transfer({**HEALTHY_AGENT, "Secret": "v-secret"}, {**HEALTHY_AGENT, "Secret": "v-other"})
    night.run()
    assert not night.query("SELECT 1 FROM custody.gaps WHERE detail LIKE '%v-%' OR evidence LIKE '%v-%'")


def test_an_object_that_is_no_recording_is_named_by_its_key_and_uri(night: Night) -> None:
    object_of_another_name(night)
    night.run()
    gap, key = night.gap("UNRECOGNISED_OBJECT"), "org/year=2026/month=11/day=2/hour=10/rec_123.opus"
    assert (gap["conversation_id"], gap["recording_id"]) == ("", f"object:{key}")
    assert [(proof["uri"], proof["what"]) for proof in gap["evidence"]] == [(f"s3://exports/{key}", "3 bytes")]
    assert [row["recording_id"] for row in night.table("chain_of_custody")] == ["r1"]


def test_an_excluded_recording_is_excluded_and_not_a_gap(night: Night) -> None:
    sensitive(night)
    night.run()
    assert night.row()["custody_status"] == "excluded"


def test_the_script_version_is_the_latest_before_the_call_and_labelled_inferred(night: Night) -> None:
    night.call()
    night.run()
    row = night.row()
    assert (row["script_id"], row["script_version"], row["script_version_source"]) == (SCRIPT, "2", "inferred")


def test_a_source_of_which_nothing_could_be_read_is_one_gap(night: Night) -> None:
    night.call()
    night.call("c2", "r2")
    night.load()
    night.con.execute(
        "UPDATE raw.extraction_receipts SET receipt_state = 'failed', "
        "detail = 'none of 2 objects could be read: denied' WHERE resource IN ('media_digests', 'export_sidecars')"
    )
    night.model()
    gap = night.gap("OBJECT_UNREADABLE")
    assert (gap["conversation_id"], gap["recording_id"]) == ("", "source:media_digests")
    assert gap["detail"] == "2 recordings; none of 2 objects could be read: denied"
    assert gap["evidence"][0]["uri"] == "receipt:001-media_digests"
    assert night.gap("SIDECAR_UNREADABLE")["recording_id"] == "source:export_sidecars"
    for name in ("r1", "r2"):
        assert night.row(name)["custody_status"] == "gap"
        assert night.row(name)["gap_reasons"] == ["OBJECT_UNREADABLE", "SIDECAR_UNREADABLE"]
    assert night.check("digests_present") == night.check("no_unexplained_recording") == []


def test_a_digest_that_changed_since_an_earlier_load_is_a_changed_object(night: Night) -> None:
    night.call()
    night.run()
    night.rows["media_digests"][0]["sha256"] = "d" * 64
    night.run()
    assert night.reasons() == {"OBJECT_CHANGED"}
    assert night.row()["media_sha256"] == "d" * 64


def test_other_bytes_found_by_the_fixity_job_are_a_changed_object_with_both_digests(night: Night) -> None:
    night.call()
    night.run()
    digest = night.rows["media_digests"][0]
    for sha256, result in (("a" * 64, "unchanged"), ("d" * 64, "changed"), (None, "gone")):
        night.con.execute(
            "INSERT INTO raw.fixity_checks BY NAME SELECT ?::DATE AS partition_date, ? AS bucket, ? AS object_key, "
            "? AS version_id, ? AS sha256, ? AS result, TIMESTAMP '2026-12-01' AS checked_at",
            [night.day, digest["bucket"], digest["object_key"], digest["version_id"], sha256, result],
        )
    night.run()
    assert night.reasons() == {"OBJECT_CHANGED"}
    assert night.row()["media_sha256"] == "a" * 64, "what was exported, not what is there now"
    detail = night.gap("OBJECT_CHANGED")["detail"]
    assert "a" * 64 in detail
    assert "d" * 64 in detail


def test_a_failed_metadata_read_explains_a_recorded_session(night: Night) -> None:
    without_media(night)
    night.refuse(503, resource="recording_metadata")
    night.run()
    assert night.reasons("session:c1-agent-1-session") == {"CONVERSATION_FETCH_FAILED"}
    assert night.check("no_unexplained_recording") == []


@pytest.mark.parametrize(
    ("region", "bucket", "severity", "detail"),
    [
        ("eu-west-1", "eu-west-1", None, None),
        (None, "eu-west-1", None, None),
        ("us-east-1", "eu-west-1", "warning", "recording: us-east-1; organisation: eu-west-1; bucket: eu-west-1"),
        ("eu-west-1", "us-east-1", "info", "recording: eu-west-1; organisation: eu-west-1; bucket: us-east-1"),
        (None, "us-east-1", "info", "organisation: eu-west-1; bucket: us-east-1"),
        ("us-east-1", "us-east-1", "warning", "recording: us-east-1; organisation: eu-west-1; bucket: us-east-1"),
        ("us-east-1", None, "warning", "recording: us-east-1; organisation: eu-west-1"),
    ],
)
def test_recording_organisation_and_bucket_are_compared(
    night: Night, region: str | None, bucket: str | None, severity: str | None, detail: str | None
) -> None:
    night.call()
    night.metadata("c1", {"recording_id": "r1", "region": region})
    for row in night.rows["export_objects"]:
        row["bucket_region"] = bucket
    night.load()
    api = {"genesys_domain": "mypurecloud.ie", "genesys_client_id": "id", "genesys_client_secret": "secret"}
    run_models(night.con, night.models, night.day, night.mapping, Settings.model_validate(api))
    found = [(row["severity"], row["detail"]) for row in night.table("gaps") if row["reason"] == "REGION_MISMATCH"]
    assert found == ([(severity, detail)] if severity else [])


def test_another_organisations_folder_is_a_finding_and_no_second_export(night: Night) -> None:
    foreign_folder(night)
    night.call("c2", "r2")
    night.run()
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
