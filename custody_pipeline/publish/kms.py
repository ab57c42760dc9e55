"""A signing key in AWS KMS.

Belongs here: signing with KMS. Does not: what is signed (evidence/log/note.py), reaching KMS (io/key_service.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.evidence.log.note import ED25519, NoteError, Verifier, check_name
from custody_pipeline.io import key_service

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_kms import KMSClient

_KIND = "spec ECC_NIST_EDWARDS25519 and usage SIGN_VERIFY"


def kms_client(key: str, endpoint_url: str | None = None) -> KMSClient:
    """A client in the region that the key's ARN names.

    Raises:
        SigningKeyError: there is no region: neither in the key's name nor in the AWS chain.
    """
    return key_service.kms_client(key, SigningKeyError, endpoint_url)


class KmsSigner:
    """Signs with an AWS KMS key of spec ECC_NIST_EDWARDS25519; the private key never leaves KMS.

    KMS signs messages of at most 4,096 bytes. Everything signed here is a note of a few hundred bytes.

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
            # A night sealed with this signature could never be verified.
            raise SigningKeyError(f"{self._key}: KMS gave a signature that its public key does not verify") from error
        return signature


def _explained(key: str, action: str) -> AbstractContextManager[None]:
    """Turn an AWS exception into a `SigningKeyError` that says what to do."""
    return key_service.explained(key, action, SigningKeyError, _KIND)
