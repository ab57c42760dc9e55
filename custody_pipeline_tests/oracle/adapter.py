"""How the oracle runs the product: the one file here that may name it.

A night runs in a child process, forked from one that has imported the product, so that a night takes no import, leaves
no state behind and can be killed with SIGKILL. It is run by `custody run`, or by the plain functions that
Dagster's assets call, which take a third of the time.

Belongs here: settings, starting, ending. Does not: judging.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.forked import forking
from custody_pipeline_tests.oracle.sources import PRODUCT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

LIMIT_SECONDS = 900
"""A night that takes longer hangs: on a busy machine a plan of three nights took 400 s."""

MAPPING = """\
version: 1
purposes: [agent, user, customer, external, ivr, botflow, acd, workflow]
columns:
  legal_hold:
    attribute: Legal-Hold
    purposes: [agent, customer]
    required: true
    description: Whether the call is under legal hold.
  consent_recorded:
    attribute: Consent.Recorded
    purposes: [ivr, customer, agent]
    required: true
    description: Whether the caller agreed to be recorded.
  summary:
    attribute: Summary
    purposes: [agent, customer]
    description: The agent's summary.
"""


class AdapterError(Exception):
    """The product cannot be run as this file does it: no finding about the product."""


@dataclass(frozen=True)
class Deployment:
    """The product's settings. `clock_ahead` in seconds; `api_url` None for a bucket-only night."""

    home: Path
    night: str
    s3_url: str
    export_url: str
    publish_url: str
    api_url: str | None
    integration_id: str
    manifest_source: str
    single_reads: str
    signing_key: Path
    clock_ahead: float = 0.0

    def environment(self) -> dict[str, str]:
        """The variables that the product reads."""
        mapping = self.home.parent / "mapping.yaml"
        if not mapping.exists():
            mapping.write_text(MAPPING)
        values = {
            "CUSTODY_HOME": str(self.home),
            "CUSTODY_EXPORT_URL": self.export_url,
            "CUSTODY_PUBLISH_URL": self.publish_url,
            "CUSTODY_S3_ENDPOINT_URL": self.s3_url,
            "CUSTODY_S3_REGION": "us-east-1",
            "CUSTODY_MANIFEST_SOURCE": self.manifest_source,
            "CUSTODY_SINGLE_READS": self.single_reads,
            "CUSTODY_MAPPING_PATH": str(mapping),
            "CUSTODY_SALT_SECRET": "5a" * 32,
            "CUSTODY_SIGNING_KEY_FILE": str(self.signing_key),
            "CUSTODY_OPERATOR": "oracle",
            "CUSTODY_FIRST_NIGHT": self.night,
            "AWS_ACCESS_KEY_ID": PRODUCT_KEY,
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "DO_NOT_TRACK": "1",
        }
        if self.api_url:
            values |= {
                "CUSTODY_GENESYS_DOMAIN": self.api_url,
                "CUSTODY_GENESYS_CLIENT_ID": "oracle",
                "CUSTODY_GENESYS_CLIENT_SECRET": "secret",
                "CUSTODY_GENESYS_REQUESTS_PER_MINUTE": "1000000",
                "CUSTODY_INTEGRATION_ID": self.integration_id,
            }
        return values


@dataclass(frozen=True)
class Ending:
    """How a night's process ended. `status` None: killed, timed out, or no exit status but an exception."""

    status: int | None
    stdout: str = ""
    stderr: str = ""
    exception: str = ""
    killed: bool = False
    timed_out: bool = False
    seconds: float = 0.0


@dataclass
class Night:
    """A night under way in a process of its own."""

    process: Any
    pipe: Connection
    begun: float = field(default_factory=time.monotonic)
    killed: bool = False

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.killed = True
        self.process.kill()

    def wait(self) -> Ending:
        """Wait for the end, at most `LIMIT_SECONDS`."""
        ending, timed_out = None, False
        try:
            if self.pipe.poll(LIMIT_SECONDS):
                ending = self.pipe.recv()
            else:
                timed_out = True
                self.process.kill()
        except EOFError:
            pass
        self.process.join()
        self.process.close()
        self.pipe.close()
        seconds = time.monotonic() - self.begun
        if ending is None:
            return Ending(None, killed=self.killed, timed_out=timed_out, seconds=seconds)
        if isinstance(ending, str):
            raise AdapterError(ending)
        status, stdout, stderr, exception = ending
        return Ending(status, stdout, stderr, exception, seconds=seconds)


def make_signing_key(folder: Path) -> Path:
    """A key that several homes sign with, made by `custody key new`."""
    path = folder / "signing.key"
    ending = _start(["key", "new", "oracle.example.com", str(path)], {"CUSTODY_HOME": str(folder)}, 0.0).wait()
    assert ending.status == 0, ending
    return path


def start_night(deployment: Deployment, *, by_command: bool) -> Night:
    """Start the deployment's night, by `custody run --date …` or by the function."""
    environment = deployment.environment()
    ready_warehouse.lay(deployment.home, Path(environment["CUSTODY_MAPPING_PATH"]))
    arguments = ["run", "--date", deployment.night] if by_command else ["night", deployment.night]
    return _start(arguments, environment, deployment.clock_ahead)


def _run_plainly(night: str) -> None:
    """One night as `custody run` runs it, without Dagster."""
    from datetime import date

    from custody_pipeline import night as nights
    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.operations.endings import ending_of
    from custody_pipeline.operations.summary import night_ending
    from custody_pipeline.settings import load_settings

    day = date.fromisoformat(night)
    try:
        settings = load_settings()
        nights.run(nights.Night(settings, load_mapping(settings.mapping_path), day))
        ending = night_ending(settings, day)
    except nights.ChecksFailedError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        message, status = ending_of(error)
        print(message, file=sys.stderr)
        if "a fault of custody itself" in message:
            raise
        sys.exit(status)
    print("\n".join(ending.problems), file=sys.stderr)
    sys.exit(ending.status)


def _start(arguments: list[str], environment: dict[str, str], clock_ahead: float) -> Night:
    context = forking()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, arguments, environment, clock_ahead), daemon=True)
    process.start()
    theirs.close()
    return Night(process, ours)


def _child(pipe: Connection, arguments: list[str], environment: dict[str, str], clock_ahead: float) -> None:
    for name in list(os.environ):
        if name.startswith(("CUSTODY_", "AWS_", "DAGSTER_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(environment)
    _pass_time_quickly()
    if clock_ahead:
        _set_clock_ahead(clock_ahead)
    out, err = io.StringIO(), io.StringIO()
    status: int | None = None
    exception = ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main: Callable[[], object] = import_module("custody_pipeline.cli.main").main
        except ImportError as error:
            pipe.send(f"the command line is not where the adapter looks for it: {error}")
            os._exit(1)

        sys.argv = ["custody", *arguments]
        try:
            if arguments[0] == "night":
                _run_plainly(arguments[1])
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:  # noqa: BLE001 - the oracle judges any exception that leaves the command line
            exception = traceback.format_exc()
    pipe.send((status, out.getvalue(), err.getvalue(), exception))
    pipe.close()
    sys.stdout.flush()
    os._exit(0)


PAUSING = ("custody_pipeline.", "tenacity", "stamina", "urllib3.", "botocore.")
"""Modules whose sleeps are pauses between attempts; the sleeps of others let another thread run."""


def _pass_time_quickly() -> None:
    """Let pauses between attempts end at once; the monotonic clock counts them, so that deadlines stay as they are."""
    sleep, monotonic, wait = time.sleep, time.monotonic, threading.Event.wait
    slept = [0.0]

    def is_pause(seconds: float | None) -> bool:
        return seconds is not None and seconds > 0.002 and sys._getframe(2).f_globals["__name__"].startswith(PAUSING)

    def quick_sleep(seconds: Any) -> None:
        if is_pause(seconds):
            slept[0] += seconds - 0.001
            seconds = 0.001
        sleep(seconds)

    def quick_wait(event: threading.Event, timeout: float | None = None) -> bool:
        if timeout is not None and is_pause(timeout):
            slept[0] += timeout - 0.001
            timeout = 0.001
        return wait(event, timeout)

    time.sleep = quick_sleep
    time.monotonic = lambda: monotonic() + slept[0]
    # The client took its clock when it was imported, which was before this process began.
    client = import_module("custody_pipeline.extract.genesys").GenesysClient
    client.__init__.__kwdefaults__.update(sleep=quick_sleep, clock=time.monotonic)
    threading.Event.wait = quick_wait  # type: ignore[method-assign, assignment]


def _set_clock_ahead(seconds: float) -> None:
    """Move `time.time` and every `datetime.now` of the product's modules."""
    import datetime as module

    true_time, true_datetime = time.time, module.datetime
    shift = module.timedelta(seconds=seconds)

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, true_datetime)

    class Shifted(true_datetime, metaclass=Meta):  # type: ignore[misc, valid-type]
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return true_datetime(*args, **kwargs)

        @classmethod
        def now(cls, tz: module.tzinfo | None = None) -> module.datetime:
            return true_datetime.now(tz) + shift

    time.time = lambda: true_time() + seconds
    for name, loaded in list(sys.modules.items()):
        if name.startswith("custody_pipeline.") and getattr(loaded, "datetime", None) is true_datetime:
            vars(loaded)["datetime"] = Shifted
