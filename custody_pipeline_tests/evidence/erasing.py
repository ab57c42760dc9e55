"""An erasure of a published folder without the code of `custody erase`, with the same result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from custody_pipeline_tests.evidence.published import NIGHTS, Publisher, rows

RECORDS = "data/records.ndjson"
CONVERSATION = f"{NIGHTS[1]}-c0003"
RECORDING = f"{NIGHTS[1]}-r0003"
FOLDER = f"cuts/date={NIGHTS[1]}"


def tombstones(night: str, revision: int = 3, count: int = 40) -> list[dict[str, Any]]:
    """The rows of a night in which one recording is erased."""
    found = rows(night, count)
    keep = ("partition_date", "conversation_id", "recording_id")
    found[3] = {
        **{name: value if name in keep else None for name, value in found[3].items()},
        "revision": revision,
        "gap_reasons": ["ERASED"],
        "custody_status": "excluded",
    }
    return found


def placeholders(records: bytes, line: int) -> bytes:
    """A records file with one record as its leaf."""
    lines = records.split(b"\n")[:-1]
    lines[line] = b'{"_erased":"%s"}' % hashlib.sha256(b"\x00" + lines[line]).hexdigest().encode()
    return b"".join(one + b"\n" for one in lines)


def data_of(statement: dict[str, Any]) -> bytes:
    """The form of RFC 8785, for names in ASCII; half surrogates, which RFC 8785 forbids, are escaped."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()


def erase(
    publisher: Publisher,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    *,
    line: int = 3,
    remove: bool = True,
    more: Mapping[str, bytes] | None = None,
    **draft: Any,
) -> None:
    """Erase a conversation of the second night: seal a revision with its statement, then remove files of those before.

    Args:
        publisher: has published the second night.
        change: alters the statement before it is sealed.
        line: of the records that becomes a placeholder.
        remove: also remove the files.
        more: other files of the new revision.
        draft: other fields of the cut.
    """
    root, files, leaves = publisher.root, [], []
    more = dict(more or {})
    earlier = [sealed.cut for sealed in publisher.sealed if sealed.cut.night == NIGHTS[1]]
    revision = len(earlier) + 1
    for cut in earlier:
        kept = f"remains/r{cut.revision:04d}/{RECORDS}"
        more[kept] = placeholders((root / cut.prefix / RECORDS).read_bytes(), line)
        leaves.append({"index": cut.log.first + 3, "conversation_id": CONVERSATION, "recording_id": RECORDING})
        files += [
            {
                "revision": cut.revision,
                "path": file.path,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "remains": kept if file.path == RECORDS else None,
            }
            for file in cut.files
            if file.path.startswith("data/chain_of_custody.") or file.path == RECORDS
        ]
    statement: dict[str, Any] = {
        "schema": "custody-erasure/v1",
        "id": "0" * 32,
        "night": NIGHTS[1],
        "revision": revision,
        "asked_at": "2026-11-04T12:00:00Z",
        "stated_at": "2026-11-05T00:00:00Z",
        "operator": "privacy",
        "reason": "Article 17",
        "authority": "request 7",
        "selected_by": ["conversations"],
        "conversations": [CONVERSATION],
        "recordings": [{"conversation_id": CONVERSATION, "recording_id": RECORDING}],
        "files": files,
        "leaves": leaves,
        "counts": {"files": len(files)},
    }
    removed = [Path(root, FOLDER, f"r{file['revision']:04d}", str(file["path"])) for file in files if remove]
    change(statement)
    data = tombstones(NIGHTS[1], revision, earlier[0].log.records)
    publisher.night(NIGHTS[1], data, revision, more | {"erasure.json": data_of(statement)}, **draft)
    for path in removed:
        path.unlink()
