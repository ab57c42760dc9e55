"""The findings that a night must have with other sources than the API and the bucket; faults drawn at random."""

from __future__ import annotations

from collections.abc import Iterator

from custody_pipeline.settings.table import ManifestSource
from custody_pipeline.simulator.calls import Conversation, refusal_of
from custody_pipeline.simulator.events import Watch, is_refused_for_a_while, stray_recording_id
from custody_pipeline.simulator.faults import CATALOGUE, NOT_IN_DETAILS, SEEN_IN_THE_BUCKET, FaultPlan, KeyRow, rows_of
from custody_pipeline.simulator.faults import answer_key as simulated_key
from custody_pipeline.simulator.identity import Draws, number
from custody_pipeline.simulator.organization import Organization


def answer_key(
    organization: Organization, *, api: bool = True, manifest_source: ManifestSource = "bucket"
) -> list[KeyRow]:
    """The exact findings of a night, sorted.

    Args:
        organization: as it stands at its `now`.
        api: False for a night that has the bucket alone: every recording in it is then `SOURCE_NOT_CONFIGURED`.
        manifest_source: with `recordingexports`, every manifest has an empty `custom_data`.
    """
    rows = set(simulated_key(organization) if api else _bucket_alone(organization))
    if api and manifest_source == "recordingexports":
        rows |= set(_dropped_by_manifest(organization))
    return sorted(rows)


def _bucket_alone(organization: Organization) -> Iterator[KeyRow]:
    for conversation in organization.conversations():
        for item in conversation.recordings:
            # The bucket keeps a marker of a deleted object: the recording is known, and missing.
            was_deleted = item.faults.get("OBJECT_MISSING") == 1
            if item.has_object or was_deleted:
                yield KeyRow(conversation.id, item.id, "SOURCE_NOT_CONFIGURED")
            if was_deleted:
                yield KeyRow(conversation.id, item.id, "OBJECT_MISSING")
        for fault in conversation.faults:
            if fault == "REGION_MISMATCH":
                yield KeyRow(conversation.id, conversation.recordings[0].id, "SIDECAR_MISSING")
            elif fault in SEEN_IN_THE_BUCKET:
                yield from rows_of(conversation, fault)


def _dropped_by_manifest(organization: Organization) -> Iterator[KeyRow]:
    for conversation in organization.conversations():
        known = not conversation.faults.keys() & ({"TAG_NEVER_SET"} | NOT_IN_DETAILS)
        for item in conversation.recordings:
            if known and item.has_object:
                yield KeyRow(conversation.id, item.id, "EXPORT_DROPPED_TAGS")


def mixture(seed: int) -> FaultPlan:
    """A random choice of faults with random shares, half of them with others beside them, drawn from `seed`."""
    draws = Draws(number("mixture", seed))
    chosen = [fault for fault in CATALOGUE if draws.chance(0.6)]
    return FaultPlan(tuple((fault, draws.between(1, 20) / 1000) for fault in chosen), mixed=0.5)


def vanishing_id(organization: Organization) -> str | None:
    """The conversation whose tag vanishes; None for an organisation too small to have one."""
    index = organization.vanishing_index
    return None if index is None else organization.conversation_id(index)


def watched(watch: Watch) -> list[KeyRow]:
    """The exact findings of the night when live capture watched until the end, sorted."""
    vanishing = vanishing_id(watch.organization)
    rows = {
        row._replace(reason="TAG_VANISHED") if row.conversation_id == vanishing else row
        for row in simulated_key(watch.organization)
    }
    rows |= {KeyRow(call.id, item.id, "CAPTURE_MISSING") for call in _missed(watch) for item in call.recordings}
    rows |= {KeyRow(call.id, stray_recording_id(call), "CAPTURE_WITHOUT_RECORDING") for call in watch.announced}
    return sorted(rows)


def _missed(watch: Watch) -> Iterator[Conversation]:
    """Conversations that were not captured and should have been."""
    seen = {event.conversation_id for event in watch.events}
    for call in map(watch.organization.conversation, watch.places):
        if refusal_of(call) == "forbidden" and call.id in seen:
            yield call
    for call in watch.calls:
        # Without a bulk document, the end of the call is unknown.
        if call.id in watch.lost or (is_refused_for_a_while(call) and not call.faults.keys() & NOT_IN_DETAILS):
            yield call
