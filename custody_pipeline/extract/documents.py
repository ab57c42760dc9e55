"""Bytes as received → what they are: hash first, then the reason why they cannot be read, if they cannot.

Belongs here: the state of one document. Does not: what its fields mean, or where it is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import orjson

# Half of what the loader lets DuckDB read as one line, so that the line fits with its keys, base64-coded or not.
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


class DocumentState(StrEnum):
    """Whether a document can be read, and if not, why not."""

    OK = "ok"
    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    # Only found while reading fields: see load/parsing.py.
    DUPLICATE_KEY = "duplicate_key"
    WRONG_SHAPE = "wrong_shape"


@dataclass(frozen=True)
class Document:
    """A document as it was received.

    Attributes:
        content: the bytes, untouched.
        sha256: of `content`, lower-case hex.
        state: see `DocumentState`.
    """

    content: bytes
    sha256: str
    state: DocumentState

    @property
    def one_line(self) -> bool:
        """True when the bytes can stand as they are inside a line of newline-delimited JSON."""
        return self.state is DocumentState.OK and b"\n" not in self.content and b"\r" not in self.content


def document(content: bytes) -> Document:
    """Hash `content`, then find out whether it is one JSON text that DuckDB can read too.

    orjson decides: like DuckDB's parser it refuses a byte-order mark, lone surrogates and invalid UTF-8, and unlike it
    NaN and Infinity, which are not JSON (RFC 8259 section 6).
    """
    return Document(content, hashlib.sha256(content).hexdigest(), _state(content))


def _state(content: bytes) -> DocumentState:
    if not content.strip():
        return DocumentState.EMPTY
    if len(content) > MAX_DOCUMENT_BYTES:
        return DocumentState.TOO_LARGE
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return _reason(content, error)
    return DocumentState.OK


def _reason(content: bytes, error: orjson.JSONDecodeError) -> DocumentState:
    try:
        content.decode()
    except UnicodeDecodeError as problem:
        # A cut may fall inside a character.
        cut = problem.end == len(content) and problem.reason == "unexpected end of data"
        return DocumentState.TRUNCATED if cut and content.lstrip()[:1] in b"{[" else DocumentState.NOT_UTF8
    if "recursion" in error.msg.lower() or "depth" in error.msg.lower():
        return DocumentState.TOO_DEEP
    if content.lstrip()[:1] in (b"{", b"[") and error.msg.startswith("unexpected end of data"):
        return DocumentState.TRUNCATED
    return DocumentState.NOT_JSON


def items_of(page: bytes, field: str) -> list[bytes] | None:
    """The elements of the array `field` of a page (a JSON object), each the page's own bytes; None if it is no page.

    A missing or null field is an empty page.
    """
    try:
        fields = msgspec.json.decode(page, type=dict[str, msgspec.Raw])
        items = fields.get(field)
        if items is None:
            return []
        return [bytes(item) for item in msgspec.json.decode(items, type=list[msgspec.Raw] | None) or []]
    except msgspec.DecodeError:
        return None
