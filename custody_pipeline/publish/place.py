"""Whether a night can be published, checked before anything is collected.

Belongs here: a request to each bucket that changes nothing. Does not: the whole examination (operations/doctor.py).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.seal import SEALING
from custody_pipeline.io.objects import OTHER_TIME, UNKNOWN_IDENTITY, error_code
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

_ABSENT = {"NoSuchBucket", "404"}
_UNKNOWN = {"NotImplemented", "501"}
_DENIED = {"AccessDenied", "403", "Forbidden"}
# No object has this ETag: S3 checks the permission first, and then refuses the condition.
_NO_ETAG = '"00000000000000000000000000000000"'


class PublishPlaceError(Exception):
    """The published place is missing, may not be listed or written, or is not fit for workers."""


def require_place(settings: Settings) -> None:
    """Ask S3 whether the publish bucket is there and may be written; with several workers, also the place of nights.

    Raises:
        SettingsError: no place to publish to.
        PublishPlaceError: a place is missing, may not be listed or written, or its S3 refuses conditional writes. An S3
            that ignores their conditions is refused only with several workers.
        botocore.exceptions.BotoCoreError: S3 does not answer.
    """
    places = {"CUSTODY_PUBLISH_URL": settings.require("publish_url")}
    if settings.nights_url is not None:
        places["CUSTODY_NIGHTS_URL"] = settings.nights_url
    client = s3_client(settings)
    for setting, url in places.items():
        place = S3Location.parse(url)
        if _honours_conditions(client, place, setting):
            continue
        if settings.nights_url is not None:
            raise PublishPlaceError(
                f"nothing was collected, because S3 accepted a write to {place} whose condition did not hold: workers "
                "could overwrite each other. Use an S3 that honours If-Match and If-None-Match"
            )
        logger.warning("S3 ignores the conditions of writes to %s: let no second home publish there.", place)


def _honours_conditions(client: S3Client, place: S3Location, setting: str) -> bool:
    probe = place / f"{SEALING}probe"
    try:
        client.list_objects_v2(Bucket=place.bucket, Prefix=place.folder, MaxKeys=1)
        client.put_object(Bucket=probe.bucket, Key=probe.key, Body=b"", IfMatch=_NO_ETAG)
    except ClientError as error:
        code, asked = error_code(error), error.operation_name
        if code in _ABSENT and (code == "NoSuchBucket" or asked != "PutObject"):
            advice = f"create the bucket, or correct {setting}"
        elif code in _DENIED:
            advice = f"allow what docs/policies/publisher.json allows, or correct {setting}"
        elif code in UNKNOWN_IDENTITY:
            advice = "check the AWS credentials: this S3 does not know them, or they have expired"
        elif code in OTHER_TIME:
            advice = "synchronise this machine's clock"
        elif code in _UNKNOWN:
            advice = "use an S3 that honours If-Match and If-None-Match"
        else:
            return True  # the condition was refused, as it should be; publishing will report any other error
        raise PublishPlaceError(
            f"nothing was collected, because {place} cannot take the night ({asked}: {code}): {advice}"
        ) from error
    client.delete_object(Bucket=probe.bucket, Key=probe.key)
    return False
