"""A key for each night: made once, wrapped under a file or KMS, bound to its night, and forgotten for good."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from custody_pipeline.forgetting.night_key import remove_key
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline.io.night_keys import (
    KmsWrapping,
    LocalWrapping,
    NightForgottenError,
    NightKeyError,
    NightKeys,
    forgotten_nights,
    night_keys_of,
)
from custody_pipeline.operations.doctor import examine
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from custody_pipeline.io.encrypted_files import NightKey

NIGHT, OTHER = date(2026, 11, 2), date(2026, 11, 3)
CURRENT, EARLIER = bytes(range(32)), bytes(32)


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("kms", region_name="eu-central-1")


def local(folder: Path, *secrets: bytes) -> NightKeys:
    return NightKeys(LocalWrapping(secrets or (CURRENT,)), FolderStore(folder))


def made(keys: NightKeys, night: date = NIGHT) -> NightKey:
    key = keys.of(night)
    assert key is not None
    return key


def kept(folder: Path, night: date = NIGHT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"date={night}/key.json").read_bytes())
    return found


def test_a_night_has_one_key_which_every_process_finds_again(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: made(local(tmp_path)), range(32)))
    (key,) = found
    assert local(tmp_path).named(NIGHT, key.id) == key
    assert made(local(tmp_path), OTHER).secret != key.secret
    assert local(tmp_path).nights() == [NIGHT, OTHER]
    assert key.secret.hex() not in str(kept(tmp_path))


def test_a_night_that_has_a_key_gets_no_plain_file_where_the_setting_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    store = Settings(home=tmp_path).night_keys
    assert [line for line in examine() if line.check == "night keys"] == []
    made(local(Path(store)))
    keys = night_keys_of(Settings(home=tmp_path))
    with pytest.raises(NightKeyError, match="2026-11-02 has a key, and its new files would not be encrypted"):
        keys.of(NIGHT)
    assert keys.of(OTHER) is None
    (line,) = [line for line in examine() if line.check == "night keys"]
    assert (line.state, line.found) == ("not ok", f"no key is set, and 1 night has one in {store}")


def test_without_a_key_to_wrap_with_nothing_is_encrypted(tmp_path: Path) -> None:
    keys = NightKeys()
    assert (keys.on, keys.of(NIGHT), keys.nights(), keys.forgotten(NIGHT)) == (False, None, [], None)
    keys.probe()
    with pytest.raises(NightKeyError, match="CUSTODY_NIGHT_KEY_FILE or CUSTODY_NIGHT_KEY_KMS"):
        keys.named(NIGHT, bytes(16))
    assert list(tmp_path.iterdir()) == []


def test_a_wrapped_key_is_of_its_night_and_id_alone(tmp_path: Path) -> None:
    key = made(local(tmp_path))
    told = kept(tmp_path)
    for change in ({"night": str(OTHER)}, {"id": "00" * 16}, {"wrapped": told["wrapped"][:-8] + "AAAAAAA="}):
        (tmp_path / f"date={NIGHT}/key.json").write_text(json.dumps(told | change))
        with pytest.raises(NightKeyError):
            local(tmp_path).of(NIGHT)
    (tmp_path / f"date={NIGHT}/key.json").write_text(json.dumps(told))
    with pytest.raises(NightKeyError, match="the night's key is"):
        local(tmp_path).named(NIGHT, bytes(16))
    assert made(local(tmp_path)) == key


def test_a_local_key_can_be_replaced_while_the_old_one_still_opens(tmp_path: Path) -> None:
    key = made(local(tmp_path, EARLIER))
    with pytest.raises(NightKeyError, match="not in CUSTODY_NIGHT_KEY_FILE"):
        local(tmp_path, CURRENT).of(NIGHT)
    both = local(tmp_path, CURRENT, EARLIER)
    assert made(both) == key
    made(both, OTHER)
    assert local(tmp_path, CURRENT).of(OTHER) is not None


@pytest.mark.parametrize("text", ["", "not hex", CURRENT.hex()[:-2], CURRENT.hex().upper() + "Z", "ä"])
def test_a_key_file_of_another_form_is_refused_with_the_form_and_without_its_content(tmp_path: Path, text: str) -> None:
    path = tmp_path / "night.key"
    with pytest.raises(NightKeyError, match="No such file"):
        LocalWrapping.from_file(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NightKeyError, match="64 hex digits a line") as refused:
        LocalWrapping.from_file(path)
    assert not text or text not in str(refused.value)
    path.write_text(f"{CURRENT.hex()}\n{EARLIER.hex()}\n")
    NightKeys(LocalWrapping.from_file(path), FolderStore(tmp_path)).probe()


def test_kms_wraps_and_each_kms_key_opens_what_it_wrapped(kms: Any, tmp_path: Path) -> None:
    elsewhere = boto3.client("kms", region_name="us-east-1")
    first, second = (client.create_key()["KeyMetadata"]["Arn"] for client in (elsewhere, kms))
    store = FolderStore(tmp_path)
    key = made(NightKeys(KmsWrapping(first), store))
    assert kept(tmp_path)["under"] == first
    later = NightKeys(KmsWrapping(second), store)
    later.probe()
    assert made(later) == key
    told = kept(tmp_path)
    (tmp_path / f"date={NIGHT}/key.json").write_text(json.dumps(told | {"id": "00" * 16}))
    with pytest.raises(NightKeyError, match="kms:Decrypt was refused"):
        NightKeys(KmsWrapping(first), store).of(NIGHT)
    with pytest.raises(NightKeyError, match=f"CUSTODY_NIGHT_KEY_KMS={first}"):
        local(tmp_path).of(NIGHT)
    with pytest.raises(NightKeyError, match="no such key"):
        NightKeys(KmsWrapping(f"{second[:-4]}0000"), store).of(OTHER)
    made(local(tmp_path), OTHER)
    with pytest.raises(NightKeyError, match="set CUSTODY_NIGHT_KEY_FILE"):
        NightKeys(KmsWrapping(first), store).of(OTHER)


def test_a_night_stays_readable_when_the_alias_of_the_settings_moves_to_another_kms_key(
    kms: Any, tmp_path: Path
) -> None:
    """KMS refuses to decrypt under an alias that names another key by now: IncorrectKeyException (API reference)."""
    first, second = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    kms.create_alias(AliasName="alias/custody", TargetKeyId=first)
    alias, store = first.rpartition("key/")[0] + "alias/custody", FolderStore(tmp_path)
    key = made(NightKeys(KmsWrapping(alias), store))
    assert kept(tmp_path)["under"] == first
    kms.update_alias(AliasName="alias/custody", TargetKeyId=second)
    assert made(NightKeys(KmsWrapping(alias), store)) == key


def test_a_forgotten_night_has_no_key_and_gets_none_any_more(tmp_path: Path) -> None:
    keys = local(tmp_path)
    key = made(keys)
    assert keys.forget(OTHER, "ab" * 16, "2026-12-01T00:00:00Z") is None
    told = keys.forget(NIGHT, "ab" * 16, "2026-12-01T00:00:00Z")
    assert told is not None
    assert told.id == key.id.hex()
    for after in (keys, local(tmp_path)):
        with pytest.raises(NightForgottenError, match="abababab"):
            after.of(NIGHT)
        with pytest.raises(NightForgottenError, match="abababab"):
            after.named(NIGHT, key.id)
    (tmp_path / f"date={NIGHT}/key.json").unlink()
    with pytest.raises(NightForgottenError):
        local(tmp_path).of(NIGHT)
    assert local(tmp_path).nights() == []
    assert local(tmp_path).forget(NIGHT, "cd" * 16, "2026-12-02T00:00:00Z") == told
    assert not (tmp_path / f"date={NIGHT}/key.json").exists()


def test_a_forgotten_key_is_in_no_version_of_any_object(kms: Any, tmp_path: Path) -> None:
    arn, client = kms.create_key()["KeyMetadata"]["Arn"], boto3.client("s3", region_name="eu-central-1")
    client.create_bucket(Bucket="keys", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    client.put_bucket_versioning(Bucket="keys", VersioningConfiguration={"Status": "Enabled"})
    settings = Settings(home=tmp_path, night_key_kms=arn, night_keys_url="s3://keys/custody", s3_region="eu-central-1")
    keys = night_keys_of(settings)
    key, other = made(keys), made(keys, OTHER)
    assert made(night_keys_of(settings)) == key
    name = f"custody/date={NIGHT}/key.json"
    document = client.get_object(Bucket="keys", Key=name)["Body"].read()
    # A restored version, and a deleted one: whoever forgets a key forgets each.
    client.put_object(Bucket="keys", Key=name, Body=document)
    client.delete_object(Bucket="keys", Key=name)
    client.put_object(Bucket="keys", Key=name, Body=document)

    keys.forget(NIGHT, "ab" * 16, "2026-12-01T00:00:00Z")
    remove_key(settings, client, NIGHT, bypass_governance=False)

    left = client.list_object_versions(Bucket="keys")
    assert {item["Key"] for item in [*left.get("Versions", []), *left.get("DeleteMarkers", [])]} == {
        f"custody/date={NIGHT}/forgotten.json",
        f"custody/date={OTHER}/key.json",
    }
    assert (forgotten_nights(settings), night_keys_of(settings).nights()) == ({NIGHT}, [OTHER])
    with pytest.raises(NightForgottenError):
        night_keys_of(settings).of(NIGHT)
    assert made(night_keys_of(settings), OTHER) == other


def test_another_process_is_given_no_key_that_was_unwrapped(tmp_path: Path) -> None:
    keys = local(tmp_path)
    key = made(keys)
    given = pickle.dumps(keys)
    assert key.secret not in given
    assert made(pickle.loads(given)) == key  # noqa: S301 - made above


def test_foreign_folders_are_no_nights(tmp_path: Path) -> None:
    made(local(tmp_path))
    for name in ("date=old", "date=2026-11-31"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key.json").write_text("{}")
    assert local(tmp_path).nights() == [NIGHT]


@pytest.mark.parametrize("change", [{"id": "zz"}, {"wrapped": "?"}, {"wrapped": "é"}, {"wrapped": ""}, {"id": 1}, None])
def test_a_damaged_document_is_named(change: dict[str, Any] | None, tmp_path: Path) -> None:
    made(local(tmp_path))
    path = tmp_path / f"date={NIGHT}/key.json"
    path.write_text("[" if change is None else json.dumps(kept(tmp_path) | change))
    with pytest.raises(NightKeyError, match=str(NIGHT)):
        local(tmp_path).of(NIGHT)
