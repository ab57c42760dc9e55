"""Files without a trusted signature cost neither memory nor time; nor do most files of a dishonest owner of the key.

The limits are those of docs/threat-model.md. One process with limited memory checks all cases.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custody_pipeline.evidence.cut.seal import CLAIM, HEAD
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.note import sign
from custody_pipeline.evidence.package.check import verify_package
from custody_pipeline.evidence.package.signed_volume import list_production, sign_production, verify_production
from custody_pipeline.evidence.package.volume_tables import LOAD_COLUMNS
from custody_pipeline.evidence.reader import CLAIM_BYTES, MANIFEST_BYTES, NOTE_BYTES
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.sealed_table import SealedTable
from custody_pipeline_tests.evidence.changes import later
from custody_pipeline_tests.evidence.mutants import production
from custody_pipeline_tests.evidence.packages import sign_again, sign_tags
from custody_pipeline_tests.evidence.published import NIGHTS, ORIGIN, OTHER, SIGNER, Publisher
from custody_pipeline_tests.evidence.test_package_contents import CHOSEN, make_package, publish_with_audio
from custody_pipeline_tests.evidence.test_tampering import (
    FIRST,
    NEWEST,
    POINTER,
    RECORDS,
    TABLE,
    edit_cut,
    one_more,
    relist,
)

Cases = dict[str, tuple[Callable[[Path], Any], str]]
"""What is changed in a published set, and the code of what is found. Made when needed: some are large."""

MEMORY = 768 << 20
"""More than that, in bytes, no check may take beyond what an honest set took before it."""

MEASURED = """
import json, resource, sys, time
from pathlib import Path
from custody_pipeline.evidence.log.note import Verifier
from custody_pipeline.evidence.package.check import is_package, verify_package
from custody_pipeline.evidence.package.signed_volume import is_production, verify_production
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify_path

def check(name):
    path, options = Path(name), Options([Verifier.parse(sys.argv[1])], timestamp_roots=[b""])
    kinds = (is_production, verify_production), (is_package, verify_package)
    verified = next((verify for is_one, verify in kinds if is_one(path)), verify_path)
    return verified(path, options)

for name in sys.argv[3:6]:
    assert check(name).status == 0, check(name).summary()
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]),) * 2)
def told(name):
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if name in line).split()[1])

for name in sys.argv[6:]:
    Path("/proc/self/clear_refs").write_text("5")  # the most that was in memory begins anew; the kernel's own counter
    before, started = told("VmRSS"), time.process_time()  # of a process begins with that of its parent
    report = check(name)
    grown = told("VmHWM") - before
    found = sorted({finding.code for finding in report.findings if finding.kind.severity is not Severity.NOTE})
    print(json.dumps([name, report.status, found, grown, time.process_time() - started]))
"""


def bomb(file: Path) -> None:
    """A Parquet file of less than a megabyte whose one column takes half a gigabyte."""
    zeros = pa.table({"partition_date": np.zeros(1_000_000, np.int64)})
    with pq.ParquetWriter(file, zeros.schema, compression="zstd") as writer:
        for _ in range(60):
            writer.write_table(zeros)
    assert file.stat().st_size < 1_000_000


@later
def sparse(root: Path, path: str, size: int = 1 << 40) -> None:
    """A file of any size that takes no room on the disk."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).touch()
    os.truncate(root / path, size)


def others_head(root: Path) -> None:
    (root / HEAD).write_bytes(sign(Head(ORIGIN, 10**15, bytes(32)).text, [OTHER]).data)


def others_cut(root: Path) -> None:
    bomb(root / NEWEST / TABLE)
    edit_cut(root, NEWEST, relist(root, NEWEST, TABLE), OTHER)


@later
def in_claim(root: Path, data: bytes) -> None:
    (root / CLAIM).parent.mkdir(exist_ok=True)
    (root / CLAIM).write_bytes(data)


@later
def many(root: Path, name: str, count: int) -> None:
    """Many files of the largest size of a note; `name`: a template for their names."""
    for number in range(count):
        sparse(name.format(number), NOTE_BYTES)(root)


@later
def in_proof(root: Path, extra: bytes, path: bytes) -> None:
    """A lone proof with a true checkpoint, which anybody may have."""
    note = (root / HEAD).read_bytes()
    shutil.rmtree(root)
    root.mkdir()
    first = b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(extra) + b"\nindex 0\n"
    (root / "x.tlog-proof").write_bytes(first + path + b"\n" + note)


@cache
def unsigned() -> Cases:
    return {
        "a head of others": (others_head, "LOG_SIGNED_BY_OTHERS"),
        "a cut of others": (others_cut, "CUT_SIGNED_BY_OTHERS"),
        "a terabyte of records": (sparse(FIRST + RECORDS), "FILE_SIZE"),
        "a terabyte for a note": (sparse(FIRST + "cut.json.sig"), "FILE_TOO_LARGE"),
        "a terabyte for a consistency proof": (sparse(FIRST + "checkpoint.consistency"), "FILE_TOO_LARGE"),
        "a terabyte for a cut.json": (sparse(FIRST + "cut.json"), "FILE_TOO_LARGE"),
        "a terabyte for a tile": (sparse("log/tile/0/000"), "TILE_WRONG"),
        "a terabyte for a tile of an earlier head": (sparse("log/tile/0/000.p/41"), "TILE_WRONG"),
        "a terabyte for a timestamp": (sparse(FIRST + "cut.json.tsr"), "FILE_EXTRA"),
        "a terabyte for a pointer": (sparse(POINTER), "FILE_TOO_LARGE"),
        "a terabyte for a copy": (
            sparse(f"csv/chain_of_custody/date={NIGHTS[0]}/chain_of_custody.csv"), "COPY_DIFFERS"
        ),
        "a terabyte for a claim": (sparse(CLAIM), "FILE_TOO_LARGE"),
        "a terabyte for a cosigned head": (sparse("log/cosigned/41"), "FILE_TOO_LARGE"),
        "a terabyte for a removal statement": (sparse(FIRST + "erasure.json"), "FILE_EXTRA"),
        "a terabyte for a forgotten key": (sparse(FIRST + "forgotten-key.json"), "FILE_EXTRA"),
        "a claim of many lists": (
            in_claim(b'{"size":0,"root":"","pending":[' + b"[]," * ((CLAIM_BYTES - 40) // 3) + b"0]}"), "CLAIM_WRONG"
        ),
        "a claim of many members": (
            in_claim(b'{"size":1,"root":"' + b'","root":"' * ((CLAIM_BYTES - 40) // 11) + b'"}'), "CLAIM_WRONG"
        ),
        "a pointer that is deep": (
            lambda root: (root / POINTER).write_bytes(b'{"files":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
            "COPY_DIFFERS",
        ),
        "statements of a rotation without number": (many("cuts/{}/rotation.note", 4_000), "FILE_EXTRA"),
        "cosigned heads without number": (many("log/cosigned/{}", 500), "COSIGNATURE_WRONG"),
        "a proof with a path without end": (
            in_proof(b"{}", b"AAAA\n" * (MANIFEST_BYTES // 5 - 200)), "PROOF_MALFORMED"
        ),
        "a proof of the longest record": (in_proof(b'"' * (MANIFEST_BYTES // 4 * 3 - 4_000), b""), "PROOF_WRONG"),
    }  # fmt: skip


def test_what_nobody_signed_is_not_opened_and_nothing_is_read_beyond_its_signed_size(
    original: Publisher, tmp_path: Path
) -> None:
    grown = measured(tmp_path, original, unsigned(), "set")
    # The longest proof and the largest claim are parsed before anything of them is believed.
    parsed = ("a claim of many lists", "a claim of many members", "a proof of the longest record")
    assert max(size for name, size in grown.items() if name not in parsed) < 160 * 1024, grown
    assert max(grown.values()) < MEMORY // 1024, grown


@later
def of_owner(root: Path, path: str, data: bytes, rows: int | None = None) -> None:
    """The owner of the key seals a crafted file in the newest cut."""
    if not (root / NEWEST / path).exists():
        one_more(path)(root)
    (root / NEWEST / path).write_bytes(data)
    name = path.removeprefix("data/").removesuffix(".parquet")

    def relisted(document: dict[str, Any]) -> None:
        relist(root, NEWEST, path)(document)
        if rows is not None:
            document["counts"][name] = rows
            next(file for file in document["files"] if file["path"] == path)["rows"] = rows

    edit_cut(root, NEWEST, relisted, SIGNER)


@cache
def sixty_million_rows() -> bytes:
    """Rows with only the night: a few bytes for a million."""
    days = (date.fromisoformat(NIGHTS[2]) - date(1970, 1, 1)).days
    target = pa.BufferOutputStream()
    column = pa.array(np.full(1_000_000, days, np.int32)).cast(pa.date32())
    with pq.ParquetWriter(target, pa.schema([("partition_date", pa.date32())]), compression="zstd") as writer:
        for _ in range(60):
            writer.write_table(pa.table({"partition_date": column}))
    return bytes(target.getvalue())


def long_texts() -> bytes:
    """Five thousand times one text of a megabyte, in a few kilobytes."""
    target = pa.BufferOutputStream()
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5_000, np.int32)), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"partition_date": texts}), target, compression="zstd", store_schema=False,
                   dictionary_pagesize_limit=1 << 24)  # fmt: skip
    return bytes(target.getvalue())


def a_million_parts() -> bytes:
    """A ZIP file of a list alone."""
    one = struct.pack("<4s4xHHHHIIIHHHHHII", b"PK\1\2", 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    return one * 1_000_000 + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65_535, 65_535, len(one) * 1_000_000, 0, 0)


def inflated_part(root: Path) -> None:
    """A sheet that would have a gigabyte when unpacked."""
    file = root.parent / "bomb.xlsx"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book,
        book.open("xl/worksheets/sheet1.xml", "w") as part,
    ):
        for _ in range(1_024):
            part.write(bytes(1 << 20))
    of_owner("data/chain_of_custody.xlsx", file.read_bytes())(root)


def gzipped(first: bytes, more: bytes, times: int) -> bytes:
    return gzip.compress(first, 1, mtime=0) + gzip.compress(more * 1_024, 1, mtime=0) * times


def with_csv(data: bytes) -> Callable[[Path], None]:
    return of_owner("data/chain_of_custody.csv.gz", data)


GAPS = "data/gaps.parquet"


@cache
def owned() -> Cases:
    return {
        "sixty million rows": (of_owner(GAPS, sixty_million_rows(), 60_000_000), ""),
        "rows that nobody counted": (of_owner(GAPS, sixty_million_rows(), 2), "COUNT_WRONG"),
        "long texts without number": (of_owner(GAPS, long_texts(), 5_000), "ROW_MISPLACED"),
        "a CSV of a gigabyte in one line": (with_csv(gzipped(b"", b"x" * 1_024, 1_024)), "CSV_DIFFERS"),
        "a CSV of five million columns": (with_csv(gzip.compress(b"a," * 5_000_000 + b"a\n", 1)), "CSV_DIFFERS"),
        "a CSV whose header is quoted without end": (
            with_csv(gzip.compress(b'"\n' + b"a" * 100 + b'",' + b"a," * 5_000_000 + b"a\n", 1)), "CSV_DIFFERS"
        ),
        "a workbook of a million parts": (
            of_owner("data/chain_of_custody.xlsx", a_million_parts()), "SPREADSHEET_DIFFERS"
        ),
        "a workbook of a gigabyte": (inflated_part, "SPREADSHEET_DIFFERS"),
        "a removal statement of many lists": (
            of_owner("erasure.json", b'{"files":[' + b"[]," * 5_000_000 + b"0]}"), "ERASURE_WRONG"
        ),
        "a statement of a forgotten key of many lists": (
            of_owner("forgotten-key.json", b'{"files":[' + b"[]," * 5_000_000 + b"0]}"), "ERASURE_WRONG"
        ),
    }  # fmt: skip


@later
def signed_package(folder: Path, path: str, data: bytes) -> None:
    """The owner signs a package with a crafted file."""
    (folder / path).write_bytes(data)
    (sign_again if path.startswith("data/") else sign_tags)(folder, [SIGNER])


@cache
def packages() -> Cases:
    return {
        "a terabyte for a tag manifest": (sparse("tagmanifest-sha256.txt"), "FILE_TOO_LARGE"),
        "a terabyte for a signature": (sparse("tagmanifest-sha256.txt.sig"), "FILE_TOO_LARGE"),
        "a terabyte for a manifest": (sparse("manifest-sha256.txt"), "FILE_TOO_LARGE"),
        "a terabyte for a statement": (sparse("data/package.json"), "FILE_SIZE"),
        "a terabyte for audio": (sparse(f"data/audio/{CHOSEN[0]}.opus"), "FILE_SIZE"),
        "a terabyte that is not listed": (sparse("data/audio/other.opus"), "FILE_EXTRA"),
        "a terabyte for a rotation": (sparse("data/rotations/1/rotation.note"), "FILE_EXTRA"),
        "a manifest of empty lines": (
            signed_package("manifest-sha256.txt", b"\n" * (MANIFEST_BYTES - 1)), "PACKAGE_INCONSISTENT"
        ),
        "a statement of many lists": (
            signed_package("data/package.json", b'{"records":[' + b"[]," * 5_000_000 + b"0]}"), "PACKAGE_INCONSISTENT"
        ),
        "what is missing, many times": (
            signed_package("data/missing.json", b"[" + b"null," * 5_000_000 + b"0]"), "PACKAGE_INCONSISTENT"
        ),
    }  # fmt: skip


@later
def signed_volume(folder: Path, path: str, data: bytes) -> None:
    (folder / path).write_bytes(data)
    list_production(folder)
    sign_production(folder, [SIGNER])


@cache
def volumes() -> Cases:
    return {
        "a terabyte for a list": (sparse("production-sha256.txt"), "FILE_TOO_LARGE"),
        "a terabyte for an index": (sparse("index.csv"), "FILE_SIZE"),
        "a terabyte that is not listed": (sparse("listening/x.mp3"), "FILE_EXTRA"),
        "an index of five million columns": (
            signed_volume("index.csv", b"a," * 5_000_000 + b"a\n"), "PACKAGE_INCONSISTENT"
        ),
        "an index whose first line is short": (
            signed_volume("index.csv", ",".join(LOAD_COLUMNS.values()).encode() + b"\n" + b"a," * 5_000_000 + b"a\n"),
            "PACKAGE_INCONSISTENT",
        ),
        "a load file of five million fields": (
            signed_volume("loadfile.dat", "\xfe\x14\xfe".join(["\ufeff", *["a"] * 5_000_000, "\r\n"]).encode()),
            "PACKAGE_INCONSISTENT",
        ),
        "a workbook of a million parts": (signed_volume("index.xlsx", a_million_parts()), "PACKAGE_INCONSISTENT"),
    }  # fmt: skip


@pytest.mark.parametrize(("cases", "kind"), [(owned, "set"), (packages, "package"), (volumes, "volume")])
def test_what_a_dishonest_owner_signed_is_bounded_by_what_he_signed(
    original: Publisher, tmp_path: Path, cases: Callable[[], Cases], kind: str
) -> None:
    """A published set, a package and a production are read as far as they are signed."""
    measured(tmp_path, original, cases(), kind)


def test_a_size_beyond_what_is_signed_is_told_of_all_files_and_of_who_names_the_file(tmp_path: Path) -> None:
    package = make_package(publish_with_audio(tmp_path / "other"), tmp_path / "package")
    volume = production(tmp_path / "volume", package)
    for longer in (package / f"data/audio/{CHOSEN[0]}.opus", volume / "index.csv"):
        with longer.open("ab") as file:
            file.write(b"x")
    for report, names in (
        (verify_package(package, Options([SIGNER.verifier])), "manifest-sha256.txt"),
        (verify_production(volume, Options([SIGNER.verifier])), "production-sha256.txt"),
    ):
        told = [one.detail for one in report.findings if one.code == "FILE_SIZE"]
        assert len(told) == 1
        assert told[0].startswith("all files together: ")
        assert told[0].endswith(f"sha256sum --check {names} names them")


def measured(tmp_path: Path, original: Publisher, cases: Cases, kind: str) -> dict[str, int]:
    """Each case → by how many kilobytes the process grew. Each has its finding, and all of them end within a time."""
    package = make_package(publish_with_audio(tmp_path / "other"), tmp_path / "package")
    volume = production(tmp_path / "volume", package)
    honest = {"set": original.root, "package": package, "volume": volume}
    folders = {}
    for number, name in enumerate(cases):
        folders[str(shutil.copytree(honest[kind], tmp_path / f"{number}"))] = name
    for folder, name in folders.items():
        cases[name][0](Path(folder))
    command = [sys.executable, "-c", MEASURED, SIGNER.verifier.vkey, str(MEMORY), *map(str, honest.values()), *folders]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2_000:]
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert sum(seconds for *_, seconds in told) < 60, told
    assert {folders[folder]: status for folder, status, *_ in told} == dict.fromkeys(cases, 1)
    found = {folders[folder]: codes for folder, _, codes, *_ in told}
    assert {name: codes for name, codes in found.items() if cases[name][1] not in ("", *codes)} == {}
    return {folders[folder]: grown for folder, _, _, grown, _ in told}


def test_a_table_is_decoded_by_what_its_longest_texts_take() -> None:
    table = SealedTable(long_texts())

    first = next(table.batches())

    assert (table.rows, first.num_rows, first.nbytes <= 65 << 20) == (5_000, 64, True)
    with pytest.raises(ValueError, match="larger than what repeats them"):
        table.in_order().take(5_000, size=1 << 20)
