"""The codes of findings: how much each weighs, what it means, what to do.

Belongs here: the table. Does not: the report (findings.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    """The evidence is not what was sealed. Exit status 1."""

    UNCHECKED = "unchecked"
    """Something could not be checked, so nothing is known about it. Exit status 2, unless there is an error."""

    NOTE = "note"
    """Worth knowing; the exit status does not change."""


@dataclass(frozen=True)
class Code:
    """A kind of finding: how much it weighs, what it means, what to do."""

    severity: Severity
    meaning: str
    action: str


_FROM_COPY = "Compare with another copy (a locked bucket keeps older versions); keep both for the record."
_ASK_OWNER = "Ask the owner of the log for an explanation in writing; do not rely on this copy."
_RIGHT_KEY = "Check that you have the right key. If you do, it is forged."
_E, _U, _N = Severity.ERROR, Severity.UNCHECKED, Severity.NOTE

CODES: dict[str, Code] = {
    # files
    "FILE_MISSING": Code(_E, "A file that a signed cut lists is not there.", _FROM_COPY),
    "FILE_EXTRA": Code(_E, "A file is there that no valid cut lists.", "Find out who put it there, and when."),
    "FILE_MOVED": Code(_E, "A file of a cut is in another place than the cut says.", "Put it back, then verify again."),
    "FILE_SIZE": Code(_E, "A file has another size than when it was sealed.", _FROM_COPY),
    "FILE_ALTERED": Code(_E, "A file's bytes are not those that were sealed.", _FROM_COPY),
    "LOCK_WEAKENED": Code(
        _E,
        "An object's lock ends earlier or binds less than when it was sealed, or a newer version has none.",
        "Ask who may change locks in that bucket; the object's older versions may still be there.",
    ),
    # cuts
    "CUT_INCOMPLETE": Code(
        _E,
        "A cut's folder has no cut.json: it was removed, or a publication was interrupted.",
        "Run the night again; if the log counts this cut, cut.json was removed.",
    ),
    "CUT_MALFORMED": Code(_E, "cut.json is not in its strict form, so it is not what was written.", _FROM_COPY),
    "ROTATION_WRONG": Code(
        _E, "A statement that hands a key over is malformed, or one of the keys that it names did not sign.", _ASK_OWNER
    ),
    "CUT_MISPLACED": Code(_E, "A cut lies in the folder of another night or revision.", _ASK_OWNER),
    "CUT_UNSIGNED": Code(_E, "A cut has no cut.json.sig.", _FROM_COPY),
    "CUT_ALTERED": Code(_E, "cut.json is not the one that was signed.", _FROM_COPY),
    "CUT_SIGNATURE_WRONG": Code(_E, "cut.json.sig is malformed, or a known key's signature is wrong.", _FROM_COPY),
    "CUT_SIGNED_BY_OTHERS": Code(_E, "A cut is signed, but by none of the given public keys.", _RIGHT_KEY),
    "CUT_CHECKPOINT_MISSING": Code(_E, "A cut has no checkpoint of the log.", _FROM_COPY),
    "CUT_CHECKPOINT_WRONG": Code(
        _E, "A cut's checkpoint is malformed, of other signers or not this cut's.", _ASK_OWNER
    ),
    "CUT_INCONSISTENT": Code(_E, "A cut does not extend the log that it says it extends.", _ASK_OWNER),
    "COMPLETENESS_WRONG": Code(
        _E, "A cut claims that its night is complete, but states that a source is not whole.", _ASK_OWNER
    ),
    "CONSISTENCY_WRONG": Code(_E, "A cut's consistency proof is missing or does not prove it.", _FROM_COPY),
    "TIMESTAMP_MISSING": Code(_E, "A cut was timestamped, but cut.json.tsr is not there.", _FROM_COPY),
    "TIMESTAMP_WRONG": Code(_E, "cut.json.tsr is no valid timestamp of this cut.json.", _FROM_COPY),
    "REVISION_MISSING": Code(
        _E, "A revision between others of its night is missing.", "The log tells whether the revision ever existed."
    ),
    "SUPERSEDED_WRONG": Code(_E, "A revision supersedes another cut than the one that is there.", _ASK_OWNER),
    # records
    "RECORD_ALTERED": Code(_E, "A row of the table is not the record that was sealed.", _FROM_COPY),
    "RECORD_COUNT": Code(_E, "The numbers of rows, records and leaves differ.", _FROM_COPY),
    "RECORD_NOT_IN_LOG": Code(_E, "A record or a cut is not the leaf that the log has in its place.", _FROM_COPY),
    "COUNT_WRONG": Code(_E, "A count in cut.json is not the number of rows in the file.", _ASK_OWNER),
    "CSV_DIFFERS": Code(_E, "A CSV contradicts the Parquet of its table.", _ASK_OWNER),
    "SPREADSHEET_DIFFERS": Code(_E, "A spreadsheet contradicts the Parquet of its table.", _ASK_OWNER),
    "TABLE_UNREADABLE": Code(_E, "A table's file has its sealed bytes but is no readable table.", _ASK_OWNER),
    # removals
    "ERASURE_WRONG": Code(_E, "A removal statement is malformed, or contradicts the cuts that it names.", _ASK_OWNER),
    "ERASURE_TOO_WIDE": Code(_E, "More was removed than was asked for and stated.", _ASK_OWNER),
    "ERASURE_BACKDATED": Code(_E, "A removal statement has another time than the cut that holds it.", _ASK_OWNER),
    "ERASURE_UNFINISHED": Code(
        _U,
        "Files are still there that a signed statement says were removed.",
        "The owner of the log completes it with custody erase --resume. If this is a copy, get a newer one.",
    ),
    "ERASURE_UNSTATED": Code(
        _U,
        "A cut says of recordings that they were erased, and no removal statement of their night names them.",
        "If an erasure is under way, verify again when it is done. Otherwise ask the owner what these rows held.",
    ),
    "KEY_FORGOTTEN": Code(
        _N,
        "The key of a night was forgotten (destroyed), and a signed statement gives the reason and the authority.",
        "Nothing: the encrypted landing files are as they were sealed, and nobody can read them any more.",
    ),
    "ERASED": Code(
        _N,
        "Recordings were erased, and a signed statement names them, the reason and the authority.",
        "Nothing: the log proves that no other record was removed.",
    ),
    # log
    "LOG_CHECKPOINT_MISSING": Code(_E, "The log has no checkpoint.", _FROM_COPY),
    "LOG_CHECKPOINT_WRONG": Code(
        _E, "The log's checkpoint is malformed or a known key's signature is wrong.", _FROM_COPY
    ),
    "LOG_SIGNED_BY_OTHERS": Code(_E, "The log's checkpoint is signed by none of the given public keys.", _RIGHT_KEY),
    "LOG_ORIGIN_DIFFERS": Code(_E, "A cut or a pinned checkpoint belongs to another log.", _ASK_OWNER),
    "TILE_MISSING": Code(_E, "A tile of the log is missing.", _FROM_COPY),
    "TILE_WRONG": Code(_E, "A tile has the wrong length, or its hashes are not those of the tiles below.", _FROM_COPY),
    "TILE_UNEXPECTED": Code(_E, "A tile is there that is no part of this log.", "Find out who put it there, and when."),
    "LOG_ROOT_WRONG": Code(_E, "The tiles do not lead to the signed root.", _FROM_COPY),
    "LOG_BEHIND_CUT": Code(
        _E,
        "A cut was signed with a longer log than the one that is there: the log was rolled back.",
        "If a publication is under way, verify again when it is done. Otherwise find the newer checkpoint.",
    ),
    "LOG_FORKED": Code(_E, "A cut was signed with another log than the one that is there.", _ASK_OWNER),
    "CLAIM_WRONG": Code(
        _E,
        "The claim on the log's next place is malformed, or names a head that this log never had.",
        "If a publication is under way, verify again when it is done. Otherwise find out who wrote it.",
    ),
    "LEAVES_UNEXPLAINED": Code(_E, "The log counts a cut that is not there: it was removed.", _FROM_COPY),
    "CUTS_OVERLAP": Code(_E, "Two cuts claim the same place in the log.", _ASK_OWNER),
    "PIN_NOT_COMPARED": Code(
        _U,
        "A pinned checkpoint is of another size, and this target alone does not show how the two are related.",
        "Verify the whole published set with this pin.",
    ),
    "PINNED_WRONG": Code(_E, "The pinned checkpoint is not signed by a given public key.", "Check what you pinned."),
    "PINNED_AHEAD": Code(_E, "The log is shorter than the pinned checkpoint: its end was removed.", _ASK_OWNER),
    "PINNED_FORKED": Code(
        _E, "The log is not an extension of the pinned checkpoint: its past was rewritten.", _ASK_OWNER
    ),
    # witnesses
    "COSIGNATURE_WRONG": Code(
        _E, "A given witness's cosignature is wrong, or a cosigned checkpoint is malformed.", _FROM_COPY
    ),
    "COSIGNED_INCONSISTENT": Code(
        _E,
        "A checkpoint that was cosigned is no head of this log: its end was removed, or its past rewritten.",
        _ASK_OWNER,
    ),
    # copies
    "COPY_MISSING": Code(
        _E,
        "A current copy under parquet/, csv/, spreadsheet/ or report/ is missing.",
        "Copy it again from the cut.",
    ),
    "NOT_SEALED": Code(
        _N,
        "The tables below live/ are not sealed: they say what was known when they were written.",
        "Nothing; they are no part of the evidence. What was sealed is in the cuts.",
    ),
    "COPY_DIFFERS": Code(_E, "A current copy is not the newest cut's file.", "Copy it again from the cut."),
    # proofs
    "PROOF_MALFORMED": Code(_E, "The file is no tlog-proof with a record.", "Ask for it again."),
    "PROOF_WRONG": Code(_E, "The proof does not show that this record is in the signed log.", "Do not rely on it."),
    # packages
    "PACKAGE_UNSIGNED": Code(_E, "A package's manifest is not signed by a given public key.", "Ask for it again."),
    "PACKAGE_INCOMPLETE": Code(
        _U,
        "A package lacks what was sealed with a record; data/missing.json says why.",
        "Ask the producer for an earlier version of the object, or for a replica.",
    ),
    "SIZE_NOT_SIGNED": Code(
        _U,
        "An early version signed this production without its size; its files were not read.",
        "Verify it with the version that made it (report.html names it), or ask for a new production.",
    ),
    "PACKAGE_INCONSISTENT": Code(_E, "Two parts of a package contradict each other.", "Ask for it again."),
    "REVISION_SUPERSEDED": Code(
        _N, "A record is of a revision that a newer one had replaced.", "Ask for the newest revision, or why this one."
    ),
    "PACKAGE_ALTERED": Code(_E, "A package's manifest is not the one that was signed.", "Ask for it again."),
    # media
    "MEDIA_MISSING": Code(_E, "A recording's object is gone from the export bucket.", "Look for a delete marker."),
    "MEDIA_CHANGED": Code(_E, "A recording's bytes are not those whose digest was sealed.", _FROM_COPY),
    # ages
    "HEAD_OLDER": Code(
        _E,
        "The log's head was the newest only before the time that you named: newer nights may have been removed.",
        "Ask the owner and the witnesses for the newest checkpoint.",
    ),
    "HEAD_STALE": Code(
        _U,
        "The deployment promised a newer head by now: newer nights may have been removed, or it stopped.",
        "Get the newest set. For an older copy, name a time at which it must have been the newest (--seen-since).",
    ),
    "HEAD_AGE_UNKNOWN": Code(
        _U, "Nothing here states when this head of the log was the newest.", "Give the key of a witness (--witness)."
    ),
    "CLOCK_OFF": Code(
        _N,
        "The sealing machine's clock was wrong; the cut states by how much, and times are corrected.",
        "Set that clock.",
    ),
    "RECORD_MASKED": Code(
        _U,
        "Fields of a record are withheld: the producer signed the other fields, but the log does not prove them.",
        "Ask for the whole record, in confidence if need be: its hash must be that of the commitment.",
    ),
    # could not be checked
    "FILE_TOO_LARGE": Code(_E, "A file is larger than any file of its kind, and was not read.", _FROM_COPY),
    "TIME_WRONG": Code(_E, "A time contradicts the night, the cut before, the timestamp or a cosignature.", _ASK_OWNER),
    "ROW_MISPLACED": Code(_E, "A table of a cut has rows of another night.", _ASK_OWNER),
    "RECORDING_TWICE": Code(_E, "A recording has two rows in one night.", _ASK_OWNER),
    "KEY_RETIRED": Code(
        _E,
        "A key signed by itself after it was handed over to another key.",
        "Ask who has the old key; do not rely on it.",
    ),
    "TARGET_AMBIGUOUS": Code(
        _E,
        "The folder claims to be a package and a published set at once.",
        "Find out who put the two together; ask for each by itself.",
    ),
    "NOT_A_FILE": Code(
        _E,
        "A link, a pipe or a device lies where only files and folders belong. It was not opened.",
        "Find out who put it there, and when.",
    ),
    "NOTHING_FOUND": Code(
        _U, "There is nothing to verify here.", "Give a published prefix, a cut's folder, or a .tlog-proof."
    ),
    "TARGET_UNREADABLE": Code(_U, "The target could not be read.", "Check the address, the network and permissions."),
    "FILE_UNREADABLE": Code(_U, "A file could not be read.", "Check the permissions, then verify again."),
    "NO_PUBLIC_KEY": Code(
        _U,
        "No public key was given, so nothing was checked.",
        "Get the log's public key over another channel, and name its file with --key.",
    ),
    "TIMESTAMP_NOT_CHECKED": Code(
        _U,
        "A timestamp is there, but no root certificate of its authority was given.",
        "Name its file: --timestamp-root.",
    ),
    "LOCK_UNREADABLE": Code(
        _U,
        "An object was locked when it was sealed, but its lock may not be read.",
        "Allow s3:GetObjectRetention and s3:GetObjectLegalHold, then verify again.",
    ),
    "NOT_WITNESSED": Code(
        _U,
        "Fewer of the given witnesses than asked for have seen this head of the log.",
        "Ask them for a cosignature (custody witness ask), then verify again.",
    ),
    "MEDIA_UNREADABLE": Code(
        _U, "A recording's object could not be read.", "Check the permissions, then verify again."
    ),
    # notes
    "DEMO_KEY": Code(
        _N,
        "Signed with a DEMO key, which proves nothing to anybody.",
        "The owner makes a key (custody key new) and seals with it.",
    ),
    "NO_PINNED_CHECKPOINT": Code(
        _N,
        "Without an older checkpoint from another channel nobody can see that the newest nights were removed.",
        "Keep a copy of log/checkpoint elsewhere, and give it to the next run (--pinned).",
    ),
    "NOT_READ_AGAIN": Code(
        _N,
        "What was sealed before the given checkpoint is there, each file with its sealed size. Files were not read, "
        "and recordings of those nights were not compared.",
        "Verify without --since from time to time: a file may have been altered since.",
    ),
    "NIGHT_WITHOUT_CUT": Code(
        _N, "A night between the first and the last has no cut.", "Run the night, or state why there is none."
    ),
    "COPIES_NOT_HERE": Code(_N, "The current copies are not part of this target.", "Nothing; the cuts are whole."),
    "LOCKS_NOT_HERE": Code(
        _N, "The cuts were locked in their bucket; a copy cannot tell whether they still are.", "Verify the bucket."
    ),
    "LOG_NOT_HERE": Code(
        _N,
        "A cut was checked by itself, without the log: whether later nights exist cannot be said.",
        "Verify the whole published prefix for that.",
    ),
    "SEALING_UNDER_WAY": Code(
        _N,
        "Files of a seal that is under way, or was given up; they are not sealed and no part of the evidence.",
        "Nothing; the next night that is sealed finishes what was begun.",
    ),
    "LOG_GREW": Code(
        _N,
        "A night was sealed during this verification; findings about current copies or the newest cut may come of it.",
        "Verify again while no night is being sealed.",
    ),
    "DESKTOP_FILE": Code(
        _N, "The file manager of a computer left a file of its own here; it is no part of the evidence.", "Nothing."
    ),
    "DESKTOP_FILE_AMONG_ROWS": Code(
        _U,
        "The file manager of a computer left a file of its own where readers take every file of a folder for rows.",
        "Delete it: it is no part of the evidence. Then verify again.",
    ),
    "FILE_UNKNOWN": Code(
        _U,
        "A file of a cut is as sealed, but of no kind that this version knows: nothing was compared with it.",
        "Verify with the newest version; if the file is unknown there as well, ask the owner what it is.",
    ),
    "NOT_COVERED": Code(
        _U,
        "Other files lie beside proofs, and a proof says nothing about them: they may be anything.",
        "Verify the package or the published set that they came from, as it was handed over; or a proof by itself.",
    ),
    "PROOF_ALONE": Code(
        _N,
        "A proof shows that a record was sealed, not that no newer revision of its night has replaced it.",
        "Ask the owner for the newest proof, or verify the whole published set.",
    ),
    "ONLY_ONE_FILE": Code(_N, "One file of a cut was checked; the others were not looked at.", "Verify the whole cut."),
    "MEDIA_WITHOUT_DIGEST": Code(_N, "A recording has no digest in the cut.", "See its gap reasons."),
    "NOT_TIMESTAMPED": Code(
        _N,
        "The cuts carry no RFC 3161 timestamp; their time is the sealing machine's claim.",
        "The owner sets CUSTODY_TIMESTAMP_URL: nights that are sealed after that have one.",
    ),
}
