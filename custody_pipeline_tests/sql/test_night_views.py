"""What a model sees: the rows of its night, by comparisons that happen in the scan."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import duckdb
import pytest

from custody_pipeline.models.night_views import IdRange, reading, restricted, show
from custody_pipeline.warehouse.sql_files import load_models

DAYS = [date(2026, 11, day) for day in (1, 2, 3)]
THINGS = "SELECT id FROM raw.things ORDER BY id"


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """Three nights with three things each, of conversations '1…', 'a…' and none."""
    connection = duckdb.connect()
    connection.execute(
        """
        CREATE SCHEMA raw;
        CREATE TABLE raw.things AS
        SELECT DATE '2026-11-01' + (i // 3)::INTEGER AS partition_date, i AS id,
            CASE i % 3 WHEN 0 THEN '1' || i WHEN 1 THEN 'a' || i END AS conversation_id
        FROM range(9) AS t(i);
        CREATE TABLE raw.names AS SELECT 'x' AS name;
        CREATE TABLE raw.published_columns AS FROM raw.things;
        """
    )
    return connection


def ids(con: duckdb.DuckDBPyConnection, sql: str = THINGS) -> list[int]:
    return [row[0] for row in con.execute(sql).fetchall()]


def test_a_table_shows_the_rows_of_the_night_and_then_all_again(con: duckdb.DuckDBPyConnection) -> None:
    show(con, ["raw.things"])
    with reading(con, DAYS[1], DAYS[2]) as warehouse:
        assert ids(con) == [3, 4, 5]
        assert len(ids(con, f"SELECT id FROM {warehouse}.raw.things")) == 9
    with reading(con, DAYS[0], DAYS[2]):
        assert ids(con) == [0, 1, 2, 3, 4, 5]
    assert len(ids(con)) == 9


def test_names_mean_the_warehouse_again_after_an_error(con: duckdb.DuckDBPyConnection) -> None:
    show(con, ["raw.things"])
    with pytest.raises(ZeroDivisionError), reading(con, DAYS[1], DAYS[2]):
        raise ZeroDivisionError
    assert len(ids(con)) == 9


def test_a_table_without_nights_is_whole_and_so_is_the_history_of_columns(con: duckdb.DuckDBPyConnection) -> None:
    show(con, ["raw.names", "raw.published_columns"])
    with reading(con, DAYS[1], DAYS[2]):
        assert con.execute("SELECT count(*) FROM raw.names").fetchone() == (1,)
        assert con.execute("SELECT count(*) FROM raw.published_columns").fetchone() == (9,)


def test_a_range_of_ids_shows_its_conversations_and_rows_without_one(con: duckdb.DuckDBPyConnection) -> None:
    show(con, ["raw.things"])
    with reading(con, DAYS[1], DAYS[2]):
        with restricted(con, IdRange(None, "8")):
            assert ids(con) == [3, 5]
        with restricted(con, IdRange("8", None)):
            assert ids(con) == [4, 5]
        assert ids(con) == [3, 4, 5]


def test_a_column_that_is_new_is_shown_once_the_view_is_made_again(con: duckdb.DuckDBPyConnection) -> None:
    show(con, ["raw.things"])
    con.execute("ALTER TABLE raw.things ADD COLUMN colour VARCHAR")
    show(con, ["raw.things"])
    with reading(con, DAYS[1], DAYS[2]):
        assert con.execute("SELECT DISTINCT colour FROM raw.things").fetchall() == [(None,)]


def test_the_night_is_compared_in_the_scan(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("INSERT INTO raw.things SELECT DATE '2026-11-02', 10 + i, 'b' FROM range(5000) AS t(i)")
    show(con, ["raw.things"])
    with reading(con, DAYS[1], DAYS[2]):
        ((_, plan),) = con.execute("EXPLAIN SELECT count(*) FROM raw.things").fetchall()
    text = re.sub(r"[│\s]", "", plan)
    assert "partition_date>='2026-11-02'::DATE" in text
    assert text.count("SEQ_SCAN") == 1
    assert "┤FILTER" not in re.sub(r"[─┐┌└┘┬┴]+", "┤", text)


def test_a_warehouse_that_is_open_for_reading_can_be_asked_for_a_night(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE SCHEMA raw; CREATE TABLE raw.things AS SELECT DATE '2026-11-02' AS partition_date, 7 AS id")
    with duckdb.connect(str(path), read_only=True) as con:
        show(con, ["raw.things"])
        for day, found in ((DAYS[0], []), (DAYS[1], [7])):
            with reading(con, day, date(2026, 11, day.day + 1)):
                assert ids(con) == found


def test_no_model_names_a_window_unless_it_makes_or_compares_nights() -> None:
    naming = {key for key, model in load_models().items() if "window_" in model.sql}
    assert naming == {
        "staging.carried_over",
        "custody.coverage",
        "custody.nights",
        "custody.reconciliation",
        "checks.one_night_each",
        "checks.same_organization",
        "checks.schema_unchanged",
    }
