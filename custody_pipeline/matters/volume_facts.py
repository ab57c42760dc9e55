"""The facts that a volume states about itself: its exceptions, its numbers, the facts of its pages, `production.json`.

Belongs here: those, from values that were verified when the volume was written. Does not: the pages' words (pages.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any

from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.package.signed_volume import LIST, STATEMENT
from custody_pipeline.io.clock import utc_now
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.production_tables import EXCEPTIONS, can_be_had, sentence
from custody_pipeline.matters.register import Register, Volume
from custody_pipeline.matters.selection import Found
from custody_pipeline.matters.standing import Standing
from custody_pipeline.matters.volume_lines import Spool
from custody_pipeline.warehouse.ledger import Actor

_EMPTY = dict.fromkeys(EXCEPTIONS, "")


def exceptions_of(
    volume: Volume,
    matter: Matter,
    standing: Standing,
    elsewhere: Set[tuple[str, str]],
    lost: Mapping[str, str],
    unfound: Mapping[str, str],
) -> Iterator[dict[str, str]]:
    """Selected recordings without audio to produce, and files that this volume could not get.

    Args:
        volume: as it was begun.
        elsewhere: conversation and recording of what other volumes have.
        lost: control number → why its audio could not be read.
        unfound: control number → why its conversation's document is not in this volume.
    """
    yield from _ids_without_recordings(standing.found)
    yield from _recordings_without_audio(matter, standing, elsewhere)
    for gone in volume.recordings if lost else ():
        if gone.control in lost:
            yield {
                "what": gone.control,
                "conversation_id": gone.conversation_id,
                "recording_id": gone.recording_id,
                "night": gone.night,
                "why": "cannot_be_had_as_sealed",
                "explanation": lost[gone.control],
                "can_still_be_had": "from an earlier version or a replica of the object",
                "proof": f"evidence/data/records/{gone.control}.json",
            }
    for control, explanation in unfound.items():
        yield _EMPTY | {"what": control, "why": "conversation_document", "explanation": explanation}


def _ids_without_recordings(found: Found) -> Iterator[dict[str, str]]:
    for ids, why, explanation in (
        (found.unmatched, "not_found", "No collected night has a conversation or recording of this id."),
        (
            found.elsewhere,
            "outside_of_the_conditions",
            "It is there, but nothing shows that it fulfils the other conditions.",
        ),
    ):
        for item in ids:
            yield _EMPTY | {"what": item, "why": why, "explanation": explanation}


def _recordings_without_audio(
    matter: Matter, standing: Standing, elsewhere: Set[tuple[str, str]]
) -> Iterator[dict[str, str]]:
    """Also those that the producing party excluded; not those whose audio is in another volume and gone since."""
    for recording in standing.found.recordings:
        is_there = recording.key in elsewhere and not (recording.excluded or recording.media_sha256)
        if recording.has_audio_to_produce or is_there:
            continue
        reasons = [code for code in recording.reasons if sentence(code) != code]
        words = " ".join(map(sentence, reasons)) or "The night was sealed without its audio."
        excluded, until = recording.excluded, standing.until.get(recording.key)
        proof = [f"custody explain {recording.recording_id}"]
        if not matter.mask:
            proof.append(f"row {recording.row_sha256}")
        if not (matter.mask or excluded) and (documents := standing.proofs.get(recording.key)):
            proof.append(documents)
        yield {
            "what": recording.kind or "unknown",
            "conversation_id": recording.conversation_id,
            "recording_id": recording.recording_id,
            "night": str(recording.night),
            "why": f"excluded: {excluded}" if excluded else ", ".join(recording.reasons) or "no_audio",
            "explanation": recording.note or "The producing party excluded it." if excluded else words,
            "can_still_be_had": "" if excluded else can_be_had(reasons, until, utc_now()),
            "proof": "; ".join(proof),
        }


def elsewhere_than(volume: Volume, register: Register) -> set[tuple[str, str]]:
    """Conversation and recording of what the matter's other volumes have, or will have."""
    others = (other for other in register.volumes(but=volume.name) if not register.is_lost(other))
    return {item.key for other in others for item in other.recordings}


def account_of(
    volume: Volume, standing: Standing, other: Set[tuple[str, str]], produced: int, lost: int
) -> list[tuple[str, int]]:
    """Numbers of found recordings by their outcome; they add up to all found recordings. `other`: `elsewhere_than`."""
    here = {item.key for item in volume.recordings}
    excluded = elsewhere = silent = later = 0
    for item in standing.found.recordings:
        if item.key in here:
            continue
        if item.excluded:
            excluded += 1
        elif item.key in other:
            elsewhere += 1
        elif item.media_sha256:
            later += 1
        else:
            silent += 1
    return [
        ("In this volume", produced),
        ("In other volumes", elsewhere),
        ("Excluded, with a reason", excluded),
        ("Without audio, with a reason", silent),
        ("Audio that could not be read as it was sealed", lost),
        ("Not yet produced", later),
    ]


def facts_of(
    volume: Volume, register: Register, actor: Actor, fingerprint: str, head: Head, manifest_sha256: str
) -> dict[str, Any]:
    """The content of the pages. `fingerprint`: of the signing key; `head`: where the package's proofs lead."""
    now = utc_now()
    this = {"at": f"{now:%Y-%m-%dT%H:%M:%SZ}", "what": f"{volume.name}, this volume", "operator": actor.operator}
    return {
        "volume": volume.name,
        "made_at": f"{now:%Y-%m-%d %H:%M}",
        "operator": actor.operator,
        "tool_version": actor.tool_version,
        "git_revision": actor.git_revision,
        "fingerprint": f"sha256 {fingerprint}",
        "origin": head.origin,
        "log_size": head.size,
        "log_root": head.root.hex(),
        "manifest_sha256": manifest_sha256,
        "supersedes": sum(item.supersedes is not None for item in volume.recordings),
        "events": [*register.told(), this],
    }


def write_statement(
    volume: Volume,
    matter: Matter,
    standing: Standing,
    lines: Spool,
    account: Sequence[tuple[str, int]],
    exceptions: int,
) -> None:
    """`production.json` describes the volume for programs; `custody verify` covers it like every other file."""
    controls = [line.control for line in lines]
    statement = {
        "matter": matter.name,
        "title": matter.title,
        "number": matter.number,
        # The conditions that the report withholds could be guessed from the file's hash.
        "matter_sha256": None if matter.mask else matter.sha256,
        "lists": [
            {"file": ids.source, "what": what, "sha256": ids.sha256, "ids": len(ids.ids), "repeated": ids.repeated}
            for what, ids in matter.lists
        ],
        "volume": volume.name,
        "first": controls[0] if controls else None,
        "last": controls[-1] if controls else None,
        "account": dict(account),
        "exceptions": exceptions,
        "unmatched": len(standing.found.unmatched),
        "not_known": standing.not_known,
        "masked": None if matter.mask is None else asdict(matter.mask),
        "supersedes": {item.control: item.supersedes for item in volume.recordings if item.supersedes},
        "signed_list": LIST,
    }
    (volume.partial / STATEMENT).write_text(json.dumps(statement, ensure_ascii=False, indent=1) + "\n", "utf-8")
