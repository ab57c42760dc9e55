"""What tests ask of a report."""

from __future__ import annotations

from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.findings import Report


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def errors(report: Report) -> set[str]:
    return {finding.code for finding in report.of(Severity.ERROR)}
