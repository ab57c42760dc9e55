"""`custody matter hold` and `release`: deletion protection at the vendor, and legal holds in S3.

Belongs here: the holds of a matter, and requesting them. Does not: which recordings a matter selects (selection.py).

Each request for a hold is recorded before it is sent, and its answer afterwards, so that a killed process leaves no
hold that is not listed. Two matters may hold the same object; the last of them releases it. Each hold and each release
becomes a custody event. If a process was killed before that, the next `hold` or `release` records the event.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.extract.genesys_errors import GenesysError, LoginError, PermanentError
from custody_pipeline.fleet.overview import every_night, record_acts
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.concurrency import batches
from custody_pipeline.io.objects import NO_LOCK, error_code, pages_of
from custody_pipeline.io.progress import report
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import read_json, write_whole
from custody_pipeline.matters.register import MatterStateError, Register, acted_for, alone, matters_folder, register_of
from custody_pipeline.matters.selection import Recording
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.ledger import Act, Actor
from custody_pipeline.warehouse.sql_files import query

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROTECTION = "/api/v2/recordings/deletionprotection"
"""FailedDeleteProtectionUpdate of the SDK: conversation {id}, errorCode, errorMessage."""

CONVERSATIONS_A_CALL = 100
"""The vendor's limit of PUT /api/v2/recordings/deletionprotection."""

HELD, ASKED, BEFORE = "held", "asked", "held before"
UNSEEN = "asked; nobody may see whether it was held before"
NO_ANSWER = "asked, and no answer tells whether it is held"
NOT_ASKED = "not asked: the vendor does not tell whether it was held before"
Kind = Literal["conversations", "objects"]
_Done = Literal["held", "released"]
_HeldPlace = tuple[str, date, str, str]
"""A conversation or an object, and night, conversation and recording that it is of."""
_NIGHT_OF_CUT = re.compile(r"/cuts/date=(\d{4}-\d\d-\d\d)/")


class Holds(msgspec.Struct, forbid_unknown_fields=True):
    """The holds of a matter: conversation, or `s3://…?versionId=…` → its state.

    A state is `held`, `asked`, `held before` (by no matter, so not ours to release), or the reason of a failure.

    Attributes:
        unrecorded: objects that were held or released, with the time (UTC), and that have no custody event yet.
    """

    conversations: dict[str, str] = {}
    objects: dict[str, str] = {}
    unrecorded: dict[str, tuple[_Done, datetime]] = {}

    @property
    def failed(self) -> dict[str, str]:
        """Objects that could not be held, with the reasons."""
        return {
            name: state for name, state in (self.conversations | self.objects).items() if state not in (HELD, BEFORE)
        }

    def count(self) -> dict[str, int]:
        """Number of held objects by kind."""
        return {
            "conversations": Counter(self.conversations.values())[HELD],
            "objects": Counter(self.objects.values())[HELD],
        }


def read_holds(register: Register) -> Holds:
    """The holds of a matter."""
    path = _path(register)
    return read_json(path, Holds) if path.exists() else Holds()


def _path(register: Register) -> Path:
    """The file of the holds. It exists while the matter holds something."""
    return register.folder / "holds.json"


def _keep(register: Register, holds: Holds) -> None:
    write_whole(_path(register), msgspec.json.format(msgspec.json.encode(holds), indent=1) + b"\n")


@contextmanager
def _alone(settings: Settings, register: Register) -> Iterator[None]:
    busy = MatterStateError("another command holds or releases: wait for its end")
    with register.alone(), alone(matters_folder(settings) / "holds.lock", busy):
        yield


def hold(settings: Settings, register: Register, recordings: Iterable[Recording], actor: Actor, why: str) -> Holds:
    """Request every missing hold, including those that failed before. Every failure is reported.

    Args:
        why: for the custody events: the matter.

    Returns:
        The holds, including the failed ones with their reasons.

    Raises:
        MatterStateError: another command acts for the matter.
        WarehouseError: the custody events cannot be recorded now; the next `hold` or `release` records them.
    """
    with _alone(settings, register):
        recordings = list(recordings)
        holds, others = read_holds(register), _others(settings, register)
        conversations = sorted({item.conversation_id for item in recordings if item.conversation_id})
        new = _new(holds.conversations, conversations, [other.conversations for other in others])
        holds.conversations |= _protected_before(settings, new)
        _keep(register, holds)
        _each(register, holds, "conversations", conversations, lambda ids: _protect(settings, ids, protect=True))
        client = s3_client(settings)
        objects, unlocked = _objects(client, settings, recordings, _exported(settings, recordings))
        holds.objects |= unlocked
        fresh = _new(holds.objects, objects, [other.objects for other in others])
        holds.objects |= {uri: state for uri in fresh if (state := _before(client, uri)) is not None}
        _keep(register, holds)
        unseen = {uri for uri, state in holds.objects.items() if state.startswith(UNSEEN)}
        for uri in unseen:
            # It counts as a hold from before: this matter must not lift the holds of others.
            state = _legal_hold(client, uri, "ON")
            holds.objects[uri] = BEFORE if state == HELD else f"{UNSEEN}: {state}"
        seen = sorted(objects - unseen)
        _each(register, holds, "objects", seen, lambda uris: {uri: _legal_hold(client, uri, "ON") for uri in uris})
        _keep(register, holds)
        failed = f"; not held: {len(holds.failed)}" if holds.failed else ""
        register.note(actor, f"held {_in_words(holds.count())}{failed}", failed=len(holds.failed))
        _record(settings, register, holds, actor, why)
        return holds


def _new(states: dict[str, str], names: Iterable[str], others: Sequence[Mapping[str, str]]) -> list[str]:
    """Names that no matter has asked to hold. An object held before another matter was held before this one, too."""
    for name in names:
        if name not in states and any(other.get(name, "").startswith((BEFORE, UNSEEN)) for other in others):
            states[name] = BEFORE
    asked = states.keys() | {name for other in others for name in other}
    return [name for name in names if name not in asked or states.get(name, "").startswith(NOT_ASKED)]


def _may_be_held(state: str) -> bool:
    """Whether a release must be requested."""
    return state in (HELD, ASKED) or state.startswith(NO_ANSWER)


def _in_words(held: Mapping[Any, int]) -> str:
    return f"{held['conversations']} conversations and {held['objects']} objects"


@dataclass
class Released:
    """The result of releasing a matter's holds.

    Attributes:
        released: their number by kind.
        kept: number of objects by kind that another matter still holds.
        failed: objects that could not be released, with the reason; they stay listed as held.
    """

    released: dict[Kind, int]
    kept: dict[Kind, int]
    failed: dict[str, str]


def release(settings: Settings, register: Register, actor: Actor, why: str) -> Released:
    """Release what this matter holds and no other matter does. Arguments and exceptions as for `hold`."""
    with _alone(settings, register):
        holds = read_holds(register)
        others = _others(settings, register)
        client = s3_client(settings)
        outcome = Released({"conversations": 0, "objects": 0}, {}, {})
        kinds: tuple[tuple[Kind, Callable[[list[str]], dict[str, str]]], ...] = (
            ("conversations", lambda ids: _protect(settings, ids, protect=False)),
            ("objects", lambda uris: {uri: _legal_hold(client, uri, "OFF") for uri in uris}),
        )
        for kind, ask in kinds:
            mine: dict[str, str] = getattr(holds, kind)
            shared = {name for other in others for name, state in getattr(other, kind).items() if _may_be_held(state)}
            outcome.kept[kind] = len(mine.keys() & shared)
            # Failed holds, and objects that another matter holds, need no request.
            for name in [name for name, state in mine.items() if name in shared or not _may_be_held(state)]:
                del mine[name]
            for part in batches(list(mine), CONVERSATIONS_A_CALL):
                answers, at = ask(part), utc_now()
                for name, answer in answers.items():
                    if answer == HELD:  # done as requested
                        del mine[name]
                        holds.unrecorded[name] = "released", at
                        outcome.released[kind] += 1
                    else:
                        outcome.failed[name] = answer
                _keep(register, holds)
        _keep(register, holds)
        register.note(
            actor,
            f"released {_in_words(outcome.released)}",
            failed=len(outcome.failed),
            still_held_by_another_matter=outcome.kept,
        )
        _record(settings, register, holds, actor, why)
        if holds == Holds():
            _path(register).unlink()
        return outcome


def _each(register: Register, holds: Holds, kind: Kind, names: list[str], ask: Any) -> None:
    """Request missing holds in parts. Each part is recorded before the request, and with its answer after it."""
    states: dict[str, str] = getattr(holds, kind)
    wanted = [name for name in names if not states.get(name, "").startswith((HELD, NOT_ASKED))]
    for done, part in enumerate(batches(wanted, CONVERSATIONS_A_CALL)):
        report(f"holding {kind}", done * CONVERSATIONS_A_CALL, len(wanted))
        states |= dict.fromkeys(part, ASKED)
        _keep(register, holds)
        answers = ask(part)
        states |= answers
        at = utc_now()
        holds.unrecorded |= {name: ("held", at) for name, answer in answers.items() if answer == HELD}
        _keep(register, holds)


def _record(settings: Settings, register: Register, holds: Holds, actor: Actor, why: str) -> None:
    """Record a custody event for each recording that was held or released, and for each night whose cuts were."""
    if holds.unrecorded:
        places: dict[str, list[str]] = {}
        for name in holds.unrecorded:
            places.setdefault(name.rpartition("?versionId=")[0] or name, []).append(name)
        record_acts(settings, actor, _acts(settings, holds, why, places, _held_places(settings, [], list(places))))
        holds.unrecorded = {}
        _keep(register, holds)


def _held_places(settings: Settings, conversations: Sequence[str], places: Sequence[str]) -> list[_HeldPlace]:
    with every_night(settings) as con:
        bound = {"conversations": conversations, "places": places}
        return con.execute(query("matters/held_places"), bound).fetchall()


def _acts(
    settings: Settings, holds: Holds, why: str, names: Mapping[str, Sequence[str]], found: Iterable[_HeldPlace]
) -> Iterator[Act]:
    """`names`: place → what was held or released there; `found`: places with the recordings that they are of."""
    cuts: Counter[tuple[str, _Done, datetime]] = Counter()
    for name, (done, at) in holds.unrecorded.items():
        if (cut := _NIGHT_OF_CUT.search(name)) is not None:
            cuts[cut[1], done, at] += 1
    for (of_cut, done, at), number in cuts.items():
        what = f"files of the night's cuts: {number} versions"
        yield Act(date.fromisoformat(of_cut), done, what, why, "S3 legal hold", settings.publish_url, occurred_at=at)
    for place, night, conversation, recording in found:
        for name in names[place]:
            done, at = holds.unrecorded[name]
            at_vendor = name == conversation
            what = "the vendor's recordings of the conversation" if at_vendor else "version of an exported object"
            how = f"PUT {PROTECTION}" if at_vendor else "S3 legal hold"
            yield Act(
                night, done, what, why, how, name, conversation_id=conversation, recording_id=recording, occurred_at=at
            )


def _others(settings: Settings, register: Register) -> list[Holds]:
    """The holds of the other matters, also of those whose file was removed or renamed."""
    names = (name for name in acted_for(settings) if name != register.folder.name)
    return [read_holds(register_of(settings, name)) for name in names]


def protected(client: GenesysClient, conversations: Sequence[str]) -> set[str]:
    """Which of these conversations the vendor protects from deletion, by its list (AddressableEntityRef of the SDK).

    Raises:
        UnexpectedAnswer: the answer is no such list, so the protection is unknown.
        GenesysError: see extract/genesys.py.
    """
    found: set[str] = set()
    for part in batches(conversations, CONVERSATIONS_A_CALL):
        answer = client.post(PROTECTION, {"conversationIds": part})
        listed = answer.json()
        if not isinstance(listed, list) or not all(isinstance(item, dict) and item.get("id") for item in listed):
            raise answer.unexpected("unexpected shape: no list of conversations")
        found |= {str(item["id"]) for item in listed}
    return found


def _protect(settings: Settings, ids: list[str], *, protect: bool) -> dict[str, str]:
    """Conversation → `held` if the vendor accepted the request, otherwise its reason."""
    if not settings.api_configured:
        return dict.fromkeys(ids, "the API is not configured: CUSTODY_GENESYS_DOMAIN")
    try:
        with GenesysClient(settings) as client:
            try:
                response = client.put(f"{PROTECTION}?protect={str(protect).lower()}", {"conversationIds": ids})
            except (LoginError, PermanentError) as error:
                return dict.fromkeys(ids, f"the vendor refused: {error}")
            answer = response.object()
            # The vendor's list of protected conversations decides, not the answer to the request.
            listed = protected(client, ids)
    except GenesysError as error:
        return dict.fromkeys(ids, f"{NO_ANSWER}: {error}")
    reasons = {}
    for item in _objects_of(answer.get("failedUpdates")):
        (conversation, *_) = (*_objects_of([item.get("conversation")]), {})
        words = (str(item[name]) for name in ("errorCode", "errorMessage") if item.get(name))
        reasons[str(conversation.get("id"))] = f"the vendor refused: {': '.join(words) or 'no reason given'}"
    unsaid = f"the vendor {'does not list it' if protect else 'still lists it'} as protected, and gives no reason"
    return {name: HELD if (name in listed) == protect else reasons.get(name, unsaid) for name in ids}


def _protected_before(settings: Settings, conversations: list[str]) -> dict[str, str]:
    """Those of these conversations that were protected before any matter asked: conversation → its state."""
    if not conversations or not settings.api_configured:
        return {}
    try:
        with GenesysClient(settings) as client:
            return dict.fromkeys(protected(client, conversations), BEFORE)
    except GenesysError as error:
        return dict.fromkeys(conversations, f"{NOT_ASKED}: {error}")


def _objects_of(items: Any) -> list[dict[str, Any]]:
    """The JSON objects of a list; none if the value is no list."""
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _exported(settings: Settings, recordings: Iterable[Recording]) -> set[str]:
    """Every key of their audio and sidecars that was ever listed: versions of deleted objects are held, too."""
    keys = {item.key for item in recordings}
    found = _held_places(settings, sorted({conversation for conversation, _ in keys}), [])
    return {place for place, _, *key in found if tuple(key) in keys and place.startswith("s3://")}


def _objects(
    client: S3Client, settings: Settings, recordings: Iterable[Recording], exported: Iterable[str]
) -> tuple[set[str], dict[str, str]]:
    """Every version of audio, sidecars and cuts; and objects in buckets without Object Lock, which cannot be held."""
    places = set(exported)
    if settings.publish_url:
        places |= {f"{settings.publish_url.rstrip('/')}/cuts/date={night}/" for night in {r.night for r in recordings}}
    locked: dict[str, str | None] = {}
    found: set[str] = set()
    refused: dict[str, str] = {}
    for uri in sorted(places):
        at = S3Location.parse(uri)
        if at.bucket not in locked:
            locked[at.bucket] = _no_lock(client, at.bucket)
        if (why := locked[at.bucket]) is not None:
            refused[uri] = why
            continue
        prefix = f"{at.key}/" if uri.endswith("/") else at.key
        try:
            for page in pages_of(client, "list_object_versions", Bucket=at.bucket, Prefix=prefix):
                found |= {
                    f"s3://{at.bucket}/{item['Key']}?versionId={item['VersionId']}"
                    for item in page.get("Versions", [])
                    if item["Key"] == at.key or uri.endswith("/")
                }
        except (ClientError, BotoCoreError) as error:
            refused[uri] = f"its versions cannot be listed: {_why(error)}"
    return found, refused


def _no_lock(client: S3Client, bucket: str) -> str | None:
    try:
        answer = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and error_code(error) in NO_LOCK:
            return f"bucket {bucket} has no Object Lock ({_why(error)}): copy the objects into a bucket that has it"
        return f"bucket {bucket} does not say whether it has Object Lock ({_why(error)}): run hold again"
    return None if answer.get("ObjectLockEnabled") == "Enabled" else f"bucket {bucket} has no Object Lock"


def _legal_hold(client: S3Client, uri: str, status: Literal["ON", "OFF"]) -> str:
    place, _, version = uri.rpartition("?versionId=")
    at = S3Location.parse(place)
    try:
        client.put_object_legal_hold(Bucket=at.bucket, Key=at.key, VersionId=version, LegalHold={"Status": status})
    except (ClientError, BotoCoreError) as error:
        return f"{'S3 refused' if isinstance(error, ClientError) else NO_ANSWER}: {_why(error)}"
    return HELD


def _before(client: S3Client, uri: str) -> str | None:
    """The state of a version that had, or may have had, a legal hold before this matter's; None if it had none."""
    place, _, version = uri.rpartition("?versionId=")
    at = S3Location.parse(place)
    try:
        answer = client.get_object_legal_hold(Bucket=at.bucket, Key=at.key, VersionId=version)
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and error_code(error) in NO_LOCK:
            return None
        return UNSEEN
    return BEFORE if answer["LegalHold"].get("Status") == "ON" else None


def _why(error: ClientError | BotoCoreError) -> str:
    return error_code(error) if isinstance(error, ClientError) else type(error).__name__
