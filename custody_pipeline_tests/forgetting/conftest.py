"""One published night, in two revisions, with a mark in every place that can hold a value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from custody_pipeline.capture.capture_place import capture_place
from custody_pipeline.capture.captured import Reading, conversation_facts, write_capture, write_event
from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.spool import Spool
from custody_pipeline.extract.documents import document
from custody_pipeline.io.resume_cache import resume_cache_of
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import Night, collected, model, publish, run
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.api_documents import conversation_document
from custody_pipeline.simulator.calls import Conversation
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline_tests.capture.conftest import attribute_event
from custody_pipeline_tests.forgetting.traces import MARK, SECOND, THIRD
from custody_pipeline_tests.simulated import vendor

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NIGHT = date(2026, 11, 2)
MARKED = 3
MARKS = {MARKED: MARK, MARKED + 1: SECOND, MARKED + 2: THIRD}


@dataclass(frozen=True)
class Marked(Organization):
    """An organisation in which three conversations have a mark as a tag, wherever the vendor shows tags."""

    def conversation(self, index: int) -> Conversation:
        """The conversation of this index."""
        found = super().conversation(index)
        if index in MARKS:
            for person in found.participants:
                person.attributes["Note"] = MARKS[index]
        return found


@dataclass(frozen=True)
class Deployment:
    """A deployment whose night is published twice."""

    settings: Settings
    client: S3Client
    server: SimulatorServer
    organization: Organization

    @property
    def conversation(self) -> str:
        """The conversation with the first mark."""
        return self.organization.conversation(MARKED).id

    @property
    def other(self) -> str:
        """The conversation with the second mark."""
        return self.organization.conversation(MARKED + 1).id

    @property
    def third(self) -> str:
        """The conversation with the third mark."""
        return self.organization.conversation(MARKED + 2).id

    @property
    def night(self) -> Night:
        """The night."""
        return Night(self.settings, load_mapping(self.settings.mapping_path), NIGHT)


@pytest.fixture(scope="module")
def deployment(server: S3Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("home")
    organization = Marked(night=NIGHT, size=12, faults=FaultPlan.only("OBJECT_MISSING"))
    marked = organization.conversation(MARKED)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        more: dict[str, Any] = {"publish_url": "s3://dataset/prod", "single_reads": "all", "sidecar_place": "beside"}
        with vendor(organization, server, home, bucket="exports-of-the-erased", **more) as found:
            settings = found.settings
            client = s3_client(settings)
            ensure_bucket(client, "dataset", lock=True)
            assert found.server is not None
            one = Deployment(settings, client, found.server, organization)
            capture(settings, marked, 1)
            run(one.night)
            # A second revision, in which the conversation has one more tag.
            capture(settings, marked, 2)
            with collected(one.night, "captures") as loaded:
                model(loaded.con, one.night)
                publish(loaded.con, one.night)
            spool(settings, marked.id)
            with resume_cache_of(settings.home, "half-done") as cache:
                cache[f"conversation {marked.id}"] = MARK
                (settings.home / "interrupted/left.ndjson").write_text(
                    json.dumps([marked.id, MARK], ensure_ascii=False)
                )
            yield one


def capture(settings: Settings, marked: Conversation, number: int) -> None:
    """Keep the conversation as live capture does, with a tag of its own."""
    store, seen = capture_place(settings), marked.start + timedelta(minutes=number)
    answered: dict[str, Any] = conversation_document(marked, datetime(2026, 11, 3, tzinfo=UTC))
    answered["participants"][0]["attributes"] = {f"Caught-{number}": f"{MARK} {number}"}
    content = orjson.dumps(answered)
    body = attribute_event(marked.id, attributes={f"Caught-{number}": MARK})
    event, facts = parse_event(body), conversation_facts(marked.id, document(content))
    typed = orjson.dumps({"results": [{"id": "1", "conversationId": marked.id, "customAttributes": {"T": MARK}}]})
    write_capture(store, Reading(marked.id, seen, content, typed), facts, event, seen)
    write_event(store, event, body, received_at=seen, start=facts.start, outcome="captured")


def spool(settings: Settings, conversation: str) -> None:
    """One event that waits, and one that was handled: SQLite keeps its bytes in a free page."""
    queue = Spool(settings.spool_path)
    now = datetime.now(UTC)
    body = attribute_event(conversation, attributes={"Note": MARK})
    queue.put([Message("handled", conversation, body, now)])
    queue.acknowledge(queue.receive(1, 60))
    queue.put([Message("waits", conversation, body, now)])
    queue.close()
