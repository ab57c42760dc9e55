"""The values of tags, character by character, for parsers that would rewrite them.

A JSON parser gives a number's value, not its characters: 1.10 becomes 1.1, 1E2 becomes 100.0, and a long integer is
rounded. A list or an object loses its spaces. Therefore a value that is not a text is turned into a text of its
characters before any parser reads the document. The document itself is kept and hashed as received.

Belongs here: this change of a document's copy. Does not: reading tags (sql/raw, capture/).
"""

from __future__ import annotations

import base64
import binascii
import re

import orjson

from custody_pipeline.extract.documents import NAMED, members_of, without_halves

# Precedes the text of a typed attribute that was no text, to keep its type: see sql/macros/as_written.sql.
MARK = "\u0001#"

# Objects that hold tags, by the vendor's names and by those reported from exports. Typed attributes are marked.
_TAGS = {b'"attributes"': "", b'"custom_data"': "", b'"customData"': "", b'"customAttributes"': MARK}
_OPENS = re.compile(rb"\s*+:\s*+(?=\{)")
_ONLY_TEXTS = re.compile(rb'\{(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\s:,]++)*+\}', re.DOTALL)
# A string, and what opens behind it: only a whole tokenizer knows where a name begins that has escapes in it.
_NAMED_OBJECT = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")(\s*+:\s*+(?=\{))?', re.DOTALL)
# Any parser gives these back as they are written.
_SAFE = re.compile(rb'"|(?:true|false|null|0|-?[1-9]\d{0,17})$')
_ENCODED = re.compile(rb'"custom_attributes_base64":"([A-Za-z0-9+/=]++)"')


def with_verbatim_tags(content: bytes) -> bytes:
    """A JSON text in which every tag's value is a text of its characters; `content` itself if nothing would change."""
    return _with_verbatim_typed(_with_verbatim_texts(without_halves(content)))


def _with_verbatim_texts(content: bytes) -> bytes:
    parts: list[bytes] = []
    done = 0
    for start, mark in _objects(content):
        if start < done:
            continue
        cut = members_of(content, start)
        if cut is None:
            return content  # not JSON: the parser will report it, and a further search would take quadratic time
        members, end = cut
        texts = [_as_text(member, mark) for member in members]
        if texts != members:
            parts += (content[done:start], b"{", b",".join(texts), b"}")
            done = end
    return b"".join((*parts, content[done:])) if parts else content


def _objects(content: bytes) -> list[tuple[int, str]]:
    """The indexes of objects that hold tags other than texts, with their marks, in order."""
    found: list[tuple[int, str]] = []
    for name, mark in _TAGS.items():
        place = content.find(name)
        while place >= 0:
            opens = _OPENS.match(content, place + len(name))
            # A quotation mark inside a string has a backslash before it.
            if opens and content[place - 1 : place] != b"\\" and not _ONLY_TEXTS.match(content, opens.end()):
                found.append((opens.end(), mark))
            place = content.find(name, place + len(name))
    if b"\\u00" in content:
        found += _escaped_names(content)
    return sorted(found)


def _escaped_names(content: bytes) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for string in _NAMED_OBJECT.finditer(content):
        # The longest of the names, all its characters escaped, is a hundred bytes long.
        if string[2] is not None and b"\\u00" in string[1] and len(string[1]) <= 128:
            mark = _TAGS.get(_unescaped(string[1]))
            if mark is not None:
                found.append((string.end(), mark))
    return found


def _unescaped(name: bytes) -> bytes:
    try:
        return b'"' + str(orjson.loads(name)).encode() + b'"'
    except orjson.JSONDecodeError:
        return name


def _as_text(member: bytes, mark: str) -> bytes:
    named = NAMED.match(member)
    if named is None or _SAFE.match(member, named.end()):
        return member
    text = member[named.end() :].decode(errors="replace")
    return member[: named.end()] + orjson.dumps(mark + text)


def _with_verbatim_typed(content: bytes) -> bytes:
    """The same, for the answer that live capture keeps base64-coded."""
    found = _ENCODED.search(content)
    if found is None:
        return content
    try:
        answer = base64.b64decode(found[1])
    except binascii.Error:
        return content  # not of live capture
    texts = _with_verbatim_texts(answer)
    if texts is answer:
        return content
    return b"".join((content[: found.start(1)], base64.b64encode(texts), content[found.end(1) :]))
