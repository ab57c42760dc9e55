"""Live capture in `custody demo`: a tag that is removed before the night, and is published nevertheless.

Belongs here: the hour around one call (the vendor's events and clock, the receiver as a process), and printing the
result. Does not: receiving events, reading conversations, keeping documents (capture).
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from rich.console import Console

from custody_pipeline.capture.assembly import drain_queue
from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.captured import captures_of
from custody_pipeline.io.signature import HEADER, sign
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.calls import SEEN_AFTER_END, Conversation
from custody_pipeline.simulator.events import SET_AFTER_END, SentEvent, Watch
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.sql_text import literal

KEY_ID = "demo"
TAG, COLUMN = "Legal-Hold", "custom_data_legal_hold"
_SOON = timedelta(minutes=1)
_SECONDS = 30


def capture_the_day(settings: Settings, organization: Organization, say: Callable[[str], None]) -> None:
    """Play the hour until the tag has vanished: events go to a receiver process, conversations are read over HTTP.

    A tag that an earlier demo captured is not captured again. Afterwards the organisation's clock has its former time.
    """
    call, watch = vanishing_call(organization), Watch.of_the_vanishing_tag(organization)
    if call is None or watch is None or len(captured(settings, organization, call)) > 1:
        return
    say("receiving signed events while calls happen: custody serve-webhook")
    try:
        with receiver_process() as (url, secret):
            start = watch.start
            for end in (call.end + SET_AFTER_END + _SOON, watch.end):
                set_clock(settings, end)
                post(url, secret, (event for event in watch.events if start <= event.at < end))
                say(f"{end:%H:%M}: reading the conversations that the events name")
                # The audio is exported, and tied to what was captured, in the night.
                drain_queue(settings.model_copy(update={"export_url": None}), max_seconds=_SECONDS)
                start = end
    finally:
        set_clock(settings, organization.clock)


def vanishing_call(organization: Organization) -> Conversation | None:
    """The conversation whose tag vanishes; None if the organisation is too small to have one."""
    place = organization.vanishing_index
    return None if place is None else organization.conversation(place)


def captured(settings: Settings, organization: Organization, call: Conversation) -> list[str]:
    """Keys of the conversation's capture documents, oldest first."""
    return list(captures_of(capture_place(settings), organization.night, call.id))


def set_clock(settings: Settings, now: datetime) -> None:
    """Move the organisation's clock."""
    clock = f"{settings.genesys_domain}/simulator/clock"
    requests.put(clock, json={"now": now.isoformat()}, timeout=_SECONDS).raise_for_status()


@contextmanager
def receiver_process() -> Iterator[tuple[str, bytes]]:
    """`custody serve-webhook` as a separate process; yields its URL for events and the secret for signatures."""
    secret = secrets.token_hex(32)
    command = [sys.executable, "-m", "custody_pipeline.cli", "serve-webhook", "--port", "0", "--until-stdin-closes"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is for us
        env={**os.environ, "CUSTODY_WEBHOOK_SECRETS": f"{KEY_ID}:{secret}"},
    ) as process:
        try:
            assert process.stderr is not None  # noqa: S101 - asked for above
            url = process.stderr.readline().rpartition(" ")[2].strip()
            if not urlsplit(url).port:
                raise RuntimeError(f"the receiver did not start (exit status {process.wait()})")
            yield f"{url}/events", secret.encode()
        finally:
            process.terminate()
            process.wait(timeout=_SECONDS)


def post(url: str, secret: bytes, events: Iterable[SentEvent]) -> None:
    """Send each event, signed, as a data action does.

    Raises:
        RuntimeError: one was not accepted.
    """
    with requests.Session() as session:
        for event in events:
            signature = sign(event.body, key_id=KEY_ID, secret=secret, timestamp=int(time.time()))
            headers = {"Content-Type": "application/json", HEADER: signature}
            answer = session.post(url, data=event.body, headers=headers, timeout=_SECONDS)
            if answer.status_code != 202:
                raise RuntimeError(f"the receiver answered {answer.status_code} {answer.text}")


def caught_tag(settings: Settings, organization: Organization, published: Path) -> dict[str, Any] | None:
    """The tag in the published Parquet that was read back to `published`, as JSON types; None if none was captured.

    `ended`, `set_at` and `removed_at` are times of the organisation's clock, `seen_at` and `gone_at` of ours (UTC).
    `sha256` is of the capture document that shows the tag; `still_there`: the night's own readings found it.
    """
    import duckdb

    call = vanishing_call(organization)
    if call is None:
        return None
    store = capture_place(settings)
    documents = [orjson.loads(store.read(key) or b"{}") for key in captured(settings, organization, call)]
    without = (
        document["observed_at"]
        for document in documents
        if not any(TAG in leg["attributes"] for leg in document["participants"])
    )

    def rows_of(table: str) -> str:
        return literal(f"{published}/parquet/{table}/date={organization.night}/{table}.parquet")

    with duckdb.connect() as con:
        seen = con.execute(
            f"""
            SELECT min(observed_at), arg_min(document_sha256, observed_at), bool_or(still_there)
            FROM read_parquet({rows_of("custom_data")}, hive_partitioning = false)
            WHERE conversation_id = $conversation AND tag_key = $tag AND source = 'capture' AND tag_value = 'true'
            """,
            {"conversation": call.id, "tag": TAG},
        ).fetchone()
        rows = con.execute(
            f"""
            SELECT list(recording_id ORDER BY recording_id), any_value({COLUMN}), max(custody_status),
                any_value(custom_data_source::JSON ->> $path)
            FROM read_parquet({rows_of("chain_of_custody")}, hive_partitioning = false)
            WHERE conversation_id = $conversation
            """,
            {"conversation": call.id, "path": f'$."{TAG}"'},
        ).fetchone()
    if seen is None or seen[0] is None or rows is None:
        return None
    return {
        "conversation_id": call.id,
        "recordings": rows[0],
        "ended": call.end.isoformat(),
        "set_at": (call.end + SET_AFTER_END).isoformat(),
        "removed_at": (call.end + SEEN_AFTER_END).isoformat(),
        "value": rows[1],
        "source": rows[3],
        "seen_at": seen[0].isoformat(),
        "gone_at": next(without, None),
        "sha256": seen[1],
        "still_there": seen[2],
        "status": rows[2],
    }


def print_caught(console: Console, caught: dict[str, Any]) -> None:
    """The story of the tag, on a terminal."""
    times = {name: caught[name][11:19] for name in ("ended", "set_at", "removed_at")}
    seen, gone = (str(caught[name])[:23].replace("T", " ") for name in ("seen_at", "gone_at"))
    there = "still finds it" if caught["still_there"] else "finds it nowhere"
    rows = f"{len(caught['recordings'])} rows" if len(caught["recordings"]) > 1 else "1 row"
    console.print(
        f"""
[bold]Caught before it vanished[/bold]  ·  conversation {caught["conversation_id"]}
  {times["ended"]}  the call ends
  {times["set_at"]}  {TAG} is set; its event, signed, reaches custody serve-webhook
            capture reads it at {seen} UTC of our clock, sha256
            {caught["sha256"]}
  {times["removed_at"]}  {TAG} is gone; capture reads the conversation without it
            at {gone} UTC
  02:30:00  the night {there}, and publishes in {rows} ({caught["status"]})
            {COLUMN} = [bold]{caught["value"]}[/bold], source {caught["source"]}""",
        soft_wrap=True,
    )
