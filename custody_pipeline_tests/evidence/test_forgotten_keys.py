"""A statement that a night's key was forgotten: told where it fits the files, a finding where it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from custody_pipeline.evidence.cut.manifest import CutError
from custody_pipeline.evidence.cut.removal import decode_key_statement
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.io.encrypted_files import NightKey, encrypted_bytes
from custody_pipeline_tests.evidence.erasing import data_of
from custody_pipeline_tests.evidence.published import NIGHTS, SIGNER, Publisher, receipt, rows
from custody_pipeline_tests.evidence.reports import codes, errors

NIGHT = "2026-11-01"
KEY = NightKey(date.fromisoformat(NIGHT), bytes(range(16)), bytes(range(32)))
PATH = "landing/conversations/20261103T023000Z-00ff.ndjson.gz"
DETAILS = "landing/conversation_details/20261103T023000Z-00ff.ndjson.gz"
Change = Callable[[dict[str, Any]], None]


def forget(publisher: Publisher, change: Change = lambda _: None, content: bytes | None = None) -> Report:
    """Seal a night with encrypted files, and its next revision with a statement about them; verify the set."""
    content = encrypted_bytes(b"of a caller", KEY) if content is None else content
    encrypted = encrypted_bytes(b"of details", KEY)
    publisher.night(NIGHT, rows(NIGHT), 1, {DETAILS: encrypted})
    revision = 2
    statement: dict[str, Any] = {
        "schema": "custody-forgotten-key/v1",
        "id": "0" * 32,
        "night": NIGHT,
        "revision": revision,
        "asked_at": "2026-11-04T12:00:00Z",
        "stated_at": "2026-11-05T00:00:00Z",
        "operator": "privacy",
        "reason": "end of its time",
        "authority": "schedule 4",
        "key_id": KEY.id.hex(),
        "wrapped_sha256": "0" * 64,
        "files": [
            {"revision": number, "path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for number, path, data in ((1, DETAILS, encrypted), (2, DETAILS, encrypted), (2, PATH, content))
        ],
        "captures": 3,
    }
    change(statement)
    more = {DETAILS: encrypted, PATH: content, "forgotten-key.json": data_of(statement)}
    publisher.night(NIGHT, rows(NIGHT), revision, more, receipts=[receipt(DETAILS), receipt(PATH)])
    return verify(FolderReader(publisher.root), Options(public_keys=[SIGNER.verifier]))


def test_a_forgotten_key_is_verified_and_told(publisher: Publisher) -> None:
    report = forget(publisher)
    assert (report.status, errors(report)) == (0, set())
    (told,) = [finding for finding in report.findings if finding.code == "KEY_FORGOTTEN"]
    assert "3 landing files and 3 documents of the capture place" in told.detail
    assert "reason: end of its time; authority: schedule 4" in told.detail


def altered(**change: Any) -> Change:
    return lambda statement: statement.update(change)


def of_file(number: int, **change: Any) -> Change:
    return lambda statement: statement["files"][number].update(change)


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        (altered(revision=1), "ERASURE_WRONG", "it is of"),
        (altered(night=NIGHTS[0]), "ERASURE_WRONG", "it is of"),
        (altered(stated_at="2026-11-01T00:00:00Z"), "ERASURE_BACKDATED", "sealed at"),
        (altered(asked_at="2026-11-06T00:00:00Z"), "ERASURE_BACKDATED", "asked for at"),
        (altered(asked_at="yesterday"), "ERASURE_WRONG", "no time with a zone"),
        (altered(reason=" "), "ERASURE_WRONG", "lacks the reason"),
        (altered(key_id="ff" * 16), "ERASURE_WRONG", "under another key"),
        (altered(key_id="FF" * 16), "ERASURE_WRONG", "matching"),
        (altered(more=1), "ERASURE_WRONG", "more"),
        (of_file(0, sha256="0" * 64), "ERASURE_WRONG", "not the file that was sealed"),
        (of_file(-1, revision=9), "ERASURE_WRONG", "not the file that was sealed"),
        (of_file(0, path="data/chain_of_custody.csv"), "ERASURE_WRONG", "not the file that was sealed"),
        (of_file(0, path="../out"), "ERASURE_WRONG", "not safe"),
        (altered(files=[]), "ERASURE_WRONG", "is not named"),
        (lambda statement: statement["files"].pop(0), "ERASURE_WRONG", "of revision 1 is not named"),
        (lambda statement: statement["files"].pop(), "ERASURE_WRONG", f"{PATH} of revision 2 is not named"),
    ],
)
def test_a_statement_that_does_not_fit_is_a_finding(
    publisher: Publisher, change: Change, code: str, detail: str
) -> None:
    report = forget(publisher, change)
    assert report.status == 1
    found = [finding for finding in report.findings if finding.code == code]
    assert [one for one in found if detail in (one.detail or "")], report.summary()
    assert "KEY_FORGOTTEN" not in codes(report)


def test_a_file_that_is_not_encrypted_cannot_be_stated(publisher: Publisher) -> None:
    report = forget(publisher, content=b"\x1f\x8b of a caller")
    assert errors(report) == {"ERASURE_WRONG"}
    assert "is not encrypted" in "".join(report.summary())


def test_a_statement_is_read_strictly() -> None:
    for data in (b"", b"{}", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(CutError):
            decode_key_statement(data)
