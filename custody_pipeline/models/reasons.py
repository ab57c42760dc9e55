"""Every gap reason: its meaning, its severity, whether it can be mended, by whom, and how.

Belongs here: the catalogue (its codes are a contract) and the table that SQL joins. Does not: when a reason applies
(sql/staging/gaps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from custody_pipeline.warehouse.sql_text import create_table

if TYPE_CHECKING:
    import duckdb

Severity = Literal["error", "warning", "info"]
Recoverable = Literal["yes", "no", "until"]
Recheck = Literal["no", "lag", "retention"]
Missing = Literal["media", "tags"]


_VENDOR = "administrator of Genesys Cloud"
_EXPORTS = "who runs the recording export"
_BUCKET = "administrator of the export bucket"
_SCRIPTS = "author of the script or flow"
_MAPPING = "owner of the tag mapping"
_PIPELINE = "operator of the pipeline"
_COUNSEL = "legal or compliance"


@dataclass(frozen=True)
class Reason:
    """One gap reason.

    Attributes:
        code: the contract's code.
        who: does the next action.
        severity: `error` and `warning` make a recording a gap; `info` is a note.
        recoverable: `yes`, `no`, or `until` a time that the gap names (a retention that ends, a watermark).
        next_action: the next step of a person or of the pipeline.
        recheck: how long collecting the night again may close the gap by itself: `no` (it stays, or something else than
            the night has to change), `lag` (while the vendor's data may still arrive), `retention` (as long as the
            vendor keeps the recording, at most `models.run.RECHECK_DAYS`).
        explains: the parts that a recording may lack for this reason; custody.reconciliation counts them as explained.
    """

    code: str
    who: str
    sentence: str
    severity: Severity
    recoverable: Recoverable
    next_action: str
    recheck: Recheck = "no"
    explains: tuple[Missing, ...] = ()


REASONS: tuple[Reason, ...] = (
    Reason(
        "ERASED", _COUNSEL,
        "The recording's content was erased on request. A signed statement says when, why and on whose authority.",
        "info", "no", "Nothing: the content cannot be had again.", explains=("media", "tags"),
    ),
    Reason(
        "SIDECAR_MISSING", _EXPORTS,
        "The recording was exported without its sidecar.", "warning", "yes",
        "Nothing is lost: the recording interface gave what it could. Re-export the recording to get the sidecar.",
        "lag",
    ),
    Reason(
        "SIDECAR_UNREADABLE", _EXPORTS,
        "The sidecar is there, but its bytes cannot be read.", "warning", "yes",
        "Keep the bytes as evidence, and re-export the recording.", "lag",
    ),
    Reason(
        "DOCUMENTS_DISAGREE", _COUNSEL,
        "A document names another conversation or recording than the one it was filed under.",
        "error", "yes", "Do not rely on this document. Compare both recordings by ear, and re-export them.",
        "retention",
    ),
    Reason(
        "OBJECT_MISSING", _EXPORTS,
        "The recording should be in the export bucket and is not.", "error", "until",
        "Export the recording again before it is deleted; check who may delete in the bucket.", "retention",
        explains=("media",),
    ),
    Reason(
        "OBJECT_EMPTY", _EXPORTS,
        "The exported media file has no bytes.", "error", "until",
        "Export the recording again before it is deleted.", "retention",
        explains=("media",),
    ),
    Reason(
        "OBJECT_UNREADABLE", _BUCKET,
        "The exported media file is there, but its bytes could not be read: there is no digest.",
        "error", "yes", "Grant read access to the object (s3:GetObject, kms:Decrypt), then run the night again.",
        "retention",
    ),
    Reason(
        "OBJECT_CHANGED", _BUCKET,
        "The exported media file exists with different contents.", "error", "no",
        "Keep every version; find out who wrote the object, and which content was handed over.",
    ),
    Reason(
        "EXPORT_FAILED", _EXPORTS,
        "The export job lists the recording as failed; the vendor gives no reason.", "error", "until",
        "Make a new export job for this conversation; ask the vendor if it fails again.", "retention",
        explains=("media",),
    ),
    Reason(
        "EXPORT_EXCLUDED_SENSITIVE", _COUNSEL,
        "The export job left out recordings with sensitive data, and this one was not exported.", "info", "yes",
        "If it must be handed over, make a job with includeRecordingsWithSensitiveData=true (needs viewSensitiveData).",
        explains=("media",),
    ),
    Reason(
        "EXPORT_PENDING", _EXPORTS,
        "The recording exists and is not exported yet.", "warning", "yes",
        "Wait for the export job, or make one that covers the conversation; the night is rechecked.", "retention",
        explains=("media",),
    ),
    Reason(
        "RECORDING_ARCHIVED", _VENDOR,
        "The recording was archived before it was exported.", "error", "until",
        "Restore the recording, export it, and protect it from deletion.", "retention",
        explains=("media",),
    ),
    Reason(
        "RECORDING_DELETED", _VENDOR,
        "The recording was deleted at the vendor, and was not exported before.", "error", "no",
        "It cannot be fetched any more; find out which retention policy or person deleted it.",
        explains=("media",),
    ),
    Reason(
        "RECORDING_NOT_FOUND", _VENDOR,
        "The vendor says that it was recorded, but the recording interface does not have the recording.",
        "error", "no", "Ask the vendor for this conversation; look for a deletion in the audit log.",
        explains=("media",),
    ),
    Reason(
        "ORPHAN_OBJECT", _BUCKET,
        "The bucket has a media file for a recording that its conversation does not know.",
        "error", "no", "Keep it apart; find out which job wrote it, and to which call it belongs.",
    ),
    Reason(
        "UNRECOGNISED_OBJECT", _BUCKET,
        "The export bucket has an object whose key does not say which recording it is.",
        "warning", "yes",
        "Keep it. Find out who wrote it. If it is a recording, export its conversation again, and run the night again.",
    ),
    Reason(
        "FOREIGN_ORGANISATION", _BUCKET,
        "The export bucket has objects in the folder of another organisation.", "warning", "yes",
        "Find out whose they are. If the organisation's id changed, nothing is wrong. If two organisations export to "
        "one bucket, name the folder of one of them in CUSTODY_EXPORT_URL.",
    ),
    Reason(
        "ORPHAN_RECORDING", _VENDOR,
        "The vendor keeps the recording as an orphan, attached to no conversation record.",
        "warning", "yes", "Have the vendor's administrator attach or export the orphan.", "retention",
        explains=("media", "tags"),
    ),
    Reason(
        "CONVERSATION_NOT_FOUND", _COUNSEL,
        "The conversation is unknown to the vendor: expired, erased or deleted.",
        "error", "no", "Its tags cannot be read any more, unless a live capture has them.",
        explains=("tags",),
    ),
    Reason(
        "ERASED_AT_VENDOR", _COUNSEL,
        "The vendor erased the conversation: a request for deletion there names somebody of it.",
        "warning", "no",
        "Decide whether the request binds this archive as well: custody erase, with the request as the authority.",
        explains=("media", "tags"),
    ),
    Reason(
        "CONVERSATION_FORBIDDEN", _VENDOR,
        "We may not see the conversation: permission or division.", "error", "yes",
        "Give the OAuth client's role access to the conversation's division, then run the night again.", "retention",
        explains=("media", "tags"),
    ),
    Reason(
        "CONVERSATION_FETCH_FAILED", _PIPELINE,
        "Reading the conversation failed, also after retries.", "error", "yes",
        "Run the night again; quote the correlation id to the vendor if it stays.", "retention",
        explains=("media", "tags"),
    ),
    Reason(
        "NOT_YET_AVAILABLE", _PIPELINE,
        "The conversation began after the vendor's data watermark: it is not there yet.",
        "warning", "yes", "Wait: the night is rechecked when the watermark has passed.", "lag",
        explains=("tags",),
    ),
    Reason(
        "EXPORT_DROPPED_TAGS", _VENDOR,
        "The export has a field for tags and left it empty, though the conversation has tags.",
        "info", "yes", "Nothing to do for this recording: the tags were read from the conversation.",
    ),
    Reason(
        "TAGS_SET_AFTER_END", _SCRIPTS,
        "Tags were set after the conversation ended, so the bulk job does not have them.",
        "warning", "yes", "Nothing is lost: they were read from the conversation. Set them before the call ends.",
    ),
    Reason(
        "TAG_TRUNCATED", _PIPELINE,
        "The bulk job cut a value at 1,024 characters, and no other source gave it whole.",
        "error", "yes", "Run the night again when the conversation can be read; allow access to it.", "retention",
    ),
    Reason(
        "TAGS_ON_OTHER_PARTICIPANT", _MAPPING,
        "The tag is set on a participant where the mapping does not look.",
        "warning", "yes", "Add the participant's purpose to the mapping, or set the tag on the right participant.",
    ),
    Reason(
        "TAG_KEY_VARIANT", _SCRIPTS,
        "The tag is set under a name that differs in case or punctuation.", "warning", "yes",
        "Add the name to the mapping's aliases, or correct it in the script or flow.",
    ),
    Reason(
        "TAG_KEY_PREFIXED", _MAPPING,
        "The tag is set under its name with a prefix of the platform, such as `context.` in web chats.",
        "warning", "yes",
        "Add the prefix to the mapping, for example prefixes: [\"context.\"]. Then run the night again.",
    ),
    Reason(
        "TAG_CONFLICT", _SCRIPTS,
        "Participants, documents or aliases carry different values for one tag.", "warning", "no",
        "Decide by hearing the call; custom_data has both values and says who set them.",
    ),
    Reason(
        "TAG_CHANGED_LATER", _COUNSEL,
        "A tag had different values at different times; all are kept.", "info", "no",
        "See custom_data for the values and when each was seen.",
    ),
    Reason(
        "TAG_VANISHED", _COUNSEL,
        "A tag that was seen is no longer on the conversation; the value that was seen is kept.",
        "info", "no", "Nothing to do for this recording. Find out who or what removes the tag.",
    ),
    Reason(
        "TAG_NEVER_SET", _SCRIPTS,
        "Both the bulk job and the conversation itself were read, and neither has any tag.",
        "error", "no", "Correct the script or flow: Set Participant Data before the call ends or is transferred.",
    ),
    Reason(
        "REQUIRED_TAG_MISSING", _SCRIPTS,
        "No source that was read has a required tag, while they have other tags.", "error", "no",
        "Correct the script or flow so that it sets the tag on every path.",
    ),
    Reason(
        "TAG_EMPTY", _SCRIPTS,
        "A required tag is set, but its value is empty or has blanks only.", "error", "no",
        "Hear the call to know the value. Correct the script or flow so that it never sets the tag to nothing.",
    ),
    Reason(
        "UNMAPPED_TAG", _MAPPING,
        "A tag is in no column of the mapping; custom_data keeps it.", "info", "yes",
        "Add a column to the mapping, if the tag matters.",
    ),
    Reason(
        "SCRIPT_VERSION_UNKNOWN", _VENDOR,
        "No published version of the script is known at or before the call.",
        "warning", "no", "Check that the script is published and that the client may read it.",
    ),
    Reason(
        "SCRIPT_VERSION_INCOMPATIBLE", _MAPPING,
        "The script's version, by its publication date, is not accepted by the mapping.",
        "error", "yes", "Check the tags that this version sets, then accept it in the mapping.",
    ),
    Reason(
        "REGION_MISMATCH", _VENDOR,
        "The recording, the organisation and the export bucket are not in one region.", "warning",
        "no", "Check the media region of the trunk or edge, and where the bucket is; such times may be wrong.",
    ),
    Reason(
        "TIMESTAMP_SUSPECT", _COUNSEL,
        "The recording's times cannot be right.", "warning", "no",
        "Do not rely on these times; compare with the conversation's.",
    ),
    Reason(
        "DUPLICATE_EXPORT", _EXPORTS,
        "The recording was exported more than once with the same content.", "info", "yes",
        "Nothing to do: the latest copy counts, the others are named.",
    ),
    Reason(
        "CAPTURE_MISSING", _PIPELINE,
        "Live capture was receiving events then, and has not captured this conversation.",
        "warning", "yes", "Look at the queue (custody events drain, custody events retry), then run the night again.",
        "lag",
    ),
    Reason(
        "CAPTURE_WITHOUT_RECORDING", _VENDOR,
        "Live capture knows of it, and nobody else knows of a recording.",
        "warning", "yes", "Ask the vendor for the recording; the night is rechecked.", "retention",
        explains=("media", "tags"),
    ),
    Reason(
        "SOURCE_NOT_CONFIGURED", _PIPELINE,
        "The conversation could not be asked for: no API credentials are set.",
        "warning", "yes", "Set the three CUSTODY_GENESYS_… settings, then run the night again.",
        explains=("tags",),
    ),
)  # fmt: skip

BY_CODE: dict[str, Reason] = {reason.code: reason for reason in REASONS}
OF_AUDIO = [reason.code for reason in REASONS if "media" in reason.explains or reason.code == "OBJECT_UNREADABLE"]
"""Reasons why a recording has no audio to hand over. Only these decide whether the audio can be recovered."""


def write_reasons(con: duckdb.DuckDBPyConnection) -> None:
    """Write the catalogue to `staging.reasons`, where SQL reads it."""
    columns = dict.fromkeys(("reason", "sentence", "severity", "recoverable", "next_action", "recheck"), "VARCHAR")
    columns["explains"] = "VARCHAR[]"
    create_table(con, "staging.reasons", columns)
    rows = [
        (one.code, one.sentence, one.severity, one.recoverable, one.next_action, one.recheck, list(one.explains))
        for one in REASONS
    ]
    if con.execute("SELECT * FROM staging.reasons").fetchall() != rows:
        con.execute("DELETE FROM staging.reasons")
        con.executemany(f"INSERT INTO staging.reasons VALUES ({', '.join('?' * len(columns))})", rows)
