"""The register of a matter: its folder, its events and its volumes.

Belongs here: the folder of matters, the matter's own events, the register of its volumes. Does not: the custody events
of recordings (warehouse/ledger.py).

A volume is registered before its first byte is written, so that a killed production continues with the same recordings
under the same control numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from custody_pipeline.evidence.package.signed_volume import LIST
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.whole_file import found_in, is_going, read_json, remove_folder, write_whole
from custody_pipeline.io.yaml_file import RefusedFileError
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.matter_file import TEMPLATE, load_matter, prefix_of
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.ledger import Actor

_OWN_FILES = {"events.ndjson", "holds.json", "lock", "productions", "receipts", "report.html", "volumes"}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class MatterStateError(Exception):
    """A step of a matter cannot be done. The message says why and what to do."""


class Produced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recording of a volume.

    Attributes:
        night: whose cut has it.
        media_sha256: of its audio, hex.
        row_sha256: of its row, hex: another row is another production.
        supersedes: the control number under which an earlier state of it was produced.
    """

    control: str
    conversation_id: str
    recording_id: str
    night: str
    media_sha256: str
    row_sha256: str
    supersedes: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Conversation and recording."""
        return self.conversation_id, self.recording_id

    @property
    def place(self) -> tuple[str, str, str]:
        """Night, conversation and recording."""
        return self.night, self.conversation_id, self.recording_id

    @property
    def order(self) -> tuple[int, str]:
        """Recordings of one volume stand in this order: they have one prefix, which may end with digits."""
        return len(self.control), self.control


class Volume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A volume, begun or produced.

    Attributes:
        number: from 1.
        matter_sha256: `Matter.state_sha256` of the matter that selected it.
        recordings: in the order of their control numbers.
        lost: recordings whose audio could not be read as it was sealed; no other recording gets their numbers.
        sha256: of the production's manifest, hex; None until it is recorded.
        is_named: it was signed, and got its name. Registers of earlier versions do not say so.
        claim: in the name of its unfinished folder, which no other matter then has; earlier versions had none.
        removed_at: when an erasure removed its folder, UTC, RFC 3339; empty while it stays.
    """

    number: int
    folder: str
    matter_sha256: str
    recordings: tuple[Produced, ...]
    sha256: str | None = None
    lost: tuple[Produced, ...] = ()
    is_named: bool = True
    claim: str = ""
    removed_at: str = ""

    @property
    def name(self) -> str:
        """`VOL001`."""
        return f"VOL{self.number:03}"

    @property
    def partial(self) -> Path:
        """The folder in which the volume is written."""
        folder = Path(self.folder)
        return folder.with_name(f".{folder.name}{self.claim and '.'}{self.claim}.partial")

    @property
    def is_finished(self) -> bool:
        """Whether it was signed and named; only then can it be handed over. It may have been moved since."""
        is_moved = self.is_named and not self.partial.exists()
        return self.sha256 is not None and (Path(self.folder).exists() or is_moved)

    def state(self) -> str:
        """`here`, `removed` (by an erasure), `gone` (moved or removed), or `altered` (it has other content)."""
        folder = Path(self.folder)
        if not folder.exists():
            if self.partial.exists() or is_going(folder):
                return "here"
            return "removed" if self.removed_at else "gone"
        try:
            is_what_was_made = hashlib.sha256((folder / LIST).read_bytes()).hexdigest() == self.sha256
        except OSError:
            return "altered"
        return "here" if is_what_was_made else "altered"


@contextmanager
def alone(path: Path, busy: Exception, seconds: float = 0) -> Iterator[None]:
    """Allow no other command that takes this lock within the block. Raises `busy` if another has it so long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(path, timeout=seconds))
        except Timeout as error:
            raise busy from error
        yield


@dataclass(frozen=True)
class Register:
    """The folder of one matter."""

    folder: Path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Allow no other command for the matter within the block.

        Raises:
            MatterStateError: another command is running for it.
        """
        does = f"produces, holds or releases for {self.folder.name}"
        with alone(self.folder / "lock", MatterStateError(f"another command {does}: wait for its end")):
            yield

    def volumes(self, *, but: str = "") -> Iterator[Volume]:
        """All volumes, or all but one, oldest first, one after the other: a volume has thousands of recordings."""
        paths = (path for path in found_in(self.folder / "volumes", "VOL*.json") if path.stem != but)
        for path in sorted(paths, key=lambda path: (len(path.name), path.name)):
            yield read_json(path, Volume)

    def produced(self) -> Iterator[Produced]:
        """The recordings of all finished volumes that somebody may have, oldest first."""
        return (
            item
            for volume in self.volumes()
            if volume.is_finished and not self.is_lost(volume)
            for item in volume.recordings
        )

    def handovers(self, volume: Volume) -> list[str]:
        """To whom a volume was handed, a sentence each."""
        told = (str(event.get("what")) for event in self.events())
        return [what for what in told if what.startswith(f"handed {volume.name} ")]

    def is_lost(self, volume: Volume) -> bool:
        """Whether an erasure removed it and nobody has it: its other recordings are produced again."""
        return bool(volume.removed_at) and not self.handovers(volume)

    def keep(self, volume: Volume) -> None:
        """Write a volume's register, in one step."""
        path = self.folder / "volumes" / f"{volume.name}.json"
        write_whole(path, msgspec.json.format(msgspec.json.encode(volume), indent=1) + b"\n")

    def remove(self, volume: Volume) -> None:
        """Remove a volume's folder because of an erasure; its register says so first."""
        self.keep(msgspec.structs.replace(volume, removed_at=f"{utc_now():%Y-%m-%dT%H:%M:%SZ}"))
        remove_folder(Path(volume.folder))

    def forget(self, volume: Volume) -> None:
        """Remove the register of a volume that was begun but will not be produced."""
        (self.folder / "volumes" / f"{volume.name}.json").unlink()

    def note(self, actor: Actor, what: str, **details: Any) -> None:
        """Append an event of the matter."""
        event = {"at": f"{utc_now():%Y-%m-%dT%H:%M:%SZ}", "operator": actor.operator, "what": what, **details}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "events.ndjson").open("ab+") as file:
            file.seek(max(0, file.tell() - 1))
            # A killed process may have left a part of a line.
            begin = b"" if file.read() in (b"", b"\n") else b"\n"
            file.write(begin + json.dumps(event, ensure_ascii=False, default=str).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def told(self) -> list[dict[str, Any]]:
        """What was done for the matter, oldest first, without looks; and which volumes an erasure removed."""
        removed = (
            {"at": volume.removed_at, "what": f"{volume.name} removed by an erasure", "operator": ""}
            for volume in self.volumes()
            if volume.removed_at
        )
        done = (_with_its_time(event) for event in self.events() if event["what"] != "looked")
        return sorted((*done, *removed), key=lambda event: str(event["at"]))

    def events(self) -> list[dict[str, Any]]:
        """Events of the matter, oldest first; a line of a killed process may be incomplete."""
        path = self.folder / "events.ndjson"
        found = []
        for line in path.read_bytes().split(b"\n") if path.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found


def _with_its_time(event: dict[str, Any]) -> dict[str, Any]:
    """A handover that was recorded later says when it was."""
    handed, at = str(event.get("handed_at", "")), str(event["at"])
    if not handed or handed[:16] == at[:16]:
        return event
    clock = "" if handed[11:19] == "00:00:00" else f" {handed[11:16]} UTC"
    return {**event, "what": f"{event['what']}; handed over on {handed[:10]}{clock}"}


def matters_folder(settings: Settings) -> Path:
    """Where the matter files of a deployment are."""
    return settings.home / "matters"


def register_of(settings: Settings, name: str) -> Register:
    """The register of a matter."""
    return Register(matters_folder(settings) / checked_name(name))


def checked_name(name: str) -> str:
    """A matter's name, which is also a file's.

    Raises:
        SettingsError: it is no plain name.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"matter {name!r}: expected small letters, digits, - and _, at most 63, and no path")
    return name


def open_matter(settings: Settings, name: str) -> Matter:
    """The matter of a name.

    Raises:
        SettingsError: no such matter.
        RefusedFileError: its file is refused.
    """
    path = matters_folder(settings) / f"{checked_name(name)}.yaml"
    if not path.exists() and not path.is_symlink():
        if path.with_suffix("") in _folders(settings):
            done = f"what was done for {name} is in {path.with_suffix('')}"
            raise SettingsError(f"{path} is gone; {done}: put the file back under this name")
        raise SettingsError(f"no matter {name!r}; custody matter list names them, custody matter new {name} makes it")
    return load_matter(path)


def matter_names(settings: Settings) -> list[str]:
    """Names of all matters."""
    return sorted(path.stem for path in found_in(matters_folder(settings), "*.yaml"))


def of_same_prefix(settings: Settings, name: str) -> list[str]:
    """Names of the other matters whose control numbers begin as those of this one; a refused file is left out."""
    prefixes = {}
    for other in matter_names(settings):
        with suppress(RefusedFileError, SettingsError):
            prefixes[other] = open_matter(settings, other).form.prefix
    return [other for other, prefix in prefixes.items() if other != name and prefix == prefixes.get(name)]


def acted_for(settings: Settings) -> list[str]:
    """Names of all matters for which something was held or produced, also of those whose file is gone."""
    return sorted(folder.name for folder in _folders(settings))


def _folders(settings: Settings) -> set[Path]:
    folder = matters_folder(settings)
    found = (path for what in ("holds.json", "volumes/VOL*.json") for path in found_in(folder, f"*/{what}"))
    return {folder / path.relative_to(folder).parts[0] for path in found}


def new_matter(
    settings: Settings,
    name: str,
    title: str,
    number: str,
    select: dict[str, Any],
    ids: Path | None = None,
    *,
    custodian: str = "",
    requesting_party: str = "",
    producing_party: str = "",
) -> Path:
    """Write a matter file, and read it back.

    Args:
        select: conditions as in the file; empty for an example that must be changed.
        ids: a list that `select` names, to be copied: the matter keeps the request as it came.

    Raises:
        SettingsError: the name is no plain name, or there is a matter of this name, or its folder has such a list.
        RefusedFileError: a condition is refused; nothing is left behind.
    """
    path = matters_folder(settings) / f"{checked_name(name)}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    copy = path.with_suffix("") / ids.name if ids else None
    if copy and not path.exists() and (copy.exists() or copy.name in _OWN_FILES):
        raise SettingsError(f"{copy} is a file of the matter itself, or of an earlier one; rename the list")
    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in select.items()]
    words = {
        "title": title or name,
        "number": number,
        "custodian": custodian,
        "requesting_party": requesting_party,
        "producing_party": producing_party,
    }
    text = TEMPLATE.format_map(
        {key: json.dumps(value, ensure_ascii=False) for key, value in words.items()}
        | {"name": name, "prefix": prefix_of(name), "select": "\n".join(lines or _EXAMPLE)}
    )
    data = text.encode()
    try:
        path.touch(exist_ok=False)
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already; edit it, or choose another name") from error
    try:
        path.write_bytes(data)
        if ids and copy:
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(ids.read_bytes())
        load_matter(path)
    except BaseException:
        path.unlink()
        if copy:
            copy.unlink(missing_ok=True)
        raise
    return path


_EXAMPLE = (
    "  tags: [Matter-Number is set]",
    "  # ids: {file: ids.csv, column: conversation_id}   beside this file",
    "  # from: 2026-11-01",
    "  # to: 2026-11-30",
    "  # agents: [Jane Roe, john.doe@example.com]",
    "  # queues: [Claims]",
    "  # divisions: [Home]",
    '  # numbers: ["+1 555 010 0123"]',
    "  # media: [call]",
    "  # where: duration_ms > 60000",
)
