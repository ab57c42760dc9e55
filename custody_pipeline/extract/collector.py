"""One night's collection: its clients, its landing files, its receipts.

Belongs here: the code that all resources share. Does not: the requests of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from custody_pipeline.extract.documents import document
from custody_pipeline.extract.erased import names_any, without_erased
from custody_pipeline.extract.genesys import GenesysClient, Identity
from custody_pipeline.extract.genesys_errors import GenesysError, PermanentError
from custody_pipeline.extract.landing_files import Bucket, Folder, LandingWriter, Place, new_landing_id
from custody_pipeline.extract.receipts import Collectors, FetchFailure, Landing
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.night_keys import night_keys_of
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import erased_names

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Called with (resource, done so far, expected in all or None).
Progress = Callable[[str, int, int | None], None]
# Conversation ids → those that are of the night.
Known = Callable[[set[str]], set[str]]

# Asking which conversations are of the night opens the warehouse.
_ASKED_AT_ONCE = 10_000


class Load:
    """One resource that is being collected: documents and failures go in, `landing` comes out.

    Attributes:
        incomplete: another run could bring more.
        not_kept: number of documents of erased conversations.
    """

    def __init__(
        self,
        landing: Landing,
        writer: LandingWriter,
        progress: Progress | None,
        erased: frozenset[str] = frozenset(),
    ):
        self.landing = landing
        self.incomplete = False
        self.not_kept = 0
        self._writer, self._progress, self._erased = writer, progress, erased

    def add(self, keys: dict[str, Any], source_uri: str, content: bytes, fetched_at: datetime | None = None) -> None:
        """Write one document to the landing file, as received. `fetched_at` is UTC without a zone; default: now.

        Documents of erased conversations are not kept.
        """
        if self._erased:
            kept = without_erased(self._erased, self.landing.resource, keys, source_uri, content)
            self.not_kept += kept != content
            if kept is None:
                return
            content = kept
        self._writer.add(keys, source_uri, fetched_at or utc_now(), document(content))
        self.landing.documents += 1
        self.report()

    def add_own(self, source_uri: str, found: Iterable[tuple[dict[str, Any], str | None, bytes]], known: Known) -> None:
        """Write the documents that are of the night's conversations or name none. Documents before an error are kept.

        Args:
            found: keys, conversation and bytes of each document.
            known: gives the night's ids; asked for many conversations at once.
        """
        part: list[tuple[dict[str, Any], str | None, bytes]] = []

        def keep() -> None:
            asked = {named for _, named, _ in part if named is not None}
            here = known(asked) if asked else set()
            for keys, named, content in part:
                if named is None or named in here:
                    self.add(keys, source_uri, content)
            part.clear()

        try:
            for entry in found:
                part.append(entry)
                if len(part) == _ASKED_AT_ONCE:
                    keep()
        except GenesysError:
            keep()
            raise
        keep()

    def add_made(self, keys: dict[str, Any], source_uri: str, made: dict[str, Any]) -> None:
        """Keep a document that this product made: a listing's entry, a digest."""
        self.add(keys, source_uri, orjson.dumps(made))

    def fail(self, subject_id: str, error: GenesysError) -> None:
        """Note that `subject_id` could not be read: a row of `fetch_failures`."""
        self.add_failure(FetchFailure.of(self.landing.resource, subject_id, error))

    def add_failure(self, failure: FetchFailure) -> None:
        """Keep a row of `fetch_failures`, unless it is of an erased conversation; no answer that names one is kept."""
        if names_any(self._erased, failure.subject_id.encode()):
            return
        if names_any(self._erased, failure.answer or b""):
            failure = replace(failure, answer=None)
        self.landing.failures.append(failure)
        self.report()

    def report(self) -> None:
        """Report the progress of this resource."""
        if self._progress:
            done = self.landing.documents + len(self.landing.failures)
            self._progress(self.landing.resource, done, self.landing.asked)


class Collector:
    """Everything one night's collection needs; close it, or use it in a `with` block.

    Args:
        progress: called now and then with (resource, done, expected or None), from the calling thread.
        client: the API client; made from the settings when None and the API is configured.
    """

    def __init__(
        self,
        settings: Settings,
        night: date,
        progress: Progress | None = None,
        *,
        client: GenesysClient | None = None,
    ):
        self.settings, self.night = settings, night
        self._progress = progress
        self.client = client or (GenesysClient(settings) if settings.api_configured else None)

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections. With an `s3://` landing place, also remove the local copies: load them before."""
        if self.client:
            self.client.close()
        if isinstance(place := self.__dict__.get("place"), Bucket):
            place.close()

    @property
    def window(self) -> tuple[datetime, datetime]:
        """The night, half-open, UTC without a zone."""
        start = datetime.combine(self.night, time())
        return start, start + timedelta(days=1)

    @property
    def interval(self) -> str:
        """The night as an ISO 8601 interval, as the API takes it."""
        start, end = self.window
        return f"{start:%Y-%m-%dT%H:%M:%S.000Z}/{end:%Y-%m-%dT%H:%M:%S.000Z}"

    @cached_property
    def identity(self) -> Identity | None:
        """The API client; None without the API, and its id alone behind a gateway that does not offer tokens/me.

        Raises:
            LoginError: the credentials are refused: nothing of the night can be collected.
            TransientError: the API does not answer.
        """
        if self.client is None:
            return None
        try:
            return self.client.identity()
        except PermanentError:
            return Identity(None, None, self.settings.genesys_client_id, None)

    @cached_property
    def who(self) -> Collectors:
        """The collector of this run, as every receipt names it."""
        return Collectors.of(self.settings, self.identity)

    @cached_property
    def s3(self) -> S3Client:
        """A client of the export bucket's S3."""
        return s3_client(self.settings)

    @cached_property
    def place(self) -> Place:
        """Where landing files go."""
        landing = self.settings.landing
        keys = night_keys_of(self.settings)
        if landing.startswith("s3://"):
            return Bucket(landing, self.s3, self.settings.landing_spools, keys)
        return Folder(landing, keys)

    def api_uri(self, path: str) -> str:
        """The `source_uri` of a document from the API."""
        return self.settings.api_url + path

    def require_client(self) -> GenesysClient:
        """The API client, for a collection that was not skipped as not configured."""
        if self.client is None:
            raise ValueError("the API is not configured")
        return self.client

    @contextmanager
    def load(self, resource: str, *, asked: int | None = None) -> Iterator[Load]:
        """Collect one resource: added documents go to its landing files, and the receipt counts them.

        The state becomes `partial` if another run could bring more: after a transient error, or if `incomplete` is set.
        """
        now = utc_now()
        landing = Landing(resource, self.night, new_landing_id(now), self.who, self.place, asked=asked, started_at=now)
        before = self._counts()
        with LandingWriter(self.place, resource, self.night, landing.landing_id) as writer:
            load = Load(landing, writer, self._progress, erased_names(self.settings))
            yield load
        if load.not_kept:
            several = (
                "documents of erased conversations were"
                if load.not_kept > 1
                else "document of an erased conversation was"
            )
            note = f"{load.not_kept} {several} not kept"
            landing.detail = f"{landing.detail}; {note}" if landing.detail else note
        landing.files = writer.files
        landing.failure_files = self._land_failures(landing)
        if landing.state == "complete" and (load.incomplete or any(not f.permanent for f in landing.failures)):
            landing.state = "partial"
        requests, retries = self._counts()
        landing.requests += requests - before[0]
        landing.retries += retries - before[1]
        landing.finished_at = utc_now()

    def not_configured(self, resource: str, detail: str) -> Landing:
        """The load of a resource that the settings leave out: no rows, and a receipt with the reason."""
        now = utc_now()
        return Landing(
            resource,
            self.night,
            new_landing_id(now),
            self.who,
            self.place,
            state="not_configured",
            asked=0,
            started_at=now,
            finished_at=now,
            detail=detail,
        )

    def api_not_configured(self, resource: str) -> Landing:
        """`not_configured`, because the API's three settings are missing."""
        return self.not_configured(
            resource, "set CUSTODY_GENESYS_DOMAIN, CUSTODY_GENESYS_CLIENT_ID and CUSTODY_GENESYS_CLIENT_SECRET"
        )

    def _counts(self) -> tuple[int, int]:
        return (self.client.counters.requests, self.client.counters.retries) if self.client else (0, 0)

    def _land_failures(self, landing: Landing) -> list[Any]:
        with LandingWriter(self.place, "fetch_failures", self.night, landing.landing_id) as writer:
            for failure in landing.failures:
                content = orjson.dumps(failure.as_document())
                writer.add({}, f"custody:{landing.resource}", failure.occurred_at, document(content))
        return writer.files
