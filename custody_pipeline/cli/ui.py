"""`custody ui`: Dagster's page, with the demo's organisation if no export bucket is configured.

Belongs here: starting and stopping the servers of the page. Does not: what the page shows (defs).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from custody_pipeline.defs.instance import dagster_home, open_instance
from custody_pipeline.distribution import WORKSPACE_YAML
from custody_pipeline.io.listener import listener
from custody_pipeline.settings import load_settings
from custody_pipeline.simulator.demo import DEMO_ORGANIZATION, demo_environment, kept_demo


def serve_ui(home: Path, port: int, say: Callable[[str], None]) -> int:
    """Run Dagster's guarded page and its daemon until they are stopped. Returns the exit status of the page.

    Raises:
        SettingsError: another program listens on the port.
    """
    listener("127.0.0.1", port).close()  # refuse a taken port before anything is started
    with ExitStack() as stack:
        os.environ["CUSTODY_HOME"] = str(home)
        settings = load_settings()
        if settings.export_url is None:
            demo = kept_demo(home) or DEMO_ORGANIZATION
            settings = stack.enter_context(demo_environment(home, demo, say))
            # The organisation has no nights before: Dagster would show years of missing partitions.
            first = demo.night - timedelta(days=demo.nights - 1)
            os.environ.setdefault("CUSTODY_FIRST_NIGHT", f"{first}")
        with open_instance(settings):
            pass  # releases runs whose process is gone
        environment = {**os.environ, "DAGSTER_HOME": str(dagster_home(home))}
        say(f"http://127.0.0.1:{port}")
        page = subprocess.Popen(
            [sys.executable, "-m", "custody_pipeline.cli.guarded_page", str(port), str(WORKSPACE_YAML)],
            cwd=home,
            env=environment,
            start_new_session=True,
        )
        try:
            return page.wait()
        except KeyboardInterrupt:
            return _stop(page)


def _stop(page: subprocess.Popen[bytes]) -> int:
    """End Dagster and the services that it started. They have their own session, so nothing else is ended."""
    for kind, seconds in ((signal.SIGINT, 5), (signal.SIGTERM, 3)):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(page.pid, kind)
            page.wait(seconds)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(page.pid, signal.SIGKILL)
    return page.wait()
