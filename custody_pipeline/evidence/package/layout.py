"""The layout of a package, and the statement of its scope.

Belongs here: names of files, the documents that a package adds. Does not: writing (bag.py), checking (check.py,
package_content.py).

    bagit.txt, bag-info.txt              BagIt 1.0 (RFC 8493); who, why, when
    manifest-sha256.txt                  every file below data/; `sha256sum --check` reads it
    tagmanifest-sha256.txt               the three files above
    tagmanifest-sha256.txt.sig           signed note over the SHA-256 of the tag manifest: it covers all other files
    data/package.json                    what was asked for, what is here, which revision, what is left out
    data/checkpoint                      the log's head that all proofs lead to
    data/public-key.txt                  the keys that signed; compare fingerprints over another channel
    data/VERIFY.md                       how to check all this without our code
    data/records/<name>.json             the row as it was sealed, with its salt
    data/records/<name>.tlog-proof       C2SP tlog-proof of that row
    data/records/<name>.tlog-commitment  in place of the proof if fields are withheld: a proof without the row; the
                                         .json has the other fields, and no salt
    data/audio/<name>.<suffix>           the recording; its SHA-256 is `media_sha256` of the row
    data/documents/<name>.<suffix>       the sidecar; its SHA-256 is `sidecar_sha256` of the row
    data/missing.json                    audio and documents that are not here: which, and why
    data/rotations/<number>/rotation.note  key rotations, for a holder of an older key
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import orjson

BAGIT = "bagit.txt"
BAG_INFO = "bag-info.txt"
MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
SIGNATURE = TAG_MANIFEST + ".sig"
TAG_FILES = (BAGIT, BAG_INFO, MANIFEST)
"""The tag manifest lists these and no other file."""

SCHEMA = "custody-package/v2"
STATEMENT = "data/package.json"
CHECKPOINT = "data/checkpoint"
PUBLIC_KEYS = "data/public-key.txt"
INSTRUCTIONS = "data/VERIFY.md"
MISSING = "data/missing.json"
RECORDS = "data/records/"
ROTATIONS = "data/rotations/"

# Folder of the package → column of the record that holds the SHA-256 of its file.
ATTACHED = {"audio": "media_sha256", "documents": "sidecar_sha256"}


def is_attached(path: str) -> bool:
    """Whether a file of the package is audio or a document: no check parses it."""
    return path.startswith(tuple(f"data/{kind}/" for kind in ATTACHED))


class Included(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A record of the package.

    Attributes:
        name: name of its files, without a suffix.
        revision: the revision whose cut holds the record.
        newest: the newest revision of that night in the log that the proofs lead to.
        masked: columns that are withheld; the record is then committed to, and not proven.
    """

    name: str
    recording_id: str
    conversation_id: str
    night: str
    revision: int
    newest: int
    masked: tuple[str, ...] = ()


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a package, as its producer signed it.

    Attributes:
        size: leaves of the head that all proofs lead to.
        root: of that head, hex.
        night: a whole night was asked for; None when single recordings were.
        asked: recording ids that were asked for; empty for a whole night.
        left_out: how many audio files and documents are listed in `missing.json`.
    """

    origin: str
    size: int
    root: str
    night: str | None
    asked: tuple[str, ...]
    records: tuple[Included, ...]
    left_out: int


class Masked(msgspec.Struct, frozen=True):
    """A record with withheld fields. `row`: the columns that are shown; `columns`: those that are withheld."""

    row: dict[str, str | None]
    columns: tuple[str, ...]


class Absent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Audio or a document of a record that the package does not hold.

    Attributes:
        kind: `audio` or `documents`.
        name: name of the record's files, without a suffix.
        sha256: what was sealed; None when the night was sealed without it.
        why: the error of fetching it; None if there was nothing to fetch.
        gap_reasons: code → sentence, from the sealed record.
    """

    recording_id: str
    conversation_id: str
    kind: str
    name: str
    sha256: str | None
    why: str | None
    gap_reasons: dict[str, str]

    @classmethod
    def of(
        cls, row: Mapping[str, str | None], kind: str, name: str, why: str | None, sentences: Mapping[str, str]
    ) -> Absent:
        """The missing files of a sealed row; `sentences`: the text of each reason's code."""
        return cls(
            recording_id=str(row["recording_id"]),
            conversation_id=str(row["conversation_id"]),
            kind=kind,
            name=name,
            sha256=row.get(ATTACHED[kind]),
            why=why,
            gap_reasons={code: sentences.get(code, "") for code in reasons_in(row)},
        )


def reasons_in(row: Mapping[str, str | None]) -> list[str]:
    """The codes of a sealed row's gaps."""
    codes: list[str] = orjson.loads(row.get("gap_reasons") or "[]")
    return codes
