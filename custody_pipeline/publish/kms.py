"""A signing key in AWS KMS.

Belongs here: signing with KMS. Does not: what is signed (evidence/log/note.py), reaching KMS (io/key_service.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.evidence.log.note import ED25519, NoteError, Verifier, check_name
from custody_pipeline.io import key_service

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_KIND = "spec ECC_NIST_EDWARDS25519 and usage SIGN_VERIFY"

kms_client = partial(key_service.kms_client, SigningKeyError)
_explained = partial(key_service.explained, raising=SigningKeyError, kind=_KIND)


class KmsSigner:
    """Signs with an AWS KMS key of spec ECC_NIST_EDWARDS25519; the private key never leaves KMS.

    KMS signs messages of at most 4,096 bytes. Everything signed here is a note of a few hundred bytes.

    Args:
        client: see `kms_client`; permissions kms:Sign and kms:GetPublicKey.
        key: ARN, or another name of the key.
        name: the key's, and the log's origin.

    Attributes:
        verifier: the public half.

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
        self.verifier = Verifier(check_name(name), ED25519, public.public_bytes_raw())

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
            self.verifier.check(message, signature)
        except NoteError as error:
            # A night sealed with this signature could never be verified.
            raise SigningKeyError(f"{self._key}: KMS gave a signature that its public key does not verify") from error
        return signature
