"""The result of a verification: findings, and a report that fails closed.

Belongs here: the report and the exit status. Does not: the codes (codes.py), the checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from custody_pipeline.evidence.log.note import Verifier
from custody_pipeline.evidence.verify.codes import CODES, Code, Severity
from custody_pipeline.io.escaping import escaped


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: a key of `CODES`.
        path: the file or folder that it is about; empty for the target as a whole.
        detail: expected and found, without values of records.
    """

    code: str
    path: str
    detail: str = ""

    @property
    def kind(self) -> Code:
        """Severity, meaning and action."""
        return CODES[self.code]

    @property
    def where(self) -> str:
        """Its path, after a space; empty for the target as a whole."""
        return f" {self.path}" if self.path else ""

    @property
    def told(self) -> str:
        """Its detail in brackets, after a space; empty without one."""
        return f" [{self.detail}]" if self.detail else ""


@dataclass
class Report:
    """The outcome of a verification.

    Attributes:
        target: what was verified.
        valid: what was checked and is as sealed: cuts, files, bytes, records, media…
        total: what should be there.
        facts: what people compare: origin, size and root of the log, key fingerprints, times.
        not_read: folders of the cuts whose files were not read, because the caller verified them before.
        cuts: folder of each cut that was found → SHA-256 of its `cut.json` as found, hex.
    """

    target: str
    valid: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    facts: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, str] = field(default_factory=dict)
    not_read: set[str] = field(default_factory=set)
    _findings: dict[Finding, None] = field(default_factory=dict)

    def add(self, code: str, path: str = "", detail: str = "") -> None:
        """Add a finding, once."""
        finding = Finding(code, escaped(path), escaped(detail))
        assert code in CODES, code  # noqa: S101 - a wrong code is our own mistake
        self._findings.setdefault(finding)

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order they were found."""
        return list(self._findings)

    def unread(self, *ends: str, below: str = "") -> list[str]:
        """Files that could not be read and whose paths begin with `below` and end with one of `ends`.

        What depends on such a file is not known, and is no error.
        """
        unread = (found.path for found in self._findings if found.code == "FILE_UNREADABLE")
        return [path for path in unread if path.startswith(below) and path.endswith(ends)]

    def signed_by(self, signers: Iterable[Verifier]) -> None:
        """Name the trusted keys that signed."""
        for key in signers:
            self.facts[f"signed by {key.name}+{key.key_id.hex()}"] = f"sha256 {key.fingerprint}"
            if key.demo:
                self.add("DEMO_KEY", "", key.name)

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.kind.severity is severity]

    @property
    def status(self) -> int:
        """0 verified · 1 findings · 2 could not check everything (nothing checked is never 0)."""
        if self.of(Severity.ERROR):
            return 1
        if self.of(Severity.UNCHECKED) or not sum(self.valid.values()):
            return 2
        return 0

    @property
    def verdict(self) -> str:
        """The status in a sentence."""
        demo = " (with a DEMO key: this proves nothing)" if any(f.code == "DEMO_KEY" for f in self.findings) else ""
        since = ", what was sealed since the given checkpoint" if self.not_read else ""
        errors, unchecked = len(self.of(Severity.ERROR)), len(self.of(Severity.UNCHECKED))
        return {
            0: f"VERIFIED{since}{demo}",
            1: f"NOT VALID: {errors} finding{'s' * (errors != 1)}",
            2: f"NOT VERIFIED: {unchecked or 'all'} thing{'s' * (unchecked != 1)} could not be checked",
        }[self.status]

    def summary(self) -> list[str]:
        """Lines for people: what was checked, the findings by code, the verdict last."""
        lines = [escaped(f"Verification of {self.target}")]
        lines += [escaped(f"  {name}: {value}") for name, value in self.facts.items()]
        for name in self.total:
            lines.append(f"  {self.valid[name]:,}/{self.total[name]:,} {name} valid")
        for severity in Severity:
            by_code: dict[str, list[Finding]] = {}
            for finding in self.of(severity):
                by_code.setdefault(finding.code, []).append(finding)
            for code, found in by_code.items():
                one = len(found) == 1
                where = f"{found[0].where}: " if one else f", {len(found)} times: "
                lines.append(f"  {severity.upper()} {code}{where}{found[0].kind.meaning}{found[0].told if one else ''}")
                lines += [] if one else [f"   {finding.where}{finding.told}" for finding in found]
                lines.append(f"    → {found[0].kind.action}")
        return [*lines, self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "target": escaped(self.target),
            "status": self.status,
            "verdict": self.verdict,
            "facts": {escaped(name): escaped(value) for name, value in self.facts.items()},
            "checked": {name: {"valid": self.valid[name], "total": self.total[name]} for name in self.total},
            "findings": [
                {
                    "code": finding.code,
                    "severity": str(finding.kind.severity),
                    "path": finding.path,
                    "detail": finding.detail,
                    "meaning": finding.kind.meaning,
                    "action": finding.kind.action,
                }
                for finding in self.findings
            ],
        }
