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
    newest = {item.cut.night: item for item in sorted(known, key=lambda item: item.cut.revision)}
    expected = {path: file for item in newest.values() for path, file in copies(item.cut).items()}
    pointers = {f"current/date={night}.json": item for night, item in newest.items()}
    present = {path: entry for path, entry in other.items() if not path.startswith((LOG, "cuts/", SEALING))}
    for path in sorted(set(present) - set(expected) - set(pointers)):
        report.add("FILE_EXTRA", path)
    if not set(present) & (set(expected) | set(pointers)):
        report.add("COPIES_NOT_HERE")
        return
    for path in sorted((set(expected) | set(pointers)) - set(present)):
        report.add("COPY_MISSING", path)
    for path in sorted(set(pointers) & set(present)):
        _check_pointer(context, path, pointers[path])
    found = sorted(set(present) & set(expected))

    def look(path: str) -> str | None:
        return digest(context, "", present[path]) if present[path].size == expected[path].bytes else "another size"

    with ThreadPoolExecutor(_WORKERS) as pool:
        digests = list(pool.map(look, found))
    report.total["copies"] += len(expected)
    for path, sha256 in zip(found, digests, strict=True):
        if sha256 == expected[path].sha256:
            report.valid["copies"] += 1
        elif sha256 is not None:
            report.add("COPY_DIFFERS", path, f"sha256 {expected[path].sha256} sealed, {sha256} found")


def _check_pointer(context: Context, path: str, newest: CheckedCut) -> None:
    """`current/date=….json` must name the newest revision, its cut and its copies, and nothing else."""
    data = context.read(path, "COPY_MISSING", MANIFEST_BYTES)
    if data is None:
        return
    cut = newest.cut
    try:
        pointer = json.loads(data, object_pairs_hook=_without_duplicates)
        root = pointer["cut"].removesuffix(cut.prefix + cuts.CUT_JSON)
        pointer["files"].sort(key=lambda file: file["uri"])
        # A cut of an earlier version says true or false; a pointer that was put anew since says nothing.
        complete = None if isinstance(cut.complete, bool) and pointer["complete"] is None else cut.complete
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pointer, root, complete = None, "", cut.complete
    expected = {
        "night": cut.night,
        "revision": cut.revision,
        "complete": complete,
        "cut": f"{root}{cut.prefix}{cuts.CUT_JSON}",
        "cut_sha256": newest.sha256,
        "files": [_named(root + name, file) for name, file in sorted(copies(cut).items())],
    }
    # As text: Python takes true for 1, and 2.0 for 2.
    if json.dumps(pointer, sort_keys=True) != json.dumps(expected, sort_keys=True):
        context.report.add("COPY_DIFFERS", path, f"it does not name revision {cut.revision}, its cut and its files")


def _named(uri: str, file: cuts.CutFile) -> dict[str, object]:
    table, _, kind = file.path.removeprefix("data/").removesuffix(".gz").partition(".")
    named = {"table_name": table, "format": kind.removesuffix(".csv"), "uri": uri}
    return {**named, "sha256": file.sha256, "bytes": file.bytes, "rows": file.rows or 0}


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
