"""A key for each night, kept wrapped: under a local key, or under a key in AWS KMS.

    date=YYYY-MM-DD/key.json         the night's key, wrapped; made with the night's first encrypted file
    date=YYYY-MM-DD/forgotten.json   the night has no key any more, and gets no other

These documents are small, and are kept away from the files that the keys encrypt, because forgetting a key means to
remove every copy of it. Each document is created only if there is none, so that several workers agree on one key.

Belongs here: making, wrapping, keeping and removing keys. Does not: what is encrypted (encrypted_files.py), who may
forget (forgetting).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import date
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Literal, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from custody_pipeline.io.clock import night_in
from custody_pipeline.io.document_store import DocumentStore, open_store
from custody_pipeline.io.encrypted_files import ID_BYTES, NightKey
from custody_pipeline.io.key_service import explained, kms_client
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.io.whole_file import why_unreadable
from custody_pipeline.settings import Settings

KEY, FORGOTTEN = "key.json", "forgotten.json"
"""The documents of a night."""
_SECRET_BYTES = 32
_NONCE_BYTES = 12
_LINE = re.compile(r"[0-9a-f]{64}")
_KIND = "spec SYMMETRIC_DEFAULT and usage ENCRYPT_DECRYPT"


class NightKeyError(Exception):
    """The key of a night cannot be read or made. The message names the night, the cause and what to do; never a key."""


class NightForgottenError(NightKeyError):
    """The key of the night was forgotten: nobody can read what it encrypted, and nothing more is kept of the night."""


class WrappedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document of a night's key.

    Attributes:
        night: `YYYY-MM-DD`.
        id: 32 hex digits; in the header of each file.
        under: `file`, or the ARN of a KMS key.
    """

    night: str
    id: str
    under: str
    wrapped: str


class Forgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document that says that a night's key was forgotten.

    Attributes:
        night: `YYYY-MM-DD`.
        wrapped_sha256: of the document `key.json` that is removed, hex.
        request: id of the request, 32 hex digits.
        asked_at: UTC, RFC 3339.
    """

    night: str
    id: str
    wrapped_sha256: str
    request: str
    asked_at: str
    schema: Literal["custody-forgotten-key/v1"] = "custody-forgotten-key/v1"


_Document = TypeVar("_Document", WrappedKey, Forgotten)


class Wrapping(Protocol):
    """The method that wraps night keys."""

    under: str

    def wrap(self, key: NightKey) -> tuple[str, bytes]:
        """The name of the key that wraps, and a key encrypted with it, bound to night and id. Raises NightKeyError."""

    def unwrap(self, kept: WrappedKey) -> bytes:
        """Decrypt it. Raises NightKeyError."""


class LocalWrapping:
    """AES-256-GCM with keys of a local file: the first wraps, each of them unwraps."""

    under = "file"

    def __init__(self, secret: Sequence[bytes]) -> None:
        self._secret = tuple(secret)

    @classmethod
    def from_file(cls, path: Path) -> LocalWrapping:
        """The keys of a file: 64 hex digits a line; the first is the current one.

        Raises:
            NightKeyError: there is no such file, or it holds something else.
        """
        accepted = "expected 64 hex digits a line, for example of: openssl rand -hex 32"
        try:
            lines = path.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise NightKeyError(f"CUSTODY_NIGHT_KEY_FILE {why_unreadable(error)}; {accepted}") from error
        if not lines or not all(map(_LINE.fullmatch, lines)):
            raise NightKeyError(f"CUSTODY_NIGHT_KEY_FILE {path}: {accepted}")
        return cls([bytes.fromhex(line) for line in lines])

    def wrap(self, key: NightKey) -> tuple[str, bytes]:
        """`file`; a nonce and the encrypted key."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        bound = _bound(key.night.isoformat(), key.id.hex())
        return self.under, nonce + AESGCM(self._secret[0]).encrypt(nonce, key.secret, bound)

    def unwrap(self, kept: WrappedKey) -> bytes:
        """Decrypt with the key of the file that wrapped it."""
        wrapped, bound = b64decode(kept.wrapped), _bound(kept.night, kept.id)
        for one in self._secret:
            try:
                return AESGCM(one).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound)
            except (InvalidTag, ValueError):
                continue
        raise NightKeyError(
            f"the key of {kept.night} was altered, or wrapped with a key that is not in CUSTODY_NIGHT_KEY_FILE"
        )


def _bound(night: str, key_id: str) -> bytes:
    return f"custody_pipeline night key {night} {key_id}".encode()


class KmsWrapping:
    """A symmetric key in AWS KMS, which never leaves it. Permissions: kms:Encrypt and kms:Decrypt."""

    def __init__(self, key: str) -> None:
        self.under = key
        # An earlier key may be in another region.
        self._client_of = cache(partial(kms_client, NightKeyError))
        self._client_of(key)

    def wrap(self, key: NightKey) -> tuple[str, bytes]:
        """The ARN of the KMS key, which an alias may not name for ever; encrypted, night and id as the context."""
        context = {"night": key.night.isoformat(), "key_id": key.id.hex()}
        with explained(self.under, "kms:Encrypt", NightKeyError, _KIND):
            answer = self._client_of(self.under).encrypt(
                KeyId=self.under, Plaintext=key.secret, EncryptionContext=context
            )
        return answer["KeyId"], answer["CiphertextBlob"]

    def unwrap(self, kept: WrappedKey) -> bytes:
        """Decrypted by the KMS key that wrapped it, which may be an earlier one."""
        context = {"night": kept.night, "key_id": kept.id}
        with explained(kept.under, "kms:Decrypt", NightKeyError, _KIND):
            answer = self._client_of(kept.under).decrypt(
                KeyId=kept.under, CiphertextBlob=b64decode(kept.wrapped), EncryptionContext=context
            )
        return answer["Plaintext"]


class NightKeys:
    """The keys of all nights. Safe for several threads; a key that was unwrapped is remembered.

    Args:
        wrapping: wraps the keys; None: nothing is encrypted.
        store: where the keys are kept; None: there are none.
    """

    def __init__(self, wrapping: Wrapping | None = None, store: DocumentStore | None = None) -> None:
        self._wrapping, self._store = wrapping, store
        self._known: dict[date, NightKey] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[NightKeys], tuple[Wrapping | None, DocumentStore | None]]:
        """The state for another process: it holds no unwrapped key."""
        return NightKeys, (self._wrapping, self._store)

    @property
    def on(self) -> bool:
        """Whether new files are encrypted."""
        return self._wrapping is not None

    def of(self, night: date) -> NightKey | None:
        """The key for new files of a night, made if there is none; None if nothing is encrypted.

        Raises:
            NightForgottenError: it was forgotten, also if nothing is encrypted any more.
            NightKeyError: it cannot be made or unwrapped; or the night has a key, and nothing is encrypted any more.
        """
        if self._wrapping is None or self._store is None:
            if self._kept(night) is not None:
                raise NightKeyError(
                    f"{night} has a key, and its new files would not be encrypted: set CUSTODY_NIGHT_KEY_FILE or "
                    "CUSTODY_NIGHT_KEY_KMS as it was"
                )
            return None
        with self._lock:
            if night not in self._known:
                _, kept = self._kept(night) or self._made(night)
                self._known[night] = self._unwrapped(night, kept)
            return self._known[night]

    def named(self, night: date, key_id: bytes) -> NightKey:
        """The key that a file names.

        Raises:
            NightForgottenError: it was forgotten.
            NightKeyError: there is none of that id, or it cannot be unwrapped.
        """
        with self._lock:
            key = self._known.get(night)
            if key is None:
                kept = self._kept(night)
                if kept is None:
                    where = self._store.uri(key_path(night)) if self._store is not None else "no place"
                    raise NightKeyError(
                        f"a file of {night} is encrypted, and {where} has no key of that night: set "
                        "CUSTODY_NIGHT_KEYS_URL and CUSTODY_NIGHT_KEY_FILE or CUSTODY_NIGHT_KEY_KMS as they were then"
                    )
                key = self._known[night] = self._unwrapped(night, kept[1])
        if key.id != key_id:
            raise NightKeyError(f"a file of {night} names key {key_id.hex()}, and the night's key is {key.id.hex()}")
        return key

    def forgotten(self, night: date) -> Forgotten | None:
        """The document of a forgotten key; None if the night's key was not forgotten."""
        path = _forgotten_path(night)
        data = self._store.read(path) if self._store is not None else None
        return None if data is None else self._decoded(data, path, Forgotten)

    def forget(self, night: date, request: str, asked_at: str) -> Forgotten | None:
        """Record that the key of a night is forgotten; None if it never had one. The caller removes the key's document.

        Args:
            request: its id, 32 hex digits.
            asked_at: UTC, RFC 3339.
        """
        assert self._store is not None  # noqa: S101 - a night has a key
        if self.forgotten(night) is None:
            kept = self._kept(night)
            if kept is None:
                return None
            document, key = kept
            sha256 = hashlib.sha256(document).hexdigest()
            forgotten = Forgotten(night.isoformat(), key.id, sha256, request, asked_at)
            self._store.create(_forgotten_path(night), msgspec.json.encode(forgotten))
        with self._lock:
            self._known.pop(night, None)
        return self.forgotten(night)

    def nights(self) -> list[date]:
        """Nights that have a key, in order."""
        if self._store is None:
            return []
        return sorted(_nights(self._store, KEY) - _nights(self._store, FORGOTTEN))

    def probe(self) -> None:
        """Wrap and unwrap a key that is not kept.

        Raises:
            NightKeyError: that fails, or gives another key.
        """
        if self._wrapping is None:
            return
        key = _new(date(1970, 1, 1))
        if self._wrapping.unwrap(self._wrap(key)) != key.secret:
            raise NightKeyError("a key that was wrapped and unwrapped is another one")

    def _kept(self, night: date) -> tuple[bytes, WrappedKey] | None:
        """The document of a night's key, as bytes and parsed."""
        if self._store is None:
            return None
        if (gone := self.forgotten(night)) is not None:
            raise NightForgottenError(
                f"the key of {night} was forgotten by request {gone.request} of {gone.asked_at}: nobody can read what "
                "it encrypted, and nothing more is kept of that night"
            )
        data = self._store.read(key_path(night))
        return None if data is None else (data, self._decoded(data, key_path(night), WrappedKey))

    def _decoded(self, data: bytes, path: str, kind: type[_Document]) -> _Document:
        """The document at `path`. Raises NightKeyError if it is not as it was written."""
        try:
            return msgspec.json.decode(data, type=kind)
        except (ValueError, RecursionError) as error:
            where = self._store.uri(path) if self._store is not None else path
            raise NightKeyError(f"{where} is not as it was written ({error}): restore it") from error

    def _made(self, night: date) -> tuple[bytes, WrappedKey]:
        assert self._store is not None  # noqa: S101 - see `of`
        document = msgspec.json.encode(self._wrap(_new(night)))
        self._store.create(key_path(night), document)
        # Another worker may have been faster: then its key counts. If the key was forgotten meanwhile, `_kept` raises.
        kept = self._kept(night)
        if kept is None:
            raise NightKeyError(f"{self._store.uri(key_path(night))} was written, and is gone")
        return kept

    def _wrap(self, key: NightKey) -> WrappedKey:
        assert self._wrapping is not None  # noqa: S101 - see `of`
        under, wrapped = self._wrapping.wrap(key)
        return WrappedKey(key.night.isoformat(), key.id.hex(), under, b64encode(wrapped).decode())

    def _unwrapped(self, night: date, kept: WrappedKey) -> NightKey:
        if kept.night != night.isoformat():
            raise NightKeyError(f"the document of the key of {night} names {kept.night}: find out who wrote to it")
        is_local = kept.under == LocalWrapping.under
        if self._wrapping is None or is_local != (self._wrapping.under == LocalWrapping.under):
            wanted = "CUSTODY_NIGHT_KEY_FILE" if is_local else f"CUSTODY_NIGHT_KEY_KMS={kept.under}"
            raise NightKeyError(f"the key of {night} is wrapped under another one: set {wanted}")
        try:
            return NightKey(night, bytes.fromhex(kept.id), self._wrapping.unwrap(kept))
        except ValueError as error:  # of hex or Base64
            raise NightKeyError(f"the key of {night} was altered ({error}): restore it") from error


NO_KEYS = NightKeys()
"""Encrypts nothing, and opens nothing that is encrypted."""


def night_keys_of(settings: Settings) -> NightKeys:
    """The keys of a deployment. Without a key to wrap them with, nothing is encrypted.

    Raises:
        NightKeyError: the key of the settings cannot be used.
    """
    wrapping: Wrapping | None = None
    if settings.night_key_file is not None:
        wrapping = LocalWrapping.from_file(settings.night_key_file)
    elif settings.night_key_kms is not None:
        wrapping = KmsWrapping(settings.night_key_kms)
    return NightKeys(wrapping, _store_of(settings))


def _new(night: date) -> NightKey:
    return NightKey(night, secrets.token_bytes(ID_BYTES), secrets.token_bytes(_SECRET_BYTES))


def forgotten_nights(settings: Settings) -> set[date]:
    """Nights whose keys were forgotten: nothing more is collected of them."""
    return _nights(_store_of(settings), FORGOTTEN)


def _store_of(settings: Settings) -> DocumentStore:
    place = settings.night_keys
    return open_store(place, s3_client(settings) if place.startswith("s3://") else None)


def _nights(store: DocumentStore, name: str) -> set[date]:
    found = (key.partition("/") for key in store.keys("date="))
    return {night for folder, _, document in found if document == name and (night := night_in(folder))}


def key_path(night: date) -> str:
    """Where the document of a night's key is, within the place."""
    return f"date={night}/{KEY}"


def _forgotten_path(night: date) -> str:
    return f"date={night}/{FORGOTTEN}"
