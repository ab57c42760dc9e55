"""RFC 3161 timestamps: the request, and the check of the response.

Belongs here: building a request and checking a response. Does not: HTTP; the caller posts the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)


class TimestampError(ValueError):
    """A response is no valid timestamp of the given bytes."""


CONTENT_TYPE = "application/timestamp-query"
"""Of the request, for an HTTP POST (RFC 3161, 3.4)."""


def timestamp_request(data: bytes) -> bytes:
    """DER of a request to timestamp SHA-256(data), with a nonce, asking for the authority's certificate."""
    builder = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256)
    return builder.cert_request(cert_request=True).build().as_bytes()


def verify_timestamp(response: bytes, data: bytes, roots: Sequence[bytes]) -> datetime:
    """Check a response against the bytes it is for.

    Args:
        response: DER of a TimeStampResp.
        roots: PEM certificates of the authorities that are trusted; one file may hold several.

    Returns:
        The time the authority vouches for, UTC.

    Raises:
        TimestampError: malformed, refused, for other bytes, or not by a trusted authority.
    """
    try:
        certificates = [certificate for pem in roots for certificate in x509.load_pem_x509_certificates(pem)]
        parsed = decode_timestamp_response(response)
        builder = VerifierBuilder()
        for certificate in dict.fromkeys(certificates):
            builder = builder.add_root_certificate(certificate)
        builder.build().verify_message(parsed, data)
    except (VerificationError, ValueError) as error:
        raise TimestampError(str(error)) from error
    return parsed.tst_info.gen_time


def stated_time(response: bytes) -> datetime:
    """The time that a response states (UTC). The signature is not checked.

    Raises:
        TimestampError: the response is malformed.
    """
    try:
        return decode_timestamp_response(response).tst_info.gen_time
    except ValueError as error:
        raise TimestampError(str(error)) from error
