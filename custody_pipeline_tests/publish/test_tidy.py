"""Landing files go only when a sealed cut provably holds them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.evidence.log.keys import load_signer, new_key
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.tidy import Tidied, tidy_landing
from custody_pipeline_tests.publish.homes import BUCKET
from custody_pipeline_tests.publish.nights import NIGHT, NOW, OneNight, change_recording, insert_receipt

if TYPE_CHECKING:
    from pathlib import Path

LANDED = f"prod/cuts/date={NIGHT}/r0001/landing/conversation_details/20261103T023000Z-0a1b.ndjson.gz"
CUT = f"prod/cuts/date={NIGHT}/r0001/cut.json"


def tidy(night: OneNight, days: int = 31, **more: Any) -> Tidied:
    options = {"keys": public_keys(night.settings, []), **more}
    return tidy_landing(night.con, night.settings, now=NOW + timedelta(days=days), client=night.s3, **options)


@pytest.fixture
def landed(night: OneNight) -> Path:
    """The landing file of a published night."""
    night.publish()
    return night.landed()


def test_after_the_retention_a_file_that_the_cut_holds_is_removed(night: OneNight, landed: Path) -> None:
    assert tidy(night, days=29).kept == {"sealed too recently": 1}
    would = tidy(night, dry_run=True)
    assert (would.removed, would.bytes, landed.exists()) == ([str(landed)], landed.stat().st_size, True)
    assert tidy(night).removed == [str(landed)]
    assert not landed.exists()
    assert tidy(night) == Tidied()


def test_a_night_whose_files_were_removed_can_be_published_again(night: OneNight, landed: Path) -> None:
    content = landed.read_bytes()
    tidy(night)
    change_recording(night.con, 0, "no")
    night.publish()
    again = night.s3.get_object(Bucket=BUCKET, Key=LANDED.replace("r0001", "r0002"))["Body"].read()
    assert again == content


def test_a_file_of_a_load_that_was_never_sealed_stays(night: OneNight, landed: Path, tmp_path: Path) -> None:
    (later,) = insert_receipt(night.con, tmp_path / "landing", hour=5)
    result = tidy(night)
    assert (result.removed, result.kept) == ([str(landed)], {"in no sealed cut": 1})
    assert later.exists()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ({LANDED: None}, "listed in a cut, whose copy is gone or altered"),
        ({LANDED: b"altered"}, "listed in a cut, whose copy is gone or altered"),
        ({CUT: None}, "in no sealed cut"),
        ({CUT: b"{}"}, "in no sealed cut"),
    ],
)
def test_what_the_cut_does_not_provably_hold_stays(
    night: OneNight,
    landed: Path,
    harm: dict[str, bytes | None],
    reason: str,
) -> None:
    ((key, body),) = harm.items()
    if body is None:
        night.s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        night.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    result = tidy(night)
    assert (result.removed, result.kept) == ([], {reason: 1})
    assert landed.exists()


def test_a_cut_that_others_signed_proves_nothing(night: OneNight, landed: Path) -> None:
    stranger = load_signer(new_key("custody.example.com").private).verifier
    assert tidy(night, keys=[stranger]).kept == {"in no sealed cut": 1}
    assert landed.exists()
