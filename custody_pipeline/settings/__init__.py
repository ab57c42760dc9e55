"""Every setting of a deployment, typed, from the environment (`CUSTODY_…`); secrets are never printed.

Belongs here: names, types, defaults, refusals, and reading them. Does not: clients or connections made from them.
"""

from custody_pipeline.settings.kinds import S3Url, SettingsError
from custody_pipeline.settings.reading import load_settings
from custody_pipeline.settings.table import PACKAGE_DIR, Settings

__all__ = ["PACKAGE_DIR", "S3Url", "Settings", "SettingsError", "load_settings"]
