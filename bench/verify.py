"""Stage `verify`: every check of a published night (the cut and the log), against bare SHA-256 of the same files.

The peer is what a reader has without our code: `sha256sum`.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.measure import Prepared, Stage
from bench.night import modelled_night
from bench.seal import SIGNER, seal_night, write_files
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.warehouse.connection import Warehouse

_CHUNK = 1 << 20


@contextmanager
def _prepared(size: int, folder: Path) -> Iterator[Prepared]:
    night = modelled_night(size)
    root = folder / "published"
    with Warehouse(night.settings).open() as con:
        seal_night(con, root, write_files(con, root))
    yield Prepared(
        partial(_ours, root),
        partial(_floor, root),
        _same,
        rows=night.recordings,
        bytes=sum(path.stat().st_size for path in _files(root)),
        peers={"sha256sum": partial(_sha256sum, root)},
    )


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _ours(root: Path, folder: Path) -> Callable[[], object]:
    def work() -> None:
        report = verify(FolderReader(root), Options(public_keys=[SIGNER.verifier]))
        (folder / "bytes").write_text(f"{report.valid['bytes']} {report.status}")

    return work


def _floor(root: Path, folder: Path) -> Callable[[], object]:
    def work() -> None:
        total = 0
        for path in _files(root):
            sha256 = hashlib.sha256()
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    sha256.update(chunk)
                    total += len(chunk)
            sha256.hexdigest()
        (folder / "bytes").write_text(f"{total} 0")

    return work


def _sha256sum(root: Path, folder: Path) -> Callable[[], object]:
    del folder

    def work() -> None:
        subprocess.run(["sha256sum", *_files(root)], check=True, stdout=subprocess.DEVNULL)

    return work


def _same(ours: Path, floor: Path) -> None:
    checked, status = (ours / "bytes").read_text().split()
    hashed, _ = (floor / "bytes").read_text().split()
    assert status == "0", "the night was not verified"
    # The files of the seal and the tiles are in no list of files: 32 bytes a record, and some kilobytes.
    assert 0 <= int(hashed) - int(checked) < int(hashed) // 20 + 100_000, f"{checked} bytes verified, {hashed} hashed"


STAGE = Stage(
    "verify",
    "custody verify of a night's cut and log: files, signatures, every record against row and leaf, tiles, counts",
    "SHA-256 of the same files, one after the other",
    _prepared,
    goals={20_000: 3.0, 100_000: 3.0},
)
