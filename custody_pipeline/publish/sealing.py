"""What a deployment seals with: signing keys, the salt secret, a timestamp authority, the bucket's lock.

Belongs here: turning the settings into signers and requests. Does not: what is sealed (evidence/cut/seal.py).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from requests.adapters import HTTPAdapter
from rfc3161_client import decode_timestamp_response
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from custody_pipeline.evidence.cut.timestamp import CONTENT_TYPE, timestamp_request
from custody_pipeline.evidence.log.keys import (
    SigningKeyError,
    load_signer,
    new_key,
    rotation,
    signer_from_file,
    write_new_key,
)
from custody_pipeline.evidence.log.note import Signer, Verifier
from custody_pipeline.evidence.reader import NOTE_BYTES
from custody_pipeline.io.http import Session, body_of, kind_of
from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.publish.kms import KmsSigner, kms_client
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.settings.kinds import salt_of

_DEMO_KEY_NAME = "custody.local"
_DEMO_KEY_FILE = "demo.key"
_TIMEOUT_SECONDS = (10, 60)
_GRANTED = (0, 1)  # RFC 3161, 2.4.2: granted, granted with modifications


class TimestampUnavailableError(Exception):
    """The timestamp authority gave no usable answer. Nothing was sealed."""


@dataclass(frozen=True)
class Sealing:
    """Everything that sealing a night needs.

    Attributes:
        signers: current key first; two during a rotation.
        salt_secret: 32 bytes.
        timestamp: `cut.json` → RFC 3161 response; None without an authority.
        lock_mode: of the bucket's Object Lock; None without a lock.
        newer_within_days: each cut promises a newer one within so many days; None: no promise.
    """

    signers: tuple[Signer, ...]
    salt_secret: bytes
    timestamp: Callable[[bytes], bytes] | None
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None
    lock_days: int
    legal_hold: bool
    newer_within_days: int | None = None

    @property
    def origin(self) -> str:
        """The log's name: that of the key which signs it."""
        return self.signers[0].verifier.name

    @property
    def rotation(self) -> bytes | None:
        """During a rotation: the statement of both keys that the second one takes over."""
        current, *following = self.signers
        return rotation(self.origin, [current], following).data if following else None

    def retain_until(self, now: datetime) -> datetime:
        """When a lock set now ends."""
        return now + timedelta(days=self.lock_days)


def load_sealing(settings: Settings) -> Sealing:
    """Read keys and secrets; without settings for them, make them in `$CUSTODY_HOME/keys`.

    Raises:
        SettingsError: a setting is wrong. Values are not repeated.
        SigningKeyError: a key cannot be read.
    """
    keys = settings.home / "keys"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    signers: list[Signer] = [_signer(settings, keys)]
    if (successor := _successor(settings, signers[0].verifier)) is not None:
        signers.append(successor)
        _keep_public_half(keys, signers[0].verifier)
    return Sealing(
        signers=tuple(signers),
        salt_secret=_salt_secret(settings, keys / "salt"),
        timestamp=timestamper(settings.timestamp_url) if settings.timestamp_url else None,
        lock_mode=settings.lock_mode,
        lock_days=settings.lock_days,
        legal_hold=settings.legal_hold,
        newer_within_days=settings.newer_within_days,
    )


def _keep_public_half(keys: Path, old: Verifier) -> None:
    """After a rotation, the old key's public half is what leads this home's checks of older nights to the new key."""
    kept = keys / f"before-{old.fingerprint[:16]}.pub"
    if not kept.exists():
        write_whole(kept, f"{old.vkey}\n".encode())


def load_signing_key(settings: Settings) -> Signer | None:
    """The key that signs now; None before the first night makes one.

    Raises:
        SigningKeyError: the key cannot be read, or KMS does not hand out its public half.
    """
    keys = settings.home / "keys"
    # An empty setting is a wrong key, and not none.
    given = (settings.signing_key, settings.signing_key_file, settings.signing_key_kms) != (None, None, None)
    return _signer(settings, keys) if given or (keys / _DEMO_KEY_FILE).exists() else None


def signing_verifiers(settings: Settings) -> list[Verifier]:
    """Public halves of the keys that sign now: two during a rotation, none before the first night makes one.

    Raises:
        SettingsError, SigningKeyError: as for `load_sealing`.
    """
    current = load_signing_key(settings)
    if current is None:
        return []
    successor = _successor(settings, current.verifier)
    return [current.verifier, *([successor.verifier] if successor else [])]


def _signer(settings: Settings, keys: Path) -> Signer:
    if settings.signing_key is not None:
        return load_signer(settings.signing_key.get_secret_value())
    if settings.signing_key_kms is not None:
        return _kms_signer(settings.signing_key_kms, str(settings.log_origin))
    path = settings.signing_key_file or keys / _DEMO_KEY_FILE
    if settings.signing_key_file is None and not path.exists():
        if has_sealed(settings) or path.with_name(f"{path.name}.pub").exists():
            raise SigningKeyError(
                f"{path} is not there, and this home has sealed nights: no other key is made. Restore it, or name the "
                "key that sealed them in CUSTODY_SIGNING_KEY_FILE, CUSTODY_SIGNING_KEY or CUSTODY_SIGNING_KEY_KMS"
            )
        write_new_key(path, new_key(_DEMO_KEY_NAME, demo=True))
    return signer_from_file(path)


def has_sealed(settings: Settings) -> bool:
    """Whether this home remembers a head that it signed (publish/sealer.py)."""
    return (settings.home / "publish/head").exists()


def _kms_signer(key: str, name: str) -> Signer:
    return KmsSigner(kms_client(key), key, name)


def _successor(settings: Settings, current: Verifier) -> Signer | None:
    """The key that takes over, if there is one. The log keeps its name, so the key must have the same name."""
    if settings.next_signing_key_kms is not None:
        variable, signer = "CUSTODY_NEXT_SIGNING_KEY_KMS", _kms_signer(settings.next_signing_key_kms, current.name)
    elif settings.next_signing_key_file is not None:
        variable, signer = "CUSTODY_NEXT_SIGNING_KEY_FILE", signer_from_file(settings.next_signing_key_file)
    else:
        return None
    if signer.verifier.name != current.name:
        raise SettingsError(
            f"{variable}: the key is named {signer.verifier.name}, the log {current.name}; "
            f"make the new key with: custody key new {current.name} next.key"
        )
    if signer.verifier == current:
        raise SettingsError(f"{variable}: this is the key that signs already")
    return signer


def _salt_secret(settings: Settings, path: Path) -> bytes:
    if settings.salt_secret is not None:
        text = settings.salt_secret.get_secret_value()
    else:
        if not path.exists():
            if has_sealed(settings):
                raise SettingsError(
                    f"{path} is not there, and this home has sealed nights: no other secret is made. Restore it, or "
                    "set CUSTODY_SALT_SECRET to what it held"
                )
            write_whole(path, secrets.token_hex(32).encode())
        text = path.read_text(errors="replace")
    try:
        return salt_of(text)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def timestamper(url: str) -> Callable[[bytes], bytes]:
    """Ask the authority at `url` for a timestamp of bytes. The call raises TimestampUnavailableError."""

    def timestamp(data: bytes) -> bytes:
        retry = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None)
        headers = {"Content-Type": CONTENT_TYPE}
        try:
            with Session() as session:
                for scheme in ("http://", "https://"):
                    session.mount(scheme, HTTPAdapter(max_retries=retry))
                query = timestamp_request(data)
                with session.post(url, data=query, headers=headers, timeout=_TIMEOUT_SECONDS, stream=True) as answer:
                    answer.raise_for_status()
                    response = body_of(answer, NOTE_BYTES)
            _check_granted(response, data)
        except (OSError, EOFError, HTTPError, ValueError) as error:
            raise TimestampUnavailableError(
                f"the timestamp authority of CUSTODY_TIMESTAMP_URL gave no timestamp ({kind_of(error)}); nothing "
                "was sealed. Run the night again, or unset CUSTODY_TIMESTAMP_URL to seal without one."
            ) from error
        return response

    return timestamp


def _check_granted(response: bytes, data: bytes) -> None:
    """Raise ValueError for a refusal, which also comes with HTTP 200, and would stay in the cut."""
    parsed = decode_timestamp_response(response)
    if parsed.status not in _GRANTED or parsed.tst_info.message_imprint.message != hashlib.sha256(data).digest():
        raise ValueError("not granted, or for other bytes")
