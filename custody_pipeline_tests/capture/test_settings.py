"""Capture's settings refuse what cannot work, and never repeat a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from custody_pipeline.settings import Settings, SettingsError, load_settings


def test_two_secrets_may_be_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_WEBHOOK_SECRETS", "new:0123456789abcdef, old:fedcba9876543210")
    settings = load_settings()
    assert settings.webhook_keys == {"new": b"0123456789abcdef", "old": b"fedcba9876543210"}
    assert "0123456789abcdef" not in repr(settings)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("0123456789abcdef", "expected key_id:secret"),
        ("a b:0123456789abcdef", "expected key_id:secret"),
        ("k1:tooshort-secret", "at least 16 characters"),
        ("k1:0123456789abcdef,k1:0123456789abcdef", "the same key id"),
        ("k1:0123456789abcdef,k2:0123456789abcdef,k3:0123456789abcdef", "at most 2"),
    ],
)
def test_a_wrong_secret_setting_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    monkeypatch.setenv("CUSTODY_WEBHOOK_SECRETS", value.replace("tooshort-secret", "tooshort"))
    with pytest.raises(SettingsError, match=problem) as caught:
        load_settings()
    assert "CUSTODY_WEBHOOK_SECRETS" in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


def test_the_spool_and_the_captures_are_under_the_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert settings.spool_path == tmp_path / "spool" / "events.sqlite"
    assert settings.captures == str(tmp_path / "captures")
