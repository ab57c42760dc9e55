"""Recordings in the export bucket against the digests in the sealed rows.

Belongs here: which recordings are compared, and the comparison. Does not: S3 (operations/verification.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.one_cut import CheckedCut
from custody_pipeline.evidence.verify.options import Media, MediaReader

_MEDIA_WORKERS = 16


def check_media(context: Context, media: Media, known: Sequence[CheckedCut]) -> None:
    """Compare the recordings of the newest revision of every night."""
    report = context.report
    newest = {item.cut.night: item for item in sorted(known, key=lambda item: item.cut.revision)}
    wanted = []
    for item in newest.values():
        rows = item.media
        if media.mode == "sample" and len(rows) > media.sample:
            rows = random.SystemRandom().sample(rows, media.sample)
        wanted += rows
    report.total["recordings"] += len(wanted)
    with ThreadPoolExecutor(_MEDIA_WORKERS) as pool:
        compared = pool.map(lambda row: _compare_media(context, media.reader, *row), wanted)
        for number, (code, uri, detail) in enumerate(compared, 1):
            if progress := context.options.progress:
                progress("recordings", number, len(wanted))
            if code:
                report.add(code, uri, detail)
            else:
                report.valid["recordings"] += 1


def _compare_media(
    context: Context, reader: MediaReader, uri: str, version: str | None, expected: str | None
) -> tuple[str, str, str]:
    if expected is None:
        return "MEDIA_WITHOUT_DIGEST", uri, ""
    # A version never changes. An object without versions may, so it is always read again.
    question = f"media|{uri}|{version}" if version not in {None, "null"} else None
    found = context.memory.get(question) if question else None
    try:
        found = found or reader.sha256(uri, version)
    except FileNotFoundError:
        return "MEDIA_MISSING", uri, ""
    except (TargetError, OSError) as error:
        return "MEDIA_UNREADABLE", uri, str(error)
    if question:
        context.memory[question] = found
    if found != expected:
        return "MEDIA_CHANGED", uri, f"sha256 {expected} sealed, {found} found"
    return "", uri, ""
