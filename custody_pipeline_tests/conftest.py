"""What every test stands on: no settings and no credentials of the machine it runs on."""

import os

import pytest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CUSTODY_ or AWS variable reaches a test unless it sets it."""
    for name in list(os.environ):
        if name.startswith(("CUSTODY_", "AWS_", "DAGSTER_")):
            monkeypatch.delenv(name)
