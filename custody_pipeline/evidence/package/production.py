"""A production: a volume's tables and pages around a package, under a signature of its own.

Belongs here: its layout, its manifest, its check. Does not: the package inside (check.py), what the tables say
(matters).

    production-sha256.txt        every file outside evidence/ and the package's tag manifest, for `sha256sum --check`
    production-sha256.txt.sig    signed note over the SHA-256 of that list
    evidence/                    the package; its tag manifest stands for all its files
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from custody_pipeline.evidence.log.note import NoteError, check_origin, parse, sign
from custody_pipeline.evidence.package.check import is_package, verify_package
from custody_pipeline.evidence.package.layout import ROTATIONS, TAG_MANIFEST
from custody_pipeline.evidence.reader import MANIFEST_BYTES, FolderReader
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_files import digest
from custody_pipeline.evidence.verify.rotations import follow_rotations
from custody_pipeline.evidence.verify.target import regular_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from custody_pipeline.evidence.log.note import Signer
    from custody_pipeline.evidence.verify.findings import Report
    from custody_pipeline.evidence.verify.options import Options

LIST = "production-sha256.txt"
SIGNATURE = LIST + ".sig"
EVIDENCE = "evidence/"
SCHEMA = "custody-production/v1"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\r\n]+)")


def list_production(folder: Path) -> str:
    """Write the list of a production's files.

    Returns:
        SHA-256 of the list, hex: it stands for every file.
    """
    paths = [path for path in folder.iterdir() if path.is_file() and path.name not in (LIST, SIGNATURE)]
    lines = []
    for path in sorted([*paths, folder / EVIDENCE / TAG_MANIFEST]):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{sha256}  {path.relative_to(folder).as_posix()}\n")
    data = "".join(lines).encode()
    (folder / LIST).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def sign_production(folder: Path, signers: Sequence[Signer]) -> None:
    """Sign the list; without its signature nothing verifies."""
    sha256 = hashlib.sha256((folder / LIST).read_bytes()).hexdigest()
    text = f"{SCHEMA}\n{signers[0].verifier.name}\n{sha256}  {LIST}\n"
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
    listed = _listed(context)
    if listed is None:
        return report
    outside = {path for path in entries if not path.startswith(EVIDENCE)} - {LIST, SIGNATURE}
    report.total["files"] += len(listed)
    for path, sha256 in listed.items():
        if path not in entries:
            report.add("FILE_MISSING", path)
        elif (found := digest(context, "", entries[path])) == sha256:
            report.valid["files"] += 1
        elif found is not None:
            report.add("FILE_ALTERED", path, f"sha256 {sha256} listed, {found} found")
    for path in sorted(outside - set(listed)):
        report.add("FILE_EXTRA", path)
    if EVIDENCE + TAG_MANIFEST not in listed:
        report.add("PACKAGE_INCONSISTENT", LIST, "it does not list the package's tag manifest")
    report.facts["production"] = folder.name
    return report


def _listed(context: Context) -> dict[str, str] | None:
    """Path → SHA-256 of the files that the signed list names; None if no trusted key signed it."""
    signature = context.read(SIGNATURE, "PACKAGE_UNSIGNED")
    data = context.read(LIST, "FILE_MISSING", MANIFEST_BYTES)
    if signature is None or data is None:
        return None
    signed = False
    with context.signature(SIGNATURE, "PACKAGE_UNSIGNED", "PACKAGE_ALTERED"):
        note = parse(signature)
        signers = note.verified_by(context.keys)
        lines = note.text.decode().split("\n")
        check_origin(lines[1] if len(lines) > 1 else "", signers)
        if lines[0] != SCHEMA or lines[2:] != [f"{hashlib.sha256(data).hexdigest()}  {LIST}", ""]:
            raise NoteError("it was made for another list")
        signed = True
    if not signed:
        return None
    matches = [_LINE.fullmatch(line) for line in data.decode(errors="replace").split("\n")[:-1]]
    listed = {match[2]: match[1] for match in matches if match}
    if len(listed) != len(matches) or not listed:
        context.report.add("PACKAGE_INCONSISTENT", LIST, "a line is malformed, or a file is listed twice")
    return listed
