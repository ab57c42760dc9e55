"""Files that are encrypted under the key of their night, written and read as streams.

    CPN1 | night, YYYY-MM-DD (10 bytes) | key id (16) | salt (32) | commitment (32) | pieces

A file has a key of its own: HKDF-SHA256 (RFC 5869) of the night's key and the random salt, with the information
`custody_pipeline CPN1`, gives 64 bytes: the file's key and the commitment. The content is cut into pieces of 1 MiB, the
last may be shorter. Each is encrypted with AES-256-GCM (NIST SP 800-38D), 16 bytes longer than it was, under the nonce

    seven zero bytes | number of the piece, from 0 (4 bytes, big-endian) | 1 for the last piece, else 0

and with the header as additional data, followed by the document's key if it is of the capture place. That is the STREAM
construction (Hoang, Reyhanitabar, Rogaway, Vizár, 2015), as in Tink's streaming AEAD. A reader gets nothing of a piece
before it is checked. A file that was cut short, put together from others or altered in any byte is refused. The
commitment makes sure that no second key opens the file to other content: GCM alone does not ensure that.

Belongs here: the format. Does not: keys (night_keys.py).
"""

from __future__ import annotations

import secrets
from datetime import date
from functools import cached_property
from io import BufferedReader, BytesIO, RawIOBase
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from custody_pipeline.io.gzipped import Target

MAGIC = b"CPN1"
PIECE_BYTES = 1 << 20
ID_BYTES = 16
_TAG_BYTES = 16
_SALT_BYTES = _KEY_BYTES = 32
_NIGHT = slice(len(MAGIC), len(MAGIC) + 10)
_ID = slice(_NIGHT.stop, _NIGHT.stop + ID_BYTES)
_SALT = slice(_ID.stop, _ID.stop + _SALT_BYTES)
_COMMITMENT = slice(_SALT.stop, _SALT.stop + _KEY_BYTES)
HEADER_BYTES = _COMMITMENT.stop


class EncryptedFileError(Exception):
    """An encrypted file is not as it was written, or was written under another key."""


class NightKey(NamedTuple):
    """The key of a night. `secret`: 32 bytes. `id`: 16 bytes that files name it by."""

    night: date
    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"NightKey({self.night}, {self.id.hex()})"


class EncryptingFile:
    """A file to write to, whose encrypted bytes go to `target`; closing it leaves `target` open."""

    def __init__(self, target: Target, key: NightKey, context: bytes = b"") -> None:
        salt = secrets.token_bytes(_SALT_BYTES)
        self._cipher, commitment = _derived(key.secret, salt)
        header = b"".join((MAGIC, key.night.isoformat().encode(), key.id, salt, commitment))
        self._target, self._bound, self._number = target, header + context, 0
        self._waiting = bytearray()
        target.write(header)

    def write(self, data: Any, /) -> int:
        """Take bytes."""
        self._waiting += data
        # One piece is kept back: the last one is marked.
        while len(self._waiting) > PIECE_BYTES:
            self._put(bytes(self._waiting[:PIECE_BYTES]), last=False)
            del self._waiting[:PIECE_BYTES]
        return len(data)

    def flush(self) -> None:
        """Flush the target; a block that is not full yet stays here."""
        self._target.flush()

    def close(self) -> None:
        """Write the last piece. A reader refuses the end of a file that lacks its last piece."""
        self._put(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _put(self, piece: bytes, *, last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._number, last=last), piece, self._bound))
        self._number += 1


class OpenedFile(RawIOBase):
    """The content of an encrypted file.

    Args:
        key_of: gives the key by night and id.

    Raises:
        EncryptedFileError: at once or while it is read: the file is not as it was written.
    """

    def __init__(self, file: IO[bytes], key_of: Callable[[date, bytes], NightKey], context: bytes = b"") -> None:
        self._file, self._key_of, self._context = file, key_of, context
        self._pieces = self._read_pieces()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As `io.RawIOBase`."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        """Also close the encrypted file."""
        self._file.close()
        super().close()

    @cached_property
    def _header(self) -> bytes:
        return self._file.read(HEADER_BYTES)

    def _read_pieces(self) -> Iterator[bytes]:
        night, key_id = _named(self._header)
        cipher, commitment = _derived(self._key_of(night, key_id).secret, self._header[_SALT])
        if commitment != self._header[_COMMITMENT]:
            raise EncryptedFileError(f"the file is not of key {key_id.hex()} of {night}, or its header was altered")
        bound, number = self._header + self._context, 0
        piece, following = self._file.read(PIECE_BYTES + _TAG_BYTES), b""
        while True:
            following = self._file.read(PIECE_BYTES + _TAG_BYTES)
            try:
                content = cipher.decrypt(_nonce(number, last=not following), piece, bound)
            except (InvalidTag, ValueError) as error:
                raise EncryptedFileError(
                    f"piece {number} is not as it was written: the file was altered, or cut short"
                ) from error
            if content:
                yield content
            if not following:
                return
            piece, number = following, number + 1


def is_encrypted(path: Path) -> bool:
    """Whether a local file is an encrypted one."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def opened(path: Path, key_of: Callable[[date, bytes], NightKey]) -> IO[bytes]:
    """The content of a local file, decrypted if the file is encrypted. Raises as `OpenedFile`."""
    file = path.open("rb")
    if file.peek(len(MAGIC))[: len(MAGIC)] != MAGIC:
        return file
    return BufferedReader(OpenedFile(file, key_of), PIECE_BYTES)


def encrypted_bytes(content: bytes, key: NightKey, context: bytes = b"") -> bytes:
    """An encrypted file in memory."""
    target = BytesIO()
    file = EncryptingFile(target, key, context)
    file.write(content)
    file.close()
    return target.getvalue()


def opened_bytes(data: bytes, key_of: Callable[[date, bytes], NightKey], context: bytes = b"") -> bytes:
    """The content of an encrypted file in memory; other bytes come back unchanged. Raises as `OpenedFile`."""
    if not data.startswith(MAGIC):
        return data
    with OpenedFile(BytesIO(data), key_of, context) as file:
        return file.readall() or b""


def key_named(data: bytes) -> tuple[date, bytes]:
    """The night and the key id that the first `HEADER_BYTES` of an encrypted file name.

    Raises:
        EncryptedFileError: it is no header.
    """
    return _named(data[:HEADER_BYTES])


def _named(header: bytes) -> tuple[date, bytes]:
    try:
        if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
            raise ValueError
        return date.fromisoformat(header[_NIGHT].decode("ascii")), header[_ID]
    except ValueError as error:
        raise EncryptedFileError("no header of an encrypted file") from error


def _derived(secret: bytes, salt: bytes) -> tuple[AESGCM, bytes]:
    derived = HKDF(SHA256(), 2 * _KEY_BYTES, salt, b"custody_pipeline " + MAGIC).derive(secret)
    return AESGCM(derived[:_KEY_BYTES]), derived[_KEY_BYTES:]


def _nonce(number: int, *, last: bool) -> bytes:
    return bytes(7) + number.to_bytes(4, "big") + bytes([last])
