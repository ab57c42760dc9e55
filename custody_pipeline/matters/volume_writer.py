"""`custody matter produce`: numbered volumes of sealed recordings, each with its own signature.

Belongs here: the order of a volume's parts, its record in the custody events and in the matter. Does not: which
recordings go into which volume (volume_plan.py), the tables (production_tables.py), numbers and facts
(volume_facts.py), the pages (pages.py), the package inside (operations/packaging.py), the signature
(evidence/package/signed_volume.py).

A volume is written beside its place, in `.VOL001.….partial`, recorded, registered and signed, and gets its name last. A
killed production continues with the same recordings under the same numbers.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.package.signed_volume import list_production, sign_production
from custody_pipeline.evidence.package.volume_tables import EVIDENCE
from custody_pipeline.fleet.overview import every_night, is_packaged, overview, record_acts
from custody_pipeline.io.process import give_back
from custody_pipeline.matters import production_tables
from custody_pipeline.matters.listening import ListeningError, listening_copies, write_listening_copies
from custody_pipeline.matters.masking import LISTENING_COPY, Shown, masked_events, of_one_matter, shown
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.page_formats import write_documents
from custody_pipeline.matters.pages import ROWS_SHOWN, certificate_html, report_html
from custody_pipeline.matters.register import MatterStateError, Produced, Register, Volume
from custody_pipeline.matters.selection import agent_names
from custody_pipeline.matters.standing import Standing
from custody_pipeline.matters.volume_facts import account_of, elsewhere_than, exceptions_of, facts_of, write_statement
from custody_pipeline.matters.volume_lines import Spool, SpooledLine
from custody_pipeline.matters.volume_plan import as_it_must_be_written, begun, key_of, newest, plan
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.operations.attached_files import Attached, Item
from custody_pipeline.operations.packaging import Made, fill_package, make_private, packaged
from custody_pipeline.operations.sealed_documents import write_conversations
from custody_pipeline.operations.verification import open_target, public_keys
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import erased_conversations
from custody_pipeline.warehouse.ledger import Act, Actor
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import rows_of

_EVENTS_OF_LINES = 500
"""Number of recordings whose events are in memory at once."""


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
        target: the published place.
        standing: of the matter.
        to: the folder that gets a folder for each new volume.

    Returns:
        The volumes, oldest first.

    Raises:
        MatterStateError: nothing is new, a volume's place is taken, recordings are being erased, or another command
            acts for the matter.
        RecordNotFoundError: a recording is not sealed.
        ProofError, TileError, NoteError, TargetError: see `evidence.cut.proof.Prover.each`.
    """
    with register.alone():
        _refuse_erased(settings, (item.conversation_id for item in standing.found.produced if item.media_sha256))
        numbers = begun(register, matter, standing, to) or plan(settings, target, matter, register, standing, to)
        made = []
        for volume in register.volumes():  # one volume's recordings in memory at a time
            if volume.number in numbers:
                to_write = as_it_must_be_written(volume, matter)
                made.append(VolumeWriter(settings, target, matter, register, standing, actor, to_write).write())
                give_back()
        return made


@dataclass(frozen=True)
class VolumeWriter:
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
        try:
            # An erasure that began meanwhile either finds this folder, or is found here.
            _refuse_erased(self.settings, (item.conversation_id for item in made.recordings))
        except MatterStateError:
            self.register.remove(msgspec.structs.replace(made, is_named=True))
            raise
        self.register.keep(msgspec.structs.replace(made, is_named=True))
        return ProducedVolume(made.name, folder, len(made.recordings), len(made.lost), sha256, tuple(left_out))

    def _make(self) -> tuple[Volume, list[str]]:
        """Write the volume and register its digest. Returns it, and a line for each format that is left out."""
        matter, volume, partial = self.matter, self.volume, self.volume.partial
        _keep_audio_alone(partial)
        with closing(Spool(partial, len(volume.recordings))) as lines:
            lost, made, head = self._fill(lines)
            left_out = self._write_listening_copies(lines)
            unfound, without_documents = self._conversations(lines)
            left_out += without_documents
            other = elsewhere_than(volume, self.register)
            number = self._write_tables(lines, exceptions_of(volume, matter, self.standing, other, lost, unfound))
            account = account_of(volume, self.standing, other, len(lines), len(lost))
            fingerprint = load_sealing(self.settings).signers[0].verifier.fingerprint
            facts = facts_of(volume, self.register, self.actor, fingerprint, head, made.sha256)
            facts |= {"produced": len(lines), "lost": len(lost), "exceptions": number}
            pages = {
                "report": report_html(matter, self.standing, account, list(islice(lines.rows(), ROWS_SHOWN)), facts),
                "certificate": certificate_html(matter, facts),
            }
            left_out += write_documents(partial, pages)
            write_statement(volume, matter, self.standing, lines, account, number)
            sha256 = list_production(partial)
            recordings = tuple(_as_it_went_out(volume, lines))
            without = tuple(item for item in volume.recordings if item.control in lost)
            written = msgspec.structs.replace(
                volume,
                matter_sha256=matter.state_sha256,
                recordings=recordings,
                sha256=sha256,
                lost=without,
                is_named=False,
            )
            self.register.keep(written)
        return written, left_out

    def _record(self, made: Volume, sha256: str) -> None:
        """Record the volume in the custody events and in the matter, unless a killed attempt did."""
        if not is_packaged(self.settings, sha256):
            how = "production with a signed package"
            here = (packaged(item.place, self._reason, made.name, sha256, how) for item in made.recordings)
            derived = _derived(listening_copies(made.partial), made, self._reason)
            record_acts(self.settings, self.actor, chain(here, derived))
        if not any(event.get("sha256") == sha256 for event in self.register.events()):
            folder, count = Path(made.folder).name, len(made.recordings)
            self.register.note(self.actor, f"produced {made.name}", recordings=count, sha256=sha256, folder=folder)

    @property
    def _reason(self) -> str:
        return f"{self.matter.why}, {self.volume.name}"

    def _fill(self, lines: Spool) -> tuple[dict[str, str], Made, Head]:
        """Write the package, and the lines of its recordings to the spool.

        Returns:
            Control number → why its audio could not be read; the package; the head that its proofs lead to.
        """
        settings, matter, volume = self.settings, self.matter, self.volume
        reader = open_target(settings, self.target)
        with every_night(settings) as con:
            names_of = agent_names(con)
        prover = Prover(reader, public_keys(settings, []))
        mapping = load_mapping(settings.mapping_path) if matter.mask else None
        wanted = {item.key: (number, item) for number, item in enumerate(volume.recordings)}
        lost: dict[str, str] = {}
        shown_rows: dict[str, Shown] = {}

        def items() -> Iterator[Item]:
            for proof in map(prover.prove, newest(prover, ((item.night, item.key) for item in volume.recordings))):
                control = wanted[key_of(proof.row)][1].control
                out = shown(matter.mask, mapping, proof.row) if matter.mask and mapping else None
                if out:
                    shown_rows[control] = out
                yield Item(control, proof, out.record if out else None)

        def packed(item: Item, audio: Attached) -> None:
            number, asked = wanted[key_of(item.proof.row)]
            out, row = shown_rows.pop(item.name, None), item.proof.row
            if not audio.is_here:
                lost[item.name] = audio.why or "it was sealed without a place"
                return
            native_path = EVIDENCE + audio.place
            line = production_tables.index_row(
                matter,
                out.row if out else row,
                names_of,
                volume=volume.name,
                control=item.name,
                native=native_path,
                size=audio.size,
                supersedes=asked.supersedes,
            )
            lines.put(
                number,
                SpooledLine(
                    control=item.name,
                    key=item.key,
                    row=line,
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
            reason=self._reason,
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

    def _conversations(self, lines: Spool) -> tuple[dict[str, str], list[str]]:
        """Write the conversations' documents.

        Returns:
            Control number → why its document is not here; a line if none is written.
        """
        if self.matter.form.conversations == "none":
            return {}, []
        if self.matter.mask:
            # Also that of a record of which nothing is withheld: it has the other recordings of the conversation.
            return {}, ["no documents of conversations: they have what the matter masks"]
        folder = self.volume.partial / "conversations"
        wanted = ((folder / f"{line.control}.json", line.key[0], line.conversation_sha256) for line in lines)
        unread = {path.stem for path in write_conversations(self.settings, self.target, wanted)}
        return {
            line.control: "No sealed cut has the document in a form that can be read here."
            if line.conversation_sha256
            else "The night was sealed without a document of the conversation."
            for line in lines
            if line.control in unread
        }, []

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
            volumes = {volume.sha256 for volume in self.register.volumes()} - {None}
            production_tables.write_custody_log(folder, _events(con, lines, self.matter.why, volumes))
        return production_tables.write_harmless_csv(folder / "exceptions.csv", exceptions, production_tables.EXCEPTIONS)


def _refuse_erased(settings: Settings, conversations: Iterable[str]) -> None:
    erased = erased_conversations(settings)
    if any(name.lower() in erased for name in conversations):
        raise MatterStateError(
            "recordings of the matter are being erased, and no volume was written: wait for the end, or end an erasure "
            "that was interrupted with custody erase --resume; then produce again"
        )


def _finish(settings: Settings, partial: Path, folder: Path) -> None:
    """Sign a recorded volume, and give it its name. So each volume that verifies is in the register and the events."""
    sign_production(partial, load_sealing(settings).signers)
    make_private(partial)
    if folder.exists():
        raise MatterStateError(
            f"{folder} was made meanwhile by another command: move it away, and run the command again"
        )
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
            what=LISTENING_COPY,
            why=reason,
            how=row["tool"],
            where_at=row["file"],
            sha256_before=row["source_sha256"],
            sha256_after=row["sha256"],
            conversation_id=item.conversation_id,
            recording_id=item.recording_id,
        )


def _events(
    con: duckdb.DuckDBPyConnection, lines: Iterable[SpooledLine], why: str, volumes: Set[str | None]
) -> Iterator[dict[str, Any]]:
    """Custody events of the recordings, each with its control number."""
    waiting = iter(lines)
    while part := list(islice(waiting, _EVENTS_OF_LINES)):
        keys = [{"control_number": line.control, **dict(zip(("n", "c", "r"), line.key, strict=True))} for line in part]
        events = rows_of(con, query("matters/events"), {"keys": keys})
        yield from masked_events(of_one_matter(events, why, volumes), {line.control for line in part if line.masked})
