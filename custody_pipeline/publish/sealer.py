"""A night's staged files → the sealed cut and the log's new head in S3.

Belongs here: the course of a claim from its commit to its release, so that a crash at any step does no harm and several
homes may seal at once. Does not: what is sealed (evidence/cut/seal.py), who seals next (claims.py), the single writes
(sealed_writes.py).

Every step may be repeated by any home that holds the log's keys:

1. staged files are copied into the cut, only where nothing is,
2. `cut.json` and its timestamp are agreed on: those of the first home count for all,
3. signatures, `cut.json`, tiles and the log's head are put; they are the same bytes from every home,
4. the claim is released, and the staged files are removed.

The head that was signed last is remembered in `$CUSTODY_HOME/publish/head`: a bucket that was rolled back is noticed
before anything is signed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import CHECKPOINT, CUT_JSON, RECORDS, Lock, cut_prefix
from custody_pipeline.evidence.cut.records import leaf_hash
from custody_pipeline.evidence.cut.removal import KEY_STATEMENT, STATEMENT
from custody_pipeline.evidence.cut.seal import CLAIM, HEAD, SEALING, Agreed, Bundle, Draft, Sealed, recover, seal
from custody_pipeline.evidence.log.checkpoint import Head, InconsistentHeadError, read_checkpoint, verify_checkpoint
from custody_pipeline.evidence.reader import NOTE_BYTES, TargetError, TooLargeError, read
from custody_pipeline.io.objects import UploadError, put_bytes
from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.claims import Claims, SealingError, State, sign_agreed, sign_bundle
from custody_pipeline.publish.landed import SealedCuts
from custody_pipeline.publish.sealed_writes import SealedWrites

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.log.note import Signer
    from custody_pipeline.io.s3 import S3Location
    from custody_pipeline.publish.sealing import Sealing

_SOON = timedelta(hours=12)
"""Half of what a verifier allows between `sealed_at` and the timestamp (evidence/verify/times.py)."""


@dataclass(frozen=True)
class Sealer:
    """Seals nights below one prefix.

    Args:
        folder: `$CUSTODY_HOME/publish`; holds what must survive a crash.
    """

    client: S3Client
    place: S3Location
    folder: Path
    sealing: Sealing

    @property
    def reader(self) -> S3Reader:
        """The published prefix."""
        return S3Reader(self.client, self.place)

    @property
    def writes(self) -> SealedWrites:
        """The writes below the prefix."""
        return SealedWrites(self.client, self.place)

    @property
    def claims(self) -> Claims:
        """The claims below the prefix."""
        return Claims(self.client, self.place, self.sealing.origin)

    def settle(self, now: datetime) -> State:
        """The log's state with no seal under way: one that another home began is finished first.

        Args:
            now: UTC.

        Raises:
            InconsistentHeadError: the bucket's log is not the one that was signed last.
            SealingError: a seal is under way that only other keys can finish, or that nobody with the keys began.
        """
        while True:
            state = self.claims.read()
            if state is None:
                self.claims.begin(self._head_before_claims())
                continue
            if state.pending is not None:
                self._finish(state, state.pending, now=now)
                continue
            published, etag = self._published()
            # A head that differs is another home's seal, if the state has changed since it was read.
            if published == state.head or self.claims.read() == state:
                self._refuse_rolled_back(state.head, published)
                return replace(state, published_etag=etag)

    def seal(
        self, state: State, draft: Draft, staged: Mapping[str, str], bundle_id: str, records: bytes, now: datetime
    ) -> Sealed | None:
        """Claim the next place in the log for a night whose files are staged, and seal it.

        Args:
            state: what `settle` returned before it was decided which revision this is.
            draft: the cut; its files have no object versions yet.
            staged: path within the cut → content type, of each file below the bundle's folder.
            now: UTC.

        Returns:
            None if another home sealed something since `state`: decide again.

        Raises:
            SealError, InconsistentHeadError: see `evidence.cut.seal.seal`; nothing was signed.
        """
        keys = [signer.verifier.vkey for signer in self.sealing.signers]
        promised = self.sealing.newer_within_days
        draft = replace(draft, lock=self._lock(now), clock=state.clock, newer_within_days=promised)
        bundle = sign_bundle(Bundle(bundle_id, draft, dict(staged), keys), state.head, self.sealing.signers)
        claimed = self.claims.commit(state, bundle)
        if claimed is None:
            # A refused claim may still be ours: S3 accepted it, the answer was lost, and the retry was refused.
            claimed = self.claims.read()
            if claimed is None or not claimed.is_of(bundle):
                self.claims.remove(bundle)
                return None
        claimed = replace(claimed, published_etag=state.published_etag)
        return self._finish(claimed, bundle, records) or self._sealed(draft.night, draft.revision)

    def _finish(
        self, state: State, bundle: Bundle, records: bytes | None = None, now: datetime | None = None
    ) -> Sealed | None:
        """Complete the claim of `state`; None if another home completed it meanwhile.

        Args:
            state: has the claim.
            bundle: of the claim.
            records: None reads them from where they are staged.
            now: UTC, for a claim that was found; None for one that was just made.
        """
        try:
            return self._carry_out(state, bundle, records, now)
        except (ClientError, FileNotFoundError, TargetError, UploadError):
            there = self.claims.read()
            if there is not None and there.is_of(bundle):
                raise
            return None

    def _carry_out(self, state: State, bundle: Bundle, records: bytes | None, now: datetime | None) -> Sealed:
        signers, draft = self._signers(bundle), bundle.draft
        self.claims.check_bundle(bundle, state.head, signers)
        if now is not None and state.agreed is None:
            draft = _as_of(now, draft, state)
        stored = self.writes.copy_into_cut(draft, self.claims.folder(bundle.id), bundle.content_types)
        files = [msgspec.structs.replace(file, version_id=stored[file.path].version_id) for file in draft.files]
        claimed = next(file for file in draft.files if file.path == RECORDS)
        if records is None:
            try:
                records = read(self.reader, f"{SEALING}{bundle.id}/{RECORDS}", claimed.bytes)
            except TooLargeError:
                records = b""
        if hashlib.sha256(records).hexdigest() != claimed.sha256:
            raise SealingError(f"{self.place / SEALING}{bundle.id}/{RECORDS} is not what was claimed")
        current = state

        def agreed(ours: bytes) -> Agreed:
            nonlocal current
            current, used = self._agree(current, bundle, ours, signers)
            return used

        sealed = seal(
            replace(draft, files=files),
            [leaf_hash(line) for line in records.split(b"\n")[:-1]],
            reader=self.reader,
            head=state.head,
            signed_before=self._signed_before(),
            signers=signers,
            timestamp=self.sealing.timestamp,
            agreed=agreed,
        )
        self.writes.put(sealed.writes, sealed.cut.lock or None)
        self.writes.put_head(state.head, sealed.checkpoint, state.published_etag)
        write_whole(self.folder / "head", sealed.checkpoint.note.data)
        self.claims.release(current, sealed.checkpoint.head)
        self.claims.remove(bundle)
        return sealed

    def _signers(self, bundle: Bundle) -> list[Signer]:
        """The signers that the bundle names: during a rotation this home may hold one more."""
        ours = {signer.verifier.vkey: signer for signer in self.sealing.signers}
        if missing := [key for key in bundle.keys if key not in ours]:
            raise SealingError(
                f"the night of {bundle.draft.night} is being sealed below {self.place} with keys that this home does "
                f"not have: {', '.join('+'.join(key.split('+')[:2]) for key in missing)}. Run any night with those "
                "keys first"
            )
        return [ours[key] for key in bundle.keys]

    def _agree(self, state: State, bundle: Bundle, ours: bytes, signers: Sequence[Signer]) -> tuple[State, Agreed]:
        """The `cut.json` of the claim: ours, unless another home was first.

        Raises:
            FileNotFoundError: another home has finished the claim; nothing may be signed.
            SealingError: no home with the keys signed the one that is there.
        """
        now: State | None = state
        if state.agreed is None:
            timestamp = self.sealing.timestamp
            made = sign_agreed(Agreed(ours, timestamp(ours) if timestamp else None), bundle, signers)
            now = self.claims.agree(state, made) or self.claims.read()
        if now is None or not now.is_of(bundle) or now.agreed is None:
            raise FileNotFoundError(f"{self.place / CLAIM}: the claim was finished meanwhile")
        self.claims.check_agreed(now.agreed, bundle, signers)
        return now, now.agreed

    def _sealed(self, night: str, revision: int) -> Sealed:
        """A sealed night, read from the published place."""
        prefix, keys = cut_prefix(night, revision), [signer.verifier for signer in self.sealing.signers]
        found = SealedCuts(self.reader, keys).read(prefix + CUT_JSON)
        checkpoint = verify_checkpoint(read(self.reader, prefix + CHECKPOINT, NOTE_BYTES), keys)
        return Sealed(found.cut, found.sha256, checkpoint, [])

    def _head_before_claims(self) -> Head:
        """The head of a log that was written without claims, after the writes of a killed run are completed."""
        published, _ = self._published()
        for write in recover(self.reader, [signer.verifier for signer in self.sealing.signers], published):
            if write.path == HEAD:
                self.writes.put_head(published, read_checkpoint(write.data))
            else:
                put_bytes(self.client, write.data, self.place / write.path, ContentType=write.content_type)
        return self._published()[0]

    def _refuse_rolled_back(self, now: Head, published: Head) -> None:
        before = self._signed_before()
        if published != now or (before is not None and now.size < before.size):
            size = max(now.size, before.size if before else 0)
            raise InconsistentHeadError(
                f"{self.place / HEAD}: a log of {size} leaves was signed, and {published.size} are there. The bucket "
                "was rolled back, or something else writes to it. See how much is missing: "
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

    def _published(self) -> tuple[Head, str | None]:
        """The head of the published log, and the ETag of its checkpoint; the empty head where there is none."""
        found, origin = self.writes.log_head(), self.sealing.origin
        if found is None:
            return Head.empty(origin), None
        keys = [signer.verifier for signer in self.sealing.signers]
        return verify_checkpoint(found[0], keys, origin).head, found[1]

    def _signed_before(self) -> Head | None:
        path = self.folder / "head"
        return read_checkpoint(path.read_bytes()).head if path.exists() else None


def _as_of(now: datetime, draft: Draft, state: State) -> Draft:
    """The draft of a claim that was found; if it was made long ago, with the present time, and locked for as long.

    A timestamp of today would contradict the old time. A statement in the cut has that time, which stays then.
    """
    waited = now - datetime.fromisoformat(draft.sealed_at)
    if waited < _SOON:
        return draft
    lock = draft.lock
    if lock is not None and lock.until is not None:
        until = datetime.fromisoformat(lock.until) + waited
        lock = msgspec.structs.replace(lock, until=f"{until:%Y-%m-%dT%H:%M:%SZ}")
    draft = replace(draft, lock=lock)
    if {STATEMENT, KEY_STATEMENT} & {file.path for file in draft.files}:
        return draft
    return replace(draft, sealed_at=f"{now:%Y-%m-%dT%H:%M:%SZ}", clock=state.clock)
