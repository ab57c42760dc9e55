"""What nobody trusted signed costs neither memory nor time: the limits of docs/threat-model.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut.seal import HEAD
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.note import sign
from custody_pipeline_tests.evidence.published import ORIGIN, OTHER, SIGNER, Publisher
from custody_pipeline_tests.evidence.test_tampering import FIRST, NEWEST, RECORDS, TABLE, edit_cut, relist

MEASURED = """
import resource, sys, time
from pathlib import Path
from custody_pipeline.evidence.log.note import Verifier
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify_path

def check(path):
    return verify_path(Path(path), Options([Verifier.parse(sys.argv[1])])).status

check(sys.argv[2])
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
statuses = [check(path) for path in sys.argv[3:]]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(*statuses, grown, time.process_time() - started)
"""


def bomb(file: Path) -> None:
    """A Parquet file of less than a megabyte whose one column takes half a gigabyte."""
    zeros = pa.table({"partition_date": np.zeros(1_000_000, np.int64)})
    with pq.ParquetWriter(file, zeros.schema, compression="zstd") as writer:
        for _ in range(60):
            writer.write_table(zeros)
    assert file.stat().st_size < 1_000_000


def test_what_others_signed_is_not_opened_and_nothing_is_read_beyond_its_signed_size(
    original: Publisher, tmp_path: Path
) -> None:
    names = ("a head of others", "a cut of others", "a terabyte of records", "a terabyte for a note")
    head, cut, records, note = (Path(shutil.copytree(original.root, tmp_path / name)) for name in names)
    (head / HEAD).write_bytes(sign(Head(ORIGIN, 10**15, bytes(32)).text, [OTHER]).data)
    bomb(cut / NEWEST / TABLE)
    edit_cut(cut, NEWEST, relist(cut, NEWEST, TABLE), OTHER)
    os.truncate(records / FIRST / RECORDS, 1 << 40)
    os.truncate(note / FIRST / "cut.json.sig", 1 << 40)

    folders = [str(path) for path in (original.root, head, cut, records, note)]
    command = [sys.executable, "-c", MEASURED, SIGNER.verifier.vkey, *folders]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert told[:4] == ["1"] * 4
    kilobytes, seconds = int(told[4]), float(told[5])
    assert kilobytes < 64 * 1024
    assert seconds < 20
