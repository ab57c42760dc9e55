"""The report for a compliance officer about nights or a matter: one page, and the rows behind its numbers.

Belongs here: counting and wording for the page. Does not: the look of pages (pages), a matter's own report (matters),
the summary of a night for its operator (summary.py).

Everything is read from schema `custody`, so the analysts' snapshot and the warehouse give the same page. No row has
personal data: ids, states and reasons only.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from custody_pipeline.distribution import PACKAGE_DIR, version
from custody_pipeline.extract.documents import BYTE_ORDER_MARK
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.models.reasons import BY_CODE, OF_AUDIO, REASONS
from custody_pipeline.models.verdict import verdict
from custody_pipeline.pages import render
from custody_pipeline.publish.harmless_csv import harmless_csv
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import quoted, rows_of

REPORT = "report.html"
ROWS = "rows"
_TAGS_SHOWN = 6
_WORDS = {"established": "established", "incomplete": "no", "not_established": "not established"}

_RECORDINGS = """
    SELECT partition_date, conversation_id, recording_id, media_type, conversation_start, file_state, object_uri,
        media_sha256, account, custom_data_state, custody_status, array_to_string(gap_reasons, ' ') AS gap_reasons
    FROM report_recordings
"""
_GAPS = """
    SELECT partition_date, conversation_id, recording_id, reason, severity, sentence,
        array_to_string(tag_keys, ', ') AS tag_keys, detail, recoverable, recoverable_until, next_action,
        array_to_string(queue_names, ', ') AS queue_names, script_id, script_version
    FROM report_gaps
"""
_ACCOUNTS = {
    "recordings": "true",
    "present": "account = 'present'",
    "explained": "account = 'explained'",
    "unexplained": "account = 'unexplained'",
    "gaps": "custody_status = 'gap'",
}
_KEY = "partition_date, conversation_id, recording_id"


@dataclass(frozen=True)
class Scope:
    """The scope of a report: nights from `first` to `last`; of a matter, only its recordings and nights.

    Attributes:
        command: what tells the same in a terminal.
        keys: the matter's recordings; None for whole nights.
        nights: the matter's nights, also those in which it finds nothing; without them, every night from `first` on.
        doubts: sentences on what may belong to the matter and is in no row of the page.
        failed: nights whose last run failed, of which the snapshot may not know yet.
    """

    first: date
    last: date
    title: str
    command: str = ""
    keys: tuple[tuple[date, str, str], ...] | None = None
    nights: frozenset[date] = frozenset()
    doubts: tuple[str, ...] = ()
    failed: frozenset[date] = frozenset()


@dataclass(frozen=True)
class NightReport:
    """The page's facts, in the order of the page; rows are dicts with the names that the template uses.

    `tone`: `good`, `bad` or `odd`. `tags` is None if tags were not counted.
    """

    tone: str
    verdict: str
    doubts: tuple[str, ...]
    recordings: int
    complete: int
    gaps: int
    excluded: int
    unexplained: int
    not_collected: str
    nights: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    reasons: list[dict[str, Any]]
    bars: list[dict[str, Any]]
    trend_words: str
    tags: list[dict[str, Any]] | None
    command: str


def write_report(
    con: duckdb.DuckDBPyConnection, scope: Scope, folder: Path, retention: Sequence[str] = ()
) -> tuple[Path, NightReport]:
    """Write the page and its rows into `folder`, which may hold an earlier one.

    Args:
        con: the analysts' snapshot, or the warehouse.
        scope: nights, or recordings of a matter.
        retention: sentences that say until when the retention policy keeps which data.

    Returns:
        The page's path, and its facts.
    """
    rows, path = folder / ROWS, folder / REPORT
    path.unlink(missing_ok=True)  # if the process is killed, a missing page is written again, and a torn one stays
    if rows.exists():
        shutil.rmtree(rows)
    rows.mkdir(parents=True)
    _select(con, scope)
    report = _report(con, scope)
    _write_rows(con, report, rows)
    page = render(
        PACKAGE_DIR / "operations" / "templates",
        "night_report.html",
        title=scope.title,
        report=report,
        retention=retention,
        made_at=f"{utc_now():%Y-%m-%d %H:%M}",
        version=version(),
    )
    write_whole(path, page.encode())
    return path, report


def report_of_night(
    con: duckdb.DuckDBPyConnection, settings: Settings, night: date, retention: Sequence[str], *, changed: bool
) -> Path:
    """Write the night's page below `reports/` of the home, if the night changed or the page is missing."""
    path = settings.home / "reports" / str(night) / REPORT
    if changed or not path.exists():
        write_report(con, scope_of_night(night), path.parent, retention)
    return path


def scope_of_night(night: date) -> Scope:
    """A whole night."""
    return Scope(night, night, f"Custody report: night of {night}", f"custody gaps --date {night}")


def night_report(con: duckdb.DuckDBPyConnection, scope: Scope) -> NightReport:
    """The page's facts."""
    _select(con, scope)
    return _report(con, scope)


def _select(con: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    """Make temporary tables with the rows of the scope. A read-only connection may have such tables too."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE report_keys (partition_date DATE, conversation_id TEXT, recording_id TEXT)"
    )
    if scope.keys:
        con.executemany("INSERT INTO report_keys VALUES (?, ?, ?)", scope.keys)
    of_keys = f"SEMI JOIN report_keys USING ({_KEY})" if scope.keys is not None else ""
    nights = {"first": scope.first, "last": scope.last}
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE report_recordings AS FROM ({query('report/recordings')}) {of_keys}",
        nights | {"media": [reason.code for reason in REASONS if "media" in reason.explains]},
    )
    # A reason may have two severities; each has a file of rows.
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE report_gaps AS
        SELECT *, reason || if(min(severity) OVER of_one = max(severity) OVER of_one, '', '-' || severity) AS file
        FROM ({query("report/gaps")}) {of_keys}
        WINDOW of_one AS (PARTITION BY reason)
        """,
        nights,
    )


def _report(con: duckdb.DuckDBPyConnection, scope: Scope) -> NightReport:
    nights = _nights(con, scope)
    sources = rows_of(con, query("report/sources"), {"nights": [night["night"] for night in nights]})
    collected = [night for night in nights if night["collected"]]
    statuses = dict(con.execute("SELECT custody_status, count(*) FROM report_recordings GROUP BY 1").fetchall())
    unexplained = sum(night["unexplained"] for night in collected)
    tone, sentence = verdict(
        [_claim(night) for night in nights],
        unexplained,
        [source["source"] for source in sources],
    )
    if tone == "good" and scope.doubts:
        tone, sentence = "odd", "It cannot be said yet. More may belong to the matter than was found."
    return NightReport(
        tone=tone,
        verdict=sentence,
        doubts=scope.doubts,
        recordings=sum(statuses.values()),
        complete=statuses.get("complete", 0),
        gaps=statuses.get("gap", 0),
        excluded=statuses.get("excluded", 0),
        unexplained=unexplained,
        not_collected=_ranges([night["night"] for night in nights if not night["collected"]]),
        nights=collected,
        sources=sources,
        actions=_actions(con),
        reasons=_reasons(con),
        bars=_bars(collected),
        trend_words=_trend(collected),
        tags=_tags(con, scope) if scope.keys is None else None,
        command=scope.command,
    )


def _nights(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[dict[str, Any]]:
    rows = rows_of(con, query("report/nights"), {"first": scope.first, "last": scope.last})
    for row in rows:
        for name in ("recordings", "present", "explained", "unexplained", "complete", "gaps", "excluded"):
            row[name] = int(row[name] or 0)
        row["words"] = _WORDS.get(row["completeness"] or "", "never collected")
        if row["night"] in scope.failed:
            row["state"] = "failed"
        if row["state"] in ("open", "provisional"):
            row["words"] += ", and may still change"
        if row["state"] == "failed" and row["collected"]:
            row["words"] += ", and its last run failed"
    return [row for row in rows if not scope.nights or row["night"] in scope.nights]


def _claim(night: dict[str, Any]) -> str | None:
    """A night's claim, as `verdict` takes it. A failed run leaves that of the run before it."""
    claim: str | None = "failed" if night["state"] == "failed" else night["completeness"]
    return claim if night["collected"] else None


def _reasons(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    rows = rows_of(con, query("report/reasons"), {"now": utc_now()})
    for row in rows:
        tags = row["tags"] or []
        row["tags"], row["more_tags"] = tags[:_TAGS_SHOWN], max(0, len(tags) - _TAGS_SHOWN)
        until = f", the first until {_moment(row['first'])} UTC" if row["first"] else ""
        row["had"] = (
            "nothing is lost" if row["severity"] == "info" and row["reason"] not in OF_AUDIO
            else f"{row['recoverable']} of {row['recordings']}{until}" if row["recoverable"] else "no"
        )  # fmt: skip
    return rows


def _actions(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """By deadline; then gaps that may still close; then actions that only help other calls."""
    rows = rows_of(con, query("report/actions"), {"now": utc_now()})
    for row in rows:
        row["who"] = BY_CODE[row["reason"]].who
        row["first"], row["last"] = (row[name] and _moment(row[name]) for name in ("first", "last"))
    return rows


def _tags(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[dict[str, Any]]:
    """The columns of the mapping, required ones first, the worst first."""
    rows = rows_of(con, query("report/tags"), {"first": scope.first, "last": scope.last})
    keys = Counter(row["tag_key"] for row in rows)
    for row in rows:
        row["shares_key"] = keys[row["tag_key"]] > 1
        row["lost"] = row["expected"] - row["present"]
        row["percent"] = _percent(row["present"], row["expected"])
        row["file"] = file_of_tag(row["column_name"]) if _are_known(con, row) else None
        row["since"] = row["since"] if row["lost"] else "–"
        counted = (
            ("set nowhere", "missing"), ("empty", "empty"), ("on another participant", "elsewhere"),
            ("under another spelling", "variant"), ("without a value", "no_value"),
            ("no source could be read", "unavailable"),
        )  # fmt: skip
        row["why"] = ", ".join(f"{row[name]} {words}" for words, name in counted if row[name])
        script = f", script {row['script']}" if row["script"] else ""
        where = f"{row['queue'] or 'no queue'}{script}: {row['at_worst']} of {row['of_worst']}"
        row["worst"] = where if row["lost"] else "–"
    return rows


def file_of_tag(column: str) -> str:
    """The name of a tag's file of rows: another one for each column."""
    return f"tag-{re.sub(r'[^A-Za-z0-9]', '-', column.removeprefix('custom_data_'))}"


def _percent(part: int, whole: int) -> str:
    """The percentage, rounded down, so that 100 means all."""
    return f"{part * 1000 // whole / 10:g}" if whole else "–"


def _bars(nights: list[dict[str, Any]]) -> list[dict[str, Any]]:
    highest = max((night["recordings"] for night in nights), default=0)
    if not highest:
        return []
    step, bars = 100 / len(nights), []
    for number, night in enumerate(nights):
        below = 24.0
        for name, tone in (("complete", "good"), ("excluded", "idle"), ("gaps", "bad")):
            height = 24 * night[name] / highest
            below -= height
            if height:
                words = {"gaps": "with a gap", "excluded": "left out as sensitive or erased"}.get(name, name)
                title = f"{night['night']}: {night[name]} {words}"
                place = {"x": number * step + step * 0.1, "y": below, "width": step * 0.8, "height": height}
                bars.append({**{key: round(value, 3) for key, value in place.items()}, "tone": tone, "title": title})
    return bars


def _trend(nights: list[dict[str, Any]]) -> str:
    if not nights:
        return "no night"
    shares = [_percent(night["complete"], night["recordings"]) for night in (nights[0], nights[-1])]
    return f"complete {shares[0]} % on {nights[0]['night']}, {shares[1]} % on {nights[-1]['night']}"


def _ranges(days: list[date]) -> str:
    """Days in words; consecutive days as their first and last day."""
    stretches: list[list[date]] = []
    for day in days:
        if stretches and (day - stretches[-1][-1]).days == 1:
            stretches[-1].append(day)
        else:
            stretches.append([day])
    return ", ".join(str(one[0]) if len(one) == 1 else f"{one[0]} to {one[-1]}" for one in stretches)


def _write_rows(con: duckdb.DuckDBPyConnection, report: NightReport, folder: Path) -> None:
    """Write a CSV for each number of the page that is a link."""
    order = f"ORDER BY {_KEY}"
    _write(con, f"{_RECORDINGS} {order}", (), folder / "all.csv")
    for status in ("complete", "gap", "excluded"):
        _write(con, f"{_RECORDINGS} WHERE custody_status = ? {order}", [status], folder / f"{status}.csv")
    _write(con, f"{_RECORDINGS} WHERE account = 'unexplained' {order}", (), folder / "unexplained.csv")
    for night in report.nights:
        for name, condition in _ACCOUNTS.items():
            if night[name]:
                sql = f"{_RECORDINGS} WHERE partition_date = ? AND {condition} {order}"
                _write(con, sql, [night["night"]], folder / f"{night['night']}-{name}.csv")
    for reason in report.reasons:
        _write(con, f"{_GAPS} WHERE file = ? {order}", [reason["file"]], folder / f"{reason['file']}.csv")
    for tag in report.tags or []:
        if tag["lost"] and tag["file"]:
            sql, values = _without(con, tag["column_name"])
            _write(con, f"{sql} {order}", values, folder / f"{tag['file']}.csv")


def _are_known(con: duckdb.DuckDBPyConnection, tag: dict[str, Any]) -> bool:
    """Whether queue and script tell which recordings lack a tag. They do not if it applies only to some flows."""
    sql, values = _without(con, tag["column_name"])
    return con.execute(f"SELECT count(*) FROM ({sql})", values).fetchone() == (tag["lost"],)


def _without(con: duckdb.DuckDBPyConnection, column: str) -> tuple[str, Sequence[Any]]:
    """A query of recordings that should have a value in a mapped column, by queue and script, and have none."""
    value = quoted(column) if column in con.table("report_recordings").columns else "NULL"
    expected = """
        SELECT 1 FROM custody.tag_quality AS q
        WHERE q.column_name = ? AND q.partition_date = report_recordings.partition_date
            AND q.queue_names = coalesce(array_to_string(report_recordings.queue_names, ', '), '')
            AND q.script_id = coalesce(report_recordings.script_id, '')
            AND q.script_version = coalesce(report_recordings.script_version, '')
    """
    missing = f"NOT coalesce(regexp_matches({value}, '[^\\s\\p{{Z}}]'), false)"
    return f"{_RECORDINGS} WHERE {missing} AND file_state <> 'erased' AND EXISTS ({expected})", [column]


def _write(con: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any], path: Path) -> None:
    with path.open("wb") as file:
        file.write(BYTE_ORDER_MARK)
        file.writelines(harmless_csv(con.execute(sql, values).to_arrow_reader()))


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
