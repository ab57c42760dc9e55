"""Values of tags keep their characters. Python's JSON parser judges, which can give numbers as they are written."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custody_pipeline.extract import documents as json_documents
from custody_pipeline.extract import verbatim
from custody_pipeline.extract.verbatim import MARK, with_verbatim_tags

# By shared/genesys-cloud.md and the exports that were seen; `customAttributes` is the typed interface.
TAGS = {"attributes": "", "custom_data": "", "customData": "", "customAttributes": MARK}


class Number(str):
    """The characters of a number."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """An object's members in order, repeated names included."""


def read(text: bytes | str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=Members)


numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ['"attributes":{"n":1.10}', '\\"', "}", "{"]
)
names = st.sampled_from([*TAGS, *TAGS, "n", "attributesX", 'a"attributes', "é"]) | texts
space = st.sampled_from(["", " ", "\n"])


@st.composite
def written(draw: st.DrawFn, text: st.SearchStrategy[str]) -> str:
    """A JSON string; some of its characters as escapes that need none."""
    plain = json.dumps(draw(text), ensure_ascii=draw(st.booleans()))
    return plain.replace("t", "\\u0074") if draw(st.booleans()) else plain


def containers(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds("{0}{1}:{1}{2}".format, written(names), space, children)
    objects = st.lists(members, max_size=4).map(lambda found: "{" + ", ".join(found) + "}")
    return objects | st.lists(children, max_size=3).map(lambda found: "[" + ",".join(found) + "]")


scalars = numbers | written(texts) | st.sampled_from(["true", "false", "null"])
documents = st.recursive(scalars, containers, max_leaves=25)


def same(before: Any, after: Any) -> None:
    """Nothing is changed but the values of tags."""
    assert type(before) is type(after)
    if not isinstance(before, Members):
        if isinstance(before, list):
            assert len(before) == len(after)
            for one, other in zip(before, after, strict=True):
                same(one, other)
        else:
            assert before == after
        return
    assert [name for name, _ in before] == [name for name, _ in after]
    for (name, one), (_, other) in zip(before, after, strict=True):
        if name in TAGS and isinstance(one, Members):
            assert [key for key, _ in one] == [key for key, _ in other]
            for (_, value), (_, kept) in zip(one, other, strict=True):
                same_tag(value, kept, TAGS[name])
        else:
            same(one, other)


def same_tag(value: Any, kept: Any, mark: str) -> None:
    if isinstance(value, Number):
        # A parser gives this number back as it is written, or it is a text.
        given_back = orjson.loads(kept.encode()) if isinstance(kept, Number) else kept.removeprefix(mark)
        assert str(given_back) == value
    elif isinstance(value, list):
        assert read(kept.removeprefix(mark)) == value
    else:
        assert kept == value


@settings(max_examples=600)
@given(documents)
def test_whatever_the_document_tags_keep_their_characters_and_nothing_else_changes(document: str) -> None:
    same(read(document), read(with_verbatim_tags(document.encode())))


@pytest.mark.parametrize("name", [r"\u0061ttributes", r"attribut\u0065s", r"custom\u005fdata"])
def test_a_name_with_escapes_holds_tags_too(name: str) -> None:
    document = f'{{"said": "a \\"quote\\": {{", "{name}": {{"n": 1.10}}}}'.encode()
    assert b'{"n": "1.10"}' in with_verbatim_tags(document)


def test_a_body_whose_objects_have_no_end_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    members_of = json_documents.members_of

    def counted(content: bytes, start: int) -> tuple[list[bytes], int] | None:
        looked.append(start)
        return members_of(content, start)

    monkeypatch.setattr(verbatim, "members_of", counted)
    body = b'{"attributes":{"a":1.1,' * 2_000
    assert with_verbatim_tags(body) is body
    assert len(looked) == 1
