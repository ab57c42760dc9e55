"""A mapping is accepted whole, or refused with file, line and the accepted form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.io.yaml_file import MAX_BYTES
from custody_pipeline.models.mapping_file import MappingError, load_mapping

GOOD = """\
version: 1
purposes: [agent, customer]
scripts:
  - id: s1
    accepted_versions: ["2", "3"]
columns:
  legal_hold:
    attribute: Legal-Hold
    aliases: [LegalHold, "legal hold"]
    required: true
    applies_when: {queues: [Claims]}
  case_id:
    attribute: Case_JSON
    path: $.case.id
    purposes: [agent]
    pii: yes
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "mapping.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_mapping_is_read(tmp_path: Path) -> None:
    mapping = load_mapping(write(tmp_path, GOOD))
    hold, case = mapping.columns
    assert mapping.output_columns == ("custom_data_legal_hold", "custom_data_case_id")
    assert (hold.names, hold.required, hold.queues) == (("Legal-Hold", "LegalHold", "legal hold"), True, ("Claims",))
    assert (hold.purposes, case.purposes, case.path, case.pii) == (("agent", "customer"), ("agent",), "$.case.id", True)
    assert [(script.script_id, script.versions) for script in mapping.scripts] == [("s1", ("2", "3"))]
    assert json.loads(mapping.structure) == dict.fromkeys(mapping.output_columns, "VARCHAR")


def test_a_prefix_stands_before_every_key(tmp_path: Path) -> None:
    hold, case = load_mapping(write(tmp_path, GOOD.replace("version: 1", 'version: 1\nprefixes: ["context."]'))).columns
    assert hold.names[3:] == ("context.Legal-Hold", "context.LegalHold", "context.legal hold")
    assert case.names == ("Case_JSON", "context.Case_JSON")


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    first = load_mapping(write(tmp_path, GOOD)).sha256
    assert load_mapping(write(tmp_path, GOOD + "# a comment\n")).sha256 != first


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert load_mapping(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())).columns


def test_the_shipped_mapping_is_accepted_and_requires_three_tags() -> None:
    mapping = load_mapping(PACKAGE_DIR / "genesyscloud_export.yaml")
    assert [tag.attribute for tag in mapping.columns if tag.required] == [
        "Legal-Hold",
        "Matter-Number",
        "Consent.Recorded",
    ]


@pytest.mark.parametrize(
    "name", ["Legal-Hold", "a.b", "Customer Language", '"quoted"', "'🎧'", "'1'", "custody_status"]
)
def test_any_attribute_name_is_accepted(tmp_path: Path, name: str) -> None:
    load_mapping(write(tmp_path, GOOD.replace("Legal-Hold", name)))


@pytest.mark.parametrize("path", ["$.a", "$.a.b-c[0]", '$."a b".c', "$[3]"])
def test_paths_into_json_are_accepted(tmp_path: Path, path: str) -> None:
    assert load_mapping(write(tmp_path, GOOD.replace("$.case.id", f"'{path}'"))).columns[1].path == path


REFUSALS = [
    ("syntax error", ("purposes: [agent", "purposes: [agent: ]"), 2, "not YAML"),
    ("tab", ("    attribute: Legal-Hold", "\tattribute: Legal-Hold"), 8, "not YAML"),
    ("control character", ("Legal-Hold", "Legal\x07Hold"), 8, "not YAML"),
    ("no version", ("version: 1\n", ""), 1, "expected 'version: 1'"),
    ("other version", ("version: 1", "version: 2"), 1, "expected 'version: 1'"),
    ("unknown field", ("version: 1", "version: 1\nextra: 1"), 2, "unknown field .extra.; accepted: columns, prefixes,"),
    ("unknown column field", ("    required: true", "    requires: true"), 10, "unknown field 'requires'"),
    ("duplicate field", ("    required: true", "    attribute: Other"), 10, "twice"),
    ("duplicate column", ("  case_id:", "  legal_hold:"), 12, "twice"),
    ("duplicate but for case", ("  case_id:", "  Legal_Hold:"), 12, "twice \\(case does not count\\)"),
    ("column name", ("  case_id:", "  case-id:"), 12, "expected a letter, then"),
    ("upper case", ("  case_id:", "  Case:"), 12, "lower case"),
    ("quoted column name", ("  case_id:", "  '\"; DROP':"), 12, "expected a letter, then"),
    ("column name that ends a line", ("  case_id:", '  "case_id\\n":'), 12, "expected a letter, then"),
    ("long column name", ("  case_id:", f"  {'c' * 49}:"), 12, "at most 48"),
    ("contract column", ("  case_id:", "  state:"), 12, "custom_data_state is a column of the contract"),
    ("no attribute", ("    attribute: Case_JSON\n", ""), 13, "expected 'attribute:"),
    ("empty attribute", ("attribute: Case_JSON", "attribute: ''"), 13, "expected text"),
    ("attribute is a list", ("attribute: Case_JSON", "attribute: [a]"), 13, "expected text"),
    ("attribute taken", ("attribute: Case_JSON\n    path: $.case.id", "attribute: LegalHold"), 12, "already column"),
    ("alias repeats", ('[LegalHold, "legal hold"]', "[LegalHold, LegalHold]"), 9, "twice"),
    ("alias is the attribute", ('[LegalHold, "legal hold"]', "[Legal-Hold]"), 9, "the attribute itself"),
    ("impossible path", ("$.case.id", "case.id"), 14, r"expected e\.g\. \$\.case\.id"),
    ("path with wildcard", ("$.case.id", "$.case[*]"), 14, "can match nothing"),
    ("path to everything", ("$.case.id", "$"), 14, "can match nothing"),
    ("unknown purpose", ("purposes: [agent]", "purposes: [agnet]"), 15, "accepted: acd, agent"),
    ("prefix is text", ("purposes: [agent, customer]", "prefixes: context."), 2, "prefixes: expected a list"),
    ("empty prefix", ("purposes: [agent, customer]", "prefixes: ['']"), 2, "prefixes: expected text"),
    ("no purpose", ("purposes: [agent]", "purposes: []"), 15, "at least one"),
    ("not a flag", ("required: true", "required: maybe"), 10, "expected true or false"),
    ("condition", ("{queues: [Claims]}", "{queue: [Claims]}"), 11, "accepted: flows, queues, scripts"),
    ("condition is text", ("{queues: [Claims]}", "{queues: Claims}"), 11, "expected a list"),
    ("script without versions", ('    accepted_versions: ["2", "3"]\n', ""), 4, "expected id and accepted_versions"),
    ("anchor", ("purposes: [agent, customer]", "purposes: &a [agent, customer]"), 2, "anchors and aliases"),
    ("tag", ("attribute: Case_JSON", "attribute: !!python/name:os.system x"), 13, "YAML tags"),
    ("two documents", ("columns:", "---\ncolumns:"), 6, "one YAML document"),
    ("too deep", ("[agent, customer]", "[" * 20 + "]" * 20), 2, "nested deeper"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line", "message"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_wrong_mapping_is_refused_with_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, message: str
) -> None:
    text = GOOD.replace(*change, 1)
    assert text != GOOD
    path = write(tmp_path, text)
    with pytest.raises(MappingError, match=message) as refused:
        load_mapping(path)
    assert str(refused.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"[]", "expected 'name: value' lines"),
        (b"version: 1\n", "expected 'columns:'"),
        (b"version: 1\ncolumns: {}\n", "at least one"),
        (b"version: 1\ncolumns: \xff\n", "not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "a mapping has at most"),
        (b"a: &a [x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n", "anchors and aliases"),
        (b"[" * 100_000, "nested deeper"),
    ],
)
def test_empty_files_bombs_and_foreign_bytes_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        load_mapping(write(tmp_path, content))


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="CUSTODY_MAPPING_PATH"):
        load_mapping(tmp_path / "nowhere.yaml")


def test_columns_of_one_attribute_must_agree_on_its_participants(tmp_path: Path) -> None:
    more = "  case_type:\n    attribute: Case_JSON\n    path: $.case.type\n    purposes: [customer]\n"
    with pytest.raises(MappingError, match="must list the same purposes"):
        load_mapping(write(tmp_path, GOOD + more))
