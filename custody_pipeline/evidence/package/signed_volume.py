"""A production: a volume's tables and pages around a package, under its own signature.

Belongs here: its layout, its manifest, its check. Does not: the package inside (check.py), what the tables say
(volume_tables.py).

    production-sha256.txt        every file outside evidence/ and the package's tag manifest, for `sha256sum --check`
    production-sha256.txt.sig    signed note over the SHA-256 of that list, and the bytes of all files in it
    evidence/                    the package; its tag manifest stands for all its files
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from custody_pipeline.evidence.log.note import Signer, sign
from custody_pipeline.evidence.package.check import check_listed, check_package, is_package, listed_in, signed_list
from custody_pipeline.evidence.package.layout import TAG_MANIFEST
from custody_pipeline.evidence.package.volume_tables import EVIDENCE, check_tables
from custody_pipeline.evidence.reader import MANIFEST_BYTES, FolderReader, PartReader, TargetError, read
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import regular_files
from custody_pipeline.io.whole_file import sha256_of

LIST = "production-sha256.txt"
SIGNATURE = LIST + ".sig"
STATEMENT = "production.json"
SCHEMA = "custody-production/v1"
LIST_FACT = f"sha256 of {LIST}"
"""The fact of a verification that says which production was verified: every matter has a `VOL001`."""
_SIZE = r"([0-9]{1,18}) bytes\n"


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
    lines = (f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in sorted(paths))
    data = "".join(lines).encode()
    (folder / LIST).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def sign_production(folder: Path, signers: Sequence[Signer]) -> None:
    """Sign the list. Without this signature nothing verifies."""
    data = (folder / LIST).read_bytes()
    size = sum((folder / line.split("  ", 1)[1]).stat().st_size for line in data.decode().splitlines())
    sha256 = hashlib.sha256(data).hexdigest()
    text = f"{SCHEMA}\n{signers[0].verifier.name}\n{sha256}  {LIST}\n{size} bytes\n"
    (folder / SIGNATURE).write_bytes(sign(text.encode(), signers).data)


def is_production(path: Path) -> bool:
    """Whether a folder is a production, also if somebody removed its list; `verify_production` checks it."""
    return path.is_dir() and (is_package(path / EVIDENCE) or any((path / name).exists() for name in (LIST, SIGNATURE)))


def verify_production(folder: Path, options: Options) -> Report:
    """Check a production: the package inside, the signature, every other file, and that there are no others."""
    report = Report(str(folder))
    context = Context(FolderReader(folder), options, report)
    entries = regular_files(context)
    if entries is None or not context.keys:
        return report
    context.bytes_total = sum(entry.size for entry in entries.values())
    package = Context(PartReader(context.reader, EVIDENCE), options, report)
    inside = [entry for path, entry in entries.items() if path.startswith(EVIDENCE)]
    package.bytes_total = sum(entry.size for entry in inside)
    check_package(package, {path: replace(entry, path=path) for entry in inside
                            if (path := entry.path.removeprefix(EVIDENCE))})  # fmt: skip
    context.keys = package.keys  # with those of its rotation statements
    signed = _listed(context)
    if signed is None:
        return report
    listed, size = signed
    if size is None:
        report.add("SIZE_NOT_SIGNED", SIGNATURE)
        return report
    found = sum(entry.size for path, entry in entries.items() if path in listed)
    if found > size:
        together = f"all files together: {size} bytes signed, {found} found"
        report.add("FILE_SIZE", LIST, f"{together}; sha256sum --check {LIST} names them")
        return report
    outside = {path: entry for path, entry in entries.items()
               if path in listed or not (path.startswith(EVIDENCE) or path in {LIST, SIGNATURE})}  # fmt: skip
    digests = check_listed(context, listed, outside)
    as_signed = {path for path, sha256 in digests.items() if sha256 == listed[path]}
    if EVIDENCE + TAG_MANIFEST not in listed:
        report.add("PACKAGE_INCONSISTENT", LIST, "it does not list the package's tag manifest")
    if STATEMENT in as_signed:
        report.facts["production"] = _volume_named(context)
    if not report.of(Severity.ERROR):
        check_tables(context, package, entries, as_signed)
    return report


def _volume_named(context: Context) -> str:
    """The volume as its signed statement names it: the folder may have been renamed."""
    try:
        statement = orjson.loads(read(context.reader, STATEMENT, MANIFEST_BYTES))
    except (ValueError, OSError, TargetError):
        return "no name"
    return str(statement.get("volume")) if isinstance(statement, dict) else "no name"


def _listed(context: Context) -> tuple[dict[str, str], int | None] | None:
    """Path → SHA-256 of the files that the signed list names, and their bytes; None if no trusted key signed it.

    The bytes are None for a production of an early version, which did not sign them.
    """
    signed = signed_list(context, SCHEMA, SIGNATURE, LIST, MANIFEST_BYTES, f"(?:{_SIZE})?")
    if signed is None:
        return None
    context.report.facts[LIST_FACT] = hashlib.sha256(signed[0]).hexdigest()
    listed = listed_in(context, LIST, signed[0])
    size = re.search(_SIZE, signed[1].text.decode())
    return listed, int(size[1]) if size else None
