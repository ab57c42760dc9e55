"""Records as DuckDB computes them: a third implementation, to compare with the package's and the reference."""

from __future__ import annotations

import re
from collections.abc import Mapping

from custody_pipeline.evidence.cut.records import SALT_MEMBER, _in_utf16_order, _quoted


def canonical_sql(columns: Mapping[str, str]) -> str:
    """A DuckDB expression (VARCHAR) that computes the record of a row with its salt.

    Args:
        columns: column name → DuckDB type as `DESCRIBE` prints it, without the salt's.
    """
    members, kinds = [], {SALT_MEMBER: "VARCHAR", **columns}
    for name in _in_utf16_order(kinds):
        value = _json_sql(_text_sql(name, _identifier(name), kinds[name]))
        members.append(f"{_literal(_quoted(name) + ':')} || {value}")
    return "'{' || " + " || ',' || ".join(members) + " || '}'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _text_sql(name: str, expression: str, kind: str) -> str:
    if kind.endswith("[]"):
        item = _json_sql(_text_sql(name, "x", kind[:-2]))
        items = f"list_aggregate(list_transform({expression}, lambda x: {item}), 'string_agg', ',')"
        # An empty list aggregates to NULL; a NULL list must stay NULL.
        return f"CASE WHEN {expression} IS NOT NULL THEN '[' || coalesce({items}, '') || ']' END"
    if kind == "VARCHAR":
        return expression
    if kind.startswith("TIMESTAMP"):
        return f"strftime(CAST({expression} AS TIMESTAMP), '%Y-%m-%dT%H:%M:%S.%fZ')"
    if kind in {"DATE", "BOOLEAN"} or re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", kind):
        return f"CAST({expression} AS VARCHAR)"
    raise ValueError(f"column {name}: type {kind} has no canonical text in SQL")


def _json_sql(expression: str) -> str:
    """JSON string literal of a VARCHAR expression; DuckDB's own to_json writes \\u000B where RFC 8785 wants \\u000b."""
    escaped = f"replace(replace({expression}, '\\', '\\\\'), '\"', '\\\"')"
    exact = escaped
    for code in range(0x20):
        exact = f"replace({exact}, chr({code}), '{_quoted(chr(code))[1:-1]}')"
    chosen = f"CASE WHEN regexp_matches({expression}, '[\\x00-\\x1f]') THEN {exact} ELSE {escaped} END"
    return f"coalesce('\"' || {chosen} || '\"', 'null')"
