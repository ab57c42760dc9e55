"""The capture place: documents under keys such as `captures/date=2026-11-02/…`, encrypted where nights have keys.

Belongs here: opening the place, and encrypting its documents. Does not: keys and formats of documents (`captured`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from custody_pipeline.io.document_store import DocumentStore, open_store
from custody_pipeline.io.encrypted_files import encrypted_bytes, opened_bytes
from custody_pipeline.io.night_keys import NightKeys, night_keys_of
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NIGHT = re.compile(r"[a-z]+/date=(\d{4}-\d\d-\d\d)/")
_KEY = re.compile(r"(?:captures|events|links|claims)/date=\d{4}-\d\d-\d\d/conversation_id=.+")


def capture_place(settings: Settings, s3: S3Client | None = None) -> DocumentStore:
    """The store of capture documents. `s3`: a client for a place in S3; made if None.

    Raises:
        NightKeyError: the key of the settings cannot be used.
    """
    url = settings.captures
    store = open_store(url, (s3 or s3_client(settings)) if url.startswith("s3://") else None)
    return EncryptedStore(store, night_keys_of(settings))


def open_file(settings: Settings, path: Path) -> bytes:
    """The decrypted content of a local landing file or capture document, which must lie under its key.

    Raises:
        NightKeyError, EncryptedFileError: it cannot be opened.
        OSError: it cannot be read.
    """
    named = _KEY.search(path.absolute().as_posix())
    return opened_bytes(path.read_bytes(), night_keys_of(settings).named, named[0].encode() if named else b"")


class EncryptedStore:
    """A store that encrypts a night's documents with the night's key, each bound to its own key in the store.

    Documents that were written without encryption are read as they are.
    """

    def __init__(self, store: DocumentStore, keys: NightKeys) -> None:
        self._store, self._keys = store, keys

    def create(self, key: str, content: bytes) -> bool:
        """As the store. Raises NightForgottenError: nothing more is kept of that night."""
        named = _NIGHT.match(key)
        night_key = self._keys.of(date.fromisoformat(named[1])) if named else None
        return self._store.create(key, encrypted_bytes(content, night_key, key.encode()) if night_key else content)

    def read(self, key: str) -> bytes | None:
        """As the store. Raises NightKeyError, EncryptedFileError: it cannot be opened."""
        data = self._store.read(key)
        return None if data is None else opened_bytes(data, self._keys.named, key.encode())

    def keys(self, prefix: str) -> Iterator[str]:
        """As the store."""
        return self._store.keys(prefix)

    def uri(self, key: str) -> str:
        """As the store."""
        return self._store.uri(key)
