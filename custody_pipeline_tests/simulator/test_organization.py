"""The organisation is the same for the same seed, and every fault of the catalogue is where the answer key says."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from custody_pipeline.simulator import api_documents as documents
from custody_pipeline.simulator.calls import Conversation
from custody_pipeline.simulator.faults import CATALOGUE, NOT_IN_DETAILS, FaultPlan, Planting, reasons_of
from custody_pipeline.simulator.identity import ConversationIds, uuid_for
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.structure import PUBLISHED_SCRIPTS, REGION, SCRIPT_INTAKE, TRUNCATION
from custody_pipeline_tests.simulator.answer_keys import answer_key, mixture, vanishing_id

MAPPED = {
    "Legal-Hold",
    "Matter-Number",
    "Consent.Recorded",
    "Disposition",
    "Case_JSON",
    "Customer Language",
    "Callback-Number",
    "Summary",
}


@pytest.fixture(scope="module")
def night() -> list[Conversation]:
    return list(Organization().conversations())


def _tags(conversation: Conversation, *purposes: str) -> dict[str, str]:
    return {
        key: value
        for person in conversation.participants
        if person.purpose in purposes
        for key, value in person.attributes.items()
    }


def test_two_builds_are_equal_and_another_seed_differs() -> None:
    first, again, other = (list(Organization(seed=seed, size=60).conversations()) for seed in (7, 7, 8))
    assert first == again
    assert {item.id for item in first}.isdisjoint(item.id for item in other)


def test_a_conversation_is_rebuilt_from_its_id_alone() -> None:
    organization = Organization(size=200_000)
    conversation = organization.conversation(123_456)
    assert organization.find(conversation.id) == conversation
    assert organization.find(uuid_for("someone else")) is None
    assert Organization(night=date(2026, 11, 3), size=200_000).find(conversation.id) is None


@pytest.mark.parametrize("text", ["", "abc", "../../etc/passwd", "0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f", "ü" * 36])
def test_a_foreign_text_is_no_conversation_id(text: str) -> None:
    assert ConversationIds(7).decode(text) is None


def test_a_changed_id_is_not_taken_for_the_original() -> None:
    ids = ConversationIds(7)
    known = ids.encode(date(2026, 11, 2), 5)
    for place, digit in enumerate(known):
        if digit != "-":
            assert ids.decode(known[:place] + ("0" if digit != "0" else "1") + known[place + 1 :]) is None


def test_the_default_night_has_about_400_conversations_and_600_recordings(night: list[Conversation]) -> None:
    assert len(night) == 400
    assert 560 <= sum(len(item.recordings) for item in night) <= 640
    assert [item.start for item in night] == sorted(item.start for item in night)
    assert {item.start.date() for item in night} == {date(2026, 11, 2)}
    assert {item.kind for item in night} == {"simple", "transfer", "consult", "screen", "transfer+screen"}


def test_a_healthy_conversation_meets_no_condition_of_the_catalogue(night: list[Conversation]) -> None:
    organization = Organization()
    healthy = [item for item in night if item.fault is None]
    assert len(healthy) > 250
    scripts = {script.id: script.version_id for script in PUBLISHED_SCRIPTS}
    for item in healthy:
        assert not list(reasons_of(item))
        assert item.start < organization.watermark
        sessions = {leg.id for person in item.participants for leg in person.sessions if leg.recording}
        assert {recording.session_id for recording in item.recordings} == sessions
        assert len(item.recordings) == len(sessions)
        for recording in item.recordings:
            assert (recording.region, recording.file_state, recording.in_metadata) == (REGION, "AVAILABLE", True)
            assert recording.exported_date
            assert item.start <= recording.start < recording.end <= item.end
        for person in item.participants:
            assert person.bulk_attributes == person.attributes
            assert set(person.attributes) <= MAPPED
            assert {scripts[leg.script_id] for leg in person.sessions if leg.script_id} <= {"2", "3"}
        assert _tags(item, "agent", "customer")["Legal-Hold"]
        assert _tags(item, "ivr", "customer", "agent")["Consent.Recorded"]
        assert ("Matter-Number" in _tags(item, "agent", "customer")) == (item.queue.name in {"Litigation", "Claims"})
        keys = [key for person in item.participants for key in person.attributes]
        assert len(keys) == len(set(keys))


def test_a_later_leg_may_begin_after_the_hour_of_the_export_path(night: list[Conversation]) -> None:
    assert any(leg.start.hour != item.start.hour for item in night for leg in item.recordings if not item.fault)


def test_healthy_calls_have_awkward_and_long_values(night: list[Conversation]) -> None:
    values = {value for item in night if item.fault is None for value in _tags(item, "agent").values()}
    assert any(len(value) > TRUNCATION for value in values)
    assert values & {"007", "null", "=SUM(1;2)", "true"}


def test_the_answer_key_covers_every_reason_and_nothing_else() -> None:
    key = answer_key(Organization())
    counts = Counter(row.reason for row in key)
    assert counts.keys() == CATALOGUE.keys()
    assert min(counts.values()) >= 2
    assert key == sorted(set(key))


def test_a_recording_has_one_reason_except_where_the_region_can_only_be_read_without_a_sidecar() -> None:
    reasons: dict[tuple[str, str], set[str]] = {}
    for row in answer_key(Organization()):
        reasons.setdefault((row.conversation_id, row.recording_id), set()).add(row.reason)
    several = [found for found in reasons.values() if len(found) > 1]
    assert several
    assert all(found == {"REGION_MISMATCH", "SIDECAR_MISSING"} for found in several)


def test_every_form_of_every_fault_occurs_at_the_default_size(night: list[Conversation]) -> None:
    forms = Counter(next(iter(item.faults.items())) for item in night if item.faults)
    assert {(fault, form) for fault, number in CATALOGUE.items() for form in range(number)} == forms.keys()


@pytest.mark.parametrize("size", [1, 2, 5, 40, 400, 3_000])
def test_the_planting_of_any_size_agrees_with_its_inverse(size: int) -> None:
    planting = Planting(FaultPlan.every(), size, seed=3)
    by_index = Counter(planting.of(index)[0] for index in range(size))
    for fault in CATALOGUE:
        indexes = planting.indexes([fault])
        assert len(indexes) == by_index[fault]
        assert all(planting.of(index)[0] == fault for index in indexes)


def test_faults_grow_with_the_night() -> None:
    few, many = (Counter(row.reason for row in answer_key(Organization(size=size))) for size in (400, 4_000))
    assert all(many[reason] > few[reason] for reason in CATALOGUE)


def test_a_mixture_is_drawn_from_its_seed() -> None:
    mixtures = [mixture(seed) for seed in (1, 1, 2)]
    assert mixtures[0] == mixtures[1] != mixtures[2]
    organization = Organization(size=300, faults=mixtures[0])
    planted = {fault for fault, _ in mixtures[0].shares}
    reasons = {row.reason for row in answer_key(organization)}
    assert planted <= reasons <= planted | {"SIDECAR_MISSING"}


def test_a_night_without_faults_has_an_empty_answer_key() -> None:
    organization = Organization(size=120, faults=FaultPlan.none())
    assert answer_key(organization) == []
    assert all(item.start < organization.watermark for item in organization.conversations())


def test_an_unknown_fault_is_refused_with_the_catalogue() -> None:
    with pytest.raises(ValueError, match="no such fault: OBJECT_GONE; the catalogue has SIDECAR_MISSING"):
        FaultPlan.only("OBJECT_GONE")


def test_a_clock_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="now must be aware"):
        Organization(now=datetime(2026, 11, 3))


def test_the_night_is_not_yet_complete_at_the_default_time_and_is_later() -> None:
    organization = Organization()
    waiting = [row for row in answer_key(organization) if row.reason == "NOT_YET_AVAILABLE"]
    assert waiting
    assert (
        organization.opening + timedelta(hours=20) < organization.watermark < organization.opening + timedelta(days=1)
    )
    later = organization.at(datetime(2026, 11, 5, 3, tzinfo=UTC))
    gone = {row.reason for row in answer_key(organization)} - {row.reason for row in answer_key(later)}
    assert gone == {"NOT_YET_AVAILABLE", "EXPORT_PENDING", "CONVERSATION_FETCH_FAILED"}


def test_without_the_api_every_object_waits_for_its_source() -> None:
    organization = Organization(size=200)
    key = answer_key(organization, api=False)
    objects = {
        (item.id, recording.id)
        for item in organization.conversations()
        for recording in item.recordings
        if recording.has_object
    }
    deleted = {row[:2] for row in key if row.reason == "OBJECT_MISSING"}
    assert deleted
    assert {row[:2] for row in key if row.reason == "SOURCE_NOT_CONFIGURED"} == objects | deleted
    assert not {row.reason for row in key} & {*NOT_IN_DETAILS, "TAG_NEVER_SET", "REGION_MISMATCH"}


def test_the_gateways_manifests_drop_every_tag() -> None:
    organization = Organization(size=200)
    dropped = [
        row
        for row in answer_key(organization, manifest_source="recordingexports")
        if row.reason == "EXPORT_DROPPED_TAGS"
    ]
    healthy = [item for item in organization.conversations() if item.fault is None]
    assert len(dropped) >= sum(len(item.recordings) for item in healthy)


def test_one_tag_is_seen_for_ten_minutes_after_the_call_and_never_again() -> None:
    organization = Organization()
    conversation_id = vanishing_id(organization)
    assert conversation_id is not None
    conversation = organization.find(conversation_id)
    assert conversation is not None

    def keys(moment: datetime) -> set[str]:
        document = documents.conversation_document(conversation, moment)
        return {key for person in document["participants"] for key in person["attributes"]}

    assert "Legal-Hold" in keys(conversation.end + timedelta(minutes=9))
    assert "Legal-Hold" not in keys(conversation.end + timedelta(minutes=10))
    assert (conversation_id, conversation.recordings[0].id, "REQUIRED_TAG_MISSING") in answer_key(organization)


def test_the_details_cut_what_the_conversation_keeps(night: list[Conversation]) -> None:
    conversation = next(item for item in night if item.fault == "TAG_CHANGED_LATER")

    def attributes(document: dict[str, Any]) -> Any:
        return next(item for item in document["participants"] if item["purpose"] == "agent")["attributes"]

    bulk = attributes(documents.details(conversation))
    whole = attributes(documents.conversation_document(conversation, Organization().clock))
    assert len(bulk["Summary"]) == TRUNCATION < len(whole["Summary"])
    cut = next(item for item in night if item.fault == "TAG_TRUNCATED")
    assert len(attributes(documents.details(cut))["Summary"].encode("utf-16-le")) == 2 * TRUNCATION
    assert bulk["Disposition"] != whole["Disposition"]
    without = documents.details(conversation, attributes=False)
    assert all("attributes" not in person for person in without["participants"])


def test_the_jobs_overlap_and_their_totals_are_those_of_the_recordings(night: list[Conversation]) -> None:
    organization = Organization()
    first, second = organization.export_jobs
    assert first.interval_start < second.interval_start < first.interval_end < second.interval_end
    for job in (first, second):
        chosen = [item for item in night if job.selects(item.start, item.end)]
        selectable = [
            recording
            for item in chosen
            for recording in item.recordings
            if recording.in_metadata and recording.file_state == "AVAILABLE"
        ]
        totals = organization.totals(job)
        assert totals.recordings == len(selectable)
        assert totals.failed == len(organization.failed_recordings(job))
        assert totals.failed == sum("EXPORT_FAILED" in item.faults for item in selectable)
        assert totals.skipped == sum("EXPORT_EXCLUDED_SENSITIVE" in item.faults for item in selectable) > 0


def test_before_the_export_nothing_is_stamped() -> None:
    organization = Organization(size=50, now=datetime(2026, 11, 2, 23, 59, tzinfo=UTC))
    assert organization.export_jobs == ()
    assert all(item.exported_date is None for call in organization.conversations() for item in call.recordings)


def test_the_accepted_script_is_the_one_that_healthy_calls_use(night: list[Conversation]) -> None:
    used = {
        leg.script_id for item in night if not item.fault for person in item.participants for leg in person.sessions
    }
    assert used == {None, SCRIPT_INTAKE}
