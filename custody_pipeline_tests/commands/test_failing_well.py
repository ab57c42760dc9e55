"""A command that cannot do its work ends with one line that names the cause, and never with a traceback."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import dagster as dg
import duckdb
import pytest
import requests
import sqlalchemy.exc
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from typer.testing import CliRunner

from custody_pipeline.cli import main as command_line
from custody_pipeline.cli.main import app
from custody_pipeline.defs import collected, failures, one_night
from custody_pipeline.evidence.cut.seal import SealError
from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.evidence.log.note import UnknownSignerError
from custody_pipeline.extract.genesys_errors import GenesysError
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline.io.night_keys import LocalWrapping, NightKeys
from custody_pipeline.models.mapping_file import MappingError
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.operations.summary import NightSummary
from custody_pipeline.publish.publication import PublishError
from custody_pipeline.publish.tidy import Tidied
from custody_pipeline.settings import SettingsError, load_settings
from custody_pipeline.warehouse.connection import Warehouse, WarehouseBusyError
from custody_pipeline_tests.forked import forked


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and settings of which nothing answers."""
    for name, value in {
        "CUSTODY_HOME": str(tmp_path),
        "CUSTODY_EXPORT_URL": "s3://exports",
        "CUSTODY_PUBLISH_URL": "s3://dataset/prod",
        "CUSTODY_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "CUSTODY_S3_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("custody_pipeline.defs.one_night.unknown_nights", lambda _: [])
    return tmp_path


def errors() -> list[tuple[Exception, int, str]]:
    return [
        (SettingsError("CUSTODY_EXPORT_URL is not set"), 64, "CUSTODY_EXPORT_URL"),
        (SettingsError("CUSTODY_A is no setting\nCUSTODY_B is 'x'"), 64, "CUSTODY_A is no setting; CUSTODY_B is 'x'"),
        (MappingError(Path("mapping.yaml"), 3, "unknown field"), 64, "mapping.yaml:3"),
        (WarehouseBusyError("busy"), 2, "busy"),
        (PublishError("gone"), 2, "gone"),
        (SealError("not sealed"), 2, "not sealed"),
        (SigningKeyError("no key"), 2, "no key"),
        (UnknownSignerError("signed by others"), 2, "CUSTODY_SIGNING_KEY_FILE"),
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "ListObjectsV2"), 2, "NoSuchBucket"),
        (
            EndpointConnectionError(endpoint_url="http://127.0.0.1:1/a?b"),
            2,
            "http://127.0.0.1:1 gave no answer (Endpoint",
        ),
        (NoCredentialsError(), 2, "there are no AWS credentials (NoCredentialsError); custody doctor"),
        (requests.ConnectionError("refused"), 2, "custody doctor"),
        (duckdb.CatalogException("Catalog Error: Table with name gaps does not exist!"), 2, "no night of this home"),
        (duckdb.IOException("not a DuckDB file"), 2, "not a DuckDB file"),
        (OSError(errno.ENOSPC, "x", "place/warehouse"), 2, "free some space"),
        (
            PermissionError(errno.EACCES, "x", ".custody/warehouse"),
            2,
            ".custody/warehouse: Permission denied; check that",
        ),
        (PermissionError(errno.EACCES, "x", "gaps.xlsx"), 2, "gaps.xlsx: Permission denied; check the path"),
        (duckdb.IOException("Could not write: No space left on device"), 2, "free some space"),
        (sqlite3.OperationalError("database or disk is full"), 2, "free some space"),
        (wrapped(sqlite3.OperationalError("database or disk is full")), 2, "free some space"),
        (KeyError("surprise"), 2, "a fault of custody itself"),
    ]


def wrapped(error: Exception) -> Exception:
    """As SQLAlchemy, below Dagster, raises it."""
    found = sqlalchemy.exc.OperationalError("SELECT 1", None, error)
    found.__cause__ = error
    return found


@pytest.mark.parametrize(("error", "status", "says"), errors(), ids=lambda value: type(value).__name__)
def test_every_exception_is_one_line_and_a_status(
    error: Exception, status: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUSTODY_HOME", raising=False)
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
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


INTERRUPTED_READS = """
import os, signal, threading
from custody_pipeline.cli import main, night_commands
from custody_pipeline.io.concurrency import in_order

def wait_for_an_answer(number):
    if number == 8:
        os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(3600)

night_commands.settings_of_environment = lambda: list(in_order(wait_for_an_answer, range(100), workers=9))
main.main()
"""


def test_ctrl_c_ends_with_one_line_and_waits_for_no_answer() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_READS, "status"], capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr.count("\n"), ended.stderr[:7]) == (130, 1, "stopped")


def run_interrupted(errors: Path) -> None:
    """Run a night that gets Ctrl-C when it begins to collect, and end this process. Its errors go into a file."""

    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(3600)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
    patched = pytest.MonkeyPatch()
    patched.setattr(one_night, "unknown_nights", lambda _: ())
    patched.setattr(collected, "require_place", interrupted)
    sys.argv = ["custody", "run", "--date", "2026-11-02"]
    command_line.main()


def test_ctrl_c_while_a_night_runs_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": str(tmp_path), "EXPORT_URL": "s3://none", "PUBLISH_URL": "s3://none/prod"}.items():
        monkeypatch.setenv(f"CUSTODY_{name}", value)
    ended = forked(run_interrupted, tmp_path / "errors")
    ended.join()
    errors = (tmp_path / "errors").read_text()
    assert (ended.exitcode, errors.splitlines()[-1][:7]) == (130, "stopped"), errors


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
from custody_pipeline.__main__ import main
main()
"""


def test_ctrl_c_while_a_command_is_loaded_ends_with_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, "status"], capture_output=True, text=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (130, "stopped: nothing was begun\n")


def test_a_reader_that_leaves_a_pipe_is_no_finding() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "custody_pipeline.cli", "env"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (2, b"")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gaps", "--date", "2026-13-01"], "'2026-13-01' is no day; give it like 2026-11-02"),
        (["run", "--from", "yesterday"], "'yesterday' is no day; give it like 2026-11-02"),
        (
            ["verify", "--seen-since", "2 November"],
            "'2 November' is no time; give it like 2026-11-02 or 2026-11-02T09:30:00Z",
        ),
        (["organisations", "missing.txt"], "missing.txt: No such file or directory; expected lines NAME s3://"),
        (["key", "open", "missing.gz", "copy"], "missing.gz: No such file or directory; check the path"),
        (["verify", ".", "--key", "missing.pub"], "--key: missing.pub: No such file or directory; expected a file"),
        (["verify", ".", "--witness", "missing.pub"], "--witness: missing.pub: No such file or directory; expected"),
        (["erase", "--number", "+15550100123"], "warehouse.duckdb does not exist; a first night makes it"),
    ],
)
def test_a_mistake_of_the_command_line_is_named_in_plain_words(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(place)
    status, told = ran(capsys, monkeypatch, *arguments)
    assert status in {2, 64}
    assert says in " ".join(told.split())
    assert not (place / "warehouse.duckdb").exists()


def test_a_terminal_that_cannot_show_a_character_stops_no_command(tmp_path: Path) -> None:
    environment = {"CUSTODY_HOME": str(tmp_path), "CUSTODY_FIRST_NIGHT": "2026-11-02", "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(
        [sys.executable, "-m", "custody_pipeline.cli", "doctor"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode in {0, 1}, ended.stderr
    assert "CUSTODY_\\u2026" in ended.stdout


@pytest.mark.server
def test_a_first_night_that_fails_names_the_cause_and_status_still_works(
    server: Any, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = f"published-{uuid4().hex[:8]}"
    s3.create_bucket(Bucket=published)
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
    assert told.splitlines()[-1] == (
        "exports: nothing was collected, because s3://no-such-place/prod cannot take the night "
        "(ListObjectsV2: NoSuchBucket): create the bucket, or correct CUSTODY_PUBLISH_URL"
    )
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", f"s3://{published}/prod")
    status, told = ran(capsys, monkeypatch, "run", "--date", "2026-11-02")
    assert status == 2
    assert "no-such-bucket" in told
    assert "Traceback" not in told
    assert "CatalogException" not in told
    status, told = ran(capsys, monkeypatch, "status")
    assert (status, "Traceback" in told) == (1, False)


def test_a_night_that_has_not_ended_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert ran(capsys, monkeypatch, "run", "--date", tomorrow.isoformat())[0] == 64


@pytest.mark.parametrize(
    "dates",
    [
        "run --date 2026-11-02 --from 2026-11-01",
        "run --from 2026-11-01",
        "run --from 2026-11-02 --to 2026-11-01",
        "gaps --date 2026-11-02 --to 2026-11-03",
        "gaps --from 2026-11-02 --to 2026-11-01",
    ],
)
def test_dates_that_name_no_nights_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dates: str
) -> None:
    status, told = ran(capsys, monkeypatch, *dates.split())
    assert (status, "give --date, or --from and --to" in told) == (64, True)


def test_a_night_that_ends_in_an_error_does_not_stop_the_nights_after_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    begun: list[date] = []

    def run_one_night(_: object, night: date, **__: object) -> one_night.Outcome:
        begun.append(night)
        if night.day == 2:
            raise WarehouseBusyError("the warehouse is in use")
        return one_night.Outcome(night, "run", 0, [], None)

    monkeypatch.setattr(one_night, "run_one_night", run_one_night)
    forgotten = place / "keys/nights/date=2026-11-03" / "forgotten.json"
    forgotten.parent.mkdir(parents=True)
    forgotten.write_text("{}")
    status, told = ran(capsys, monkeypatch, "run", "--from", "2026-11-02", "--to", "2026-11-04")
    assert (status, "2026-11-02: the warehouse is in use" in told) == (2, True)
    assert begun == [date(2026, 11, 2), date(2026, 11, 4)]
    assert "night 2026-11-03: its key was forgotten" in told


@pytest.mark.usefixtures("place")
def test_the_line_of_a_night_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_one_night(_: object, night: date, **__: object) -> one_night.Outcome:
        return one_night.Outcome(night, "run", 0, [], NightSummary(night, recordings=609, gaps=88, revision=1))

    monkeypatch.setattr(one_night, "run_one_night", run_one_night)
    monkeypatch.setenv("COLUMNS", "40")
    told = CliRunner().invoke(app, ["run", "--from", "2026-11-02", "--to", "2026-11-03"])
    assert (told.exit_code, told.stdout.count("609 recordings")) == (0, 2)
    assert max(map(len, told.stdout.splitlines())) <= 40


@pytest.mark.parametrize("command", ["serve-webhook", "simulator", "ui"])
def test_a_port_that_is_taken_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path, command: str
) -> None:
    monkeypatch.setenv("CUSTODY_WEBHOOK_SECRETS", f"k1:{'s' * 64}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, told = ran(capsys, monkeypatch, command, "--port", str(port))
    assert (status, " ".join(told.split())) == (
        64,
        f"port {port} of 127.0.0.1 is not free: stop the program that listens there, or name another with --port",
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "::ffff:192.0.2.1"])
def test_an_address_that_cannot_be_listened_on_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path, host: str
) -> None:
    status, told = ran(capsys, monkeypatch, "serve-webhook", "--host", host)
    assert (status, f"port 8787 of {host} cannot be listened on (" in " ".join(told.split())) == (64, True)


def test_a_receiver_that_is_stopped_ends_well_and_speaks_of_no_night(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt  # as uvicorn does after SIGTERM, once the requests under way are answered

    monkeypatch.setattr("custody_pipeline.capture.receiver.serve", stopped)
    status, told = ran(capsys, monkeypatch, "serve-webhook")
    assert (status, " ".join(told.split())) == (0, "· stopped: every event that was accepted is in the queue")


def test_a_private_key_without_its_certificate_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    status, told = ran(capsys, monkeypatch, "serve-webhook", "--private-key", "key.pem")
    assert (status, "needs --certificate" in told) == (64, True)


@pytest.mark.parametrize("option", [["--yes"], ["--media"], ["--reason", "x"], ["--authority", "x"]])
def test_options_that_a_resumed_request_would_not_heed_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path, option: list[str]
) -> None:
    status, told = ran(capsys, monkeypatch, "erase", "--resume", *option)
    assert (status, "takes nothing but --bypass-governance" in told) == (64, True)


@pytest.mark.parametrize("content", [b'{"id":', b'{"id": "\xff"}', b'{"\xff": 1}', b""])
@pytest.mark.parametrize(
    ("folder", "command"), [("package-register", ["packages"]), ("erasures", ["erase", "--resume"])]
)
def test_a_damaged_register_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: Path,
    folder: str,
    command: list[str],
    content: bytes,
) -> None:
    (place / folder).mkdir()
    (place / folder / "torn.json").write_bytes(content)
    status, told = ran(capsys, monkeypatch, *command)
    assert (status, "torn.json is not as it was written" in told) == (2, True)


def test_a_night_before_the_first_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    status, told = ran(capsys, monkeypatch, "run", "--date", "2001-11-02")
    assert (status, "set CUSTODY_FIRST_NIGHT to an earlier day" in told) == (64, True)


def test_a_mapping_that_is_wrong_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    (place / "bad.yaml").write_text("tags: [")
    monkeypatch.setenv("CUSTODY_MAPPING_PATH", str(place / "bad.yaml"))
    status, told = ran(capsys, monkeypatch, "run", "--date", "2026-11-02")
    assert (status, told.splitlines()[-1].startswith(f"{place / 'bad.yaml'}:")) == (64, True)


@pytest.mark.parametrize("command", ["status", "rebuild"])
@pytest.mark.parametrize("content", [b"no database", bytes(range(256)) * 64])
def test_a_damaged_warehouse_is_one_line_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path, command: str, content: bytes
) -> None:
    (place / "warehouse.duckdb").write_bytes(content)
    status, told = ran(capsys, monkeypatch, command)
    assert (status, told.count("\n")) == (2, 1)
    assert "move it away" in told


def test_on_a_full_disk_landing_files_go_although_dagsters_database_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    with Warehouse(load_settings()).open():
        pass
    monkeypatch.setattr("custody_pipeline.publish.tidy.tidy_landing", lambda *_, **__: Tidied(["receipt"], 3))
    full = Mock(side_effect=sqlite3.OperationalError("disk I/O error"))
    monkeypatch.setattr("custody_pipeline.defs.instance.tidy_runs", full)
    told = CliRunner().invoke(app, ["tidy"])
    assert (told.exit_code, told.stdout) == (2, "1 files, 3 bytes removed\n")
    assert "Dagster's runs were left alone: Dagster's database: disk I/O error; free some space" in told.stderr


def test_a_story_is_told_although_the_disk_is_full(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr("custody_pipeline.operations.explain.explain", lambda *_: {"recordings": []})
    full = Mock(side_effect=duckdb.FatalException(f"FATAL Error: {os.strerror(errno.ENOSPC)}"))
    monkeypatch.setattr("custody_pipeline.operations.explain.record_explained", full)
    told = CliRunner().invoke(app, ["explain", "r1"])
    assert told.exit_code == 0
    assert "this reading left no custody event: DuckDB: FatalException; free some space" in " ".join(
        told.stderr.split()
    )


def test_a_damaged_snapshot_is_replaced_by_a_night(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    (place / "analyst.duckdb").write_bytes(bytes(range(256)) * 64)
    status, told = ran(capsys, monkeypatch, "gaps")
    assert (status, told.count("\n"), "run a night: that replaces it" in told) == (2, 1, True)


@pytest.mark.parametrize(
    "command",
    [
        "status", "gaps", "explain x", "prove x", "packages", "matter show x", "matter list", "tidy", "fixity",
        "report --date 2026-11-02", "sheet gaps --date 2026-11-02", "mapping check --date 2026-11-02",
        "mapping suggest", "erase --conversations IDS --reason x --authority y",
        "erase --conversations IDS --reason x --authority y --yes",
    ],
)  # fmt: skip
def test_a_home_that_is_not_there_is_not_made_to_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path, command: str
) -> None:
    (place / "IDS").write_text("5c6c1ab8-1111-4111-8111-111111111111")
    monkeypatch.chdir(place)
    status, _ = ran(capsys, monkeypatch, "--home", str(place / "typo"), *command.split())
    assert status in {0, 2, 64}
    assert not (place / "typo").exists()


def test_a_home_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    (place / "file").touch()
    monkeypatch.setenv("CUSTODY_HOME", str(place / "file" / "home"))
    status, told = ran(capsys, monkeypatch, "run", "--date", "2026-11-02")
    assert status == 2
    assert (
        told.splitlines()[-1] == f"{place}/file/home: Not a directory; check that CUSTODY_HOME can be read and written"
    )


def test_a_warehouse_that_another_run_holds_is_waited_for_and_then_named(place: Path) -> None:
    warehouse = Warehouse(load_settings(), lock_timeout=0)
    with warehouse.open(), pytest.raises(WarehouseBusyError, match="wait for that run") as busy, warehouse.open():
        pass
    assert ending_of(busy.value)[1] == 2


def test_a_step_that_fails_says_what_a_command_would() -> None:
    error = ClientError({"Error": {"Code": "NoSuchBucket"}}, "PutObject")
    for permanent in ((), (ClientError,)):
        with pytest.raises(dg.Failure) as failed, failures.failing_step(*permanent):
            raise error
        assert (failed.value.description, failed.value.allow_retries) == (ending_of(error)[0], not permanent)
    for lasting in (
        SettingsError("CUSTODY_EXPORT_URL is not set"),
        OSError(errno.ENOSPC, "x"),
        duckdb.IOException("x"),
    ):
        with pytest.raises(dg.Failure) as failed, failures.failing_step():
            raise lasting
        assert failed.value.allow_retries is False


def test_what_the_api_says_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise GenesysError("POST /oauth/token", "401")

    monkeypatch.setattr("custody_pipeline.cli.night_commands.settings_of_environment", fails)
    status, told = ran(capsys, monkeypatch, "status")
    assert (status, told.count("\n")) == (2, 1)
    assert "/oauth/token" in told


def test_a_night_whose_key_was_forgotten_is_not_begun(place: Path) -> None:
    keys = NightKeys(LocalWrapping([bytes(32)]), FolderStore(place / "keys/nights"))
    assert keys.of(date(2026, 11, 2))
    keys.forget(date(2026, 11, 2), "ab" * 16, "2026-12-01T00:00:00Z")

    told = CliRunner().invoke(app, ["run", "--date", "2026-11-02"])

    assert told.exit_code == 2
    assert "the key of 2026-11-02 was forgotten" in told.stderr
    assert not (place / "warehouse.duckdb").exists()
