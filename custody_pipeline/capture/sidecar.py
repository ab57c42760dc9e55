"""`{recordingId}.custody.json`: one small document that names the audio's hash and the metadata's hash together.

Belongs here: its form, the pre-signed PUT and its use. Does not: finding audio (`links`).

The PUT is pre-signed (Signature Version 4): the signature covers Content-Type, Content-Length, the body's SHA-256
(`x-amz-checksum-sha256`) and `If-None-Match: *`, so the URL can write exactly these bytes, once, and for a short time.
The URL works without credentials. It is therefore kept out of logs, exceptions and representations.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

from custody_pipeline.io.http import Session
from custody_pipeline.io.s3 import S3Location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

CONTENT_TYPE = "application/json"
# botocore pre-signs with version 2 if a region still allows it; version 2 covers neither length nor conditions.
SIGNATURE = "s3v4"
TIMEOUT_SECONDS = (5, 30)
EXPIRY_SECONDS = 60
_MUST_BE_SIGNED = frozenset({"content-length", "content-type", "host", "if-none-match", "x-amz-checksum-sha256"})

SidecarOutcome = Literal["written", "already_there"]


class SidecarError(Exception):
    """The sidecar was not written. The message has its place and the status, never the URL."""

    def __init__(self, where: S3Location, status: int | None) -> None:
        reason = f"HTTP {status}" if status else "no answer"
        super().__init__(f"sidecar {where} was not written: {reason}; check s3:PutObject, CUSTODY_S3_REGION, the clock")
        self.status = status


@dataclass(frozen=True)
class PresignedPut:
    """A permission to write one content at `where`, once and soon. `headers` must be sent unchanged."""

    where: S3Location
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def presign_put(s3: S3Client, where: S3Location, content: bytes, *, encryption: Mapping[str, str] = {}) -> PresignedPut:
    """Pre-sign the PUT of `content` at `where`; needs no request.

    Args:
        s3: a client that signs with version 4 (`SIGNATURE`) and asks for `encryption` itself.
        encryption: headers of server-side encryption (`encryption_headers`), which the URL covers.

    Raises:
        ValueError: `s3` does not sign all that must be signed; make it with `SIGNATURE`.
    """
    checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
    url = s3.generate_presigned_url(
        "put_object",
        Params={
            "Bucket": where.bucket,
            "Key": where.key,
            "ContentType": CONTENT_TYPE,
            "ContentLength": len(content),
            "ChecksumSHA256": checksum,
            "IfNoneMatch": "*",
        },
        ExpiresIn=EXPIRY_SECONDS,
    )
    signed = parse_qs(urlsplit(url).query).get("X-Amz-SignedHeaders", [""])[0].split(";")
    if not _MUST_BE_SIGNED.issubset(signed):
        raise ValueError("the client does not sign with Signature Version 4")
    headers = {
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(content)),
        "x-amz-checksum-sha256": checksum,
        "If-None-Match": "*",
        **encryption,
    }
    return PresignedPut(where, url, headers)


def put_presigned(permission: PresignedPut, content: bytes) -> SidecarOutcome:
    """Use `permission`.

    Raises:
        SidecarError: refused (other bytes, headers or time than signed), or no answer.
    """
    try:
        with Session() as session:
            answer = session.put(
                permission.url, data=content, headers=permission.headers, timeout=TIMEOUT_SECONDS, stream=True
            )
    # The cause holds the URL. OSError: of requests, or a CA bundle that is missing.
    except OSError:
        raise SidecarError(permission.where, None) from None
    if answer.status_code == 412:
        return "already_there"
    if answer.status_code != 200:
        raise SidecarError(permission.where, answer.status_code)
    return "written"
