"""The generic webhook: signed JSON, a hundred notices per call.

The signature has the form that our own receiver accepts (`custody_pipeline.io.signature`):
`Custody-Signature: t=<seconds>,k=<key id>,v1=<hex HMAC-SHA256 of "{t}.{k}.{body}">`.

A call's `delivery_id` is the same if the same notices are sent again, and every notice has its own `id`, so that a
receiver can drop repeats.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

import orjson

from custody_pipeline.alerts.alert import Delivery, DeliveryError, Notice
from custody_pipeline.alerts.delivery import Http, RefusedError
from custody_pipeline.io.concurrency import batches
from custody_pipeline.io.signature import HEADER, sign

SCHEMA = "custody.alerts.v1"
BATCH = 100


class WebhookChannel:
    """POSTs `{schema, delivery_id, alerts: [...]}`; any 2xx accepts them."""

    name = "webhook"

    def __init__(self, http: Http, url: str, *, key_id: str, secret: str):
        self._http, self._url = http, url
        self._key_id, self._secret = key_id, secret.encode()

    def deliver(self, notices: Sequence[Notice]) -> Iterator[list[Delivery]]:
        """See `Channel`."""
        for batch in batches(notices, BATCH):
            if self._http.patience.is_over:
                return
            yield self._call(batch)

    def _call(self, notices: list[Notice]) -> list[Delivery]:
        delivery = hashlib.sha256("".join(notice.id for notice in notices).encode()).hexdigest()[:40]
        document = {"schema": SCHEMA, "delivery_id": delivery, "alerts": [notice.to_dict() for notice in notices]}
        body = orjson.dumps(document)
        signature = sign(body, key_id=self._key_id, secret=self._secret, timestamp=int(time.time()))
        headers = {"Content-Type": "application/json", HEADER: signature}
        try:
            self._http.request("POST", self._url, data=body, headers=headers)
        except RefusedError as refusal:
            raise DeliveryError(f"{refusal}; check CUSTODY_ALERT_WEBHOOK_URL and _SECRET, and the receiver") from None
        return [Delivery(notice, delivery) for notice in notices]
