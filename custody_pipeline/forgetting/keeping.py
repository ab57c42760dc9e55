"""Separate retention times for landing files, captures, snapshot, spool and packages.

Belongs here: what of them is due when, and removing it. Does not: the form of the policy and its rules (policy.py),
erasing conversations and forgetting keys (erase.py).

Landing files, captures, documents and the snapshot are removed by night, a package with all its recordings, a dead
letter of the spool with its conversation. The conversation that is kept longest decides. If no rule names the place for
one of the conversations, the item stays until the conversation is erased.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.night_captures import removed_key
from custody_pipeline.capture.spool import Spool
from custody_pipeline.forgetting import places
from custody_pipeline.forgetting.choices import Choices, Due, choices_of
from custody_pipeline.forgetting.finder import holders
from custody_pipeline.forgetting.object_versions import holds_on, versions_of
from custody_pipeline.forgetting.policy import PLACES, Policy
from custody_pipeline.io.clock import night_in
from custody_pipeline.io.night_keys import night_keys_of
from custody_pipeline.io.objects import listed
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import found_in
from custody_pipeline.operations.package_register import packages_of, remove_package
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.publish.tidy import tidy_landing
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.snapshot import leave_out, nights_left_out, snapshot_for_analysts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Item = TypeVar("Item", "Due", "PlaceDue")

_RECEIPTS = "extraction_receipts"
DOCUMENTS = "documents"


@dataclass(frozen=True, order=True)
class PlaceDue:
    """An item that is no longer kept from a day on.

    Attributes:
        place: of `PLACES`.
        what: a night, or the id of a package or of an event.
        rule: the rule that keeps the item until that day.
        conversations: those whose data the item has; a hold on one of them keeps the item. In lower case.
    """

    day: date
    place: str
    what: str
    rule: str
    conversations: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


@dataclass(frozen=True)
class Planned(Generic[Item]):
    """Items that are due and not held, held items with the reason, and coming items; soonest first."""

    due: tuple[Item, ...] = ()
    held: tuple[tuple[Item, str], ...] = ()
    coming: tuple[Item, ...] = ()


def planned(found: Sequence[Item], today: date, why_held: Callable[[Item], str | None]) -> Planned[Item]:
    """The plan for a day. `why_held`: of an item that is due."""
    held = {item: why for item in found if item.day <= today and (why := why_held(item))}
    due = tuple(item for item in found if item.day <= today and item not in held)
    return Planned(due, tuple(held.items()), tuple(item for item in found if item.day > today))


def plan_places(settings: Settings, policy: Policy, today: date) -> Planned[PlaceDue]:
    """The items that are due. Raises as `choices.due`; GenesysError if the vendor cannot be asked for its holds."""
    found, client = places_ending(settings, policy), s3_client(settings)
    now = [item for item in found if item.day <= today and item.place in _HOLDABLE]
    ids = sorted({name for item in now for name in item.conversations})
    holding = holders(settings, ids) if ids else {}
    return planned(found, today, lambda item: _held(settings, client, item, holding))


def places_ending(settings: Settings, policy: Policy) -> list[PlaceDue]:
    """All items with their own time, soonest first, also held ones. Raises as `choices.due`."""
    if not any(rule.places for rule in policy.rules):
        return []
    if _times_documents(policy) and not (settings.night_key_file or settings.night_key_kms):
        raise SettingsError(
            f"{policy.path}: a time for 'documents' needs encryption: set CUSTODY_NIGHT_KEY_FILE or "
            "CUSTODY_NIGHT_KEY_KMS"
        )
    return sorted(_found(settings, s3_client(settings), choices_of(settings, policy)))


def _times_documents(policy: Policy) -> bool:
    return any(DOCUMENTS in rule.places for rule in policy.rules)


_WORDS = {
    "landing": "landing files of {} night{s}",
    "captures": "captures of {} night{s}",
    DOCUMENTS: "encrypted documents of {} night{s}",
    "snapshot": "{} night{s} in the snapshot",
    "spool": "{} dead letter{s}",
    "packages": "{} package{s}",
}


def by_day_and_place(items: Iterable[PlaceDue]) -> list[tuple[date, str, str]]:
    """Day, the removed items in words, and the rule, soonest first."""
    counts = Counter((item.day, item.place, item.rule) for item in items)
    return [
        (day, _WORDS[place].format(number, s="s" * (number != 1)), rule)
        for (day, place, rule), number in sorted(counts.items())
    ]


_HOLDABLE = {"captures", DOCUMENTS, "packages", "spool"}
"""Landing files and the snapshot are removed only if the cut or the warehouse keeps the same data."""


def _held(settings: Settings, client: S3Client, item: PlaceDue, holding: dict[str, str]) -> str | None:
    if item.place not in _HOLDABLE:
        return None
    for name in sorted(item.conversations & holding.keys()):
        return holding[name]
    if item.place == "captures" and settings.captures.startswith("s3://"):
        root = S3Location.parse(settings.captures)
        keys = places.captured_keys(settings, client, {item.what})
        versions = [version for key in keys for version in versions_of(client, root / key)]
        for hold in holds_on(client, versions, datetime.now(UTC)):
            return str(hold)
    return None


# --- what is there ----------------------------------------------------------------------------------------------------


def _found(settings: Settings, client: S3Client, choices: Choices) -> Iterator[PlaceDue]:
    by_night, captured = choices.by_night(), places.captured_by_night(settings, client)
    for place, nights in (
        ("landing", _landed(settings, client)),
        ("captures", captured),
        (DOCUMENTS, set(night_keys_of(settings).nights()) if _times_documents(choices.policy) else set()),
        ("snapshot", set(by_night) - nights_left_out(settings)),
    ):
        for night in nights:
            more = captured.get(night, ()) if place in {"captures", DOCUMENTS} else ()
            ids = by_night.get(night, frozenset()).union(more)
            if end := choices.end(place, ids, night):
                yield PlaceDue(end[0], place, night.isoformat(), end[1], ids)
    for package in packages_of(settings):
        ids = frozenset(item.conversation_id.lower() for item in package.recordings)
        end = choices.end("packages", ids, date.fromisoformat(package.made_at[:10]))
        if end and package.state() == "here":
            yield PlaceDue(end[0], "packages", package.id, end[1], ids)
    for event_id, conversation, received in _dead_letters(settings):
        ids = frozenset({conversation.lower()})
        if end := choices.end("spool", ids, received):
            yield PlaceDue(end[0], "spool", event_id, end[1], ids)


def _landed(settings: Settings, client: S3Client) -> set[date]:
    if settings.publish_url is None:  # a landing file is removed only if a cut has a copy
        return set()
    if settings.landing.startswith("s3://"):
        names = [path for path, _ in listed(client, S3Location.parse(settings.landing))]
    else:
        root = Path(settings.landing)
        paths = (path for path in found_in(root, "*/date=*") if any(path.iterdir()))
        names = [f"{path.relative_to(root).as_posix()}/" for path in paths]
    return {night for name in names if not name.startswith(_RECEIPTS) for night in _night_in(name)}


def _night_in(name: str) -> Iterator[date]:
    """The day of `…/date=YYYY-MM-DD/…`."""
    return (night for part in name.split("/") if (night := night_in(part)) is not None)


def _dead_letters(settings: Settings) -> list[tuple[str, str, date]]:
    if not settings.spool_path.exists():
        return []
    with closing(Spool(settings.spool_path)) as spool:
        return spool.dead()


# --- removing ---------------------------------------------------------------------------------------------------------


def remove_places(settings: Settings, left: Planned[PlaceDue], say: Callable[[str], None]) -> dict[str, int]:
    """Remove what is due, except documents: see `erase.erase`.

    Returns:
        Place → nights, packages or events. Each step can be repeated.
    """
    removed: Counter[str] = Counter()
    client = s3_client(settings)
    for place in PLACES:
        items = [item for item in left.due if item.place == place]
        if not items or place == DOCUMENTS:
            continue
        say(f"{place}: {len(items)} are no longer kept")
        removed[place] = _REMOVE[place](settings, client, items)
    return {place: number for place, number in removed.items() if number}


def _remove_landing(settings: Settings, client: S3Client, items: list[PlaceDue]) -> int:
    """Remove only files that a signed cut holds: see publish/tidy.py."""
    nights = {date.fromisoformat(item.what) for item in items}
    with Warehouse(settings).open(read_only=True) as con:
        tidied = tidy_landing(con, settings, signing_verifiers(settings), client=client, nights=nights)
    return len(tidied.removed)


def _remove_captures(settings: Settings, client: S3Client, items: list[PlaceDue]) -> int:
    """First record the removal in the capture place: a night without captures then keeps those that it has loaded."""
    store = capture_place(settings, client)
    for item in items:
        store.create(removed_key(date.fromisoformat(item.what)), b"{}")
        places.remove_captures(settings, client, list(places.captured_keys(settings, client, {item.what})))
    return len(items)


def _leave_out_of_snapshot(settings: Settings, _: S3Client, items: list[PlaceDue]) -> int:
    leave_out(settings, (date.fromisoformat(item.what) for item in items))
    with Warehouse(settings).open() as con:
        snapshot_for_analysts(con, settings)
    return len(items)


def _forget_dead_letters(settings: Settings, _: S3Client, items: list[PlaceDue]) -> int:
    with closing(Spool(settings.spool_path)) as spool:
        forgotten = spool.forget_dead([item.what for item in items])
        spool.write_anew()
    return forgotten


def _remove_packages(settings: Settings, _: S3Client, items: list[PlaceDue]) -> int:
    wanted = {item.what for item in items}
    return sum(remove_package(settings, package) for package in packages_of(settings) if package.id in wanted)


_REMOVE: dict[str, Callable[[Settings, S3Client, list[PlaceDue]], int]] = {
    "landing": _remove_landing,
    "captures": _remove_captures,
    "snapshot": _leave_out_of_snapshot,
    "spool": _forget_dead_letters,
    "packages": _remove_packages,
}
