"""Writing a package for the other side: chosen recordings with their records and proofs, and nothing about any other.

Belongs here: the files that are made of what is given. Does not: fetching recordings (operations/packaging.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.proof import PROOF_SUFFIX, RecordProof
from custody_pipeline.evidence.log.note import Signer, sign
from custody_pipeline.evidence.package.layout import (
    BAG_INFO,
    BAGIT,
    CHECKPOINT,
    INSTRUCTIONS,
    MANIFEST,
    MISSING,
    PUBLIC_KEYS,
    RECORDS,
    ROTATIONS,
    SCHEMA,
    SIGNATURE,
    STATEMENT,
    TAG_FILES,
    TAG_MANIFEST,
    Absent,
    Included,
    Statement,
)

_VERIFY = """# Verify this package

Ask the owner for the public key over another channel. A key that lies in this folder proves nothing: somebody who
changed the folder could have put it there. `data/public-key.txt` only says which keys signed.

`sha256sum --check manifest-sha256.txt tagmanifest-sha256.txt` compares every file with the manifests. The tag manifest
is signed: `tagmanifest-sha256.txt.sig` is a signed note (https://c2sp.org/signed-note) whose last line of text holds
the SHA-256 of the tag manifest. No other file may lie beside `data`, and none below it that the manifest does not list.

`data/package.json` says what was asked for and what is here: how many recordings, of which night and revision, and
whether that revision was the newest when the package was made.

Each `data/records/….tlog-proof` (https://c2sp.org/tlog-proof) shows that the record on its `extra` line was sealed in
the log whose signed head is in the proof and in `data/checkpoint`. The `.json` of the same name is that record. Its
`media_sha256` is the SHA-256 of the file of the same name in `data/audio`, its `sidecar_sha256` that of the one in
`data/documents`.

What is not here is in `data/missing.json`, with the reason. `sha256` is what was sealed, and `why` what came back
instead of it. Where `sha256` is null the night was sealed without it, and `gap_reasons` of the proven record say why.

`custody verify FOLDER --key KEY`, with the key that the owner gave you, checks all of it at once. An older key of the
owner does as well: `data/rotations` leads from it to the newer ones.
"""


def write_records(
    folder: Path,
    names: Sequence[str],
    proofs: Sequence[RecordProof],
    signers: Sequence[Signer],
    absent: Sequence[Absent] = (),
    *,
    night: str | None = None,
    rotations: Sequence[bytes] = (),
) -> None:
    """Write everything below `data/` but recordings and documents.

    Args:
        folder: the package.
        names: of the proofs' files, without a suffix.
        proofs: all of one checkpoint.
        signers: keys that sign the package.
        absent: what is not in it.
        night: all recordings of this night were asked for; None when those of the proofs were.
        rotations: rotation statements of the log.
    """
    records, head = folder / RECORDS, proofs[0].checkpoint.head
    records.mkdir(parents=True, exist_ok=True)
    included = tuple(_included(name, proof) for name, proof in zip(names, proofs, strict=True))
    for name, proof in zip(names, proofs, strict=True):
        (records / f"{name}{PROOF_SUFFIX}").write_bytes(proof.data)
        (records / f"{name}.json").write_bytes(proof.record)
    asked = () if night else tuple(sorted({item.recording_id for item in included}))
    statement = Statement(head.origin, head.size, head.root.hex(), night, asked, included, len(absent))
    keys = "".join(f"# sha256:{key.fingerprint}\n{key.vkey}\n" for key in (signer.verifier for signer in signers))
    files = {
        CHECKPOINT: proofs[0].checkpoint.note.data,
        INSTRUCTIONS: _VERIFY.encode(),
        MISSING: _json(absent),
        STATEMENT: _json(statement),
        PUBLIC_KEYS: keys.encode(),
    } | {f"{ROTATIONS}{number}/{ROTATION}": note for number, note in enumerate(rotations, 1)}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def _included(name: str, proof: RecordProof) -> Included:
    row, revision = proof.row, proof.revision or 1
    ids = str(row["recording_id"]), str(row["conversation_id"])
    return Included(name, *ids, str(row["partition_date"]), revision, proof.newest or revision)


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def close_package(folder: Path, signers: Sequence[Signer], info: dict[str, str]) -> str:
    """Write the manifests of a package whose `data/` is complete, and sign them.

    Args:
        folder: the package.
        signers: current key first.
        info: lines of `bag-info.txt`.

    Returns:
        SHA-256 of the tag manifest, hex: it stands for every file.
    """
    payload = [path for path in (folder / "data").rglob("*") if path.is_file()]
    lines = info | {"Payload-Oxum": f"{sum(path.stat().st_size for path in payload)}.{len(payload)}"}
    tags = {
        BAGIT: b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        BAG_INFO: "".join(f"{key}: {' '.join(value.split())}\n" for key, value in lines.items()).encode(),
        MANIFEST: _manifest(folder, payload),
    }
    for name, data in tags.items():
        (folder / name).write_bytes(data)
    manifest = _manifest(folder, [folder / name for name in TAG_FILES])
    sha256 = hashlib.sha256(manifest).hexdigest()
    text = f"{SCHEMA}\n{signers[0].verifier.name}\n{sha256}  {TAG_MANIFEST}\n"
    (folder / TAG_MANIFEST).write_bytes(manifest)
    (folder / SIGNATURE).write_bytes(sign(text.encode(), signers).data)
    return sha256


def _manifest(folder: Path, files: Iterable[Path]) -> bytes:
    lines = sorted((file.relative_to(folder).as_posix(), _sha256(file)) for file in files)
    return "".join(f"{sha256}  {path}\n" for path, sha256 in lines).encode()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
