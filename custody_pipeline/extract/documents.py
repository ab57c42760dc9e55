"""Bytes as received → a document: its hash first, then its state, that is, whether it can be read.

Belongs here: the state of one document. Does not: the meaning of its fields, or where it is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import orjson

from custody_pipeline.extract.export_keys import as_the_api_writes

# Half of the longest line that the loader lets DuckDB read: the document fits with its keys, base64-coded or not.
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

# A whole string, or a mark outside strings. A lone quotation mark is a string without an end.
_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
NAMED = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*', re.DOTALL)
# An escaped backslash, a whole surrogate pair, or half of one (group 1).
_HALF = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class DocumentState(StrEnum):
    """Whether a document can be read, or why it cannot."""

    OK = "ok"
    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    # Set while the fields are read: the first by sql/raw and capture, the second by load/parsing.py.
    DUPLICATE_KEY = "duplicate_key"
    WRONG_SHAPE = "wrong_shape"


@dataclass(frozen=True)
class Document:
    """A document as it was received.

    Attributes:
        content: the bytes, untouched.
    """

    content: bytes
    sha256: str
    state: DocumentState

    @property
    def one_line(self) -> bool:
        """True when the bytes can stand as they are inside a line of newline-delimited JSON."""
        return (
            self.state is DocumentState.OK
            and b"\n" not in self.content
            and b"\r" not in self.content
            and not self.content.startswith(BYTE_ORDER_MARK)
            and without_halves(self.content) is self.content
        )


def document(content: bytes) -> Document:
    """Hash `content`, then find out whether it is one JSON text that DuckDB can read too.

    orjson decides: like DuckDB's parser it refuses invalid UTF-8, and unlike it NaN and Infinity, which are not JSON
    (RFC 8259 section 6). A byte-order mark before the text is ignored (section 8.1). Halves of surrogate pairs are
    written with escapes, as section 8.2 allows; see `without_halves`.
    """
    return Document(content, hashlib.sha256(content).hexdigest(), _state(content))


def _state(content: bytes) -> DocumentState:
    content = content.removeprefix(BYTE_ORDER_MARK)
    if not content.strip():
        return DocumentState.EMPTY
    if len(content) > MAX_DOCUMENT_BYTES:
        return DocumentState.TOO_LARGE
    try:
        orjson.loads(without_halves(content))
    except orjson.JSONDecodeError as error:
        return _reason(content, error)
    return DocumentState.OK


def without_halves(content: bytes) -> bytes:
    """A JSON text in which the escape of half a surrogate pair is escaped itself; `content` itself if there is none.

    The vendor cuts texts at 1,024 UTF-16 units, which may cut an emoji in two. No parser here accepts the half. The
    text then ends with the six characters that the vendor wrote, such as `\\ud83d`, and the document stays readable.
    """
    if b"\\ud" not in content and b"\\uD" not in content:
        return content
    whole = _HALF.sub(lambda found: b"\\" + found[0] if found[1] else found[0], content)
    return content if whole == content else whole


def state_of_names(content: bytes) -> DocumentState:
    """Whether each object of a readable JSON text has a name once: `ok`, `duplicate_key`, or `too_deep` to tell.

    Of a name that stands twice, nobody knows which value counts.
    """
    repeated = False

    def look(members: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len(dict(members)) < len(members)

    try:
        json.loads(without_halves(content), object_pairs_hook=look, parse_int=str, parse_float=str)
    except RecursionError:
        return DocumentState.TOO_DEEP
    return DocumentState.DUPLICATE_KEY if repeated else DocumentState.OK


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
    """The elements of the array `field` of a page (a JSON object), as bytes of the page; None if it holds no array.

    A missing field is an empty page; null is not, and neither are two fields of this name. An element need not be
    readable: its own document has a state.
    """
    fields = fields_of(page)
    if fields is None or stands_twice(page, field):
        return None
    items = fields.get(field)
    if items is None:
        return []
    try:
        return [bytes(item) for item in msgspec.json.decode(items, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _members(bytes(items), b"[", b"]")


def stands_twice(page: bytes, *names: str) -> bool:
    """Whether a JSON object has one of the names twice: nobody knows which of the values counts."""
    wanted = [b'"' + name.encode() + b'"' for name in names]
    if all(page.count(name) < 2 for name in wanted):
        return False
    found = [named[1] for member in _members(page, b"{", b"}") or [] if (named := NAMED.match(member))]
    return any(found.count(name) > 1 for name in wanted)


def value_of(page: bytes, field: str) -> Any:
    """The value of one field of a JSON object, whatever its other fields hold; None if it is missing or null.

    Raises:
        ValueError: `page` is no JSON object, or the value cannot be read. An unreadable cursor does not end a listing.
    """
    fields = fields_of(page)
    if fields is None:
        raise ValueError(f"`{field}` cannot be read: no JSON object")
    try:
        return orjson.loads(bytes(fields.get(field) or b"null"))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"`{field}` cannot be read: no JSON value") from error


def readable_value_of(page: bytes, field: str) -> Any:
    """As `value_of`; None also if it cannot be read."""
    try:
        return value_of(page, field)
    except ValueError:
        return None


def text_of(page: bytes, field: str) -> str | None:
    """The text in one field of a JSON object; None if no text can be read there."""
    found = readable_value_of(page, field)
    return found if isinstance(found, str) else None


def id_of(page: bytes, field: str) -> str | None:
    """As `text_of`, a UUID in small letters; None for a text without characters, which names nothing."""
    found = text_of(page, field)
    return as_the_api_writes(found) if found and found.strip() else None


def fields_of(page: bytes) -> dict[str, msgspec.Raw] | None:
    """The fields of a JSON object as their own bytes; None if `page` is no object.

    msgspec is fast, but refuses the whole page for one lone surrogate, NaN or deep nesting. Such a page is cut by hand.
    """
    try:
        return msgspec.json.decode(page, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: a name that is not UTF-8
        members = _members(page, b"{", b"}")
    fields: dict[str, msgspec.Raw] = {}
    for member in members or []:
        named = NAMED.match(member)
        if named is None:
            return None
        fields[_name(named[1].decode(errors="replace"))] = msgspec.Raw(member[named.end() :])
    return None if members is None else fields


def _name(text: str) -> str:
    """The name in a JSON string. Only names go to the tolerant parser, so that an escape does not hide a field."""
    try:
        name: str = json.loads(text, strict=False)
    except ValueError:  # an escape that JSON does not have
        return text[1:-1]
    return name


def _members(value: bytes, opening: bytes, closing: bytes) -> list[bytes] | None:
    """The members of a JSON array or object, cut at its own commas; None if `value` is none."""
    value = value.strip()
    if not (value.startswith(opening) and value.endswith(closing)):
        return None
    members, end = members_of(value, 0) or ([], 0)
    return members if end == len(value) else None


def members_of(content: bytes, start: int) -> tuple[list[bytes], int] | None:
    """The members of the array or object that begins at `start`, and the index after it; None if it has no end.

    Only brackets and strings are examined. There is no stack of brackets, so any depth can be cut.
    """
    members: list[bytes] = []
    depth, begin = 0, start + 1
    for mark in _MARK.finditer(content, start):
        sign = mark[0]
        if sign in {b"[", b"{"}:
            depth += 1
        elif sign in {b"]", b"}"}:
            depth -= 1
        elif sign == b'"':
            return None  # a string without an end
        if (sign == b"," and depth == 1) or depth == 0:
            members.append(content[begin : mark.start()].strip())
            begin = mark.end()
        if depth == 0:
            break
    if depth or not members:
        return None
    if members == [b""]:
        return [], begin
    return None if b"" in members else (members, begin)
