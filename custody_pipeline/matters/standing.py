"""The standing of a matter: what its selection finds, what is missing, and whether gaps may still close.

Belongs here: counting for `custody matter show`, and what `gather` has to collect. Does not: printing (cli).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

import duckdb

from custody_pipeline.fleet.overview import every_night, lost_warehouse
from custody_pipeline.io.clock import utc_now
from custody_pipeline.matters.holds import BEFORE, HELD, read_holds
from custody_pipeline.matters.masking import unknown_keys
from custody_pipeline.matters.matter import Mask, Matter
from custody_pipeline.matters.register import Register, open_matter, register_of
from custody_pipeline.matters.selection import Found, Recordings, not_known, select, tag_keys
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.reasons import OF_AUDIO
from custody_pipeline.models.run import LAG_HOURS, RECHECK_DAYS
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import table_columns

_ROWS_AT_ONCE = 1_000
_MAY_CHANGE = ("open", "provisional", "failed")


@dataclass(frozen=True)
class Night:
    """A night that the matter touches.

    Attributes:
        state: as in custody.nights; `missing` if nobody collected it.
        completeness: as in custody.nights.
        kinds: kind of media → recordings that the selection finds.
        audio: how many of them have sealed audio, with bytes.
        revision: newest that is published; None before.
        final_after: until when an open or provisional night may grow (UTC); None for other nights.
    """

    night: date
    state: str
    completeness: str
    kinds: dict[str, int]
    audio: int
    revision: int | None
    final_after: datetime | None = None

    @property
    def command(self) -> str | None:
        """The command that collects the night, if that can change anything."""
        return f"custody run --date {self.night}" if self.state in ("missing", *_MAY_CHANGE) else None


@dataclass(frozen=True)
class Gap:
    """A reason why something of the matter is missing. `until`: the last time at which the gap can close."""

    reason: str
    severity: str
    sentence: str
    next_action: str
    recordings: int
    recoverable: int
    until: datetime | None

    @property
    def otherwise(self) -> str:
        """The words for a gap that cannot close."""
        is_note = self.severity == "info" and self.reason not in OF_AUDIO
        return "nothing is lost" if is_note else "cannot be recovered"


@dataclass(frozen=True)
class Access:
    """An act of a person, or a client, at the vendor on recordings of the matter. `where`: the addresses."""

    who: str
    action: str
    recordings: int
    first: datetime | None
    last: datetime | None
    where: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """The standing of a matter.

    Attributes:
        nights: those of the dates and of the recordings, oldest first. If no id is listed and an end of the dates is
            open: of the dates, the known nights that may still hold more, and those from the first day on that nobody
            collected.
        gaps: by reason, the most frequent first.
        changed: nights that are new, or got a new revision, since the last look.
        produced: recordings of earlier productions.
        accesses: acts at the vendor on recordings of the selection, by the vendor's audits, without our own collection.
        listened_until: nights whose audits were read → until when; nights that are not in it were not asked.
        remaining: recordings with audio that no production has as they are now.
        until: conversation and recording → the last time at which its gaps can close, if that is known.
        excluded_too_late: control numbers of recordings that are excluded now and were produced before.
        proofs: conversation and recording → the documents and objects that prove why it has no audio, as a text.
        to_come: number of nights of the dates that have not ended.
        not_known: number of recordings of which no document tells whether they belong to it; `not_known_coming`: of
            those of which one may still be read.
        unseen_masks: keys that the mask names and no collected night has.
        held: number of its conversations that are protected at the vendor; `unheld`: of those that are not.
    """

    found: Found
    nights: tuple[Night, ...]
    gaps: tuple[Gap, ...]
    changed: tuple[date, ...]
    produced: int
    remaining: int
    accesses: tuple[Access, ...] = ()
    listened_until: Mapping[date, datetime] = field(default_factory=dict)
    until: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    excluded_too_late: tuple[str, ...] = ()
    proofs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    to_come: int = 0
    not_known: int = 0
    not_known_coming: int = 0
    unseen_masks: tuple[str, ...] = ()
    held: int = 0
    unheld: int = 0

    @property
    def saturated(self) -> bool:
        """Whether all gaps are final: not if the selection finds nothing, or if its dates have not ended."""
        if not self.found.recordings or self.to_come or self.not_known_coming:
            return False
        return not any(night.command for night in self.nights) and not any(gap.recoverable for gap in self.gaps)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        recordings = self.found.recordings
        return {
            "recordings": len(recordings),
            "with_audio": sum(recording.has_audio for recording in recordings),
            "without_bytes": self.found.without_bytes,
            "excluded": dict(Counter(item.excluded for item in recordings if item.excluded)),
            "unmatched": list(self.found.unmatched),
            "outside_of_the_conditions": list(self.found.elsewhere),
            "excluded_unmatched": list(self.found.excluded_unmatched),
            "agents_unmatched": list(self.found.strangers),
            "queues_unmatched": list(self.found.unseen_queues),
            "tags_unmatched": list(self.found.unseen_tags),
            "tag_variants": list(self.found.variants),
            "masks_unmatched": list(self.unseen_masks),
            "not_known": self.not_known,
            "not_known_coming": self.not_known_coming,
            "repeated": self.found.repeated,
            "excluded_too_late": list(self.excluded_too_late),
            "produced": self.produced,
            "remaining": self.remaining,
            "held": self.held,
            "not_held": self.unheld,
            "saturated": self.saturated,
            "nights_to_come": self.to_come,
            "changed": [str(night) for night in self.changed],
            "nights": [
                {
                    "night": str(night.night),
                    "state": night.state,
                    "completeness": night.completeness,
                    "revision": night.revision,
                    "kinds": night.kinds,
                    "with_audio": night.audio,
                    "command": night.command,
                    "final_after": night.final_after and f"{night.final_after:%Y-%m-%dT%H:%M:%SZ}",
                }
                for night in self.nights
            ],
            "gaps": [
                {
                    "reason": gap.reason,
                    "severity": gap.severity,
                    "sentence": gap.sentence,
                    "next_action": gap.next_action,
                    "recordings": gap.recordings,
                    "recoverable": gap.recoverable,
                    "recoverable_until": gap.until and f"{gap.until:%Y-%m-%dT%H:%M:%SZ}",
                }
                for gap in self.gaps
            ],
        }


def standing_of(settings: Settings, name: str) -> tuple[Matter, Register, Standing]:
    """A matter by its name, its register and its present standing. Raises as `open_matter` and `standing`."""
    matter, register = open_matter(settings, name), register_of(settings, name)
    return matter, register, standing(settings, matter, register)


def standing(settings: Settings, matter: Matter, register: Register) -> Standing:
    """The present standing of a matter, by the analysts' snapshot. Without one, every night of its dates is missing.

    Raises:
        SettingsError: there is no snapshot yet and the matter has no dates, or the SQL condition is refused.
    """
    today = utc_now().date()
    nights_of_dates = matter.nights()
    of_dates = [night for night in nights_of_dates if night < today]
    to_come = len(nights_of_dates) - len(of_dates)
    if of_dates and settings.nights_url is None and not (settings.analyst_path.exists() or lost_warehouse(settings)):
        ids = matter.selection.ids
        found = Found(Recordings(), ids.ids if ids else (), repeated=ids.repeated if ids else 0)
        nights = tuple(Night(night, "missing", "not_established", {}, 0, None) for night in of_dates)
        return Standing(found, nights, (), (), 0, 0, to_come=to_come)
    with every_night(settings) as con:
        found, (unread, coming) = select(con, matter), not_known(con, matter)
        unseen_masks = (
            unknown_keys(matter.mask, load_mapping(settings.mapping_path), tag_keys(con)) if matter.mask else ()
        )
        nights = tuple(_nights(con, matter, of_dates, found))
        _ask(con, found)
        gaps = _gaps(con)
        accesses, listened_until = _accesses(con)
        until, proofs = _of_each(con, query("matters/deadlines")), _of_each(con, query("matters/proofs"))
    looked = next((event for event in reversed(register.events()) if event["what"] == "looked"), None)
    before = looked["revisions"] if looked else revisions(nights)
    produced = {item.key: item.row_sha256 for item in register.produced()}
    excluded = {item.key for item in found.recordings if item.excluded}
    conversations = {item.conversation_id for item in found.recordings if item.conversation_id}
    states = read_holds(register).conversations
    held = sum(states.get(name) in (HELD, BEFORE) for name in conversations)
    return Standing(
        found,
        nights,
        gaps,
        tuple(night.night for night in nights if before.get(str(night.night)) != night.revision),
        len(produced),
        sum(item.media_sha256 is not None and produced.get(item.key) != item.row_sha256 for item in found.produced),
        accesses,
        listened_until,
        until,
        tuple(item.control for item in register.produced() if item.key in excluded),
        proofs,
        to_come,
        unread,
        coming,
        unseen_masks,
        held,
        len(conversations) - held,
    )


def revisions(nights: Iterable[Night]) -> dict[str, int | None]:
    """Night → revision, to be noted with a look."""
    return {str(night.night): night.revision for night in nights}


def criteria(matter: Matter) -> list[tuple[str, str]]:
    """The selection in words: name and value of each condition."""
    selection, ids = matter.selection, matter.selection.ids
    of_file = f" of {ids.source}, SHA-256 {ids.sha256}" if ids and ids.source else ""
    given: list[tuple[str, Any]] = [
        ("ids", ids and f"{len(ids.ids)} id{'s' * (len(ids.ids) != 1)}{of_file}"),
        ("from", selection.first),
        ("to", selection.last),
        ("agents", selection.agents),
        ("queues", selection.queues),
        ("divisions", selection.divisions),
        ("numbers", selection.numbers),
        ("tags", selection.tags),
        ("media", selection.media),
        ("where", selection.where),
    ]  # fmt: skip
    # A condition reveals a field that is withheld in every recording that it finds.
    mask = matter.mask or Mask()
    hidden = {"where"} if matter.mask else set()
    hidden |= {"numbers"} if mask.numbers != "shown" else set()
    hidden |= {"agents"} if mask.agents != "shown" else set()
    hidden |= {"tags"} if mask.tags is not None else set()
    words = {name: ", ".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in given}
    return [(name, "[withheld]" if name in hidden else words[name]) for name, value in given if value]


def _nights(con: duckdb.DuckDBPyConnection, matter: Matter, of_dates: Iterable[date], found: Found) -> list[Night]:
    known = {
        night: (state, completeness, collected)
        for night, state, completeness, collected in con.execute(
            "SELECT partition_date, state, completeness, collected_at IS NOT NULL FROM custody.nights"
        ).fetchall()
    }
    if matter.selection.ids is None and not matter.nights():
        begin, end = matter.window()
        of_dates = [
            night
            for night, (state, completeness, _) in known.items()
            if (begin is None or begin.date() <= night)
            and (end is None or night <= (end - timedelta(microseconds=1)).date())
            and (state in ("missing", *_MAY_CHANGE) or completeness != "established")
        ]
        if begin is not None:  # nobody may have collected the nights up to yesterday
            ended = (utc_now().date() - begin.date()).days
            since = (begin.date() + timedelta(days=number) for number in range(ended))
            of_dates += [night for night in since if night not in known]
    # Several workers: a night's sealed events lack its own publication.
    known_here = table_columns(con, "raw.publications")
    newest = "SELECT partition_date, max(revision) FROM raw.publications GROUP BY ALL"
    published = dict(con.execute(newest if known_here else query("matters/revisions")).fetchall())
    limits = {"lag_hours": LAG_HOURS, "recheck_days": RECHECK_DAYS}
    final_after = dict(con.execute(query("matters/final_after"), limits).fetchall())
    kinds: dict[date, Counter[str]] = defaultdict(Counter)
    audio: Counter[date] = Counter()
    for recording in found.recordings:
        kinds[recording.night][recording.kind or "unknown"] += 1
        audio[recording.night] += recording.has_audio
    nights = []
    for night in sorted({*of_dates, *kinds}):
        state, completeness, collected = known.get(night, ("missing", "not_established", False))
        state = state if collected or state == "failed" else "missing"
        of_night = dict(kinds[night]), audio[night], published.get(night), final_after.get(night)
        nights.append(Night(night, state, completeness, *of_night))
    return nights


def _ask(con: duckdb.DuckDBPyConnection, found: Found) -> None:
    """Make the table that the queries below ask about: night, conversation, recording, and whether it has audio."""
    con.execute("CREATE TEMP TABLE asked (n DATE, c VARCHAR, r VARCHAR, has_audio BOOLEAN)")
    recordings = iter(found.recordings)
    while part := list(islice(recordings, _ROWS_AT_ONCE)):
        rows = [
            {"n": item.night, "c": item.conversation_id, "r": item.recording_id, "a": item.has_audio} for item in part
        ]
        kind = "STRUCT(n DATE, c VARCHAR, r VARCHAR, a BOOLEAN)[]"
        con.execute(f"INSERT INTO asked SELECT unnest($rows::{kind}, recursive := true)", {"rows": rows})


def _accesses(con: duckdb.DuckDBPyConnection) -> tuple[tuple[Access, ...], dict[date, datetime]]:
    if not table_columns(con, "custody.access_events"):  # a snapshot of an earlier version has none
        return (), {}
    rows = con.execute(query("matters/accesses")).fetchall()
    until = con.execute(
        "SELECT partition_date, complete_until FROM custody.coverage "
        "WHERE source = 'recording_audits' AND state IN ('whole', 'partial') AND complete_until IS NOT NULL"
    ).fetchall()
    accesses = tuple(
        Access(who, action, count, first, last, tuple(where or ())) for who, action, count, first, last, where in rows
    )
    return accesses, dict(until)


def _gaps(con: duckdb.DuckDBPyConnection) -> tuple[Gap, ...]:
    return tuple(Gap(*row) for row in _of_asked(con, query("matters/gaps"), now=utc_now()))


def _of_each(con: duckdb.DuckDBPyConnection, sql: str) -> dict[tuple[str, str], Any]:
    """The answer of a query about the absence of audio."""
    return {(conversation, recording): value for conversation, recording, value in _of_asked(con, sql)}


def _of_asked(con: duckdb.DuckDBPyConnection, sql: str, **bound: Any) -> list[tuple[Any, ...]]:
    """The answer of a query about the gaps of the recordings that were asked about."""
    ((first, last),) = con.execute("SELECT min(n), max(n) FROM asked").fetchall()
    gaps = f"night_gaps AS ({query('report/gaps')}), asked_gaps AS ({query('matters/asked_gaps')})"
    return con.execute(f"WITH {gaps} {sql}", bound | {"of_audio": OF_AUDIO, "first": first, "last": last}).fetchall()
