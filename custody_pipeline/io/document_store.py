"""Small documents in a folder or a bucket: written once, never replaced.

Belongs here: create-if-absent, read, list. Does not: what the documents are (capture, `night_keys`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError

from custody_pipeline.io.objects import get_object, listed, put_bytes, read_up_to, written_by_another
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import found_in, sync_folder

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client


# An answer of the API has up to 256 MiB. A document may hold one in Base64, in an envelope, encrypted.
MOST_BYTES = 512 << 20


class DocumentTooLargeError(ValueError):
    """An object is larger than any document of ours: somebody else put it there."""


class DocumentStore(Protocol):
    """Objects under keys like `captures/date=2026-11-02/…`; an object, once there, never changes."""

    def create(self, key: str, content: bytes) -> bool:
        """Store `content` durably unless `key` exists; False if it does."""

    def read(self, key: str) -> bytes | None:
        """The object's bytes; None if there is none. Raises DocumentTooLargeError."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, in order."""

    def uri(self, key: str) -> str:
        """The object's address for other readers."""


def open_store(url: str, s3: S3Client | None = None) -> DocumentStore:
    """The store at `url`: a folder, or `s3://bucket/prefix` reached through `s3`.

    Raises:
        ValueError: an s3 URL without a client.
    """
    if not url.startswith("s3://"):
        return FolderStore(Path(url))
    if s3 is None:
        raise ValueError("an s3:// place needs an S3 client")
    return BucketStore(s3, S3Location.parse(url))


class FolderStore:
    """Files below a folder. A file appears whole or not at all. After `create` returns, it survives a power failure."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, key: str, content: bytes) -> bool:
        """Write a temporary file, then link it under its name: linking fails if the name is taken."""
        path = self._path(key)
        _make_folder(path.parent)
        temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
            sync_folder(path.parent)
            return True
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, key: str) -> bytes | None:
        """The file's bytes."""
        with contextlib.suppress(FileNotFoundError), self._path(key).open("rb") as file:
            return _whole(file, key)
        return None

    def keys(self, prefix: str) -> Iterator[str]:
        """Walk the deepest folder that `prefix` names."""
        paths = found_in(self._path(prefix.rpartition("/")[0]), "**/*.json")
        found = (path.relative_to(self._root).as_posix() for path in paths if path.is_file())
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def uri(self, key: str) -> str:
        """The key: paths of this machine are not published."""
        return key

    def _path(self, key: str) -> Path:
        if ".." in Path(key).parts or Path(key).is_absolute():
            raise ValueError("a key stays below the store's folder")
        return self._root / key


class BucketStore:
    """Objects below a prefix, put with `If-None-Match: *` and their SHA-256."""

    def __init__(self, s3: S3Client, root: S3Location) -> None:
        self._s3 = s3
        self._root = root

    def create(self, key: str, content: bytes) -> bool:
        """A conditional put; the server refuses a second object and wrong bytes."""
        try:
            put_bytes(self._s3, content, self._root / key, ContentType="application/json", IfNoneMatch="*")
        except ClientError as error:
            # A conflict with another request (409) does not tell whether that one stores an object.
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 412 or (status == 409 and written_by_another(self._s3, self._root / key) is not None):
                return False
            raise
        return True

    def read(self, key: str) -> bytes | None:
        """The object's bytes."""
        answer = get_object(self._s3, self._root / key)
        return _whole(answer["Body"], key) if answer else None

    def keys(self, prefix: str) -> Iterator[str]:
        """A listing, page by page."""
        return (path for path, _ in listed(self._s3, self._root, prefix))

    def uri(self, key: str) -> str:
        """The object's s3 URL."""
        return str(self._root / key)


def _whole(stream: IO[bytes] | StreamingBody, key: str) -> bytes:
    content = read_up_to(stream, MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DocumentTooLargeError(f"{key} has more than {MOST_BYTES:,} bytes, as no document here has")
    return content


def _make_folder(folder: Path) -> None:
    """`mkdir -p` whose new folders survive a power failure."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
