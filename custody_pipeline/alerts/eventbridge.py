"""EventBridge: one event per notice, ten per request.

`PutEvents` answers 200 even if entries failed; only these are sent again. It also takes events for a bus that does not
exist, and drops them: `DescribeEventBus` is asked first. EventBridge has no idempotency key, so the detail has the
notice's `id`, by which consumers can drop repeats.

Source: AWS API reference, PutEvents: at most 10 entries and 256 KiB a request; `Entries[].ErrorCode`. User guide,
"Adding events with PutEvents": a bus that does not exist.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.alerts.alert import Delivery, DeliveryError, Notice
from custody_pipeline.alerts.delivery import Patience, TroubleError
from custody_pipeline.io.concurrency import sized_batches
from custody_pipeline.io.s3 import new_session

BATCH = 10
BATCH_BYTES = 256 * 1024
SOURCE = "custody_pipeline"

# Transient errors of an entry; any other error is permanent.
_PASSING = {"InternalException", "InternalFailure", "ThrottlingException"}


class EventBridgeChannel:
    """Puts events with the detail types `Custody alert opened`, `… updated` and `… closed`."""

    name = "eventbridge"

    def __init__(self, client: Any, patience: Patience, *, bus: str):
        self._client, self._patience = client, patience
        self._bus = bus

    def deliver(self, notices: Sequence[Notice]) -> Iterator[list[Delivery]]:
        """See `Channel`."""
        with contextlib.closing(self._client):
            self._require_bus()
            for batch in sized_batches(notices, BATCH, self._bytes_of, BATCH_BYTES):
                if self._patience.is_over:
                    return
                yield from self._put(batch)

    def _require_bus(self) -> None:
        try:
            self._client.describe_event_bus(Name=self._bus)
        except ClientError as error:
            # Without events:DescribeEventBus nothing is known.
            if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
                where = "check CUSTODY_ALERT_EVENT_BUS and CUSTODY_ALERT_EVENT_REGION"
                raise DeliveryError(f"eventbridge: there is no bus {self._bus!r}; {where}") from None
        except BotoCoreError as error:
            raise DeliveryError(f"eventbridge: DescribeEventBus failed ({type(error).__name__})") from None

    def _put(self, notices: list[Notice]) -> Iterator[list[Delivery]]:
        for attempt in self._patience.retrying():
            done: list[Delivery] = []
            with attempt:
                done, notices, code = self._once(notices)
                if notices:
                    raise TroubleError(
                        f"eventbridge: {len(notices)} events failed with {code}, "
                        f"{attempt.retry_state.attempt_number} tries; the next run sends them"
                    )
            if done:
                yield done

    def _once(self, notices: list[Notice]) -> tuple[list[Delivery], list[Notice], str]:
        try:
            answer = self._client.put_events(Entries=[self._entry(notice) for notice in notices])
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error")
            raise DeliveryError(f"eventbridge: PutEvents answered {code}; check the bus and events:PutEvents") from None
        except BotoCoreError as error:
            raise DeliveryError(f"eventbridge: PutEvents failed ({type(error).__name__})") from None
        done: list[Delivery] = []
        again: list[Notice] = []
        last = ""
        for notice, entry in zip(notices, answer["Entries"], strict=True):
            if entry.get("EventId"):
                done.append(Delivery(notice, entry["EventId"]))
            elif (code := str(entry.get("ErrorCode"))) in _PASSING:
                last = code
                again.append(notice)
            else:
                done.append(Delivery(notice, refused=f"EventBridge refused the event: {code}"))
        return done, again, last

    def _bytes_of(self, notice: Notice) -> int:
        """The size of an event as EventBridge counts it, and a little more."""
        entry = self._entry(notice)
        return sum(len(entry[name].encode()) for name in ("Source", "DetailType", "Detail")) + 100

    def _entry(self, notice: Notice) -> dict[str, Any]:
        return {
            "Source": SOURCE,
            "DetailType": f"Custody alert {notice.action}",
            "Detail": orjson.dumps(notice.to_dict()).decode(),
            "EventBusName": self._bus,
        }


def events_client(region: str | None) -> Any:
    """A client with the standard AWS credentials chain, short timeouts and AWS's own retries of whole requests.

    Raises:
        DeliveryError: no region or no usable configuration.
    """
    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
    try:
        return new_session().client("events", region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise DeliveryError(f"eventbridge: {type(error).__name__}; check CUSTODY_ALERT_EVENT_REGION") from None
