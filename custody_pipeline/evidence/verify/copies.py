"""The current copies: each is a file of the newest revision of its night.

Belongs here: parquet/, csv/, spreadsheet/, report/, current/ and live/. Does not: the cuts they were copied from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.seal import LOG, SEALING
from custody_pipeline.evidence.reader import POINTER_BYTES, Entry
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import digest
from custody_pipeline.evidence.verify.one_cut import CheckedCut
from custody_pipeline.evidence.verify.removals import UNKNOWN_CUT

TOPS = {"parquet": "parquet", "csv": "csv", "xlsx": "spreadsheet"}
"""How a table's file ends → the top folder of its copies. Engines read a folder as a whole: it has one file a night."""

LIVE = "live/"
"""Tables that are not sealed: as they were known when they were written. Nothing is read from them here."""

_TABLE = r"(?:nights/nights|agents/date=(\d{4}-\d\d-\d\d)/agents)"
_LIVE = re.compile(
    rf"{LIVE}(?:parquet/{_TABLE}\.parquet|csv/{_TABLE}\.csv(?:\.gz)?|spreadsheet/{_TABLE}\.xlsx)", re.ASCII
)
_WORKERS = 8
_PLACE = re.compile(r"s3://[^/\s]+/([^\x00-\x1f\x7f]+/)?")


def copies(cut: cuts.Cut) -> dict[str, cuts.CutFile]:
    """The places of the current copies of a cut's files: path in the published prefix → file of the cut."""
    return copies_of_tables(cut) | {
        f"report/date={cut.night}/{file.path.removeprefix(cuts.REPORT)}": file
        for file in cut.files
        if file.path.startswith(cuts.REPORT)
    }


def copies_of_tables(cut: cuts.Cut) -> dict[str, cuts.CutFile]:
    """The same for the files of tables alone, which the pointer below `current/` names."""
    places = {}
    for file in cut.files:
        folder, _, name = file.path.partition("/")
        table, _, suffix = name.partition(".")
        top = TOPS.get(suffix.removesuffix(".gz").rpartition(".")[2])
        if folder == "data" and top is not None:
            places[f"{top}/{table}/date={cut.night}/{name}"] = file
    return places


def check_copies(context: Context, other: Mapping[str, Entry], known: Sequence[CheckedCut]) -> None:
    """Compare each copy with the file of the newest revision; a finding for every file that belongs to nothing."""
    report = context.report
    unknown = {path.split("/")[1] for path in report.unread(*UNKNOWN_CUT, below="cuts/")}  # `date=…`, the night's
    newest = {item.cut.night: item for item in sorted(known, key=lambda item: item.cut.revision)}
    newest = {night: item for night, item in newest.items() if f"date={night}" not in unknown}
    expected = {path: file for item in newest.values() for path, file in copies(item.cut).items()}
    unread = {path for item in newest.values() if item.prefix in report.not_read for path in copies(item.cut)}
    pointers = {cuts.pointer_path(night): item for night, item in newest.items()}
    present = {
        path: entry
        for path, entry in other.items()
        if not path.startswith((LOG, "cuts/", SEALING)) and not any(night in path for night in unknown)
    }
    live = {path for path in present if (at := _LIVE.fullmatch(path)) and set(at.groups()) <= {None, *newest}}
    if live:
        report.add("NOT_SEALED", LIVE, f"{len(live)} files")
        present = {path: entry for path, entry in present.items() if path not in live}
    for path in sorted(set(present) - set(expected) - set(pointers)):
        report.add("FILE_EXTRA", path)
    if not set(present) & (set(expected) | set(pointers)):
        report.add("COPIES_NOT_HERE")
        return
    for path in sorted((set(expected) | set(pointers)) - set(present)):
        report.add("COPY_MISSING", path)
    _check_pointers(context, {path: pointers[path] for path in sorted(set(pointers) & set(present))})
    found = sorted(set(present) & set(expected))

    def look(path: str) -> str | None:
        if present[path].size != expected[path].bytes:
            return "another size"
        return expected[path].sha256 if path in unread else digest(context, "", present[path])

    with ThreadPoolExecutor(_WORKERS) as pool:
        digests = list(pool.map(look, found))
    report.total["copies"] += len(expected.keys() - unread)
    for path, sha256 in zip(found, digests, strict=True):
        if sha256 == expected[path].sha256:
            report.valid["copies"] += path not in unread
        elif sha256 is not None:
            report.add("COPY_DIFFERS", path, f"sha256 {expected[path].sha256} sealed, {sha256} found")


def _check_pointers(context: Context, pointers: Mapping[str, CheckedCut]) -> None:
    """All pointers must name one place: the one that the caller knows, or else that of the newest cut's pointer."""
    roots = {path: root for path, item in pointers.items() if (root := _check_pointer(context, path, item))}
    if not roots:
        return
    place = context.options.published_at or roots[max(roots, key=lambda path: pointers[path].cut.log.size)]
    context.report.facts["published at"] = place
    for path, root in roots.items():
        if root != place:
            context.report.add("COPY_DIFFERS", path, f"it names files below {root}, not below {place}")


def _check_pointer(context: Context, path: str, newest: CheckedCut) -> str | None:
    """The place that a pointer names; None with a finding if anything else of it is wrong.

    `current/date=….json` must name the newest revision, its cut and the copies of its tables, and nothing else.
    """
    data = context.read(path, "COPY_MISSING", POINTER_BYTES)
    if data is None:
        return None
    cut = newest.cut
    try:
        pointer = json.loads(data, object_pairs_hook=without_duplicates)
        root: str = pointer["cut"].removesuffix(cut.prefix + cuts.CUT_JSON)
        pointer["files"].sort(key=lambda file: file["uri"])
        # A cut of an earlier version says true or false; a pointer that was written again since says nothing.
        complete = None if isinstance(cut.complete, bool) and pointer["complete"] is None else cut.complete
        # As text: Python takes true for 1, and 2.0 for 2.
        found = json.dumps(pointer, sort_keys=True)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found, root, complete = "", "", cut.complete
    expected = {
        "night": cut.night,
        "revision": cut.revision,
        "complete": complete,
        "cut": f"{root}{cut.prefix}{cuts.CUT_JSON}",
        "cut_sha256": newest.sha256,
        "files": [_named(root + name, file) for name, file in sorted(copies_of_tables(cut).items())],
    }
    if found != json.dumps(expected, sort_keys=True) or not _PLACE.fullmatch(root):
        context.report.add("COPY_DIFFERS", path, f"it does not name revision {cut.revision}, its cut and its files")
        return None
    return root


def _named(uri: str, file: cuts.CutFile) -> dict[str, object]:
    table, _, kind = file.path.removeprefix("data/").removesuffix(".gz").partition(".")
    formats = {"xlsx": "spreadsheet", "spreadsheet.csv": "spreadsheet"}
    named = {"table_name": table, "format": formats.get(kind, kind), "uri": uri}
    return {**named, "sha256": file.sha256, "bytes": file.bytes, "rows": file.rows or 0}


def without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The members of a JSON object, for `json.loads`. Raises ValueError if a key is there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
