"""One writer, closed whatever happens, a night replaced whole, columns that come and go, a snapshot for analysts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock

from custody_pipeline import analysis
from custody_pipeline.fleet.overview import analyst_database
from custody_pipeline.forgetting.warehouse_rows import compact
from custody_pipeline.models.run import SchemaChangedError, model_params, prepare, replace_window
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse import connection
from custody_pipeline.warehouse.connection import Warehouse, WarehouseBusyError, WarehouseError
from custody_pipeline.warehouse.kept_open import kept_open
from custody_pipeline.warehouse.snapshot import SnapshotError, snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import SqlModel, read_model
from custody_pipeline.warehouse.sql_text import create_table, table_columns
from custody_pipeline_tests import ready_warehouse

DAYS = [date(2026, 11, day) for day in (1, 2, 3)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", duckdb_memory_limit="500MB")


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA custody; CREATE SCHEMA raw")
    connection.execute(
        "CREATE TABLE raw.things AS SELECT DATE '2026-11-01' + i::INTEGER AS partition_date, i AS a FROM range(3) t(i)"
    )
    return connection


def model(folder: Path, columns: str = "partition_date, a", comment: str = "what a is") -> SqlModel:
    names = [part.split()[-1] for part in columns.split(",")]
    header = "".join(f"-- column {name}: {comment if name == 'a' else name}\n" for name in names)
    path = folder / "custody" / "things.sql"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"-- It's a thing.\n--\n-- grain: partition_date\n{header}SELECT {columns} FROM raw.things\n")
    return read_model(path)


def replace(con: duckdb.DuckDBPyConnection, thing: SqlModel, night: date) -> int:
    return replace_window(con, thing, night, date(2026, 11, night.day + 1), model_params(thing))


def test_the_warehouse_has_its_schemas_and_raw_tables(settings: Settings) -> None:
    with Warehouse(settings).open() as con:
        assert con.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)
        assert con.cursor().execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)
        assert con.cursor().execute("SELECT current_setting('enable_progress_bar')").fetchone() == (False,)
        prepare(con)
        assert table_columns(con, "raw.conversation_details")["participants"].startswith("STRUCT(")
        assert "row_sha256" in table_columns(con, "raw.row_versions")
    with Warehouse(settings).open(read_only=True) as con:
        assert con.execute("SELECT count(*) FROM raw.publications").fetchone() == (0,)


def test_columns_of_tables_and_views_are_those_that_duckdb_lists(settings: Settings) -> None:
    ready_warehouse.lay(settings.home)
    listed: dict[str, dict[str, str]] = {}
    with Warehouse(settings).open() as con:
        columns = con.execute(
            "SELECT schema_name || '.' || table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = current_database() AND NOT internal ORDER BY column_index"
        )
        for table, name, kind in columns.fetchall():
            listed.setdefault(table, {})[name] = kind
        assert {"raw.conversation_details", "custody.gaps", "staging.receipts"} <= listed.keys()
        for table, expected in listed.items():
            assert list(table_columns(con, table).items()) == list(expected.items())


def test_a_small_warehouse_is_opened_with_one_thread_and_a_larger_one_with_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = "SELECT current_setting('threads')"
    with Warehouse(settings).open() as con:
        assert con.execute(threads).fetchone() == (1,)
    monkeypatch.setattr(connection, "SMALL_BYTES", 0)
    with Warehouse(settings).open() as con:
        assert con.execute(threads).fetchone() == duckdb.connect().execute(threads).fetchone()


def test_the_warehouse_is_closed_and_free_after_an_error(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), Warehouse(settings).open() as con:
        raise ZeroDivisionError
    with pytest.raises(duckdb.ConnectionException):
        con.execute("SELECT 1")
    with Warehouse(settings, lock_timeout=0).open():
        pass


def test_within_a_night_the_warehouse_stays_open_for_the_next_step_and_then_lets_others_in(settings: Settings) -> None:
    warehouse = Warehouse(settings)
    with kept_open():
        with warehouse.open() as first:
            pass
        with warehouse.open() as second:
            assert second is first
        with warehouse.open(read_only=True) as third:
            assert third is first
        # Free after a moment without a step.
        with FileLock(settings.home / "warehouse.lock", timeout=60), pytest.raises(duckdb.ConnectionException):
            first.execute("SELECT 1")
        with warehouse.open() as fourth:
            fourth.execute("SELECT 1")
    assert_free(settings, fourth)


def test_after_a_long_step_the_warehouse_is_closed_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.warehouse.kept_open.LONG_SECONDS", -1)
    with kept_open():
        with Warehouse(settings).open() as con:
            pass
        assert_free(settings, con)


def test_a_step_that_fails_leaves_no_connection_to_the_next(settings: Settings) -> None:
    with kept_open():
        with pytest.raises(duckdb.ParserException), Warehouse(settings).open() as con:
            con.execute("BEGIN; CREATE TABLE raw.half (a INTEGER)").execute("no SQL")
        assert_free(settings, con)
        with Warehouse(settings).open() as con:
            assert table_columns(con, "raw.half") == {}


def test_columns_that_an_earlier_version_lacks_come_in_their_order(settings: Settings) -> None:
    columns = dict.fromkeys(("first", "sequence", "third", "fourth", "fifth", "sixth"), "VARCHAR")
    with Warehouse(settings).open() as con:
        for known in ({"first": "VARCHAR"}, columns, columns):
            create_table(con, "raw.grown", known)
        assert list(table_columns(con, "raw.grown")) == list(columns)


def test_two_threads_take_turns_at_a_warehouse_that_is_kept_open(settings: Settings) -> None:
    with kept_open(), ThreadPoolExecutor(1) as other, Warehouse(settings).open() as con:
        with pytest.raises(WarehouseBusyError, match="wait for that run"):
            other.submit(Warehouse(settings, lock_timeout=0.05).open().__enter__).result()
        con.execute("SELECT 1")


def assert_free(settings: Settings, con: duckdb.DuckDBPyConnection) -> None:
    """The connection is closed, and another process could open the file at once."""
    with pytest.raises(duckdb.ConnectionException):
        con.execute("SELECT 1")
    FileLock(settings.home / "warehouse.lock", timeout=0).acquire().lock.release()


def test_a_second_writer_waits_and_is_told_what_for_and_what_to_do(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.home.mkdir()
    with FileLock(settings.home / "warehouse.lock"), pytest.raises(WarehouseBusyError, match="wait for that run"):
        Warehouse(settings, lock_timeout=0.05).open().__enter__()
    assert caplog.messages == [f"waiting for another run, which holds {settings.warehouse_path}"]


def test_who_cannot_lock_the_warehouse_may_read_it_and_not_write_it(settings: Settings) -> None:
    with Warehouse(settings).open():
        pass
    (settings.home / "warehouse.lock").unlink()
    (settings.home / "warehouse.lock").mkdir()  # fails for every user, as a file does for one without rights
    with Warehouse(settings).open(read_only=True) as con:
        assert con.execute("SELECT count(*) FROM raw.publications").fetchone() == (0,)
    with pytest.raises(OSError, match=r"warehouse\.lock"):
        Warehouse(settings).open().__enter__()


def test_reading_before_the_first_night_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(WarehouseError, match="custody run --date"), Warehouse(settings).open(read_only=True):
        pass


def test_replacing_a_night_leaves_the_others(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    thing = model(tmp_path)
    assert [replace(con, thing, day) for day in (*DAYS, DAYS[1])] == [1, 1, 1, 1]
    assert con.execute("SELECT a FROM custody.things ORDER BY partition_date").fetchall() == [(0,), (1,), (2,)]


def test_a_night_that_fails_stays_as_it_was(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    replace(con, model(tmp_path), DAYS[0])
    broken = model(tmp_path, "partition_date, CASE WHEN a = 0 THEN error('broken') ELSE a END AS a")
    with pytest.raises(duckdb.Error, match="broken"):
        replace(con, broken, DAYS[0])
    assert con.execute("SELECT a FROM custody.things").fetchall() == [(0,)]


def test_a_new_column_is_added_and_a_removed_one_stays_null(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    replace(con, model(tmp_path), DAYS[0])
    replace(con, model(tmp_path, "partition_date, 'x' AS b"), DAYS[1])
    rows = con.execute("SELECT a, b FROM custody.things ORDER BY partition_date").fetchall()
    assert rows == [(0, None), (None, "x")]


def test_a_column_of_another_type_is_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    replace(con, model(tmp_path), DAYS[0])
    with pytest.raises(SchemaChangedError, match=r"custody\.things\.a is BIGINT in the warehouse, and VARCHAR"):
        replace(con, model(tmp_path, "partition_date, a::VARCHAR AS a"), DAYS[0])


def test_descriptions_become_comments(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    replace(con, model(tmp_path, comment="it's 'quoted'"), DAYS[0])
    assert con.execute(
        "SELECT comment FROM duckdb_tables() WHERE table_name = 'things' AND schema_name = 'custody'"
    ).fetchone() == ("It's a thing.",)
    comments = con.execute("SELECT comment FROM duckdb_columns() WHERE schema_name = 'custody' AND column_name = 'a'")
    assert comments.fetchone() == ("it's 'quoted'",)


def test_the_snapshot_is_replaced_while_a_reader_has_the_old_one_open(
    con: duckdb.DuckDBPyConnection, settings: Settings, tmp_path: Path
) -> None:
    settings.home.mkdir()
    thing = model(tmp_path)
    replace(con, thing, DAYS[0])
    path = snapshot_for_analysts(con, settings)
    with duckdb.connect(str(path), read_only=True) as reader:
        replace(con, thing, DAYS[1])
        snapshot_for_analysts(con, settings)
        assert reader.execute("SELECT count(*) FROM custody.things").fetchone() == (1,)
    with duckdb.connect(str(path), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM custody.things").fetchone() == (2,)
        comments = reader.execute("SELECT comment FROM duckdb_columns() WHERE column_name = 'a'").fetchone()
        assert comments == ("what a is",)
    assert [item.name for item in settings.home.iterdir()] == ["analyst.duckdb"]


def test_the_warehouse_is_stored_as_our_duckdb_can_and_the_snapshot_as_any_can(settings: Settings) -> None:
    with Warehouse(settings).open() as con:
        path = snapshot_for_analysts(con, settings)
    for file, version in ((settings.warehouse_path, "v1.5.0+"), (path, "v1.0.0+")):
        with duckdb.connect(str(file), read_only=True) as reader:
            tags = reader.execute("SELECT tags FROM duckdb_databases() WHERE path = ?", [str(file)]).fetchone()
            assert tags == ({"storage_version": version},)


def shown(settings: Settings) -> list[tuple[date, int, str | None]]:
    with duckdb.connect(str(settings.analyst_path), read_only=True) as reader:
        return reader.execute(
            "SELECT partition_date, a, (SELECT comment FROM duckdb_columns() WHERE column_name = 'a') "
            "FROM custody.things ORDER BY ALL"
        ).fetchall()


def test_a_snapshot_of_a_night_takes_over_the_others_and_what_changed_in_them(
    con: duckdb.DuckDBPyConnection, settings: Settings, tmp_path: Path
) -> None:
    settings.home.mkdir()
    thing = model(tmp_path)
    for day in DAYS[:2]:
        replace(con, thing, day)
    snapshot_for_analysts(con, settings, DAYS[1])
    con.execute("UPDATE raw.things SET a = 10 * a + 7")
    con.execute("INSERT INTO raw.things SELECT partition_date, 99 FROM raw.things WHERE partition_date = '2026-11-01'")
    for day in DAYS:
        replace(con, thing, day)
    snapshot_for_analysts(con, settings, DAYS[2])
    # The second night has as many rows as before and was not named: its own publication will show it.
    text = "what a is"
    assert shown(settings) == [(DAYS[0], 7, text), (DAYS[0], 99, text), (DAYS[1], 1, text), (DAYS[2], 27, text)]
    snapshot_for_analysts(con, settings, DAYS[1])
    assert shown(settings)[2] == (DAYS[1], 17, text)
    con.execute("DELETE FROM custody.things WHERE partition_date = '2026-11-01'")
    snapshot_for_analysts(con, settings, DAYS[2])
    assert [row[0] for row in shown(settings)] == DAYS[1:]


def test_a_snapshot_that_somebody_changed_is_written_anew(
    con: duckdb.DuckDBPyConnection, settings: Settings, tmp_path: Path
) -> None:
    settings.home.mkdir()
    thing = model(tmp_path)
    for day in DAYS:
        replace(con, thing, day)
    path = snapshot_for_analysts(con, settings, DAYS[2])
    path.chmod(0o644)
    with duckdb.connect(str(path)) as writer:
        writer.execute("UPDATE custody.things SET a = -1")
    snapshot_for_analysts(con, settings, DAYS[2])
    assert [row[1] for row in shown(settings)] == [0, 1, 2]


def test_what_a_killed_session_wrote_is_not_replayed_onto_the_next_snapshot(
    con: duckdb.DuckDBPyConnection, settings: Settings, tmp_path: Path
) -> None:
    settings.home.mkdir()
    thing = model(tmp_path)
    replace(con, thing, DAYS[0])
    path = snapshot_for_analysts(con, settings)
    assert path.stat().st_mode & 0o777 == 0o400
    log, before = path.with_name("analyst.duckdb.wal"), path.read_bytes()
    path.chmod(0o644)
    with duckdb.connect(str(path)) as writer:
        writer.execute("UPDATE custody.things SET a = -1")
        left = log.read_bytes()
    path.write_bytes(before)
    log.write_bytes(left)
    with pytest.raises(SnapshotError, match=r"remove analyst\.duckdb\.wal"), analyst_database(settings):
        pass
    with pytest.raises(SnapshotError, match="left analyst"):
        analysis.query("FROM custody.things", path)
    replace(con, thing, DAYS[1])
    snapshot_for_analysts(con, settings, DAYS[1])
    assert [row[1] for row in shown(settings)] == [0, 1]
    assert not log.exists()


def test_a_snapshot_has_the_comments_and_columns_of_now(
    con: duckdb.DuckDBPyConnection, settings: Settings, tmp_path: Path
) -> None:
    settings.home.mkdir()
    for day in DAYS[:2]:
        replace(con, model(tmp_path), day)
    snapshot_for_analysts(con, settings, DAYS[1])
    replace(con, model(tmp_path, columns="partition_date, a, a + 1 AS b", comment="said better"), DAYS[2])
    snapshot_for_analysts(con, settings, DAYS[2])
    assert shown(settings) == [(day, number, "said better") for number, day in enumerate(DAYS)]


def test_a_snapshot_that_fails_leaves_the_old_one(
    con: duckdb.DuckDBPyConnection, settings: Settings, tmp_path: Path
) -> None:
    settings.home.mkdir()
    replace(con, model(tmp_path), DAYS[0])
    before = snapshot_for_analysts(con, settings).read_bytes()
    con.close()
    with pytest.raises(duckdb.Error):
        snapshot_for_analysts(con, settings)
    assert settings.analyst_path.read_bytes() == before
    assert [item.name for item in settings.home.iterdir()] == ["analyst.duckdb"]


def first_documents(folder: Path, grain: str) -> SqlModel:
    path = folder / "custody" / "things.sql"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"-- The first document of each conversation.\n--\n-- grain: {grain}\n"
        "-- column partition_date: day\n-- column conversation_id: conversation\n-- column document: its first\n"
        "SELECT partition_date, conversation_id, arg_min(document, (seen, document)) AS document FROM raw.documents "
        "GROUP BY ALL\n"
    )
    return read_model(path)


@pytest.fixture
def large(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Sixty thousand conversations, and one without an id, whose documents together do not fit into memory."""
    con.execute(
        "SET memory_limit = '120MB'; SET threads = 1;"
        "CREATE VIEW raw.documents AS SELECT DATE '2026-11-01' AS partition_date, i AS seen, "
        "CASE WHEN i > 0 THEN md5(i::VARCHAR) END AS conversation_id, repeat(md5(i::VARCHAR), 60) AS document "
        "FROM range(60_001) t(i)"
    )
    return con


def test_a_night_that_does_not_fit_into_memory_is_made_in_parts(
    large: duckdb.DuckDBPyConnection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "custody_pipeline.models.run")
    assert replace(large, first_documents(tmp_path, "partition_date, conversation_id"), DAYS[0]) == 60_001
    assert "does not fit into memory in 1 part(s)" in caplog.text
    wrong = large.execute(
        "SELECT count(*), count(DISTINCT conversation_id), count(*) FILTER (conversation_id IS NULL), "
        "count(*) FILTER (document <> repeat(conversation_id, 60)) FROM custody.things"
    ).fetchone()
    assert wrong == (60_001, 60_000, 1, 0)


def test_what_has_no_conversations_to_be_parted_by_does_not_become_half_a_night(
    large: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    with pytest.raises(duckdb.OutOfMemoryException):
        replace(large, first_documents(tmp_path, "partition_date"), DAYS[0])
    assert large.execute("SELECT count(*) FROM custody.things").fetchone() == (0,)


def test_what_a_killed_process_left_beside_the_warehouse_goes_with_an_erasure(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with Warehouse(settings).open():
        pass
    left = [tmp_path / "spill/duckdb_temp_storage-0.tmp", tmp_path / "analyst-ab12cd34/analyst.duckdb"]
    mine = tmp_path / "analyst-notes/notes.txt"
    for path in (*left, mine):
        path.parent.mkdir()
        path.write_text("+15550100123")
    compact(settings)
    assert [path.exists() for path in (*left, mine)] == [False, False, True]
