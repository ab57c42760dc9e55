"""The SQL files keep their convention: header and output agree, codes are known, the dictionary is fresh."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.models.dictionary import data_dictionary
from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.reasons import BY_CODE
from custody_pipeline.models.run import model_params
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.sql_files import SqlModel, create_macros, load_models

MODELS = load_models()
MODELLED = [model for model in MODELS.values() if model.schema != "raw"]


@pytest.fixture(scope="module")
def warehouse(empty_warehouse: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(str(empty_warehouse), read_only=True)
    create_macros(con)
    return con


@pytest.mark.parametrize("model", MODELLED, ids=lambda model: model.key)
def test_the_header_names_the_output_columns_in_order(
    warehouse: duckdb.DuckDBPyConnection, model: SqlModel, shipped_mapping: TagMapping
) -> None:
    params = model_params(model, shipped_mapping)
    output = [row[0] for row in warehouse.execute(f"DESCRIBE {model.sql}", params).fetchall()]
    if model.has_mapped_columns:
        start = output.index(shipped_mapping.output_columns[0])
        assert output[start - 1 : start + len(shipped_mapping.columns)] == [
            "custom_data_captured_at",
            *shipped_mapping.output_columns,
        ]
        output = [name for name in output if name not in shipped_mapping.output_columns]
    assert output == [column.name for column in model.columns]


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.key)
def test_a_header_survives_markdown(model: SqlModel) -> None:
    # Dagster's pages and the dictionary are Markdown: outside of backticks they drop <angle brackets> as HTML.
    texts = [model.description, *(column.description for column in model.columns)]
    assert not [text for text in texts if "<" in re.sub(r"`[^`]*`", "", text)]


def test_every_table_that_a_model_reads_comes_before_it() -> None:
    seen: set[str] = set()
    for key, model in MODELS.items():
        assert model.depends_on & MODELS.keys() <= seen
        seen.add(key)


def test_staging_never_reads_custody() -> None:
    staging = [model for model in MODELS.values() if model.schema == "staging"]
    assert not [name for model in staging for name in model.depends_on if name.startswith("custody.")]


def test_published_tables_have_a_grain() -> None:
    assert all(MODELS[f"custody.{table}"].grain for table in PUBLISHED_TABLES)


def test_the_codes_in_sql_are_those_of_the_catalogue() -> None:
    codes = set()
    for model in MODELS.values():
        if model.name.startswith("gap_"):
            text = re.sub(r"--.*", "", model.sql)
            codes |= set(re.findall(r"'([A-Z]{3,}(?:_[A-Z]+)+)'", text))
    # custody.gaps itself says ERASED of the rows in raw.erasures.
    assert "'ERASED' AS reason" in MODELS["custody.gaps"].sql
    assert codes == set(BY_CODE) - {"ERASED"}


def test_the_contract_codes_are_there() -> None:
    contract = (
        "SIDECAR_MISSING, SIDECAR_UNREADABLE, OBJECT_MISSING, OBJECT_EMPTY, OBJECT_CHANGED, EXPORT_FAILED, "
        "EXPORT_EXCLUDED_SENSITIVE, EXPORT_PENDING, RECORDING_ARCHIVED, RECORDING_DELETED, ORPHAN_OBJECT, "
        "ORPHAN_RECORDING, CONVERSATION_NOT_FOUND, CONVERSATION_FORBIDDEN, CONVERSATION_FETCH_FAILED, "
        "NOT_YET_AVAILABLE, EXPORT_DROPPED_TAGS, TAGS_SET_AFTER_END, TAG_TRUNCATED, TAGS_ON_OTHER_PARTICIPANT, "
        "TAG_KEY_VARIANT, TAG_CONFLICT, TAG_CHANGED_LATER, TAG_NEVER_SET, REQUIRED_TAG_MISSING, UNMAPPED_TAG, "
        "SCRIPT_VERSION_UNKNOWN, SCRIPT_VERSION_INCOMPATIBLE, REGION_MISMATCH, TIMESTAMP_SUSPECT, DUPLICATE_EXPORT, "
        "SOURCE_NOT_CONFIGURED, RECORDING_NOT_FOUND, DOCUMENTS_DISAGREE, TAG_EMPTY, UNRECOGNISED_OBJECT, "
        "TAG_KEY_PREFIXED"
    )
    assert set(contract.split(", ")) <= BY_CODE.keys()
    assert len(BY_CODE) == len({reason.sentence for reason in BY_CODE.values()})


def test_the_data_dictionary_is_fresh(shipped_mapping: TagMapping) -> None:
    written = (PACKAGE_DIR.parent / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert written == data_dictionary(MODELS, shipped_mapping), "run: custody dictionary > docs/data-dictionary.md"
    assert "| `ani` | **pii** |" in written
    assert "| `custom_data_callback_number` | **pii** |" in written


def test_a_description_of_several_lines_is_one_cell_of_the_dictionary(shipped_mapping: TagMapping) -> None:
    first, *others = shipped_mapping.columns
    columns = (replace(first, description="Held,\nor | released."), *others)
    assert "| Held, or \\| released. (tag " in data_dictionary(MODELS, replace(shipped_mapping, columns=columns))
