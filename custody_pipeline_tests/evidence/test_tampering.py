"""Each way to tamper has its own finding and exit status 1. None passes as valid, none crashes the verifier.

The forger of these scenarios may write anywhere, knows the format and has a key, but not the key of the log.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.cut.records import leaf_hash, record_blocks
from custody_pipeline.evidence.cut.removal import remaining_leaf
from custody_pipeline.evidence.cut.seal import HEAD
from custody_pipeline.evidence.log.checkpoint import Checkpoint, Head, witness_request
from custody_pipeline.evidence.log.merkle import EMPTY_ROOT, Frontier, consistency_proof
from custody_pipeline.evidence.log.note import Note, Signature, Signer, parse, sign
from custody_pipeline.evidence.log.tiles import TileTree, append
from custody_pipeline.evidence.reader import CLAIM_BYTES, MANIFEST_BYTES, NOTE_BYTES, POINTER_BYTES, FolderReader
from custody_pipeline.evidence.verify.codes import CODES, Severity
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline_tests.evidence.changes import later
from custody_pipeline_tests.evidence.memory_reader import MemoryReader
from custody_pipeline_tests.evidence.published import (
    NIGHTS,
    ORIGIN,
    OTHER,
    SIGNER,
    Publisher,
    forked_log,
    parquet,
    publish,
    rows,
)
from custody_pipeline_tests.evidence.reports import codes, errors
from custody_pipeline_tests.evidence.witness import TIME, Witness

WITNESS = Witness()
FIRST = f"cuts/date={NIGHTS[0]}/r0001/"
SECOND = f"cuts/date={NIGHTS[1]}/r0001/"
REVISED = f"cuts/date={NIGHTS[1]}/r0002/"
NEWEST = f"cuts/date={NIGHTS[2]}/r0001/"
RECORDS = "data/records.ndjson"
LANDING = "landing/conversation_details/20261103T023000Z-00ff.ndjson.gz"
TABLE = "data/chain_of_custody.parquet"

Tamper = Callable[[Path], None]
SCENARIOS: list[tuple[str, str, Tamper]] = []


def scenario(name: str, code: str) -> Callable[[Tamper], Tamper]:
    """Register a way to tamper, and the finding that it must give."""

    def register(tamper: Tamper) -> Tamper:
        SCENARIOS.append((name, code, tamper))
        return tamper

    return register


@later
def flip(root: Path, path: str, offset: int = 0) -> None:
    data = bytearray((root / path).read_bytes())
    data[offset] ^= 1
    (root / path).write_bytes(data)


def cut_short(path: str, by: int = 1) -> Tamper:
    return lambda root: rewrite(root / path, (root / path).read_bytes()[:-by])


def extend(path: str, data: bytes) -> Tamper:
    return lambda root: rewrite(root / path, (root / path).read_bytes() + data)


@later
def remove(root: Path, *paths: str) -> None:
    for path in paths:
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


@later
def move(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / source).rename(root / target)


@later
def copy_over(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / source, root / target)


@later
def swap(root: Path, one: str, two: str) -> None:
    first, second = (root / one).read_bytes(), (root / two).read_bytes()
    (root / one).write_bytes(second)
    (root / two).write_bytes(first)


@later
def add(root: Path, path: str, data: bytes = b"x") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)


def rewrite(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def edit_cut(root: Path, prefix: str, change: Callable[[dict[str, Any]], object], key: Signer | None = None) -> None:
    """Change cut.json and keep its form; sign it again if the forger has a key."""
    file = root / prefix / "cut.json"
    document = json.loads(file.read_bytes())
    change(document)
    cut = msgspec.convert(document, cuts.Cut)
    file.write_bytes(cuts.encode_cut(cut))
    if key is not None:
        (root / prefix / "cut.json.sig").write_bytes(cuts.sign_cut(cut, [key]).data)


def edited(prefix: str, change: Callable[[dict[str, Any]], object], key: Signer | None = SIGNER) -> Tamper:
    """Change cut.json; the owner signs it again, unless another `key` is given, or none."""
    return lambda root: edit_cut(root, prefix, change, key)


def move_to(place: dict[str, object], document: dict[str, Any]) -> None:
    document["log"].update(place)


def relist(root: Path, prefix: str, path: str) -> Callable[[dict[str, Any]], None]:
    """A change to cut.json that lists a file as it is now."""
    data = (root / prefix / path).read_bytes()

    def change(document: dict[str, Any]) -> None:
        for file in document["files"]:
            if file["path"] == path:
                file |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    return change


def change_row(root: Path, prefix: str) -> None:
    """Change one row of the table, and adapt everything in the cut that needs no key."""
    file = root / prefix / TABLE
    table = pq.read_table(io.BytesIO(file.read_bytes()))
    data = table.to_pylist()
    data[5]["custom_data_legal_hold"] = "forged"
    changed = table.from_pylist(data, schema=table.schema)
    file.write_bytes(parquet(changed))
    salts = [json.loads(line)["_salt"] for line in (root / prefix / RECORDS).read_bytes().splitlines()]
    (root / prefix / RECORDS).write_bytes(b"".join(record_blocks(changed, salts)))


@later
def changed_row(root: Path, key: Signer | None = None, *, rebuilt: bool = False) -> None:
    """A row is changed and listed, the cut signed with a key, and the log computed again with it."""
    change_row(root, FIRST)
    for path in (TABLE, RECORDS):
        edit_cut(root, FIRST, relist(root, FIRST, path), key)
    if rebuilt:
        rebuild_log(root, key)


@later
def changed_records(root: Path, change: Callable[[list[bytes]], list[bytes]], key: Signer | None = None) -> None:
    """Other lines of records; who has a key lists them, and signs the cut again."""
    file = root / FIRST / RECORDS
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))
    if key is not None:
        edit_cut(root, FIRST, relist(root, FIRST, RECORDS), key)


def signed_again(path: str, change: Callable[[bytes], bytes], key: Signer = SIGNER) -> Tamper:
    """Change the text of a signed note, and sign it with a key."""
    return lambda root: rewrite(root / path, sign(change(parse((root / path).read_bytes()).text), [key]).data)


def rebuild_log(root: Path, key: Signer | None = None) -> None:
    """Compute every cut's place, every tile and the head again; sign with `key` if there is one."""
    places = sorted(
        (path.parent for path in root.glob("cuts/*/*/cut.json")),
        key=lambda folder: json.loads((folder / "cut.json").read_bytes())["log"]["first"],
    )
    shutil.rmtree(root / "log/tile")
    reader, head = FolderReader(root), Head.empty(ORIGIN)
    frontier = Frontier()
    for folder in places:
        prefix = folder.relative_to(root).as_posix() + "/"
        records = [folder / RECORDS, *root.glob(f"cuts/{folder.parent.name}/*/remains/{folder.name}/{RECORDS}")]
        lines = next(file for file in records if file.exists()).read_bytes().splitlines()
        leaves = [remaining_leaf(line)[0] for line in lines]
        before = [item.hex() for item in frontier.hashes]
        frontier.extend(leaves)
        place = {"first": head.size, "previous_root": head.root.hex(), "frontier": before}
        place |= {"records": len(leaves), "root": frontier.root().hex()}
        edit_cut(root, prefix, partial(move_to, place), key)
        last = leaf_hash((folder / "cut.json").read_bytes())
        frontier.extend([last])
        tree, tiles = append(TileTree(reader, head.size), [*leaves, last])
        for path, data in tiles.items():
            add(f"log/{path}", data)(root)
        new = Head(ORIGIN, tree.size, tree.root())
        old_note = parse((folder / "checkpoint").read_bytes())
        text = new.text
        note = sign(text, [key]) if key else Note(text, old_note.signatures)
        (folder / "checkpoint").write_bytes(note.data)
        proof = consistency_proof(tree.node, head.size, new.size)
        (folder / "checkpoint.consistency").write_bytes(witness_request(head.size, proof, Checkpoint(new, note)))
        (root / HEAD).write_bytes(note.data)
        head = new
    for copied in list(root.glob("parquet/*/*/*.parquet")):
        newest = sorted(root.glob(f"cuts/{copied.parent.name}/*"))[-1]
        shutil.copyfile(newest / "data" / copied.name, copied)


def grow(path: str, size: int) -> Tamper:
    """Make a file longer than `size`, without writing as many bytes."""
    return lambda root: os.truncate(root / path, size + 1)


@later
def sign_bytes(root: Path, change: Callable[[bytes], bytes]) -> None:
    """The owner of the key signs a cut.json that the pipeline would not write."""
    file = root / FIRST / "cut.json"
    data = change(file.read_bytes())
    file.write_bytes(data)
    text = f"{cuts.SCHEMA}\n{ORIGIN}\n{FIRST}\n{hashlib.sha256(data).hexdigest()}  cut.json\n"
    (root / FIRST / "cut.json.sig").write_bytes(sign(text.encode(), [SIGNER]).data)


# --- bytes of files
scenario("a byte of a table is flipped", "FILE_ALTERED")(flip(FIRST + TABLE, 100))
scenario("a byte of a CSV is flipped", "FILE_ALTERED")(flip(SECOND + "data/chain_of_custody.csv", 10))
scenario("a table is cut short", "FILE_SIZE")(cut_short(FIRST + "data/gaps.parquet"))
scenario("a table is emptied", "FILE_SIZE")(add(FIRST + "data/gaps.parquet", b""))
scenario("a CSV is extended", "FILE_SIZE")(extend(FIRST + "data/chain_of_custody.csv", b"x,y,complete\n"))
scenario("two nights' tables are swapped", "FILE_ALTERED")(swap(FIRST + TABLE, SECOND + TABLE))
scenario("two files of a cut are swapped", "FILE_SIZE")(
    swap(FIRST + "data/gaps.parquet", FIRST + "data/chain_of_custody.csv")
)
scenario("a received document is changed", "FILE_ALTERED")(flip(FIRST + LANDING, 20))

# --- completeness
scenario("a table is removed", "FILE_MISSING")(remove(FIRST + "data/gaps.parquet"))
scenario("the chain of custody is removed", "FILE_MISSING")(remove(NEWEST + TABLE))
scenario("the records are removed", "FILE_MISSING")(remove(NEWEST + RECORDS))
scenario("the received documents are removed", "FILE_MISSING")(remove(FIRST + "landing"))
scenario("a file is renamed", "FILE_MOVED")(move(FIRST + "data/gaps.parquet", FIRST + "data/holes.parquet"))
scenario("a file is moved to another folder", "FILE_MOVED")(move(FIRST + "data/gaps.parquet", FIRST + "gaps.parquet"))
scenario("a file is added to a cut", "FILE_EXTRA")(add(FIRST + "data/extra.parquet"))
scenario("a file is added beside the cuts", "FILE_EXTRA")(add("cuts/readme.txt"))
scenario("a file is added to the prefix", "FILE_EXTRA")(add("notes.txt"))
scenario("a file is added to the log", "FILE_EXTRA")(add("log/checkpoint.old"))
scenario("a timestamp is added that was never made", "FILE_EXTRA")(add(FIRST + "cut.json.tsr"))

# --- cut.json and its signature
scenario("cut.json is removed", "CUT_INCOMPLETE")(remove(SECOND + "cut.json"))
scenario("cut.json is not JSON", "CUT_ALTERED")(add(FIRST + "cut.json", b"{"))
scenario("cut.json is deeply nested", "CUT_ALTERED")(add(FIRST + "cut.json", b"[" * 100_000))
scenario("cut.json is larger than any", "FILE_TOO_LARGE")(grow(FIRST + "cut.json", MANIFEST_BYTES))
scenario("a checkpoint is larger than any", "FILE_TOO_LARGE")(grow(HEAD, NOTE_BYTES))
scenario("the owner signs a cut.json that is not JSON", "CUT_MALFORMED")(sign_bytes(lambda data: b"{"))
scenario("the owner signs a cut.json that is deeply nested", "CUT_MALFORMED")(sign_bytes(lambda data: b"[" * 100_000))
scenario("the owner signs a re-indented cut.json", "CUT_MALFORMED")(
    sign_bytes(lambda data: json.dumps(json.loads(data), indent=1).encode())
)
scenario("the owner signs a cut.json with a member twice", "CUT_MALFORMED")(
    sign_bytes(lambda data: b'{"complete":false,' + data[1:])
)
scenario("the owner signs a cut.json with a path that leads out of the cut", "CUT_MALFORMED")(
    sign_bytes(lambda data: data.replace(b"data/gaps.parquet", b"../../gaps.parquet"))
)
scenario("an operator is changed", "CUT_ALTERED")(edited(FIRST, partial(dict.update, operator="somebody"), None))
scenario("an incomplete night is called complete", "CUT_ALTERED")(
    edited(FIRST, partial(dict.update, complete=False), None)
)
scenario("a receipt is changed", "CUT_ALTERED")(
    edited(FIRST, lambda document: document["receipts"][0].update(failures=7), None)
)
scenario("the signature is removed", "CUT_UNSIGNED")(remove(FIRST + "cut.json.sig"))
scenario("the signature is emptied", "CUT_SIGNATURE_WRONG")(add(FIRST + "cut.json.sig", b""))
scenario("another cut's signature is put in its place", "CUT_ALTERED")(
    copy_over(SECOND + "cut.json.sig", FIRST + "cut.json.sig")
)


@scenario("a bit of the signature is flipped", "CUT_SIGNATURE_WRONG")
def _(root: Path) -> None:
    file = root / FIRST / "cut.json.sig"
    note = parse(file.read_bytes())
    (line,) = note.signatures
    broken = Signature(line.name, line.key_id, line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    file.write_bytes(Note(note.text, (broken,)).data)


scenario("the cut is signed again with another key of the same name", "CUT_SIGNED_BY_OTHERS")(
    edited(FIRST, partial(dict.update, operator="somebody"), OTHER)
)


@scenario("another key's signature is given our key's id", "CUT_SIGNATURE_WRONG")
def _(root: Path) -> None:
    file = root / FIRST / "cut.json.sig"
    note = parse(file.read_bytes())
    forged = Signature(ORIGIN, SIGNER.verifier.key_id, OTHER.sign(note.text))
    file.write_bytes(Note(note.text, (forged,)).data)


scenario("a cut is put in the folder of another night", "CUT_MISPLACED")(move(FIRST, "cuts/date=2026-10-31/r0001/"))


@scenario("an old revision is put back as the newest", "CUT_MISPLACED")
def _(root: Path) -> None:
    shutil.rmtree(root / REVISED)
    shutil.copytree(root / SECOND, root / REVISED)


# --- rows and records
scenario("a row is changed", "RECORD_NOT_IN_LOG")(lambda root: change_row(root, FIRST))
scenario("a row is changed, and the list of files", "CUT_ALTERED")(changed_row())
scenario("a row is changed, listed, and the owner signs the cut", "RECORD_NOT_IN_LOG")(changed_row(SIGNER))
scenario("a row is changed, listed, and the cut signed with another key", "CUT_SIGNED_BY_OTHERS")(changed_row(OTHER))
scenario("a row is changed and all that needs no key is computed again", "LOG_CHECKPOINT_WRONG")(
    changed_row(rebuilt=True)
)
scenario("a row is changed and everything is signed again with another key", "LOG_SIGNED_BY_OTHERS")(
    changed_row(OTHER, rebuilt=True)
)
scenario("two records are swapped", "RECORD_ALTERED")(changed_records(lambda lines: [lines[1], lines[0], *lines[2:]]))
scenario("the owner removes the last record", "RECORD_COUNT")(changed_records(lambda lines: lines[:-1], SIGNER))
scenario("the owner repeats a record", "RECORD_COUNT")(changed_records(lambda lines: [*lines, lines[-1]], SIGNER))


@scenario("only the table is changed and listed, and the owner signs the cut", "RECORD_ALTERED")
def _(root: Path) -> None:
    before = (root / FIRST / RECORDS).read_bytes()
    change_row(root, FIRST)
    (root / FIRST / RECORDS).write_bytes(before)
    edit_cut(root, FIRST, relist(root, FIRST, TABLE), SIGNER)


@scenario("a salt is changed", "RECORD_NOT_IN_LOG")
def _(root: Path) -> None:
    file = root / FIRST / RECORDS
    file.write_bytes(file.read_bytes().replace(b'"_salt":"', b'"_salt":"0', 1)[: file.stat().st_size])


@scenario("the owner signs a table's bytes that are no table", "TABLE_UNREADABLE")
def _(root: Path) -> None:
    (root / FIRST / TABLE).write_bytes(b"PAR1 nonsense PAR1")
    edit_cut(root, FIRST, relist(root, FIRST, TABLE), SIGNER)


def replaced_column(column: str, values: Callable[[int], pa.Array], root: Path) -> None:
    table = pq.read_table(io.BytesIO((root / NEWEST / TABLE).read_bytes()))
    index = table.column_names.index(column)
    add(NEWEST + TABLE, parquet(table.set_column(index, column, values(table.num_rows))))(root)
    edit_cut(root, NEWEST, relist(root, NEWEST, TABLE), SIGNER)


@scenario("the owner signs a table with a column twice", "TABLE_UNREADABLE")
def _(root: Path) -> None:
    table = pq.read_table(io.BytesIO((root / NEWEST / "data/gaps.parquet").read_bytes()))
    add(NEWEST + "data/gaps.parquet", parquet(table.append_column(table.field(0), table.column(0))))(root)
    edit_cut(root, NEWEST, relist(root, NEWEST, "data/gaps.parquet"), SIGNER)


for column in ("partition_date", "recording_id", "custody_status"):
    scenario(f"the owner signs a table with structures for {column}", "TABLE_UNREADABLE")(
        partial(replaced_column, column, lambda count: pa.array([{"id": 1}] * count))
    )
    scenario(f"the owner signs a table with moments beyond the calendar for {column}", "CSV_DIFFERS")(
        partial(replaced_column, column, lambda count: pa.array([2**62] * count, pa.timestamp("us")))
    )


scenario("the owner signs a changed count", "COUNT_WRONG")(
    edited(FIRST, lambda document: document["counts"].update(gaps=0))
)
scenario("the owner signs a changed number of gaps", "COUNT_WRONG")(
    edited(FIRST, partial(dict.update, statuses={"complete": 40}))
)

# --- the cut's place in the log
scenario("a cut's checkpoint is removed", "CUT_CHECKPOINT_MISSING")(remove(FIRST + "checkpoint"))
scenario("a newer checkpoint is put into an older cut", "CUT_CHECKPOINT_WRONG")(
    copy_over(NEWEST + "checkpoint", FIRST + "checkpoint")
)
scenario("a cut's checkpoint is no checkpoint", "CUT_CHECKPOINT_WRONG")(add(FIRST + "checkpoint", b"\xff\n"))
scenario("a cut's consistency proof is removed", "CONSISTENCY_WRONG")(remove(SECOND + "checkpoint.consistency"))
scenario("a cut's consistency proof is another's", "CONSISTENCY_WRONG")(
    copy_over(NEWEST + "checkpoint.consistency", SECOND + "checkpoint.consistency")
)


@scenario("a hash of the consistency proof is changed", "CONSISTENCY_WRONG")
def _(root: Path) -> None:
    file = root / SECOND / "checkpoint.consistency"
    lines = file.read_bytes().split(b"\n")
    lines[1] = base64.b64encode(bytes(32))
    file.write_bytes(b"\n".join(lines))


scenario("the owner signs a cut with another past", "CUT_INCONSISTENT")(
    edited(NEWEST, partial(move_to, {"previous_root": "00" * 32}))
)
scenario("the owner signs a cut that claims leaves of another cut", "CUTS_OVERLAP")(
    edited(NEWEST, partial(move_to, {"first": 0, "frontier": [], "previous_root": EMPTY_ROOT.hex()}))
)

# --- removal, replay, fork
scenario("a cut in the middle is removed", "LEAVES_UNEXPLAINED")(remove(SECOND))
scenario("a cut in the middle is removed, and its night's later revision stays", "REVISION_MISSING")(remove(SECOND))
scenario("the first night is removed", "LEAVES_UNEXPLAINED")(remove(f"cuts/date={NIGHTS[0]}"))
scenario("the newest cut is removed", "LEAVES_UNEXPLAINED")(remove(f"cuts/date={NIGHTS[2]}"))
scenario("all cuts are removed", "LEAVES_UNEXPLAINED")(remove("cuts"))
scenario("an old checkpoint of the log is put back", "LOG_BEHIND_CUT")(copy_over(FIRST + "checkpoint", HEAD))
scenario("the whole log is removed", "LOG_CHECKPOINT_MISSING")(remove("log"))
scenario("the log's checkpoint is removed", "LOG_CHECKPOINT_MISSING")(remove(HEAD))
scenario("the log's checkpoint is garbage", "LOG_CHECKPOINT_WRONG")(add(HEAD, b"custody\n\n"))


@scenario("the log's size is changed in its checkpoint", "LOG_CHECKPOINT_WRONG")
def _(root: Path) -> None:
    file = root / HEAD
    file.write_bytes(file.read_bytes().replace(b"\n424\n", b"\n423\n"))


@scenario("the newest cuts are removed and the log truncated to an older head", "PINNED_AHEAD")
def _(root: Path) -> None:
    copy_over(SECOND + "checkpoint", HEAD)(root)
    remove(REVISED, f"cuts/date={NIGHTS[2]}", f"parquet/chain_of_custody/date={NIGHTS[2]}")(root)


@scenario("everything is removed, and nothing is left to find", "PINNED_AHEAD")
def _(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


@scenario("the owner of the key rewrites the past", "PINNED_FORKED")
def _(root: Path) -> None:
    shutil.rmtree(root)
    publisher = Publisher(root)
    for night in NIGHTS:
        data = rows(night, count=200)
        data[0]["custom_data_legal_hold"] = "rewritten"
        publisher.night(night, data)


@scenario("the owner of the key exchanges one night", "LOG_FORKED")
def _(root: Path) -> None:
    fork = forked_log(root.parent / "fork")
    shutil.rmtree(root / FIRST)
    shutil.copytree(fork.root / FIRST, root / FIRST)


scenario("the owner signs a cut of another log", "LOG_ORIGIN_DIFFERS")(
    edited(FIRST, partial(move_to, {"origin": "custody.example.org/other"}))
)
scenario("the owner replaces a superseded revision by another one", "SUPERSEDED_WRONG")(
    edited(SECOND, partial(dict.update, operator="somebody"))
)

# --- what the owner of the key cannot say unseen
for sealed_at in (
    "yesterday",
    "2026-11-05",
    "2026-11-05T02:30:00+01:00",
    "2026-11-01T00:00:00Z",
    "2026-11-04T00:00:00Z",
    "20261105T000000Z",
    "2026-11-05 00:00:00Z",
    "2026-W45-4T00:00:00Z",
    "0001-01-01T00:00:00Z",
):
    scenario(f"the owner says that a night was sealed at {sealed_at}", "TIME_WRONG")(
        edited(NEWEST, partial(dict.update, sealed_at=sealed_at))
    )
scenario("the owner counts the rows of a table that does not exist", "COUNT_WRONG")(
    edited(NEWEST, lambda document: document["counts"].update(queues=3))
)
COVERED = {
    "source": "export_jobs",
    "state": "whole",
    "needed": True,
    "sees": "",
    "complete_until": None,
    "detail": None,
}
for what, coverage in {
    "no source": [],
    "a source that failed": [COVERED | {"state": "failed"}],
    "a source that was needed and not asked": [COVERED, COVERED | {"source": "x", "state": "not_asked"}],
    "a source that was cut short and not needed": [COVERED | {"state": "partial", "needed": False}],
}.items():
    scenario(f"the owner calls a night complete on {what}", "COMPLETENESS_WRONG")(
        edited(NEWEST, partial(dict.update, complete="established", coverage=coverage))
    )


def established(source: str, state: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document.update(complete="established", coverage=[COVERED | {"source": source}])
        document["receipts"][0].update(state=state)

    return change


def rows_of_file(path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        next(file for file in document["files"] if file["path"] == path).update(rows=1)

    return change


for what, source, state in (
    ("a source whose receipt says that it was cut short", "conversation_details", "partial"),
    ("a source whose receipt says that it failed", "conversation_details", "failed"),
    ("the sources without one that was asked", "export_jobs", "complete"),
):
    scenario(f"the owner calls a night complete on {what}", "COMPLETENESS_WRONG")(
        edited(NEWEST, established(source, state))
    )
for path in ("data/chain_of_custody.csv", "data/chain_of_custody.xlsx", "data/records.ndjson"):
    scenario(f"the owner states other rows of {path}", "COUNT_WRONG")(edited(NEWEST, rows_of_file(path)))
scenario("the owner says that fewer rows changed than did", "COUNT_WRONG")(
    edited(REVISED, lambda document: document["supersedes"].update(changed=2))
)
scenario("a cut names a key that did not sign it", "CUT_SIGNATURE_WRONG")(
    edited(NEWEST, lambda document: document["keys"].append(OTHER.verifier.vkey))
)
scenario("the signature of a cut is one for another log", "LOG_ORIGIN_DIFFERS")(
    signed_again(FIRST + "cut.json.sig", lambda text: text.replace(b"/acme", b"/evil"))
)
scenario("the log's key signs the head of another log", "LOG_ORIGIN_DIFFERS")(
    signed_again(HEAD, lambda text: text.replace(b"/acme", b"/evil"))
)
scenario("the owner signs a head of 10^15 leaves", "TILE_MISSING")(
    signed_again(HEAD, lambda _: Head(ORIGIN, 10**15, bytes(32)).text)
)
scenario("somebody else signs a head of 10^15 leaves", "LOG_SIGNED_BY_OTHERS")(
    signed_again(HEAD, lambda _: Head(ORIGIN, 10**15, bytes(32)).text, OTHER)
)


def changed_table(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    file = root / NEWEST / TABLE
    table = pq.read_table(io.BytesIO(file.read_bytes()))
    data = table.to_pylist()
    change(data)
    file.write_bytes(parquet(table.from_pylist(data, schema=table.schema)))
    edit_cut(root, NEWEST, relist(root, NEWEST, TABLE), SIGNER)


scenario("the owner puts a row of another night into a cut", "ROW_MISPLACED")(
    lambda root: changed_table(root, lambda data: data[0].update(partition_date=date(2026, 11, 2)))
)
scenario("the owner gives a recording two rows", "RECORDING_TWICE")(
    lambda root: changed_table(root, lambda data: data[0].update(data[1]))
)


@later
def changed_rendering(root: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    file = root / NEWEST / "data" / name
    file.write_bytes(change(file.read_bytes()))
    edit_cut(root, NEWEST, relist(root, NEWEST, f"data/{name}"), SIGNER)


for what, change in {
    "another word": lambda data: data.replace(b'"complete"', b'"gap"', 1),
    "a row less": lambda data: data[: data[:-1].rindex(b"\n") + 1],
    "a column under another name": lambda data: data.replace(b"custody_status", b"custody_state", 1),
    "bytes that are no text": lambda data: data.replace(b'"complete"', b'"\xff"', 1),
}.items():
    scenario(f"the owner publishes a CSV with {what}", "CSV_DIFFERS")(changed_rendering("chain_of_custody.csv", change))


SHEET = "xl/worksheets/sheet1.xml"


def zip_of(parts: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, data in parts.items():
            file.writestr(name, data, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def moved_back(data: bytes, by: bytes) -> bytes:
    """A workbook with bytes before its first part, and the same list of parts at its end."""
    target = io.BytesIO(by[: by.rindex(b"PK\1\2")])
    with zipfile.ZipFile(io.BytesIO(data)) as file, zipfile.ZipFile(target, "a") as moved:
        for name in file.namelist():
            moved.writestr(name, file.read(name), zipfile.ZIP_DEFLATED)
    return target.getvalue()


def with_comment(data: bytes) -> bytes:
    target = io.BytesIO(data)
    with zipfile.ZipFile(target, "a") as file:
        file.comment = zip_of({SHEET: b"<evil/>"})
    return target.getvalue()


def hidden_in_part(data: bytes) -> bytes:
    """A part whose compressed stream ends before the listed end: some programs read what follows as a part."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    target, hidden = io.BytesIO(), zip_of({"xl/vbaProject.bin": b"x"})
    with zipfile.ZipFile(target, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part, zipfile.ZIP_DEFLATED)
            last = file.infolist()[-1]
        target.seek(file.start_dir)
        target.write(hidden)
        last.compress_size += len(hidden)
        file.start_dir += len(hidden)
    return target.getvalue()


def in_workbook(change: Callable[[dict[str, bytes]], object]) -> Callable[[bytes], bytes]:
    """Change the parts of a workbook."""

    def changed(data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        change(parts)
        return zip_of(parts)

    return changed


def in_sheet(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(parts: dict[str, bytes]) -> None:
        assert old in parts[SHEET]
        parts[SHEET] = parts[SHEET].replace(old, new, 1)

    return in_workbook(change)


for what, change in {
    "another word": in_sheet(b">complete<", b">gap<"),
    "a column under another name": in_sheet(b">custody_status<", b">custody_state<"),
    "a row more": in_sheet(b"</sheetData>", b"<row><c/></row></sheetData>"),
    "a formula": in_sheet(b">complete<", b">complete</t></is></c><c><f>1</f><v>1</v></c><c><is><t><"),
    "something after its end": in_workbook(lambda parts: parts.update({SHEET: parts[SHEET] + b" "})),
    "a part less": in_workbook(lambda parts: parts.pop("xl/styles.xml")),
    "a program in it": in_workbook(lambda parts: parts.update({"xl/vbaProject.bin": b"x"})),
    "bytes that are no workbook": lambda data: b"PK" + data[:100],
    "bytes before it": lambda data: b"x" + data,
    "a part before its parts": lambda data: moved_back(data, zip_of({SHEET: b"<evil/>"})),
    "a workbook in its comment": with_comment,
    "a part behind the end of another": hidden_in_part,
    "another name in a part's own header": lambda data: data.replace(b"xl/styles.xml", b"xl/stylos.xml", 1),
}.items():
    scenario(f"the owner publishes a spreadsheet with {what}", "SPREADSHEET_DIFFERS")(
        changed_rendering("chain_of_custody.xlsx", change)
    )


def one_more(path: str) -> Tamper:
    """The owner seals one additional file."""

    def change(document: dict[str, Any]) -> None:
        listed = {"path": path, "bytes": 3, "sha256": hashlib.sha256(b"a\r\n").hexdigest()}
        document["files"] = sorted([*document["files"], listed], key=lambda file: file["path"])

    def tamper(root: Path) -> None:
        add(NEWEST + path, b"a\r\n")(root)
        edit_cut(root, NEWEST, change, SIGNER)

    return tamper


scenario("the owner publishes a CSV without a Parquet", "CSV_DIFFERS")(one_more("data/queues.csv"))
scenario("the owner seals a rotation that is none", "ROTATION_WRONG")(one_more("rotation.note"))


# --- what is no regular file
@later
def link(root: Path, path: str, target: str) -> None:
    """Put a link in place of a file or a folder that is moved away."""
    (root / path).rename(root.parent / "moved")
    (root / path).symlink_to(root.parent / "moved" if target == "out" else root / target)


FOLDERS_ONLY: list[tuple[str, str, Tamper]] = []
"""Scenarios that a bucket cannot have, or that would be too much to upload."""


@later
def pipe(root: Path, path: str) -> None:
    (root / path).unlink(missing_ok=True)
    os.mkfifo(root / path)


for place in (FIRST + "data/gaps.parquet", FIRST + "cut.json", FIRST + "cut.json.sig", HEAD, "log/tile/0/000"):
    FOLDERS_ONLY.append((f"a link in place of {place}", "NOT_A_FILE", link(place, "out")))
    FOLDERS_ONLY.append((f"a pipe in place of {place}", "NOT_A_FILE", pipe(place)))
for place in (FIRST.rstrip("/"), "log", f"parquet/chain_of_custody/date={NIGHTS[0]}", "parquet", "csv", "cuts"):
    FOLDERS_ONLY.append((f"a link in place of the folder {place}", "NOT_A_FILE", link(place, "out")))
for place in (RECORDS, TABLE, "data/chain_of_custody.csv", LANDING):
    FOLDERS_ONLY.append((f"{place} is a terabyte", "FILE_SIZE", grow(FIRST + place, 1 << 40)))


def large_claim(root: Path) -> None:
    add("sealing/head")(root)
    grow("sealing/head", CLAIM_BYTES)(root)


FOLDERS_ONLY.append(("the claim is larger than any", "FILE_TOO_LARGE", large_claim))
FOLDERS_ONLY.append(("a link beside the cuts", "NOT_A_FILE", lambda root: (root / "cuts/x").symlink_to("/")))


# --- seals under way
def claim(size: int, root: str) -> Tamper:
    return add("sealing/head", json.dumps({"size": size, "root": root, "pending": None, "agreed": None}).encode())


scenario("a file hides among seals under way", "FILE_EXTRA")(add("sealing/notes.txt"))
scenario("a file hides in the folder of a seal", "FILE_EXTRA")(add(f"sealing/{'0' * 32}/cut.json"))
scenario("a folder of a seal has a name of somebody's own", "FILE_EXTRA")(add("sealing/mine/data/x.csv"))
scenario("the claim is no JSON", "CLAIM_WRONG")(add("sealing/head", b"[" * 100_000))
scenario("the claim has a member of somebody's own", "CLAIM_WRONG")(add("sealing/head", b'{"size":0,"root":"","x":1}'))
scenario("the claim is on a longer log", "CLAIM_WRONG")(claim(425, "00" * 32))
scenario("the claim is on no log", "CLAIM_WRONG")(claim(-1, "00" * 32))
scenario("the claim is on another past", "CLAIM_WRONG")(claim(41, "00" * 32))


# --- tiles
scenario("a leaf tile is removed", "TILE_MISSING")(remove("log/tile/0/000"))
scenario("a tile of the upper level is removed", "TILE_MISSING")(remove("log/tile/1/000.p"))
scenario("a hash of a leaf tile is flipped", "TILE_WRONG")(flip("log/tile/0/000", 40))
scenario("a hash of a partial leaf tile is flipped", "LOG_ROOT_WRONG")(flip("log/tile/0/001.p/168", 40))
scenario("a tile is cut short", "TILE_WRONG")(cut_short("log/tile/0/000", 32))
scenario("a tile of an earlier head is changed", "TILE_WRONG")(flip("log/tile/0/000.p/41", 0))
scenario("a tile is added", "TILE_UNEXPECTED")(add("log/tile/0/002", bytes(8192)))
scenario("an entry bundle is added", "TILE_UNEXPECTED")(add("log/tile/entries/000", b"secret"))


# --- cosigned checkpoints
def cosigned(checkpoint: bytes, time: int = TIME) -> bytes:
    return checkpoint + WITNESS.line(checkpoint.partition(b"\n\n")[0] + b"\n", time)


def put_cosigned(path: str, source: str, time: int = TIME) -> Tamper:
    """Put a checkpoint that the witness cosigned at a time."""
    return lambda root: add(path, cosigned((root / source).read_bytes(), time))(root)


@scenario("a byte of a witness's cosignature is flipped", "COSIGNATURE_WRONG")
def _(root: Path) -> None:
    put_cosigned("log/cosigned/41", FIRST + "checkpoint")(root)
    flip("log/cosigned/41", -10)(root)


scenario("a checkpoint that nobody cosigned lies among the cosigned ones", "COSIGNATURE_WRONG")(
    copy_over(FIRST + "checkpoint", "log/cosigned/41")
)
scenario("a cosigned checkpoint is renamed to another size", "COSIGNATURE_WRONG")(
    put_cosigned("log/cosigned/82", FIRST + "checkpoint")
)
scenario("a witness saw a head a day before its cut was sealed", "TIME_WRONG")(
    put_cosigned("log/cosigned/41", FIRST + "checkpoint", TIME - 86_400)
)
for seconds in (0, 2**63, 2**64 - 1):
    scenario(f"a witness cosigns {seconds} seconds after 1970", "COSIGNATURE_WRONG")(put_cosigned(HEAD, HEAD, seconds))


@scenario("a cosigned checkpoint is signed with another key", "COSIGNATURE_WRONG")
def _(root: Path) -> None:
    note = parse((root / FIRST / "checkpoint").read_bytes())
    add("log/cosigned/41", cosigned(sign(note.text, [OTHER]).data))(root)


@scenario("a witness's cosignature is put under another head", "COSIGNATURE_WRONG")
def _(root: Path) -> None:
    old = (root / FIRST / "checkpoint").read_bytes()
    line = cosigned(old)[len(old) :]
    add(HEAD, (root / HEAD).read_bytes() + line)(root)


@scenario("the log was cut short after a witness saw it longer", "COSIGNED_INCONSISTENT")
def _(root: Path) -> None:
    put_cosigned("log/cosigned/424", HEAD)(root)
    copy_over(REVISED + "checkpoint", HEAD)(root)
    remove(f"cuts/date={NIGHTS[2]}", f"parquet/chain_of_custody/date={NIGHTS[2]}")(root)


@scenario("a witness saw another past of the log", "COSIGNED_INCONSISTENT")
def _(root: Path) -> None:
    fork = forked_log(root.parent / "fork")
    add("log/cosigned/41", cosigned((fork.root / HEAD).read_bytes()))(root)


# --- current copies
POINTER = f"current/date={NIGHTS[1]}.json"
FOLDERS_ONLY.append(("a pointer is larger than any", "FILE_TOO_LARGE", grow(POINTER, POINTER_BYTES)))


def edit_pointer(change: dict[str, object], root: Path) -> None:
    (root / POINTER).write_text(json.dumps(json.loads((root / POINTER).read_bytes()) | change))


scenario("a current copy is changed", "COPY_DIFFERS")(
    flip(f"parquet/chain_of_custody/date={NIGHTS[0]}/chain_of_custody.parquet", 50)
)
scenario("a current copy is that of the superseded revision", "COPY_DIFFERS")(
    copy_over(SECOND + TABLE, f"parquet/chain_of_custody/date={NIGHTS[1]}/chain_of_custody.parquet")
)
scenario("a current copy is removed", "COPY_MISSING")(
    remove(f"csv/chain_of_custody/date={NIGHTS[0]}/chain_of_custody.csv")
)
scenario("the pointer to the current revision names the superseded one", "COPY_DIFFERS")(
    partial(edit_pointer, {"revision": 1})
)
for key, value in {
    "night": "2026-11-09",
    "revision": 1.5,
    "complete": "established",
    "note": "for evidence use revision 1",
    "cut": "s3://elsewhere/cut.json",
    "cut_sha256": "00" * 32,
    "files": [],
}.items():
    scenario(f"the pointer to the current revision has another {key}", "COPY_DIFFERS")(
        partial(edit_pointer, {key: value})
    )
scenario("the pointer to the current revision has a member twice", "COPY_DIFFERS")(
    lambda root: rewrite(root / POINTER, b'{"revision": 1, ' + (root / POINTER).read_bytes().removeprefix(b"{"))
)
scenario("the pointer to the current revision sends readers elsewhere", "COPY_DIFFERS")(
    lambda root: rewrite(root / POINTER, (root / POINTER).read_bytes().replace(b"/prod/parquet/", b"/evil/parquet/"))
)
members: dict[str, dict[str, object]] = {
    "a text of half a character": {"note": "\ud800"},
    "a place of half a character": {"cut": "s3://\ud800/prod/cut.json"},
    "files of which no two can be compared": {"files": [{"uri": 1}, {"uri": None}]},
    "a revision that is true": {"revision": True},
}
for what, member in members.items():
    scenario(f"the pointer to the current revision has {what}", "COPY_DIFFERS")(partial(edit_pointer, member))
scenario("the pointer to the current revision is removed", "COPY_MISSING")(remove(POINTER))
scenario("the pointer to the current revision is no JSON", "COPY_DIFFERS")(
    add(f"current/date={NIGHTS[0]}.json", b"[" * 100_000)
)
scenario("a pointer to a night without a cut is added", "FILE_EXTRA")(add("current/date=2026-12-01.json", b"{}"))
scenario("a night's copy is added without a cut", "FILE_EXTRA")(
    add("parquet/chain_of_custody/date=2026-12-01/chain_of_custody.parquet")
)


def check(original: Publisher, root: Path) -> Report:
    return verify(
        FolderReader(root),
        Options(
            public_keys=[SIGNER.verifier],
            pinned=[original.sealed[-1].checkpoint.note.data, original.sealed[1].checkpoint.note.data],
            witnesses=[WITNESS.verifier],
            quorum=0,
        ),
    )


def test_the_untouched_set_is_verified(original: Publisher) -> None:
    report = check(original, original.root)

    assert report.status == 0, report.summary()
    assert report.of(Severity.ERROR) == report.of(Severity.UNCHECKED) == []
    assert report.valid == report.total - Counter(witnesses=1)


@pytest.mark.parametrize(
    ("code", "tamper"), [pytest.param(code, tamper, id=name) for name, code, tamper in [*SCENARIOS, *FOLDERS_ONLY]]
)
def test_tampering_is_found(original: Publisher, copy: Path, code: str, tamper: Tamper) -> None:
    tamper(copy)

    report = check(original, copy)

    assert report.status == 1
    assert code in codes(report), report.summary()
    assert CODES[code].severity is Severity.ERROR
    assert report.summary()[-1].startswith("NOT VALID")


def test_a_sealed_file_without_a_purpose_is_named(original: Publisher, copy: Path) -> None:
    paths = ("a.html", "data/gaps.XLSX", "data/gaps.xlsm", "landing/a.html", "remains/r0001/a", "report/a.xlsm")
    for path in paths:
        one_more(path)(copy)

    found = [finding for finding in check(original, copy).findings if finding.code == "FILE_UNKNOWN"]

    assert sorted(finding.path for finding in found) == sorted(NEWEST + path for path in paths)


def test_a_cut_of_many_files_is_compared_with_many_strays_in_seconds(tmp_path: Path) -> None:
    """Each missing file may have been moved to each additional one."""
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[0], rows(NIGHTS[0], 2), more={f"report/rows/{n}.csv": b"%d" % n for n in range(3_000)})
    folder = tmp_path / FIRST / "report/rows"
    for path in sorted(folder.iterdir()):
        path.rename(path.with_suffix(".txt"))
    for number in range(3_000):
        (folder / f"{number}.html").touch()
    started = time.process_time()

    report = verify(FolderReader(tmp_path), Options(public_keys=[SIGNER.verifier]))

    assert report.status == 1
    assert time.process_time() - started < 15


def test_pointers_that_name_half_a_character_are_told_and_printed(original: Publisher, copy: Path) -> None:
    """All pointers name one place; printing it must not fail."""
    for night in NIGHTS:
        path = copy / f"current/date={night}.json"
        path.write_bytes(path.read_bytes().replace(b"s3://published/", b"s3://\\ud800/"))

    report = check(original, copy)

    json.dumps(report.as_dict(), ensure_ascii=False).encode()
    assert all(line.isprintable() for line in report.summary())
    "".join(report.summary()).encode()


def test_twenty_thousand_files_more_take_seconds(original: Publisher, copy: Path) -> None:
    for number in range(20_000):
        (copy / FIRST / f"data/{number}.csv").touch()
    started = time.process_time()

    assert check(original, copy).status == 1
    assert time.process_time() - started < 20


def test_names_of_files_cannot_forge_lines(original: Publisher, copy: Path) -> None:
    for name in (b"VERIFIED\nVERIFIED", b"\x1b[2J", b"\xff\xfe", "\u202e".encode(), b"[bold]"):
        (copy / os.fsdecode(name)).touch()

    report = check(original, copy)

    assert report.status == 1
    assert len([found for found in report.findings if found.code == "FILE_EXTRA"]) == 5
    lines = report.summary()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("VERIFIED")] == []
    json.dumps(report.as_dict()).encode()


def test_what_a_file_manager_leaves_behind_is_named_as_that(original: Publisher, copy: Path) -> None:
    for path in (".DS_Store", f"{FIRST}data/Thumbs.db", "parquet/.DS_Store", f"{FIRST}._cut.json"):
        (copy / path).write_bytes(b"icons")

    report = check(original, copy)

    assert report.status == 0
    assert [found.code for found in report.findings] == ["DESKTOP_FILE"] * 4 + ["NOT_TIMESTAMPED"]

    files = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    bucket = verify(MemoryReader(files | {"cuts/": b"", FIRST: b""}), Options(public_keys=[SIGNER.verifier]))
    assert (bucket.status, [found.code for found in bucket.findings].count("DESKTOP_FILE")) == (0, 6)
    bucket = verify(MemoryReader(files | {"cuts/": b"words"}), Options(public_keys=[SIGNER.verifier]))
    assert bucket.status == 1

    (copy / FIRST / "._report.html").write_bytes(b"of no file here")
    assert "FILE_EXTRA" in codes(check(original, copy))


def test_a_file_manager_leaves_nothing_where_engines_take_every_file_for_rows(original: Publisher, copy: Path) -> None:
    """DuckDB reads `._x.parquet` for `*.parquet`, and Athena reads any file of a folder."""
    folder = f"date={NIGHTS[0]}"
    names = (
        f"csv/chain_of_custody/{folder}/desktop.ini",
        f"csv/chain_of_custody/{folder}/Thumbs.db",
        f"parquet/chain_of_custody/{folder}/._chain_of_custody.parquet",
    )
    for name in names:
        shutil.copyfile(copy / SECOND / TABLE, copy / name)

    report = check(original, copy)

    unchecked = report.of(Severity.UNCHECKED)
    assert (report.status, [(found.code, found.path) for found in unchecked]) == (
        2,
        [("DESKTOP_FILE_AMONG_ROWS", name) for name in sorted(names)],
    )


@pytest.mark.parametrize("gone", [("log", "cuts"), ("log", "cuts", "current", "csv")])
def test_a_proof_does_not_vouch_for_what_lies_beside_it(original: Publisher, copy: Path, gone: tuple[str, ...]) -> None:
    (proof,) = Prover(FolderReader(copy), [SIGNER.verifier]).each([f"{NIGHTS[0]}-r0001"])
    for name in gone:
        shutil.rmtree(copy / name)
    (copy / "one.tlog-proof").write_bytes(proof.data)

    report = verify(FolderReader(copy), Options(public_keys=[SIGNER.verifier]))

    assert (report.status, [found.code for found in report.of(Severity.UNCHECKED)]) == (2, ["NOT_COVERED"])


@later
def point_to(root: Path, place: str, *nights: str) -> None:
    """Let each pointer name files at another place, consistently."""
    for night in nights:
        path = root / f"current/date={night}.json"
        path.write_text(path.read_text().replace("s3://published/prod/", place))


@pytest.mark.parametrize(
    "tamper",
    [
        point_to("s3://evil/prod/", NIGHTS[0]),
        point_to("s3://evil/prod/", NIGHTS[2]),
        point_to("https://evil.example/", *NIGHTS),
        point_to("s3://published/prod", *NIGHTS),
    ],
    ids=["one", "the newest", "all, to no place in S3", "all, to no folder"],
)
def test_all_pointers_name_one_place(original: Publisher, copy: Path, tamper: Tamper) -> None:
    tamper(copy)

    report = check(original, copy)

    assert (report.status, errors(report)) == (1, {"COPY_DIFFERS"})


@pytest.mark.parametrize("place", ["s3://published/Pièces à conviction/prod/", "s3://published/"])
def test_a_prefix_may_have_any_characters_or_none(original: Publisher, copy: Path, place: str) -> None:
    point_to(place, *NIGHTS)(copy)
    assert check(original, copy).status == 0


def test_pointers_name_the_place_that_the_verifier_knows(original: Publisher, copy: Path) -> None:
    options = Options(public_keys=[SIGNER.verifier], published_at="s3://published/prod/")
    assert verify(FolderReader(copy), options).status == 0

    point_to("s3://evil/prod/", *NIGHTS)(copy)

    report = verify(FolderReader(copy), options)
    assert [found.code for found in report.of(Severity.ERROR)] == ["COPY_DIFFERS"] * 3
    # Who knows no place is told which one is named.
    assert verify(FolderReader(copy), Options(public_keys=[SIGNER.verifier])).facts["published at"] == "s3://evil/prod/"


def test_folders_without_end_are_one_line(original: Publisher, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    for _ in range(1500):
        Path("folder").mkdir()
        os.chdir("folder")

    report = check(original, copy)
    for _ in range(1500):  # no library removes so many
        os.chdir("..")
        Path("folder").rmdir()

    assert report.status == 2
    assert [found.code for found in report.of(Severity.UNCHECKED)] == ["TARGET_UNREADABLE"]


def test_the_catalogue_is_long_and_names_each_way_once() -> None:
    names = [name for name, _, _ in SCENARIOS]

    assert len(set(names)) == len(names) >= 40


@pytest.mark.parametrize("path", [HEAD, NEWEST + "cut.json", NEWEST + "checkpoint", FIRST + RECORDS, FIRST + TABLE])
def test_no_byte_of_a_file_can_change(original: Publisher, copy: Path, path: str) -> None:
    data = (copy / path).read_bytes()
    for offset in range(0, len(data), len(data) // 5):
        (copy / path).write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        assert check(original, copy).status == 1, offset


def test_truncation_passes_unseen_without_a_pinned_checkpoint_and_says_so(original: Publisher, tmp_path: Path) -> None:
    """An older state of a log is a valid log: only somebody who has seen a newer state can tell."""
    older = Publisher(tmp_path)
    older.night(NIGHTS[0], rows(NIGHTS[0]))

    report = verify(FolderReader(tmp_path), Options(public_keys=[SIGNER.verifier]))

    assert report.status == 0
    assert "NO_PINNED_CHECKPOINT" in codes(report)
    assert check(original, tmp_path).status == 1


def test_the_same_nights_sealed_twice_are_the_same_bytes(original: Publisher, tmp_path: Path) -> None:
    again = publish(tmp_path)

    assert [item.sha256 for item in again.sealed] == [item.sha256 for item in original.sealed]
