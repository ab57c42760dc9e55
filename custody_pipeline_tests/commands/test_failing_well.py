"""A command that cannot do its work ends with one line that names the cause, and never with a traceback."""

from __future__ import annotations

import errno
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError

from custody_pipeline.cli import main as command_line
from custody_pipeline.cli.endings import ending_of
from custody_pipeline.evidence.cut.seal import SealError
from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.extract.genesys import GenesysError
from custody_pipeline.models.mapping_file import MappingError
from custody_pipeline.publish.publication import PublishError
from custody_pipeline.settings import SettingsError
from custody_pipeline.warehouse.connection import WarehouseBusyError


def errors() -> list[tuple[Exception, int, str]]:
    return [
        (SettingsError("CUSTODY_EXPORT_URL is not set"), 64, "CUSTODY_EXPORT_URL"),
        (MappingError(Path("mapping.yaml"), 3, "unknown field"), 64, "mapping.yaml:3"),
        (WarehouseBusyError("busy"), 2, "busy"),
        (PublishError("gone"), 2, "gone"),
        (SealError("not sealed"), 2, "not sealed"),
        (SigningKeyError("no key"), 2, "no key"),
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "ListObjectsV2"), 2, "NoSuchBucket"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), 2, "custody doctor"),
        (requests.ConnectionError("refused"), 2, "custody doctor"),
        (duckdb.IOException("not a DuckDB file"), 2, "not a DuckDB file"),
        (OSError(errno.ENOSPC, "x", "place/warehouse"), 2, "free some space"),
        (PermissionError(errno.EACCES, "x", "place/warehouse"), 2, "place/warehouse"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "no"), 2, "PYTHONIOENCODING"),
        (KeyError("surprise"), 2, "a fault of custody itself"),
    ]


@pytest.mark.parametrize(("error", "status", "says"), errors(), ids=lambda value: type(value).__name__)
def test_every_exception_is_one_line_and_a_status(error: Exception, status: int, says: str) -> None:
    line, found = ending_of(error)
    assert found == status
    assert says in line
    assert "\n" not in line


def test_a_value_of_a_document_is_not_repeated() -> None:
    line, _ = ending_of(duckdb.ConversionException("Could not convert string '+15551234567' to INT64"))
    assert "15551234567" not in line


def ran(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["custody", *arguments])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    before = os.umask(0)
    try:
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        assert os.umask(0) == 0o077, "what a command writes is its owner's alone"
    finally:
        os.umask(before)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.server
def test_a_first_night_that_fails_names_the_cause_and_status_still_works(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "CUSTODY_HOME": str(tmp_path / "home"),
        "CUSTODY_EXPORT_URL": "s3://no-such-bucket",
        "CUSTODY_PUBLISH_URL": "s3://no-such-place/prod",
        "CUSTODY_S3_ENDPOINT_URL": server.url,
        "CUSTODY_S3_REGION": server.region,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "DAGSTER_HOME": str(tmp_path / "home" / "dagster"),
    }.items():
        monkeypatch.setenv(name, value)
    status, told = ran(capsys, monkeypatch, "run", "--date", "2026-11-02")
    assert status == 2
    assert "no-such-bucket" in told
    assert "Traceback" not in told
    assert "CatalogException" not in told
    status, told = ran(capsys, monkeypatch, "status")
    assert (status, "Traceback" in told) == (1, False)  # the night has failed, and is listed so


def test_a_night_that_has_not_ended_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert ran(capsys, monkeypatch, "run", "--date", tomorrow.isoformat())[0] == 64


def test_what_the_api_says_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise GenesysError("POST /oauth/token", "401")

    monkeypatch.setattr("custody_pipeline.cli.night_commands.settings_of_environment", fails)
    status, told = ran(capsys, monkeypatch, "status")
    assert (status, told.count("\n")) == (2, 1)
    assert "/oauth/token" in told
