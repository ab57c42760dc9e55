"""Writing a package for the other side: chosen recordings with their records and proofs, and nothing about others.

Belongs here: the files of the package. Does not: fetching recordings (operations/packaging.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import rfc8785

from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.proof import COMMITMENT_SUFFIX, PROOF_SUFFIX, RecordProof
from custody_pipeline.evidence.log.checkpoint import Checkpoint
from custody_pipeline.evidence.log.note import Signer, sign
from custody_pipeline.evidence.package import layout
from custody_pipeline.evidence.reader import MANIFEST_BYTES
from custody_pipeline.io.whole_file import HashedFile

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

Where `data/package.json` names `masked` columns of a record, these are withheld. `data/records/….tlog-commitment` is
then the proof without the record: its `extra` line has the record's hash, with a secret salt in it, so that it tells
nothing of the record. The `.json` has the other columns. That they are the record's is what the producer signed; the
log proves it only once the record is shown.

What is not here is in `data/missing.json`, with the reason. `sha256` is what was sealed, and `why` what came back
instead of it. Where `sha256` is null the night was sealed without it, and `gap_reasons` of the proven record say why.

`custody verify FOLDER --key KEY`, with the key that the owner gave you, checks all of it at once. An older key of the
owner does as well: `data/rotations` leads from it to the newer ones.
"""


_BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


class PackageTooLargeError(Exception):
    """A package would have so many files that no verification reads the list of them. Nothing was signed."""


class WrittenRecord(NamedTuple):
    """A record whose files are written.

    Attributes:
        files: path, SHA-256 (hex) and bytes of each.
        included: its entry in the statement, as JSON.
    """

    files: list[tuple[str, str, int]]
    included: bytes


class PackageWriter:
    """A package that is written record by record, so that only one record is in memory. A context manager.

    The folder is marked as a package first, so that an unfinished package cannot pass for a folder of proofs.

    Args:
        checkpoint: the log's head that all proofs lead to.
        signers: keys that sign the package, current key first.
        night: all recordings of this night were asked for; None if those of `asked` were.
        asked: recording ids that were asked for.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        signers: Sequence[Signer],
        *,
        night: str | None,
        asked: Iterable[str],
        rotations: Sequence[bytes],
    ) -> None:
        (folder / layout.RECORDS).mkdir(parents=True, exist_ok=True)
        (folder / layout.BAGIT).write_bytes(_BAGIT)
        self._folder, self._signers = folder, signers
        self._manifest = HashedFile((folder / layout.MANIFEST).open("wb"))
        self._bytes = self._files = self._left_out = 0
        head = checkpoint.head
        scope = {"origin": head.origin, "size": head.size, "root": head.root.hex(), "night": night,
                 "asked": [] if night else sorted(set(asked))}  # fmt: skip
        self._statement = _List(folder / layout.STATEMENT, msgspec.json.encode(scope)[:-1] + b',"records":[')
        self._missing = _List(folder / layout.MISSING, b"[")
        keys = "".join(f"# sha256:{key.fingerprint}\n{key.vkey}\n" for key in (signer.verifier for signer in signers))
        files = {
            layout.CHECKPOINT: checkpoint.note.data,
            layout.INSTRUCTIONS: _VERIFY.encode(),
            layout.PUBLIC_KEYS: keys.encode(),
        } | {f"{layout.ROTATIONS}{number}/{ROTATION}": note for number, note in enumerate(rotations, 1)}
        for path, data in files.items():
            self._write(path, data)

    def __enter__(self) -> PackageWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for growing in (self._manifest, self._statement, self._missing):
            growing.close()

    def write(self, name: str, proof: RecordProof, masked: layout.Masked | None = None) -> WrittenRecord:
        """Write a record's files, from any thread; `record` lists them then.

        Args:
            name: of its files, without a suffix.
            masked: what is shown if fields are withheld.
        """
        files = {".json": rfc8785.dumps(masked.row), COMMITMENT_SUFFIX: proof.commitment.data} if masked else {
            ".json": proof.record, PROOF_SUFFIX: proof.data}  # fmt: skip
        listed = []
        for suffix, data in files.items():
            path = f"{layout.RECORDS}{name}{suffix}"
            with open(f"{self._folder}/{path}", "wb") as file:  # noqa: PTH123 - of tens of thousands
                file.write(data)
            listed.append((path, hashlib.sha256(data).hexdigest(), len(data)))
        return WrittenRecord(listed, msgspec.json.encode(_included(name, proof, masked)))

    def record(self, written: WrittenRecord) -> None:
        """Add a record whose files are written."""
        for path, sha256, size in written.files:
            self.list_file(path, sha256, size)
        self._statement.add(written.included)

    def list_file(self, path: str, sha256: str, size: int) -> None:
        """List a file that is there already. `path`: below the package, with slashes."""
        self._manifest.write(f"{sha256}  {path}\n".encode())
        self._bytes += size
        self._files += 1
        if max(lists.size for lists in (self._manifest, self._statement, self._missing)) > MANIFEST_BYTES:
            raise PackageTooLargeError(
                f"{self._files:,} files are too many for one package: verification reads lists of at most "
                f"{MANIFEST_BYTES >> 20} MiB. Nothing was signed; make several packages, each of some of the recordings"
            )

    def leave_out(self, absent: layout.Absent) -> None:
        """Name audio and documents that are not in the package."""
        self._left_out += 1
        self._missing.add(msgspec.json.encode(absent))

    def close(self, info: Mapping[str, str]) -> str:
        """Write the last files, and sign.

        Returns:
            SHA-256 of the tag manifest, hex: it stands for every file.
        """
        for path, growing, end in (
            (layout.MISSING, self._missing, b"]\n"),
            (layout.STATEMENT, self._statement, b'],"left_out":%d}\n' % self._left_out),
        ):
            with growing:
                growing.write(end)
            self.list_file(path, growing.sha256.hexdigest(), growing.size)
        self._manifest.close()
        lines = {**info, "Payload-Oxum": f"{self._bytes}.{self._files}"}
        text = "".join(f"{key}: {' '.join(value.split())}\n" for key, value in lines.items()).encode()
        (self._folder / layout.BAG_INFO).write_bytes(text)
        digests = {
            layout.BAGIT: hashlib.sha256(_BAGIT).hexdigest(),
            layout.BAG_INFO: hashlib.sha256(text).hexdigest(),
            layout.MANIFEST: self._manifest.sha256.hexdigest(),
        }
        data = "".join(f"{digests[path]}  {path}\n" for path in sorted(layout.TAG_FILES)).encode()
        sha256 = hashlib.sha256(data).hexdigest()
        note = f"{layout.SCHEMA}\n{self._signers[0].verifier.name}\n{sha256}  {layout.TAG_MANIFEST}\n"
        (self._folder / layout.TAG_MANIFEST).write_bytes(data)
        (self._folder / layout.SIGNATURE).write_bytes(sign(note.encode(), self._signers).data)
        return sha256

    def _write(self, path: str, data: bytes) -> None:
        (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / path).write_bytes(data)
        self.list_file(path, hashlib.sha256(data).hexdigest(), len(data))


class _List(HashedFile):
    """A JSON file that ends in a list, an item a line."""

    def __init__(self, path: Path, begin: bytes) -> None:
        super().__init__(path.open("wb"))
        self.write(begin)
        self._before = b"\n"

    def add(self, item: bytes) -> None:
        self.write(self._before + item)
        self._before = b",\n"


def _included(name: str, proof: RecordProof, masked: layout.Masked | None) -> layout.Included:
    row, revision = proof.row, proof.revision or 1
    ids = str(row["recording_id"]), str(row["conversation_id"])
    return layout.Included(
        name, *ids, str(row["partition_date"]), revision, proof.newest or revision, masked.columns if masked else ()
    )
