"""Listening copies: derived audio that plays everywhere, beside the sealed audio.

Belongs here: making copies, and the table of their sources. Does not: the sealed audio (operations/packaging.py).

µ-law WAV and Opus do not play everywhere. A copy is no evidence: `listening-copies.csv` and the custody events have its
digest, the digest of its source, and the tool that made it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.matters import production_tables
from custody_pipeline.matters.page_formats import HINT

FOLDER = "listening"
_TABLE = "listening-copies.csv"
_CODECS = {"wav": "pcm_s16le", "mp3": "libmp3lame"}
_COLUMNS = ("control_number", "file", "sha256", "source", "source_sha256", "tool", "why_not")


class ListeningError(Exception):
    """A copy cannot be made. The message says why."""


def tool() -> str:
    """The tool that makes the copies, with its version.

    Raises:
        ListeningError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ListeningError(f"PyAV is not installed; {HINT}") from error
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"PyAV {av.__version__}, libavcodec {codec}"


def write_listening_copies(folder: Path, sources: Iterable[tuple[str, Path, str]], kind: str) -> None:
    """Write a copy of each recording's audio, and the table.

    A row without a `file` has the reason in `why_not`: a picture, a text, a damaged file.

    Args:
        sources: control number, the sealed audio, and its SHA-256.
        kind: `wav` (PCM, 16 bit) or `mp3`.

    Raises:
        ListeningError: PyAV is not installed.
    """
    made, rows = tool(), []
    (folder / FOLDER).mkdir(exist_ok=True)
    for control, source, sealed in sources:
        target = folder / FOLDER / f"{control}.{kind}"
        row = dict.fromkeys(_COLUMNS, "") | {
            "control_number": control,
            "source": source.relative_to(folder).as_posix(),
            "source_sha256": sealed,
        }
        try:
            _convert(source, target, kind)
        except ListeningError as error:
            target.unlink(missing_ok=True)
            rows.append(row | {"why_not": str(error)})
            continue
        rows.append(row | {"file": target.relative_to(folder).as_posix(), "sha256": sha256_of(target), "tool": made})
    production_tables.write_csv(folder / _TABLE, rows, _COLUMNS)


def listening_copies(folder: Path) -> list[dict[str, str]]:
    """The rows of a volume's table that have a copy; none without a table."""
    try:
        with (folder / _TABLE).open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.DictReader(file) if row["file"]]
    except FileNotFoundError:
        return []


def _convert(source: Path, target: Path, kind: str) -> None:
    import av

    try:
        with av.open(str(source)) as given, av.open(str(target), "w", format=kind) as made:
            if not given.streams.audio:
                raise ListeningError("no audio in it")
            stream = given.streams.audio[0]
            # Any, as the stub knows no kind of stream by its codec's name.
            out: Any = made.add_stream(_CODECS[kind], rate=stream.rate)
            out.layout = "mono" if stream.channels == 1 else "stereo"
            for frame in given.decode(stream):
                made.mux(out.encode(frame))
            made.mux(out.encode(None))
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (27, 28):  # EFBIG, ENOSPC: the disk, not the recording
            raise
        raise ListeningError(f"it cannot be decoded: {type(error).__name__}") from error
