"""Objects in S3: put with a SHA-256 that the server checks and we compare; copied, listed, examined.

Belongs here: single objects, several at a time. Does not: what objects mean, credentials and retries (s3.py, botocore),
reading thousands at once (extract/export_objects.py).

A file of up to `SINGLE_PUT_BYTES` is one PUT: the object then has the SHA-256 of the whole file, which anyone can
compare with `sha256sum`. A larger file is uploaded in parts, each with its own SHA-256. The object's checksum is then
the checksum of the parts' checksums (S3 has no full-object SHA-256 for multipart uploads); we compute and compare it
as well. In both cases the file's SHA-256 is in the object's metadata.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, ObjectTypeDef

    from custody_pipeline.io.s3 import S3Location

SINGLE_PUT_BYTES = 512 << 20
PART_BYTES = 64 << 20
SINGLE_COPY_BYTES = 5 << 30
"""The largest object that CopyObject copies, and the largest part."""
COPIED_PART_BYTES = 512 << 20
ABSENT = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
NO_LOCK = {
    "InvalidRequest",
    "NoSuchObjectLegalHold",
    "NoSuchObjectLockConfiguration",
    "ObjectLockConfigurationNotFoundError",
}
"""S3's codes for an object or bucket without a lock. Other errors do not tell whether there is a lock."""
UNKNOWN_IDENTITY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
"""Codes of S3: it does not know the credentials, or they have expired."""
OTHER_TIME = {"RequestTimeTooSkewed"}
"""S3's code for a machine whose clock is more than 15 minutes away from its own."""
REFUSED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""S3's codes for a request whose condition (`If-Match`, `If-None-Match`) is false."""
CHANGED = REFUSED | ABSENT
"""S3's codes for a write under `If-Match` whose object is another one by now, or gone: then AWS answers 404."""
UNFINISHED_SECONDS = 10.0
"""For this time, an object is waited for that another process is writing."""
_OF_PART: tuple[Literal["ETag"], Literal["ChecksumSHA256"]] = ("ETag", "ChecksumSHA256")
PARTIAL = ".partial"
_CHUNK = 1 << 20
_UPLOADS_AT_ONCE = 8

T = TypeVar("T")


class UploadError(Exception):
    """S3 does not hold the expected object. The message names the object, what was expected and what came back."""


class OccupiedError(UploadError):
    """There is an object already, and it holds other bytes."""


@dataclass(frozen=True)
class Stored:
    """An object as S3 has it.

    Attributes:
        sha256: of the bytes, hex; None when S3 does not know (parts, or an object put by someone else).
        etag: as S3 gives it, with its quotes.
        version_id: None in a bucket without versions.
    """

    location: S3Location
    sha256: str | None
    bytes: int
    etag: str
    version_id: str | None


def put_file(client: S3Client, path: Path, sha256: str, to: S3Location, *, once: bool = False, **extra: Any) -> Stored:
    """Put a file.

    Args:
        sha256: of its bytes, hex, computed when it was written; the bytes that are put must still have it.
        to: where to.
        once: only if nothing is there; if the same bytes are there, the file counts as put.
        extra: more arguments of PutObject or CreateMultipartUpload (`ContentType`, lock, …).

    Raises:
        OccupiedError: `once`, and other bytes are there.
        UploadError: the server received, or the file now holds, other bytes.
        botocore.exceptions.BotoCoreError, ClientError: after botocore's retries.
    """
    size = path.stat().st_size
    if size > SINGLE_PUT_BYTES:
        return _put(client, path, sha256, size, to, once=once, extra=extra)
    with path.open("rb") as body:
        return _put(client, body, sha256, size, to, once=once, extra=extra)


def put_bytes(client: S3Client, data: bytes, to: S3Location, *, once: bool = False, **extra: Any) -> Stored:
    """Put bytes from memory; otherwise as `put_file`."""
    return _put(client, data, hashlib.sha256(data).hexdigest(), len(data), to, once=once, extra=extra)


def _put(
    client: S3Client,
    body: bytes | BinaryIO | Path,
    sha256: str,
    size: int,
    to: S3Location,
    *,
    once: bool,
    extra: dict[str, Any],
) -> Stored:
    """Put a body in one request, or a file, given by its path, in parts."""
    extra = {"Metadata": {"sha256": sha256}, **extra}
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
    # The condition of an upload in parts belongs to the request that completes it.
    condition |= {name: extra.pop(name) for name in ("IfMatch", "IfNoneMatch") if name in extra}
    expected = _base64(sha256)
    try:
        if isinstance(body, Path):
            answer, expected = _put_parts(client, body, sha256, to, condition, extra)
        else:
            answer = client.put_object(
                Bucket=to.bucket,
                Key=to.key,
                Body=body,
                ChecksumAlgorithm="SHA256",  # a locked object also needs the name of the algorithm
                ChecksumSHA256=expected,
                **condition,
                **extra,
            )
    except ClientError as error:
        if once and error_code(error) in REFUSED:
            return _same_or_occupied(client, to, sha256)
        raise _explained(error, to) from error
    _compare(client, to, expected, answer.get("ChecksumSHA256"), answer.get("VersionId"))
    return Stored(to, sha256, size, answer["ETag"], answer.get("VersionId"))


def copy_object(client: S3Client, source: Stored, to: S3Location, *, once: bool = False, **extra: Any) -> Stored:
    """Copy the version that `source` names within S3, and check that the copy has the same bytes.

    Args:
        to: where to.
        once: only if nothing is there; if the same bytes are there, the object counts as copied.
        extra: more arguments of CopyObject or CreateMultipartUpload (`ContentType`, …).

    Raises:
        UploadError: the copy has other bytes than the source.
    """
    place = {"Bucket": source.location.bucket, "Key": source.location.key}
    if source.version_id is not None:
        place["VersionId"] = source.version_id
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
    version: str | None = None
    extra = {"Metadata": {"sha256": source.sha256 or ""}, **extra}
    try:
        if source.bytes > SINGLE_COPY_BYTES:
            version = _copy_parts(client, place, source.bytes, to, condition, extra).get("VersionId")
        else:
            answer = client.copy_object(
                Bucket=to.bucket,
                Key=to.key,
                CopySource=place,  # type: ignore[arg-type]
                ChecksumAlgorithm="SHA256",
                MetadataDirective="REPLACE",
                **condition,
                **extra,
            )
            version, copied = answer.get("VersionId"), answer["CopyObjectResult"]
            # S3 states the checksum of the copy; not every compatible store does.
            if source.sha256 and copied.get("ChecksumSHA256") == _base64(source.sha256):
                return Stored(to, source.sha256, source.bytes, copied["ETag"], version)
        # Name the copied version: another home may have put another one there since.
        copy = head(client, to, version)
    except ClientError as error:
        if not once or error_code(error) not in REFUSED:
            raise
        copy = written_by_another(client, to)
    if copy is None or copy.bytes != source.bytes or (source.sha256 and digest(client, copy) != source.sha256):
        raise UploadError(f"{to} does not hold the same bytes as {source.location}")
    return Stored(to, source.sha256, source.bytes, copy.etag, version or copy.version_id)


def error_code(error: ClientError) -> str:
    """S3's code of an error; empty if there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))


class CutListingError(BotoCoreError):
    """An answer that is no listing, or a listing without its last page."""

    fmt = "{operation} of s3://{bucket}: the answer is no whole listing"


def pages_of(client: S3Client, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Every page of `list_objects_v2` or `list_object_versions`.

    botocore takes an empty answer, or a page of HTML, for an empty listing. It also stops after a page that is not the
    last and names no next page. S3 states in every page whether it is the last.

    Raises:
        CutListingError: an answer is no listing, or the last page is missing.
        BotoCoreError, ClientError: the request failed.
    """
    page: dict[str, Any] = {}
    for page in client.get_paginator(operation).paginate(**arguments):  # type: ignore[call-overload]
        if "IsTruncated" not in page:
            break
        yield page
    if page.get("IsTruncated") is not False:
        raise CutListingError(operation=operation, bucket=arguments["Bucket"])


def listed(client: S3Client, place: S3Location, prefix: str = "") -> Iterator[tuple[str, ObjectTypeDef]]:
    """Every object below `place` whose path there begins with `prefix`: the path, and S3's entry in the listing."""
    root = place.folder
    for page in pages_of(client, "list_objects_v2", Bucket=place.bucket, Prefix=root + prefix):
        for found in page.get("Contents", []):
            yield found["Key"].removeprefix(root), found


def folders_below(client: S3Client, bucket: str, prefix: str) -> list[str]:
    """The folders right below `prefix`, as whole prefixes."""
    pages = pages_of(client, "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/")
    return [child["Prefix"] for page in pages for child in page.get("CommonPrefixes", [])]


def get_object(client: S3Client, at: S3Location) -> GetObjectOutputTypeDef | None:
    """S3's answer about an object, with its body; None if there is no object."""
    try:
        return client.get_object(Bucket=at.bucket, Key=at.key)
    except ClientError as error:
        if error_code(error) in ABSENT:
            return None
        raise


def read_up_to(body: StreamingBody | IO[bytes], size: int) -> bytes:
    """The first `size` bytes of a body, or all of a shorter one.

    botocore compares length and checksum only in a read that meets the end. With one bounded read, a body that broke
    off would pass for a whole one.
    """
    data = bytearray()
    while len(data) < size and (chunk := body.read(size - len(data))):
        data += chunk
    return bytes(data)


def fetch(client: S3Client, at: S3Location, to: Path) -> None:
    """Copy an object to a file, which is whole when it has its name.

    A killed process leaves a file with the suffix `PARTIAL`.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f"{to.name}.{uuid4().hex}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            shutil.copyfileobj(client.get_object(Bucket=at.bucket, Key=at.key)["Body"], file, _CHUNK)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)


def head(client: S3Client, at: S3Location, version_id: str | None = None) -> Stored | None:
    """The object at a key, its newest version unless another one is named; None if there is none."""
    version: dict[str, Any] = {"VersionId": version_id} if version_id else {}
    try:
        answer = client.head_object(Bucket=at.bucket, Key=at.key, ChecksumMode="ENABLED", **version)
    except ClientError as error:
        if error_code(error) in ABSENT:
            return None
        raise
    checksum = answer.get("ChecksumSHA256", "")
    sha256 = None if not checksum or "-" in checksum else base64.b64decode(checksum).hex()
    return Stored(at, sha256, answer["ContentLength"], answer["ETag"], answer.get("VersionId"))


def digest(client: S3Client, stored: Stored) -> str:
    """The SHA-256 of an object's bytes, hex: the server's, or computed from the bytes if the server has none."""
    if stored.sha256 is not None:
        return stored.sha256
    version = {"VersionId": stored.version_id} if stored.version_id else {}
    found = hashlib.sha256()
    body = client.get_object(Bucket=stored.location.bucket, Key=stored.location.key, **version)["Body"]  # type: ignore[arg-type]
    for chunk in body.iter_chunks(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


class Uploads:
    """Uploads that run while the next file is written; a context manager that waits for all of them."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(_UPLOADS_AT_ONCE, thread_name_prefix="upload")
        self._pending: list[Future[Any]] = []

    def put(self, path: Path, sha256: str, to: S3Location, *, once: bool = False, **extra: Any) -> Future[Stored]:
        """`put_file`, in the background."""
        return self.submit(put_file, self._client, path, sha256, to, once=once, **extra)

    def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        """Any other call that belongs to these uploads, in the background."""
        future = self._pool.submit(function, *args, **kwargs)
        self._pending.append(future)
        return future

    def wait(self) -> None:
        """Return when all uploads so far are in S3; raises the exception of the first that failed."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self.wait()


def _put_parts(
    client: S3Client, path: Path, sha256: str, to: S3Location, condition: dict[str, Any], extra: dict[str, Any]
) -> tuple[Mapping[str, Any], str]:
    whole, of_parts = hashlib.sha256(), hashlib.sha256()
    parts: list[Any] = []
    with _multipart_upload(client, to, extra) as upload:
        with path.open("rb") as file:
            while chunk := file.read(PART_BYTES):
                whole.update(chunk)
                checksum = hashlib.sha256(chunk)
                of_parts.update(checksum.digest())
                encoded = _base64(checksum.hexdigest())
                number = len(parts) + 1
                part = client.upload_part(**upload, PartNumber=number, Body=chunk, ChecksumSHA256=encoded)
                parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": encoded})
        if whole.hexdigest() != sha256:
            raise UploadError(f"{path} changed since it was written: its SHA-256 is not {sha256}")
        answer = client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)
    return answer, f"{_base64(of_parts.hexdigest())}-{len(parts)}"


def _copy_parts(
    client: S3Client,
    source: Any,
    size: int,
    to: S3Location,
    condition: dict[str, Any],
    extra: dict[str, Any],
) -> Mapping[str, Any]:
    parts: list[Any] = []
    with _multipart_upload(client, to, extra) as upload:
        for number, first in enumerate(range(0, size, COPIED_PART_BYTES), 1):
            last = min(first + COPIED_PART_BYTES, size) - 1
            part = client.upload_part_copy(
                **upload, PartNumber=number, CopySource=source, CopySourceRange=f"bytes={first}-{last}"
            )["CopyPartResult"]
            # S3 demands the checksums that it stated; not every compatible store states them.
            parts.append({"PartNumber": number} | {name: part[name] for name in _OF_PART if name in part})
        return client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)


@contextmanager
def _multipart_upload(client: S3Client, to: S3Location, extra: dict[str, Any]) -> Iterator[Any]:
    """Begin an upload in parts. Yields the arguments of its requests; an error removes its parts."""
    place: dict[str, Any] = {"Bucket": to.bucket, "Key": to.key}
    begun = client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE", **extra)
    upload = {**place, "UploadId": begun["UploadId"]}
    try:
        yield upload
    except BaseException:
        # Its failure would hide the cause: that the object is there, for example.
        with suppress(BotoCoreError, ClientError):
            client.abort_multipart_upload(**upload)
        raise


def _compare(client: S3Client, to: S3Location, expected: str, answered: str | None, version: str | None) -> None:
    if answered is None:
        answered = client.head_object(Bucket=to.bucket, Key=to.key, ChecksumMode="ENABLED").get("ChecksumSHA256")
    stored = None if answered or "-" in expected else head(client, to)
    if stored is not None:
        answered = _base64(digest(client, stored))
    if answered != expected:
        raise UploadError(
            f"{to} (version {version}): S3 holds bytes with SHA-256 {answered} (base64), but {expected} was put"
        )


def written_by_another(client: S3Client, at: S3Location) -> Stored | None:
    """The object that refused a write. S3 also refuses one (409) while another write is not finished."""
    # The import takes longer than some commands.
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential

    waiting = Retrying(
        retry=retry_if_result(lambda found: found is None),
        wait=wait_exponential(0.1, max=2),
        stop=stop_after_delay(UNFINISHED_SECONDS),
        retry_error_callback=lambda _: None,
    )
    return waiting(head, client, at)


def _same_or_occupied(client: S3Client, to: S3Location, sha256: str) -> Stored:
    there = written_by_another(client, to)
    if there is None:
        raise UploadError(f"{to}: S3 refused the write, and no other one put an object there; run again")
    if digest(client, there) != sha256:
        raise OccupiedError(f"{to}: there is an object with other bytes; it was not touched")
    return Stored(to, sha256, there.bytes, there.etag, there.version_id)


def _explained(error: ClientError, to: S3Location) -> Exception:
    if error_code(error) in {"BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest"}:
        return UploadError(f"{to}: S3 refused the upload; the bytes it received do not have the SHA-256 that was sent")
    return error


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
