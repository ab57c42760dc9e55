"""Every query of docs/queries.md answers its question on a published night."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import duckdb
import nbformat
import pytest

from custody_pipeline_tests.matters.conftest import Published

pytestmark = pytest.mark.server

PAGE = Path(__file__).parents[2] / "docs/queries.md"
QUERIES = re.findall(r"^### (\d+)\. [^\n]*\n\n```sql\n(.*?)```", PAGE.read_text() if PAGE.exists() else "", re.M | re.S)


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
def test_there_are_twenty() -> None:
    assert [int(number) for number, _ in QUERIES] == list(range(1, 21))


@pytest.mark.parametrize(("number", "sql"), QUERIES)
def test_the_query_answers(night: Published, number: str, sql: str) -> None:
    with duckdb.connect(str(night.settings.analyst_path), read_only=True) as con:
        rows = con.execute(sql).fetchall()
    # Unmapped tags and gaps of one tag are not in this night.
    assert rows or "none is good" in sql or number == "15"


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
def test_the_answers_leave_out_what_was_not_asked_for_and_nothing_else() -> None:
    with duckdb.connect() as con:
        con.execute(
            """
            CREATE SCHEMA custody;
            CREATE TABLE custody.coverage AS
            FROM (VALUES
                ('a', 'whole', true), ('b', 'not_asked', true), ('c', 'partial', false), ('d', 'not_asked', false)
            ) AS t (source, state, is_needed), (SELECT DATE '2026-11-02' AS partition_date, '' AS detail);
            CREATE TABLE custody.tag_quality AS
            SELECT 'a' AS tag_key, 'a' AS column_name, true AS required, 2000 AS expected, 1999 AS present;
            CREATE TABLE custody.gaps AS
            FROM (VALUES (TIMESTAMP '2020-01-01'), (TIMESTAMP '9999-01-01'), (NULL)) AS t (recoverable_until),
                (SELECT 'a' AS reason, 'error' AS severity, '' AS sentence, 'until' AS recoverable);
            CREATE TABLE custody.chain_of_custody AS
            FROM (VALUES ('a', 'true'), ('b', 'false'), ('c', NULL)) AS t (recording_id, custom_data_legal_hold),
                (SELECT DATE '2026-11-02' AS partition_date, '' AS conversation_id, '' AS custom_data_matter_number)
            """
        )
        found = {number: con.execute(sql).fetchall() for number, sql in QUERIES if number in {"2", "5", "11", "17"}}
    assert [row[1:3] for row in found["2"]] == [("b", "not_asked"), ("c", "partial")]
    assert [row[3:] for row in found["5"]] == [(3, 2)]  # a deadline that has passed is none
    assert [row[-1] for row in found["11"]] == [99.9]  # 100 means all
    assert [row[2:4] for row in found["17"]] == [("a", "true")]


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
def test_the_notebook_has_the_same_questions_and_runs(night: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    made = runpy.run_path(str(PAGE.with_name("notebook.py")))["notebook"]
    text = PAGE.with_name("queries.ipynb").read_text(encoding="utf-8")
    assert text == made(PAGE.read_text(encoding="utf-8")), "make docs writes it"
    found = nbformat.reads(text, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]
    nbformat.validate(found)
    known: dict[str, object] = {}
    for cell in found.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), known)  # noqa: S102 - what is run lies in this repository
    assert len(known["gaps"]) > 0  # type: ignore[arg-type]
    assert sum(cell.source.startswith("analysis.query(") for cell in found.cells) == 20


def test_an_empty_cell_without_quotes_is_null_and_one_with_quotes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b,c\r\n"","x","[""p"",""q""]"\r\n,"y","[]"\r\n')
    found = duckdb.sql(
        f"""
        SELECT a, from_json(c, '["VARCHAR"]')
        FROM read_csv('{path}', allow_quoted_nulls = false, all_varchar = true)
        """
    ).fetchall()
    assert found == [("", ["p", "q"]), (None, [])]
