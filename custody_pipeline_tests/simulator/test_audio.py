"""The media files are what their extensions say, checked by readers that share nothing with the writers."""

import itertools
import struct
from collections.abc import Iterator

import pytest

from custody_pipeline.simulator.audio import media_bytes

RECORDING = "69b34d62-e994-4bb8-aaaf-5d28723cb415"


def _plain_crc(page: bytes) -> int:
    """RFC 3533 by the letter, bit by bit."""
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ 0x04C11DB7 if register & 0x80000000 else register << 1) & 0xFFFFFFFF
    return register


def _pages(stream: bytes) -> Iterator[tuple[int, int, int, int, list[bytes]]]:
    while stream:
        magic, version, flags, granule, serial, sequence, crc, count = struct.unpack("<4sBBqIIIB", stream[:27])
        assert (magic, version) == (b"OggS", 0)
        lacing = stream[27 : 27 + count]
        end = 27 + count + sum(lacing)
        page, stream = stream[:end], stream[end:]
        assert _plain_crc(page[:22] + bytes(4) + page[26:]) == crc
        packets, body = [b""], page[27 + count :]
        for length in lacing:
            packets[-1] += body[:length]
            body = body[length:]
            if length < 255:
                packets.append(b"")
        yield flags, granule, serial, sequence, packets[:-1]


def test_opus_is_an_ogg_stream_with_right_checksums_and_headers() -> None:
    pages = list(_pages(media_bytes(RECORDING, "opus")))
    assert [page[3] for page in pages] == list(range(len(pages)))
    assert len({page[2] for page in pages}) == 1
    assert [page[0] for page in pages] == [2] + [0] * (len(pages) - 2) + [4]
    head, tags = pages[0][4][0], pages[1][4][0]
    assert head[:8] == b"OpusHead"
    assert (head[8], head[9], len(head)) == (1, 1, 19)
    assert tags[:8] == b"OpusTags"
    assert f"TITLE={RECORDING}".encode() in tags
    packets = [packet for page in pages[2:] for packet in page[4]]
    assert pages[-1][1] == len(packets) * 960
    assert {packet[0] >> 3 for packet in packets} == {9}  # SILK, wide band, 20 ms: RFC 6716, table 2
    assert 3 <= len(packets) * 0.02 <= 7


def _ulaw_to_linear(byte: int) -> int:
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 0x84 << ((byte & 0x70) >> 4)) - 0x84
    return -magnitude if byte & 0x80 else magnitude


def test_wav_is_g711_and_can_be_heard() -> None:
    content = media_bytes(RECORDING, "wav")
    riff, size, wave = struct.unpack("<4sI4s", content[:12])
    assert (riff, size, wave) == (b"RIFF", len(content) - 8, b"WAVE")
    chunks, rest = {}, content[12:]
    while rest:
        name, length = struct.unpack("<4sI", rest[:8])
        chunks[name] = rest[8 : 8 + length]
        rest = rest[8 + length + length % 2 :]
    assert struct.unpack("<HHIIHH", chunks[b"fmt "][:16]) == (7, 1, 8000, 8000, 1, 8)
    assert struct.unpack("<I", chunks[b"fact"]) == (len(chunks[b"data"]),)
    samples = [_ulaw_to_linear(byte) for byte in chunks[b"data"]]
    assert 8_000 < max(samples) < 10_000
    assert abs(sum(samples) / len(samples)) < 200
    crossings = sum(one < 0 <= other for one, other in itertools.pairwise(samples[:2000])) * 4
    assert 250 < crossings < 680  # hertz


def _elements(body: bytes) -> Iterator[tuple[str, bytes]]:
    while body:
        width = 1 + f"{body[0]:08b}".index("1")
        name, body = body[:width].hex(), body[width:]
        assert body[0] == 0x01  # every size is written in eight bytes
        size, body = int.from_bytes(body[1:8], "big"), body[8:]
        yield name, body[:size]
        body = body[size:]


def test_webm_has_one_vp8_track_that_starts_with_a_key_frame() -> None:
    header, segment = _elements(media_bytes(RECORDING, "webm"))
    assert (header[0], segment[0]) == ("1a45dfa3", "18538067")
    assert dict(_elements(header[1]))["4282"] == b"webm"
    parts = dict(_elements(segment[1]))
    track = dict(_elements(dict(_elements(parts["1654ae6b"]))["ae"]))
    assert track["86"] == b"V_VP8"
    blocks = [body for name, body in _elements(parts["1f43b675"]) if name == "a3"]
    assert len(blocks) == 10
    assert blocks[0][3] == 0x80
    assert blocks[0][4] & 1 == 0  # RFC 6386, 9.1: a key frame
    assert blocks[0][7:10] == b"\x9d\x01\x2a"
    assert struct.unpack("<HH", blocks[0][10:14]) == (32, 32)


@pytest.mark.parametrize("extension", ["opus", "wav", "webm"])
def test_media_are_small_repeatable_and_each_their_own(extension: str) -> None:
    assert media_bytes(RECORDING, extension) == media_bytes(RECORDING, extension)
    several = {media_bytes(f"recording-{number}", extension) for number in range(50)}
    assert len(several) == 50
    assert all(500 < len(content) < 20_000 for content in several)
