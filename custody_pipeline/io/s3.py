"""S3: one way to a client, for AWS and for any other endpoint.

Belongs here: clients made from the settings and the standard AWS chain. Does not: keys, layouts, retries of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store

    from custody_pipeline.settings import Settings


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
        parts = urlsplit(url, allow_fragments=False)
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError(f"not an s3:// URL: {url!r}")
        # A '?' is an ordinary character in a key.
        key = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.netloc, key.rstrip("/"))

    def __truediv__(self, name: str) -> S3Location:
        return S3Location(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"


def s3_client(settings: Settings, *, max_connections: int = 32, **options: Any) -> S3Client:
    """A boto3 client: adaptive retries (SlowDown, timeouts), checksums computed and checked by botocore.

    Every write asks for the server-side encryption of the settings. `options` go into botocore's `Config`.
    """
    # boto3 takes longer to import than most commands to answer.
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "adaptive", "total_max_attempts": 8},
        max_pool_connections=max_connections,
        connect_timeout=10,
        read_timeout=60,
        s3={"addressing_style": "path"} if settings.s3_endpoint_url else {},
        **options,
    )
    # A session of its own: boto3's default one keeps the first credentials that it ever saw.
    client = boto3.Session().client(
        "s3", endpoint_url=settings.s3_endpoint_url, region_name=settings.s3_region, config=config
    )

    headers = encryption_headers(settings)

    def encrypt(request: Any, **_: Any) -> None:
        for name, value in headers.items():
            del request.headers[name]  # a request that is signed again would have the header twice
            request.headers[name] = value

    for operation in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        client.meta.events.register(f"before-sign.s3.{operation}", encrypt)
    return client


def encryption_headers(settings: Settings) -> dict[str, str]:
    """What a write to S3 says about server-side encryption; nothing where the settings leave that to the bucket."""
    wanted = {
        "x-amz-server-side-encryption": settings.sse,
        "x-amz-server-side-encryption-aws-kms-key-id": settings.sse_kms_key_id,
    }
    return {name: value for name, value in wanted.items() if value}


def s3_store(settings: Settings, bucket: str) -> S3Store:
    """An obstore store for streaming many objects at once; credentials are boto3's."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    encryption: Any = {"server_side_encryption": settings.sse, "sse_kms_key_id": settings.sse_kms_key_id}
    session = boto3.Session()
    endpoint = settings.s3_endpoint_url or s3_client(settings).meta.endpoint_url
    return S3Store(
        bucket,
        endpoint=endpoint,
        region=settings.s3_region or session.region_name or "us-east-1",
        credential_provider=Boto3CredentialProvider(session),
        virtual_hosted_style_request=False,
        client_options={"allow_http": endpoint.startswith("http://"), "timeout": "60s", "connect_timeout": "10s"},
        retry_config={"max_retries": 8},
        **{name: value for name, value in encryption.items() if value},
    )
