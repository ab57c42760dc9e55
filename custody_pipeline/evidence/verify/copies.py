"""The convenience copies: each is a file of the newest revision of its night.

Belongs here: parquet/, csv/ and current/. Does not: the cuts they were copied from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.seal import LOG, SEALING
from custody_pipeline.evidence.reader import MANIFEST_BYTES, Entry
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import digest
from custody_pipeline.evidence.verify.one_cut import CheckedCut

_WORKERS = 8


def copies(cut: cuts.Cut) -> dict[str, cuts.CutFile]:
    """Where the convenience copies of a cut's tables belong: path in the published prefix → file of the cut."""
    places = {}
    for file in cut.files:
        folder, _, name = file.path.partition("/")
        table, _, suffix = name.partition(".")
        kind = suffix.removesuffix(".gz").rpartition(".")[2]
        if folder == "data" and kind in {"parquet", "csv"}:
            places[f"{kind}/{table}/date={cut.night}/{name}"] = file
    return places


def check_copies(context: Context, other: Mapping[str, Entry], known: Sequence[CheckedCut]) -> None:
    """Compare each copy with the file of the newest revision; a finding for every file that belongs to nothing."""
    report = context.report
    newest: dict[str, cuts.Cut] = {}
    for item in sorted(known, key=lambda item: item.cut.revision):
        newest[item.cut.night] = item.cut
    expected = {path: file for cut in newest.values() for path, file in copies(cut).items()}
    present = {path: entry for path, entry in other.items() if not path.startswith((LOG, "cuts/", SEALING))}
    pointers = {f"current/date={night}.json": cut for night, cut in newest.items()}
    for path in sorted(set(present) - set(expected)):
        if path in pointers:
            _check_pointer(context, path, pointers[path])
        else:
            report.add("FILE_EXTRA", path)
    if not set(present) & set(expected):
        report.add("COPIES_NOT_HERE")
        return
    for path in sorted(set(expected) - set(present)):
        report.add("COPY_MISSING", path)
    found = sorted(set(present) & set(expected))
    with ThreadPoolExecutor(_WORKERS) as pool:
        digests = list(pool.map(lambda path: digest(context, "", present[path]), found))
    report.total["copies"] += len(expected)
    for path, sha256 in zip(found, digests, strict=True):
        if sha256 == expected[path].sha256:
            report.valid["copies"] += 1
        elif sha256 is not None:
            report.add("COPY_DIFFERS", path, f"sha256 {expected[path].sha256} sealed, {sha256} found")


def _check_pointer(context: Context, path: str, newest: cuts.Cut) -> None:
    """`current/date=….json` must name the newest revision and that revision's digests."""
    sealed = {file.sha256 for file in copies(newest).values()}
    data = context.read(path, "COPY_MISSING", MANIFEST_BYTES)
    if data is None:
        return
    try:
        pointer = json.loads(data)
        named = {file["sha256"] for file in pointer["files"]}
        if pointer["revision"] == newest.revision and named == sealed:
            return
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    context.report.add("COPY_DIFFERS", path, f"it does not name revision {newest.revision} and its files")
