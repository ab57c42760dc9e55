"""A home of `custody demo`: each command that asks S3 or the vendor starts the demo's servers, and no other does."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app, with_home_first
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline.simulator import demo
from custody_pipeline.simulator.local_s3 import S3Endpoint

UUID = "5c1e0000-0000-4000-8000-000000000001"
ASKING = (
    "run --date 2026-11-02", "rebuild", "doctor", "fixity", "tidy", "verify", f"prove {UUID}",
    "package --date 2026-11-02 --to case --for Roe --reason request", "catalog athena", "catalog iceberg local",
    "organisations list.txt", "witness ask http://127.0.0.1:1", "witness add note",
    "retention show", "retention apply --yes", f"flow check {UUID}", "erase --number 555", "matter produce m",
    "matter gather m", "matter hold m", "matter release m",
)  # fmt: skip
LOCAL = (
    "env", "status", "gaps", "report", "help", "key show", "verify ./copy", "flow check flow.yaml",
)  # fmt: skip


class ServersStartedError(Exception):
    """The command started the demo's servers."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    kept = {"night": "2026-11-02", "organization": {"seed": 7, "conversations": 4, "nights": 1}}
    (tmp_path / "demo.json").write_text(json.dumps(kept))

    def started(*_: object) -> None:
        raise ServersStartedError

    monkeypatch.setattr(demo, "demo_environment", started)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def starts(home: Path, line: str) -> bool:
    told = CliRunner().invoke(app, with_home_first([*line.split(), "--home", str(home)]))
    return isinstance(told.exception, ServersStartedError)


@pytest.mark.parametrize("line", ASKING)
def test_a_command_that_asks_s3_or_the_vendor_starts_them(home: Path, line: str) -> None:
    assert starts(home, line)


@pytest.mark.parametrize("line", LOCAL)
def test_a_command_that_reads_the_home_alone_does_not(home: Path, line: str) -> None:
    assert not starts(home, line)


def test_settings_say_that_this_is_a_home_of_the_demo(home: Path) -> None:
    told = CliRunner().invoke(app, with_home_first(["env", "--home", str(home)]))
    assert told.output.startswith("# a home of custody demo")


def test_the_demo_uses_nothing_of_a_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_others = {
        "CUSTODY_ALERT_SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/x",
        "CUSTODY_LANDING_URL": "s3://acme-custody-work/landing",
        "CUSTODY_NIGHT_KEY_FILE": "keys/night.key",
        "CUSTODY_SALT_SECRET": "ab" * 32,
        "CUSTODY_SIGNING_KEY_FILE": "keys/custody.key",
        "CUSTODY_WITNESSES": "witnesses.txt",
        "AWS_SESSION_TOKEN": "of a session",
        "AWS_PROFILE": "prod",
    }
    for name, value in of_others.items():
        monkeypatch.setenv(name, value)
    endpoint = S3Endpoint("http://127.0.0.1:1", "a", "s")
    monkeypatch.setattr(demo, "LocalS3", lambda _: nullcontext(endpoint))
    monkeypatch.setattr(demo, "simulator_process", lambda _: nullcontext("http://127.0.0.1:2"))
    monkeypatch.setattr(demo, "export_once", lambda *_: None)
    said: list[str] = []

    with demo.demo_environment(tmp_path, demo.DEMO_ORGANIZATION, said.append) as settings:
        assert not of_others.keys() & os.environ.keys()
        assert (settings.alert_slack_webhook_url, settings.landing_url, settings.witnesses) == (None, None, None)

    assert all(os.environ[name] == value for name, value in of_others.items())
    assert said[0].endswith(", ".join(sorted(name for name in of_others if name.startswith("CUSTODY_"))))


def test_a_setting_that_the_demo_does_not_know_is_one_of_a_deployment() -> None:
    for known in (demo._KEPT, demo._OF_THE_DEMO):
        assert known <= Settings.model_fields.keys()
    secret = {name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert secret - demo._OF_THE_DEMO <= demo._OF_A_DEPLOYMENT


def test_other_homes_and_settings_of_ones_own_start_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    assert not starts(home, "fixity")
    monkeypatch.delenv("CUSTODY_S3_ENDPOINT_URL")
    (home / "demo.json").unlink()
    assert not starts(home, "fixity")


def test_nights_of_an_organisation_do_not_go_into_a_home_of_the_demo(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.loads((home / "demo.json").read_text()) | {"uris": {"publish": "s3://custody-demo-dataset"}}
    (home / "demo.json").write_text(json.dumps(kept))
    monkeypatch.setenv("CUSTODY_HOME", str(home))
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", "s3://custody-demo-dataset")
    load_settings()
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", "s3://acme-custody/prod")
    with pytest.raises(SettingsError, match="is a home of custody demo, whose nights are simulated; name another"):
        load_settings()


@pytest.mark.parametrize("left", ["landing", "publish", "warehouse.duckdb"])
def test_nights_of_the_demo_do_not_go_into_a_home_of_a_deployment(tmp_path: Path, left: str) -> None:
    (tmp_path / left).touch()
    begin = demo.demo_environment(tmp_path, demo.DEMO_ORGANIZATION, lambda _: None)
    with pytest.raises(SettingsError, match="has nights that are not the demo's; set CUSTODY_EXPORT_URL"), begin:
        pass
    assert [path.name for path in tmp_path.iterdir()] == [left]
