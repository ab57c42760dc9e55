"""All places with data of conversations, and the holds that prevent their removal.

Belongs here: finding. Does not: removing (erase.py).
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from custody_pipeline.evidence.cut.seal import SEALING
from custody_pipeline.extract.erased import erase_landing
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.extract.landing_files import errors_that_name
from custody_pipeline.forgetting import places, warehouse_rows
from custody_pipeline.forgetting.object_versions import Hold, Version, holds_on, versions_of
from custody_pipeline.forgetting.places import Place
from custody_pipeline.forgetting.sealed import SealedNight, in_scratch
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.night_keys import night_keys_of
from custody_pipeline.io.objects import listed
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import found_in
from custody_pipeline.matters.holds import protected, read_holds
from custody_pipeline.matters.matter import Matter, Selection
from custody_pipeline.matters.register import acted_for, register_of
from custody_pipeline.matters.selection import select
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.claims import Claims
from custody_pipeline.publish.sealed_landing import on_this_machine
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import Request, Tombstone, erased_conversations, names_of, with_shared
from custody_pipeline.warehouse.ledger import Actor

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_STAGED = re.compile(rf"{SEALING}([0-9a-f]{{32}})/")
_STAGED_FOR = timedelta(days=1)
"""No seal takes so long."""


class NothingToEraseError(Exception):
    """No place has data of the selection. The message says what to do."""


@dataclass(frozen=True)
class Asked:
    """The wanted erasure.

    Attributes:
        what: a selection of recordings, whose whole conversations are erased; or the night whose key is forgotten.
        authority: the right or order that demands the erasure.
        media: whether audio in the export bucket is removed as well.
        bypass_governance: whether a GOVERNANCE lock may be broken.
        by: kinds of conditions; those of `what` if empty.
    """

    what: Selection | date
    reason: str
    authority: str
    media: bool = False
    bypass_governance: bool = False
    by: tuple[str, ...] = ()

    def request(self, settings: Settings, by: tuple[str, ...], nights: Iterable[date], **more: Any) -> Request:
        """The request, which is not written down yet. `by`: kinds of the conditions in `what`."""
        return Request(
            id=secrets.token_hex(16),
            asked_at=f"{utc_now():%Y-%m-%dT%H:%M:%SZ}",
            operator=Actor.of(settings).operator,
            reason=self.reason,
            authority=self.authority,
            selected_by=self.by or by,
            nights=tuple(map(str, nights)),
            media=self.media,
            bypass_governance=self.bypass_governance,
            **more,
        )


@dataclass(frozen=True)
class Found:
    """The places with data, and the holds on them. `unmatched`: ids of the selection of no known conversation."""

    request: Request
    places: tuple[Place, ...]
    holds: tuple[str, ...]
    unmatched: tuple[str, ...] = ()


def find(
    con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, asked: Asked, selection: Selection
) -> Found:
    """All places with data of the asked selection. `con`: the warehouse; it is only read.

    Raises:
        NothingToEraseError: there are no data, or they were erased before.
        SettingsError: a condition is refused.
    """
    conversations, unmatched = _conversations(con, selection)
    if asked.by and selection.ids is not None:  # the policy names conversations: a recording may have the same id
        conversations = {name for name in conversations if name.lower() in selection.ids.ids}
    erased = erased_conversations(settings)
    if conversations and all(name.lower() in erased for name in conversations):
        raise NothingToEraseError(
            f"{len(conversations)} conversations of this selection were erased before; custody erase --resume ends an "
            "erasure that was interrupted, custody verify tells of those that are done"
        )
    conversations = {name for name in conversations if name.lower() not in erased}
    if not conversations:
        wanted = set(selection.ids.ids if selection.ids else ()) - erased
        if waiting := [
            str(night) for night, names in places.captured_by_night(settings, client).items() if names & wanted
        ]:
            raise NothingToEraseError(
                f"live capture has documents of this selection, under {', '.join(sorted(waiting))}, and no collected "
                "night has it: run the night in which it began, then erase"
            )
        raise NothingToEraseError(
            "there are no data of this selection: custody status lists the nights, custody explain ID shows a recording"
        )
    ids = {name.lower() for name in conversations}
    recordings = warehouse_rows.recordings_of(con, ids)
    request = asked.request(
        settings,
        _kinds(selection),
        warehouse_rows.nights_held(con, ids),
        conversations=tuple(sorted(conversations)),
        recordings=tuple(Tombstone(str(night), *names) for night, *names in recordings),
    )
    return found_of(con, settings, client, with_shared(con, request), unmatched)


def found_of(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    client: S3Client,
    request: Request,
    unmatched: tuple[str, ...] = (),
) -> Found:
    """The present places and holds of a request for conversations."""
    found = tuple(places_of(con, settings, client, request))
    return Found(request, found, tuple(holds_of(con, settings, client, request, found)), unmatched)


def _kinds(selection: Selection) -> tuple[str, ...]:
    kinds = {"conversations": selection.ids, "number": selection.numbers, "tag": selection.tags}
    return tuple(name for name, given in kinds.items() if given) or ("policy",)


def _conversations(con: duckdb.DuckDBPyConnection, selection: Selection) -> tuple[set[str], tuple[str, ...]]:
    """The ids of the conversations, as they are written, and ids of no known conversation."""
    with closing(warehouse_rows.readable(con)) as memory:
        found = select(memory, Matter("erase", Path("erase"), selection))
    conversations = {item.conversation_id for item in found.recordings if item.conversation_id}
    # What is erased is a conversation: a recording of which nobody knows it cannot be.
    unmatched = (*found.unmatched, *(item.recording_id for item in found.recordings if not item.conversation_id))
    alone = selection.ids is not None and not (selection.numbers or selection.tags)
    if alone and unmatched:
        # Captured or received, but in no row of a recording.
        held = warehouse_rows.conversations_held(con, unmatched)
        conversations |= held
        unmatched = tuple(name for name in unmatched if name not in held)
    return conversations, unmatched


# --- places -----------------------------------------------------------------------------------------------------------


def places_of(
    con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, request: Request
) -> Iterator[Place]:
    """The places with data of the request's conversations."""
    ids = names_of(request)
    for table, rows in warehouse_rows.rows_held(con, ids).items():
        yield Place("warehouse", table, rows)
    if settings.analyst_path.exists():
        yield Place("snapshot", str(settings.analyst_path))
    yield from _landed(settings, client, request, ids)
    yield from _sealed_files(settings, client, request)
    for night in request.nights:
        copies = Counter(f"s3://{one.bucket}/{one.key}" for one in copy_versions(settings, client, night))
        yield from (Place("current", uri, versions) for uri, versions in copies.items())
    keys = list(places.capture_keys(settings, client, ids))
    yield from (Place("capture", key) for key in keys)
    yield from (Place("sidecar", uri) for uri in places.sidecars_of(settings, client, keys))
    if request.media:
        yield from (Place("audio", uri) for uri in warehouse_rows.exported(con, ids))
    if events := places.spooled(settings, ids):
        yield Place("spool", str(settings.spool_path), events)
    yield from places.productions(settings, ids)
    yield from places.packages(settings, con, ids)
    yield from places.files_naming(settings, ids)


def _sealed_files(settings: Settings, client: S3Client, request: Request) -> Iterator[Place]:
    """Files of published cuts that hold the request's conversations. Each cut of the nights is read."""
    if settings.publish_url is None:
        return
    ids = names_of(request)
    with in_scratch(settings) as scratch:
        for night in request.nights:
            for holding in sealed_night(settings, client, night).holding(ids, Path(scratch)):
                items = len(holding.gone) or holding.documents or 1
                yield Place("cut", f"{holding.cut.prefix}{holding.file.path}", items)


def sealed_night(settings: Settings, client: S3Client, night: str) -> SealedNight:
    """The published cuts of a night."""
    place = S3Location.parse(settings.require("publish_url"))
    return SealedNight(S3Reader(client, place), night, signing_verifiers(settings), night_keys_of(settings))


def landing_uris(settings: Settings, client: S3Client, night: str) -> Iterator[str]:
    """URIs of all landing files of a night, also of loads that have no receipt."""
    landing = settings.landing
    if landing.startswith("s3://"):
        root = S3Location.parse(landing)
        for path, _ in listed(client, root):
            if f"/date={night}/" in path:
                yield str(root / path)
        return
    for file in found_in(Path(landing), f"*/date={night}/*"):
        if file.is_file():
            yield str(file)


def _landed(settings: Settings, client: S3Client, request: Request, ids: frozenset[str]) -> Iterator[Place]:
    keys = night_keys_of(settings)
    for night in request.nights:
        for uri in landing_uris(settings, client, night):
            resource = uri.rsplit("/", 3)[1]
            with in_scratch(settings) as scratch, errors_that_name(uri):
                local = on_this_machine(client, uri, Path(scratch))
                if number := erase_landing(ids, resource, local, Path(scratch) / "without", keys):
                    yield Place("landing", uri, number)


def copy_versions(settings: Settings, client: S3Client, night: str) -> Iterator[Version]:
    """All versions of the current copies of a night, and of files that were staged for seals."""
    if settings.publish_url is None:
        return
    place = S3Location.parse(settings.publish_url)
    for folder in ("parquet", "csv", "spreadsheet", "report", "live", "sealing"):
        for version in versions_of(client, place / folder, below=True):
            if folder == "sealing" or f"/date={night}/" in version.key:
                yield version


def left_by_seals(
    settings: Settings, client: S3Client, versions: Iterable[Version], now: datetime
) -> tuple[list[Version], set[str]]:
    """Files that seals staged and that no claim names: those older than a day, and the folders of the others.

    A home stages files before it claims its place in the log. If it is killed in between, nothing else removes them.
    """
    place = S3Location.parse(settings.require("publish_url"))
    state = Claims(client, place, "").read()
    pending = state.pending.id if state and state.pending else None
    left, under_way = list[Version](), set[str]()
    for version in versions:
        path = version.key.removeprefix(place.folder)
        staged = _STAGED.match(path)
        if staged is None or version.marker or not version.latest or staged[1] == pending:
            continue
        if version.written is not None and now - version.written > _STAGED_FOR:
            left.append(version)
        else:
            under_way.add(str(place / staged[0]))
    return left, under_way


# --- holds ------------------------------------------------------------------------------------------------------------


def holds_of(
    con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, request: Request, found: Sequence[Place]
) -> Iterator[str]:
    """The holds on the request's conversations, a sentence each. `found`: all its places."""
    yield from dict.fromkeys(holders(settings, request.conversations).values())
    yield from _locks(con, settings, client, request, found)


def holders(settings: Settings, conversations: Sequence[str]) -> dict[str, str]:
    """Conversation, in lower case → the matter or the vendor's protection that holds it, and until when."""
    found, ids = {}, {name.lower() for name in conversations}
    if settings.api_configured:
        with GenesysClient(settings) as client:
            for name in sorted(protected(client, conversations)):
                found[name.lower()] = (
                    f"the vendor's deletion protection on conversation {name}, until it is lifted there"
                )
    for name in acted_for(settings):
        # Also a hold that failed at the vendor or in S3: the matter asked for it, and has not released it.
        for item in read_holds(register_of(settings, name)).conversations:
            if item.lower() in ids:
                found[item.lower()] = f"matter {name} (conversation {item}), until custody matter release {name}"
    return found


def _locks(
    con: duckdb.DuckDBPyConnection, settings: Settings, client: S3Client, request: Request, found: Sequence[Place]
) -> Iterator[str]:
    asked = [version for at in _objects(settings, found) for version in versions_of(client, at)]
    if settings.publish_url is not None:
        place, held = S3Location.parse(settings.publish_url), {file.where for file in found if file.kind == "cut"}
        root = place.folder
        for night in request.nights:
            every = versions_of(client, place / f"cuts/date={night}", below=True)
            asked += [version for version in every if version.key.removeprefix(root) in held]
            asked += copy_versions(settings, client, night)
    if request.media:
        for uri in warehouse_rows.exported(con, {name.lower() for name in request.conversations}):
            asked += versions_of(client, S3Location.parse(uri))
    yield from lock_sentences(client, asked, bypass_governance=request.bypass_governance)


def lock_sentences(client: S3Client, versions: Iterable[Version], *, bypass_governance: bool) -> Iterator[str]:
    """The holds of Object Lock on these versions: a sentence for each kind of hold."""
    now = datetime.now(UTC)
    kept = holds_on(client, versions, now)
    holding = [hold for hold in kept if not (bypass_governance and hold.mode == "GOVERNANCE")]
    by_kind: dict[str | None, list[Hold]] = {}
    for hold in holding:
        by_kind.setdefault(hold.mode, []).append(hold)
    for mode, holds in by_kind.items():
        last = max(holds, key=lambda hold: hold.until or now)
        more = f" ({len(holds)} versions in all, this one the longest)" if len(holds) > 1 else ""
        hint = {
            "COMPLIANCE": "; nobody can break it",
            "GOVERNANCE": "; --bypass-governance with s3:BypassGovernanceRetention breaks it",
        }.get(mode or "", "")
        yield f"{last}{more}{hint}"


def _objects(settings: Settings, found: Sequence[Place]) -> Iterator[S3Location]:
    """Landing files, captures and sidecars in S3, which are removed in all versions as well."""
    for item in found:
        if item.kind == "capture" and settings.captures.startswith("s3://"):
            yield S3Location.parse(settings.captures) / item.where
        elif item.kind in {"landing", "sidecar"} and item.where.startswith("s3://"):
            yield S3Location.parse(item.where)
