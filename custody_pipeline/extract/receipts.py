"""Receipts: the requests of one load of one resource, and the received and unreadable documents.

Belongs here: the receipt, and the rows of `fetch_failures`. Does not: the reading itself.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from custody_pipeline.extract.genesys_errors import GenesysError
from custody_pipeline.extract.landing_files import LandedFile, Place
from custody_pipeline.io.clock import utc_now
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.ledger import Actor

if TYPE_CHECKING:
    from custody_pipeline.extract.genesys import Identity

MAX_KEPT_ANSWER = 1024 * 1024
"""Bytes kept of an answer of another shape."""

ReceiptState = Literal["complete", "partial", "not_configured", "failed"]


@dataclass(frozen=True)
class FetchFailure:
    """One thing that could not be read: a row of `raw.fetch_failures`.

    `message` is safe to show: it holds identifiers and codes, no secret and no tag. `answer`: the bytes of an answer of
    an unexpected shape; they are in the landing file, base64-coded, and in no table.
    """

    resource: str
    subject_id: str
    message: str
    http_status: int | None = None
    error_code: str | None = None
    permanent: bool = True
    attempts: int = 1
    correlation_id: str | None = None
    occurred_at: datetime = field(default_factory=utc_now)
    answer: bytes | None = None

    @classmethod
    def of(cls, resource: str, subject_id: str, error: GenesysError) -> FetchFailure:
        """The row of an error."""
        return cls(
            resource,
            subject_id,
            str(error),
            http_status=error.status,
            error_code=error.code,
            permanent=error.permanent,
            attempts=error.attempts,
            correlation_id=error.correlation_id,
            answer=error.body[:MAX_KEPT_ANSWER] if error.body is not None else None,
        )

    def as_document(self) -> dict[str, Any]:
        """The fields by the names of the raw table's columns."""
        return {
            "resource": self.resource,
            "subject_id": self.subject_id,
            "http_status": self.http_status,
            "error_code": self.error_code,
            "permanent": self.permanent,
            "attempts": self.attempts,
            "correlation_id": self.correlation_id,
            "message": self.message,
            "occurred_at": self.occurred_at.isoformat(timespec="microseconds"),
            "answer": base64.b64encode(self.answer).decode() if self.answer is not None else None,
        }


@dataclass(frozen=True)
class Collectors:
    """The collector and its version: the same for every receipt of a run."""

    collector: str | None
    organization_id: str | None
    operator: str
    tool_version: str
    git_revision: str | None

    @classmethod
    def of(cls, settings: Settings, identity: Identity | None) -> Collectors:
        """From the settings, the token's identity and the installed version."""
        return cls(
            collector=str(identity) if identity else None,
            organization_id=identity.organization_id if identity else None,
            **asdict(Actor.of(settings)),
        )


@dataclass
class Landing:
    """One load of one resource of one night: its files, and the content of its receipt.

    Attributes:
        asked: how many things were asked for; None where only the source knows (a listing).
        documents: how many were received, readable or not.
        data_available_until: until when the source is complete (UTC), where something says so.
        sequence: position among all loads, given while the warehouse is held; None before.
        failure_files: the landing files of this load's `fetch_failures`.
    """

    resource: str
    night: date
    landing_id: str
    who: Collectors
    place: Place
    state: ReceiptState = "complete"
    files: list[LandedFile] = field(default_factory=list)
    failure_files: list[LandedFile] = field(default_factory=list)
    asked: int | None = None
    documents: int = 0
    rows: int | None = None
    failures: list[FetchFailure] = field(default_factory=list)
    requests: int = 0
    retries: int = 0
    started_at: datetime = field(default_factory=utc_now)
    finished_at: datetime | None = None
    data_available_until: datetime | None = None
    detail: str | None = None
    sequence: int | None = None

    def fail_if_nothing_was_read(self, asked: int) -> None:
        """If none of several objects could be read, one failure of the source replaces a failure of each object."""
        if len(self.failures) == asked > 1:
            self.state, self.detail = "failed", f"none of {asked} objects could be read: {self.failures[0].message}"

    def as_receipt(self) -> dict[str, Any]:
        """The receipt, by the names of the columns of `raw.extraction_receipts`."""
        files = [*self.files, *self.failure_files]
        return {
            "resource": self.resource,
            "receipt_state": self.state,
            "asked": self.asked,
            "documents": self.documents,
            "rows": self.rows or 0,
            "failures": len(self.failures),
            "requests": self.requests,
            "retries": self.retries,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "data_available_until": self.data_available_until,
            "sequence": self.sequence,
            "landing_files": [{"uri": file.uri, "sha256": file.sha256, "bytes": file.size} for file in files],
            **vars(self.who),
            "detail": self.detail,
        }
