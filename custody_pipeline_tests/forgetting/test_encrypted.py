"""A night with encrypted landing files and captures: the same rows, and no data of a caller readable in the files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from custody_pipeline.capture.capture_place import capture_place, open_file
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.landing_files import RECEIPTS, content_of, line_of, read_lines
from custody_pipeline.forgetting import erase as erasing
from custody_pipeline.forgetting import places
from custody_pipeline.forgetting.due import apply
from custody_pipeline.forgetting.erase import HeldError, erase, look, resume
from custody_pipeline.forgetting.finder import Asked, NothingToEraseError
from custody_pipeline.forgetting.keeping import plan_places
from custody_pipeline.forgetting.policy import Policy, load_policy
from custody_pipeline.io.encrypted_files import encrypted_bytes, is_encrypted
from custody_pipeline.io.gzipped import gzipped
from custody_pipeline.io.night_keys import NightForgottenError, forgotten_nights, key_path, night_keys_of
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.matters.holds import HELD, Holds
from custody_pipeline.matters.register import new_matter, register_of
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import Night, run
from custody_pipeline.operations.packaging import package
from custody_pipeline.operations.rebuild import rebuild
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.forgetting.conftest import MARKED, NIGHT, Marked, capture
from custody_pipeline_tests.forgetting.killed import say
from custody_pipeline_tests.forgetting.test_erase import asked
from custody_pipeline_tests.forgetting.traces import CORE, SECOND, in_bytes, in_home, versions
from custody_pipeline_tests.simulated import rows, vendor

pytestmark = pytest.mark.server

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def twins(server: S3Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    """One night of one vendor, collected and published by a plain deployment and by one that encrypts."""
    home = tmp_path_factory.mktemp("plain")
    organization = Marked(night=NIGHT, size=8, faults=FaultPlan.only("SIDECAR_UNREADABLE"))
    key = home.with_name("night.key")
    key.write_text(SECRET.hex())
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        with vendor(
            organization, server, home, bucket="twin-exports", publish_url="s3://twin-plain/prod", single_reads="all"
        ) as found:
            change: dict[str, Any] = {"home": home.with_name("encrypted"), "publish_url": "s3://twin-encrypted/prod"}
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
        target.write_bytes(data := encrypted_bytes(source.read_bytes(), key))
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
    kinds = {file.parent.parent.name: is_encrypted(file) for file in landed(twin)}
    assert kinds.pop(RECEIPTS) is False
    assert set(kinds.values()) == {True}
    assert {"captures", "conversations", "conversation_details", "export_sidecars"} <= kinds.keys()
    sealed = dict(versions(s3_client(twin), "twin-encrypted"))
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
        assert is_encrypted(twin.home / "captures" / key)
        assert (
            orjson.loads(place.read(key) or b"").keys()
            == orjson.loads((plain.home / "captures" / same).read_bytes()).keys()
        )
        assert place.create(key, b"{}") is False
        assert open_file(twin, twin.home / "captures" / key) == place.read(key)
    file = next(path for path in landed(twin) if is_encrypted(path))
    assert gzip.decompress(open_file(twin, file)) == b"".join(read_lines(file, night_keys_of(twin)))
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
        files = [file for file in landed(twin) if is_encrypted(file)]
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
    for key, data in versions(s3_client(twin), "twin-encrypted"):
        assert not in_bytes(data), key
        if "/landing/" in key and data.startswith(b"CPN1"):
            (path := twin.home / "copy").write_bytes(data)
            assert CORE.encode() not in b"".join(read_lines(path, keys)), key
            path.unlink()
    report = checked(twin)
    assert report.status == 0, report.summary()


# --- forgetting the key -----------------------------------------------------------------------------------------------


def wanted(**change: Any) -> Asked:
    return Asked(**{"what": NIGHT, "reason": "end of its time", "authority": "schedule 4", **change})


def key_material(settings: Settings) -> list[bytes]:
    """The night's key and the wrapped key, in each form in which they might be stored."""
    key = night_keys_of(settings).of(NIGHT)
    assert key is not None
    wrapped = orjson.loads(Path(settings.night_keys, key_path(NIGHT)).read_bytes())["wrapped"]
    forms = [key.secret, base64.b64decode(wrapped)]
    return [*forms, *(form.hex().encode() for form in forms), *(base64.b64encode(form) for form in forms)]


def holding_material(settings: Settings, material: list[bytes]) -> list[str]:
    paths = [path for path in settings.home.rglob("*") if path.is_file()]
    found = [str(path) for path in paths if any(form in path.read_bytes() for form in material)]
    for bucket in ("twin-encrypted", "twin-exports"):
        for key, data in versions(s3_client(settings), bucket):
            if any(form in data for form in material):
                found.append(key)
    return found


def test_what_holds_a_conversation_holds_the_key_of_its_night(twins: tuple[Settings, Settings], tmp_path: Path) -> None:
    plain, twin = twins
    with pytest.raises(SettingsError, match="no night has a key"):
        erase(plain, wanted(), say)
    with pytest.raises(NothingToEraseError, match="2026-11-03 has no key"):
        erase(twin, wanted(what=date(2026, 11, 3)), say)
    (row,) = rows(twin, "SELECT min(conversation_id) FROM custody.chain_of_custody WHERE gap_reasons <> ['ERASED']")
    register = register_of(twin, "roe")
    new_matter(twin, "roe", "Roe", "1", {"ids": [str(row[0])]})
    register.folder.mkdir(parents=True, exist_ok=True)
    (register.folder / "holds.json").write_bytes(msgspec.json.encode(Holds({str(row[0]): HELD})))
    with pytest.raises(HeldError, match=r"since it is held by matter roe \(conversation"):
        erase(twin, wanted(), say)
    (outcome,) = resume(twin, say)
    assert outcome.request.state == "waiting"
    policy = policy_of(tmp_path)
    (item,) = plan_places(twin, policy, NIGHT + timedelta(days=31)).held
    assert (item[0].place, item[0].what) == ("documents", str(NIGHT))
    assert plan_places(twin, policy, NIGHT + timedelta(days=30)).held == ()
    with pytest.raises(SettingsError, match="'documents' needs encryption"):
        plan_places(plain, policy, NIGHT)
    (register.folder / "holds.json").unlink()
    (twin.home / f"erasures/{outcome.request.id}.json").unlink()


class KilledError(Exception):
    """The process ends here."""


def killing(*_: object, **__: object) -> None:
    raise KilledError


def policy_of(folder: Path) -> Policy:
    path = folder / "retention.yaml"
    rules = "[{name: all, documents: 30 days}]"
    path.write_text(f"version: 1\nauthority: schedule 4\nreason: end of its time\nrules: {rules}")
    return load_policy(path)


def test_nobody_can_read_a_night_whose_key_was_forgotten_and_the_log_says_so(
    twins: tuple[Settings, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, twin = twins
    client, keys = s3_client(twin), night_keys_of(twin)
    material = key_material(twin)
    assert holding_material(twin, material) == [str(Path(twin.night_keys, key_path(NIGHT)))]
    before = {path: path.read_bytes() for path in landed(twin)}
    counted = rows(twin, "SELECT count(*) FROM custody.chain_of_custody")
    capture(twin, Marked(night=NIGHT, size=8).conversation(MARKED + 3), 1)
    place = capture_place(twin)
    (kept,) = place.keys("captures/")
    old = client.get_object(Bucket="twin-encrypted", Key="prod/log/checkpoint")["Body"].read()
    leftover = twin.home / "dlt/1-left/conversations.ndjson.gz"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"plain")

    with monkeypatch.context() as beside:
        beside.setattr(places, "sidecars_of", lambda *_: ["s3://twin-exports/one.custody.json"])
        found = look(twin, wanted())
    assert {item.kind for item in found.places} == {"landing", "capture", "cut", "key", "sidecar"}
    assert [item.note for item in found.places if item.note] == ["holds tags, is not encrypted, and stays"]
    # As if killed once the statement is sealed: the key is still there, and nothing uses it any more.
    with monkeypatch.context() as killed:
        killed.setattr(erasing, "remove_key", killing)
        with pytest.raises(KilledError):
            apply(twin, policy_of(tmp_path), NIGHT + timedelta(days=31), say)
    assert Path(twin.night_keys, key_path(NIGHT)).exists()
    with pytest.raises(NightForgottenError):
        place.read(kept)
    (outcome,) = apply(twin, policy_of(tmp_path), NIGHT + timedelta(days=31), say).outcomes

    assert (outcome.request.state, outcome.request.forget_key) == ("done", True)
    assert holding_material(twin, material) == []
    assert not leftover.exists()
    assert rows(twin, "SELECT count(*) FROM custody.chain_of_custody") == counted
    assert {path: path.read_bytes() for path in landed(twin)} == before
    for opening in (night_keys_of(twin), keys):
        for path in landed(twin):
            if path.parent.parent.name != RECEIPTS:
                with pytest.raises(NightForgottenError):
                    list(read_lines(path, opening))
    with pytest.raises(NightForgottenError):
        place.read(kept)
    # Whoever kept the secret of the deployment, and all that is there, has no key of the night.
    assert not Path(twin.night_keys, key_path(NIGHT)).exists()

    place_of = S3Location.parse(str(twin.publish_url))
    options = Options(public_keys=signing_verifiers(twin), pinned=[old])
    report = verify(S3Reader(client, place_of), options)
    assert report.status == 0, report.summary()
    (told,) = [finding for finding in report.findings if finding.code == "KEY_FORGOTTEN"]
    assert "reason: end of its time (all); authority: schedule 4" in told.detail
    assert "and 3 documents of the capture place" in told.detail

    # Nothing more is kept of the night, and nothing is lost that was modelled.
    with pytest.raises(NightForgottenError):
        run(night_of(twin))
    with pytest.raises(NightForgottenError):
        capture(twin, Marked(night=NIGHT, size=8).conversation(MARKED + 3), 2)
    assert forgotten_nights(twin) == {NIGHT}
    with pytest.raises(NothingToEraseError, match="was forgotten by request"):
        erase(twin, wanted(), say)
    assert resume(twin, say) == []
    other = Marked(night=NIGHT, size=8).conversation(MARKED + 1)
    assert erase(twin, asked(other.id), say).request.state == "done"
    report = checked(twin)
    assert report.status == 0, report.summary()
    assert {"KEY_FORGOTTEN", "ERASED"} <= {finding.code for finding in report.findings}

    settings = twin.model_copy(update={"home": tmp_path / "home", "landing_url": twin.landing})
    shutil.copytree(twin.home / "keys", settings.home / "keys")
    (rebuilt,) = rebuild(settings, load_mapping(settings.mapping_path), say)
    assert {uri.rsplit("/", 3)[1] for uri in rebuilt.lost} >= {"captures", "conversations", "export_sidecars"}
