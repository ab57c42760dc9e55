"""The settings of alerts, refused where they name a reason that does not exist.

Belongs here: what the settings alone cannot check. Does not: names and types (settings/alerts.py).
"""

from custody_pipeline.models.reasons import BY_CODE
from custody_pipeline.settings import SettingsError
from custody_pipeline.settings.alerts import AlertSettings, read_alert_settings


def load_alert_settings() -> AlertSettings:
    """Read the environment.

    Raises:
        SettingsError: a setting is wrong, or names an unknown reason; secrets are not repeated.
    """
    settings = read_alert_settings()
    if unknown := sorted(settings.reasons - BY_CODE.keys()):
        raise SettingsError(
            f"CUSTODY_ALERT_REASONS: no such reason: {', '.join(unknown)}; accepted: {', '.join(sorted(BY_CODE))}"
        )
    return settings
