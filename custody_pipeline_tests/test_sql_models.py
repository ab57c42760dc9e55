"""A SQL file that breaks the convention is refused with file and line."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.warehouse.sql_files import SQL_DIR, SqlModelError, load_models, query, read_model

GOOD = """\
-- What a row is,
-- on two lines.
--
-- Further text that is for readers of the file.
--
-- grain: a
-- column a: the key
-- column b [pii]: a number
SELECT x.a, x.b
FROM raw.things AS x
WHERE x.day = $window_start
"""


def write(folder: Path, text: str, name: str = "staging/model.sql") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_becomes_a_model(tmp_path: Path) -> None:
    model = read_model(write(tmp_path, GOOD))
    assert (model.key, model.description, model.grain) == ("staging.model", "What a row is, on two lines.", ("a",))
    assert [(column.name, column.description, column.pii) for column in model.columns] == [
        ("a", "the key", False),
        ("b", "a number", True),
    ]
    assert (set(model.depends_on), set(model.parameters)) == ({"raw.things"}, {"window_start"})
    assert (model.materialized, model.blocking, set(model.pii_columns)) == ("view", False, {"b"})
    assert model.sql.startswith("SELECT")


def test_dependencies_are_read_from_the_sql_and_not_from_its_words(tmp_path: Path) -> None:
    sql = GOOD.replace(
        "WHERE",
        "-- FROM raw.comment\nINNER JOIN (WITH c AS (SELECT 1) SELECT 'raw.text' FROM c, raw.more) AS y ON true\nWHERE",
    )
    assert read_model(write(tmp_path, sql)).depends_on == {"raw.things", "raw.more"}


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("-- column a: the key", "-- column a the key"), 7, "expected '-- column <name>: <text>'"),
        (("-- column b [pii]: a number", "-- column a: again"), 8, "declared twice"),
        (("-- grain: a", "-- grain: nowhere"), 1, "no declared column"),
        (("-- grain: a", "-- grain: a\n-- grain: b"), 7, "given twice"),
        (("-- grain: a", "-- materialized: cube"), 1, "expected 'window'"),
        (("SELECT x.a, x.b", "SELEC x.a, x.b"), 9, "not SQL"),
        (("FROM raw.things AS x", "FROM raw.things AS x WHERE ("), 11, "not SQL"),
        (("SELECT x.a, x.b", "CREATE TABLE t AS SELECT x.a, x.b"), 9, "bare SELECT, found CREATE"),
        (("SELECT x.a, x.b\nFROM", "DESCRIBE SELECT x.a, x.b\nFROM"), 9, "bare SELECT, found DESCRIBE"),
        (("$window_start\n", "$window_start;\nSELECT 1"), 9, "found 2 statements"),
        (("$window_start\n", "$window_start;"), 9, "without a closing semicolon"),
        (("raw.things", "things"), 9, "expected schema.table"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, message: str
) -> None:
    text = GOOD.replace(*change)
    assert text != GOOD
    path = write(tmp_path, text)
    with pytest.raises(SqlModelError, match=message) as refused:
        read_model(path)
    assert str(refused.value).startswith(f"{path}:{line}: ")


def test_a_file_without_header_or_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SqlModelError, match="header"):
        read_model(write(tmp_path, "SELECT 1 AS a\n"))
    with pytest.raises(SqlModelError, match="description"):
        read_model(write(tmp_path, "-- column a: the key\nSELECT 1 AS a\n"))
    with pytest.raises(SqlModelError, match="output column"):
        read_model(write(tmp_path, "-- A row.\nSELECT 1 AS a\n"))


def test_an_odd_file_or_folder_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SqlModelError, match="file name"):
        read_model(write(tmp_path, GOOD, "staging/My-Model.sql"))
    with pytest.raises(SqlModelError, match="folder"):
        read_model(write(tmp_path, GOOD, "elsewhere/model.sql"))


def test_models_are_ordered_by_what_they_read(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("raw.things", "staging.b"), "staging/a.sql")
    write(tmp_path, GOOD.replace("raw.things", "raw.row_versions"), "staging/b.sql")
    judging = GOOD.replace("-- grain:", "-- asset: custody.c\n-- grain:").replace("raw.things", "custody.c")
    write(tmp_path, judging, "checks/z.sql")
    write(tmp_path, GOOD.replace("raw.things", "staging.a"), "custody/c.sql")
    assert list(load_models(tmp_path)) == ["staging.b", "staging.a", "custody.c", "checks.z"]


def test_models_that_read_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("raw.things", "staging.b"), "staging/a.sql")
    write(tmp_path, GOOD.replace("raw.things", "staging.a"), "staging/b.sql")
    with pytest.raises(SqlModelError, match="read each other"):
        load_models(tmp_path)


def test_a_table_that_nobody_makes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("raw.things", "staging.nowhere"), "staging/a.sql")
    with pytest.raises(SqlModelError, match=r"names staging\.nowhere"):
        load_models(tmp_path)


@pytest.mark.parametrize(
    ("file", "asset", "refusal"),
    [
        ("checks/z.sql", "", "expected '-- asset:"),
        ("staging/a.sql", "-- asset: raw.things\n", "expected '-- asset:"),
        ("checks/z.sql", "-- asset: custody.b\n", "names custody.b"),
    ],
)
def test_a_check_and_nothing_else_names_the_table_that_it_judges(
    tmp_path: Path, file: str, asset: str, refusal: str
) -> None:
    write(tmp_path, GOOD.replace("-- grain:", f"{asset}-- grain:"), file)
    with pytest.raises(SqlModelError, match=refusal):
        load_models(tmp_path)


def test_each_query_is_one_select_that_python_sends() -> None:
    code = "".join(path.read_text() for path in PACKAGE_DIR.rglob("*.py"))
    sent = set(re.findall(r"\bquery\([\"']([a-z_/]+)[\"']\)", code))
    folder = SQL_DIR / "queries"
    assert sent == {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.sql")}
    for name in sorted(sent):
        statements = duckdb.extract_statements(query(name))
        assert [one.type for one in statements] == [duckdb.StatementType.SELECT], name
