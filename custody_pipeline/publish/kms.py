"""AWS KMS, as a signing key needs it: two calls, with time limits, and errors that say what to do.

Belongs here: the client and what its errors mean. Does not: what is signed (evidence/keys.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.evidence.log.keys import SigningKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# KMS answers within milliseconds; botocore waits longer each time it was told to slow down.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 6}, connect_timeout=5, read_timeout=10, max_pool_connections=2
)

_NO_SUCH_KEY = "There is no such key: check its ARN, and that the credentials are those of its account."
_NOT_USABLE = "The key is disabled, or will be deleted: enable it, or cancel its deletion."
_WRONG_KIND = "Make a key of spec ECC_NIST_EDWARDS25519 and usage SIGN_VERIFY."
_BUSY = "KMS refuses so many requests, or fails. Run the night again."
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
    "ThrottlingException": _BUSY,
    "KMSInternalException": _BUSY,
    "DependencyTimeoutException": _BUSY,
}


class Kms:
    """A `KmsClient` whose errors are `SigningKeyError`.

    Args:
        key: ARN, or another name of the key; an ARN says the region.
        endpoint_url: another endpoint than AWS's.

    Raises:
        SigningKeyError: there is no region: neither in the key's name nor in the AWS chain.
    """

    def __init__(self, key: str, endpoint_url: str | None = None) -> None:
        self._key = key
        parts = key.split(":")
        region = parts[3] if parts[0] == "arn" and len(parts) > 3 else None
        try:
            # A session of its own: boto3's default one keeps the first credentials that it ever saw.
            self._client = boto3.Session().client("kms", region_name=region, endpoint_url=endpoint_url, config=_CONFIG)
        except BotoCoreError as error:
            raise SigningKeyError(f"KMS key {key}: {error} Name the key by its ARN.") from error

    def sign(self, **request: Any) -> Mapping[str, Any]:
        """Sign.

        Raises:
            SigningKeyError: KMS did not sign, after retries.
        """
        return self._call("kms:Sign", self._client.sign, request)

    def get_public_key(self, **request: Any) -> Mapping[str, Any]:
        """GetPublicKey.

        Raises:
            SigningKeyError: KMS does not hand it out.
        """
        return self._call("kms:GetPublicKey", self._client.get_public_key, request)

    def _call(self, action: str, call: Callable[..., Any], request: dict[str, Any]) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = call(**request)
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            advice = _ADVICE.get(code, "See the error's name in AWS's documentation of KMS.").format(action=action)
            raise SigningKeyError(f"KMS key {self._key}: {action} was refused ({code}). {advice}") from error
        except BotoCoreError as error:
            raise SigningKeyError(
                f"KMS key {self._key}: {action} got no answer ({type(error).__name__}). Check the network, the AWS "
                "credentials and AWS_ENDPOINT_URL_KMS."
            ) from error
        return answer
