"""Build hook: names the commit inside the package and puts the top-level files that it needs into the wheel."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMMIT = "custody_pipeline/commit.txt"
TOP_LEVEL = ("sql", "dagster.yaml", "workspace.yaml")


class ShippedFiles(BuildHookInterface[Any]):
    """Writes `commit.txt`; a wheel that is not an editable one carries copies of the top-level files as well."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Prepare one build; `version` is `standard` or `editable`."""
        root = Path(self.root)
        # A source distribution has no .git, but brings the commit.txt of the clone that it was made in.
        if (root / ".git").exists() and (commit := _head(root)):
            (root / COMMIT).write_text(f"{commit}\n", encoding="ascii")
        build_data["artifacts"].append(f"/{COMMIT}")
        if self.target_name == "wheel" and version == "standard":
            pages = [f"docs/{page.name}" for page in root.glob("docs/*.md")]  # what `custody help` shows
            build_data["force_include"] |= {name: f"custody_pipeline/{name}" for name in (*TOP_LEVEL, *pages)}


def _head(root: Path) -> str | None:
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
