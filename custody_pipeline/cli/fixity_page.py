"""The outcome of a fixity run on a terminal.

Belongs here: words. Does not: reading and comparing (operations/fixity.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from custody_pipeline.operations.fixity import FixityReport


def fixity_lines(report: FixityReport) -> Iterator[str]:
    """The report for people."""
    for finding in report.findings:
        detail = finding["error"] or f"SHA-256 {finding['sha256_before']} then, {finding['sha256']} now"
        yield f"{finding['result']:>10}  {finding['uri']}: {detail}"
    counts = " · ".join(f"{number:,} {result}" for result, number in sorted(report.counts.items())) or "nothing was due"
    yield f"{counts} · {report.bytes:,} bytes read"
    if report.waiting:
        yield f"{report.waiting:,} objects wait, the longest since {report.oldest:%Y-%m-%d}"
    if report.nights_waiting:
        yield f"nights that were not reached: {report.nights_waiting:,}"
