"""`custody witness`: cosignatures of the log's head, requested from a witness or read from a file.

Belongs here: reaching a witness over HTTP, and where the cosigned checkpoint goes. Does not: the protocol and the
checks (evidence/log/cosignatures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from urllib3.exceptions import HTTPError

from custody_pipeline.evidence.cut.seal import HEAD, LOG
from custody_pipeline.evidence.log.checkpoint import Checkpoint, cosigned_by, read_checkpoint, verify_checkpoint
from custody_pipeline.evidence.log.cosignatures import (
    WitnessError,
    add_cosignatures,
    ask_witness,
    check_witness_keys,
    cosigned_path,
)
from custody_pipeline.evidence.log.keys import parse_public_keys
from custody_pipeline.evidence.log.note import Verifier
from custody_pipeline.evidence.log.tiles import TileTree
from custody_pipeline.evidence.reader import NOTE_BYTES, FolderReader, Reader, read
from custody_pipeline.io.http import Session, body_of, kind_of
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import why_unreadable, write_whole
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.operations.verification import default_target, open_target, public_keys
from custody_pipeline.publish.sealer import Sealer
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.settings.kinds import without_login

_TIMEOUT_SECONDS = (10, 60)
_LARGEST_ANSWER = 64 << 10


def witness_keys(files: Sequence[Path]) -> list[Verifier]:
    """Keys of witnesses from files, one a line.

    Raises:
        SettingsError: a file cannot be read, or holds something else.
    """
    try:
        return check_witness_keys(key for path in files for key in parse_public_keys(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"--witness: {why_unreadable(error)}; expected lines like witness.example/w1+0123abcd+BAbC…"
        ) from error


def ask(settings: Settings, url: str, witnesses: Sequence[Verifier], target: str | None = None) -> Checkpoint:
    """Ask the witness at `url` (its submission prefix) for a cosignature of the published head, and publish it.

    Raises:
        SettingsError: `witnesses` is not one key.
        WitnessError: it cannot be reached, refused, or gave an unusable answer.
        SealingError, TargetError, NoteError: the published place is not as it was left.
    """
    if len(witnesses) != 1:
        raise SettingsError("--witness: give the key of the one witness that is asked")

    def post(body: bytes) -> tuple[int, bytes]:
        try:
            place = f"{url.rstrip('/')}/add-checkpoint"
            with Session() as web, web.post(place, data=body, timeout=_TIMEOUT_SECONDS, stream=True) as answer:
                return answer.status_code, body_of(answer, _LARGEST_ANSWER)
        except (OSError, EOFError, HTTPError) as error:
            raise WitnessError(f"{without_login(url)} cannot be reached ({kind_of(error)}); ask again later") from error
        except ValueError as error:
            raise WitnessError(f"{without_login(url)} gave no cosignature: {error}; check its address") from error

    def asked(reader: Reader, checkpoint: Checkpoint) -> Checkpoint:
        return ask_witness(post, TileTree(reader, checkpoint.head.size, LOG), checkpoint, witnesses[0])

    return _cosign(settings, target, asked)


@dataclass(frozen=True)
class Asked:
    """Which witnesses have cosigned the published head, and why others have not."""

    cosigned: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def ask_all(settings: Settings, file: Path | None) -> Asked:
    """Ask every witness in `file` (`CUSTODY_WITNESSES`) that has not cosigned the published head. Raises no failure.

    A night is sealed and published without cosignatures. A witness that did not answer is asked after the next night.
    """
    if file is None:
        return Asked()
    cosigned, problems = [], []
    try:
        witnesses = _read_witnesses(file)
        head = read_checkpoint(read(open_target(settings, default_target(settings)), HEAD, NOTE_BYTES))
    except Exception as error:  # noqa: BLE001 - the night is published
        return Asked(problems=(ending_of(error)[0],))
    for witness, url in witnesses:
        try:
            if not cosigned_by(head, [witness]):
                ask(settings, url, [witness])
            cosigned.append(witness.name)
        except Exception as error:  # noqa: BLE001 - as above; a head that another home left may not be settled
            problems.append(ending_of(error)[0])
    return Asked(tuple(cosigned), tuple(problems))


def _read_witnesses(file: Path) -> list[tuple[Verifier, str]]:
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        found = {Verifier.parse(key): url for key, url in (line for line in lines if not line[0].startswith("#"))}
        return [(key, found[key]) for key in check_witness_keys(found)]
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"CUSTODY_WITNESSES: {why_unreadable(error)}; expected lines like witness.example/w1+0123abcd+BAbC… https://witness.example"
        ) from error


def add(settings: Settings, file: Path, witnesses: Sequence[Verifier], target: str | None = None) -> Checkpoint:
    """Publish the cosignatures in a file: a cosigned checkpoint, or a witness's signature lines.

    Raises:
        SettingsError: the file cannot be read, or `witnesses` is empty.
        WitnessError: it holds a cosignature of another head.
        NoteError: it holds no sound cosignature of the published head by one of `witnesses`.
        SealingError, TargetError: the published place is not as it was left.
    """
    if not witnesses:
        raise SettingsError("--witness: give the public key of the witness, so that its cosignature can be checked")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from error
    return _cosign(settings, target, lambda _, checkpoint: add_cosignatures(checkpoint, data, witnesses))


def _cosign(settings: Settings, target: str | None, cosigned: Callable[[Reader, Checkpoint], Checkpoint]) -> Checkpoint:
    """Add signatures to the head of the published log, and keep a copy by its size."""
    place = target or default_target(settings)
    keys = public_keys(settings, [])
    if place.startswith("s3://"):
        if place.rstrip("/") != settings.publish_url:
            raise SettingsError(f"{place} is not what CUSTODY_PUBLISH_URL names; only its owner writes there")
        folder = settings.home.absolute() / "publish"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            sealer = Sealer(s3_client(settings), S3Location.parse(place), folder, load_sealing(settings))
            sealer.settle(datetime.now(UTC))
            return sealer.writes.replace_head(lambda head: cosigned(sealer.reader, verify_checkpoint(head, keys)))
    reader = FolderReader(Path(place))
    checkpoint = cosigned(reader, verify_checkpoint(read(reader, HEAD, NOTE_BYTES), keys))
    for path in (cosigned_path(checkpoint.head.size), HEAD):
        write_whole(Path(place, path), checkpoint.note.data)
    return checkpoint
