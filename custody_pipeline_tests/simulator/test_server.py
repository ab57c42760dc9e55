"""The service behaves like the vendor's: login, limits, jobs, pages, and refusals."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from custody_pipeline.simulator.faults import answer_key
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.structure import INTEGRATION_ID

pytestmark = pytest.mark.server

NIGHT = "2026-11-02T00:00:00Z/2026-11-03T00:00:00Z"
DETAILS = "/api/v2/analytics/conversations/details/jobs"
ORGANIZATION = Organization()


class Client:
    """A logged-in session on one server."""

    def __init__(self, server: SimulatorServer) -> None:
        self.base_url = server.base_url
        self.session = requests.Session()
        self.login()

    def login(self) -> None:
        answer = requests.post(
            f"{self.base_url}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=("custody-demo", "custody-demo-secret"),
            timeout=10,
        )
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.base_url + path, timeout=10, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self("GET", path, **options)

    def details_job(self, interval: str = NIGHT) -> str:
        job_id: str = self("POST", DETAILS, json={"interval": interval, "startOfDayIntervalMatching": True}).json()[
            "jobId"
        ]
        while self.get(f"{DETAILS}/{job_id}").json()["state"] not in {"FULFILLED", "FAILED", "CANCELLED", "EXPIRED"}:
            pass
        return job_id

    def details_pages(self, page_size: int = 150) -> list[dict[str, Any]]:
        path, cursor = f"{DETAILS}/{self.details_job()}/results", None
        pages: list[dict[str, Any]] = []
        while cursor or not pages:
            query = {"pageSize": page_size} | ({"cursor": cursor} if cursor else {})
            pages.append(self.get(path, params=query).json())
            cursor = pages[-1].get("cursor")
            assert len(pages) < 50
        return pages


@pytest.fixture(scope="module")
def shared_server() -> Iterator[SimulatorServer]:
    with SimulatorServer(ORGANIZATION, rate_limit=1_000_000) as server:
        yield server


@pytest.fixture
def server(shared_server: SimulatorServer) -> Iterator[SimulatorServer]:
    yield shared_server
    shared_server.world.set_now(ORGANIZATION.clock)


@pytest.fixture
def client(server: SimulatorServer) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.session.close()


def _conversation_id(fault: str, form: int = 0) -> str:
    planting = ORGANIZATION.planting
    index = next(index for index in planting.indexes([fault]) if planting.of(index) == (fault, form))
    return ORGANIZATION.conversation_id(index)


@pytest.fixture(scope="module")
def healthy_id() -> str:
    return next(item.id for item in ORGANIZATION.conversations() if item.fault is None)


# Login, limits, errors


@pytest.mark.parametrize(
    "credentials",
    [
        {"auth": ("custody-demo", "custody-demo-secret"), "data": {"grant_type": "client_credentials"}},
        {
            "data": {
                "grant_type": "client_credentials",
                "client_id": "custody-demo",
                "client_secret": "custody-demo-secret",
            }
        },
    ],
)
def test_credentials_are_taken_from_the_header_or_the_form(
    server: SimulatorServer, credentials: dict[str, Any]
) -> None:
    answer = requests.post(f"{server.base_url}/oauth/token", timeout=10, **credentials).json()
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 86_400
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert requests.get(f"{server.base_url}/api/v2/tokens/me", headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "client_credentials", "client_id": "custody-demo", "client_secret": "no"}, "invalid_client"),
        ({"grant_type": "client_credentials"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_a_refused_login_has_the_login_services_own_error(server: SimulatorServer, form: Any, error: str) -> None:
    answer = requests.post(f"{server.base_url}/oauth/token", data=form, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"] == error
    assert answer.json()["description"]


def test_without_a_token_the_api_answers_401_with_its_error_body(server: SimulatorServer) -> None:
    answer = requests.get(f"{server.base_url}/api/v2/recording/jobs", timeout=10)
    assert answer.status_code == 401
    document = answer.json()
    assert (document["status"], document["code"]) == (401, "bad.credentials")
    assert document["contextId"] == answer.headers["ININ-Correlation-Id"]
    assert document.keys() >= {"message", "messageWithParams", "messageParams", "details", "errors"}


def test_a_token_ends_and_a_new_login_goes_on(server: SimulatorServer, client: Client) -> None:
    assert client.get("/api/v2/tokens/me").status_code == 200
    server.world.expire_token(str(client.session.headers["Authorization"]).removeprefix("Bearer "))
    assert client.get("/api/v2/tokens/me").status_code == 401
    client.login()
    assert client.get("/api/v2/tokens/me").status_code == 200


def test_a_token_of_no_lifetime_is_refused_at_once() -> None:
    with SimulatorServer(Organization(size=1), token_lifetime=0) as server:
        assert Client(server).get("/api/v2/tokens/me").status_code == 401


def test_the_rate_limit_is_announced_and_kept() -> None:
    with SimulatorServer(Organization(size=1), rate_limit=2) as server:
        client = Client(server)
        answers = [client.get("/api/v2/tokens/me") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["inin-ratelimit-count"] for answer in answers] == ["1", "2", "3"]
        assert {answer.headers["inin-ratelimit-allowed"] for answer in answers} == {"2"}
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
        assert answers[2].json()["code"] == "too.many.requests.retry.after"


def test_an_unknown_path_or_id_is_404_with_the_error_body(client: Client) -> None:
    for path in ("/api/v2/no/such/thing", "/api/v2/conversations/abc", "/api/v2/recording/jobs/abc"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not.found"
    assert client.get("/api/v2/conversations/abc").json()["entityId"] == "abc"


def test_the_answer_key_is_not_served(server: SimulatorServer, client: Client) -> None:
    moved = requests.put(f"{server.base_url}/simulator/clock", json={"now": "2026-11-03T02:30:00Z"}, timeout=10)
    for path in ("/simulator/answer_key", "/simulator/key", "/simulator/answers", "/simulator/"):
        assert client.get(path).status_code == 404
    ids = {row.reason for row in answer_key(ORGANIZATION)}
    assert not any(reason in moved.text for reason in ids)


# Conversations and details


@pytest.mark.parametrize(
    ("fault", "form", "status"),
    [
        ("CONVERSATION_NOT_FOUND", 0, 404),
        ("NOT_YET_AVAILABLE", 0, 404),
        ("CONVERSATION_FORBIDDEN", 0, 403),
        ("CONVERSATION_FETCH_FAILED", 0, 500),
        ("CONVERSATION_FETCH_FAILED", 1, 503),
        ("CONVERSATION_FETCH_FAILED", 2, 504),
        ("TAG_TRUNCATED", 0, 404),
        ("TAG_TRUNCATED", 1, 403),
        ("TAG_TRUNCATED", 2, 504),
    ],
)
def test_a_single_read_is_refused_as_planted_and_the_recordings_are_still_known(
    client: Client, fault: str, form: Any, status: int
) -> None:
    path = f"/api/v2/conversations/{_conversation_id(fault, form)}"
    assert client.get(path).status_code == status
    assert client.get(f"{path}/customattributes").status_code == status
    assert client.get(f"{path}/recordingmetadata").json()


def test_the_details_have_every_available_conversation_once_and_an_empty_page_that_is_not_the_last(
    client: Client,
) -> None:
    pages = client.details_pages()
    assert [bool(page["conversations"]) for page in pages] == [True, False, True, True]
    ids = [item["conversationId"] for page in pages for item in page["conversations"]]
    lacking = {"CONVERSATION_NOT_FOUND", "NOT_YET_AVAILABLE", "CONVERSATION_FORBIDDEN", "CONVERSATION_FETCH_FAILED"}
    assert ids == [item.id for item in ORGANIZATION.conversations() if item.fault not in lacking]


def test_tags_set_late_are_on_the_conversation_alone(client: Client) -> None:
    conversation_id = _conversation_id("TAGS_SET_AFTER_END", 1)
    everything = [item for page in client.details_pages() for item in page["conversations"]]
    details = next(item for item in everything if item["conversationId"] == conversation_id)
    conversation = client.get(f"/api/v2/conversations/{conversation_id}").json()
    assert not any(person.get("attributes") for person in details["participants"])
    assert any(person["attributes"] for person in conversation["participants"])


def test_the_synchronous_query_has_no_attributes(client: Client) -> None:
    body = {"interval": NIGHT, "paging": {"pageSize": 100, "pageNumber": 2}}
    answer = client("POST", "/api/v2/analytics/conversations/details/query", json=body).json()
    assert answer["totalHits"] > 300
    assert len(answer["conversations"]) == 100
    assert not any("attributes" in person for item in answer["conversations"] for person in item["participants"])


def test_the_clock_moves_the_watermark_and_what_is_available(server: SimulatorServer, client: Client) -> None:
    conversation_id = _conversation_id("NOT_YET_AVAILABLE")
    path = f"/api/v2/conversations/{conversation_id}"
    before = client.get(f"{DETAILS}/availability").json()["dataAvailabilityDate"]
    assert client.get(path).status_code == 404
    moved = client("PUT", "/simulator/clock", json={"now": "2026-11-04T02:30:00Z"})
    assert moved.status_code == 200
    assert client.get(f"{DETAILS}/availability").json()["dataAvailabilityDate"] > before
    assert client.get(path).status_code == 200
    ids = {item["conversationId"] for page in client.details_pages() for item in page["conversations"]}
    assert conversation_id in ids


def test_a_details_job_expires(server: SimulatorServer, client: Client) -> None:
    job_id = client.details_job()
    server.world.set_now(ORGANIZATION.clock + timedelta(days=4))
    assert client.get(f"{DETAILS}/{job_id}").json()["state"] == "EXPIRED"
    assert client.get(f"{DETAILS}/{job_id}/results").status_code == 400


def test_two_nights_are_served_side_by_side() -> None:
    nights = [Organization(night=date(2026, 11, day), size=20) for day in (1, 2)]
    with SimulatorServer(*nights, now=datetime(2026, 11, 5, tzinfo=UTC)) as server:
        client = Client(server)
        for night in nights:
            assert client.get(f"/api/v2/conversations/{night.conversation_id(0)}/recordingmetadata").json()
        assert len(client.get("/api/v2/recording/jobs").json()["entities"]) == 4


# Recordings


def test_a_hold_annotation_has_another_id_each_time_and_all_else_stays(client: Client) -> None:
    chosen = next(item for item in ORGANIZATION.conversations() if item.fault is None and item.index % 4 == 0)
    first, second = (client.get(f"/api/v2/conversations/{chosen.id}/recordingmetadata").json() for _ in range(2))
    assert first[0]["annotations"][0].pop("id") != second[0]["annotations"][0].pop("id")
    assert first == second


def test_an_archived_stub_lacks_its_session(client: Client) -> None:
    (stub,) = client.get(f"/api/v2/conversations/{_conversation_id('RECORDING_ARCHIVED')}/recordingmetadata").json()
    assert stub["fileState"] == "ARCHIVED"
    assert not stub.keys() & {"sessionId", "exportedDate"}


def test_recordings_are_not_ready_at_the_first_look(client: Client, healthy_id: str) -> None:
    first, second = (client.get(f"/api/v2/conversations/{healthy_id}/recordings") for _ in range(2))
    assert (first.status_code, first.json()) == (202, [])
    assert second.status_code == 200
    uri = second.json()[0]["mediaUris"]["0"]["mediaUri"]
    assert requests.get(uri, timeout=10).content[:4] in {b"OggS", b"RIFF"}


def _export_query(**other: Any) -> dict[str, Any]:
    return {
        "action": "EXPORT",
        "actionDate": "2026-11-03T03:00:00.000Z",
        "integrationId": INTEGRATION_ID,
        "conversationQuery": {"interval": NIGHT},
    } | other


def test_a_requested_job_goes_through_its_states_and_only_then_are_recordings_exported() -> None:
    exported = []
    organization = Organization(size=40, exported=False)
    with SimulatorServer(organization, on_fulfilled=lambda night, job: exported.append((night, job))) as server:
        client = Client(server)
        job = client("POST", "/api/v2/recording/jobs", json=_export_query()).json()
        path = f"/api/v2/recording/jobs/{job['id']}"
        assert job["state"] == "PENDING"
        assert client("PUT", path, json={"state": "PROCESSING"}).status_code == 400
        assert client.get(path).json()["state"] == "READY"
        assert client("PUT", path, json={"state": "PROCESSING"}).json()["state"] == "PROCESSING"
        assert client.get(path).json()["percentProgress"] == 50
        metadata = f"/api/v2/conversations/{organization.conversation_id(39)}/recordingmetadata"
        assert not any("exportedDate" in item for item in client.get(metadata).json())
        assert not exported
        assert client.get(path).json()["state"] == "FULFILLED"
        assert len(exported) == 1
        assert any(item.exported_date for call in exported[0][0].conversations() for item in call.recordings)
        assert any(
            "exportedDate" in item
            for index in range(40)
            for item in client.get(
                f"/api/v2/conversations/{organization.conversation_id(index)}/recordingmetadata"
            ).json()
        )


def test_an_organisation_has_two_jobs_at_a_time() -> None:
    with SimulatorServer(Organization(size=5)) as server:
        client = Client(server)
        jobs = [client("POST", "/api/v2/recording/jobs", json=_export_query()) for _ in range(3)]
        assert [job.status_code for job in jobs] == [202, 202, 400]
        assert client("DELETE", f"/api/v2/recording/jobs/{jobs[0].json()['id']}").status_code == 204
        assert client("POST", "/api/v2/recording/jobs", json=_export_query()).status_code == 202


@pytest.mark.parametrize(
    "query",
    [
        _export_query(action="COPY"),
        _export_query(integrationId=None),
        _export_query(conversationQuery={"interval": "yesterday"}),
        _export_query(actionDate=None),
    ],
)
def test_a_job_that_cannot_be_is_refused(client: Client, query: dict[str, Any]) -> None:
    assert client("POST", "/api/v2/recording/jobs", json=query).status_code == 400


def test_the_threads_manifests_have_tags_fields_that_are_empty(client: Client) -> None:
    job = ORGANIZATION.export_jobs[0]
    path = f"/api/v2/recordings/recordingexports/{job.id}"
    recordings = client.get(path, params={"includeMetadata": "true"}).json()["recordings"]
    assert len(recordings) > 200
    assert all(item["custom_data"] == {} for item in recordings)
    assert "custom_data" not in client.get(path).json()["recordings"][0]
