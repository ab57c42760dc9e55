"""`custody key`: made, shown, handed over."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.evidence.log.keys import new_key, parse_public_keys, signer_from_file, write_new_key
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path / "home"))
    return tmp_path


def test_what_is_shown_is_a_key_file_for_whoever_verifies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("current.key", "next.key"):
        made = CliRunner().invoke(app, ["key", "new", "custody.example.com/eu", str(home / name)])
        assert made.exit_code == 0
    monkeypatch.setenv("CUSTODY_SIGNING_KEY_FILE", str(home / "current.key"))
    monkeypatch.setenv("CUSTODY_NEXT_SIGNING_KEY_FILE", str(home / "next.key"))
    shown = CliRunner().invoke(app, ["key", "show"])
    assert shown.exit_code == 0
    keys = parse_public_keys(shown.stdout)
    assert keys == [
        key for name in ("current", "next") for key in parse_public_keys((home / f"{name}.key.pub").read_text())
    ]
    assert all(f"# sha256:{key.fingerprint}" in shown.stdout for key in keys)
    assert "PRIVATE" not in shown.stdout
    assert public_keys(load_settings(), []) == keys


def test_the_folder_of_a_new_key_is_made_for_its_owner_alone(home: Path) -> None:
    made = CliRunner().invoke(app, ["key", "new", "custody.example.com/eu", str(home / "keys/custody.key")])
    assert (made.exit_code, made.stdout.strip()) == (0, str(home / "keys/custody.key.pub"))
    assert (home / "keys").stat().st_mode & 0o777 == 0o700


def test_before_there_is_a_key_none_is_made_for_showing_it(home: Path) -> None:
    shown = CliRunner().invoke(app, ["key", "show"])
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert not (home / "home").exists()


def test_keys_of_the_home_and_the_one_that_signs_are_both_trusted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, current = new_key("custody.example.com/eu"), new_key("custody.example.com/eu")
    (home / "home/keys").mkdir(parents=True)
    (home / "home/keys/old.key.pub").write_text(old.public)
    monkeypatch.setenv("CUSTODY_SIGNING_KEY", current.private)
    assert [key.vkey for key in public_keys(load_settings(), [])] == [old.public, current.public]


def test_a_key_is_written_whole_and_over_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "new.key"
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="space"):
            write_new_key(path, new_key("custody.example.com/eu"))
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden files too
    public = write_new_key(path, new_key("custody.example.com/eu"))
    assert signer_from_file(path).verifier.vkey == public.read_text().strip()
    path.unlink()
    with pytest.raises(FileExistsError):
        write_new_key(path, new_key("custody.example.com/eu"))
    assert not path.exists()


def test_a_key_that_is_there_and_a_private_key_for_verifying_are_refused_in_words(home: Path) -> None:
    arguments = ["key", "new", "custody.example.com/eu", str(home / "new.key")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 64
    assert again.stderr == f"{home / 'new.key.pub'} is there already: no key is written over, name another file\n"
    with pytest.raises(SettingsError, match="this is the private key"):
        public_keys(load_settings(), [home / "new.key"])
