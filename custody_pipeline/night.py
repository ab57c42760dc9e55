"""A night in one screen: collect → load → model → check → publish.

Belongs here: the steps of a night and their order. Does not: the work of a step (extract, load, models, publish), or
who starts a night (Dagster in defs, the tests, the benchmark).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from custody_pipeline.capture.assembly import linker_of
from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.captured import captured_addresses
from custody_pipeline.capture.links import Audio
from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.extract.audits import collect_audits
from custody_pipeline.extract.catalog import collect_catalog
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.conversations import collect_conversations, collect_details
from custody_pipeline.extract.erased import erase_landed
from custody_pipeline.extract.exports import collect_exports
from custody_pipeline.extract.gdpr_requests import collect_gdpr_requests
from custody_pipeline.extract.media import collect_media
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.extract.recordings import collect_listed, collect_recordings
from custody_pipeline.fleet.overview import refresh
from custody_pipeline.fleet.warehouse_of import warehouse_of
from custody_pipeline.io import progress
from custody_pipeline.io.resume_cache import resume_cache_of
from custody_pipeline.load.pipeline import LoadSummary, load
from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.pending_reads import (
    captured_audio,
    conversations_to_read,
    known_addresses,
    known_conversations,
    known_digests,
    last_day,
    media_objects,
    recordings_to_read,
)
from custody_pipeline.models.run import refresh_events, run_check, run_models
from custody_pipeline.operations.night_report import report_of_night, scope_of_night, write_report
from custody_pipeline.publish.current_copies import Publication
from custody_pipeline.publish.live import publish_live
from custody_pipeline.publish.place import require_place
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.publish.revision_files import More
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.erasures import erased_names
from custody_pipeline.warehouse.kept_open import kept_open
from custody_pipeline.warehouse.night_states import mark_nights
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import load_models


@dataclass(frozen=True)
class Night:
    """One night of one deployment.

    Attributes:
        deadlines: until when the day's conversations are kept, a sentence each; for the night's page.
    """

    settings: Settings
    mapping: TagMapping
    day: date
    deadlines: Callable[[Settings, duckdb.DuckDBPyConnection, date], list[str]] = lambda *_: []

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse. Keep it open for as short a time as possible."""
        return warehouse_of(self.settings, self.day)


class ChecksFailedError(Exception):
    """The night was modelled and not published. `offending`: check → its offending rows."""

    def __init__(self, offending: dict[str, list[dict[str, Any]]]) -> None:
        super().__init__(f"the night was not published; failed checks: {', '.join(sorted(offending))}")
        self.offending = offending


def run(night: Night) -> Publication:
    """Run all steps of the night, in order.

    Raises:
        ChecksFailedError: a blocking check found rows; nothing was published.
        LoginError, TransientError, BucketUnreachableError: an indispensable source does not answer.
        PublishPlaceError: the publish bucket is not there, or may not be written; nothing was collected.
        PublishError, SealingError: see publish/.
    """
    require_place(night.settings)
    with kept_open():
        collect(night)
        with night.warehouse.open() as con:
            model(con, night)
            if offending := {name: rows for name, rows in check(con, night).items() if rows and is_blocking(name)}:
                raise ChecksFailedError(offending)
            publication, _ = publish(con, night)
    return publication


# --- collect and load -------------------------------------------------------------------------------------------------


def collect(night: Night) -> None:
    """Collect and load every group of sources. Raises as `collected` does."""
    for group in COLLECT:
        with collected(night, group):
            pass


@dataclass(frozen=True)
class Loaded:
    """A group of sources, collected and loaded; `con` is the warehouse, open until the block ends."""

    con: duckdb.DuckDBPyConnection
    landings: dict[str, Landing]
    summary: LoadSummary


@contextmanager
def collected(night: Night, group: str) -> Iterator[Loaded]:
    """Collect one group of `COLLECT` and load it.

    Raises:
        LoginError, TransientError: the API refuses the client, or does not answer.
        BucketUnreachableError: the export bucket cannot be listed.
    """
    erased = erased_names(night.settings)
    with Collector(night.settings, night.day, progress.report) as collector, ExitStack() as until_loaded:
        landings = COLLECT[group](night, collector, until_loaded)
        with night.warehouse.open() as con:
            # An erasure holds the warehouse too, so everything that was erased meanwhile is known here.
            if since := erased_names(night.settings) - erased:
                for landing in landings:
                    erase_landed(landing, since)
            yield Loaded(con, {landing.resource: landing for landing in landings}, load(con, landings))
    if group == "media":
        _tie_audio_to_captures(night)


def _recordings(night: Night, collector: Collector, _: ExitStack) -> list[Landing]:
    with night.warehouse.open() as con:
        wanted = recordings_to_read(con, night.settings, night.day)
    return [*collect_recordings(collector, list(wanted)), collect_audits(collector, _known_of(night))]


def _catalog(night: Night, collector: Collector, _: ExitStack) -> list[Landing]:
    return [*collect_catalog(collector), collect_listed(collector, _known_of(night))]


def _captures(night: Night, collector: Collector, _: ExitStack) -> list[Landing]:
    with night.warehouse.open() as con:
        last = last_day(con, night.day)
    return collect_captures(collector, _known_of(night), last)


def _known_of(night: Night) -> Callable[[set[str]], set[str]]:
    def known(conversation_ids: set[str]) -> set[str]:
        with night.warehouse.open() as con:
            return known_conversations(con, night.day, conversation_ids)

    return known


def _conversations(night: Night, collector: Collector, _: ExitStack) -> list[Landing]:
    with night.warehouse.open() as con:
        wanted = conversations_to_read(con, night.settings, night.day, night.mapping.columns)
    landings = collect_conversations(collector, wanted)
    gone = {failure.subject_id for failure in landings[0].failures if failure.http_status in {404, 410}}

    def addresses(conversation_ids: set[str]) -> dict[str, set[str]]:
        with night.warehouse.open() as con:
            known = known_addresses(con, night.day, conversation_ids)
        # Live capture may have read a conversation that was gone before any night.
        captured = captured_addresses(capture_place(night.settings), night.day, conversation_ids)
        return {name: known.get(name, set()) | captured.get(name, set()) for name in known.keys() | captured.keys()}

    return [*landings, collect_gdpr_requests(collector, gone, addresses)]


def _media(night: Night, collector: Collector, until_loaded: ExitStack) -> list[Landing]:
    with night.warehouse.open() as con:
        known, objects = known_digests(con, night.day), media_objects(con, night.day)
    # Keep the digests of a killed run until they are loaded.
    cache = until_loaded.enter_context(resume_cache_of(night.settings.home, f"media-{night.day}"))
    return collect_media(collector, known, objects, cache)


def _tie_audio_to_captures(night: Night) -> None:
    with night.warehouse.open() as con:
        audio = [Audio(*row) for row in captured_audio(con, night.day)]
    if audio:
        linker_of(night.settings).link_hashed(night.day, audio)


COLLECT: dict[str, Callable[[Night, Collector, ExitStack], list[Landing]]] = {
    "exports": lambda _, collector, __: collect_exports(collector),
    "details": lambda _, collector, __: collect_details(collector),
    "catalog": _catalog,
    "captures": _captures,
    "recordings": _recordings,
    "conversations": _conversations,
    "media": _media,
}
"""Groups of sources in their order: each group may need what the groups before it loaded."""


# --- model, check, publish --------------------------------------------------------------------------------------------


def model(con: duckdb.DuckDBPyConnection, night: Night) -> dict[str, int]:
    """Bring every staging and custody model up to date. Returns the number of the night's rows by `schema.name`."""
    return run_models(con, load_models(), night.day, night.mapping, night.settings)


def check(con: duckdb.DuckDBPyConnection, night: Night) -> dict[str, list[dict[str, Any]]]:
    """Run every check of `sql/checks`. Returns check → offending rows; a check that passed has none."""
    checks = [model for model in load_models().values() if model.schema == "checks"]
    shown: set[str] = set()
    return {model.name: run_check(con, model, night.day, night.mapping, shown) for model in checks}


def is_blocking(check: str) -> bool:
    """Whether an offending row of the check keeps the night from being published, or is published as a finding."""
    return load_models()[f"checks.{check}"].blocking


def publish(
    con: duckdb.DuckDBPyConnection, night: Night, why: str = "run again", more: More | None = None
) -> tuple[Publication, Path]:
    """Seal and publish the night and its page, if its content changed. The analysts' snapshot is always refreshed.

    Returns:
        The revision that is published now, and the snapshot's path.
    """
    # If two workers have the same night, the second stops before it seals anything: here, or if it stood still since.
    warehouse = night.warehouse
    warehouse.check_in(con)
    kept = night.deadlines(night.settings, con, night.day)
    publication = publish_night(
        con,
        night.settings,
        night.day,
        why=why,
        more=more,
        still_ours=warehouse.require_ours,
        write_report=lambda folder: write_report(con, scope_of_night(night.day), folder, kept),
    )
    refresh_events(con, night.day, about_night_alone=not publication.changed)
    mark_nights(con, night.settings)
    publish_live(con, night.settings, night.day)
    warehouse.check_in(con, again=True)
    one = night.settings.nights_url is None
    snapshot = snapshot_for_analysts(con, night.settings, night.day) if one else refresh(night.settings)
    report_of_night(con, night.settings, night.day, kept, changed=publication.changed)
    return publication, snapshot
