"""Every setting of a deployment, typed, from the environment (`CUSTODY_…`); secrets are never printed.

Belongs here: names, types, defaults, refusals, and reading them. Does not: clients or connections made from them.
"""

from custody_pipeline.settings.deployment import S3Url, Settings, SettingsError, load_settings, missing_setting

__all__ = ["S3Url", "Settings", "SettingsError", "load_settings", "missing_setting"]
