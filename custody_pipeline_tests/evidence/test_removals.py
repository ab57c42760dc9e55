"""What a set says after an erasure: verified, and what was removed; a removal that nobody stated is a finding."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rfc8785

from custody_pipeline.evidence.cut.manifest import CutAlteredError
from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.forgetting.sealed import SealedNight
from custody_pipeline_tests.evidence.erasing import CONVERSATION, FOLDER, RECORDING, RECORDS, erase, tombstones
from custody_pipeline_tests.evidence.published import NIGHTS, SIGNER, Publisher, parquet, rows
from custody_pipeline_tests.evidence.reports import errors
from custody_pipeline_tests.evidence.test_tampering import edit_cut, relist

if TYPE_CHECKING:
    from custody_pipeline.publish.bucket_reader import S3Reader
    from custody_pipeline.warehouse.erasures import Request

KEYS = [SIGNER.verifier]
Change = Callable[[dict[str, Any]], None]


def checked(root: Path, **options: Any) -> Report:
    return verify(FolderReader(root), Options(public_keys=KEYS, **options))


def test_an_erased_recording_is_verified_and_told_with_an_old_checkpoint(publisher: Publisher) -> None:
    old = [sealed.checkpoint.note.data for sealed in publisher.sealed[1:3]]
    (proof,) = Prover(FolderReader(publisher.root), KEYS).each([f"{NIGHTS[1]}-r0004"])
    erase(publisher)

    report = checked(publisher.root, pinned=old)

    assert (report.status, errors(report)) == (0, set())
    (told,) = [finding for finding in report.findings if finding.code == "ERASED"]
    assert "1 recording, 8 files" in told.detail
    assert "Article 17" in told.detail
    assert report.valid["records erased"] == report.total["records erased"] == 2
    assert report.valid["files erased"] == 8
    assert report.valid["records"] == report.total["records"]
    assert not any(CONVERSATION.encode() in line for line in _values(publisher.root))
    alone = publisher.root.parent / "alone"
    alone.mkdir()
    (alone / "one.tlog-proof").write_bytes(proof.data)
    assert not errors(checked(alone))


def _values(root: Path) -> Iterator[bytes]:
    """Lines of remaining records, which are of others."""
    for path in root.rglob("remains/*/data/records.ndjson"):
        yield from path.read_bytes().splitlines()


def _set(name: str, value: Any) -> Change:
    return lambda statement: statement.update({name: value})


def _in_file(number: int, name: str, value: Any) -> Change:
    return lambda statement: statement["files"][number].update({name: value})


def _more_leaves(statement: dict[str, Any]) -> None:
    first = statement["leaves"][0]
    statement["leaves"].insert(1, {**first, "index": first["index"] + 1})


def _nobody(statement: dict[str, Any]) -> None:
    """Removes what can be made again, and erases nothing."""
    statement |= {"conversations": [], "recordings": [], "leaves": []}
    statement["files"] = [file for file in statement["files"] if file["path"].endswith((".csv", ".xlsx"))]


def _other_recording(statement: dict[str, Any]) -> None:
    """Says of the erased place that it was a recording that belongs elsewhere in the order."""
    other = {"conversation_id": f"{NIGHTS[1]}-c0020", "recording_id": f"{NIGHTS[1]}-r0020"}
    statement["conversations"].append(other["conversation_id"])
    statement["recordings"].append(other)
    for leaf in statement["leaves"]:
        leaf.update(other)


WRONG: list[tuple[str, str, Change]] = [
    ("a time before the cut was sealed", "ERASURE_BACKDATED", _set("stated_at", "2026-11-04T00:00:00Z")),
    ("asked for after it was done", "ERASURE_BACKDATED", _set("asked_at", "2026-11-06T00:00:00Z")),
    ("another night", "ERASURE_WRONG", _set("night", NIGHTS[2])),
    ("another revision", "ERASURE_WRONG", _set("revision", 2)),
    ("a digest that was not sealed", "ERASURE_WRONG", _in_file(0, "sha256", "0" * 64)),
    ("a file of no earlier revision", "ERASURE_WRONG", _in_file(7, "revision", 3)),
    ("a place of remains where nothing is", "ERASURE_WRONG", _in_file(3, "remains", "remains/none")),
    ("nothing remains of others' records", "ERASURE_TOO_WIDE", _in_file(3, "remains", None)),
    ("a leaf more than its record", "ERASURE_TOO_WIDE", _more_leaves),
    ("a leaf less than was removed", "ERASURE_TOO_WIDE", lambda statement: statement["leaves"].pop()),
    ("a conversation that nobody asked for", "ERASURE_TOO_WIDE", _set("conversations", ["another"])),
    ("a leaf of a recording that nobody asked for", "ERASURE_TOO_WIDE", _set("recordings", [])),
    ("a leaf under another recording's name", "ERASURE_TOO_WIDE", _other_recording),
    ("no reason", "ERASURE_WRONG", _set("reason", " ")),
    ("no authority", "ERASURE_WRONG", _set("authority", "")),
    ("nobody to erase", "ERASURE_TOO_WIDE", _nobody),
    ("a field too many", "ERASURE_WRONG", _set("note", "x")),
    ("conversations twice", "ERASURE_WRONG", _set("conversations", [CONVERSATION, CONVERSATION])),
    ("asked for at a time without a zone", "ERASURE_WRONG", _set("asked_at", "2026-11-04T12:00:00")),
    ("asked for in a year that no calendar has", "ERASURE_WRONG", _set("asked_at", "10000-01-01T00:00:00Z")),
    ("asked for a day before the first of all", "ERASURE_WRONG", _set("asked_at", "0001-01-01T00:00:00+99:00")),
    ("a text that no UTF-8 has", "ERASURE_WRONG", _set("reason", "\ud800")),
    ("a count below nothing", "ERASURE_WRONG", _set("counts", {"files": -1})),
    ("a path that leads out of the cut", "ERASURE_WRONG", _in_file(0, "path", "../r0002/data/gaps.parquet")),
    ("a signature that was removed", "ERASURE_WRONG", _in_file(0, "path", "cut.json.sig")),
    ("a file that was sealed with another size", "ERASURE_WRONG", _in_file(0, "bytes", 1)),
    (
        "a leaf beyond the end of the log",
        "ERASURE_TOO_WIDE",
        lambda statement: statement["leaves"][1].update(index=2**50),
    ),
]


@pytest.mark.parametrize(("code", "change"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_statement_that_is_wrong_too_wide_or_back_dated_is_a_finding(
    publisher: Publisher, code: str, change: Change
) -> None:
    erase(publisher, change)

    report = checked(publisher.root)

    assert report.status == 1
    assert code in errors(report)


def test_a_recording_without_a_row_that_stands_for_it_is_a_finding(publisher: Publisher) -> None:
    other = {"conversation_id": CONVERSATION, "recording_id": f"{RECORDING}x"}
    erase(publisher, lambda statement: statement["recordings"].append(other))

    assert errors(checked(publisher.root)) == {"ERASURE_WRONG"}


@pytest.mark.parametrize(
    "reasons",
    [pa.array(["NOT_ERASED"] * 40), pa.array([7] * 40), pa.array([{"ERASED": 1}] * 40), None],
    ids=["a text", "numbers", "structures", "none"],
)
def test_reasons_of_another_type_are_no_reasons(publisher: Publisher, reasons: pa.Array | None) -> None:
    """The owner seals a table of which the rows that stand for erased ones cannot be read."""
    erase(publisher)
    prefix = f"{FOLDER}/r0003/"
    file = publisher.root / prefix / "data/chain_of_custody.parquet"
    table = pq.read_table(io.BytesIO(file.read_bytes()))
    place = table.column_names.index("gap_reasons")
    table = table.remove_column(place) if reasons is None else table.set_column(place, "gap_reasons", reasons)
    file.write_bytes(parquet(table))
    edit_cut(publisher.root, prefix, relist(publisher.root, prefix, "data/chain_of_custody.parquet"), SIGNER)

    assert errors(checked(publisher.root)) & {"ERASURE_WRONG", "TABLE_UNREADABLE"}


def test_rows_that_stand_for_erased_ones_are_named_by_a_statement(original: Publisher, tmp_path: Path) -> None:
    """The owner empties a row in a new revision and calls it erased, without saying why and on whose authority."""
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[1], rows(NIGHTS[1]))
    publisher.night(NIGHTS[1], tombstones(NIGHTS[1], 2), 2)

    report = checked(publisher.root)

    assert (report.status, {found.code for found in report.of(Severity.UNCHECKED)}) == (2, {"ERASURE_UNSTATED"})
    assert checked(publisher.root / FOLDER / "r0002").status == 0


def test_a_removed_file_of_remains_with_another_name_is_no_records_file(tmp_path: Path) -> None:
    path = "remains/abcd/data/records.ndjson"
    publisher = Publisher(tmp_path)
    cut = publisher.night(NIGHTS[1], rows(NIGHTS[1]), more={path: b"x\n"}).cut
    listed = cut.file(path)
    assert listed is not None
    removed = {"revision": 1, "path": path, "bytes": 2, "sha256": listed.sha256, "remains": f"remains/r0001/{RECORDS}"}
    erase(publisher, lambda statement: statement["files"].append(removed))

    assert checked(tmp_path).status in {1, 2}


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'":"', b'":" ', 1),
        lambda line: line[:-2],
        lambda line: line[:12] + line[12:76].upper() + line[76:],
        lambda line: line[:12] + line[13:],
        lambda line: line[:-1] + b',"x":1}',
    ],
)
def test_a_placeholder_has_one_form(publisher: Publisher, change: Callable[[bytes], bytes]) -> None:
    """Other programs read remains as well: what is no placeholder to them is none."""
    erase(publisher)
    prefix, path = f"{FOLDER}/r0003/", f"remains/r0001/{RECORDS}"
    file = publisher.root / prefix / path
    lines = file.read_bytes().split(b"\n")
    lines[3] = change(lines[3])
    file.write_bytes(b"\n".join(lines))
    edit_cut(publisher.root, prefix, relist(publisher.root, prefix, path), SIGNER)

    assert "ERASURE_WRONG" in errors(checked(publisher.root))


def test_another_placeholder_than_stated_is_a_finding(publisher: Publisher) -> None:
    erase(publisher, line=4)

    assert "ERASURE_TOO_WIDE" in errors(checked(publisher.root))


def test_a_file_without_a_statement_is_still_missing(publisher: Publisher) -> None:
    erase(publisher)
    (publisher.root / FOLDER / "r0001/data/gaps.parquet").unlink()

    assert errors(checked(publisher.root)) == {"FILE_MISSING"}


def test_without_its_statement_or_with_a_changed_one_a_removal_is_a_finding(publisher: Publisher) -> None:
    erase(publisher)
    path = publisher.root / FOLDER / "r0003/erasure.json"
    whole = json.loads(path.read_bytes())

    for data in (None, json.dumps(whole | {"reason": "?"}).encode()):
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        found = errors(checked(publisher.root))
        assert "FILE_MISSING" in found
        assert found & {"FILE_SIZE", "FILE_ALTERED", "FILE_MISSING"}


def test_what_a_statement_says_was_removed_and_is_there_was_not_verified(publisher: Publisher) -> None:
    erase(publisher, remove=False)

    report = checked(publisher.root)

    assert (report.status, {finding.code for finding in report.of(Severity.UNCHECKED)}) == (2, {"ERASURE_UNFINISHED"})


@pytest.mark.parametrize("how", ["altered", "missing", "cut short"])
def test_remains_must_be_whole(publisher: Publisher, how: str) -> None:
    erase(publisher)
    path = publisher.root / FOLDER / f"r0003/remains/r0001/{RECORDS}"
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(data[:-100] if how == "cut short" else data.replace(b"r0007", b"r0008", 1))

    assert checked(publisher.root).status == 1


GAPS = "data/gaps.parquet"


def _left(*conversations: str, night: str = NIGHTS[1]) -> bytes:
    return parquet(
        pa.table({"partition_date": [date.fromisoformat(night)] * len(conversations), "conversation_id": conversations})
    )


@pytest.mark.parametrize(
    ("code", "content", "at"),
    [
        (None, _left("other"), f"remains/r0001/{GAPS}"),
        ("TABLE_UNREADABLE", b"PAR1 no table", f"remains/r0001/{GAPS}"),
        ("ERASURE_WRONG", _left("other", CONVERSATION), f"remains/r0001/{GAPS}"),
        ("ROW_MISPLACED", _left("other", night=NIGHTS[0]), f"remains/r0001/{GAPS}"),
        ("ERASURE_WRONG", _left("other"), "landing/conversation_details/20261103T023000Z-00ff.ndjson.gz"),
    ],
    ids=["whole", "no table", "with what was erased", "of another night", "in another place"],
)
def test_what_remains_of_a_table_holds_rows_of_others(
    publisher: Publisher, code: str | None, content: bytes, at: str
) -> None:
    removed = publisher.root / FOLDER / "r0001" / GAPS

    def without_gaps(statement: dict[str, Any]) -> None:
        data = removed.read_bytes()
        file = {"revision": 1, "path": GAPS, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        statement["files"] = sorted(
            [*statement["files"], file | {"remains": at}], key=lambda f: (f["revision"], f["path"])
        )
        removed.unlink()

    erase(publisher, without_gaps, more={at: content} if at.startswith("remains/") else {})

    assert errors(checked(publisher.root)) >= ({code} if code else set())
    assert (code is None) == (checked(publisher.root).status == 0)


def test_an_eraser_follows_no_statement_but_the_sealed_one(publisher: Publisher) -> None:
    erase(publisher)
    (path,) = (publisher.root / FOLDER).glob("*/erasure.json")
    statement = json.loads(path.read_bytes())
    night = SealedNight(cast("S3Reader", FolderReader(publisher.root)), NIGHTS[1], KEYS)
    request = cast("Request", SimpleNamespace(id=statement["id"], forget_key=False))
    assert night.stated(request) is not None

    statement["files"].pop()
    path.write_bytes(rfc8785.dumps(statement))

    with pytest.raises(CutAlteredError, match="not the file that was sealed"):
        night.stated(request)


def test_a_rendering_goes_with_its_own_table_whatever_remains_of_an_earlier_one(
    publisher: Publisher, tmp_path: Path
) -> None:
    """The conversation came after the first revision: what another erasure left of that revision lacks it."""

    def tags(*names: str) -> bytes:
        return parquet(pa.table({"conversation_id": list(names)}))

    more = {"data/custom_data.csv": b"", "data/custom_data.csv.gz": b"", "data/custom_data.xlsx": b""}
    tables = {"data/custom_data.parquet": tags("late"), "remains/r0001/data/custom_data.parquet": tags("other")}
    landed = {"landing/conversation_details/20261103T023000Z-00ff.ndjson.gz": gzip.compress(b"")}
    publisher.night("2026-11-20", rows("2026-11-20"), 1, more | tables | landed)
    night = SealedNight(cast("S3Reader", FolderReader(publisher.root)), "2026-11-20", KEYS)

    assert {holding.file.path for holding in night.holding({"late"}, tmp_path)} == {"data/custom_data.parquet", *more}
    assert {holding.file.path for holding in night.holding({"other"}, tmp_path)} == {
        "remains/r0001/data/custom_data.parquet"
    }
