"""Erasing conversations that are due by the retention policy, and those that waited for a hold to end.

Belongs here: what is due today, what holds it, one request per night. Does not: the rules (policy.py,
choices.py), the erasure (erase.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby

from custody_pipeline.forgetting.choices import Due, choices_of
from custody_pipeline.forgetting.erase import HeldError, Outcome, erase, resume
from custody_pipeline.forgetting.finder import Asked, NothingToEraseError, holders
from custody_pipeline.forgetting.keeping import DOCUMENTS, PlaceDue, Planned, plan_places, planned, remove_places
from custody_pipeline.forgetting.night_key import NotEncryptedError
from custody_pipeline.forgetting.policy import Policy
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.matters.id_list import IdList
from custody_pipeline.matters.matter import Selection
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import requests_of


@dataclass(frozen=True)
class Plan(Planned[Due]):
    """The conversations that a policy removes on a day or later.

    Attributes:
        places: the same for places with their own times.
        selected: the number of conversations that each rule selects.
    """

    places: Planned[PlaceDue] = field(default_factory=Planned)
    selected: tuple[int, ...] = ()


@dataclass
class Applied:
    """The result of erasing what was due.

    Attributes:
        outcomes: of erased nights.
        held: the holds on everything else that was due, a sentence each.
        places: place → nights, packages or events that were removed there.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)


def plan(settings: Settings, policy: Policy, today: date) -> Plan:
    """The plan for a day. Raises as `choices.due`; GenesysError if the vendor cannot be asked for its holds."""
    choices = choices_of(settings, policy)
    found = choices.due()
    now = [item.conversation_id for item in found if item.day <= today]
    holding = holders(settings, now) if now else {}
    of_conversations = planned(found, today, lambda item: holding.get(item.conversation_id.lower()))
    return Plan(**vars(of_conversations), places=plan_places(settings, policy, today), selected=choices.selected())


def apply(settings: Settings, policy: Policy | None, today: date, say: Callable[[str], None]) -> Applied:
    """Try requests that wait for a hold to end, finish begun requests, and erase what is due, one request per night.

    Then remove what is due in places with their own times. What is held stays; the next run tries again. Without a
    policy nothing is due.
    """
    applied = Applied()
    for outcome in resume(settings, say):
        if outcome.request.state == "waiting":
            applied.held.append(f"request {outcome.request.id}: {'; '.join(outcome.request.held)}")
        else:
            applied.outcomes.append(outcome)
    if policy is None:
        return applied
    _require_right_clock(settings)
    found = plan(settings, policy, today)
    applied.held += [why for _, why in found.held]
    waiting = {
        name for request in requests_of(settings) if request.state == "waiting" for name in request.conversations
    }
    by_night = sorted(found.due, key=lambda item: item.night)
    for night, group in groupby(by_night, key=lambda item: item.night):
        items = [item for item in group if item.conversation_id not in waiting]
        if not items:
            continue
        say(f"{len(items)} conversations of {night} are due")
        rules = ", ".join(sorted({item.rule for item in items}))
        ids = IdList.of(item.conversation_id for item in items)
        asked = Asked(Selection(ids=ids), f"{policy.reason} ({rules})", policy.authority, by=("policy",))
        _erase(settings, asked, f"{night}", applied, say)
    left = plan_places(settings, policy, today)
    applied.held += [f"{item.place} {item.what}: {why}" for item, why in left.held]
    applied.places = remove_places(settings, left, say)
    _forget_documents(settings, policy, left, applied, say)
    return applied


def _require_right_clock(settings: Settings) -> None:
    """Ask S3 for anything: it refuses a clock that is wrong by 15 minutes, before a wrong day removes data."""
    if url := settings.publish_url or settings.export_url:
        place = S3Location.parse(url)
        s3_client(settings).list_objects_v2(Bucket=place.bucket, Prefix=place.folder, MaxKeys=1)


def _forget_documents(
    settings: Settings, policy: Policy, left: Planned[PlaceDue], applied: Applied, say: Callable[[str], None]
) -> None:
    """Forget the keys of nights whose documents are due. Requests that wait for a hold to end were tried before."""
    requests = requests_of(settings)
    waiting = {night for item in requests if item.forget_key and item.state == "waiting" for night in item.nights}
    for item in left.due:
        if item.place != DOCUMENTS or item.what in waiting:
            continue
        reason = f"{policy.reason} ({item.rule})"
        asked = Asked(date.fromisoformat(item.what), reason, policy.authority, by=("policy",))
        if _erase(settings, asked, f"{DOCUMENTS} {item.what}", applied, say):
            applied.places[DOCUMENTS] = applied.places.get(DOCUMENTS, 0) + 1


def _erase(settings: Settings, asked: Asked, what: str, applied: Applied, say: Callable[[str], None]) -> bool:
    """Whether it was erased. If not, it is held, or somebody else erased it meanwhile."""
    try:
        applied.outcomes.append(erase(settings, asked, say))
    except (HeldError, NotEncryptedError) as error:
        applied.held.append(f"{what}: {error}")
    except NothingToEraseError:
        pass
    else:
        return True
    return False
