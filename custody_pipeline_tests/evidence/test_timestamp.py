from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from custody_pipeline.evidence.cut.timestamp import TimestampError, verify_timestamp
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline_tests.evidence.authority import make_authority
from custody_pipeline_tests.evidence.published import SIGNER, Publisher, rows
from custody_pipeline_tests.evidence.reports import codes

Authority = tuple[Callable[[bytes], bytes], bytes]
NIGHT = "2024-11-02"
CUT = f"cuts/date={NIGHT}/r0001/"


@pytest.fixture(scope="module")
def response(authority: Authority) -> bytes:
    return authority[0](b"cut.json")


@pytest.fixture
def stamped(authority: Authority, tmp_path: Path) -> Path:
    publisher = Publisher(tmp_path / "stamped", timestamp=authority[0])
    publisher.night(NIGHT, rows(NIGHT, count=3), sealed_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return publisher.root


def checked(root: Path, roots: list[bytes]) -> tuple[int, set[str]]:
    report = verify(FolderReader(root), Options(public_keys=[SIGNER.verifier], timestamp_roots=roots))
    return report.status, codes(report)


def test_a_timestamp_vouches_for_the_time_of_the_bytes(authority: Authority, response: bytes) -> None:
    time = verify_timestamp(response, b"cut.json", [authority[1]])

    assert abs(datetime.now(UTC) - time) < timedelta(minutes=10)


@pytest.mark.parametrize("data", [b"", b"0", b"\x30\x03\x02\x01\x00", b"\x30" * 4000])
def test_what_is_no_response_is_refused(authority: Authority, data: bytes) -> None:
    with pytest.raises(TimestampError):
        verify_timestamp(data, b"cut.json", [authority[1]])


def test_a_timestamp_of_other_bytes_or_another_authority_is_refused(
    authority: Authority, response: bytes, tmp_path: Path
) -> None:
    with pytest.raises(TimestampError):
        verify_timestamp(response, b"another", [authority[1]])
    with pytest.raises(TimestampError):
        verify_timestamp(response, b"cut.json", [make_authority(tmp_path)[1]])
    with pytest.raises(TimestampError):
        verify_timestamp(response, b"cut.json", [b"no certificate"])
    with pytest.raises(TimestampError):
        verify_timestamp(response, b"cut.json", [])


def test_a_changed_byte_of_a_response_is_refused(authority: Authority, response: bytes) -> None:
    for offset in range(len(response) - 70, len(response), 9):
        changed = response[:offset] + bytes([response[offset] ^ 1]) + response[offset + 1 :]
        with pytest.raises(TimestampError):
            verify_timestamp(changed, b"cut.json", [authority[1]])


def test_whatever_bytes_a_response_has_it_is_refused_or_vouches_for_the_same_time(
    authority: Authority, response: bytes
) -> None:
    """Nobody signs the file itself: what the authority did not sign in it may differ, and the time may not."""
    true, chosen = verify_timestamp(response, b"cut.json", [authority[1]]), random.Random(1)
    for _ in range(1_500):
        at, other = chosen.randrange(len(response)), chosen.randrange(len(response))
        count = chosen.randrange(1, 40)
        data = response[:at] + response[other : other + count] + response[at + chosen.choice((0, count)) :]
        with suppress(TimestampError):
            assert verify_timestamp(data, b"cut.json", [authority[1]]) == true
    for deep in (b"\x30\x80" * 30_000, b"\x30\x84\xff\xff\xff\xff" * 9_000, b"\xa0\x82\xff\xff" * 15_000):
        with pytest.raises(TimestampError):
            verify_timestamp(deep, b"cut.json", [authority[1]])


def test_a_stamped_cut_is_verified_with_the_root_and_unchecked_without(authority: Authority, stamped: Path) -> None:
    assert checked(stamped, [authority[1]])[0] == 0
    assert checked(stamped, []) == (2, {"TIMESTAMP_NOT_CHECKED", "NO_PINNED_CHECKPOINT"})


def test_a_timestamp_that_was_removed_or_exchanged_is_found(
    authority: Authority, stamped: Path, response: bytes
) -> None:
    (stamped / CUT / "cut.json.tsr").write_bytes(response)
    assert checked(stamped, [authority[1]]) == (1, {"TIMESTAMP_WRONG", "NO_PINNED_CHECKPOINT"})

    (stamped / CUT / "cut.json.tsr").unlink()
    assert checked(stamped, [authority[1]]) == (1, {"TIMESTAMP_MISSING", "NO_PINNED_CHECKPOINT"})


def test_a_timestamp_of_another_time_than_the_sealing_is_found(authority: Authority, tmp_path: Path) -> None:
    Publisher(tmp_path, timestamp=authority[0]).night(NIGHT, rows(NIGHT, count=3), sealed_at="2024-11-03T02:30:00Z")

    assert "TIME_WRONG" in checked(tmp_path, [authority[1]])[1]
