"""Packages that tests write, change and sign again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from custody_pipeline.evidence.log.note import sign
from custody_pipeline.evidence.package.bag import PackageWriter
from custody_pipeline.evidence.package.layout import (
    BAG_INFO,
    MANIFEST,
    SCHEMA,
    SIGNATURE,
    TAG_FILES,
    TAG_MANIFEST,
    Masked,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from custody_pipeline.evidence.cut.proof import RecordProof
    from custody_pipeline.evidence.log.note import Signer
    from custody_pipeline.evidence.package.layout import Absent


INFO = {"External-Description": "Smith v. Acme, request 4"}


def write_package(
    folder: Path,
    proofs: Mapping[str, RecordProof],
    signers: Sequence[Signer],
    absent: Iterable[Absent],
    rotations: Sequence[bytes] = (),
    masked: Sequence[str] = (),
) -> None:
    """A package of records by name, with the recordings in its folder. `masked`: the withheld columns."""
    first = next(iter(proofs.values()))
    asked = [str(proof.row["recording_id"]) for proof in proofs.values()]
    with PackageWriter(folder, first.checkpoint, signers, night=None, asked=asked, rotations=rotations) as writer:
        for name, proof in proofs.items():
            row = {column: value for column, value in proof.row.items() if column not in masked}
            writer.record(writer.write(name, proof, Masked(row, tuple(masked)) if masked else None))
        for path in (folder / "data/audio").glob("*"):
            data = path.read_bytes()
            writer.list_file(path.relative_to(folder).as_posix(), hashlib.sha256(data).hexdigest(), len(data))
        for item in absent:
            writer.leave_out(item)
        writer.close(INFO)


def sign_again(folder: Path, signers: Sequence[Signer]) -> None:
    """Make the manifests of a changed package anew, and sign them."""
    payload = [path for path in (folder / "data").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in payload)
    (folder / BAG_INFO).write_text(
        f"External-Description: {INFO['External-Description']}\nPayload-Oxum: {size}.{len(payload)}\n"
    )
    (folder / MANIFEST).write_bytes(_manifest(folder, payload))
    sign_tags(folder, signers)


def sign_tags(folder: Path, signers: Sequence[Signer]) -> None:
    """Sign the tag files of a package unchanged."""
    data = _manifest(folder, (folder / name for name in TAG_FILES))
    (folder / TAG_MANIFEST).write_bytes(data)
    text = f"{SCHEMA}\n{signers[0].verifier.name}\n{hashlib.sha256(data).hexdigest()}  {TAG_MANIFEST}\n"
    (folder / SIGNATURE).write_bytes(sign(text.encode(), signers).data)


def _manifest(folder: Path, files: Iterable[Path]) -> bytes:
    lines = (
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n" for file in files
    )
    return "".join(sorted(lines)).encode()
