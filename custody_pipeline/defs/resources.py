"""Resources: the one way from an asset to the outside.

Belongs here: what assets ask for. Does not: clients' behaviour (extract, objectstore, warehouse).
"""

from __future__ import annotations

from datetime import date
from functools import cached_property

import dagster as dg

from custody_pipeline.alerts import alerted_reasons
from custody_pipeline.models.mapping import TagMapping, load_mapping
from custody_pipeline.night import Night
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline.warehouse.connection import Warehouse


class Deployment(dg.ConfigurableResource["Deployment"]):
    """This deployment: its settings and what is made from them. The environment is read when a run begins."""

    @cached_property
    def settings(self) -> Settings:
        """The settings.

        Raises:
            dagster.Failure: a setting is missing or wrong; retrying would not help.
        """
        try:
            settings = load_settings()
            alerted_reasons(settings)  # refused now, before there is work to lose
            return settings
        except SettingsError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse; open it for as short as possible."""
        return Warehouse(self.settings)

    @cached_property
    def mapping(self) -> TagMapping:
        """The tag mapping named by the settings."""
        return load_mapping(self.settings.mapping_path)

    def night(self, day: date) -> Night:
        """One night of this deployment."""
        return Night(self.settings, self.mapping, day)
