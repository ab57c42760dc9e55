"""The wheel alone, in an empty environment and another folder, does what the README promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: the version comes from git")


def run(folder: Path, *command: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """A command as a person types it elsewhere: without this test's virtual environment and import path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    # uv lies beside the interpreter when it was installed with the test tools.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**environment, "PATH": path, "DO_NOT_TRACK": "1", **extra},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def done(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a clone of this repository, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    clone = folder / "clone"
    # A clone has what is committed, so the commit and the version are clean whatever the work tree holds.
    done(run(folder, "git", "clone", "--quiet", "--no-hardlinks", ROOT, clone))
    installer = ("--installer", "uv") if uv() else ()
    done(run(clone, sys.executable, "-m", "build", *installer, "--outdir", folder))
    return folder


@pytest.fixture(scope="module")
def commit(built: Path) -> str:
    return done(run(built / "clone", "git", "rev-parse", "HEAD")).strip()


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def install(place: Path, wheel: Path, extras: str = "") -> Path:
    """Install the wheel and its dependencies into an environment. Returns the folder of its programs."""
    program = uv()
    python = place / "bin" / "python"
    command: list[str | Path] = (
        [program, "pip", "install", "--python", python] if program else [python, "-m", "pip", "install"]
    )
    done(run(place, *command, "--quiet", "--constraint", ROOT / "constraints.txt", f"{wheel}{extras}"))
    return place / "bin"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=uv() is None)
    return place


@pytest.fixture(scope="module")
def without_extra(place: Path, wheel: Path) -> subprocess.CompletedProcess[str]:
    """The answer of the demo while the environment has the wheel, its dependencies and nothing else."""
    return run(place, install(place, wheel) / "custody", "demo", PATH="")


@pytest.fixture(scope="module")
def binaries(place: Path, wheel: Path, without_extra: object) -> Path:
    return install(place, wheel, "[demo]")


def test_the_wheel_carries_what_stands_beside_the_package(wheel: Path, commit: str) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("custody_pipeline/commit.txt").decode().strip() == commit
    tracked = set(done(run(ROOT, "git", "ls-files", "sql")).split())
    assert {f"custody_pipeline/{name}" for name in tracked if name.endswith(".sql")} <= names
    assert tracked
    assert {"custody_pipeline/workspace.yaml", "custody_pipeline/dagster.yaml", "custody_pipeline/py.typed"} <= names
    assert not [name for name in names if "_tests" in name or name.startswith(("bench", "hatch"))]


def test_the_sdist_carries_what_the_wheel_is_built_from(built: Path) -> None:
    (found,) = built.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "hatch_build.py", "LICENSE", "README.md", "workspace.yaml", "dagster.yaml"}
    assert wanted | {"custody_pipeline/commit.txt"} <= names


def test_the_version_names_the_commit(binaries: Path, tmp_path: Path, commit: str) -> None:
    told = done(run(tmp_path, binaries / "custody", "--version"))
    assert re.fullmatch(rf"custody \d\S* \(commit {commit}\)", told.strip())


def test_the_dictionary_is_that_of_the_repository(binaries: Path, tmp_path: Path) -> None:
    told = done(run(tmp_path, binaries / "custody", "dictionary"))
    assert told == (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")


def test_the_pages_of_the_documentation_come_with_it(binaries: Path, tmp_path: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"}
    assert set(json.loads(done(run(tmp_path, binaries / "custody", "help", "--json")))) == pages
    told = json.loads(done(run(tmp_path, binaries / "custody", "help", "runbooks", "--json")))
    assert told["text"] == (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")


def test_dagster_loads_the_code_location(binaries: Path, tmp_path: Path) -> None:
    answer = run(tmp_path, binaries / "dagster", "definitions", "validate", "-m", "custody_pipeline.definitions")
    done(answer)
    assert "successful" in answer.stdout + answer.stderr


def test_the_demo_publishes_a_night(binaries: Path, tmp_path: Path) -> None:
    result = json.loads(done(run(tmp_path, binaries / "custody", "demo", "--size", "12", "--json")))
    assert result["ok"]
    assert (tmp_path / ".custody" / "published" / "parquet").is_dir()


def test_without_its_extra_the_demo_says_what_to_install(without_extra: subprocess.CompletedProcess[str]) -> None:
    assert without_extra.returncode == 2
    assert "Traceback" not in without_extra.stderr
    assert "pip install 'custody-pipeline[demo]'" in without_extra.stderr.strip().splitlines()[-1]
