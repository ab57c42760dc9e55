"""A small published prefix, sealed as the pipeline seals it: three nights, one of them in two revisions."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.csv_text import csv_header, csv_records
from custody_pipeline.evidence.cut.manifest import CutFile, Receipt, Superseded, cut_prefix
from custody_pipeline.evidence.cut.records import leaf_hash, lines_of, salted_records, text_columns
from custody_pipeline.evidence.cut.seal import HEAD, Draft, Sealed, seal
from custody_pipeline.evidence.cut.workbook import workbook_in
from custody_pipeline.evidence.log.checkpoint import Head, verify_checkpoint
from custody_pipeline.evidence.log.keys import Ed25519Signer
from custody_pipeline.evidence.log.note import Signer
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.copies import copies, copies_of_tables

ORIGIN = "custody.example.com/acme"
SECRET = bytes(range(32))
SIGNER = Ed25519Signer(ORIGIN, bytes([1]) * 32)
OTHER = Ed25519Signer(ORIGIN, bytes([2]) * 32)
NIGHTS = ("2026-11-02", "2026-11-03", "2026-11-04")

SCHEMA = pa.schema(
    [
        ("partition_date", pa.date32()),
        ("conversation_id", pa.string()),
        ("recording_id", pa.string()),
        ("revision", pa.int32()),
        ("recording_start", pa.timestamp("us")),
        ("duration_ms", pa.int64()),
        ("user_ids", pa.list_(pa.string())),
        ("object_uri", pa.string()),
        ("object_version_id", pa.string()),
        ("media_sha256", pa.string()),
        ("sidecar_uri", pa.string()),
        ("sidecar_sha256", pa.string()),
        ("gap_reasons", pa.list_(pa.string())),
        ("custom_data", pa.string()),
        ("custom_data_legal_hold", pa.string()),
        ("custody_status", pa.string()),
    ]
)


def published_head(root: Path, signers: Sequence[Signer]) -> Head:
    """The head of the log below `root`; the empty one where there is none."""
    if not (root / HEAD).exists():
        return Head.empty(signers[0].verifier.name)
    verifiers = [signer.verifier for signer in signers]
    return verify_checkpoint((root / HEAD).read_bytes(), verifiers, verifiers[0].name).head


def rows(night: str, count: int = 40, revision: int = 1) -> list[dict[str, Any]]:
    """Rows with difficult values: quotes, line breaks, NUL, an emoji, nulls, empty lists."""
    return [
        {
            "partition_date": date.fromisoformat(night),
            "conversation_id": f"{night}-c{number:04d}",
            "recording_id": f"{night}-r{number:04d}",
            "revision": revision,
            "recording_start": datetime.fromisoformat(f"{night}T10:00:00.000001"),
            "duration_ms": number * 1000,
            "user_ids": [None, [], ["a", 'q"\n'], [None]][number % 4],
            "object_uri": f"s3://exports/{night}/{number}.opus" if number % 5 else None,
            "object_version_id": f"v{number}",
            "media_sha256": f"{number:064x}",
            "custom_data": json.dumps({"Legal-Hold": "yes\u2028", "n": ["\x00", "\U0001f600", "\\u000B"][number % 3]}),
            "custom_data_legal_hold": ["yes", None, ""][number % 3],
            "custody_status": "gap" if number % 7 == 0 else "complete",
        }
        for number in range(count)
    ]


def parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def table_of(data: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(data, schema=SCHEMA)


@dataclass
class Publisher:
    """Seals nights into a folder, as publish/ does into a bucket."""

    root: Path
    signers: Sequence[Signer] = (SIGNER,)
    timestamp: Callable[[bytes], bytes] | None = None
    signed: Head | None = None
    crash_after: int | None = None
    sealed: list[Sealed] = field(default_factory=list)

    def put(self, path: str, data: bytes, once: bool = False) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb" if once else "wb") as stream:
            stream.write(data)

    def night(
        self,
        night: str,
        data: list[dict[str, Any]],
        revision: int = 1,
        more: dict[str, bytes] | None = None,
        **changes: Any,
    ) -> Sealed:
        """Seal one night's revision and write everything, current copies last."""
        table = table_of(data)
        # The records are made from the published file, not from the rows that it was made from.
        content = parquet(table)
        records = salted_records(pq.read_table(io.BytesIO(content)), SECRET)
        gaps = pa.table({"recording_id": [row["recording_id"] for row in data if row["custody_status"] == "gap"]})
        landing = "landing/conversation_details/20261103T023000Z-00ff.ndjson.gz"
        csv, book = [csv_header(table.column_names)], io.BytesIO()
        with workbook_in(book, "chain_of_custody", table.column_names) as sheet:
            for batch in table.to_batches():
                sheet.add(batch)
                csv.append(bytes(csv_records(batch, text_columns(batch))))
        files: dict[str, tuple[bytes, int | None]] = {
            cuts.TABLE: (content, len(data)),
            "data/chain_of_custody.csv": (b"".join(csv), len(data)),
            "data/chain_of_custody.xlsx": (book.getvalue(), len(data)),
            "data/gaps.parquet": (parquet(gaps), gaps.num_rows),
            cuts.RECORDS: (records, len(data)),
            landing: (gzip.compress(f'{{"k":{{}},"document":{{"night":"{night}"}}}}\n'.encode(), mtime=0), None),
        }
        files |= {path: (payload, None) for path, payload in (more or {}).items()}
        prefix = cut_prefix(night, revision)
        for path, (payload, _) in files.items():
            self.put(prefix + path, payload, once=True)
        status = [row["custody_status"] for row in data]
        before = [item for item in self.sealed if (item.cut.night, item.cut.revision) == (night, revision - 1)]
        draft = {
            "night": night,
            "revision": revision,
            "complete": True,
            "sealed_at": datetime(2026, 11, 5, tzinfo=UTC).isoformat().replace("+00:00", "Z"),
            "operator": "nightly",
            "tool_version": "0.1.0",
            "files": [
                CutFile(path=path, bytes=len(payload), sha256=hashlib.sha256(payload).hexdigest(), rows=count)
                for path, (payload, count) in files.items()
            ],
            "counts": {"chain_of_custody": len(data), "gaps": gaps.num_rows},
            "statuses": {name: status.count(name) for name in sorted(set(status))},
            "receipts": [receipt(landing)],
            "supersedes": Superseded(revision=revision - 1, sha256=before[0].sha256) if before else None,
        }
        reader = FolderReader(self.root)
        sealed = seal(
            Draft(**{**draft, **changes}),
            [leaf_hash(line) for line in lines_of(records)],
            reader=reader,
            head=published_head(self.root, self.signers),
            signed_before=self.signed,
            signers=self.signers,
            timestamp=self.timestamp,
        )
        self.signed = sealed.checkpoint.head
        for write in sealed.writes[: self.crash_after]:
            self.put(write.path, write.data, write.once)
        for path, file in copies(sealed.cut).items():
            self.put(path, files[file.path][0])
        place = "s3://published/prod/"
        named = [
            {
                "table_name": file.path.removeprefix("data/").partition(".")[0],
                "format": "spreadsheet" if file.path.endswith(".xlsx") else file.path.rpartition(".")[2],
                "uri": place + path,
                "sha256": file.sha256,
                "bytes": file.bytes,
                "rows": file.rows,
            }
            for path, file in copies_of_tables(sealed.cut).items()
        ]
        pointer = {
            "night": night,
            "revision": revision,
            "complete": True,
            "cut": f"{place}{prefix}cut.json",
            "cut_sha256": sealed.sha256,
            "files": named,
        }
        self.put(f"current/date={night}.json", json.dumps(pointer).encode())
        self.sealed.append(sealed)
        return sealed


def receipt(landing: str) -> Receipt:
    return Receipt(
        resource="conversation_details",
        state="complete",
        asked=1,
        documents=1,
        rows=1,
        failures=0,
        requests=3,
        retries=0,
        started_at="2026-11-03T02:30:00Z",
        finished_at="2026-11-03T02:30:09Z",
        data_available_until=None,
        detail=None,
        landing=(landing,),
    )


def publish(root: Path, **options: Any) -> Publisher:
    """Three nights; the second has a second revision in which one row changed."""
    publisher = Publisher(root, **options)
    publisher.night(NIGHTS[0], rows(NIGHTS[0]))
    publisher.night(NIGHTS[1], rows(NIGHTS[1]))
    changed = rows(NIGHTS[1])
    changed[3] |= {"custom_data_legal_hold": "no", "revision": 2}
    publisher.night(NIGHTS[1], changed, revision=2)
    publisher.night(NIGHTS[2], rows(NIGHTS[2], count=300))
    return publisher


def forked_log(root: Path) -> Publisher:
    """Another log of the same key, whose first night differs in one row."""
    publisher = Publisher(root)
    data = rows(NIGHTS[0])
    data[0]["custom_data_legal_hold"] = "rewritten"
    publisher.night(NIGHTS[0], data)
    return publisher
