"""Completing a request for erasure, step by step, so that a process that is killed anywhere can continue.

Belongs here: the order of the steps. Does not: how each is done (landing_rewrite.py, warehouse_rows.py, places.py,
sealed.py, night_key.py).

1. The request is recorded: from here on, newly collected documents of its conversations are not kept.
2. Captures, sidecars, spooled events, resume caches and pages are removed; landing files are rewritten; rows deleted.
3. Each night is modelled again, with rows in place of the erased recordings, and published: the next cut holds the
   statement and the remaining rows of others. From here on the log says what is removed.
4. Files that the statement names are removed in all versions, and so are older versions of the current copies.
5. Snapshot and warehouse are written again, so that no byte of a deleted row stays; the salt secret is replaced.
6. The request is done.

Every step may be repeated. Until a night's statement is sealed, its published files are complete. Afterwards they are
removed, or will be: `custody verify` names those that are not yet (`ERASURE_UNFINISHED`), and `custody erase --resume`
completes the removal.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import duckdb
import msgspec

from custody_pipeline.evidence.cut.removal import Statement
from custody_pipeline.forgetting import places, warehouse_rows
from custody_pipeline.forgetting.coming import deadlines
from custody_pipeline.forgetting.finder import (
    Asked,
    Found,
    copy_versions,
    find,
    found_of,
    left_by_seals,
    sealed_night,
)
from custody_pipeline.forgetting.landing_rewrite import LandingRewrite
from custody_pipeline.forgetting.night_key import KeyForgetting, find_key, found_by_key, remove_key
from custody_pipeline.forgetting.object_versions import Version, remove_versions, versions_of
from custody_pipeline.forgetting.sealed import Removing, removed_paths, scratch
from custody_pipeline.io.held_folder import remove_left
from custody_pipeline.io.night_keys import Forgotten, night_keys_of
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.load.working_folder import working_folder
from custody_pipeline.matters.register import alone
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import ChecksFailedError, Night, check, is_blocking, model, publish
from custody_pipeline.publish.readback import read_back
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.erasures import (
    Request,
    Tombstone,
    drop_request,
    keep_request,
    names_of,
    requests_of,
    with_shared,
    write_erasures,
)
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Say = Callable[[str], None]

_FEW = 8


class ErasureBusyError(Exception):
    """Another erasure is under way in this home."""


class HeldError(Exception):
    """A hold keeps what should be erased. The message names the hold, and until when."""


class SealedError(Exception):
    """The published place does not have what this home sealed. The message says what is missing."""


@dataclass
class Outcome:
    """The result of a request. `notes`: what people must know or do."""

    request: Request
    notes: list[str] = field(default_factory=list)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    busy = ErasureBusyError("another erasure is under way in this home; try again when it has ended")
    with alone(settings.home / "erasures/lock", busy):
        shutil.rmtree(scratch(settings), ignore_errors=True)
        yield


def look(settings: Settings, asked: Asked) -> Found:
    """The dry run: all places with data, and the holds on them. Raises as `find` and `find_key`; ErasureBusyError."""
    Warehouse(settings).require_file()
    with _alone(settings):
        return _find(settings, s3_client(settings), asked)


def erase(settings: Settings, asked: Asked, say: Say) -> Outcome:
    """Find the data and erase them, or remove the key of a night.

    Without the key nobody can read the night's landing files and captures; rows stay.

    Raises:
        HeldError: there is a hold. The request waits, and `resume` tries it again; of the policy, the next `apply` asks
            again, if the policy of then still says so.
        ErasureBusyError: another erasure is under way.
        NothingToEraseError, NotEncryptedError, SettingsError: as `find` and `find_key`.
    """
    Warehouse(settings).require_file()
    with _alone(settings):
        client = s3_client(settings)
        found = _find(settings, client, asked)
        if found.holds:
            held_by = f"not erased, since it is held by {'; '.join(found.holds)}"
            if found.request.is_of_policy:
                raise HeldError(held_by)
            _waiting(settings, found)
            raise HeldError(f"{held_by}. The request waits: custody erase --resume")
        outcome = _Erasing(settings, client, _begun(settings, found), say).carry_out()
        if unmatched := found.unmatched:
            more = f" and {len(unmatched) - _FEW} more" if len(unmatched) > _FEW else ""
            outcome.notes.append(f"of no known conversation, and not erased: {', '.join(unmatched[:_FEW])}{more}")
        return outcome


def _find(settings: Settings, client: S3Client, asked: Asked) -> Found:
    with Warehouse(settings).open() as con:
        if isinstance(asked.what, date):
            return find_key(con, settings, client, asked, asked.what)
        return find(con, settings, client, asked, asked.what)


def resume(settings: Settings, say: Say, *, bypass_governance: bool = False) -> list[Outcome]:
    """Complete begun requests, and try again those that waited for a hold to end. A held request continues to wait.

    Args:
        bypass_governance: the requests may break GOVERNANCE locks from now on, also if they were made without.
    """
    outcomes = []
    with _alone(settings):
        client = s3_client(settings)
        for request in requests_of(settings):
            if request.state == "done":
                continue
            if request.state == "waiting" and request.is_of_policy:
                drop_request(settings, request)  # of an earlier version
                continue
            if bypass_governance:
                request = _kept(settings, request, bypass_governance=True)
            if request.state == "waiting":
                with Warehouse(settings).open() as con:
                    again = found_by_key if request.forget_key else found_of
                    found = again(con, settings, client, _renewed(con, request))
                if found.holds:
                    outcomes.append(Outcome(_waiting(settings, found)))
                    continue
                request = _begun(settings, found)
            outcomes.append(_Erasing(settings, client, request, say).carry_out())
    return outcomes


def _kept(settings: Settings, request: Request, **changes: object) -> Request:
    """The request with changes, written down."""
    request = msgspec.structs.replace(request, **changes)
    keep_request(settings, request)
    return request


def _waiting(settings: Settings, found: Found) -> Request:
    """The request, kept until its holds end."""
    return _kept(settings, found.request, state="waiting", held=found.holds)


def _begun(settings: Settings, found: Found) -> Request:
    """The request, kept with its places: copies are recorded before the rows that know of them are removed."""
    notes = tuple(f"{place.where}: {place.note}" for place in found.places if place.note)
    counts = places.counted(found.places)
    return _kept(settings, found.request, state="begun", held=(), counts=counts, notes=notes)


def _renewed(con: duckdb.DuckDBPyConnection, request: Request) -> Request:
    """The request with its present recordings: conversations of a waiting request are still collected."""
    if request.forget_key:
        return request
    ids = {name.lower() for name in request.conversations}
    recordings = tuple(Tombstone(str(night), *names) for night, *names in warehouse_rows.recordings_of(con, ids))
    nights = tuple(map(str, warehouse_rows.nights_held(con, ids)))
    return with_shared(con, msgspec.structs.replace(request, recordings=recordings, nights=nights))


@dataclass
class _Erasing:
    """A begun request that is carried out.

    Attributes:
        request: says which of its steps are done.
        staged: folders of seals that may be under way.
    """

    settings: Settings
    client: S3Client
    request: Request
    say: Say
    staged: set[str] = field(default_factory=set)

    def carry_out(self) -> Outcome:
        """Do every step that is not done yet."""
        settings, outcome = self.settings, Outcome(self.request, list(self.request.notes))
        if self.request.forget_key:
            self._forget_key(outcome)
        else:
            with Warehouse(settings).open() as con:
                if not self.request.cleared:
                    self.say("removing captures, events, landing files and rows")
                    self._clear(con)
                    self._keep(cleared=True)
                write_erasures(con, settings)
                for night in self.request.nights:
                    self._remake(con, night)
                    self._remove_sealed(night)
                self.say("writing the snapshot and the warehouse again")
                snapshot_for_analysts(con, settings)
            warehouse_rows.compact(settings)
            _forget_salts(settings, outcome)
        published = settings.home / "published"
        if settings.publish_url is not None and (published / "log/checkpoint").exists():
            read_back(settings, published, client=self.client)
        self._keep(state="done")
        outcome.request = self.request
        outcome.notes += [
            f"{folder}: staged within the last day, perhaps with these data; if no seal is under way, remove it"
            for folder in sorted(self.staged)
        ]
        return outcome

    def _keep(self, **changes: object) -> None:
        """Write down what is done."""
        self.request = _kept(self.settings, self.request, **changes)

    def _remove(self, versions: Iterable[Version]) -> None:
        remove_versions(self.client, versions, bypass_governance=self.request.bypass_governance)

    def _forget_key(self, outcome: Outcome) -> None:
        """Say that the night has no key from now on, seal the statement, then remove the key."""
        (name,) = self.request.nights
        night = date.fromisoformat(name)
        told = night_keys_of(self.settings).forget(night, self.request.id, self.request.asked_at)
        with Warehouse(self.settings).open() as con:
            if told is not None:
                self._remake(con, name, told)
            with working_folder(con):
                pass  # remove unencrypted files of a killed load
            snapshot_for_analysts(con, self.settings)
        self.say(f"removing the key of {name}")
        remove_key(self.settings, self.client, night, bypass_governance=self.request.bypass_governance)
        if name not in self.request.sealed:
            outcome.notes.append(f"{name} is not published: no log says that its key was forgotten")

    # --- 2: what is not published -------------------------------------------------------------------------------------

    def _clear(self, con: duckdb.DuckDBPyConnection) -> None:
        settings, request, ids = self.settings, self.request, names_of(self.request)
        keys = list(places.capture_keys(settings, self.client, ids))
        media = warehouse_rows.exported(con, ids) if request.media else []
        for uri in (*places.sidecars_of(settings, self.client, keys), *media):
            self._remove(versions_of(self.client, S3Location.parse(uri)))
        places.remove_captures(settings, self.client, keys, bypass_governance=request.bypass_governance)
        places.remove_spooled(settings, ids)
        remove_left(settings.landing_spools)
        places.remove_productions(settings, ids)
        places.remove_packages(settings, ids)
        places.remove_files(places.files_naming(settings, ids))
        landing = LandingRewrite(settings, self.client, request)
        for name in request.nights:
            warehouse_rows.rename_digests(con, date.fromisoformat(name), landing.of_night(con, name))
        warehouse_rows.delete_rows(con, ids)
        acts = [
            Act(
                date.fromisoformat(item.night),
                "erased",
                what=f"recording, by request {request.id}",
                why=request.reason,
                how=f"on the authority of {request.authority}",
                where_at="erasure.json in the cut of the night",
                conversation_id=item.conversation_id,
                recording_id=item.recording_id,
            )
            for item in request.recordings
        ]
        append_acts(con, Actor.of(settings), acts)

    # --- 3 and 4: what is published -----------------------------------------------------------------------------------

    def _remake(self, con: duckdb.DuckDBPyConnection, name: str, forgotten: Forgotten | None = None) -> None:
        """Model a night again, and publish it with the statement, unless the statement is sealed already."""
        settings, request = self.settings, self.request
        if name in request.sealed:
            return
        night = Night(settings, load_mapping(settings.mapping_path), date.fromisoformat(name), deadlines)
        self.say(f"making the night of {name} again")
        model(con, night)
        published = con.execute("SELECT 1 FROM raw.publications WHERE partition_date = ? LIMIT 1", [night.day])
        if published.fetchone() is None or settings.publish_url is None:
            return
        if offending := {key: rows for key, rows in check(con, night).items() if rows and is_blocking(key)}:
            raise ChecksFailedError(offending)
        sealed = sealed_night(settings, self.client, name)
        there, _ = sealed.stated(request) or (None, None)
        more = KeyForgetting(sealed, request, forgotten) if forgotten is not None else Removing(sealed, request)
        publication, _ = publish(con, night, f"erasure {request.id}", None if there else more)
        self._keep(sealed={**request.sealed, name: there.revision if there else publication.revision})

    def _remove_sealed(self, night: str) -> None:
        """Remove the files that the night's statement names, and other files of the night that are older than it."""
        settings, request = self.settings, self.request
        if night not in request.sealed:
            return
        place = S3Location.parse(settings.require("publish_url"))
        _, statement = sealed_night(settings, self.client, night).stated(request) or (None, None)
        if not isinstance(statement, Statement):
            raise SealedError(
                f"no cut of {night} below {settings.publish_url} has the statement of request {request.id}, though "
                "one was sealed: nothing of it was removed; custody verify tells what is wrong there"
            )
        self.say(f"removing {len(statement.files)} files of earlier revisions of {night}")
        for path in removed_paths(statement):
            self._remove(versions_of(self.client, place / path))
        copies = list(copy_versions(settings, self.client, night))
        left, under_way = left_by_seals(settings, self.client, copies, datetime.now(UTC))
        self._remove([version for version in copies if not version.latest or version.marker] + left)
        self.staged |= under_way


# --- 5: secrets -------------------------------------------------------------------------------------------------------


def _forget_salts(settings: Settings, outcome: Outcome) -> None:
    """Replace the secret behind the salts: with the old secret, a guess of an erased row could be tested."""
    if settings.salt_secret is not None:
        outcome.notes.append(
            "CUSTODY_SALT_SECRET: replace it in every home that seals into this log (openssl rand -hex 32), and "
            "destroy every copy of the old one: with it, guesses of an erased row can be tested against its leaf"
        )
        return
    path = settings.home / "keys/salt"
    if path.exists():
        write_whole(path, secrets.token_hex(32).encode())
