"""`custody verify`, `prove` and `key`: verification with the settings of this deployment.

Belongs here: finding the target and the keys, and recording that our own place was verified. Does not: any check
(evidence).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from custody_pipeline.evidence.cut.manifest import cut_prefix
from custody_pipeline.evidence.cut.proof import PROOF_SUFFIX, Prover
from custody_pipeline.evidence.log.keys import SigningKeyError, parse_public_keys
from custody_pipeline.evidence.log.note import ED25519, Verifier
from custody_pipeline.evidence.package.check import is_package, verify_package
from custody_pipeline.evidence.package.signed_volume import is_production, verify_production
from custody_pipeline.evidence.reader import FolderReader, Reader, TargetError
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Media, Options
from custody_pipeline.evidence.verify.target import verify, verify_path
from custody_pipeline.extract.export_objects import Digests, ObjectReader
from custody_pipeline.fleet.overview import overview, record_acts
from custody_pipeline.io.resume_cache import resume_cache_of_user
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import why_unreadable
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.ledger import Act, Actor

# Seconds. A night may be running, and the event of a finished verification is not worth a long wait.
_LOCK_TIMEOUT_SECONDS = 10.0


class BucketMedia:
    """Recordings in the export bucket; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readers: dict[str, ObjectReader] = {}
        self._lock = Lock()

    def _objects(self, bucket: str) -> ObjectReader:
        with self._lock:  # making a client takes a fifth of a second
            if bucket not in self._readers:
                self._readers[bucket] = ObjectReader(self._settings, bucket)
            return self._readers[bucket]

    def sha256(self, uri: str, version_id: str | None) -> str:
        """SHA-256 of an object's bytes, hex, computed while they stream.

        Raises:
            FileNotFoundError: no such object or version.
            TargetError: it could not be read.
        """
        return self._read(uri, version_id, None).sha256

    def save(self, uri: str, version_id: str | None, path: Path) -> Digests:
        """Write an object's bytes to a file, and hash them meanwhile.

        Raises:
            FileNotFoundError: no such object or version.
            TargetError: it could not be read.
            OSError: the file could not be written.
        """
        with path.open("wb") as out:
            return self._read(uri, version_id, out)

    def _read(self, uri: str, version_id: str | None, out: BinaryIO | None) -> Digests:
        at = S3Location.parse(uri)
        found = self._objects(at.bucket).digest("media", at.key, version_id, md5=False, out=out)
        if isinstance(found, Digests):
            return found
        if found.http_status == 404:
            raise FileNotFoundError(uri)
        raise TargetError(found.message)


def default_target(settings: Settings) -> str:
    """The default target: the published place, or the copy that the demo read back."""
    return settings.publish_url or str(settings.home / "published")


def public_keys(settings: Settings, files: Sequence[Path]) -> list[Verifier]:
    """Verifier keys from `files`. Without files: those in `$CUSTODY_HOME/keys/*.pub`, and of the keys that sign now.

    Raises:
        SettingsError: a file or a key cannot be read.
    """
    try:
        paths = files or sorted((settings.home / "keys").glob("*.pub"))
        found = [key for path in paths for key in parse_public_keys(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"--key: {why_unreadable(error)}; expected a file that `custody key new` wrote (….pub)"
        ) from error
    if files and any(key.kind != ED25519 for key in found):
        raise SettingsError("--key: a witness's key is no key of the log; give it with --witness")
    found = [key for key in found if key.kind == ED25519]  # that of a witness may lie beside ours
    if not files:
        try:
            found += signing_verifiers(settings)
        except SigningKeyError as error:
            raise SettingsError(str(error)) from error
    return list(dict.fromkeys(found))


def keys_for(settings: Settings, target: str, files: Sequence[Path]) -> list[Verifier]:
    """The keys that count for a target: those in `files`; without files, this deployment's, only for its own place.

    A folder from somebody else may contain a `.custody` that looks like this deployment's home. If no setting names
    this deployment, only a demo key counts, which states that it proves nothing.

    Raises:
        SettingsError: a file or a key cannot be read.
    """
    if not files and not is_own_place(settings, target):
        return []
    found = public_keys(settings, files)
    named = (settings.publish_url, settings.signing_key, settings.signing_key_file, settings.signing_key_kms)
    return found if files or any(named) else [key for key in found if key.demo]


def is_own_place(settings: Settings, target: str) -> bool:
    """Whether a target is this deployment's published place. Its keys and its memory are trusted only there."""
    ours = default_target(settings)
    if target.startswith("s3://"):
        return target.rstrip("/") == ours.rstrip("/")
    return Path(target).resolve() == Path(ours).resolve()


def open_target(settings: Settings, target: str) -> Reader:
    """A reader of an `s3://` place or of a folder."""
    if target.startswith("s3://"):
        return S3Reader(s3_client(settings), S3Location.parse(target))
    return FolderReader(Path(target))


def verify_target(
    settings: Settings,
    target: str,
    *,
    keys: Sequence[Path] = (),
    pinned: Sequence[Path] = (),
    timestamp_roots: Sequence[Path] = (),
    media: str = "none",
    progress: Callable[[str, int, int | None], None] | None = None,
    witnesses: Sequence[Verifier] = (),
    quorum: int | None = None,
    seen_since: datetime | None = None,
    since: Path | None = None,
) -> Report:
    """Verify an `s3://` place, a folder or a file.

    Nothing in the working folder is trusted. This deployment's keys, and the head that it signed last, count only for
    its own published place; every other target needs `keys`.

    Raises:
        SettingsError: a named file cannot be read.
    """
    own, remembered = is_own_place(settings, target), settings.home / "publish/head"
    in_s3, path = target.startswith("s3://"), Path(target)
    if own and remembered.exists():
        pinned = [*pinned, remembered]
    try:
        pins = [path.read_bytes() for path in pinned]
        before = since.read_bytes() if since else None
        roots = [path.read_bytes() for path in timestamp_roots]
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}") from error
    if quorum is not None and quorum > len(witnesses):
        raise SettingsError(f"--quorum {quorum}: only {len(witnesses)} witnesses are given; name them with --witness")
    compare = None if media == "none" else Media(BucketMedia(settings), "all" if media == "all" else "sample")
    published_at = f"{S3Location.parse(target)}/" if own and in_s3 else None
    options = Options(
        keys_for(settings, target, keys),
        pins,
        roots,
        witnesses,
        quorum,
        compare,
        progress,
        seen_since=seen_since,
        published_at=published_at,
        since=before,
    )
    if not in_s3 and is_production(path):
        return verify_production(path, options)
    if not in_s3 and is_package(path):
        return verify_package(path, options)
    if not in_s3 and not path.is_dir():
        return verify_path(path, options)
    place = target if in_s3 else str(path.resolve())
    question = "\n".join([place, media, *(key.vkey for key in options.public_keys)])
    name = f"verify-{hashlib.sha256(os.fsencode(question)).hexdigest()[:16]}"
    try:
        cache = resume_cache_of_user(name)
    except (OSError, RuntimeError):  # without a private folder of the user, the check cannot be resumed
        return verify(open_target(settings, target), options)
    with cache:
        report = verify(open_target(settings, target), replace(options, memory=cache))
    if cache.taken_over:
        report.facts["resumed"] = f"{cache.taken_over} results of the check that began {cache.begun:%F %T} UTC"
    return report


def record_verification(settings: Settings, target: str, media: str, report: Report) -> bool:
    """Record a custody event for every published night, if `target` is this deployment's published place.

    The verification of a copy is no part of the custody, and leaves no event.

    Returns:
        Whether events were recorded.

    Raises:
        WarehouseError: the warehouse is in use; the verification is valid nevertheless.
    """
    if not is_own_place(settings, target):
        return False
    place = target if target.startswith("s3://") else Path(target).name
    with overview(settings, lock_timeout=_LOCK_TIMEOUT_SECONDS) as con:
        if con is None:
            return False
        published = con.execute(
            "SELECT partition_date, max(revision), arg_max(cut_sha256, revision) FROM raw.publications "
            "GROUP BY partition_date ORDER BY partition_date"
        ).fetchall()
    acts = [
        Act(
            night,
            "verified",
            what=f"revision {revision}: {_result(report, night, revision)}",
            why="verification",
            how=f"custody verify --media {media}",
            where_at=place,
            sha256_before=sealed,
            sha256_after=report.cuts.get(cut_prefix(night.isoformat(), revision)),
        )
        for night, revision, sealed in published
        if cut_prefix(night.isoformat(), revision) not in report.not_read
    ]
    record_acts(settings, Actor.of(settings), acts, lock_timeout=_LOCK_TIMEOUT_SECONDS)
    return True


def _result(report: Report, night: date, revision: int) -> str:
    """The result for one night. Findings about the log or the whole set count for every night."""
    if cut_prefix(night.isoformat(), revision) not in report.cuts:
        return "its cut was not found"
    weighty = [finding for finding in report.findings if finding.kind.severity is not Severity.NOTE]
    codes = {found.code for found in weighty if f"date={night}" in found.path or "date=" not in found.path}
    demo = " (with a DEMO key)" if any(finding.code == "DEMO_KEY" for finding in report.findings) else ""
    return ", ".join(sorted(codes)) or f"as sealed{demo}"


def write_proofs(settings: Settings, target: str, recording_id: str, keys: Sequence[Path], folder: Path) -> list[Path]:
    """Write a recording's `.tlog-proof` files into `folder`, which is made if it is not there.

    Raises:
        RecordNotFoundError: no sealed night has the recording.
        SettingsError: the target is a copy, and no key was named for it.
    """
    verifiers = keys_for(settings, target, keys)
    if not verifiers:
        raise SettingsError(f"{target}: no key is known for it; name the log's public key with --key")
    written = []
    for number, proof in enumerate(list(Prover(open_target(settings, target), verifiers).each([recording_id])), 1):
        name = "".join(character if character.isalnum() or character in "-_" else "_" for character in recording_id)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}{f'-{number}' if number > 1 else ''}{PROOF_SUFFIX}"
        path.write_bytes(proof.data)
        written.append(path)
    return written
