"""The options of a verification.

Belongs here: options, and access to the export bucket. Does not: the running state (context.py).
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from custody_pipeline.evidence.log.note import Verifier

Progress = Callable[[str, int, int], None]
"""Called with what is counted (bytes of files, recordings), how many are done, and how many there are."""


class MediaReader(Protocol):
    """Read access to the export bucket."""

    def sha256(self, uri: str, version_id: str | None) -> str:
        """SHA-256 of an object's bytes, hex.

        Raises:
            FileNotFoundError: no such object or version.
            TargetError: the object could not be read.
        """


@dataclass(frozen=True)
class Media:
    """Which recordings to compare with their digests: all, or a random `sample` of every night."""

    reader: MediaReader
    mode: Literal["sample", "all"] = "sample"
    sample: int = 25


@dataclass(frozen=True)
class Options:
    """The options of a verification.

    Attributes:
        public_keys: the log's keys; without one the answer is never "verified".
        pinned: checkpoints of this log that the caller kept from earlier.
        timestamp_roots: PEM root certificates of timestamp authorities.
        witnesses: keys of trusted witnesses (`check_witness_keys`).
        quorum: how many witnesses must have cosigned the log's head; all of them when None.
        seen_since: a head that was the newest only before this time is a finding.
        media: how to compare recordings with their digests; no comparison when None.
        progress: called with the progress.
        since: a checkpoint up to which the caller verified this log before; files of older cuts are not read.
        published_at: the place that pointers must name, with a slash at its end; None allows any.
        memory: results of an interrupted run, which the caller keeps; a plain dict is enough.
    """

    public_keys: Sequence[Verifier]
    pinned: Sequence[bytes] = ()
    timestamp_roots: Sequence[bytes] = ()
    witnesses: Sequence[Verifier] = ()
    quorum: int | None = None
    media: Media | None = None
    progress: Progress | None = None
    memory: MutableMapping[str, str] | None = None
    seen_since: datetime | None = None
    published_at: str | None = None
    since: bytes | None = None
