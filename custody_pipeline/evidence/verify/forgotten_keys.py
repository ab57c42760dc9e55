"""Statements that a night's key was forgotten, compared with the files that they name.

Belongs here: checking a statement against its set. Does not: its form (evidence/cut/forgotten_key.py).
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TYPE_CHECKING

from custody_pipeline.evidence.cut.forgotten_key import KEY_STATEMENT, decode_key_statement, is_landing
from custody_pipeline.evidence.cut.manifest import CutError, cut_prefix
from custody_pipeline.evidence.reader import MANIFEST_BYTES, TargetError, read
from custody_pipeline.evidence.verify.removals import common_problems
from custody_pipeline.io.encrypted_files import HEADER_BYTES, EncryptedFileError, key_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from custody_pipeline.evidence.cut.forgotten_key import EncryptedFile, KeyStatement
    from custody_pipeline.evidence.cut.manifest import Cut
    from custody_pipeline.evidence.verify.context import Context


def check_forgotten_keys(context: Context, known: Iterable[Cut]) -> None:
    """Report each statement, and everything wrong in it. `known`: cuts that a trusted key signed."""
    opened = {cut.prefix: cut for cut in known}
    for prefix, cut in opened.items():
        listed = cut.file(KEY_STATEMENT)
        if listed is None:
            continue
        try:
            data = read(context.reader, prefix + KEY_STATEMENT, MANIFEST_BYTES)
            if hashlib.sha256(data).hexdigest() != listed.sha256:
                continue  # the check of the cut's files reports it
            statement = decode_key_statement(data)
        except (TargetError, OSError):
            continue
        except CutError as error:
            context.report.add("ERASURE_WRONG", prefix + KEY_STATEMENT, str(error))
            continue
        problems = list(_problems(context, statement, cut, opened))
        for code, detail in problems:
            context.report.add(code, prefix + KEY_STATEMENT, detail)
        if not problems:
            number = len(statement.files)
            context.report.add(
                "KEY_FORGOTTEN",
                prefix + KEY_STATEMENT,
                f"{number} landing file{'s' * (number != 1)} and {statement.captures} documents of the capture place, "
                f"on {statement.stated_at}, asked by {statement.operator}; reason: {statement.reason}; "
                f"authority: {statement.authority}",
            )
            context.report.total["removal statements"] += 1
            context.report.valid["removal statements"] += 1


def _problems(
    context: Context, statement: KeyStatement, cut: Cut, opened: Mapping[str, Cut]
) -> Iterator[tuple[str, str]]:
    if (statement.night, statement.revision) != (cut.night, cut.revision):
        yield "ERASURE_WRONG", f"it is of {statement.night}, revision {statement.revision}"
        return
    yield from common_problems(statement, cut)
    for file in statement.files:
        of = opened.get(cut_prefix(statement.night, file.revision))
        if problem := _problem_of_file(context, statement, file, of):
            yield "ERASURE_WRONG", f"{file.path} of revision {file.revision} {problem}"


def _problem_of_file(context: Context, statement: KeyStatement, file: EncryptedFile, of: Cut | None) -> str | None:
    listed = of.file(file.path) if of is not None and file.revision <= statement.revision else None
    if of is None or listed is None or (listed.sha256, listed.bytes) != (file.sha256, file.bytes):
        return "is not the file that was sealed"
    if not is_landing(file.path):
        return "is no landing file"
    try:
        with context.reader.open(of.prefix + file.path) as stream:
            header = stream.read(HEADER_BYTES)
    except (FileNotFoundError, TargetError, OSError):
        return None  # erased, or the check of the cut's files reports it
    try:
        named = key_named(header)
    except EncryptedFileError:
        return "is not encrypted"
    if named != (date.fromisoformat(statement.night), bytes.fromhex(statement.key_id)):
        return "is encrypted under another key"
    return None
