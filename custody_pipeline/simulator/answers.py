"""The form of answers: JSON, the vendor's error body, its pages.

Belongs here: forms that all routes share. Does not: the content of answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from custody_pipeline.simulator.state import ApiError

T = TypeVar("T")


def json_response(document: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(document), status, media_type="application/json")


def error_response(error: ApiError, correlation_id: str) -> Response:
    """The vendor's error body; `Retry-After` where the error has one."""
    document: dict[str, Any] = {
        "message": error.message,
        "code": error.code,
        "status": error.status,
        "messageWithParams": error.message,
        "messageParams": {},
        "contextId": correlation_id,
        "details": [],
        "errors": [],
    }
    if error.entity_id is not None:
        document["entityId"] = error.entity_id
    response = json_response(document, error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        ApiError: 400 for anything else.
    """
    try:
        document = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "bad.request", "The request body is not JSON.") from error
    if not isinstance(document, dict):
        raise ApiError(400, "bad.request", "The request body must be a JSON object.")
    return document


def number_of(request: Request, name: str, default: int, highest: int) -> int:
    """A whole number of the query string, from 1 to `highest`.

    Raises:
        ApiError: 400 otherwise.
    """
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= highest:
        raise ApiError(400, "bad.request", f"{name} must be a whole number from 1 to {highest}.")
    return int(text)


def interval_of(text: object) -> tuple[datetime, datetime]:
    """`start/end`, ISO 8601 → two aware moments.

    Raises:
        ApiError: 400, invalid.date.
    """
    try:
        start, end = (moment_of(part) for part in str(text).split("/"))
    except ValueError as error:
        raise ApiError(400, "invalid.date", "interval must be two ISO 8601 times, start/end.") from error
    if start >= end:
        raise ApiError(400, "invalid.date", "The interval must end after it starts.")
    return start, end


def moment_of(text: str) -> datetime:
    """An ISO 8601 time, UTC if it names no zone. Raises ValueError for any other text."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def page_of(request: Request, items: Sequence[T], write: Callable[[T], Any], *, highest: int = 500) -> dict[str, Any]:
    """A numbered page (`pageSize`, `pageNumber`, `nextUri`…) of the items."""
    size, page = number_of(request, "pageSize", 25, highest), number_of(request, "pageNumber", 1, 1_000_000)
    first = (page - 1) * size
    pages = math.ceil(len(items) / size)
    document: dict[str, Any] = {
        "entities": [write(item) for item in items[first : first + size]],
        "pageSize": size,
        "pageNumber": page,
        "total": len(items),
        "pageCount": pages,
        "selfUri": _page_uri(request, page),
    }
    if page < pages:
        document["nextUri"] = _page_uri(request, page + 1)
    return document


def _page_uri(request: Request, page: int) -> str:
    url = request.url.include_query_params(pageNumber=page)
    return f"{url.path}?{url.query}"
