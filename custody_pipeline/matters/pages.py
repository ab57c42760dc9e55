"""The pages of a production for people: the report, and the draft of a certificate.

Belongs here: filling the templates from verified facts. Does not: the facts (volume_facts.py).

Both are single HTML files without script, so that they can be read, printed and sent without us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.io.clock import utc_now
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.register import Register
from custody_pipeline.matters.selection import Recording
from custody_pipeline.matters.standing import Standing, criteria
from custody_pipeline.pages import environment
from custody_pipeline.warehouse.ledger import Actor

ROWS_SHOWN = 100
"""A page for people: the index has all."""
_PRODUCED, _EARLIER = "Produced as they are now", "Produced in an earlier state"
_COLOURS = ("#1b5e20", "#66a182", "#8d6e63", "#b26a00", "#9e2a2b", "#455a64")


def report_html(
    matter: Matter,
    standing: Standing,
    account: Sequence[tuple[str, int]],
    rows: Sequence[Mapping[str, str]],
    facts: Mapping[str, Any],
) -> str:
    """The report.

    Args:
        standing: of the matter when the volume was made.
        account: numbers of found recordings by their outcome; the first is this volume.
        rows: the first `ROWS_SHOWN` of the index.
        facts: the content of both pages: see `volume_facts.facts_of`.
    """
    parties = (
        ("Requesting party", matter.requesting_party),
        ("Producing party", matter.producing_party),
        ("Custodian", matter.custodian),
        ("Authorised", "; ".join(matter.authorised)),
        ("Times are in", matter.zone.key),
    )
    found = sum(number for _, number in account)
    bars, x = [], 0.0
    for (name, number), colour in zip(account, _COLOURS, strict=False):
        if number:
            width = round(100 * number / found, 3)
            bars.append((round(x, 3), width, colour, f"{name}: {number}"))
            x += width
    asked = [night.night for night in standing.nights if night.night in standing.listened_until]
    return _render(
        "report.html",
        matter=matter,
        facts=[(name, value) for name, value in parties if value],
        counts={"produced": account[0][1], "found": found},
        account=account,
        bars=bars,
        bars_label=", ".join(name for _, _, _, name in bars),
        found=standing.found,
        without_bytes=standing.found.without_bytes,
        criteria=criteria(matter),
        nights=standing.nights,
        now=utc_now(),
        gaps=standing.gaps,
        accesses=standing.accesses,
        asked=len(asked),
        asked_until=min((standing.listened_until[night] for night in asked), default=None),
        saturated=standing.saturated,
        not_known=standing.not_known,
        too_late=standing.excluded_too_late,
        rows=rows,
        more_rows=max(0, account[0][1] - len(rows)) if rows else 0,
        **{name: value for name, value in facts.items() if name != "facts"},
    )


def matter_html(matter: Matter, standing: Standing, register: Register, actor: Actor) -> str:
    """The present report of a matter, without a volume."""
    produced = {item.key: item.row_sha256 for item in register.produced()}
    names = (_PRODUCED, _EARLIER, "Excluded, with a reason", "Without audio, with a reason", "Not yet produced")
    count = Counter(_fate(item, produced) for item in standing.found.recordings)
    facts = {
        "volume": None,
        "supersedes": 0,
        "made_at": f"{utc_now():%Y-%m-%d %H:%M}",
        "operator": actor.operator,
        "tool_version": actor.tool_version,
        "events": register.told(),
    }
    return report_html(matter, standing, [(name, count[name]) for name in names], [], facts)


def _fate(item: Recording, produced: Mapping[tuple[str, str], str]) -> str:
    if item.key in produced:
        return _PRODUCED if produced[item.key] == item.row_sha256 else _EARLIER
    if item.excluded:
        return "Excluded, with a reason"
    return "Not yet produced" if item.media_sha256 else "Without audio, with a reason"


def certificate_html(matter: Matter, facts: Mapping[str, Any]) -> str:
    """The draft of a certificate, filled from what was verified, with blanks for the rest: see `ProductionForm`."""
    return _render("certificate.html", matter=matter, neutral=matter.form.certificate == "neutral", **facts)


def _render(name: str, **values: Any) -> str:
    templates = environment(PACKAGE_DIR / "matters" / "templates", trim=False)
    templates.filters["moment"] = lambda value: f"{value:%Y-%m-%d %H:%M:%S}" if value else ""
    return templates.get_template(name).render(values)
