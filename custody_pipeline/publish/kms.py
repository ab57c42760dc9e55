"""A signing key in AWS KMS: two calls, with time limits, and errors that say what to do.

Belongs here: signing with KMS, and what its errors mean. Does not: what is signed (evidence/log/note.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.evidence.log.note import ED25519, NoteError, Verifier, check_name
from custody_pipeline.io.objects import error_code
from custody_pipeline.io.s3 import new_session

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

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


def kms_client(key: str, endpoint_url: str | None = None) -> KMSClient:
    """A client in the region that the key's ARN names.

    Raises:
        SigningKeyError: there is no region: neither in the key's name nor in the AWS chain.
    """
    parts = key.split(":")
    region = parts[3] if parts[0] == "arn" and len(parts) > 3 else None
    try:
        return new_session().client("kms", region_name=region, endpoint_url=endpoint_url, config=_CONFIG)
    except BotoCoreError as error:
        raise SigningKeyError(f"KMS key {key}: {error} Name the key by its ARN.") from error


class KmsSigner:
    """Signs with an AWS KMS key of spec ECC_NIST_EDWARDS25519; the private key never leaves KMS.

    KMS signs messages of at most 4,096 bytes. Everything signed here is a note of a few hundred.

    Args:
        client: see `kms_client`; permissions kms:Sign and kms:GetPublicKey.
        key: ARN, or another name of the key.
        name: the key's, and the log's origin.

    Raises:
        SigningKeyError: KMS does not hand out the public key, or the key is of another spec.
    """

    def __init__(self, client: KMSClient, key: str, name: str) -> None:
        self._client, self._key = client, key
        with _explained(key, "kms:GetPublicKey"):
            der = client.get_public_key(KeyId=key)["PublicKey"]
        public = load_der_public_key(der)
        if not isinstance(public, Ed25519PublicKey):
            raise SigningKeyError("the KMS key is not of spec ECC_NIST_EDWARDS25519")
        self._verifier = Verifier(check_name(name), ED25519, public.public_bytes_raw())

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return self._verifier

    def sign(self, message: bytes) -> bytes:
        """64 bytes.

        Raises:
            SigningKeyError: KMS did not sign, after retries, or gave no signature by its public key.
        """
        with _explained(self._key, "kms:Sign"):
            answer = self._client.sign(
                KeyId=self._key, Message=message, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512"
            )
        signature = bytes(answer["Signature"])
        try:
            self._verifier.check(message, signature)
        except NoteError as error:
            # Sealed with it, the night could never be verified.
            raise SigningKeyError(f"{self._key}: KMS gave a signature that its public key does not verify") from error
        return signature


@contextmanager
def _explained(key: str, action: str) -> Iterator[None]:
    """What AWS raises, as a `SigningKeyError` that says what to do."""
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        advice = _ADVICE.get(code, "See the error's name in AWS's documentation of KMS.").format(action=action)
        raise SigningKeyError(f"KMS key {key}: {action} was refused ({code}). {advice}") from error
    except BotoCoreError as error:
        raise SigningKeyError(
            f"KMS key {key}: {action} got no answer ({type(error).__name__}). Check the network, the AWS "
            "credentials and AWS_ENDPOINT_URL_KMS."
        ) from error
