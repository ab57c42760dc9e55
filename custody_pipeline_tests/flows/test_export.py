"""A flow is fetched by its id: export job, polling, and a download from allowed hosts only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from custody_pipeline.extract.conversations import NOT_FOUND_PATIENCE
from custody_pipeline.extract.genesys_errors import NotFound
from custody_pipeline.flows.document import FlowError
from custody_pipeline.flows.export import MAX_POLLS, POLL_SECONDS, _is_allowed, export_flow, is_flow_id

FLOW = "0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f"
YAML = b"inboundCall:\n  name: Main IVR\n"


@dataclass
class Answer:
    document: Any

    def json(self) -> Any:
        return self.document


@dataclass
class Api:
    """Answers the job's polls one after the other."""

    states: list[Any]
    job: Any = field(default_factory=lambda: {"id": "job-1", "status": "Registered"})
    posted: list[tuple[str, object]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def post(self, path: str, body: object) -> Answer:
        self.posted.append((path, body))
        return Answer(self.job)

    def get(self, path: str) -> Answer:
        assert path == "/api/v2/flows/export/jobs/job-1"
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return Answer(state)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "https://elsewhere.example/flow.yaml")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/astray":
            self.send_response(302)
            self.send_header("Location", "https://[x/flow.yaml")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/gone"):
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(YAML)))
            self.end_headers()
            self.wfile.write(YAML)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def done(url: str) -> dict[str, str]:
    return {"status": "Success", "downloadUrl": url}


def test_an_export_is_started_polled_downloaded_and_read(server: ThreadingHTTPServer) -> None:
    api = Api(
        [{"status": "Registered"}, {"status": "Started"}, done(f"{address(server)}/flow.yaml?X-Signature=s3cr3t")]
    )
    document = export_flow(api, FLOW, api_url=address(server), sleep=api.waits.append)
    assert (document.name, document.source) == ("Main IVR", f"flow {FLOW}")
    body = {"flows": [{"flow": {"id": FLOW}, "exportType": "Yaml"}]}
    assert api.posted == [("/api/v2/flows/export/jobs", body)]
    assert len(api.waits) == 2


def test_our_token_does_not_go_with_the_download(server: ThreadingHTTPServer) -> None:
    export_flow(Api([done(f"{address(server)}/flow.yaml")]), FLOW, api_url=address(server))
    [(_, headers)] = server.asked  # type: ignore[attr-defined]
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/flow.yaml",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://api.mypurecloud.de.elsewhere.example/x",
        "https://evilmypurecloud.de/x",
        "http://api-downloads.mypurecloud.de/x",
        "https://api-downloads.mypurecloud.de:8443/x",
        "https://user@api-downloads.mypurecloud.de/x",
        "https://api-downloads.mypurecloud.de:bad/x",
        "https://s3.amazonaws.com.elsewhere.example/x",
        "https://[x/flow.yaml",
    ],
)
def test_a_download_from_elsewhere_is_refused(url: str) -> None:
    assert not _is_allowed(url, "https://api.mypurecloud.de")
    with pytest.raises(FlowError, match="not allowed"):
        export_flow(Api([done(url)]), FLOW, api_url="https://api.mypurecloud.de")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.mypurecloud.de/api/v2/downloads/1",
        "https://api-downloads.mypurecloud.de/1",
        "https://architect.s3.eu-central-1.amazonaws.com/1?X-Amz-Signature=1",
        "https://architect.s3.eusc-de-east-1.amazonaws.eu/1?X-Amz-Signature=1",
    ],
)
def test_the_apis_domain_and_s3_are_allowed(url: str) -> None:
    assert _is_allowed(url, "https://api.mypurecloud.de")


def test_a_redirect_to_elsewhere_is_refused(server: ThreadingHTTPServer) -> None:
    with pytest.raises(FlowError, match=r"'elsewhere\.example', which is not allowed"):
        export_flow(Api([done(f"{address(server)}/away")]), FLOW, api_url=address(server))


def test_a_redirect_to_no_address_is_refused(server: ThreadingHTTPServer) -> None:
    with pytest.raises(FlowError, match="an address that is none, which is not allowed"):
        export_flow(Api([done(f"{address(server)}/astray")]), FLOW, api_url=address(server))


def test_a_job_that_is_not_known_yet_is_asked_for_again(server: ThreadingHTTPServer) -> None:
    unknown = NotFound("GET /api/v2/flows/export/jobs/job-1", "HTTP 404", status=404)
    api = Api([unknown, done(f"{address(server)}/flow.yaml")])
    assert export_flow(api, FLOW, api_url=address(server), sleep=api.waits.append).name == "Main IVR"
    api = Api([unknown])
    with pytest.raises(NotFound):
        export_flow(api, FLOW, api_url=address(server), sleep=api.waits.append)
    assert sum(api.waits) == pytest.approx(NOT_FOUND_PATIENCE, abs=2 * POLL_SECONDS)


def test_a_failing_download_names_the_status_and_not_the_presigned_address(server: ThreadingHTTPServer) -> None:
    with pytest.raises(FlowError, match="HTTP 404") as refused:
        export_flow(Api([done(f"{address(server)}/gone?X-Signature=s3cr3t")]), FLOW, api_url=address(server))
    assert "s3cr3t" not in str(refused.value)


def test_a_lost_connection_does_not_show_the_presigned_address() -> None:
    # Nothing listens on port 1.
    with pytest.raises(FlowError, match="broke off") as refused:
        export_flow(Api([done("http://127.0.0.1:1/x?X-Signature=s3cr3t")]), FLOW, api_url="http://127.0.0.1:1")
    assert "s3cr3t" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("api", "message"),
    [
        (Api([{"status": "Failure"}]), "the export failed; check architect:flow:view"),
        (Api([{"status": "Success"}]), "has no downloadUrl"),
        (Api([{"status": "Started"}]), "did not end within"),
        (Api([None]), "did not end within"),
        (Api([], job={}), "has no id"),
        (Api([], job={"id": "../../tokens/me"}), "has no id"),
    ],
)
def test_a_job_that_does_not_deliver_is_said_so(api: Api, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        export_flow(api, FLOW, api_url="https://api.mypurecloud.de", sleep=api.waits.append)
    assert len(api.waits) in {0, MAX_POLLS}


@pytest.mark.parametrize("flow_id", ["", "../x", "flow.yaml", FLOW + "/x"])
def test_what_is_no_id_never_reaches_the_api(flow_id: str) -> None:
    api = Api([])
    assert not is_flow_id(flow_id)
    with pytest.raises(FlowError, match="expected a flow's id"):
        export_flow(api, flow_id, api_url="https://api.mypurecloud.de")
    assert api.posted == []
