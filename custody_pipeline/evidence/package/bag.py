"""A package for the other side: chosen recordings with their records and proofs, and nothing about any other.

Belongs here: the layout, writing it from what is given, checking it. Does not: fetching recordings
(operations/packaging.py).

    bagit.txt, bag-info.txt         BagIt 1.0 (RFC 8493)
    manifest-sha256.txt             every file below data/; `sha256sum --check` reads it
    manifest-sha256.txt.sig         signed note over the SHA-256 of the manifest
    tagmanifest-sha256.txt          the files beside data/
    data/checkpoint                 the log's head that the proofs lead to
    data/public-key.txt             the log's keys; compare their fingerprints over another channel
    data/VERIFY.md                  how to check all this without our code
    data/records/<name>.json        the row as it was sealed, with its salt
    data/records/<name>.tlog-proof  C2SP tlog-proof of that row
    data/audio/<name>.<suffix>      the recording; its SHA-256 is `media_sha256` of the row
    data/documents/<name>.<suffix>  the companion document; its SHA-256 is `sidecar_sha256` of the row
    data/missing.json               audio and documents that are not here: which, and why
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from custody_pipeline.evidence.cut.proof import PROOF_SUFFIX, ProofFileError, RecordProof, read_proof
from custody_pipeline.evidence.log.note import NoteError, Signer, Verifier, parse, sign
from custody_pipeline.evidence.reader import FolderReader, TargetError, read
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify_file

BAGIT = "bagit.txt"
MANIFEST = "manifest-sha256.txt"
SIGNATURE = MANIFEST + ".sig"
_TAG_MANIFEST = "tagmanifest-sha256.txt"
_SCHEMA = "custody-package/v1"
_CHUNK = 1 << 20

# Folder of the package → column of the record that holds the SHA-256 of its file.
ATTACHED = {"audio": "media_sha256", "documents": "sidecar_sha256"}

MISSING = "data/missing.json"


class Absent(msgspec.Struct, frozen=True):
    """Audio or a document that a record speaks of, or could, and that the package does not hold.

    Attributes:
        recording_id: of the record.
        conversation_id: of the record.
        kind: `audio` or `documents`.
        name: of the record's files, without a suffix.
        sha256: what was sealed; None when the night was sealed without it.
        why: what came back when it was to be fetched; None when there was nothing to fetch.
        gap_reasons: code → sentence: what the sealed record says.
    """

    recording_id: str
    conversation_id: str
    kind: str
    name: str
    sha256: str | None
    why: str | None
    gap_reasons: dict[str, str]

    @classmethod
    def of(
        cls, row: Mapping[str, str | None], kind: str, name: str, why: str | None, sentences: Mapping[str, str]
    ) -> Absent:
        """What is missing of a sealed row; `sentences` say for people what each reason's code means."""
        codes: list[str] = json.loads(row.get("gap_reasons") or "[]")
        return cls(
            recording_id=str(row["recording_id"]),
            conversation_id=str(row["conversation_id"]),
            kind=kind,
            name=name,
            sha256=row.get(ATTACHED[kind]),
            why=why,
            gap_reasons={code: sentences.get(code, "") for code in codes},
        )


_VERIFY = """# Verify this package

`sha256sum --check manifest-sha256.txt` compares every file with the manifest. The manifest is signed:
`manifest-sha256.txt.sig` is a signed note (https://c2sp.org/signed-note) whose last line of text holds the manifest's
SHA-256. The public key is in `data/public-key.txt`; compare its fingerprint with the owner over another channel.

Each `data/records/….tlog-proof` (https://c2sp.org/tlog-proof) shows that the record on its `extra` line was sealed in
the log whose signed head is in the proof. The record's `media_sha256` is the SHA-256 of the file of the same name in
`data/audio`, its `sidecar_sha256` that of the one in `data/documents`.

What is not here is in `data/missing.json`, with the reason. `sha256` is what was sealed, and `why` what came back
instead of it. Where `sha256` is null the night was sealed without it, and `gap_reasons` of the proven record say why.

`custody verify FOLDER --key data/public-key.txt` checks all of it at once.
"""


def write_records(
    folder: Path,
    names: Sequence[str],
    proofs: Sequence[RecordProof],
    signers: Sequence[Signer],
    absent: Sequence[Absent] = (),
) -> None:
    """Write what goes below `data/` beside recordings and documents.

    Args:
        folder: the package.
        names: of the proofs' files, without a suffix.
        proofs: all of one checkpoint.
        signers: keys that sign the package.
        absent: what is not in it.
    """
    records = folder / "data/records"
    records.mkdir(parents=True, exist_ok=True)
    for name, proof in zip(names, proofs, strict=True):
        (records / f"{name}{PROOF_SUFFIX}").write_bytes(proof.data)
        (records / f"{name}.json").write_bytes(proof.record)
    (folder / "data/checkpoint").write_bytes(proofs[0].checkpoint.note.data)
    (folder / "data/VERIFY.md").write_text(_VERIFY, encoding="utf-8")
    (folder / MISSING).write_bytes(msgspec.json.format(msgspec.json.encode(absent), indent=1) + b"\n")
    keys = "".join(f"# sha256:{key.fingerprint}\n{key.vkey}\n" for key in (signer.verifier for signer in signers))
    (folder / "data/public-key.txt").write_text(keys, encoding="utf-8")


def close_package(folder: Path, signers: Sequence[Signer], info: dict[str, str]) -> str:
    """Write the manifests of a package whose `data/` is complete, and sign them.

    Args:
        folder: the package.
        signers: current key first.
        info: lines of `bag-info.txt`.

    Returns:
        SHA-256 of the manifest, hex.
    """
    payload = [path for path in (folder / "data").rglob("*") if path.is_file()]
    manifest = _manifest(folder, payload)
    sha256 = hashlib.sha256(manifest).hexdigest()
    text = f"{_SCHEMA}\n{signers[0].verifier.name}\n{sha256}  {MANIFEST}\n"
    total = sum(path.stat().st_size for path in payload)
    lines = info | {"Payload-Oxum": f"{total}.{len(payload)}"}
    tags = {
        BAGIT: b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        "bag-info.txt": "".join(f"{key}: {' '.join(value.split())}\n" for key, value in lines.items()).encode(),
        MANIFEST: manifest,
        SIGNATURE: sign(text.encode(), signers).data,
    }
    for name, data in tags.items():
        (folder / name).write_bytes(data)
    (folder / _TAG_MANIFEST).write_bytes(_manifest(folder, [folder / name for name in tags]))
    return sha256


def _manifest(folder: Path, files: Iterable[Path]) -> bytes:
    lines = sorted((file.relative_to(folder).as_posix(), _sha256(file)) for file in files)
    return "".join(f"{sha256}  {path}\n" for path, sha256 in lines).encode()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_package(path: Path) -> bool:
    """Whether a folder says that it is one; what it holds is for `verify_package`."""
    return path.is_dir() and ((path / BAGIT).exists() or (path / SIGNATURE).exists())


def verify_package(folder: Path, options: Options) -> Report:
    """Check a package: its manifest's signature, every file, every proof, and recordings against their records.

    The checkpoint of each proof must have its quorum of witnesses.
    """
    public_keys = options.public_keys
    reader = FolderReader(folder)
    report = Report(reader.name)
    if not public_keys:
        report.add("NO_PUBLIC_KEY")
    try:
        found = {entry.path: entry.size for entry in reader.list()}
        digests = {path: _digest(reader, path) for path in found}
        if MANIFEST not in found:
            report.add("FILE_MISSING", MANIFEST)
            return report
        _check_signature(report, reader, digests[MANIFEST], public_keys)
        _check_manifest(report, reader, MANIFEST, {path: sha for path, sha in digests.items() if path[:5] == "data/"})
        tags = {path: sha for path, sha in digests.items() if path[:5] != "data/" and path != _TAG_MANIFEST}
        _check_manifest(report, reader, _TAG_MANIFEST, tags)
        report.total["bytes"] = report.valid["bytes"] = sum(found.values())
        for path in _proofs(report, digests):
            checked = verify_file(reader, path, options)
            report.total["proofs"] += 1
            report.valid["proofs"] += checked.valid["proofs"]
            report.facts |= {name: fact for name, fact in checked.facts.items() if name.startswith("seen by ")}
            for finding in checked.findings:
                report.add(finding.code, finding.path, finding.detail)
        _check_records(report, reader, digests)
    except (TargetError, OSError) as error:
        report.add("TARGET_UNREADABLE", "", str(error))
    return report


def _digest(reader: FolderReader, path: str) -> str:
    with reader.open(path) as stream:
        sha256 = hashlib.sha256()
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()


def _check_signature(report: Report, reader: FolderReader, sha256: str, keys: Sequence[Verifier]) -> None:
    try:
        note = parse(read(reader, SIGNATURE))
        signers = note.verified_by(keys) if keys else []
    except FileNotFoundError:
        report.add("PACKAGE_UNSIGNED", SIGNATURE, "there is no signature")
        return
    except NoteError as error:
        report.add("PACKAGE_UNSIGNED", SIGNATURE, str(error))
        return
    for key in signers:
        report.facts[f"signed by {key.name}+{key.key_id.hex()}"] = f"sha256 {key.fingerprint}"
        if key.demo:
            report.add("DEMO_KEY", "", key.name)
    if keys and not signers:
        report.add("PACKAGE_UNSIGNED", SIGNATURE, "signed by others")
    lines = note.text.decode(errors="replace").split("\n")
    if lines[0] != _SCHEMA or lines[2:] != [f"{sha256}  {MANIFEST}", ""]:
        report.add("PACKAGE_ALTERED", MANIFEST)


def _check_manifest(report: Report, reader: FolderReader, manifest: str, digests: dict[str, str]) -> None:
    try:
        lines = read(reader, manifest).decode(errors="replace").splitlines()
    except FileNotFoundError:
        report.add("FILE_MISSING", manifest)
        return
    listed = {path: sha256 for sha256, _, path in (line.partition("  ") for line in lines)}
    report.total["files"] += len(listed)
    for path, sha256 in listed.items():
        if path not in digests:
            report.add("FILE_MISSING", path)
        elif digests[path] != sha256:
            report.add("FILE_ALTERED", path, f"sha256 {sha256} listed, {digests[path]} found")
        else:
            report.valid["files"] += 1
    for path in sorted(set(digests) - set(listed)):
        report.add("FILE_EXTRA", path)


def _proofs(report: Report, digests: dict[str, str]) -> list[str]:
    proofs = [path for path in digests if path.startswith("data/records/") and path.endswith(PROOF_SUFFIX)]
    if not proofs:
        report.add("NOTHING_FOUND", "data/records", "the package has no proof")
    return proofs


def _check_records(report: Report, reader: FolderReader, digests: dict[str, str]) -> None:
    """Compare what is attached with the digests in the records, whose proofs have been checked."""
    attached = {
        path.rpartition(".")[0]: path for path in digests if path.startswith(("data/audio/", "data/documents/"))
    }
    absent = _absent(report, reader) if MISSING in digests else {}
    for path in _proofs(report, digests):
        try:
            row = read_proof(read(reader, path)).row
        except ProofFileError:
            continue  # found above
        name = path.removeprefix("data/records/").removesuffix(PROOF_SUFFIX)
        for folder, column in ATTACHED.items():
            file, sealed = attached.pop(f"data/{folder}/{name}", None), row.get(column)
            if file is None and (listed := absent.get((folder, name))):
                if sealed:
                    report.add("PACKAGE_INCOMPLETE", f"data/{folder}/{name}", listed.why or "")
            elif sealed and file is None:
                report.add("FILE_MISSING", f"data/{folder}/{name}", f"the record says {column} {sealed}")
            elif file and digests[file] != sealed:
                report.add("MEDIA_CHANGED", file, f"{column} {sealed} sealed, {digests[file]} found")
    for path in attached.values():
        report.add("FILE_EXTRA", path, "no record of the package is about it")


def _absent(report: Report, reader: FolderReader) -> dict[tuple[str, str], Absent]:
    """By kind and name; none where the list cannot be read, and what is missing is then simply missing."""
    try:
        listed = msgspec.json.decode(read(reader, MISSING), type=list[Absent])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        report.add("PACKAGE_ALTERED", MISSING, str(error))
        return {}
    return {(item.kind, item.name): item for item in listed}
