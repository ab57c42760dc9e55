"""How a matter stands, on a terminal.

Belongs here: words and widths. Does not: counting (matters/standing.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, groupby

from custody_pipeline.cli.shared import numbered, tell
from custody_pipeline.io.clock import utc_now
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.standing import Standing, criteria

_SHOWN = 10


def print_standing(matter: Matter, standing: Standing) -> None:
    """The matter on one screen; lists are cut after some lines, `--json` has them whole."""
    parts = (_selection(matter, standing), _nights(standing), _gaps(standing), _outlook(matter.name, standing))
    for line in chain.from_iterable(parts):
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        further = indent + 4 if indent < 4 else indent + 2 * text.startswith("→")
        tell(line, further)


def _selection(matter: Matter, standing: Standing) -> Iterator[str]:
    found = standing.found
    yield f"{matter.title}  ·  {matter.number or 'no number'}"
    for name, value in criteria(matter):
        yield f"  {name}: {value}"
    audio = sum(item.has_audio for item in found.recordings)
    empty = f", {numbered(found.without_bytes, 'file')} without bytes" if found.without_bytes else ""
    yield f"  found {numbered(len(found.recordings), 'recording')}, {audio} with audio{empty}"
    if standing.not_known:
        yield (
            f"  {numbered(standing.not_known, 'more recording')} may belong to it: no document tells; "
            f"{standing.not_known_coming} of them can still be read; custody gaps has the reasons"
        )
    for reason, count in Counter(item.excluded for item in found.recordings if item.excluded).items():
        yield f"  excluded {count}: {reason}"
    if found.repeated:
        yield f"  {numbered(found.repeated, 'line')} of the list repeat{'s' * (found.repeated == 1)} an id"
    for ids, what in (
        (found.unmatched, "in no collected night"),
        (found.elsewhere, "there, but nothing shows that the other conditions hold"),
        (found.excluded_unmatched, "excluded, but not found by the selection"),
        (found.strangers, "an agent that no collected night has"),
        (found.unseen_queues, "a queue or division that no collected night has"),
        (found.unseen_tags, "a tag that no collected night has; capitals count"),
        (found.variants, "another spelling of a tag; the condition does not find it"),
        (standing.unseen_masks, "a masked tag that no collected night has"),
        (standing.excluded_too_late, "excluded, but produced before: ask for it back"),
    ):
        for item in ids[:_SHOWN]:
            yield f"  {item}: {what}"
        if len(ids) > _SHOWN:
            yield f"  … and {len(ids) - _SHOWN} more {what}; --json lists all"


def _nights(standing: Standing) -> Iterator[str]:
    now = utc_now()
    yield "Nights" if standing.nights else "Nights: none"
    for missing, group in groupby(standing.nights, lambda night: night.state == "missing"):
        nights = list(group)
        if missing and len(nights) > _SHOWN:
            yield f"  {nights[0].night} to {nights[-1].night}: never collected → {nights[0].command}, and so on"
            continue
        for night in nights:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(night.kinds.items()))
            of_matter = kinds or "nothing of this matter"
            state = "never collected" if missing else f"{night.state}, revision {night.revision or '–'}, {of_matter}"
            yield f"  {night.night}  {state}"
            if night.command:  # on its own line, to be copied
                yield f"    → {night.command}"
            if night.final_after and night.final_after > now:
                yield f"    may grow until {night.final_after:%Y-%m-%d %H:%M} UTC, by what is known now: run after that"
    if standing.changed:
        yield f"  new, or published again, since the last look: {', '.join(map(str, standing.changed))}"


def _gaps(standing: Standing) -> Iterator[str]:
    if standing.found.recordings:
        yield "Gaps" if standing.gaps else "Gaps: none"
    for gap in standing.gaps:
        until = f" until {gap.until:%Y-%m-%d %H:%M} UTC" if gap.until else ""
        had = f"{gap.recoverable} can still be recovered{until}" if gap.recoverable else gap.otherwise
        yield f"  {gap.reason}  {gap.recordings}, {had}"
        yield f"    {gap.sentence}"
        if gap.recoverable:
            yield f"    → {gap.next_action}"


def _outlook(name: str, standing: Standing) -> Iterator[str]:
    yield f"Produced {standing.produced}, not yet produced {standing.remaining}"
    if standing.held:
        more = f", {standing.unheld} not: custody matter hold {name} --apply" if standing.unheld else ""
        yield f"Held at the vendor: {numbered(standing.held, 'conversation')}{more}"
    if not standing.found.recordings:
        yield "the selection finds no recording"
    elif standing.saturated:
        unmatched = standing.found.unmatched
        unknown = f", but for {numbered(len(unmatched), 'id')} that no collected night has" if unmatched else ""
        yield f"saturated: nothing that is missing can be recovered{unknown}"
    else:
        yield "not saturated: something can still be recovered, or a night may still grow"
    if standing.to_come:
        yield f"{numbered(standing.to_come, 'night')} of the dates to come"
    if doubtful := sum(night.completeness != "established" for night in standing.nights):
        nights = f"{numbered(doubtful, 'night')} {'is' if doubtful == 1 else 'are'}"
        yield f"{nights} not established: more may be missing than the gaps say; see custody status"
