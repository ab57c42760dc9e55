"""Exports that are not what they should be are refused with file and line."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from custody_pipeline.flows.document import MAX_BYTES, FlowError, parse_flow, read_flow


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "flow.yaml:1: the file is empty"),
        (b"# nothing\n", "flow.yaml:1: the file is empty"),
        (b"just text", "flow.yaml:1: expected one flow"),
        (b"- a\n- b\n", "flow.yaml:1: expected one flow"),
        (b"inboundCall:\n  a: 1\nworkflow:\n  b: 2\n", "flow.yaml:1: expected one flow"),
        (b"inboundCall: text\n", "flow.yaml:1: expected the content of 'inboundCall'"),
        (b"inboundCall:\n  a: [1\n  b: 2\n", "flow.yaml:3: not YAML"),
        (b"inboundCall:\n\tname: x\n", "flow.yaml:2: not YAML"),
        (b"inboundCall:\n  name: x\n  name: y\n", "flow.yaml:3: 'name' is there twice"),
        (b"inboundCall:\n  {a: 1}: x\n", "flow.yaml:2: a name is expected here"),
        (
            base64.b64encode(quote('{"name":"Main","type":"bot"}').encode()),
            "own format (.i3…), bot 'Main'; export it as",
        ),
        (b"inboundCall:\n  a: &x [1]\n  b: *x\n", "flow.yaml:2: anchors and aliases"),
        (b"inboundCall:\n  a: !!python/object:os.system x\n", "flow.yaml:2: YAML tags"),
        (b"a:\n  b: 1\n---\nc:\n  d: 1\n", "flow.yaml:3: expected one flow in the file"),
        (b"inboundCall:\n  name: caf\xe9\n", "flow.yaml:2: not UTF-8"),
        (b"inboundCall:\n  name: \x07\n", "not YAML"),
        (b"a: " + b"[" * 3000, "flow.yaml:1: "),
    ],
)
def test_what_is_no_export_is_refused_with_its_line(raw: bytes, message: str) -> None:
    with pytest.raises(FlowError) as refused:
        parse_flow(raw, "flow.yaml")
    assert message in str(refused.value)


def test_the_billion_laughs_are_refused_before_they_multiply() -> None:
    lines = ['a: &a ["lol","lol"]'] + [
        f"{name}: &{name} [*{last},*{last}]" for last, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(FlowError, match="anchors and aliases"):
        parse_flow("\n".join(lines).encode(), "flow.yaml")


def test_a_file_beyond_the_limit_is_refused_unparsed() -> None:
    with pytest.raises(FlowError, match=f"more than {MAX_BYTES:,} bytes"):
        parse_flow(b" " * (MAX_BYTES + 1), "flow.yaml")


def test_a_missing_file_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="expected a flow exported as YAML"):
        read_flow(tmp_path / "flow.yaml")


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_bytes(b"\xef\xbb\xbfinboundCall:\n  name: Main\n")
    assert read_flow(path).name == "Main"


def test_words_that_yaml_takes_for_truth_stay_words() -> None:
    body = parse_flow(b"inboundCall:\n  yes: no\n  number: 007\n", "flow.yaml").body
    assert (body.text("yes"), body.text("number")) == ("no", "007")


def test_placeholders_without_quotes_are_texts_and_are_named() -> None:
    text = b"inboundCall:\n  name: {{flow_name}}\n  queue: {name: {{ queue }}}\n  {{key}}: '{{quoted}}'\n"
    document = parse_flow(text, "flow.yaml")
    assert document.name == "{{flow_name}}"
    assert document.body.text("{{key}}") == "{{quoted}}"
    assert [(found.text, found.line) for found in document.placeholders] == [
        ("{{flow_name}}", 2), ("{{ queue }}", 3), ("{{key}}", 4), ("{{quoted}}", 4)
    ]  # fmt: skip


def test_an_export_that_is_yaml_as_it_stands_has_no_placeholders() -> None:
    assert parse_flow(b"inboundCall:\n  name: '{{flow_name}}'\n", "flow.yaml").placeholders == ()
