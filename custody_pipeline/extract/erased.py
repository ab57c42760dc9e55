"""Documents of erased conversations that arrive again are not kept, and landing files are rewritten without them.

Belongs here: finding such a document by the ids that it names. Does not: what was erased (warehouse/erasures.py).

A document is of the conversation that its keys or its address name. If they name none, it is of every conversation that
its content names. A list about many conversations keeps the others: only the items that name the id are left out.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Set
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson

from custody_pipeline.extract.documents import BYTE_ORDER_MARK, NAMED, document, members_of
from custody_pipeline.extract.landing_files import RECEIPTS, LandedFile, content_of, line_of, read_lines, split_line
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.io.encrypted_files import HEADER_BYTES, EncryptingFile, is_encrypted, key_named
from custody_pipeline.io.gzipped import gzipped
from custody_pipeline.io.night_keys import NO_KEYS, NightForgottenError, NightKeys
from custody_pipeline.io.whole_file import sha256_of

_ERASED_STATE = "erased"

LISTS = frozenset({"export_manifests"})
"""Resources whose documents are lists of recordings of many conversations."""

_LISTED = frozenset({b'"entities"', b'"recordings"'})

_NAMED_INSIDE = frozenset({"export_sidecars"})
"""Resources whose documents may be filed under another conversation than they are about."""

_FAILURES = "fetch_failures"
_ANSWER = re.compile(rb'"answer":"([A-Za-z0-9+/=]++)"')
"""The answer that a failure keeps, in Base64 (`FetchFailure.answer`)."""

_UUID = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_REMEMBERED = 16
_FEW = 4
"""Up to this number, ids are found faster one by one than by comparing every UUID of a text."""


def names_any(ids: Set[str], *texts: bytes) -> bool:
    """Whether one of `ids` (in lower case) stands in a text, in any case, as a word of its own."""
    if not ids:
        return False
    uuids, others = _prepared(ids if isinstance(ids, frozenset) else frozenset(ids))
    lowered = [text.lower() for text in texts]
    if len(uuids) <= _FEW:
        found = any(name in text for name in uuids for text in lowered)
    else:
        found = any(not uuids.isdisjoint(_UUID.findall(text)) for text in lowered)
    return found or (others is not None and any(others.search(text) for text in lowered))


_Prepared = tuple[frozenset[bytes], "re.Pattern[bytes] | None"]
_PREPARED: dict[int, tuple[frozenset[str], _Prepared]] = {}
"""By identity: to compare two equal sets of 100,000 ids for each line of a landing file takes longer than the rest."""


def _prepared(ids: frozenset[str]) -> _Prepared:
    """UUIDs, and a pattern of the other ids, which may be as short as a common word."""
    known = _PREPARED.get(id(ids))
    if known is None:
        if len(_PREPARED) >= _REMEMBERED:
            _PREPARED.clear()
        # Keeping the set keeps its `id` from being given to another object.
        known = _PREPARED[id(ids)] = ids, _prepare(ids)
    return known[1]


def _prepare(ids: frozenset[str]) -> _Prepared:
    encoded = frozenset(name.encode() for name in ids)
    uuids = frozenset(filter(_UUID.fullmatch, encoded))
    others = b"|".join(map(re.escape, sorted(encoded - uuids)))
    return uuids, re.compile(rb"(?<![\w-])(?:%s)(?![\w-])" % others) if others else None


def without_erased(ids: Set[str], resource: str, keys: dict[str, Any], source_uri: str, content: bytes) -> bytes | None:
    """The part of a document that may be kept: its content, the rest of a list, a failure without its answer, or None.

    Args:
        ids: of erased conversations and their recordings, in lower case.
        keys: under which the document would be kept.
    """
    if resource == _FAILURES:
        content = _without_answer(ids, content)
    owned = resource not in _NAMED_INSIDE and bool(keys.get("conversation_id") or keys.get("key"))
    named = (str(value).encode() for value in keys.values())
    if not names_any(ids, *named, source_uri.encode(), b"" if owned else content):
        return content
    return _rest_of_list(ids, content) if resource in LISTS else None


def _without_answer(ids: Set[str], failure: bytes) -> bytes:
    found = _ANSWER.search(failure)
    if found is None or not names_any(ids, base64.b64decode(found[1])):
        return failure
    return b"".join((failure[: found.start(1) - 1], b"null", failure[found.end(1) + 1 :]))


def _rest_of_list(ids: Set[str], content: bytes) -> bytes | None:
    """The list without the items that name an id, the others as they are written; None if that is not possible."""
    text = content.removeprefix(BYTE_ORDER_MARK).strip()
    rest = _others(ids, text) if text.startswith(b"[") else _others_in(ids, text)
    return None if rest is None or names_any(ids, rest) else rest


def _others_in(ids: Set[str], page: bytes) -> bytes | None:
    members, end = (members_of(page, 0) if page.startswith(b"{") else None) or ([], 0)
    for number, member in enumerate(members):
        named = NAMED.match(member)
        if named and named[1] in _LISTED and (others := _others(ids, member[named.end() :])) is not None:
            members[number] = named[0] + others
    return b"".join((b"{", b",".join(members), b"}")) if end == len(page) else None


def _others(ids: Set[str], items: bytes) -> bytes | None:
    members, end = (members_of(items, 0) if items.startswith(b"[") else None) or ([], 0)
    rest = b",".join(item for item in members if not names_any(ids, item))
    return b"".join((b"[", rest, b"]")) if end == len(items) else None


# --- landing files: a line keeps its number, and an erased document is an envelope with the state `erased` ------------


def erase_landing(ids: Set[str], resource: str, source: Path, target: Path, keys: NightKeys = NO_KEYS) -> int:
    """Write a landing file without the documents of erased conversations, encrypted if it was.

    Args:
        ids: of the conversations, in lower case.
        target: path of the new file, which is made only if something was erased.

    Returns:
        Number of documents that were erased, or cut to the rest of a list; 0 for a file whose key was forgotten.
    """
    try:
        lines = read_lines(source, keys)
        if resource == RECEIPTS or all(_line_without(ids, resource, line) is line for line in lines):
            return 0
    except NightForgottenError:
        return 0
    erased = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as raw:
        sealing = EncryptingFile(raw, keys.named(*_key_of(source))) if is_encrypted(source) else None
        with gzipped(sealing or raw) as written:
            for line in read_lines(source, keys):
                kept = _line_without(ids, resource, line)
                erased += kept is not line
                written.write(kept)
        if sealing is not None:
            sealing.close()
    return erased


def _key_of(source: Path) -> tuple[date, bytes]:
    with source.open("rb") as file:
        return key_named(file.read(HEADER_BYTES))


def _line_without(ids: Set[str], resource: str, line: bytes) -> bytes:
    """The line itself if it is of no erased conversation."""
    envelope = orjson.loads(split_line(line)[0] + b"}")
    if envelope["state"] == _ERASED_STATE:
        return line
    content = content_of(line)
    kept = without_erased(ids, resource, envelope["k"], envelope["source_uri"], content)
    if kept is content:
        return line
    if kept is not None:
        fetched_at = datetime.fromisoformat(envelope["fetched_at"])
        return line_of(envelope["row"], envelope["k"], envelope["source_uri"], fetched_at, document(kept))
    empty = {"k": {}, "row": envelope["row"], "source_uri": "custody:erased", "fetched_at": envelope["fetched_at"]}
    empty |= {"sha256": "", "bytes": 0, "state": _ERASED_STATE}
    return orjson.dumps(empty)[:-1] + b',"document":null}\n'


def erase_landed(landing: Landing, ids: Set[str]) -> None:
    """Rewrite the files of a load that landed and is in no table yet: an erasure began while it was collected."""
    landing.files = [_erased_file(landing, file, landing.resource, ids) for file in landing.files]
    landing.failure_files = [_erased_file(landing, file, "fetch_failures", ids) for file in landing.failure_files]


def _erased_file(landing: Landing, file: LandedFile, resource: str, ids: Set[str]) -> LandedFile:
    relative = f"{resource}/date={landing.night}/{file.uri.rsplit('/', 1)[1]}"
    draft = landing.place.spool(relative)
    if not erase_landing(ids, resource, file.local, draft, landing.place.keys):
        # The erasure may have rewritten the file in its place already: the receipt names what is there now.
        return replace(file, sha256=sha256_of(file.local), size=file.local.stat().st_size)
    sha256, size = sha256_of(draft), draft.stat().st_size
    uri, local = landing.place.put(relative, draft, sha256)
    return replace(file, uri=uri, local=local, sha256=sha256, size=size)
