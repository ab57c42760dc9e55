from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from custody_pipeline_tests.evidence.published import Publisher, publish


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Three sealed nights, never changed by a test."""
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def copy(original: Publisher, tmp_path: Path) -> Path:
    """A copy that a test may tamper with."""
    return Path(shutil.copytree(original.root, tmp_path / "copy"))


@pytest.fixture
def publisher(original: Publisher, copy: Path) -> Publisher:
    """Seals further nights into the copy."""
    return Publisher(copy, signed=original.signed, sealed=list(original.sealed))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[[bytes], bytes], bytes]:
    """A local timestamp authority: a function from data to a response, and its root certificate."""
    from custody_pipeline_tests.evidence.authority import make_authority

    return make_authority(tmp_path_factory.mktemp("tsa"))
