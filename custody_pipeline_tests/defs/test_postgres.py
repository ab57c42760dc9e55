"""Dagster's storage in a real Postgres, as several workers share it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_postgres.utils import DagsterPostgresException

from custody_pipeline.defs.instance import open_instance
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.settings import Settings

ROOT = Path(__file__).parents[2]


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    named = shutil.which("initdb")
    place = found[-1] if found else Path(named).resolve() if named else None
    return place.parent if place and (place.parent / "pg_ctl").exists() else None


@contextmanager
def running_postgres() -> Iterator[int]:
    """A Postgres on 127.0.0.1 with the user, password and database of the deployment. Yields its port."""
    place = programs()
    if place is None:
        pytest.skip("no Postgres here: apt-get install postgresql (initdb and pg_ctl) to run this test")
    # Postgres refuses to run as root, and its user must reach the folder.
    user = "nobody" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="custody-postgres-") as folder, socket.socket() as free:
        if user:
            shutil.chown(folder, user)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(place / program), *arguments], check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL
            )

        data = f"{folder}/data"
        run("initdb", "--pgdata", data, "--username", "dagster", "--auth", "trust", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "--pgdata", data, "--wait", "--log", f"{folder}/log", "--options", options, "start")
        try:
            run("createdb", "--host", "127.0.0.1", "--port", str(port), "--username", "dagster", "dagster")
            yield port
        finally:
            run("pg_ctl", "--pgdata", data, "--wait", "--mode", "immediate", "stop")


def home_of(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME as an operator lays it: the instance of the fleet, without the launcher that needs Docker."""
    told = yaml.safe_load((ROOT / "deploy" / "dagster-fleet.yaml").read_text())
    del told["run_launcher"]
    told["storage"]["postgres"]["postgres_db"]["port"] = port
    folder.mkdir()
    (folder / "dagster.yaml").write_text(yaml.safe_dump(told))
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("DAGSTER_POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", "any")
    return folder


def test_workers_share_runs_and_limits_and_are_told_when_postgres_went_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_postgres() as port:
        theirs = home_of(tmp_path / "dagster", port, monkeypatch)
        before = (theirs / "dagster.yaml").read_bytes()
        with (
            open_instance(Settings(home=tmp_path / "one")) as one,
            open_instance(Settings(home=tmp_path / "two")) as two,
        ):
            run = dg.DagsterRun(job_name="nightly_custody", tags={"dagster/partition": "2026-11-02"})
            one.add_run(run)
            assert [found.run_id for found in two.get_runs()] == [run.run_id]
            one.event_log_storage.set_concurrency_slots("genesys", 1)
            assert two.event_log_storage.claim_concurrency_slot("genesys", run.run_id, "exports").is_claimed
            assert not one.event_log_storage.claim_concurrency_slot("genesys", "another", "exports").is_claimed
            # A pool without a limit of its own holds nobody up: each worker has its own warehouse.
            assert "duckdb" not in two.event_log_storage.get_concurrency_keys()
            queue = one.get_concurrency_config().run_queue_config
            assert queue is not None
            (limit,) = queue.tag_concurrency_limits
            assert limit == {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
        assert (theirs / "dagster.yaml").read_bytes() == before
    with pytest.raises(DagsterPostgresException) as gone, open_instance(Settings(home=tmp_path / "one")):
        pass
    line, status = ending_of(gone.value)
    assert (line.partition(";")[0], status) == ("Dagster's database cannot be reached (DagsterPostgresException)", 2)
