"""Which warehouse holds a night: this home's, or the night's own on S3.

Belongs here: the choice. Does not: a night's own warehouse (shards.py). That module imports the loader, which a command
that only reads this home's warehouse does not need.
"""

from __future__ import annotations

from datetime import date

from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import LOCK_TIMEOUT_SECONDS, Warehouse


def warehouse_of(settings: Settings, night: date, *, lock_timeout: float = LOCK_TIMEOUT_SECONDS) -> Warehouse:
    """The warehouse that holds a night: this home's, or the night's own, checked out."""
    if settings.nights_url is None:
        return Warehouse(settings, lock_timeout=lock_timeout)
    from custody_pipeline.fleet.shards import NightWarehouse

    return NightWarehouse(settings, night, lock_timeout)
