"""What every test stands on: no settings and no credentials of the machine it runs on."""

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import hypothesis
import pytest

from custody_pipeline_tests.ministack import running_ministack

# No test is timed: a loaded machine must not fail one.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of this folder first: their tests share whole nights and environments.

    A process with nothing left to do takes over tests from the end of another's list, which would make those anew.
    """
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture(scope="session", autouse=True)
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No CUSTODY_, AWS_ or DAGSTER_ variable of the machine reaches a test, and no test writes to the user's home."""
    with pytest.MonkeyPatch.context() as patched:
        for name in list(os.environ):
            if name.startswith(("CUSTODY_", "AWS_", "DAGSTER_")):
                patched.delenv(name)
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module", autouse=True)
def fresh_credentials() -> None:
    """boto3's default session keeps the first credentials it sees; one module's are not the next one's."""
    boto3.DEFAULT_SESSION = None


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one ministack for all tests; each names what it makes there so that nobody else does."""
    with running_ministack(tmp_path_factory.mktemp("ministack")) as address:
        yield address
