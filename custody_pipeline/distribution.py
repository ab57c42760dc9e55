"""The installed version and commit, and the files that are beside the package in a checkout.

Belongs here: where the shipped files are, in a wheel or an editable install. Does not: their content.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata, resources
from pathlib import Path

PACKAGE_DIR = Path(str(resources.files("custody_pipeline")))


def _shipped(name: str) -> Path:
    """A top-level file or folder of the repository; a wheel has it inside the package."""
    inside = PACKAGE_DIR / name
    return inside if inside.exists() else PACKAGE_DIR.parent / name


SQL_DIR = _shipped("sql")
DOCS_DIR = _shipped("docs")
DAGSTER_YAML = _shipped("dagster.yaml")
WORKSPACE_YAML = _shipped("workspace.yaml")


@cache
def version() -> str:
    """The installed version. Its local part names the commit, and the day if the work tree had changes."""
    return metadata.version("custody-pipeline")


@cache
def git_revision() -> str | None:
    """The commit that was built or installed; None if it was built from neither a clone nor an sdist of a clone."""
    try:
        return (PACKAGE_DIR / "commit.txt").read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
