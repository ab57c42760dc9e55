"""Small real recordings: Ogg Opus and G.711 WAV with audible tones, WebM with a moving picture.

The melody depends on the recording's id, which is also in the file's tags: no two recordings are equal.
Clips last a few seconds, whatever the recording's stated duration. The Opus and VP8 frames were encoded once with
libopus and libvpx and are kept in `media_frames.json`, as are the parts of a WebM file that are always the same; the
containers are written here.

Belongs here: the bytes of media files. Does not: which recording has which file, and its place.
"""

from __future__ import annotations

import base64
import functools
import importlib.resources
import math
import struct
import zlib
from dataclasses import dataclass

import orjson

from custody_pipeline.simulator.identity import digest

_OPUS_PRE_SKIP = 312
_OPUS_FRAME_SAMPLES = 960
_PACKETS_A_PAGE = 50
_WAV_RATE = 8000
_WAV_CLIP_SAMPLES = 2000
_ULAW_FORMAT = 7
_ULAW_BIAS = 0x84
_ULAW_CLIP = 32635
_REVERSED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_SEGMENT, _INFO, _TITLE = b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x7b\xa9"


@dataclass(frozen=True)
class _Frames:
    opus: dict[int, tuple[bytes, ...]]
    webm: dict[str, bytes]


@functools.cache
def _frames() -> _Frames:
    document = orjson.loads(importlib.resources.files(__package__).joinpath("media_frames.json").read_bytes())
    opus = {int(hz): tuple(map(base64.b64decode, packets)) for hz, packets in document["opus_tones"].items()}
    webm = {part: base64.b64decode(text) for part, text in document["webm"].items()}
    return _Frames(opus, webm)


def _melody(recording_id: str, length: int) -> list[int]:
    tones = list(_frames().opus)
    return [tones[byte % len(tones)] for byte in digest("melody", recording_id)[:length]]


def ogg_opus(recording_id: str) -> bytes:
    """Ogg Opus (RFC 7845), mono, 3 to 6 s of half-second tones, 4 to 8 KB."""
    serial = int.from_bytes(digest("ogg", recording_id)[:4], "big")
    length = 6 + digest("length", recording_id)[0] % 7
    packets = [packet for hz in _melody(recording_id, length) for packet in _frames().opus[hz]]
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, _OPUS_PRE_SKIP, _WAV_RATE, 0, 0)
    vendor, title = b"custody_pipeline simulator", f"TITLE={recording_id}".encode()
    tags = b"OpusTags" + struct.pack("<I", len(vendor)) + vendor + struct.pack("<II", 1, len(title)) + title
    pages = [_ogg_page([head], serial, 0, granule=0, flags=2), _ogg_page([tags], serial, 1, granule=0, flags=0)]
    for first in range(0, len(packets), _PACKETS_A_PAGE):
        batch = packets[first : first + _PACKETS_A_PAGE]
        last = first + len(batch) == len(packets)
        granule = (first + len(batch)) * _OPUS_FRAME_SAMPLES
        pages.append(_ogg_page(batch, serial, len(pages), granule=granule, flags=4 if last else 0))
    return b"".join(pages)


def _ogg_page(packets: list[bytes], serial: int, sequence: int, *, granule: int, flags: int) -> bytes:
    lacing = bytearray()
    for packet in packets:
        lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    header = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing)) + bytes(lacing)
    page = header + b"".join(packets)
    return page[:22] + struct.pack("<I", ogg_crc(page)) + page[26:]


def ogg_crc(page: bytes) -> int:
    """The page checksum of RFC 3533 (polynomial 0x04c11db7, no reflection), by way of zlib's reflected one."""
    reflected = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def ulaw_wav(recording_id: str) -> bytes:
    """G.711 mu-law WAV, 8 kHz mono, 1 to 2 s of quarter-second tones, 8 to 16 KB."""
    length = 4 + digest("length", recording_id)[0] % 5
    samples = b"".join(_ulaw_tone(hz) for hz in _melody(recording_id, length))
    layout = struct.pack("<HHIIHHH", _ULAW_FORMAT, 1, _WAV_RATE, _WAV_RATE, 1, 8, 0)
    comment = f"{recording_id}\0".encode()
    info = b"INFO" + _riff_chunk(b"ICMT", comment)
    chunks = (
        _riff_chunk(b"fmt ", layout)
        + _riff_chunk(b"fact", struct.pack("<I", len(samples)))
        + _riff_chunk(b"LIST", info)
        + _riff_chunk(b"data", samples)
    )
    return _riff_chunk(b"RIFF", b"WAVE" + chunks)


def _riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


@functools.cache
def _ulaw_tone(hz: int) -> bytes:
    wave = (math.sin(2 * math.pi * hz * index / _WAV_RATE) for index in range(_WAV_CLIP_SAMPLES))
    return bytes(_ulaw(int(9000 * value)) for value in wave)


def _ulaw(sample: int) -> int:
    """One 16-bit sample as mu-law (ITU-T G.711)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _ULAW_CLIP) + _ULAW_BIAS
    exponent = magnitude.bit_length() - 8
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return ~(sign | exponent << 4 | mantissa) & 0xFF


def screen_webm(recording_id: str) -> bytes:
    """WebM (Matroska, VP8), one second of a moving square, about 1 KB."""
    webm = _frames().webm
    title = _ebml(_TITLE, recording_id.encode())
    info = _ebml(_INFO, webm["before_title"] + title + webm["after_title"])
    return webm["header"] + _ebml(_SEGMENT, info + webm["tracks_and_cluster"])


def _ebml(element: bytes, body: bytes) -> bytes:
    return element + (0x0100000000000000 | len(body)).to_bytes(8, "big") + body


_WRITERS = {"opus": ogg_opus, "wav": ulaw_wav, "webm": screen_webm}
CONTENT_TYPES = {"opus": "audio/ogg", "wav": "audio/wav", "webm": "video/webm"}


def media_bytes(recording_id: str, extension: str) -> bytes:
    """The media file of a recording.

    Args:
        extension: `opus`, `wav` or `webm`.
    """
    return _WRITERS[extension](recording_id)
