"""`custody matter produce`: numbered volumes of what is sealed, each with a signature of its own.

Belongs here: which recordings go into which volume, and the order of the steps. Does not: the tables (tables.py), the
pages (pages.py), the package inside (operations/packaging.py), the signature (evidence/package/production.py).

A volume is written beside its place, in `.VOL001.partial`, recorded, signed last, and only then gets its name. A
production that was killed goes on with the same recordings under the same numbers.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from custody_pipeline.evidence.cut.proof import RecordProof, prove_all
from custody_pipeline.evidence.package.production import EVIDENCE, LIST, list_production, sign_production
from custody_pipeline.io.clock import utc_now
from custody_pipeline.matters import tables
from custody_pipeline.matters.pages import certificate_html, report_html
from custody_pipeline.matters.register import MatterStateError, Produced, Volume
from custody_pipeline.operations.explain import analyst_database
from custody_pipeline.operations.packaging import fill_package, make_private, record_packaged
from custody_pipeline.operations.verification import open_target, public_keys
from custody_pipeline.publish.sealing import load_sealing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from custody_pipeline.matters.matter import Matter
    from custody_pipeline.matters.register import Register
    from custody_pipeline.matters.standing import Standing
    from custody_pipeline.operations.packaging import Made
    from custody_pipeline.settings import Settings
    from custody_pipeline.warehouse.ledger import Actor

_Key = tuple[str, str]


@dataclass(frozen=True)
class ProducedVolume:
    """A volume that is in its place. `lost`: recordings whose audio could not be had as it was sealed."""

    name: str
    folder: Path
    recordings: int
    lost: int
    sha256: str


def produce(
    settings: Settings, target: str, matter: Matter, register: Register, standing: Standing, to: Path, actor: Actor
) -> list[ProducedVolume]:
    """Finish volumes that were begun, or write the next ones: what no volume has as it is sealed now.

    Args:
        settings: this deployment's.
        target: the published place.
        matter: what to produce.
        register: the matter's.
        standing: how it stands.
        to: the folder that gets a folder for each new volume.
        actor: who produces.

    Returns:
        The volumes, oldest first.

    Raises:
        MatterStateError: nothing is new, or a volume's place is taken.
        RecordNotFoundError: a recording is not sealed.
        ProofError, TileError, NoteError, TargetError: see `evidence.cut.proof.prove_all`.
    """
    begun = [volume for volume in register.volumes() if not Path(volume.folder).exists()]
    begun = [volume for volume in begun if volume.sha256 is None or _partial(Path(volume.folder)).exists()]
    wanted = {item.key for item in standing.found.produced}
    if any(volume.sha256 is None and not wanted.issuperset(item.key for item in volume.recordings) for volume in begun):
        # The matter was changed since: what it excludes now must not go out. Numbers are given anew.
        for volume in (volume for volume in begun if volume.sha256 is None):
            shutil.rmtree(_partial(Path(volume.folder)), ignore_errors=True)
            register.forget(volume)
        begun = [volume for volume in begun if volume.sha256 is not None]
    volumes = begun or _plan(settings, target, matter, register, standing, to)
    return [_write(settings, target, matter, register, standing, volume, actor) for volume in volumes]


def _plan(
    settings: Settings, target: str, matter: Matter, register: Register, standing: Standing, to: Path
) -> list[Volume]:
    """Register the next volumes."""
    wanted = [item for item in standing.found.produced if item.media_sha256]
    if not wanted:
        raise MatterStateError(f"the selection finds no recording with audio; custody matter show {matter.name}")
    before = {item.key: item for volume in register.volumes() for item in volume.recordings}
    fresh = [item for item in wanted if item.key not in before or before[item.key].row_sha256 != item.row_sha256]
    proofs = _proofs(settings, target, [item.key for item in fresh]) if fresh else {}
    rows = [proofs[item.key].row for item in fresh if item.key in proofs]
    if len(rows) < len(fresh):
        missing = [item for item in fresh if item.key not in proofs]
        raise MatterStateError(
            f"{len(missing)} recordings are not sealed, the first is {missing[0].recording_id}: "
            f"custody run --date {missing[0].night}, then again"
        )
    rows = [row for row in rows if row["media_sha256"] and _differs(before.get(_key(row)), row)]
    if not rows:
        raise MatterStateError(f"nothing is new: every recording of {matter.name} was produced as it is sealed now")
    first = 1 + max((item.number for volume in register.volumes() for item in volume.recordings), default=0)
    recordings = [
        Produced(
            control=f"{matter.form.prefix}{number:0{matter.form.digits}}",
            conversation_id=str(row["conversation_id"]),
            recording_id=str(row["recording_id"]),
            night=str(row["partition_date"]),
            media_sha256=str(row["media_sha256"]),
            row_sha256=str(row["row_sha256"]),
            supersedes=before[_key(row)].control if _key(row) in before else None,
        )
        for number, row in enumerate(rows, first)
    ]
    number = 1 + max((volume.number for volume in register.volumes()), default=0)
    size, planned = matter.form.volume_recordings, []
    for start in range(0, len(recordings), size):
        volume = Volume(number, "", matter.sha256, tuple(recordings[start : start + size]))
        volume = msgspec.structs.replace(volume, folder=str((to / volume.name).absolute()))
        if Path(volume.folder).exists():
            raise MatterStateError(f"{volume.folder} is there already; name another folder with --to")
        planned.append(volume)
        number += 1
    for volume in planned:
        register.keep(volume)
    return planned


def _differs(before: Produced | None, row: Mapping[str, str | None]) -> bool:
    return before is None or before.row_sha256 != row["row_sha256"]


def _key(row: Mapping[str, str | None]) -> _Key:
    return str(row["conversation_id"]), str(row["recording_id"])


def _proofs(settings: Settings, target: str, keys: Sequence[_Key]) -> dict[_Key, RecordProof]:
    """The newest sealed record of each recording."""
    proofs = prove_all(open_target(settings, target), [recording for _, recording in keys], public_keys(settings, []))
    wanted = set(keys)
    found: dict[_Key, RecordProof] = {}
    for proof in proofs:
        if _key(proof.row) in wanted:
            found.setdefault(_key(proof.row), proof)
    return found


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def _write(
    settings: Settings,
    target: str,
    matter: Matter,
    register: Register,
    standing: Standing,
    volume: Volume,
    actor: Actor,
) -> ProducedVolume:
    folder = Path(volume.folder)
    partial = _partial(folder)
    if volume.sha256 is not None:  # it was signed and recorded; its name is all that is missing
        partial.rename(folder)
        return ProducedVolume(volume.name, folder, len(volume.recordings), 0, volume.sha256)
    found = _proofs(settings, target, [item.key for item in volume.recordings])
    evidence = partial / EVIDENCE
    evidence.mkdir(parents=True, exist_ok=True)
    reason = f"matter {matter.number or matter.name}: {matter.title}, {volume.name}"
    proofs = [found[item.key] for item in volume.recordings]
    names = [item.control for item in volume.recordings]
    reader = open_target(settings, target)
    made = fill_package(settings, reader, evidence, proofs, names, reason=reason, actor=actor)
    lost = {item.name: item.why or "" for item in made.absent if item.kind == "audio"}
    lines = [
        tables.Line(item.control, proof.row, _native(evidence, item.control), item.supersedes)
        for item, proof in zip(volume.recordings, proofs, strict=True)
        if item.control not in lost
    ]
    rows = [tables.index_row(matter, volume.name, line, _relative(partial, line.native)) for line in lines]
    exceptions = _exceptions(standing, volume, lost)
    _write_tables(settings, matter, partial, volume, rows, exceptions)
    facts = _facts(settings, volume, actor, proofs, made, register, len(rows), len(lost), len(exceptions))
    account = _account(standing, register, volume, rows, lost)
    (partial / "report.html").write_text(report_html(matter, standing, account, rows, facts), encoding="utf-8")
    (partial / "certificate.html").write_text(certificate_html(matter, facts), encoding="utf-8")
    _write_statement(partial, matter, volume, rows, account)
    sha256 = list_production(partial)
    kept = [pair for pair in zip(volume.recordings, proofs, strict=True) if pair[0].control not in lost]
    record_packaged(
        settings,
        actor,
        [proof for _, proof in kept],
        reason,
        volume.name,
        sha256,
        how="production with a signed package",
    )
    sign_production(partial, load_sealing(settings).signers)
    make_private(partial)
    # A night may have been sealed again since the volume was begun: what is in it now counts.
    recordings = tuple(
        msgspec.structs.replace(
            item, row_sha256=str(proof.row["row_sha256"]), media_sha256=str(proof.row["media_sha256"])
        )
        for item, proof in kept
    )
    register.keep(msgspec.structs.replace(volume, recordings=recordings, sha256=sha256))
    register.note(actor, f"produced {volume.name}", recordings=len(rows), sha256=sha256, folder=folder.name)
    partial.rename(folder)
    return ProducedVolume(volume.name, folder, len(rows), len(lost), sha256)


def _native(evidence: Path, control: str) -> Path:
    (found,) = (evidence / "data/audio").glob(f"{control}.*")
    return found


def _relative(folder: Path, native: Path | None) -> str:
    return native.relative_to(folder).as_posix() if native else ""


def _exceptions(standing: Standing, volume: Volume, lost: Mapping[str, str]) -> list[dict[str, str]]:
    """What was asked for and is not in this volume, but for what other volumes have."""
    found, listed = standing.found, []
    for ids, why, explanation in (
        (found.unmatched, "not_found", "No collected night has a conversation or recording of this id."),
        (found.elsewhere, "outside_of_the_conditions", "It is there, but does not fulfil the other conditions."),
    ):
        listed += [dict.fromkeys(tables.EXCEPTIONS, "") | {"what": item, "why": why, "explanation": explanation}
                   for item in ids]  # fmt: skip
    for item in found.recordings:
        if item.excluded is None and item.media_sha256:
            continue
        reasons = [code for code in item.reasons if tables.sentence(code) != code]
        words = " ".join(tables.sentence(code) for code in reasons)
        listed.append(
            {
                "what": item.kind,
                "conversation_id": item.conversation_id,
                "recording_id": item.recording_id,
                "night": str(item.night),
                "why": f"excluded: {item.excluded}" if item.excluded else ", ".join(item.reasons) or "no_audio",
                "explanation": item.note if item.excluded else words or "The night was sealed without its audio.",
                "can_still_be_had": "" if item.excluded else tables.can_be_had(reasons),
                "proof": f"custody explain {item.recording_id}; row {item.row_sha256}",
            }
        )
    by_control = {item.control: item for item in volume.recordings}
    for control, why in lost.items():
        gone = by_control[control]
        listed.append(
            {
                "what": control,
                "conversation_id": gone.conversation_id,
                "recording_id": gone.recording_id,
                "night": gone.night,
                "why": "cannot_be_had_as_sealed",
                "explanation": why,
                "can_still_be_had": "from an earlier version or a replica of the object",
                "proof": f"evidence/data/records/{control}.tlog-proof",
            }
        )
    return listed


def _write_tables(
    settings: Settings,
    matter: Matter,
    folder: Path,
    volume: Volume,
    rows: Sequence[Mapping[str, str]],
    exceptions: Sequence[Mapping[str, str]],
) -> None:
    names = list(rows[0]) if rows else ["control_number"]
    tables.write_csv(folder / "index.csv", rows, names)
    tables.write_xlsx(folder / "index.xlsx", rows, names)
    tables.write_load_file(folder / "loadfile.dat", rows)
    tables.write_field_map(folder / "field-map.csv", rows)
    tables.write_csv(folder / "exceptions.csv", exceptions, tables.EXCEPTIONS)
    tables.write_custody_log(folder, _events(settings, volume))
    if matter.form.fields == "sec":
        tables.write_sec(folder / "audio-metadata.csv", rows)


def _events(settings: Settings, volume: Volume) -> list[dict[str, Any]]:
    """Custody events of the recordings, each with its control number."""
    keys = [
        {"control_number": item.control, "c": item.conversation_id, "r": item.recording_id, "n": item.night}
        for item in volume.recordings
    ]
    with analyst_database(settings) as con:
        answer = con.execute(
            """
            SELECT k.control_number, e.occurred_at, e.action, e.who, e.operator, e.what, e.where_at, e.why, e.how,
                e.tool_version, e.git_revision, e.sha256_before, e.sha256_after, e.conversation_id, e.recording_id
            FROM (
                SELECT unnest($keys::STRUCT(control_number VARCHAR, c VARCHAR, r VARCHAR, n DATE)[], recursive := true)
            ) AS k
            INNER JOIN custody.custody_events AS e
                ON e.partition_date = k.n AND e.conversation_id = k.c AND e.recording_id = k.r
            ORDER BY k.control_number, e.sequence
            """,
            {"keys": keys},
        )
        names = [column[0] for column in answer.description or []]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _account(
    standing: Standing,
    register: Register,
    volume: Volume,
    rows: Sequence[Mapping[str, str]],
    lost: Mapping[str, str],
) -> list[tuple[str, int]]:
    """What became of every recording that was found; the numbers add up to what was found."""
    here = {item.key for item in volume.recordings}
    other = {item.key for other in register.volumes() if other.number != volume.number for item in other.recordings}
    excluded = elsewhere = silent = 0
    for item in standing.found.recordings:
        if item.key in here:
            continue
        if item.excluded:
            excluded += 1
        elif item.key in other:
            elsewhere += 1
        else:
            silent += 1
    return [
        ("In this volume", len(rows)),
        ("In other volumes", elsewhere),
        ("Excluded, with a reason", excluded),
        ("Without audio, with a reason", silent),
        ("Audio that could not be had as it was sealed", len(lost)),
    ]


def _facts(
    settings: Settings,
    volume: Volume,
    actor: Actor,
    proofs: Sequence[RecordProof],
    made: Made,
    register: Register,
    produced: int,
    lost: int,
    exceptions: int,
) -> dict[str, Any]:
    """What the pages say, all of it from what was verified when the volume was written."""
    head = proofs[0].checkpoint.head
    return {
        "volume": volume.name,
        "made_at": f"{utc_now():%Y-%m-%d %H:%M}",
        "operator": actor.operator,
        "tool_version": actor.tool_version,
        "git_revision": actor.git_revision,
        "fingerprint": f"sha256 {load_sealing(settings).signers[0].verifier.fingerprint}",
        "origin": head.origin,
        "log_size": head.size,
        "log_root": head.root.hex(),
        "manifest_sha256": made.sha256,
        "produced": produced,
        "lost": lost,
        "exceptions": exceptions,
        "events": [event for event in register.events() if event["what"] != "looked"]
        + [
            {"at": f"{utc_now():%Y-%m-%dT%H:%M:%SZ}", "what": f"{volume.name}, this volume", "operator": actor.operator}
        ],
    }


def _write_statement(
    folder: Path,
    matter: Matter,
    volume: Volume,
    rows: Sequence[Mapping[str, str]],
    account: Sequence[tuple[str, int]],
) -> None:
    """`production.json`: what the volume is, for programs; `custody verify` covers it as every other file."""
    statement = {
        "matter": matter.name,
        "title": matter.title,
        "number": matter.number,
        "matter_sha256": matter.sha256,
        "volume": volume.name,
        "first": rows[0]["control_number"] if rows else None,
        "last": rows[-1]["control_number"] if rows else None,
        "account": dict(account),
        "supersedes": {row["control_number"]: row["supersedes"] for row in rows if row["supersedes"]},
        "signed_list": LIST,
    }
    (folder / "production.json").write_text(json.dumps(statement, ensure_ascii=False, indent=1) + "\n", "utf-8")
