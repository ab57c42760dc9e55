"""The code location that `workspace.yaml` loads; `defs/assembled.py` puts it together.

A missing or wrong setting is one line in the log of the program that loads the definitions (`dg check defs`,
`dagster dev`). The definitions load nevertheless, so that earlier runs can be seen.
"""

import logging

from custody_pipeline.defs.assembled import defs
from custody_pipeline.io.process import keep_private
from custody_pipeline.settings import SettingsError, load_settings

# Processes that Dagster starts for a run begin here, not in the command line.
keep_private()

try:
    _settings = load_settings()
    _settings.require("export_url")
    _settings.require("publish_url")
except SettingsError as error:
    logging.getLogger(__name__).warning("%s", error)

__all__ = ["defs"]
