"""What a page shows of a seal, and what a quick look at the published copies finds: against a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from custody_pipeline.defs.metadata import seal_metadata
from custody_pipeline.evidence.cut.manifest import CutError
from custody_pipeline.evidence.log.note import NoteError
from custody_pipeline.evidence.reader import NOTE_BYTES, TooLargeError
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.publish.read_sealed import differing_copies, differing_files, read_sealed
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.settings import Settings
from custody_pipeline_tests.publish.nights import NIGHT, NOW

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from custody_pipeline.simulator.local_s3 import S3Endpoint

pytestmark = pytest.mark.server


@pytest.fixture
def published(
    con: duckdb.DuckDBPyConnection,
    server: S3Endpoint,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """A night, published with a lock."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    settings = Settings(
        home=tmp_path,
        publish_url=f"s3://{bucket}/prod",
        s3_endpoint_url=server.url,
        s3_region=server.region,
        legal_hold=True,
    )
    publish_night(con, settings, NIGHT, tables=("chain_of_custody", "gaps"), now=NOW)
    return settings


def test_a_page_shows_who_signed_where_it_is_in_the_log_and_how_it_is_locked(published: Settings) -> None:
    (key,) = signing_verifiers(published)
    shown = seal_metadata(read_sealed(published, NIGHT))
    assert shown["key fingerprint"] == f"sha256:{key.fingerprint}"
    assert shown["signed by"].startswith(key.name)
    assert (shown["log index of the first record"], shown["log index of cut.json"], shown["log size"]) == (0, 3, 4)
    assert isinstance(shown["checkpoint"], dg.MarkdownMetadataValue)
    assert f"\n{shown['log']}\n4\n" in str(shown["checkpoint"].value)
    assert (shown["timestamp"], shown["lock"]) == ("none: no authority was asked", "no retention, legal hold")
    assert (shown["sealed at"], shown["recordings sealed"]) == ("2026-11-03T02:30:00Z", 3)


def test_a_copy_that_is_not_what_was_sealed_is_found_by_what_the_store_states(
    published: Settings, s3: Any, bucket: str
) -> None:
    cut = read_sealed(published, NIGHT).cut
    assert differing_copies(published, cut) == {"chain_of_custody": [], "gaps": []}
    assert list(differing_files(published, cut)) == []

    altered, gone = (f"prod/csv/gaps/date={NIGHT}/gaps.csv", f"prod/parquet/gaps/date={NIGHT}/gaps.parquet")
    body = s3.get_object(Bucket=bucket, Key=altered)["Body"].read()
    s3.put_object(Bucket=bucket, Key=altered, Body=body[:-1] + b"!")
    s3.delete_object(Bucket=bucket, Key=gone)
    found = differing_copies(published, cut)
    assert found["chain_of_custody"] == []
    assert {wrong["uri"].removeprefix(f"s3://{bucket}/") for wrong in found["gaps"]} == {altered, gone}

    s3.put_object(Bucket=bucket, Key=f"prod/{cut.prefix}data/gaps.csv", Body=b"short")
    assert [wrong["file"] for wrong in differing_files(published, cut)] == [f"{cut.prefix}data/gaps.csv"]
    signed = s3.get_object(Bucket=bucket, Key=f"prod/{cut.prefix}cut.json")["Body"].read()
    s3.put_object(Bucket=bucket, Key=f"prod/{cut.prefix}cut.json", Body=signed.replace(b'"gap"', b'"gas"') + b" ")
    with pytest.raises((CutError, NoteError)):
        read_sealed(published, NIGHT)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{}", b"[" * 9_000),
        b'{"night": "%s", "revision": "../1"}' % str(NIGHT).encode(),
        b'{"night": "%s", "revision": 0}' % str(NIGHT).encode(),
        b'{"night": "2026-01-01", "revision": 1}',
    ],
)
def test_a_pointer_that_is_none_is_told(body: bytes, memory_s3: Any, tmp_path: Path) -> None:
    memory_s3.put_object(Bucket="custody-published", Key=f"current/date={NIGHT}.json", Body=body)
    settings = Settings(home=tmp_path, publish_url="s3://custody-published", s3_region="us-east-1")
    with pytest.raises(CutError, match="no pointer to a night"):
        read_sealed(settings, NIGHT)


def test_a_seal_that_is_larger_than_any_is_not_read_whole(memory_s3: Any, tmp_path: Path) -> None:
    pointer = b'{"night": "%s", "revision": 1}' % str(NIGHT).encode()
    memory_s3.put_object(Bucket="custody-published", Key=f"current/date={NIGHT}.json", Body=pointer)
    for name, body in (("cut.json", b"{}"), ("cut.json.sig", b"x" * (NOTE_BYTES + 1))):
        memory_s3.put_object(Bucket="custody-published", Key=f"cuts/date={NIGHT}/r0001/{name}", Body=body)
    settings = Settings(home=tmp_path, publish_url="s3://custody-published", s3_region="us-east-1")
    with pytest.raises(TooLargeError):
        read_sealed(settings, NIGHT)
