"""A real Postgres of Debian's package, and an instance of Dagster in it as several workers share it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


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
    """A DAGSTER_HOME with the instance of the fleet, without the launcher that needs Docker."""
    told = yaml.safe_load((ROOT / "deploy" / "dagster-fleet.yaml").read_text())
    del told["run_launcher"]
    told["storage"]["postgres"]["postgres_db"]["port"] = port
    folder.mkdir()
    (folder / "dagster.yaml").write_text(yaml.safe_dump(told))
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("DAGSTER_POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", "any")
    return folder
