"""`custody fixity`, and the nightly job: the media whose last check is the longest ago, read again.

Belongs here: one run, and showing it. Does not: choosing and comparing (extract/fixity.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from custody_pipeline.extract.fixity import FixityReport, check_objects, due_objects, record_checks
from custody_pipeline.warehouse import Warehouse, refresh_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from custody_pipeline.settings import Settings


def run_fixity(settings: Settings, budget: int | None = None) -> FixityReport:
    """Read what is due again, append the outcome, and leave custody events.

    Args:
        settings: where the objects and the warehouse are.
        budget: bytes; `CUSTODY_FIXITY_BYTES` when None.

    Raises:
        SettingsError: no export bucket is configured.
        WarehouseBusyError: the warehouse is in use.
    """
    settings.require("export_url", "s3://acme-call-exports")
    budget = settings.fixity_bytes if budget is None else budget
    warehouse = Warehouse(settings)
    with warehouse.open() as con:
        due = due_objects(con, budget)
    checked = check_objects(settings, due)
    with warehouse.open() as con:
        report = record_checks(con, settings, checked, budget)
        for night in sorted({found.night for found in due}):
            refresh_events(con, night, about_night_alone=True)
    return report


def fixity_lines(report: FixityReport) -> Iterator[str]:
    """The report for people."""
    for finding in report.findings:
        detail = finding["error"] or f"SHA-256 {finding['sha256_before']} then, {finding['sha256']} now"
        yield f"{finding['result']:>10}  {finding['uri']}: {detail}"
    counts = " · ".join(f"{number:,} {result}" for result, number in sorted(report.counts.items())) or "nothing was due"
    yield f"{counts} · {report.bytes:,} bytes read"
    if report.waiting:
        yield f"{report.waiting:,} objects wait, the longest since {report.oldest:%Y-%m-%d}"
