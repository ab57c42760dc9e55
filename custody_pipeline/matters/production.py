"""`custody matter produce`: numbered volumes of sealed recordings, each with its own signature.

Belongs here: which recordings go into which volume, and the order of the steps. Does not: the tables
(production_tables.py), the pages (pages.py), the package inside (operations/packaging.py), the signature
(evidence/package/signed_volume.py).

A volume is written beside its place, in `.VOL001.partial`, recorded, registered and signed, and gets its name last. A
killed production continues with the same recordings under the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import date
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.package.signed_volume import LIST, STATEMENT, list_production, sign_production
from custody_pipeline.evidence.package.volume_tables import EVIDENCE
from custody_pipeline.fleet.overview import is_packaged, overview
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.memory import give_back
from custody_pipeline.matters import production_tables
from custody_pipeline.matters.listening import ListeningError, listening_copies, write_listening_copies
from custody_pipeline.matters.masking import masked_events, of_one_matter, shown
from custody_pipeline.matters.page_formats import write_documents
from custody_pipeline.matters.pages import ROWS_SHOWN, certificate_html, report_html
from custody_pipeline.matters.register import MatterStateError, Produced, Volume
from custody_pipeline.matters.selection import agent_names
from custody_pipeline.matters.volume_lines import Spool, SpooledLine
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.operations.explain import analyst_database
from custody_pipeline.operations.packaging import (
    Item,
    fill_package,
    make_private,
    packaged,
    record_packaged,
    write_conversations,
)
from custody_pipeline.operations.verification import open_target, public_keys
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.warehouse.ledger import Act
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import duckdb

    from custody_pipeline.evidence.cut.proof import SealedRecord
    from custody_pipeline.evidence.log.checkpoint import Head
    from custody_pipeline.matters.masking import Shown
    from custody_pipeline.matters.matter import Matter
    from custody_pipeline.matters.register import Register
    from custody_pipeline.matters.standing import Standing
    from custody_pipeline.operations.packaging import Attached, Made
    from custody_pipeline.settings import Settings
    from custody_pipeline.warehouse.ledger import Actor

_EVENTS_OF_LINES = 500
"""Number of recordings whose events are in memory at once."""

_Key = tuple[str, str]


@dataclass(frozen=True)
class ProducedVolume:
    """A volume that is in its place.

    Attributes:
        lost: recordings whose audio could not be read as it was sealed.
        left_out: formats that this machine cannot write, and why; a line each.
    """

    name: str
    folder: Path
    recordings: int
    lost: int
    sha256: str
    left_out: tuple[str, ...] = ()


def produce(
    settings: Settings, target: str, matter: Matter, register: Register, standing: Standing, to: Path, actor: Actor
) -> list[ProducedVolume]:
    """Finish volumes that were begun, or write the next: recordings that no volume has in their present sealed state.

    Args:
        settings: this deployment's.
        target: the published place.
        matter: what to produce.
        register: the matter's.
        standing: of the matter.
        to: the folder that gets a folder for each new volume.
        actor: who produces.

    Returns:
        The volumes, oldest first.

    Raises:
        MatterStateError: nothing is new, a volume's place is taken, or another command acts for the matter.
        RecordNotFoundError: a recording is not sealed.
        ProofError, TileError, NoteError, TargetError: see `evidence.cut.proof.prove`.
    """
    with register.alone():
        numbers = _begun(register, matter, standing, to) or _plan(settings, target, matter, register, standing, to)
        made = []
        for volume in register.each():  # one volume's recordings in memory at a time
            if volume.number in numbers:
                to_write = _to_write(volume, matter)
                made.append(_Writing(settings, target, matter, register, standing, actor, to_write).write())
                give_back()
        return made


def _begun(register: Register, matter: Matter, standing: Standing, to: Path) -> set[int]:
    """Numbers of volumes without their final name. Forgets those that the present matter would not produce like this.

    A volume of which nothing is there any more, as on a disk that was taken away, is written into `to`.

    Raises:
        MatterStateError: a folder of that name is there, or cannot be made.
    """
    begun = {volume.number: volume for volume in register.each() if not volume.is_finished}
    for volume in begun.values():
        if Path(volume.folder).exists():
            raise MatterStateError(
                f"{volume.folder} is there, but {volume.name} is not finished: move that folder away"
            )
    asked = {item.key for volume in begun.values() for item in _to_write(volume, matter).recordings}
    if asked:
        asked.difference_update(item.key for item in standing.found.produced)
    if not asked:
        moved = [_placed(volume, to) for volume in begun.values() if not volume.partial.exists()]
        for volume in moved:
            register.keep(volume)
        _claim(moved)
        return set(begun)
    # The matter was changed since: what it excludes now must not be produced. Numbers are assigned again.
    for volume in reversed(begun.values()):  # if this is killed, the numbers that are left have no gap
        shutil.rmtree(volume.partial, ignore_errors=True)
        register.forget(volume)
    return set()


def _to_write(volume: Volume, matter: Matter) -> Volume:
    """A registered volume, or as it was begun if it must be made again."""
    return volume if _is_made(volume, matter) else _to_be_made(volume)


def _is_made(volume: Volume, matter: Matter) -> bool:
    """Whether a volume is recorded for the present matter: only its signature or its name is missing."""
    listed = volume.partial / LIST
    if volume.sha256 is None or volume.matter_sha256 != matter.state_sha256 or not listed.exists():
        return False
    return hashlib.sha256(listed.read_bytes()).hexdigest() == volume.sha256


def _to_be_made(volume: Volume) -> Volume:
    recordings = sorted((*volume.recordings, *volume.lost), key=lambda item: item.order)
    return msgspec.structs.replace(volume, recordings=tuple(recordings), lost=(), sha256=None)


def _plan(
    settings: Settings, target: str, matter: Matter, register: Register, standing: Standing, to: Path
) -> set[int]:
    """Register the next volumes; returns their numbers."""
    fresh: dict[_Key, Produced | None] = {}  # and what an earlier volume has of it
    nights: dict[str, set[_Key]] = {}
    before = {item.key: item for volume in register.each() for item in volume.recordings}
    found = False
    for item in standing.found.produced:
        found |= item.media_sha256 is not None
        if item.media_sha256 and _differs(before.get(item.key), item.row_sha256):
            fresh[item.key] = before.get(item.key)
            nights.setdefault(str(item.night), set()).add(item.key)
    if not found:
        raise MatterStateError(f"the selection finds no recording with audio; custody matter show {matter.name}")
    sealed = {
        key: now
        for key, now in _sealed(settings, target, nights)
        if now.media_sha256 and _differs(fresh[key], now.row_sha256.hex())
    }
    keys = [key for key in fresh if key in sealed]
    if not keys:
        raise MatterStateError(f"nothing is new: every recording of {matter.name} was produced as it is sealed now")
    # Numbers have no gap: only the last volumes are ever forgotten, and what was lost keeps its number.
    used = sum(len(volume.recordings) + len(volume.lost) for volume in register.each())
    first, size = 1 + used, matter.form.volume_recordings
    number = 1 + max((volume.number for volume in register.each()), default=0)
    starts = range(0, len(keys), size)
    planned = [
        _placed(Volume(number, "", matter.state_sha256, ()), to) for number in range(number, number + len(starts))
    ]
    for volume, start in zip(planned, starts, strict=True):
        recordings = (
            Produced(
                control=f"{matter.form.prefix}{place:0{matter.form.digits}}",
                conversation_id=key[0],
                recording_id=key[1],
                night=sealed[key].night,
                media_sha256=sealed[key].media_sha256.hex(),
                row_sha256=sealed[key].row_sha256.hex(),
                supersedes=was.control if (was := fresh[key]) else None,
            )
            for place, key in enumerate(keys[start : start + size], first + start)
        )
        register.keep(msgspec.structs.replace(volume, recordings=tuple(recordings)))
    try:
        _claim(planned)
    except MatterStateError:
        for volume in reversed(planned):
            register.forget(volume)
        raise
    return {volume.number for volume in planned}


def _placed(volume: Volume, to: Path) -> Volume:
    """The volume in a folder where no other one of its name is."""
    folder = (to / volume.name).absolute()
    if folder.exists():
        raise MatterStateError(f"{folder} is there already; name another folder with --to")
    return msgspec.structs.replace(volume, folder=str(folder))


def _claim(planned: Sequence[Volume]) -> None:
    """Make the folders in which planned volumes are written. Another matter may produce into the same folder.

    Raises:
        MatterStateError: somebody else made one of them, or it cannot be made; none was made.
    """
    for place, volume in enumerate(planned):
        try:
            volume.partial.mkdir(parents=True)
        except OSError as error:
            for mine in planned[:place]:
                mine.partial.rmdir()
            why = f"cannot be made ({error.strerror})"
            if isinstance(error, FileExistsError):
                why = "is there: another production is written there, or was begun"
            raise MatterStateError(f"{volume.partial} {why}; name another folder with --to") from error


class _Sealed(NamedTuple):
    """The values that decide whether a recording is produced again: digests as bytes, since there may be many."""

    night: str
    media_sha256: bytes
    row_sha256: bytes


def _sealed(settings: Settings, target: str, nights: Mapping[str, set[_Key]]) -> Iterator[tuple[_Key, _Sealed]]:
    """The newest sealed record of each recording, in short."""
    prover = Prover(open_target(settings, target), public_keys(settings, []))
    for night, keys in nights.items():
        of_night = {key: key for key in keys}
        for sealed in _newest_of(prover, night, keys):
            row = sealed.row
            digests = (bytes.fromhex(row.get(name) or "") for name in ("media_sha256", "row_sha256"))
            yield of_night[_key(row)], _Sealed(night, *digests)


def _differs(before: Produced | None, row_sha256: str) -> bool:
    return before is None or before.row_sha256 != row_sha256


def _key(row: Mapping[str, str | None]) -> _Key:
    return str(row["conversation_id"]), str(row["recording_id"])


def _newest(prover: Prover, wanted: Iterable[tuple[str, _Key]]) -> Iterator[SealedRecord]:
    """The newest sealed record of each recording, night by night. `wanted`: night, conversation and recording.

    Raises:
        MatterStateError: a conversation's recording is not sealed.
        RecordNotFoundError: a recording is not sealed.
    """
    nights: dict[str, set[_Key]] = {}
    for night, key in wanted:
        nights.setdefault(night, set()).add(key)
    for night, keys in nights.items():
        yield from _newest_of(prover, night, keys)


def _newest_of(prover: Prover, night: str, keys: set[_Key]) -> Iterator[SealedRecord]:
    """As `_newest`, of one night; empties `keys`."""
    for sealed in prover.sealed({recording for _, recording in keys}, night):
        if (key := _key(sealed.row)) in keys:
            keys.remove(key)
            yield sealed
    if keys:
        raise MatterStateError(
            f"{len(keys)} recordings are not sealed, the first is {min(keys)[1]}: "
            f"custody run --date {night}, then again"
        )


def _finish(settings: Settings, partial: Path, folder: Path) -> None:
    """Sign a recorded volume, and give it its name. So each volume that verifies is in the register and the events."""
    sign_production(partial, load_sealing(settings).signers)
    make_private(partial)
    partial.rename(folder)


def _as_it_went_out(volume: Volume, lines: Spool) -> Iterator[Produced]:
    """The volume's recordings as they are now: a night may have been sealed again since the volume was begun."""
    asked = {item.control: item for item in volume.recordings}
    for line in lines:
        item = asked[line.control]
        yield (
            msgspec.structs.replace(item, row_sha256=line.row_sha256, media_sha256=line.media_sha256)
            if line.is_new
            else item
        )


def _keep_audio_alone(partial: Path) -> None:
    """Remove everything that an earlier attempt left except audio: the matter may have been changed since.

    Links are removed, too: nothing may be written through them.
    """
    kept = partial / EVIDENCE / "data/audio"
    for folder in (partial, partial / EVIDENCE, partial / EVIDENCE / "data", kept):
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if not path.is_symlink() and (kept.is_relative_to(path) or folder == kept):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _derived(rows: Sequence[Mapping[str, str]], volume: Volume, reason: str) -> Iterator[Act]:
    """Custody events of listening copies."""
    by_control = {item.control: item for item in volume.recordings} if rows else {}
    for row in rows:
        item = by_control[row["control_number"]]
        yield Act(
            date.fromisoformat(item.night),
            "packaged",
            what="listening copy, derived",
            why=reason,
            how=row["tool"],
            where_at=row["file"],
            sha256_before=row["source_sha256"],
            sha256_after=row["sha256"],
            conversation_id=item.conversation_id,
            recording_id=item.recording_id,
        )


def _events(con: duckdb.DuckDBPyConnection, lines: Iterable[SpooledLine], why: str) -> Iterator[dict[str, Any]]:
    """Custody events of the recordings, each with its control number."""
    waiting = iter(lines)
    while part := list(islice(waiting, _EVENTS_OF_LINES)):
        keys = [{"control_number": line.control, **dict(zip(("n", "c", "r"), line.key, strict=True))} for line in part]
        events = rows_of(
            con,
            query("matters/events"),
            {"keys": keys},
        )
        yield from masked_events(of_one_matter(events, why), {line.control for line in part if line.masked})


@dataclass(frozen=True)
class _Writing:
    """One volume that is written."""

    settings: Settings
    target: str
    matter: Matter
    register: Register
    standing: Standing
    actor: Actor
    volume: Volume

    def write(self) -> ProducedVolume:
        """Write, record and sign the volume. What an earlier attempt wrote is only recorded, signed and named."""
        made, left_out = (self.volume, []) if self.volume.sha256 is not None else self._make()
        folder, sha256 = Path(made.folder), str(made.sha256)
        self._record(made, sha256)
        _finish(self.settings, made.partial, folder)
        self.register.keep(msgspec.structs.replace(made, is_named=True))
        return ProducedVolume(made.name, folder, len(made.recordings), len(made.lost), sha256, tuple(left_out))

    def _make(self) -> tuple[Volume, list[str]]:
        """Write the volume and register its digest. Returns it, and a line for each format that is left out."""
        matter, volume, partial = self.matter, self.volume, self.volume.partial
        _keep_audio_alone(partial)
        with Spool(partial, len(volume.recordings)) as lines:
            lost, made, head = self._fill(self._reason, lines)
            left_out = self._write_listening_copies(lines)
            unfound, without_documents = self._conversations(lines)
            left_out += without_documents
            number = self._write_tables(lines, self._exceptions(lost, unfound))
            account = self._account(len(lines), len(lost))
            facts = self._facts(head, made) | {"produced": len(lines), "lost": len(lost), "exceptions": number}
            pages = {
                "report": report_html(matter, self.standing, account, list(islice(lines.rows(), ROWS_SHOWN)), facts),
                "certificate": certificate_html(matter, facts),
            }
            left_out += write_documents(partial, pages)
            self._write_statement(lines, account, number)
            sha256 = list_production(partial)
            recordings = tuple(_as_it_went_out(volume, lines))
            without = tuple(item for item in volume.recordings if item.control in lost)
            written = Volume(volume.number, volume.folder, matter.state_sha256, recordings, sha256, without, False)
            self.register.keep(written)
        return written, left_out

    def _record(self, made: Volume, sha256: str) -> None:
        """Record the volume in the custody events and in the matter, unless a killed attempt did."""
        if not is_packaged(self.settings, sha256):
            how = "production with a signed package"
            here = (packaged(item.place, self._reason, made.name, sha256, how) for item in made.recordings)
            derived = _derived(listening_copies(made.partial), made, self._reason)
            record_packaged(self.settings, self.actor, chain(here, derived))
        if not any(event.get("sha256") == sha256 for event in self.register.events()):
            folder, count = Path(made.folder).name, len(made.recordings)
            self.register.note(self.actor, f"produced {made.name}", recordings=count, sha256=sha256, folder=folder)

    @property
    def _reason(self) -> str:
        return f"{self.matter.why}, {self.volume.name}"

    def _fill(self, reason: str, lines: Spool) -> tuple[dict[str, str], Made, Head]:
        """Write the package, and the lines of its recordings to the spool.

        Returns:
            Control number → why its audio could not be read; the package; the head that its proofs lead to.
        """
        settings, matter, volume = self.settings, self.matter, self.volume
        reader = open_target(settings, self.target)
        with analyst_database(settings) as con:
            names_of = agent_names(con)
        prover = Prover(reader, public_keys(settings, []))
        mapping = load_mapping(settings.mapping_path) if matter.mask else None
        wanted = {item.key: (number, item) for number, item in enumerate(volume.recordings)}
        lost: dict[str, str] = {}
        shown_rows: dict[str, Shown] = {}

        def items() -> Iterator[Item]:
            for proof in map(prover.prove, _newest(prover, ((item.night, item.key) for item in volume.recordings))):
                control = wanted[_key(proof.row)][1].control
                out = shown(matter.mask, mapping, proof.row) if matter.mask and mapping else None
                if out:
                    shown_rows[control] = out
                yield Item(control, proof, out.record if out else None)

        def packed(item: Item, audio: Attached) -> None:
            number, asked = wanted[_key(item.proof.row)]
            out, row = shown_rows.pop(item.name, None), item.proof.row
            if not audio.is_here:
                lost[item.name] = audio.why or "it was sealed without a place"
                return
            native_path = EVIDENCE + audio.place
            line = production_tables.Line(item.name, out.row if out else row, native_path, audio.size, asked.supersedes)
            lines.put(
                number,
                SpooledLine(
                    control=item.name,
                    key=item.key,
                    row=production_tables.index_row(matter, volume.name, line, names_of),
                    native_path=native_path,
                    masked=out is not None,
                    row_sha256=str(row["row_sha256"]),
                    conversation_sha256=row.get("conversation_sha256") or "",
                    media_sha256=str(row["media_sha256"]),
                    is_new=(asked.row_sha256, asked.media_sha256) != (row["row_sha256"], row["media_sha256"]),
                ),
            )

        made = fill_package(
            settings,
            reader,
            prover.checkpoint,
            volume.partial / EVIDENCE,
            items(),
            packed,
            reason=reason,
            actor=self.actor,
            asked=(item.recording_id for item in volume.recordings),
            total=len(volume.recordings),
        )
        return lost, made, prover.checkpoint.head

    def _write_listening_copies(self, lines: Spool) -> list[str]:
        """Returns a line with the reason if there are none."""
        if self.matter.form.listening == "none":
            return []
        folder = self.volume.partial
        sources = ((line.control, folder / line.native_path, line.media_sha256) for line in lines)
        try:
            write_listening_copies(folder, sources, self.matter.form.listening)
        except ListeningError as error:
            return [f"no listening copies: {error}"]
        return []

    def _conversations(self, lines: Spool) -> tuple[list[str], list[str]]:
        """Write the conversations' documents. Returns control numbers of those in no cut; a line if none is written."""
        if self.matter.form.conversations == "none":
            return [], []
        if self.matter.mask:
            # Also that of a record of which nothing is withheld: it has the other recordings of the conversation.
            return [], ["no documents of conversations: they have what the matter masks"]
        folder = self.volume.partial / "conversations"
        wanted = ((folder / f"{line.control}.json", line.key[0], line.conversation_sha256) for line in lines)
        unfound = write_conversations(self.settings, self.target, wanted)
        return sorted(path.stem for path in unfound), []

    def _exceptions(self, lost: Mapping[str, str], unfound: Sequence[str]) -> Iterator[dict[str, str]]:
        """Selected recordings that are neither in this volume nor in another, and those whose audio has no bytes."""
        found, empty = self.standing.found, dict.fromkeys(production_tables.EXCEPTIONS, "")
        for ids, why, explanation in (
            (found.unmatched, "not_found", "No collected night has a conversation or recording of this id."),
            (found.elsewhere, "outside_of_the_conditions", "It is there, but does not fulfil the other conditions."),
        ):
            for item in ids:
                yield empty | {"what": item, "why": why, "explanation": explanation}
        for recording in found.recordings:
            if recording.to_be_heard:
                continue
            reasons = [code for code in recording.reasons if production_tables.sentence(code) != code]
            words = " ".join(map(production_tables.sentence, reasons)) or "The night was sealed without its audio."
            excluded, until = recording.excluded, self.standing.until.get(recording.key)
            proof = [f"custody explain {recording.recording_id}"]
            if not self.matter.mask:
                proof.append(f"row {recording.row_sha256}")
            if not (self.matter.mask or excluded) and (documents := self.standing.proofs.get(recording.key)):
                proof.append(documents)
            yield {
                "what": recording.kind or "unknown",
                "conversation_id": recording.conversation_id,
                "recording_id": recording.recording_id,
                "night": str(recording.night),
                "why": f"excluded: {excluded}" if excluded else ", ".join(recording.reasons) or "no_audio",
                "explanation": recording.note or "The producing party excluded it." if excluded else words,
                "can_still_be_had": "" if excluded else production_tables.can_be_had(reasons, until),
                "proof": "; ".join(proof),
            }
        for gone in self.volume.recordings if lost else ():
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
        for control in unfound:
            explanation = "No sealed cut has the document."
            yield empty | {"what": control, "why": "conversation_document", "explanation": explanation}

    def _write_tables(self, lines: Spool, exceptions: Iterable[Mapping[str, str]]) -> int:
        """Write every table. Returns the number of exceptions."""
        folder, names = self.volume.partial, lines.names or ["control_number"]
        production_tables.write_csv(folder / "index.csv", lines.rows(), names)
        production_tables.write_xlsx(folder / "index.xlsx", lines.rows(), names)
        production_tables.write_load_file(folder / "loadfile.dat", lines.rows(), names)
        production_tables.write_field_map(folder / "field-map.csv", names)
        if self.matter.form.fields == "sec":
            production_tables.write_sec(folder / "audio-metadata.csv", lines.rows())
        with overview(self.settings) as con:  # the snapshot for analysts lacks what was done since, for example a hold
            assert con is not None  # noqa: S101 - a recording of it is sealed
            production_tables.write_custody_log(folder, _events(con, lines, self.matter.why))
        return production_tables.write_csv(folder / "exceptions.csv", exceptions, production_tables.EXCEPTIONS)

    def _account(self, produced: int, lost: int) -> list[tuple[str, int]]:
        """Numbers of found recordings by their outcome; they add up to all found recordings."""
        here = {item.key for item in self.volume.recordings}
        other = {item.key for other in self.register.each(but=self.volume.name) for item in other.recordings}
        excluded = elsewhere = silent = later = 0
        for item in self.standing.found.recordings:
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

    def _facts(self, head: Head, made: Made) -> dict[str, Any]:
        """The content of the pages, from values that were verified when the volume was written."""
        volume, actor = self.volume, self.actor
        return {
            "volume": volume.name,
            "made_at": f"{utc_now():%Y-%m-%d %H:%M}",
            "operator": actor.operator,
            "tool_version": actor.tool_version,
            "git_revision": actor.git_revision,
            "fingerprint": f"sha256 {load_sealing(self.settings).signers[0].verifier.fingerprint}",
            "origin": head.origin,
            "log_size": head.size,
            "log_root": head.root.hex(),
            "manifest_sha256": made.sha256,
            "supersedes": sum(item.supersedes is not None for item in volume.recordings),
            "events": [event for event in self.register.events() if event["what"] != "looked"]
            + [
                {
                    "at": f"{utc_now():%Y-%m-%dT%H:%M:%SZ}",
                    "what": f"{volume.name}, this volume",
                    "operator": actor.operator,
                }
            ],
        }

    def _write_statement(self, lines: Spool, account: Sequence[tuple[str, int]], exceptions: int) -> None:
        """`production.json` describes the volume for programs; `custody verify` covers it like every other file."""
        matter, volume = self.matter, self.volume
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
            "unmatched": len(self.standing.found.unmatched),
            "masked": None if matter.mask is None else asdict(matter.mask),
            "supersedes": {item.control: item.supersedes for item in volume.recordings if item.supersedes},
            "signed_list": LIST,
        }
        (volume.partial / STATEMENT).write_text(json.dumps(statement, ensure_ascii=False, indent=1) + "\n", "utf-8")
