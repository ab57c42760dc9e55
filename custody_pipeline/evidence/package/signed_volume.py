"""A production: a volume's tables and pages around a package, under a signature of its own.

Belongs here: its layout, its manifest, its check, and whether index and load file name the records of the package. Does
not: the package inside (check.py), what else the tables say (matters).

    production-sha256.txt        every file outside evidence/ and the package's tag manifest, for `sha256sum --check`
    production-sha256.txt.sig    signed note over the SHA-256 of that list, and the bytes of all files in it
    evidence/                    the package; its tag manifest stands for all its files
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv

from custody_pipeline.evidence.log.note import sign
from custody_pipeline.evidence.package.check import is_package, signed_list, verify_package
from custody_pipeline.evidence.package.layout import RECORDS, ROTATIONS, TAG_MANIFEST
from custody_pipeline.evidence.reader import MANIFEST_BYTES, Entry, FolderReader
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import digest
from custody_pipeline.evidence.verify.rotations import follow_rotations
from custody_pipeline.evidence.verify.target import regular_files

if TYPE_CHECKING:
    from pathlib import Path

    from custody_pipeline.evidence.log.note import Signer
    from custody_pipeline.evidence.verify.findings import Report
    from custody_pipeline.evidence.verify.options import Options

LIST = "production-sha256.txt"
SIGNATURE = LIST + ".sig"
EVIDENCE = "evidence/"
SCHEMA = "custody-production/v1"
_AUDIO = EVIDENCE + "data/audio/"
_SIZE = r"([0-9]{1,18}) bytes\n"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\r\n]+)")


def list_production(folder: Path) -> str:
    """Write the list of a production's files.

    Returns:
        SHA-256 of the list, hex: it stands for every file.
    """
    evidence = folder / EVIDENCE
    paths = [evidence / TAG_MANIFEST]
    for place in folder.iterdir():
        if place.is_dir():
            paths += [path for path in place.rglob("*") if path.is_file()] if place != evidence else []
        elif place.name not in (LIST, SIGNATURE):
            paths.append(place)
    lines = []
    for path in sorted(paths):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{sha256}  {path.relative_to(folder).as_posix()}\n")
    data = "".join(lines).encode()
    (folder / LIST).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def sign_production(folder: Path, signers: Sequence[Signer]) -> None:
    """Sign the list; without its signature nothing verifies."""
    data = (folder / LIST).read_bytes()
    size = sum((folder / line.split("  ", 1)[1]).stat().st_size for line in data.decode().splitlines())
    sha256 = hashlib.sha256(data).hexdigest()
    text = f"{SCHEMA}\n{signers[0].verifier.name}\n{sha256}  {LIST}\n{size} bytes\n"
    (folder / SIGNATURE).write_bytes(sign(text.encode(), signers).data)


def is_production(path: Path) -> bool:
    """Whether a folder is one, or was before somebody took its list away; `verify_production` decides."""
    return path.is_dir() and (is_package(path / EVIDENCE) or any((path / name).exists() for name in (LIST, SIGNATURE)))


def verify_production(folder: Path, options: Options) -> Report:
    """Check a production: the package inside, the signature, every other file, and that there is no further one."""
    report = verify_package(folder / EVIDENCE, options)
    report.target = str(folder)
    context = Context(FolderReader(folder), options, report)
    entries = regular_files(context)
    if entries is None or not context.keys:
        return report
    follow_rotations(context, [path for path in entries if path.startswith(EVIDENCE + ROTATIONS)])
    signed = _listed(context)
    if signed is None:
        return report
    listed, size = signed
    found = sum(entry.size for path, entry in entries.items() if path in listed)
    if found > size:
        report.add("FILE_SIZE", "", f"{size} bytes signed, {found} found")
        return report
    outside = {path for path in entries if not path.startswith(EVIDENCE)} - {LIST, SIGNATURE}
    report.total["files"] += len(listed)
    as_signed = set()
    for path, sha256 in listed.items():
        if path not in entries:
            report.add("FILE_MISSING", path)
        elif (there := digest(context, "", entries[path])) == sha256:
            report.valid["files"] += 1
            as_signed.add(path)
        elif there is not None:
            report.add("FILE_ALTERED", path, f"sha256 {sha256} listed, {there} found")
    for path in sorted(outside - set(listed)):
        report.add("FILE_EXTRA", path)
    if EVIDENCE + TAG_MANIFEST not in listed:
        report.add("PACKAGE_INCONSISTENT", LIST, "it does not list the package's tag manifest")
    report.facts["production"] = folder.name
    if not report.of(Severity.ERROR):
        _check_tables(context, entries, sorted(_TABLES.keys() & as_signed))
    return report


def _check_tables(context: Context, entries: Mapping[str, Entry], paths: Sequence[str]) -> None:
    """Each line names a record of the package, with its ids and digest; each record with audio here has one line."""
    proven = dict(_proven(context, entries)) if paths else {}
    for path in paths:
        read_rows, columns = _TABLES[path]
        try:
            told = read_rows(context.read(path, "FILE_MISSING", entries[path].size) or b"", columns)
        except (ValueError, pa.ArrowException) as error:
            context.report.add("PACKAGE_INCONSISTENT", path, f"it cannot be read: {type(error).__name__}")
        else:
            _check_lines(context, path, told, proven)


def _check_lines(
    context: Context, path: str, told: Sequence[Sequence[str]], proven: Mapping[str, tuple[str, ...]]
) -> None:
    lines = {number: tuple(rest) for number, *rest in told}
    wrong = sorted(lines.items() ^ proven.items())
    if wrong:
        context.report.add("PACKAGE_INCONSISTENT", path, f"what it says of {wrong[0][0]} is not what the record says")
    if len(lines) != len(told):
        context.report.add("PACKAGE_INCONSISTENT", path, "a control number has two lines")


def _proven(context: Context, entries: Mapping[str, Entry]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Control number → ids and digest, of the records with audio in a package that was found in order."""
    audio = {path.rpartition(".")[0].rpartition("/")[2] for path in entries if path.startswith(_AUDIO)}
    for path, entry in entries.items():
        if path.startswith(EVIDENCE + RECORDS) and path.endswith(".json"):
            row = msgspec.json.decode(
                context.read(path, "FILE_MISSING", entry.size) or b"{}", type=dict[str, str | None]
            )
            name = path.removeprefix(EVIDENCE + RECORDS).removesuffix(".json")
            if name in audio:
                yield (
                    name,
                    tuple(row.get(column) or "" for column in ("conversation_id", "recording_id", "media_sha256")),
                )


def _rows_of_csv(data: bytes, columns: Sequence[str]) -> list[list[str]]:
    table = pacsv.read_csv(
        BytesIO(data),
        pacsv.ReadOptions(use_threads=False, block_size=max(len(data), 1)),
        pacsv.ParseOptions(newlines_in_values=True),
        pacsv.ConvertOptions(
            include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
        ),
    )
    return [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def _rows_of_load_file(data: bytes, columns: Sequence[str]) -> list[list[str]]:
    """A line break ends a line: within a value it is another character."""
    lines = [line[1:-1].split("\xfe\x14\xfe") for line in data.decode("utf-8-sig").split("\r\n")[:-1]]
    places = [lines[0].index(column) for column in columns] if lines else []
    if any(len(line) != len(lines[0]) for line in lines):
        raise ValueError("a line has another number of fields")
    return [[line[place] for place in places] for line in lines[1:]]


_TABLES: dict[str, tuple[Callable[[bytes, Sequence[str]], list[list[str]]], Sequence[str]]] = {
    "index.csv": (_rows_of_csv, ("control_number", "conversation_id", "recording_id", "sha256")),
    "loadfile.dat": (_rows_of_load_file, ("BEGDOC", "CONVERSATIONID", "RECORDINGID", "SHA256HASH")),
}
"""Tables of a production: how they are read, and their columns for control number, ids and digest."""


def _listed(context: Context) -> tuple[dict[str, str], int] | None:
    """Path → SHA-256 of the files that the signed list names, and their bytes; None if no trusted key signed it."""
    signed = signed_list(context, SCHEMA, SIGNATURE, LIST, MANIFEST_BYTES, _SIZE)
    if signed is None:
        return None
    matches = [_LINE.fullmatch(line) for line in signed[0].decode(errors="replace").split("\n")[:-1]]
    listed = {match[2]: match[1] for match in matches if match}
    if len(listed) != len(matches) or not listed:
        context.report.add("PACKAGE_INCONSISTENT", LIST, "a line is malformed, or a file is listed twice")
    size = re.search(_SIZE, signed[1].text.decode())
    return listed, int(size[1]) if size else 0
