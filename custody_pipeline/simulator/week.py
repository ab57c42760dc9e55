"""Nights before the demo's night: small, and with few faults, except for one.

Belongs here: how many calls and which faults they have. Does not: exporting or serving them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.organization import Organization

SMALLER = 10
"""The last night has this many times more conversations."""

CALM = FaultPlan.only("SIDECAR_MISSING", "TAG_CHANGED_LATER")
SERIOUS = FaultPlan((("REQUIRED_TAG_MISSING", 0.4), ("EXPORT_FAILED", 0.1), ("TAG_NEVER_SET", 0.1)))
"""A new version of a script forgot its required tags, and a part of the export failed."""

SERIOUS_BEFORE = 3
"""Days from the serious night to the last one."""


def nights_of(last: Organization, number: int) -> tuple[Organization, ...]:
    """This number of nights of the organisation, oldest first; the last one is `last` itself."""
    before = [
        replace(
            last,
            night=last.night - timedelta(days=days),
            size=max(10, last.size // SMALLER + 3 * (days % 4)),
            faults=SERIOUS if days == SERIOUS_BEFORE else CALM,
        )
        for days in range(number - 1, 0, -1)
    ]
    return (*before, last)
