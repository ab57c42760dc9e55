"""Keys and secrets of the seal: made when there are none, refused when they are wrong, never shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import responses
from pydantic import SecretStr

from custody_pipeline.evidence.log.keys import SigningKeyError, new_key, write_new_key
from custody_pipeline.evidence.reader import NOTE_BYTES
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.sealing import TimestampUnavailableError, load_sealing, load_signing_key
from custody_pipeline.settings import SettingsError, load_settings
from custody_pipeline_tests.evidence.authority import make_authority

if TYPE_CHECKING:
    from pathlib import Path

    from custody_pipeline.settings import Settings


@pytest.fixture(autouse=True)
def _home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))


def test_without_settings_a_key_is_made_that_says_demo_and_is_kept(settings: Settings) -> None:
    first, second = load_sealing(load_settings()), load_sealing(load_settings())
    assert first.origin.startswith("DEMO")
    assert first.signers[0].verifier == second.signers[0].verifier
    assert first.salt_secret == second.salt_secret
    assert len(first.salt_secret) == 32
    assert all(path.stat().st_mode & 0o077 == 0 for path in (settings.home / "keys").glob("*[!b]"))
    assert first.timestamp is None
    assert (first.lock_mode, first.legal_hold) == (None, False)


@pytest.mark.parametrize("gone", ["demo.key", "salt"])
def test_what_sealed_before_is_never_replaced_silently(settings: Settings, gone: str) -> None:
    load_sealing(load_settings())
    (settings.home / "publish").mkdir()
    (settings.home / "publish/head").write_bytes(b"signed before")
    (settings.home / "keys" / gone).unlink()
    with pytest.raises((SigningKeyError, SettingsError), match=f"{gone} is not there, and this home has sealed nights"):
        load_sealing(load_settings())
    assert not (settings.home / "keys" / gone).exists()


@pytest.mark.parametrize("written", [b"\xff\xfe", b"no hex", b"5a"])
def test_a_salt_that_is_none_is_refused(settings: Settings, written: bytes) -> None:
    load_sealing(load_settings())
    (settings.home / "keys/salt").write_bytes(written)
    with pytest.raises(SettingsError, match="hex"):
        load_sealing(load_settings())


def test_a_home_that_sealed_with_a_named_key_gets_no_demo_key_when_the_name_is_gone(settings: Settings) -> None:
    (settings.home / "publish").mkdir(parents=True)
    (settings.home / "publish/head").write_bytes(b"signed before")
    with pytest.raises(SigningKeyError, match="CUSTODY_SIGNING_KEY_FILE"):
        load_sealing(load_settings())
    assert list((settings.home / "keys").iterdir()) == []


def test_a_key_from_the_environment_and_one_from_a_file_sign_one_log(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, following = new_key("custody.example.com/eu"), new_key("custody.example.com/eu")
    write_new_key(tmp_path / "next.key", following)
    monkeypatch.setenv("CUSTODY_SIGNING_KEY", current.private)
    monkeypatch.setenv("CUSTODY_NEXT_SIGNING_KEY_FILE", str(tmp_path / "next.key"))
    sealing = load_sealing(load_settings())
    assert [signer.verifier.vkey for signer in sealing.signers] == [current.public, following.public]
    assert sealing.origin == "custody.example.com/eu"
    assert not (settings.home / "keys" / "demo.key").exists()
    # The old key may be destroyed then; this home still checks what it sealed.
    monkeypatch.setenv("CUSTODY_SIGNING_KEY", following.private)
    monkeypatch.delenv("CUSTODY_NEXT_SIGNING_KEY_FILE")
    assert {key.vkey for key in public_keys(load_settings(), [])} == {current.public, following.public}


def test_two_keys_for_one_purpose_are_refused_without_showing_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = new_key("custody.example.com").private
    monkeypatch.setenv("CUSTODY_SIGNING_KEY", private)
    monkeypatch.setenv("CUSTODY_SIGNING_KEY_FILE", "/keys/custody.key")
    with pytest.raises(SettingsError, match="not several") as caught:
        load_sealing(load_settings())
    assert private not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CUSTODY_SALT_SECRET", "short", "openssl rand -hex 32"),
        ("CUSTODY_SALT_SECRET", "00" * 31, "openssl rand -hex 32"),
        ("CUSTODY_SIGNING_KEY_KMS", "arn:aws:kms:eu-west-1:1:key/k", "CUSTODY_LOG_ORIGIN"),
        ("CUSTODY_LOCK_MODE", "FOREVER", "CUSTODY_LOCK_MODE"),
        ("CUSTODY_LOCK_DAYS", "0", "CUSTODY_LOCK_DAYS"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_accepted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=says):
        load_settings()  # before a night collects anything


def test_an_empty_key_is_wrong_and_not_the_demo_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SigningKeyError):
        load_signing_key(settings.model_copy(update={"signing_key": SecretStr("")}))
    monkeypatch.setenv("CUSTODY_SIGNING_KEY", "")
    with pytest.raises(SettingsError, match="CUSTODY_SIGNING_KEY is empty"):
        load_settings()


def test_a_key_file_that_is_not_there_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_SIGNING_KEY_FILE", "/nowhere/custody.key")
    with pytest.raises(SigningKeyError, match=r"/nowhere/custody\.key"):
        load_sealing(load_settings())


TSA = "http://tsa.example.com/"
Timestamp = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A response of a local authority for b"cut"."""
    stamp, _ = make_authority(tmp_path_factory.mktemp("tsa"))
    return stamp(b"cut")


@pytest.fixture
def timestamp(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Timestamp:
    """Asks the authority that the settings name."""
    monkeypatch.setenv("CUSTODY_TIMESTAMP_URL", TSA)
    asks = load_sealing(load_settings()).timestamp
    assert asks is not None
    return asks


@responses.activate
def test_a_timestamp_is_asked_for_again_when_the_authority_is_busy(timestamp: Timestamp, granted: bytes) -> None:
    responses.post(TSA, status=503)
    responses.post(TSA, body=granted)
    assert timestamp(b"cut") == granted
    assert responses.calls[0].request.headers["Content-Type"] == "application/timestamp-query"


@responses.activate
@pytest.mark.parametrize(
    "answer",
    [{"status": 400}, {"body": b"no response"}, {"body": bytes.fromhex("30053003020102")}],
    ids=["an error", "no response at all", "a refusal"],
)
def test_without_a_usable_timestamp_nothing_is_sealed(timestamp: Timestamp, answer: dict[str, Any]) -> None:
    responses.post(TSA, **answer)
    with pytest.raises(TimestampUnavailableError, match="CUSTODY_TIMESTAMP_URL"):
        timestamp(b"cut")


@responses.activate
def test_a_timestamp_of_other_bytes_is_refused(timestamp: Timestamp, granted: bytes) -> None:
    responses.post(TSA, body=granted)
    with pytest.raises(TimestampUnavailableError):
        timestamp(b"another cut")


class Endless(io.RawIOBase):
    """An answer without an end; whoever reads on for long fails."""

    sent = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.sent += len(buffer)
        assert self.sent <= 4 << 20, "the answer is read without an end"
        buffer[:] = bytes(len(buffer))
        return len(buffer)


@responses.activate
@pytest.mark.parametrize("status", [200, 302])
def test_an_answer_without_an_end_is_read_up_to_the_largest_timestamp(timestamp: Timestamp, status: int) -> None:
    endless = Endless()
    responses.post(
        TSA,
        body=io.BufferedReader(endless),
        status=status,
        headers={"Location": TSA},
        auto_calculate_content_length=False,
    )
    with pytest.raises(TimestampUnavailableError):
        timestamp(b"cut")
    assert endless.sent >= NOTE_BYTES
