"""Documents as they were received, from the landing files of signed cuts.

Belongs here: finding documents by their digest. Does not: putting landing files into a cut
(publish/sealed_landing.py), loading them again (publish/landed.py).
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from custody_pipeline.evidence.cut.manifest import CUT_JSON, CutError, CutFile, read_cut
from custody_pipeline.evidence.log.note import NoteError, Verifier
from custody_pipeline.evidence.reader import Reader, TargetError, read
from custody_pipeline.extract.landing_files import LandingError, content_of
from custody_pipeline.io.encrypted_files import EncryptedFileError, opened_bytes
from custody_pipeline.io.night_keys import NightKeyError, NightKeys, night_keys_of
from custody_pipeline.operations.verification import open_target, public_keys
from custody_pipeline.settings import Settings


def write_conversations(settings: Settings, target: str, wanted: Iterable[tuple[Path, str, str]]) -> list[Path]:
    """Write conversations' documents, as they were received, from the sealed landing files.

    Args:
        wanted: the file to write, the night, and the SHA-256 of each document (`conversation_sha256` of the row).

    Returns:
        Files that could not be written: no signed cut of the night has such a document.
    """
    reader, keys = open_target(settings, target), public_keys(settings, [])
    return write_sealed(settings, reader, keys, wanted, ("conversations", "conversation_details"))


def write_sealed(
    settings: Settings,
    reader: Reader,
    keys: Sequence[Verifier],
    wanted: Iterable[tuple[Path, str, str]],
    resources: Sequence[str],
) -> list[Path]:
    """Write documents whose received bytes are in a signed cut of the night; as `write_conversations`."""
    nights: dict[str, dict[str, list[Path]]] = {}
    for path, night, sha256 in wanted:
        nights.setdefault(night, {}).setdefault(sha256, []).append(path)
    opening = night_keys_of(settings)
    for night, by_sha256 in nights.items():
        for place, landed in _sealed_landing(reader, keys, night, resources):
            for content in _documents(reader, opening, place, landed) if by_sha256 else ():
                for path in by_sha256.pop(hashlib.sha256(content).hexdigest(), ()):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
    return [path for by_sha256 in nights.values() for paths in by_sha256.values() for path in paths]


def _sealed_landing(
    reader: Reader, keys: Sequence[Verifier], night: str, resources: Sequence[str]
) -> Iterator[tuple[str, CutFile]]:
    """The landing files of resources that signed cuts of a night list."""
    places = tuple(f"landing/{resource}/" for resource in resources)
    for entry in list(reader.list(f"cuts/date={night}/")):
        folder = entry.path.removesuffix(CUT_JSON)
        if folder == entry.path:
            continue
        with suppress(NoteError, CutError, TargetError, FileNotFoundError):
            for file in read_cut(reader, folder, keys).files:
                if file.path.startswith(places):
                    yield folder + file.path, file


def _documents(reader: Reader, opening: NightKeys, path: str, file: CutFile) -> Iterator[bytes]:
    """The documents of a landing file whose bytes are as sealed, until the first that cannot be read.

    `custody verify` reports the reason. A file whose key was forgotten or cannot be read gives no documents.
    """
    with suppress(LandingError, EOFError, NightKeyError, OSError, EncryptedFileError, TargetError, zlib.error):
        data = read(reader, path, file.bytes)
        if hashlib.sha256(data).hexdigest() == file.sha256:
            with gzip.open(BytesIO(opened_bytes(data, opening.named))) as lines:
                for line in lines:
                    yield content_of(line)
