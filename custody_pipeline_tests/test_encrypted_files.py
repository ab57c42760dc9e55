"""Encrypted files: what an independent reader makes of them, and each way to damage one."""

from __future__ import annotations

import hmac
from datetime import date
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from custody_pipeline.io.encrypted_files import (
    HEADER_BYTES,
    PIECE_BYTES,
    EncryptedFileError,
    EncryptingFile,
    NightKey,
    OpenedFile,
    encrypted_bytes,
    is_encrypted,
    opened,
    opened_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY = NightKey(date(2026, 11, 2), bytes(range(16)), bytes(range(32)))
SEALED_PIECE = PIECE_BYTES + 16


def key_of(night: date, key_id: bytes) -> NightKey:
    assert (night, key_id) == (KEY.night, KEY.id)
    return KEY


def content(size: int) -> bytes:
    """Bytes in which no two pieces are equal."""
    return b"".join(sha256(number.to_bytes(4, "big")).digest() for number in range(size // 32 + 1))[:size]


def read_as_documented(data: bytes, secret: bytes) -> bytes:
    """Written from the module's description alone, with HMAC for RFC 5869 and nothing of the product."""
    header, rest = data[:94], data[94:]
    assert (header[:4], header[4:14], header[14:30]) == (b"CPN1", b"2026-11-02", KEY.id)
    prk = hmac.digest(header[30:62], secret, "sha256")
    first = hmac.digest(prk, b"custody_pipeline CPN1\x01", "sha256")
    second = hmac.digest(prk, first + b"custody_pipeline CPN1\x02", "sha256")
    assert second == header[62:94]
    pieces = [rest[start : start + SEALED_PIECE] for start in range(0, len(rest), SEALED_PIECE)]
    return b"".join(
        AESGCM(first).decrypt(bytes(7) + number.to_bytes(4, "big") + bytes([number == len(pieces) - 1]), piece, header)
        for number, piece in enumerate(pieces)
    )


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 5_000_000])
def test_what_was_written_is_read_again_also_by_an_independent_reader(size: int, tmp_path: Path) -> None:
    data, path = content(size), tmp_path / "file"
    with path.open("wb") as target:
        file = EncryptingFile(target, KEY)
        for start in range(0, size, 700_001):
            file.write(data[start : start + 700_001])
        file.close()
    encrypted = path.read_bytes()
    assert read_as_documented(encrypted, KEY.secret) == data
    with opened(path, key_of) as stream:
        assert stream.read() == data
    with opened(path, key_of) as stream:
        assert b"".join(iter(lambda: stream.read(300_007), b"")) == data
    pieces = max(1, -(-size // PIECE_BYTES))
    assert len(encrypted) == HEADER_BYTES + size + 16 * pieces
    assert data[:16] not in encrypted or size < 16


def test_equal_content_gives_other_bytes_each_time_and_a_file_that_is_not_sealed_stays_as_it_is(tmp_path: Path) -> None:
    assert encrypted_bytes(b"same", KEY) != encrypted_bytes(b"same", KEY)
    plain = tmp_path / "plain"
    for data in (b"", b"CP", b"\x1f\x8b and so on"):
        plain.write_bytes(data)
        assert not is_encrypted(plain)
        assert opened_bytes(data, key_of) == data
        with opened(plain, key_of) as stream:
            assert stream.read() == data


def refused(data: bytes) -> None:
    with pytest.raises(EncryptedFileError):
        opened_bytes(data, lambda night, key_id: KEY)


def test_no_bit_can_be_flipped() -> None:
    whole = encrypted_bytes(b"of a caller", KEY)
    for place in range(4, len(whole)):
        refused(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])


def test_no_part_can_be_cut_off_repeated_or_put_elsewhere() -> None:
    whole = encrypted_bytes(content(2 * PIECE_BYTES + 5), KEY)
    other = encrypted_bytes(content(2 * PIECE_BYTES + 5), KEY)
    header, rest = whole[:HEADER_BYTES], whole[HEADER_BYTES:]
    pieces = [rest[start : start + SEALED_PIECE] for start in range(0, len(rest), SEALED_PIECE)]
    assert len(pieces) == 3
    for damaged in (
        header,
        whole[: HEADER_BYTES - 1],
        header + pieces[0],
        header + pieces[0] + pieces[1],
        whole[:-1],
        header + pieces[1] + pieces[2],
        header + pieces[1] + pieces[0] + pieces[2],
        header + pieces[0] + pieces[0] + pieces[2],
        whole + pieces[2],
        whole + b"\0",
        other[:HEADER_BYTES] + rest,
    ):
        refused(damaged)


def test_nothing_is_given_out_of_a_piece_that_was_altered() -> None:
    whole = bytearray(encrypted_bytes(content(2 * PIECE_BYTES), KEY))
    whole[-1] ^= 1
    file = OpenedFile(BytesIO(bytes(whole)), key_of)
    assert file.read(PIECE_BYTES) == content(PIECE_BYTES)
    with pytest.raises(EncryptedFileError, match="piece 1"):
        file.read(1)


def test_a_file_opens_under_one_key_and_in_one_place_alone() -> None:
    whole = encrypted_bytes(b"of a caller", KEY, b"captures/one")
    assert opened_bytes(whole, key_of, b"captures/one") == b"of a caller"
    with pytest.raises(EncryptedFileError):
        opened_bytes(whole, key_of, b"captures/two")
    with pytest.raises(EncryptedFileError, match="not of key"):
        opened_bytes(whole, lambda night, key_id: NightKey(night, key_id, bytes(32)), b"captures/one")


def test_a_key_is_never_printed() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert str(KEY.secret) not in repr(KEY)
