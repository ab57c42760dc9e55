"""The vendor's documents, field for field: details, conversation, recording metadata, export sidecar.

Field names and enumerations are those of the official SDK's models (`AnalyticsConversation`, `Conversation`,
`RecordingMetadata`, `CustomAttributes`, `OrphanRecording`); the fields of the sidecar are those of real exports.

Belongs here: facts → JSON-ready dictionaries. Does not: faults of transport, paths or keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from custody_pipeline.simulator.calls import SEEN_AFTER_END, Conversation, Participant, Recording, Session
from custody_pipeline.simulator.identity import uuid_for
from custody_pipeline.simulator.structure import FLOW_ID, FLOW_NAME, FLOW_VERSION, TRUNCATION

Document = dict[str, Any]

# Metrics of a leg by its participant's purpose; those of count begin with n, those of time (milliseconds) with t.
_METRICS = {
    "ivr": ("nFlow", "tFlow", "tFlowDisconnect", "tIvr"),
    "acd": ("nOffered", "tAcd", "tWait"),
    "agent": ("nConnected", "nOffered", "tAlert", "tAnswered", "tTalkComplete", "tHeldComplete", "tAcw", "tHandle"),
}
_MOST_TURNS = 26


def iso(moment: datetime) -> str:
    """`2026-11-02T09:14:03.120Z`, as the API writes a time."""
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def export_time(moment: datetime, *, fraction: bool = True) -> str:
    """`2026-11-02T09:14:03.120+0000`, as the export writes a time."""
    return moment.isoformat(timespec="milliseconds" if fraction else "seconds")[:-6] + "+0000"


def _cut(attributes: Mapping[str, str]) -> dict[str, str]:
    """The bulk job's limit: keys and values end after 1,024 UTF-16 units, as Java counts characters."""
    return {_first_units(key): _first_units(value) for key, value in attributes.items()}


def _first_units(text: str) -> str:
    # Half a surrogate pair at the end is left out: no JSON library here writes it.
    return text.encode("utf-16-le")[: 2 * TRUNCATION].decode("utf-16-le", "ignore")


# Analytics


def details(conversation: Conversation, *, attributes: bool = True) -> Document:
    """`AnalyticsConversation`, or `AnalyticsConversationWithoutAttributes`."""
    return {
        "conversationId": conversation.id,
        "conversationStart": iso(conversation.start),
        "conversationEnd": iso(conversation.end),
        "originatingDirection": "inbound",
        "conversationInitiator": "customer",
        "customerParticipation": True,
        "divisionIds": [conversation.division.id],
        "mediaStatsMinConversationMos": 4.882,
        "participants": [_details_participant(conversation, item, attributes) for item in conversation.participants],
    }


def _details_participant(conversation: Conversation, person: Participant, attributes: bool) -> Document:
    document: Document = {
        "participantId": person.id,
        "participantName": person.name,
        "purpose": person.purpose,
        "sessions": [_details_session(conversation, person, leg) for leg in person.sessions],
    }
    if person.user_id:
        document["userId"] = person.user_id
    if any(leg.recording and leg.media_type == "screenshare" for leg in person.sessions):
        document["screenRecording"] = True
    if attributes and (person.bulk_attributes or person.purpose == "customer"):
        document["attributes"] = _cut(person.bulk_attributes)
    return document


def _details_session(conversation: Conversation, person: Participant, leg: Session) -> Document:
    document: Document = {
        "sessionId": leg.id,
        "mediaType": leg.media_type,
        "direction": "inbound",
        "ani": f"tel:{conversation.ani}",
        "dnis": f"tel:{conversation.dnis}",
        "edgeId": conversation.edge_id,
        "provider": "Edge",
        # The flag of a session is of audio alone (AnalyticsSession in the SDK); a screen is its participant's.
        "recording": leg.recording and leg.media_type == "voice",
        "segments": _segments(person, leg),
        "metrics": _metrics(person, leg),
    }
    if leg.media_type == "voice":
        document["mediaEndpointStats"] = _endpoint_stats(leg)
    if leg.peer_id:
        document["peerId"] = leg.peer_id
    if leg.script_id:
        document["scriptId"] = leg.script_id
    if leg.in_flow:
        document["flow"] = {
            "flowId": FLOW_ID,
            "flowName": FLOW_NAME,
            "flowType": "INBOUNDCALL",
            "flowVersion": FLOW_VERSION,
            "entryType": "dnis",
            "entryReason": f"tel:{conversation.dnis}",
            "exitReason": "TRANSFER",
            "transferType": "ACD",
        }
    return document


def _metrics(person: Participant, leg: Session) -> list[Document]:
    """The metrics of a leg, then those of each turn of talking and holding: most bytes of a real document."""
    start, end, length = iso(leg.start), iso(leg.end), int((leg.end - leg.start).total_seconds() * 1000)
    once = _METRICS.get(person.purpose, ("nConnected", "tConnected"))
    metrics = [{"emitDate": start, "name": name, "value": 1 if name[0] == "n" else length // 7} for name in once]
    turns = min(length // 60_000, _MOST_TURNS) if person.purpose in {"agent", "customer"} else 0
    for turn in range(turns):
        metrics += [{"emitDate": end, "name": name, "value": length // (turn + 2)} for name in ("tTalk", "tHeld")]
    return metrics


def _endpoint_stats(leg: Session) -> list[Document]:
    minutes = int((leg.end - leg.start).total_seconds()) // 60
    return [
        {
            "codecs": ["audio/opus"],
            "discardedPackets": place,
            "duplicatePackets": 0,
            "eventTime": iso(leg.start + timedelta(minutes=2 * place)),
            "invalidPackets": 0,
            "maxLatencyMs": 20 + 3 * place,
            "minMos": 4.882,
            "minRFactor": 92.4,
            "overrunPackets": 0,
            "receivedPackets": 6_000 * (place + 1),
            "underrunPackets": place % 3,
        }
        for place in range(1 + min(minutes, _MOST_TURNS) // 2)
    ]


def _segments(person: Participant, leg: Session) -> list[Document]:
    segment: Document = {
        "segmentStart": iso(leg.start),
        "segmentEnd": iso(leg.end),
        "segmentType": "ivr" if person.purpose == "ivr" else "interact",
        "disconnectType": "peer" if person.purpose == "agent" else "transfer" if person.queue else "client",
        "conference": False,
    }
    if person.queue:
        segment["queueId"] = person.queue.id
    if person.purpose != "agent" or leg.media_type != "voice":
        return [segment]
    wrap_up = {
        "segmentStart": iso(leg.end),
        "segmentEnd": iso(leg.end + timedelta(seconds=15)),
        "segmentType": "wrapup",
        "queueId": segment["queueId"],
        "wrapUpCode": uuid_for("wrap-up", person.wrap_up),
        "conference": False,
    }
    return [segment, wrap_up]


# Conversation


def conversation_document(conversation: Conversation, now: datetime) -> Document:
    """`Conversation`, with the attributes of each participant as they stand at `now`."""
    seen_after_end = conversation.start <= now < conversation.end + SEEN_AFTER_END
    document: Document = {
        "id": conversation.id,
        "startTime": iso(conversation.start),
        "participants": [
            _conversation_participant(conversation, item, seen_after_end) for item in conversation.participants
        ],
        "divisions": [
            {
                "division": {"id": conversation.division.id, "selfUri": division_uri(conversation.division.id)},
                "entities": [
                    {"id": conversation.queue.id, "selfUri": f"/api/v2/routing/queues/{conversation.queue.id}"}
                ],
            }
        ],
        "recordingState": "NONE",
        "state": "disconnected",
        "securePause": False,
        "selfUri": f"/api/v2/conversations/{conversation.id}",
    }
    if now >= conversation.end:
        document["endTime"] = iso(conversation.end)
    return document


def division_uri(division_id: str) -> str:
    """Where the API shows a division."""
    return f"/api/v2/authorization/divisions/{division_id}"


def _conversation_participant(conversation: Conversation, person: Participant, seen_after_end: bool) -> Document:
    document: Document = {
        "id": person.id,
        "startTime": iso(person.start),
        "endTime": iso(person.end),
        "connectedTime": iso(person.start),
        "name": person.name,
        "purpose": person.purpose,
        "ani": f"tel:{conversation.ani}",
        "dnis": f"tel:{conversation.dnis}",
        "wrapupRequired": person.purpose == "agent",
        "attributes": person.attributes | (person.vanished_attributes if seen_after_end else {}),
        "calls": [_call(person, leg) for leg in person.sessions if leg.media_type == "voice"],
    }
    if person.user_id:
        document |= {"userId": person.user_id, "userUri": f"/api/v2/users/{person.user_id}"}
    if person.queue:
        document |= {"queueId": person.queue.id, "queueName": person.queue.name}
    if person.wrap_up:
        document["wrapup"] = {"code": uuid_for("wrap-up", person.wrap_up), "name": person.wrap_up}
    return document


def _call(person: Participant, leg: Session) -> Document:
    document: Document = {
        "id": leg.id,
        "state": "terminated",
        "direction": "inbound",
        "recording": leg.recording,
        "recordingState": "none",
        "muted": False,
        "held": False,
        "disconnectType": "peer" if person.purpose == "agent" else "client",
        "connectedTime": iso(leg.start),
        "disconnectedTime": iso(leg.end),
        "provider": "Edge",
    }
    if leg.peer_id:
        document["peerId"] = leg.peer_id
    if leg.script_id:
        document["scriptId"] = leg.script_id
    return document


def typed_attributes(conversation: Conversation) -> Document:
    """`CustomAttributesListing`: typed attributes, of which few organisations have any."""
    if not conversation.typed_attributes:
        return {"results": []}
    attributes_id = uuid_for("typed-attributes", conversation.id)
    set_at = iso(conversation.end)
    return {
        "results": [
            {
                "id": attributes_id,
                "name": "Call outcome",
                "conversationId": conversation.id,
                "divisions": [conversation.division.id],
                "schema": {"id": uuid_for("schema", "call outcome"), "version": 1},
                "customAttributes": conversation.typed_attributes,
                "customAttributesTimestamps": dict.fromkeys(conversation.typed_attributes, set_at),
                "version": 1,
                "dateCreated": set_at,
                "dateModified": set_at,
                "selfUri": f"/api/v2/conversations/{conversation.id}/customattributes/{attributes_id}",
            }
        ]
    }


# Recordings


def recording_metadata(conversation: Conversation, item: Recording, annotation_id: str) -> Document:
    """`RecordingMetadata`; each request gives a hold annotation another id."""
    document: Document = {
        "id": item.id,
        "conversationId": conversation.id,
        "startTime": iso(item.start),
        "endTime": iso(item.end),
        "media": item.media,
        "mediaSubtype": item.subtype,
        "annotations": [_hold(item, annotation_id)] if item.number == 0 and conversation.index % 4 == 0 else [],
        "fileState": item.file_state,
        "maxAllowedRestorationsForOrg": 200,
        "remainingRestorationsAllowedForOrg": 200,
        "region": item.region,
        "selfUri": f"/api/v2/conversations/{conversation.id}/recordings/{item.id}",
    }
    document |= _dates(item)
    if item.session_id:
        document |= {"sessionId": item.session_id, "path": f"{conversation.id}/{item.id}.{item.extension}"}
    if item.archive_date:
        document["archiveMedium"] = "CLOUDARCHIVE"
    return document


def _hold(item: Recording, annotation_id: str) -> Document:
    return {
        "id": annotation_id,
        "type": "Pause",
        "reason": "Hold",
        "location": 20_000,
        "durationMs": 15_000,
        "absoluteLocation": 20_000,
        "absoluteDurationMs": 15_000,
        "recordingLocation": 20_000,
        "recordingDurationMs": 0,
        "user": {"id": item.user_ids[0]} if item.user_ids else None,
    }


def recording_document(conversation: Conversation, item: Recording, annotation_id: str, media_uri: str) -> Document:
    """`Recording`: the metadata, and the address of the media."""
    metadata = recording_metadata(conversation, item, annotation_id)
    metadata.pop("region")
    return metadata | {
        "mediaUris": {"0": {"mediaUri": media_uri}},
        "outputDurationMs": duration_ms(item),
        "creationTime": iso(item.start),
        "recordingFileRole": "CUSTOMER_EXPERIENCE",
    }


def orphan_document(conversation: Conversation) -> Document:
    """`OrphanRecording`: a recording that the service could not attach."""
    item = conversation.recordings[0]
    return {
        "id": uuid_for("orphan", conversation.orphan_recording_id),
        "createdTime": iso(conversation.end),
        "providerType": "EDGE",
        "mediaSizeBytes": 48_000,
        "mediaType": "CALL",
        "mediaSubtype": "Trunk",
        "fileState": "AVAILABLE",
        "orphanStatus": "CONVERSATION_NOT_COMPLETE",
        "region": item.region,
        "recording": {
            "id": conversation.orphan_recording_id,
            "conversationId": conversation.id,
            "startTime": iso(item.start),
            "endTime": iso(item.end),
            "media": "audio",
            "mediaSubtype": "Trunk",
            "fileState": "AVAILABLE",
        },
    }


def retention_document(conversation: Conversation, item: Recording) -> Document:
    """`RecordingRetention`."""
    ids = {"conversationId": conversation.id, "recordingId": item.id}
    return ids | _dates(item) | {"creationTime": iso(item.start)}


def _dates(item: Recording) -> Document:
    moments = {
        "archiveDate": item.archive_date,
        "deleteDate": item.delete_date,
        "exportDate": item.export_date,
        "exportedDate": item.exported_date,
    }
    return {name: iso(moment) for name, moment in moments.items() if moment is not None}


# Export


def duration_ms(item: Recording) -> int:
    """Length of the recording."""
    return int((item.end - item.start).total_seconds() * 1000)


def sidecar(conversation: Conversation, item: Recording, *, fraction: bool = True) -> Document:
    """The sidecar `_metadata.json` of an exported recording: no attributes, `+0000` times."""
    return {
        "mediaType": "Screen" if item.media == "screen" else "Call",
        "mediaSubtype": item.subtype,
        "provider": "Edge",
        "userIds": list(item.user_ids),
        "conversationId": conversation.id,
        "recordingId": item.id,
        "startTime": export_time(item.start, fraction=fraction),
        "endTime": export_time(item.end, fraction=fraction),
        "durationMs": duration_ms(item),
        "initialDirection": "inbound",
    }
