"""Landing files go only when a sealed cut provably holds them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.evidence.log.keys import load_signer, new_key
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.publish.tidy import Tidied, tidy_landing
from custody_pipeline_tests.publish.nights import NIGHT, NOW, change_recording, insert_receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.settings import Settings

BUCKET = "custody-published"
LANDED = f"prod/cuts/date={NIGHT}/r0001/landing/conversation_details/20261103T023000Z-0a1b.ndjson.gz"
CUT = f"prod/cuts/date={NIGHT}/r0001/cut.json"


def publish(con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client) -> None:
    publish_night(con, settings, NIGHT, tables=("chain_of_custody", "gaps"), client=client, now=NOW)


def tidy(con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, days: int = 31, **more: Any) -> Tidied:
    options = {"keys": public_keys(settings, []), **more}
    return tidy_landing(con, settings, now=NOW + timedelta(days=days), client=client, **options)


@pytest.fixture
def landed(con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client) -> Path:
    """The landing file of a published night."""
    publish(con, settings, memory_s3)
    return next((settings.home / "landing").rglob("*.gz"))


def test_after_the_retention_a_file_that_the_cut_holds_is_removed(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, landed: Path
) -> None:
    assert tidy(con, settings, memory_s3, days=29).kept == {"sealed too recently": 1}
    would = tidy(con, settings, memory_s3, dry_run=True)
    assert (would.removed, would.bytes, landed.exists()) == ([str(landed)], landed.stat().st_size, True)
    assert tidy(con, settings, memory_s3).removed == [str(landed)]
    assert not landed.exists()
    assert tidy(con, settings, memory_s3) == Tidied()


def test_a_night_whose_files_were_removed_can_be_published_again(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, landed: Path
) -> None:
    content = landed.read_bytes()
    tidy(con, settings, memory_s3)
    change_recording(con, 0, "no")
    publish(con, settings, memory_s3)
    again = memory_s3.get_object(Bucket=BUCKET, Key=LANDED.replace("r0001", "r0002"))["Body"].read()
    assert again == content


def test_a_file_of_a_load_that_was_never_sealed_stays(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, landed: Path, tmp_path: Path
) -> None:
    (later,) = insert_receipt(con, tmp_path / "landing", hour=5)
    result = tidy(con, settings, memory_s3)
    assert (result.removed, result.kept) == ([str(landed)], {"in no sealed cut": 1})
    assert later.exists()


def _gone(client: S3Client) -> None:
    client.delete_object(Bucket=BUCKET, Key=LANDED)


def _altered(client: S3Client) -> None:
    client.put_object(Bucket=BUCKET, Key=LANDED, Body=b"altered", ChecksumAlgorithm="SHA256")


def _without_cut(client: S3Client) -> None:
    client.delete_object(Bucket=BUCKET, Key=CUT)


def _other_cut(client: S3Client) -> None:
    client.put_object(Bucket=BUCKET, Key=CUT, Body=b"{}")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_gone, "listed in a cut, whose copy is gone or altered"),
        (_altered, "listed in a cut, whose copy is gone or altered"),
        (_without_cut, "in no sealed cut"),
        (_other_cut, "in no sealed cut"),
    ],
)
def test_what_the_cut_does_not_provably_hold_stays(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    memory_s3: S3Client,
    landed: Path,
    harm: Callable[[S3Client], None],
    reason: str,
) -> None:
    harm(memory_s3)
    result = tidy(con, settings, memory_s3)
    assert (result.removed, result.kept) == ([], {reason: 1})
    assert landed.exists()


def test_a_cut_that_others_signed_proves_nothing(
    con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client, landed: Path
) -> None:
    stranger = load_signer(new_key("custody.example.com").private).verifier
    assert tidy(con, settings, memory_s3, keys=[stranger]).kept == {"in no sealed cut": 1}
    assert landed.exists()
