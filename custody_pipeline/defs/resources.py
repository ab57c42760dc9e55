"""Resources: the settings, and the objects made from them, for assets, schedules and sensors.

Belongs here: the settings and the mapping. Does not: behaviour of clients (extract, io, warehouse).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import cached_property

import dagster as dg

from custody_pipeline.alerts import alerted_reasons
from custody_pipeline.defs.launcher import lock_of_run
from custody_pipeline.forgetting.coming import deadlines
from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.mapping_file import MappingError, load_mapping
from custody_pipeline.night import Night
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline.warehouse.kept_open import kept_open

RECHECK_TAG = "custody/recheck"
RECHECK_NICENESS = 10


class Deployment(dg.ConfigurableResource["Deployment"]):
    """This deployment: its settings, and the objects made from them.

    The environment is read when a run or a tick first needs it. The settings that shape the definitions (the first
    night and the owners) are read when the definitions load (`partitions.settings_at_import`).
    """

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Deployment]:
        """Keep the warehouse open, and the run's lock. Rechecks leave the processor to other runs."""
        if context.run is not None and RECHECK_TAG in context.run.tags:
            # Only root may lower the niceness that the process was started with.
            os.setpriority(os.PRIO_PROCESS, 0, max(RECHECK_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
        with ExitStack() as until_ended:
            if context.run is not None and context.instance is not None:
                until_ended.enter_context(lock_of_run(context.instance, context.run.run_id))
            until_ended.enter_context(kept_open())
            yield self

    @cached_property
    def settings(self) -> Settings:
        """The settings.

        Raises:
            dagster.Failure: a setting is wrong. A retry would not help.
        """
        try:
            settings = load_settings()
            alerted_reasons(settings)  # a wrong reason is refused before the night starts
            return settings
        except SettingsError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    @property
    def is_configured(self) -> bool:
        """False if a setting is wrong: the run has failed for that reason."""
        try:
            return bool(self.settings)
        except dg.Failure:
            return False

    @cached_property
    def mapping(self) -> TagMapping:
        """The tag mapping named by the settings.

        Raises:
            dagster.Failure: the file is refused. A retry would not help.
        """
        try:
            return load_mapping(self.settings.mapping_path)
        except MappingError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    def night(self, day: date) -> Night:
        """One night of this deployment."""
        return Night(self.settings, self.mapping, day, deadlines)
