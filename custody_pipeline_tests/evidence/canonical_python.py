"""Records one row at a time: the reference, to compare with the package's, which are computed column by column."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import rfc8785

from custody_pipeline.evidence.cut.records import SALT_MEMBER


def text(value: object) -> str | None:
    """The string (or None) that stands for None, str, bool, int, date, datetime (naive is UTC), or lists and dicts."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        utc = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        return f"{utc.isoformat(timespec='microseconds')}Z"
    if isinstance(value, date):
        return value.isoformat()
    return rfc8785.dumps(_nested(value)).decode()


def _nested(value: object) -> Any:
    if isinstance(value, list | tuple):
        return [_nested(item) for item in value]
    if isinstance(value, dict):
        return {key: _nested(item) for key, item in value.items()}
    return text(value)


def record(row: Mapping[str, object], salt: bytes) -> bytes:
    """The record of one row: column name → value."""
    return rfc8785.dumps({SALT_MEMBER: salt.hex(), **{name: text(value) for name, value in row.items()}})
