"""The code location: every asset, check, job, schedule and sensor.

Belongs here: the list. Does not: any definition.
"""

import dagster as dg

from custody_pipeline.defs import checks, collected, modelled, nightly, published, sensors
from custody_pipeline.defs import rolling_fixity as fixity
from custody_pipeline.defs.resources import Deployment

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([collected, modelled, published, sensors, fixity]),
    asset_checks=[checks.custody_checks],
    jobs=[nightly.nightly_custody, nightly.recheck_custody, sensors.capture_events, fixity.rolling_fixity],
    schedules=[nightly.every_night, nightly.every_recheck, fixity.every_fixity],
    sensors=[sensors.waiting_events],
    resources={"deployment": Deployment()},
    executor=dg.in_process_executor,
)
