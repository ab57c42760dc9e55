"""The vendor's SDK, pointed at the simulator, logs in, makes every call of ours and parses every answer."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from custody_pipeline.extract.recordings import RETENTION_PAGE_SIZE
from custody_pipeline.simulator.calls import Conversation
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.structure import FLOW_ID, INTEGRATION_ID, ORGANIZATION_ID, SCRIPT_INTAKE
from custody_pipeline.warehouse.sql_files import SQL_DIR

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NIGHT = "2026-11-02T00:00:00Z/2026-11-03T00:00:00Z"
ORGANIZATION = Organization(size=150)


@pytest.fixture(scope="module")
def sdk() -> Any:
    return pytest.importorskip("PureCloudPlatformClientV2", reason="install the extra 'sdk'")


@pytest.fixture(scope="module")
def api_client(sdk: Any) -> Iterator[Any]:
    with SimulatorServer(ORGANIZATION, rate_limit=1_000_000) as server:
        client = sdk.api_client.ApiClient()
        place = urlsplit(server.base_url)
        client.set_gateway(place.hostname, place.scheme, place.port, "", "")
        client.get_client_credentials_token("custody-demo", "custody-demo-secret")
        parse = client.deserialize

        def parse_all(response: Any, kind: Any) -> Any:
            parsed = parse(response, kind)
            _nothing_is_invented(json.loads(response.data), parsed)
            return parsed

        client.deserialize = parse_all
        yield client


def _nothing_is_invented(raw: Any, parsed: Any) -> None:
    """The SDK drops a field that it does not know: the simulator and the product would have invented it."""
    if isinstance(parsed, list):
        for each, item in zip(raw, parsed, strict=True):
            _nothing_is_invented(each, item)
    elif hasattr(parsed, "attribute_map"):
        names = {written: name for name, written in parsed.attribute_map.items()}
        assert raw.keys() <= names.keys(), type(parsed).__name__
        for written, item in raw.items():
            _nothing_is_invented(item, getattr(parsed, names[written]))


@pytest.fixture(scope="module")
def conversation() -> Conversation:
    return next(item for item in ORGANIZATION.conversations() if item.typed_attributes and item.kind == "transfer")


def _check(value: Any, path: str = "answer") -> Any:
    """Every value of a model is of its declared type and every enumerated value a known one."""
    if isinstance(value, list):
        for item in value:
            _check(item, path)
    elif hasattr(value, "swagger_types"):
        for name, declared in value.swagger_types.items():
            item = getattr(value, name)
            known = not isinstance(item, str) or item != "outdated_sdk_version"
            assert known, f"{path}.{name} is no value that the SDK knows"
            if declared == "datetime":
                assert item is None or isinstance(item, datetime), f"{path}.{name}"
            _check(item, f"{path}.{name}")
    return value


def test_it_knows_who_collects(sdk: Any, api_client: Any) -> None:
    me = _check(sdk.TokensApi(api_client).get_tokens_me())
    assert me.organization.id == ORGANIZATION_ID
    assert me.o_auth_client.id == "custody-demo"


def test_it_reads_the_nights_export_jobs_and_their_failures(sdk: Any, api_client: Any) -> None:
    api = sdk.RecordingApi(api_client)
    listed = _check(api.get_recording_jobs(page_size=100)).entities
    assert [job.state for job in listed] == ["FULFILLED", "FULFILLED"]
    job = _check(api.get_recording_job(listed[0].id))
    assert job.recording_jobs_query.integration_id == INTEGRATION_ID
    assert job.recording_jobs_query.include_recordings_with_sensitive_data is False
    assert job.total_skipped_recordings > 0
    failed = _check(api.get_recording_job_failedrecordings(job.id)).entities
    assert len(failed) == job.total_failed_recordings


def test_it_takes_a_job_through_its_states(sdk: Any, api_client: Any) -> None:
    api = sdk.RecordingApi(api_client)
    query = sdk.RecordingJobsQuery()
    query.action, query.action_date, query.integration_id = "EXPORT", datetime(2026, 11, 3, 3), INTEGRATION_ID
    query.conversation_query = sdk.AsyncConversationQuery()
    query.conversation_query.interval = NIGHT
    job = _check(api.post_recording_jobs(query))
    assert _check(api.get_recording_job(job.id)).state == "READY"
    execute = sdk.ExecuteRecordingJobsQuery()
    execute.state = "PROCESSING"
    assert _check(api.put_recording_job(job.id, execute)).state == "PROCESSING"
    assert [api.get_recording_job(job.id).state for _ in range(2)] == ["PROCESSING", "FULFILLED"]
    other = api.post_recording_jobs(query)
    api.delete_recording_job(other.id)
    assert api.get_recording_job(other.id).state == "CANCELLED"


def test_it_reads_recordings_of_a_conversation(sdk: Any, api_client: Any, conversation: Conversation) -> None:
    api = sdk.RecordingApi(api_client)
    metadata = _check(api.get_conversation_recordingmetadata(conversation.id))
    assert [item.id for item in metadata] == [item.id for item in conversation.recordings]
    assert metadata[0].session_id == conversation.recordings[0].session_id
    assert api.get_conversation_recordings(conversation.id) == []
    recordings = _check(api.get_conversation_recordings(conversation.id))
    assert recordings[0].media_uris["0"].media_uri.startswith("http://127.0.0.1")


def test_it_reads_a_conversation_with_its_attributes(sdk: Any, api_client: Any, conversation: Conversation) -> None:
    api = sdk.ConversationsApi(api_client)
    document = _check(api.get_conversation(conversation.id))
    assert [person.attributes for person in document.participants] == [
        person.attributes for person in conversation.participants
    ]
    (typed,) = _check(api.get_conversation_customattributes(conversation.id)).results
    assert typed.custom_attributes == conversation.typed_attributes
    assert typed.custom_attributes_timestamps.keys() == conversation.typed_attributes.keys()


def test_it_reads_the_details_in_bulk(sdk: Any, api_client: Any, conversation: Conversation) -> None:
    api = sdk.ConversationsApi(api_client)
    watermark = _check(api.get_analytics_conversations_details_jobs_availability()).data_availability_date
    assert watermark == ORGANIZATION.watermark
    query = sdk.AsyncConversationQuery()
    query.interval = NIGHT
    job_id = _check(api.post_analytics_conversations_details_jobs(query)).job_id
    states = [_check(api.get_analytics_conversations_details_job(job_id)).state for _ in range(2)]
    assert states == ["PENDING", "FULFILLED"]
    page = _check(api.get_analytics_conversations_details_job_results(job_id, page_size=100))
    assert len(page.conversations) == 100
    empty = _check(api.get_analytics_conversations_details_job_results(job_id, page_size=100, cursor=page.cursor))
    rest = _check(api.get_analytics_conversations_details_job_results(job_id, page_size=100, cursor=empty.cursor))
    assert (empty.conversations, rest.cursor) == ([], None)
    found = {item.conversation_id: item for item in page.conversations + rest.conversations}[conversation.id]
    agents = [person for person in found.participants if person.purpose == "agent"]
    assert agents[0].attributes == conversation.agents[0].bulk_attributes
    assert sum(bool(leg.recording) for person in found.participants for leg in person.sessions) == 2


def test_it_queries_details_without_attributes(sdk: Any, api_client: Any) -> None:
    query = sdk.ConversationQuery()
    query.interval = NIGHT
    answer = _check(sdk.ConversationsApi(api_client).post_analytics_conversations_details_query(query))
    assert len(answer.conversations) == 25
    one = sdk.ConversationsApi(api_client).get_analytics_conversation_details(answer.conversations[0].conversation_id)
    assert _check(one).conversation_id == answer.conversations[0].conversation_id


def test_it_downloads_in_batches(sdk: Any, api_client: Any, conversation: Conversation) -> None:
    api = sdk.RecordingApi(api_client)
    wanted, unknown = sdk.BatchDownloadRequest(), sdk.BatchDownloadRequest()
    wanted.conversation_id, unknown.conversation_id = conversation.id, ORGANIZATION_ID
    submission = sdk.BatchDownloadJobSubmission()
    submission.batch_download_request_list = [wanted, unknown]
    job_id = _check(api.post_recording_batchrequests(submission)).id
    first, second = (_check(api.get_recording_batchrequest(job_id)) for _ in range(2))
    assert (first.status, first.expected_result_count) == ("InProgress", 2)
    assert (second.status, second.expected_result_count, second.error_count) == ("Completed", 3, 1)
    assert second.results[0].recording_id == conversation.recordings[0].id
    assert requests.get(second.results[0].result_url, timeout=10).content[:4] in {b"OggS", b"RIFF"}


def test_it_protects_from_deletion(sdk: Any, api_client: Any, conversation: Conversation) -> None:
    api = sdk.RecordingApi(api_client)
    query = sdk.ConversationDeletionProtectionQuery()
    query.conversation_ids = [conversation.id, ORGANIZATION_ID]
    assert _check(api.post_recordings_deletionprotection(query)) == []
    failed = _check(api.put_recordings_deletionprotection(protect=True, body=query)).failed_updates
    assert len(failed) == 1
    assert [item.id for item in api.post_recordings_deletionprotection(query)] == [conversation.id]
    api.put_recordings_deletionprotection(protect=False, body=query)
    assert api.post_recordings_deletionprotection(query) == []


def test_it_sweeps_retention_and_orphans(sdk: Any, api_client: Any) -> None:
    api = sdk.RecordingApi(api_client)
    first = _check(api.get_recordings_retention_query(0, page_size=100))
    assert len(first.entities) >= 100
    cursor = first.next_uri.rpartition("cursor=")[2]
    second = _check(api.get_recordings_retention_query(0, page_size=100, cursor=cursor))
    assert _check(api.get_recordings_retention_query(30)).entities == []
    assert not {item.recording_id for item in first.entities} & {item.recording_id for item in second.entities}
    orphans = _check(api.get_orphanrecordings()).entities
    assert orphans[0].recording.conversation_id


def _fields(sdk: Any, kind: str, seen: set[str]) -> set[str]:
    """The fields of a model and of all models below it."""
    below = {name for name in re.findall(r"\w+", kind) if hasattr(getattr(sdk, name, None), "to_dict")} - seen
    seen |= below
    found: set[str] = set()
    for model in (getattr(sdk, name)() for name in below):
        found |= set(model.attribute_map.values())
        for inner in model.swagger_types.values():
            found |= _fields(sdk, inner, seen)
    return found


# Fields that are read beside those of the models: of the API's error body, of the platform's audits, of an older list.
ALSO_READ = {"code", "message", "remoteIp", "conversationId"}


@pytest.mark.parametrize(
    ("resource", "model"),
    [
        ("conversation_attributes", "CustomAttributesListing"),
        ("conversation_details", "AnalyticsConversation"),
        ("conversations", "Conversation"),
        ("divisions", "AuthzDivision"),
        ("export_failures", "RecordingJobFailedRecording"),
        ("export_jobs", "RecordingJob"),
        ("listed_recordings", "RecordingRetention"),
        ("orphan_recordings", "OrphanRecording"),
        ("published_scripts", "Script"),
        ("queues", "Queue"),
        ("recording_audits", "QualityAuditLogMessage"),
        ("recording_metadata", "RecordingMetadata"),
        ("users", "User"),
    ],
)
def test_its_models_have_every_field_that_is_read(sdk: Any, resource: str, model: str) -> None:
    sql = (SQL_DIR / f"raw/{resource}.sql").read_text(encoding="utf-8").partition("document_types := '")[2]
    read = set(re.findall(r'(\w+)"? (?:VARCHAR|BOOLEAN|BIGINT|STRUCT|MAP|JSON)', sql.partition("'\n")[0]))
    assert read
    assert read - ALSO_READ <= _fields(sdk, model, set())


def test_it_says_what_the_list_of_all_recordings_takes(sdk: Any) -> None:
    said = sdk.RecordingApi.get_recordings_retention_query.__doc__
    assert f"Maximum is {RETENTION_PAGE_SIZE}." in said
    assert "retained for more days than the provided value" in said


def test_it_reads_scripts_queues_and_divisions(sdk: Any, api_client: Any) -> None:
    scripts = _check(sdk.ScriptsApi(api_client).get_scripts_published()).entities
    assert {script.name: script.version_id for script in scripts} == {"Intake": "3", "Claims": "1"}
    assert _check(sdk.ScriptsApi(api_client).get_scripts_published_script_id(SCRIPT_INTAKE)).published_date
    queues = _check(sdk.RoutingApi(api_client).get_routing_queues()).entities
    assert {queue.name for queue in queues} == {"Intake", "Litigation", "Claims", "Service"}
    divisions = _check(sdk.AuthorizationApi(api_client).get_authorization_divisions()).entities
    assert [division.name for division in divisions if division.home_division] == ["Home"]
    assert (
        "a list of all divisions defined for the organization"
        in sdk.AuthorizationApi.get_authorization_divisions.__doc__
    )
    ours = sdk.AuthorizationApi(api_client).get_authorization_divisionspermitted_paged_me("recording:recording:view")
    assert {item.name for item in divisions} - {item.name for item in _check(ours).entities} == {"Restricted"}


def test_it_exports_a_flow(sdk: Any, api_client: Any) -> None:
    api = sdk.ArchitectApi(api_client)
    flow, entry, job = sdk.ArchitectFlowReference(), sdk.ExportDetails(), sdk.RegisterArchitectExportJob()
    flow.id, entry.flow, entry.export_type, job.flows = FLOW_ID, flow, "Yaml", [entry]
    job_id = _check(api.post_flows_export_jobs(job)).id
    first, second = (_check(api.get_flows_export_job(job_id)) for _ in range(2))
    assert (first.status, second.status) == ("Started", "Success")
    assert "setParticipantData" in requests.get(second.download_url, timeout=10).text


def test_it_queries_audits(sdk: Any, api_client: Any) -> None:
    api = sdk.AuditApi(api_client)
    services = _check(api.get_audits_query_servicemapping()).services
    query = sdk.AuditQueryRequest()
    query.interval, query.service_name = "2026-11-01T00:00:00Z/2026-11-04T00:00:00Z", services[0].name
    transaction_id = _check(api.post_audits_query(query)).id
    states = [_check(api.get_audits_query_transaction_id(transaction_id)).state for _ in range(2)]
    assert states == ["Running", "Succeeded"]
    page = _check(api.get_audits_query_transaction_id_results(transaction_id, page_size=30))
    rest = _check(api.get_audits_query_transaction_id_results(transaction_id, page_size=30, cursor=page.cursor))
    assert len({entry.id for entry in page.entities + rest.entities}) == 40


def test_it_queries_interaction_audits(sdk: Any, api_client: Any) -> None:
    api, query = sdk.QualityApi(api_client), sdk.QMAuditQueryRequest()
    query.interval = "2026-11-01T00:00:00Z/2026-11-04T00:00:00Z"
    transaction_id = _check(api.post_quality_conversations_audits_query(query)).id
    states = [_check(api.get_quality_conversations_audits_query_transaction_id(transaction_id)).state for _ in range(2)]
    assert states == ["Running", "Succeeded"]
    page = _check(api.get_quality_conversations_audits_query_transaction_id_results(transaction_id, page_size=100))
    assert {"Read", "Download"} <= {entry.action for entry in page.entities} <= {"Read", "Download", "Delete"}
    assert all(entry.remote_ips and entry.context["conversationId"] for entry in page.entities)


def test_it_lists_users_that_left_only_when_asked(sdk: Any, api_client: Any) -> None:
    api = sdk.UsersApi(api_client)
    active, everybody = _check(api.get_users()).entities, _check(api.get_users(state="any")).entities
    assert len(active) == len(everybody) - 1
    assert all(user.name and "@" in user.email for user in everybody)


def test_it_keeps_triggers(sdk: Any, api_client: Any) -> None:
    api = sdk.ProcessAutomationApi(api_client)
    topic = "v2.detail.events.conversation.{id}.customer.end"
    assert topic in api.get_processautomation_triggers_topics().entities
    target, create = sdk.TriggerTarget(), sdk.CreateTriggerRequest()
    target.type, target.id = "Workflow", FLOW_ID
    create.name, create.topic_name, create.target, create.enabled = "Capture", topic, target, True
    create.match_criteria = []
    trigger = _check(api.post_processautomation_triggers(create))
    update = sdk.UpdateTriggerRequest()
    update.version, update.enabled, update.name = trigger.version, False, "Capture"
    update.topic_name, update.target, update.match_criteria = topic, target, []
    assert _check(api.put_processautomation_trigger(trigger.id, update)).version == 2
    assert [item.enabled for item in _check(api.get_processautomation_triggers()).entities] == [False]
    api.delete_processautomation_trigger(trigger.id)
    assert _check(api.get_processautomation_triggers()).entities == []


def test_it_takes_a_request_for_deletion_through_its_states_and_the_conversation_is_gone(
    sdk: Any, api_client: Any
) -> None:
    api = sdk.GeneralDataProtectionRegulationApi(api_client)
    call = ORGANIZATION.conversation(ORGANIZATION.size - 40)
    wanted = sdk.GDPRRequest()
    wanted.subject = sdk.GDPRSubject()
    wanted.request_type, wanted.subject.phone_numbers = "GDPR_DELETE", [call.ani]
    with pytest.raises(sdk.rest.ApiException) as refused:
        api.post_gdpr_requests(wanted)
    assert refused.value.status == 400
    made = _check(api.post_gdpr_requests(wanted, delete_confirmed=True))
    listed = _check(api.get_gdpr_requests(page_size=100)).entities
    assert [(item.id, item.status, item.subject.phone_numbers) for item in listed] == [
        (made.id, "INITIATED", [call.ani])
    ]
    assert sdk.ConversationsApi(api_client).get_conversation(call.id).id == call.id
    states = [_check(api.get_gdpr_request(made.id)).status for _ in range(4)]
    assert states == ["SEARCHING", "DELETING", "COMPLETED", "COMPLETED"]
    with pytest.raises(sdk.rest.ApiException) as gone:
        sdk.ConversationsApi(api_client).get_conversation(call.id)
    assert gone.value.status == 404
