"""`custody simulator`: the simulated organisation as a server of its own.

Belongs here: starting it and saying where it is. Does not: what it answers (the simulator package).
"""

from __future__ import annotations

import csv
import os
import sys
import threading
from contextlib import suppress
from datetime import date
from pathlib import Path

from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.settings import load_settings
from custody_pipeline.simulator.exporter import export_night
from custody_pipeline.simulator.faults import KeyRow, answer_key
from custody_pipeline.simulator.organization import Organization, nights_of
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET


def serve_simulator(
    port: int,
    night: date,
    size: int,
    seed: int,
    *,
    nights: int,
    export_url: str | None,
    key_file: Path | None,
    until_stdin_closes: bool,
) -> None:
    """Serve until interrupted, or until standard input closes; the base URL is the one line on stdout."""
    organization = Organization(seed=seed, night=night, size=size)
    organizations = nights_of(organization, nights)
    if export_url:
        place = S3Location.parse(export_url)
        for one in organizations:
            export_night(one, s3_client(load_settings()), place.bucket, place.key)
    if key_file:
        _write_answer_key(organization, key_file)
    with suppress(KeyboardInterrupt), SimulatorServer(*organizations, port=port) as server:
        sys.stdout.write(server.base_url + "\n")
        sys.stdout.flush()
        if until_stdin_closes:
            os.read(sys.stdin.fileno(), 1)
        else:
            sys.stderr.write(f"  client {CLIENT_ID}, secret {CLIENT_SECRET}; Ctrl-C stops it\n")
            threading.Event().wait()


def _write_answer_key(organization: Organization, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([KeyRow._fields, *answer_key(organization)])
