"""AWS KMS: one way to a client, with time limits, and errors that say what to do.

Belongs here: reaching KMS, and what its errors mean. Does not: signing (publish/kms.py), wrapping keys (night_keys.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.io.objects import error_code
from custody_pipeline.io.s3 import new_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_kms import KMSClient

# KMS answers within milliseconds; botocore waits longer after each answer that asks for fewer requests.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 6}, connect_timeout=5, read_timeout=10, max_pool_connections=2
)

_NO_SUCH_KEY = "There is no such key: check its ARN, and that the credentials are those of its account."
_NOT_USABLE = "The key is disabled, or will be deleted: enable it, or cancel its deletion."
_WRONG_KIND = "Make a key of {kind}."
_ALTERED = "The stored data are not the data that this key wrapped: restore them, or find out who changed them."
_BUSY = "KMS gets too many requests, or fails. Run the night again."
_UNKNOWN = "Check the AWS credentials, which are unknown or have expired, and this machine's clock."
_ADVICE = {
    "AccessDeniedException": "Allow {action} on this key to these credentials, in IAM and in the key's policy.",
    "NotFoundException": _NO_SUCH_KEY,
    "InvalidArnException": _NO_SUCH_KEY,
    "DisabledException": _NOT_USABLE,
    "KMSInvalidStateException": _NOT_USABLE,
    "KeyUnavailableException": _NOT_USABLE,
    "InvalidKeyUsageException": _WRONG_KIND,
    "UnsupportedOperationException": _WRONG_KIND,
    "ValidationException": _WRONG_KIND,
    "InvalidCiphertextException": _ALTERED,
    "IncorrectKeyException": f"{_ALTERED} An alias may name another key by now: let it name the earlier one again.",
    "ThrottlingException": _BUSY,
    "KMSInternalException": _BUSY,
    "DependencyTimeoutException": _BUSY,
    "ExpiredTokenException": _UNKNOWN,
    "InvalidSignatureException": _UNKNOWN,
    "UnrecognizedClientException": _UNKNOWN,
}


def kms_client(raising: Callable[[str], Exception], key: str, endpoint_url: str | None = None) -> KMSClient:
    """A client in the region that the key's ARN names.

    Raises:
        The exception that `raising` makes: neither the key's name nor the AWS chain has a region.
    """
    parts = key.split(":")
    region = parts[3] if parts[0] == "arn" and len(parts) > 3 else None
    try:
        return new_session().client("kms", region_name=region, endpoint_url=endpoint_url, config=_CONFIG)
    except BotoCoreError as error:
        raise raising(f"KMS key {key}: {error} Name the key by its ARN.") from error


@contextmanager
def explained(key: str, action: str, raising: Callable[[str], Exception], kind: str) -> Iterator[None]:
    """Replace an error of AWS by an exception of `raising` that says what to do.

    Args:
        key: ARN, or another name of the key.
        action: such as `kms:Sign`.
    """
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        advice = _ADVICE.get(code, "See the error's name in AWS's documentation of KMS.")
        advice = advice.format(action=action, kind=kind)
        raise raising(f"KMS key {key}: {action} was refused ({code}). {advice}") from error
    except BotoCoreError as error:
        raise raising(
            f"KMS key {key}: {action} got no answer ({type(error).__name__}). Check the network, the AWS "
            "credentials and AWS_ENDPOINT_URL_KMS."
        ) from error
