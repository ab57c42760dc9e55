"""`forgotten-key.json`: a night's key was forgotten; why, on whose authority, and which files nobody can open any more.

Belongs here: the form of the statement, written and read strictly. Does not: forgetting a key (forgetting/), checking a
statement against a set (evidence/verify/forgotten_keys.py).

The statement is a file of a cut of the night, sealed before the key is removed. The files that it names stay as they
are: every digest, signature and proof holds as before.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import rfc8785

from custody_pipeline.evidence.cut.manifest import Count, Hex256, Revision, Strict, decode_strictly
from custody_pipeline.evidence.cut.removal import check_times_and_files, original_path

KEY_STATEMENT = "forgotten-key.json"
_Hex128 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class EncryptedFile(Strict, frozen=True):
    """A file of one of the night's cuts that only this key opened. `revision`: of that cut."""

    revision: Revision
    path: str
    bytes: Count
    sha256: Hex256


class KeyStatement(Strict, frozen=True):
    """The statement that a night's key was forgotten.

    Attributes:
        id: of the request, 32 hex digits.
        night: UTC day, `YYYY-MM-DD`.
        revision: of the cut that holds the statement.
        asked_at: when it was asked for, UTC, RFC 3339.
        stated_at: when the statement was made, UTC, RFC 3339: when the cut was sealed. The key is removed after it.
        authority: the right or order that demands the forgetting.
        key_id: the id of the key, which the header of each file names; 32 hex digits.
        wrapped_sha256: of the document that held the wrapped key, hex.
        files: of this night's cuts, ordered by revision and path.
        captures: how many documents of the capture place the key opened.
    """

    id: _Hex128
    night: str
    revision: Revision
    asked_at: str
    stated_at: str
    operator: str
    reason: str
    authority: str
    key_id: _Hex128
    wrapped_sha256: Hex256
    files: tuple[EncryptedFile, ...]
    captures: Count
    schema: Literal["custody-forgotten-key/v1"] = "custody-forgotten-key/v1"


def is_landing(path: str) -> bool:
    """Whether a file of a cut is a landing file, or what an erasure left of one."""
    return original_path(path).startswith("landing/")


def encode_key_statement(statement: KeyStatement) -> bytes:
    """The bytes of `forgotten-key.json`: RFC 8785 JSON.

    Raises:
        CutError: the statement contradicts itself.
    """
    check_times_and_files(KEY_STATEMENT, statement, ((file.revision, file.path) for file in statement.files))
    return rfc8785.dumps(msgspec.to_builtins(statement))


def decode_key_statement(data: bytes) -> KeyStatement:
    """Read a `forgotten-key.json`.

    Raises:
        CutError: not RFC 8785 JSON of this schema, to the byte, or it contradicts itself.
    """
    return decode_strictly(KEY_STATEMENT, data, KeyStatement, encode_key_statement)
