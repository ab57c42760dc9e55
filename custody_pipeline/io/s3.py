"""S3: one way to a client, for AWS and for any other endpoint.

Belongs here: clients made from the settings and the standard AWS chain. Does not: keys, layouts, retries of our own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Credential, S3Store

    from custody_pipeline.settings import Settings


STALLED = timedelta(seconds=60)
"""A streamed read that gets nothing for this time is tried again from where it stopped."""
LONGEST_READ = timedelta(hours=2)
"""The time limit of a streamed read. obstore's own limits, 30 s and 3 min, fail a long recording on a slow line."""


@dataclass(frozen=True)
class S3Location:
    """A bucket and a key or prefix within it (no leading slash; the prefix has no trailing one)."""

    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, url: str) -> S3Location:
        """`s3://bucket/some/key` → its parts.

        Raises:
            ValueError: `url` is not an s3 URL.
        """
        # urlsplit drops tabs and line breaks, which are ordinary characters in a key, as '?' is.
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme.lower() != "s3" or not bucket:
            raise ValueError(f"not an s3:// URL: {url!r}")
        return cls(bucket, key.strip("/"))

    @property
    def folder(self) -> str:
        """The beginning of the keys of everything below."""
        return f"{self.key}/" if self.key else ""

    def __truediv__(self, name: str) -> S3Location:
        return S3Location(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"


def s3_client(settings: Settings, session: boto3.Session | None = None, **options: Any) -> S3Client:
    """A boto3 client: adaptive retries (SlowDown, timeouts), checksums computed and checked by botocore.

    Every write asks for the server-side encryption of the settings. `options` go into botocore's `Config`. Clients of
    one `session` share its credentials; default: a new session.
    """
    # The import takes longer than most commands.
    from botocore.config import Config

    config = Config(
        retries={"mode": "adaptive", "total_max_attempts": 8},
        max_pool_connections=32,
        connect_timeout=10,
        read_timeout=60,
        s3={"addressing_style": "path"} if settings.s3_endpoint_url else {},
        **options,
    )
    client = (session or new_session()).client(
        "s3", endpoint_url=settings.s3_endpoint_url, region_name=settings.s3_region, config=config
    )

    headers = encryption_headers(settings)

    def encrypt(request: Any, **_: Any) -> None:
        for name, value in headers.items():
            del request.headers[name]  # otherwise a request that is signed again has the header twice
            request.headers[name] = value

    for operation in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        client.meta.events.register(f"before-sign.s3.{operation}", encrypt)
    return client


def new_session() -> boto3.Session:
    """A new boto3 session: boto3's default session keeps the first credentials that it read.

    Sessions share the descriptions of the services. Reading these takes most of the time of a first client.
    """
    import boto3
    import botocore.session

    session = botocore.session.get_session()
    session.register_component("data_loader", _service_descriptions())
    return boto3.Session(botocore_session=session)


@cache
def _service_descriptions() -> Loader:
    import botocore.session

    loader: Loader = botocore.session.get_session().get_component("data_loader")
    return loader


def encryption_headers(settings: Settings) -> dict[str, str]:
    """The headers of a write about server-side encryption; none if the settings leave the encryption to the bucket."""
    wanted = {
        "x-amz-server-side-encryption": settings.sse,
        "x-amz-server-side-encryption-aws-kms-key-id": settings.sse_kms_key_id,
    }
    return {name: value for name, value in wanted.items() if value}


def bucket_region(client: S3Client, bucket: str) -> str | None:
    """The bucket's region as S3 states it, or None if it does not. A refusal states the region too.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: there is no such bucket, or it cannot be reached.
    """
    from botocore.exceptions import ClientError

    try:
        headers = client.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
        # Listing may nevertheless be allowed. A refusal of HEAD has no body: that of the listing names its cause.
        if error.response.get("Error", {}).get("Code") not in {"400", "403", "AccessDenied"}:
            raise
    return headers.get("x-amz-bucket-region")


def s3_store(settings: Settings, bucket: str) -> S3Store:
    """An obstore store for streaming many objects at once, in the bucket's own region; credentials are boto3's.

    boto3 follows S3 to the region of a bucket, obstore does not.

    Raises:
        botocore.exceptions.NoCredentialsError: the AWS chain has none.
    """
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    class Credentials(Boto3CredentialProvider):
        """Credentials of the AWS chain until they expire; obstore's own provider keeps them for half an hour."""

        def __call__(self) -> S3Credential:
            found = super().__call__()
            if isinstance(self.credentials, RefreshableCredentials):
                # botocore has the time of expiry nowhere else.
                found["expires_at"] = self.credentials._expiry_time  # type: ignore[attr-defined]
            return found

    session = new_session()
    if session.get_credentials() is None:
        raise NoCredentialsError
    client = s3_client(settings, session)
    encryption: Any = {"server_side_encryption": settings.sse, "sse_kms_key_id": settings.sse_kms_key_id}
    region = None
    with suppress(BotoCoreError, ClientError):  # each read reports the error
        region = bucket_region(client, bucket)
    region = region or client.meta.region_name
    if region != client.meta.region_name:
        client = s3_client(settings.model_copy(update={"s3_region": region}), session)
    endpoint = settings.s3_endpoint_url or client.meta.endpoint_url
    return S3Store(
        bucket,
        endpoint=endpoint,
        region=region,
        credential_provider=Credentials(session),
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "timeout": LONGEST_READ,
            "read_timeout": STALLED,
            "connect_timeout": "10s",
        },
        retry_config={"max_retries": 8, "retry_timeout": LONGEST_READ},
        **{name: value for name, value in encryption.items() if value},
    )
