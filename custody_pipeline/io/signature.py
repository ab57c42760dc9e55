"""The signature of a webhook call.

Belongs here: signing and checking. Does not: HTTP, and remembering calls (the durable queue knows event ids).

One header carries all of it:

    Custody-Signature: t=1793664000,k=k1,v1=5257a869…

- `t`: seconds since 1970 at the sender; `k`: id of the secret; `v1`: HMAC-SHA256 of `{t}.{k}.{body}`, the body exactly
  as sent, as 64 hexadecimal digits or as Base64 (ServiceNow's `generateMac` returns Base64).
- Two secrets may be active, so that a sender can be moved from one to the other without a gap.

The same by hand:

    t=$(date +%s); printf '%s.k1.%s' "$t" "$body" | openssl dgst -sha256 -hmac "$secret"

A signature is good for a window (default 300 s back, 30 s ahead). Within it the same call may come again — senders
retry — and changes nothing, because the queue stores each event id once. After it, the call is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

HEADER = "Custody-Signature"
_HEADER_FORM = re.compile(
    r"t=(?P<t>[0-9]{1,12}),k=(?P<k>[A-Za-z0-9_-]{1,32}),v1=(?P<v1>[0-9A-Fa-f]{64}|[A-Za-z0-9+/]{43}=)"
)
_NO_SUCH_KEY = b"\0" * 32


class SignatureError(Exception):
    """A call that no active secret signed, or whose time is outside the window.

    `code` is one of `signature_missing`, `signature_malformed`, `signature_wrong`, `timestamp_old`, `timestamp_future`.
    Only a caller whose signature is right gets one of the last two.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def sign(body: bytes, *, key_id: str, secret: bytes, timestamp: int) -> str:
    """The header's value for `body`; `timestamp` in seconds since 1970."""
    return f"t={timestamp},k={key_id},v1={_mac(secret, timestamp, key_id, body).hex()}"


@dataclass(frozen=True)
class Verifier:
    """Checks calls against the active secrets.

    Attributes:
        secrets: by key id.
        window_seconds: how old a signature may be.
        skew_seconds: how far ahead of our clock it may be.
    """

    secrets: Mapping[str, bytes] = field(repr=False)
    window_seconds: int = 300
    skew_seconds: int = 30

    def verify(self, header: str | None, body: bytes, *, now: float) -> str:
        """Returns the id of the key that signed `body`; `now` in seconds since 1970.

        Raises:
            SignatureError: with a code; takes the same path for an unknown key as for a wrong signature.
        """
        if not header:
            raise SignatureError("signature_missing")
        parts = _HEADER_FORM.fullmatch(header)
        if parts is None:
            raise SignatureError("signature_malformed")
        key_id, timestamp = parts["k"], int(parts["t"])
        secret = self.secrets.get(key_id, _NO_SUCH_KEY)
        right = hmac.compare_digest(_mac(secret, parts["t"], key_id, body), _decoded(parts["v1"]))
        if not right or key_id not in self.secrets:
            raise SignatureError("signature_wrong")
        if timestamp < now - self.window_seconds:
            raise SignatureError("timestamp_old")
        if timestamp > now + self.skew_seconds:
            raise SignatureError("timestamp_future")
        return key_id


def _mac(secret: bytes, timestamp: int | str, key_id: str, body: bytes) -> bytes:
    return hmac.digest(secret, f"{timestamp}.{key_id}.".encode() + body, hashlib.sha256)


def _decoded(text: str) -> bytes:
    if len(text) == 64:
        return bytes.fromhex(text)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SignatureError("signature_malformed") from None
