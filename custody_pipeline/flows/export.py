"""Fetch a flow from Genesys Cloud as YAML.

Belongs here: the export job and the download of its result. Does not: HTTP retries (`extract.genesys`), reading the
YAML (`document`).

Source: `POST /api/v2/flows/export/jobs`, `GET /api/v2/flows/export/jobs/{jobId}`; models RegisterArchitectExportJob,
ExportDetails, ArchitectExportJobStateResponse of PureCloudPlatformClientV2 269.0.0.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import HTTPError

from custody_pipeline.extract.conversations import NOT_FOUND_PATIENCE
from custody_pipeline.extract.genesys_errors import NotFound
from custody_pipeline.flows.document import MAX_BYTES, FlowDocument, FlowError, parse_flow
from custody_pipeline.io.http import Session, body_of

TIMEOUT = (10, 60)
POLL_SECONDS = 2.0
MAX_POLLS = 150
MAX_REDIRECTS = 3

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Presigned results are in S3, in the bucket of the vendor's region.
_S3 = re.compile(r"(?:[a-z0-9.-]+\.)?s3[.-](?:dualstack\.)?[a-z0-9-]+\.amazonaws\.(?:com|eu)")
_REDIRECTS = {301, 302, 303, 307, 308}


class Api(Protocol):
    """The part of `extract.genesys.GenesysClient` that is used here."""

    def get(self, path: str) -> Any:
        """GET a path."""

    def post(self, path: str, body: object) -> Any:
        """POST a JSON body."""


def is_flow_id(text: str) -> bool:
    """True if `text` has the form of a flow's id, and so does not name a file."""
    return bool(_UUID.fullmatch(text))


def export_flow(api: Api, flow_id: str, *, api_url: str, sleep: Callable[[float], None] = time.sleep) -> FlowDocument:
    """Export one flow as YAML and read it.

    The result is downloaded without our token, from the API's domain or from S3 over https only, at most 32 MiB.

    Args:
        api: a logged-in client; it needs the permission architect:flow:view.
        api_url: the API's base URL (`Settings.api_url`); its domain is where a download may lie.

    Raises:
        FlowError: the id is malformed, the job failed or never ended, or the result cannot be read.
        GenesysError: a request failed.
    """
    source = f"flow {flow_id}"
    if not is_flow_id(flow_id):
        raise FlowError("flow", 1, "expected a flow's id, for example 0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f")
    job = api.post("/api/v2/flows/export/jobs", {"flows": [{"flow": {"id": flow_id}, "exportType": "Yaml"}]}).json()
    job_id = job.get("id") if isinstance(job, dict) else None
    if not isinstance(job_id, str) or not re.fullmatch(r"[A-Za-z0-9-]{1,80}", job_id):
        raise FlowError(source, 1, "the export job has no id; try again, or export the flow in Architect")
    url = _finished(api, job_id, source, sleep)
    return parse_flow(_download(url, api_url, source), source)


def _finished(api: Api, job_id: str, source: str, sleep: Callable[[float], None]) -> str:
    for number in range(MAX_POLLS):
        try:
            state = api.get(f"/api/v2/flows/export/jobs/{job_id}").json()
        except NotFound:
            # A new job may not be known everywhere at once.
            if number * POLL_SECONDS > NOT_FOUND_PATIENCE:
                raise
            state = None
        status = str(state.get("status", "")).casefold() if isinstance(state, dict) else ""
        if status == "success":
            url = state.get("downloadUrl")
            if isinstance(url, str) and url:
                return url
            raise FlowError(source, 1, "the export succeeded but has no downloadUrl; export the flow in Architect")
        if status == "failure":
            raise FlowError(source, 1, "the export failed; check architect:flow:view for the flow's division")
        sleep(POLL_SECONDS)
    minutes = MAX_POLLS * POLL_SECONDS / 60
    raise FlowError(source, 1, f"the export did not end within {minutes:.0f} minutes; try again later")


def _download(url: str, api_url: str, source: str) -> bytes:
    with Session() as session:
        # The address is foreign: it must get none of our credentials, from any place where requests finds them.
        session.trust_env = False
        for _ in range(MAX_REDIRECTS + 1):
            if not _is_allowed(url, api_url):
                raise FlowError(source, 1, f"the download lies on {_host(url)}, which is not allowed")
            try:
                with session.get(url, timeout=TIMEOUT, stream=True) as response:
                    if response.status_code in _REDIRECTS and "Location" in response.headers:
                        url = _followed(url, response.headers["Location"])
                        continue
                    if response.status_code != 200:
                        raise FlowError(source, 1, f"the download answered HTTP {response.status_code}; try again")
                    return body_of(response, MAX_BYTES)
            except (OSError, EOFError, HTTPError) as error:
                # The cause holds the presigned URL.
                raise FlowError(source, 1, f"the download broke off ({type(error).__name__}); try again") from None
            except ValueError as error:
                raise FlowError(source, 1, f"{error}; no flow is that large") from None
    raise FlowError(source, 1, "the download is redirected in circles; export the flow in Architect")


def _followed(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location  # no address: it is refused next


def _host(url: str) -> str:
    try:
        return repr(urlsplit(url).hostname)
    except ValueError:
        return "an address that is none"


def _is_allowed(url: str, api_url: str) -> bool:
    """The API's own address, a host of its domain over https, or S3 over https."""
    try:
        wanted, ours = urlsplit(url), urlsplit(api_url)
        if (wanted.scheme, wanted.hostname, wanted.port) == (ours.scheme, ours.hostname, ours.port):
            return True
        port = wanted.port
    except ValueError:
        return False
    host = (wanted.hostname or "").casefold()
    domain = (ours.hostname or "").removeprefix("api.")
    if wanted.scheme != "https" or port not in (None, 443) or wanted.username or not domain:
        return False
    return host == domain or host.endswith(f".{domain}") or bool(_S3.fullmatch(host))
