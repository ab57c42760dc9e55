"""Who acts, and with which code: named in receipts, custody events and cuts.

Belongs here: the person, the version, the commit. Does not: the service identity that the API knows
(extract/genesys.py).
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import TYPE_CHECKING

from custody_pipeline.distribution import git_revision, version

if TYPE_CHECKING:
    from custody_pipeline.settings import Settings


@dataclass(frozen=True)
class Actor:
    """Who runs this, and the code that runs.

    Attributes:
        operator: the setting, or the login name.
        tool_version: the installed version of custody-pipeline.
        git_revision: the commit that was built or installed; None when the build did not know it.
    """

    operator: str
    tool_version: str
    git_revision: str | None

    @classmethod
    def of(cls, settings: Settings | None) -> Actor:
        """The actor of a deployment; without settings the login name is the operator."""
        operator = (settings.operator if settings else None) or _login_name()
        return cls(operator, version(), git_revision())


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return "unknown"
