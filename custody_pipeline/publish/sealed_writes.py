"""The writes of a seal: the files of the cut, their locks, the log's tiles and its head.

Belongs here: putting each object so that another home, or a killed run, may have done so already. Does not: what is
written (evidence/cut/seal.py), the claim that allows it (sealer.py).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import CUT_JSON, SEAL_FILES, CutFile, Lock, cut_prefix
from custody_pipeline.evidence.cut.seal import CLAIM, HEAD, Draft, Write
from custody_pipeline.evidence.log.checkpoint import Head, read_checkpoint
from custody_pipeline.evidence.log.cosignatures import WitnessContradictsError, cosigned_path
from custody_pipeline.evidence.log.note import Note, NoteError, Signature, parse
from custody_pipeline.evidence.reader import NOTE_BYTES, TooLargeError
from custody_pipeline.io.objects import (
    CHANGED,
    Stored,
    UploadError,
    Uploads,
    copy_object,
    digest,
    error_code,
    get_object,
    head,
    put_bytes,
    read_up_to,
)
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.claims import SealingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.log.checkpoint import Checkpoint
    from custody_pipeline.io.s3 import S3Location

_NOTE = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class SealedWrites:
    """Writes below one published prefix."""

    client: S3Client
    place: S3Location

    def copy_into_cut(self, draft: Draft, staged: S3Location, content_types: Mapping[str, str]) -> dict[str, Stored]:
        """Copy the files of a draft into the cut's folder, only where nothing is, and lock them.

        Args:
            staged: the folder of the claim.
            content_types: by path in the cut.

        Raises:
            UploadError: the bucket cannot lock; it must be created with Object Lock.
        """
        there, lock = self._left_overs(draft), _in_force(draft.lock)
        cut = self.place / cut_prefix(draft.night, draft.revision).rstrip("/")

        def copy(file: CutFile) -> Stored:
            if file.path in there:
                return there[file.path]
            source, at = Stored(staged / file.path, file.sha256, file.bytes, "", None), cut / file.path
            put = partial(copy_object, self.client, source, at, once=True, ContentType=content_types[file.path])
            try:
                # Asked for with the copy, the lock takes the place of the bucket's default retention.
                return put(**_lock_arguments(lock))
            except ClientError:
                if lock is None:
                    raise
                return put()  # not every store takes it with a copy: `_lock` asks for it then

        with Uploads(self.client) as uploads:
            copies = {file.path: uploads.submit(copy, file) for file in draft.files}
        stored = {path: future.result() for path, future in copies.items()}
        if lock is not None:
            with Uploads(self.client) as uploads:
                for found in stored.values():
                    uploads.submit(self._lock, found, lock)
        return stored

    def _left_overs(self, draft: Draft) -> dict[str, Stored]:
        """The draft's files that are in the cut's folder already. If the cut is not sealed yet, others are removed."""
        prefix = cut_prefix(draft.night, draft.revision)
        there = {entry.path.removeprefix(prefix) for entry in S3Reader(self.client, self.place).list(prefix)}
        files = {file.path: file for file in draft.files}
        found = {
            name: stored for name in there & files.keys() if (stored := head(self.client, self.place / (prefix + name)))
        }
        if CUT_JSON in there:
            return found
        others = {
            name
            for name, stored in found.items()
            if stored.bytes != files[name].bytes or digest(self.client, stored) != files[name].sha256
        }
        for name in (there - files.keys() - set(SEAL_FILES)) | others:
            at = self.place / (prefix + name)
            self.client.delete_object(Bucket=at.bucket, Key=at.key)
        return {name: stored for name, stored in found.items() if name not in others}

    def _lock(self, stored: Stored, lock: Lock) -> None:
        place: dict[str, Any] = {"Bucket": stored.location.bucket, "Key": stored.location.key}
        if stored.version_id is not None:
            place["VersionId"] = stored.version_id
        try:
            if lock.mode is not None:
                retention: Any = {"Mode": lock.mode, "RetainUntilDate": lock.until}
                try:
                    self.client.put_object_retention(**place, Retention=retention)
                except ClientError:
                    if not self._is_kept(place, lock):
                        raise
            if lock.legal_hold:
                self.client.put_object_legal_hold(**place, LegalHold={"Status": "ON"})
        except ClientError as error:
            raise UploadError(
                f"{stored.location} cannot be locked ({error_code(error)}). The bucket must have Object Lock (set when "
                "it is made), and we need s3:GetObjectRetention, s3:PutObjectRetention and s3:PutObjectLegalHold; or "
                f"unset CUSTODY_LOCK_MODE and CUSTODY_LEGAL_HOLD, and remove {self.place / CLAIM}: the seal that was "
                "begun asks for the lock."
            ) from error

    def _is_kept(self, place: dict[str, Any], lock: Lock) -> bool:
        """Whether a version has a lock that binds at least as much: S3 refuses to weaken it."""
        with suppress(ClientError):
            found = self.client.get_object_retention(**place)["Retention"]
            is_long = lock.until is not None and found["RetainUntilDate"] >= datetime.fromisoformat(lock.until)
            return is_long and found["Mode"] in {lock.mode, "COMPLIANCE"}
        return False

    def put(self, writes: Sequence[Write], lock: Lock | None) -> None:
        """Put the files of a seal, and last the log's tiles; the head is `put_head`'s."""
        locked = _lock_arguments(_in_force(lock))

        def put_one(write: Write) -> Stored:
            extra: dict[str, Any] = {"ContentType": write.content_type, **(locked if write.once else {})}
            return put_bytes(self.client, write.data, self.place / write.path, once=write.once, **extra)

        seal_files = [write for write in writes if write.once and not write.path.endswith("/" + CUT_JSON)]
        cut = [write for write in writes if write.path.endswith("/" + CUT_JSON)]
        tiles = [write for write in writes if not write.once and write.path != HEAD]
        for group in (seal_files, cut, tiles):
            with Uploads(self.client) as uploads:
                for write in group:
                    uploads.submit(put_one, write)

    def put_head(self, base: Head, checkpoint: Checkpoint, base_etag: str | None = None) -> None:
        """Put the log's head, unless another home that seals the same night has put it.

        Args:
            base_etag: of the checkpoint of `base`, where it was read; saves a request.
        """
        if base_etag is not None and self._put_if(HEAD, checkpoint.note, {"IfMatch": base_etag}):
            return
        while True:
            found = self.log_head()
            try:
                there = read_checkpoint(found[0]).head if found else Head.empty(base.origin)
            except NoteError:
                there = None
            if there is not None and there.size >= checkpoint.head.size:
                return
            if there != base:
                raise SealingError(
                    f"{self.place / HEAD} is not the head this night was built on: there is another writer"
                )
            if self._put_if(HEAD, checkpoint.note, {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}):
                return

    def _put_if(self, path: str, note: Note, condition: dict[str, Any]) -> bool:
        try:
            put_bytes(self.client, note.data, self.place / path, ContentType=_NOTE, **condition)
        except ClientError as error:
            if error_code(error) not in CHANGED:
                raise
            return False
        return True

    def replace_head(self, more: Callable[[bytes], Checkpoint]) -> Checkpoint:
        """Put the log's head again with more signatures, and a copy of it below `log/cosigned/`.

        Args:
            more: the head that is published → the same with more signatures.

        Raises:
            FileNotFoundError: there is no head yet.
            UploadError: another head was put meanwhile.
        """
        found = self.log_head()
        if found is None:
            raise FileNotFoundError(f"{self.place / HEAD} is not there; seal a night first")
        try:
            checkpoint = more(found[0])
        except WitnessContradictsError as error:
            if (now := self.log_head()) is not None and now[1] == found[1]:
                raise
            # The witness may have cosigned that head for another home.
            raise UploadError(self._put_meanwhile) from error
        self._keep_cosigned(checkpoint)
        if not self._put_if(HEAD, checkpoint.note, {"IfMatch": found[1]}):
            raise UploadError(self._put_meanwhile)
        return checkpoint

    def _keep_cosigned(self, checkpoint: Checkpoint) -> None:
        """Put the copy of a head, with the cosignatures that another home put there meanwhile."""
        path, note = cosigned_path(checkpoint.head.size), checkpoint.note
        ours = {(item.name, item.key_id) for item in note.signatures}
        while True:
            found, more = self._read(path), tuple[Signature, ...]()
            with suppress(NoteError):
                if found and (there := parse(found[0])).text == note.text:
                    more = tuple(item for item in there.signatures if (item.name, item.key_id) not in ours)
            condition = {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}
            if self._put_if(path, replace(note, signatures=(*note.signatures, *more)), condition):
                return

    @property
    def _put_meanwhile(self) -> str:
        return f"{self.place / HEAD}: another head was put meanwhile; run the command again"

    def log_head(self) -> tuple[bytes, str] | None:
        """The log's checkpoint and its ETag; None if there is none.

        Raises:
            TooLargeError: the object is no checkpoint.
        """
        return self._read(HEAD)

    def _read(self, path: str) -> tuple[bytes, str] | None:
        answer = get_object(self.client, self.place / path)
        if answer is None:
            return None
        data = read_up_to(answer["Body"], NOTE_BYTES + 1)
        if len(data) > NOTE_BYTES:
            raise TooLargeError(f"{self.place / path} has more than {NOTE_BYTES:,} bytes: it is no checkpoint")
        return data, answer["ETag"]


def _in_force(lock: Lock | None) -> Lock | None:
    """The lock without a retention that is over: S3 refuses a date that has passed."""
    if lock is None or lock.until is None or datetime.fromisoformat(lock.until) > datetime.now(UTC):
        return lock
    return Lock(None, None, legal_hold=True) if lock.legal_hold else None


def _lock_arguments(lock: Lock | None) -> dict[str, Any]:
    """Arguments of PutObject that lock the object from its creation on."""
    if lock is None:
        return {}
    arguments: dict[str, Any] = {}
    if lock.mode is not None:
        arguments |= {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": lock.until}
    if lock.legal_hold:
        arguments["ObjectLockLegalHoldStatus"] = "ON"
    return arguments
