"""Whether a night could be published, asked before anything is collected for it.

Belongs here: one question to the publish bucket that changes nothing. Does not: the whole examination
(operations/doctor.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.seal import SEALING
from custody_pipeline.io.objects import error_code
from custody_pipeline.io.s3 import S3Location, s3_client

if TYPE_CHECKING:
    from custody_pipeline.settings import Settings

_ABSENT = {"NoSuchBucket", "404"}
_DENIED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"}
# No object has this ETag: S3 looks at the permission first, and then refuses the condition.
_NO_ETAG = '"00000000000000000000000000000000"'


class PublishPlaceError(Exception):
    """The publish bucket is not there, or may not be listed or written. The message says what to do."""


def require_place(settings: Settings) -> None:
    """Ask S3 whether the publish bucket is there and may be written.

    Raises:
        SettingsError: no place to publish to.
        PublishPlaceError: it is not there, or may not be listed or written.
        botocore.exceptions.BotoCoreError: S3 does not answer.
    """
    place = S3Location.parse(settings.require("publish_url"))
    client, probe = s3_client(settings), place / f"{SEALING}probe"
    try:
        client.list_objects_v2(Bucket=place.bucket, Prefix=f"{place.key}/" if place.key else "", MaxKeys=1)
        client.put_object(Bucket=probe.bucket, Key=probe.key, Body=b"", IfMatch=_NO_ETAG)
    except ClientError as error:
        code, asked = error_code(error), error.operation_name
        if code in _ABSENT and (code == "NoSuchBucket" or asked != "PutObject"):
            advice = "create the bucket, or correct CUSTODY_PUBLISH_URL"
        elif code in _DENIED:
            advice = "allow what docs/policies/publisher.json allows, or correct CUSTODY_PUBLISH_URL"
        else:
            return  # the condition was refused, as it should be; whatever else it is, publishing will tell
        raise PublishPlaceError(
            f"nothing was collected, because {place} cannot take the night ({asked}: {code}): {advice}"
        ) from error
    client.delete_object(Bucket=probe.bucket, Key=probe.key)  # an S3 that knows no conditions
