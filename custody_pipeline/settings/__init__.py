"""Every setting of a deployment, typed, from the environment (`CUSTODY_…`); secrets are never printed.

Belongs here: names, types, defaults, refusals, and reading them. Does not: clients or connections made from them.
"""

from custody_pipeline.settings.kinds import SettingsError
from custody_pipeline.settings.reading import load_settings
from custody_pipeline.settings.table import Settings

__all__ = ["Settings", "SettingsError", "load_settings"]
