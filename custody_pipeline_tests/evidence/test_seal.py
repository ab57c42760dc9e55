"""Sealing: a crash at any step leaves the old or the new head, and a fork is never signed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Cut, CutError, decode_cut, encode_cut, is_safe_path
from custody_pipeline.evidence.cut.seal import HEAD, SealError, recover
from custody_pipeline.evidence.log.checkpoint import Head, InconsistentHeadError
from custody_pipeline.evidence.log.keys import Ed25519Signer, rotation
from custody_pipeline.evidence.log.note import parse
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline_tests.evidence.published import NIGHTS, ORIGIN, OTHER, SIGNER, Publisher, published_head, rows

KEYS = [SIGNER.verifier]


def head(root: Path) -> Head:
    return published_head(root, [SIGNER])


def heal(root: Path) -> int:
    """Carry out what `recover` gives until nothing is left; the number of rounds."""
    rounds = 0
    publisher = Publisher(root)
    while writes := recover(FolderReader(root), KEYS, head(root)):
        for write in writes:
            publisher.put(write.path, write.data, write.once)
        rounds += 1
    return rounds


def status(root: Path) -> int:
    return verify(FolderReader(root), Options(public_keys=KEYS)).status


@pytest.mark.parametrize("first", [True, False], ids=["the first night", "a later night"])
def test_a_crash_after_any_write_leaves_the_old_or_the_new_head(tmp_path: Path, first: bool) -> None:
    whole = Publisher(tmp_path / "whole")
    if not first:
        whole.night(NIGHTS[0], rows(NIGHTS[0], count=5))
    old = whole.signed or Head.empty(ORIGIN)
    sealed = whole.night(NIGHTS[1], rows(NIGHTS[1], count=300))
    commit = next(i for i, write in enumerate(sealed.writes) if write.path.endswith("/cut.json"))
    assert sealed.writes[-1].path == HEAD
    for written in range(len(sealed.writes)):
        root = tmp_path / f"after{written}"
        crashed = Publisher(root)
        if not first:
            crashed.night(NIGHTS[0], rows(NIGHTS[0], count=5))
        crashed.crash_after = written
        crashed.night(NIGHTS[1], rows(NIGHTS[1], count=300))

        assert head(root) == old
        assert heal(root) == (1 if written > commit else 0)
        assert head(root) == (sealed.checkpoint.head if written > commit else old)
        if written > commit:
            assert status(root) == 0


def test_a_log_whose_head_was_lost_is_rebuilt_from_the_cuts_that_was_signed(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    for night in NIGHTS:
        publisher.night(night, rows(night, count=4))
    (tmp_path / HEAD).unlink()

    with pytest.raises(SealError, match="recover"):
        publisher.night("2026-11-05", rows("2026-11-05", count=1))
    shutil.rmtree(tmp_path / "cuts/date=2026-11-05")  # its files were put, it was never sealed

    assert heal(tmp_path) == 1
    assert head(tmp_path) == publisher.sealed[-1].checkpoint.head
    assert status(tmp_path) == 0


def test_a_cut_whose_records_were_changed_is_not_recovered(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=4))
    (tmp_path / HEAD).unlink()
    records = tmp_path / f"cuts/date={NIGHTS[0]}/r0001/data/records.ndjson"
    records.write_bytes(records.read_bytes().replace(b"yes", b"nay"))

    with pytest.raises(SealError, match="do not lead to the head"):
        heal(tmp_path)


def test_a_bucket_that_was_rolled_back_is_not_sealed_upon(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=9))
    (tmp_path / HEAD).unlink()
    for file in list((tmp_path / "cuts").rglob("cut.json")):
        file.unlink()

    with pytest.raises(InconsistentHeadError, match="rolled back"):
        publisher.night(NIGHTS[1], rows(NIGHTS[1], count=2))
    with pytest.raises(InconsistentHeadError, match="no prefix"):
        publisher.night(NIGHTS[2], rows(NIGHTS[2], count=12))


def test_tiles_that_are_not_those_of_the_head_are_not_sealed_upon(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=9))
    tile = tmp_path / "log/tile/0/000.p/10"
    tile.write_bytes(bytes(320))
    with pytest.raises(InconsistentHeadError, match="tiles are not those"):
        publisher.night(NIGHTS[1], rows(NIGHTS[1]))

    tile.unlink()
    with pytest.raises(InconsistentHeadError, match="missing"):
        publisher.night(NIGHTS[2], rows(NIGHTS[2]))


def test_a_cut_is_written_once(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=1))
    for file in (tmp_path / "cuts").rglob("data/*"):
        file.unlink()
    for file in (tmp_path / "cuts").rglob("landing/*/*"):
        file.unlink()

    with pytest.raises(SealError, match="written once"):
        publisher.night(NIGHTS[0], rows(NIGHTS[0], count=1))


def test_leaves_and_listed_rows_must_agree(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="not among the files"):
        Publisher(tmp_path).night(NIGHTS[0], rows(NIGHTS[0], count=1), files=[])


def test_a_night_without_recordings_is_sealed_and_verified(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.night(NIGHTS[0], [])
    publisher.night(NIGHTS[1], [])

    assert head(tmp_path).size == 2
    assert status(tmp_path) == 0


def test_keys_are_rotated_with_an_overlap(tmp_path: Path) -> None:
    """Both sign one night, the statement is in its cut; who knows either key can verify what it signed."""
    publisher = Publisher(tmp_path)
    new = Ed25519Signer(ORIGIN, bytes([3]) * 32)
    publisher.night(NIGHTS[0], rows(NIGHTS[0], count=2))
    publisher.signers = (SIGNER, new)
    both = publisher.night(NIGHTS[1], rows(NIGHTS[1], count=2))
    publisher.signers = (new,)
    publisher.night(NIGHTS[2], rows(NIGHTS[2], count=2))

    assert both.cut.keys == (SIGNER.verifier.vkey, new.verifier.vkey)
    assert len(parse((tmp_path / both.cut.prefix / "cut.json.sig").read_bytes()).signatures) == 2
    assert verify(FolderReader(tmp_path), Options(public_keys=[SIGNER.verifier, new.verifier])).status == 0
    assert verify(FolderReader(tmp_path), Options(public_keys=[new.verifier])).status == 1
    assert new.verifier.fingerprint in rotation(ORIGIN, [SIGNER], [new]).text.decode()


def a_cut(original: Publisher) -> Cut:
    return original.sealed[2].cut


def test_a_cut_comes_back_from_its_bytes(original: Publisher) -> None:
    assert decode_cut(encode_cut(a_cut(original))) == a_cut(original)


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (b'"schema":"custody-cut/v1"', b'"schema":"custody-cut/v2"'),
        (b'"revision":2', b'"revision":0'),
        (b'"revision":2', b'"revision":3'),
        (b'"revision":2', b'"revision":"2"'),
        (b'"night":"2026-11-03"', b'"night":"2026-11-3"'),
        (b'"night":"2026-11-03"', b'"night":"20261103"'),
        (b'"night":"2026-11-03",', b""),
        (b'"operator"', b'"more":1,"operator"'),
        (b'"complete":true', b'"complete":1'),
        (b'"data/gaps.parquet"', b'"/etc/passwd"'),
        (b'"data/gaps.parquet"', b'"data/../../x"'),
        (b'"data/gaps.parquet"', b'"data\\\\gaps"'),
        (b'"data/gaps.parquet"', b'"data/chain_of_custody.csv"'),
        (b'"data/gaps.parquet"', b'"cut.json"'),
        (b'"landing":["', b'"landing":["x'),
        (b'"rows":40', b'"rows":-1'),
        (b"{", b"\xff"),
        (b'{"', b'{ "'),
    ],
)
def test_a_cut_json_that_is_not_strictly_one_is_refused(original: Publisher, found: bytes, instead: bytes) -> None:
    data = encode_cut(a_cut(original))
    assert found in data

    with pytest.raises(CutError):
        decode_cut(data.replace(found, instead, 1))


def test_a_digest_that_is_none_is_refused(original: Publisher) -> None:
    file = msgspec.structs.replace(a_cut(original).files[0], sha256="A" * 64)
    data = encode_cut(msgspec.structs.replace(a_cut(original), files=(file, *a_cut(original).files[1:])))

    with pytest.raises(CutError, match="sha256"):
        decode_cut(data)


def test_what_belongs_to_a_cut_is_written_once_and_the_log_is_not(original: Publisher) -> None:
    for sealed in original.sealed:
        for write in sealed.writes:
            assert write.once == write.path.startswith("cuts/")
            assert is_safe_path(write.path)
        assert {Path(write.path).name for write in sealed.writes if write.once} == set(cuts.SEAL_FILES) - {
            cuts.TIMESTAMP
        }


def test_another_key_signs_another_cut_over_the_same_records(tmp_path: Path) -> None:
    ours, theirs = Publisher(tmp_path / "a"), Publisher(tmp_path / "b", signers=(OTHER,))
    one, two = (item.night(NIGHTS[0], rows(NIGHTS[0], count=2)) for item in (ours, theirs))

    assert one.cut.log == two.cut.log
    assert one.sha256 != two.sha256
    assert replace(one.checkpoint.head, root=b"") == replace(two.checkpoint.head, root=b"")
