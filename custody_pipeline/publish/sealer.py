"""A night's files in S3 → the sealed cut and the log's new head in S3.

Belongs here: carrying out what `evidence.seal` decided, so that a crash at any step does no harm. Does not: deciding
it.

What was signed is first kept in `$CUSTODY_HOME/publish/pending` and only then put, in the order that `evidence.seal`
gives; a run that was killed meanwhile is finished by the next one with the very same bytes, so nothing is ever signed
twice. The head that was signed last is remembered in `$CUSTODY_HOME/publish/head`: a bucket that was rolled back is
noticed before anything is signed.

There is one writer a home (a lock file) and one home a prefix. A second home that writes to the same prefix is noticed
when it finds another head than the one it built on; it then stops, and signs nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import CUT_JSON, Lock
from custody_pipeline.evidence.cut.seal import HEAD, Draft, Sealed, Write, published_head, recover, seal
from custody_pipeline.evidence.log.checkpoint import Head, InconsistentHeadError, read_checkpoint
from custody_pipeline.evidence.log.cosignatures import cosigned_path
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.uploads import OccupiedError, Stored, UploadError, Uploads, put_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.log.checkpoint import Checkpoint
    from custody_pipeline.io.s3 import S3Location
    from custody_pipeline.publish.sealing import Sealing

_NOTE = "text/plain; charset=utf-8"


class SealingError(Exception):
    """The bucket is not as it was left. The message says what was found; nothing was overwritten."""


@dataclass(frozen=True)
class Sealer:
    """Seals nights below one prefix.

    Args:
        client: boto3's.
        place: the published prefix.
        folder: `$CUSTODY_HOME/publish`; what must outlive a crash is kept here.
        sealing: keys and locks.
    """

    client: S3Client
    place: S3Location
    folder: Path
    sealing: Sealing

    @property
    def reader(self) -> S3Reader:
        """The published prefix."""
        return S3Reader(self.client, self.place)

    def finish_pending(self) -> None:
        """Put what a killed run had signed and not yet put; do nothing otherwise.

        Raises:
            SealingError: the bucket holds something else by now.
        """
        pending = self.folder / "pending"
        if not pending.is_dir():
            return
        index = json.loads((pending / "index.json").read_text())
        writes = [Write(data=(pending / entry.pop("file")).read_bytes(), **entry) for entry in index["writes"]]
        self._carry_out(writes, index["before"], index["lock"])
        _replace(self.folder / "head", next(write.data for write in writes if write.path == HEAD))
        shutil.rmtree(pending)

    def seal(self, draft: Draft, leaves: Sequence[bytes], now: datetime) -> Sealed:
        """Seal a night whose files are in place.

        Raises:
            SealingError: another writer was there meanwhile.
            SealError, InconsistentHeadError: see `evidence.seal.seal`; nothing was signed.
        """
        self._finish_unremembered()
        head = self._published_head()
        sealed = seal(
            replace(draft, lock=self._lock(now)),
            leaves,
            reader=self.reader,
            head=head,
            signed_before=self._signed_before(),
            signers=self.sealing.signers,
            timestamp=self.sealing.timestamp,
        )
        self._keep(sealed.writes, now)
        self.finish_pending()
        return sealed

    def refuse_rolled_back(self) -> None:
        """Notice a log that is shorter than the one signed last before anything of a night is put.

        Raises:
            InconsistentHeadError: it is.
        """
        self._finish_unremembered()
        head, before = self._published_head(), self._signed_before()
        if before is not None and head.size < before.size:
            raise InconsistentHeadError(
                f"{self.place / HEAD}: a log of {before.size} leaves was signed, and {head.size} are there. The bucket "
                "was rolled back, or this is not its only writer. See how much is missing: "
                f"custody verify --pinned {self.folder / 'head'}"
            )

    def _lock(self, now: datetime) -> Lock | None:
        sealing = self.sealing
        if sealing.lock_mode is None and not sealing.legal_hold:
            return None
        until = None
        if sealing.lock_mode is not None:
            until = sealing.retain_until(now).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Lock(sealing.lock_mode, until, sealing.legal_hold)

    def _published_head(self) -> Head:
        return published_head(self.reader, [signer.verifier for signer in self.sealing.signers], self.sealing.origin)

    def _signed_before(self) -> Head | None:
        path = self.folder / "head"
        return read_checkpoint(path.read_bytes()).head if path.exists() else None

    def _finish_unremembered(self) -> None:
        """Where this home remembers another head than the bucket's: finish what another home's killed run began."""
        head = self._published_head()
        if head == self._signed_before():
            return
        writes = recover(self.reader, [signer.verifier for signer in self.sealing.signers], head)
        for write in writes:
            put_bytes(self.client, write.data, self.place / write.path, ContentType=write.content_type)

    def _keep(self, writes: Iterable[Write], now: datetime) -> None:
        folder = Path(tempfile.mkdtemp(prefix="signing-", dir=self.folder))
        entries = []
        for number, write in enumerate(writes):
            name = f"{number:06d}"
            (folder / name).write_bytes(write.data)
            entries.append({"file": name, "path": write.path, "once": write.once, "content_type": write.content_type})
        before = self._checkpoint()
        lock = {
            name: value if isinstance(value, str) else value.isoformat()
            for name, value in self.sealing.lock_arguments(now).items()
        }
        index = {"writes": entries, "before": before and hashlib.sha256(before[0]).hexdigest(), "lock": lock}
        (folder / "index.json").write_text(json.dumps(index))
        folder.rename(self.folder / "pending")

    def _carry_out(self, writes: Sequence[Write], before: str | None, lock: dict[str, str]) -> None:
        def put(write: Write) -> Stored:
            extra: dict[str, Any] = {"ContentType": write.content_type, **(lock if write.once else {})}
            try:
                return put_bytes(self.client, write.data, self.place / write.path, once=write.once, **extra)
            except OccupiedError as error:
                raise SealingError(
                    f"{error}. Another writer sealed this night; give each home a prefix of its own"
                ) from error

        seal_files = [write for write in writes if write.once and not write.path.endswith("/" + CUT_JSON)]
        cut = [write for write in writes if write.path.endswith("/" + CUT_JSON)]
        tiles = [write for write in writes if not write.once and write.path != HEAD]
        for group in (seal_files, cut, tiles):
            with Uploads(self.client) as uploads:
                for write in group:
                    uploads.submit(put, write)
        self._put_head(next(write for write in writes if write.path == HEAD), before)

    def _put_head(self, write: Write, before: str | None) -> None:
        found = self._checkpoint()
        if found is not None and found[0] == write.data:
            return
        if (found and hashlib.sha256(found[0]).hexdigest()) != before:
            raise SealingError(f"{self.place / HEAD} is not the head this night was built on: there is another writer")
        condition: dict[str, Any] = {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}
        put_bytes(self.client, write.data, self.place / HEAD, ContentType=write.content_type, **condition)

    def replace_head(self, more: Callable[[bytes], Checkpoint]) -> Checkpoint:
        """Put the log's head again with more signatures, and a copy of it below `log/cosigned/`.

        Args:
            more: the head that is published → the same with more signatures.

        Raises:
            FileNotFoundError: there is no head yet.
            UploadError: another head was put meanwhile.
        """
        found = self._checkpoint()
        if found is None:
            raise FileNotFoundError(f"{self.place / HEAD} is not there; seal a night first")
        checkpoint = more(found[0])
        copy = self.place / cosigned_path(checkpoint.head.size)
        put_bytes(self.client, checkpoint.note.data, copy, ContentType=_NOTE)
        put_bytes(self.client, checkpoint.note.data, self.place / HEAD, ContentType=_NOTE, IfMatch=found[1])
        return checkpoint

    def _checkpoint(self) -> tuple[bytes, str] | None:
        """The log's checkpoint and its ETag."""
        at = self.place / HEAD
        try:
            answer = self.client.get_object(Bucket=at.bucket, Key=at.key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404", "NotFound"}:
                return None
            raise
        return answer["Body"].read(), answer["ETag"]

    def lock(self, stored: Iterable[Stored], now: datetime) -> None:
        """Lock objects that are there already, before the cut names them.

        Raises:
            UploadError: the bucket cannot lock; it must be created with Object Lock.
        """
        if self.sealing.lock_mode is None and not self.sealing.legal_hold:
            return
        with Uploads(self.client) as uploads:
            for found in stored:
                uploads.submit(self._lock_one, found, now)

    def _lock_one(self, stored: Stored, now: datetime) -> Stored:
        place: dict[str, Any] = {"Bucket": stored.location.bucket, "Key": stored.location.key}
        if stored.version_id is not None:
            place["VersionId"] = stored.version_id
        try:
            if self.sealing.lock_mode is not None:
                retention: Any = {
                    "Mode": self.sealing.lock_mode,
                    "RetainUntilDate": self.sealing.retain_until(now),
                }
                self.client.put_object_retention(**place, Retention=retention)
            if self.sealing.legal_hold:
                self.client.put_object_legal_hold(**place, LegalHold={"Status": "ON"})
        except ClientError as error:
            raise UploadError(
                f"{stored.location} cannot be locked ({error.response.get('Error', {}).get('Code')}). The bucket must "
                "have Object Lock (set when it is created), and we need s3:PutObjectRetention and "
                "s3:PutObjectLegalHold; or unset CUSTODY_LOCK_MODE and CUSTODY_LEGAL_HOLD."
            ) from error
        return stored


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.replace(path)
