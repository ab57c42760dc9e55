"""The client against a scripted server: what it retries, what it reports, and what it never says."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from custody_pipeline.extract import genesys, genesys_errors
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.extract.genesys_errors import GenesysError
from custody_pipeline.extract.rate_limiter import RateLimiter
from custody_pipeline.settings import Settings
from custody_pipeline_tests.extract.conftest import Api, Asked, Reply, reply


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(api_settings: Callable[..., Settings], clock: Clock) -> Iterator[GenesysClient]:
    with GenesysClient(api_settings(), sleep=clock.sleep, clock=clock, jitter=lambda: 0.0) as made:
        yield made


def tokens(api: Api) -> list[str]:
    return [asked.headers.get("Authorization", "") for asked in api.asked if asked.path != "/oauth/token"]


def test_logs_in_once_with_basic_credentials_and_keeps_the_token(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", reply({"a": 1}))
    assert [client.get("/api/v2/x").json() for _ in range(3)] == [{"a": 1}] * 3
    assert api.paths().count("/oauth/token") == 1
    login = api.asked[0]
    assert login.headers["Authorization"].startswith("Basic ")
    assert login.body == b"grant_type=client_credentials"
    assert tokens(api) == ["Bearer token-1"] * 3


def test_renews_the_token_before_it_expires(api: Api, client: GenesysClient, clock: Clock) -> None:
    api.expires_in = 300
    api.on("/api/v2/x", Reply())
    client.get("/api/v2/x")
    clock.now += 269
    client.get("/api/v2/x")
    clock.now += 2
    client.get("/api/v2/x")
    assert tokens(api) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_a_token_that_expires_while_a_request_waits_is_renewed(api: Api, client: GenesysClient) -> None:
    api.expires_in = 300
    api.on("/api/v2/x", *[Reply(status=429, headers={"Retry-After": "180"})] * 3, Reply())
    client.get("/api/v2/x")
    assert tokens(api) == ["Bearer token-1"] * 2 + ["Bearer token-2"] * 2


def test_a_401_in_mid_run_is_answered_by_one_new_token(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", Reply(), Reply(status=401), Reply(b'{"ok":1}'))
    client.get("/api/v2/x")
    assert client.get("/api/v2/x").json() == {"ok": 1}
    assert tokens(api)[-1] == "Bearer token-2"


def test_a_401_on_a_new_token_too_is_a_login_error(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", Reply(status=401))
    with pytest.raises(genesys_errors.LoginError, match="CUSTODY_GENESYS_CLIENT_ID"):
        client.get("/api/v2/x")
    assert api.paths().count("/oauth/token") == 2


def test_threads_that_meet_an_expired_token_together_share_one_renewal(api: Api, client: GenesysClient) -> None:
    together = threading.Barrier(4)

    def expired(asked: Asked) -> Reply:
        if asked.headers["Authorization"] == "Bearer token-1":
            together.wait(timeout=10)
            return Reply(status=401)
        return Reply(b'{"ok":1}')

    api.on("/api/v2/x", expired)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.get("/api/v2/x").json(), range(4)))
    assert answers == [{"ok": 1}] * 4
    assert api.paths().count("/oauth/token") == 2


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 410, 413, 501])
def test_wrong_credentials_are_a_login_error_at_once(api: Api, client: GenesysClient, status: int) -> None:
    api.on("/oauth/token", reply({"error": "invalid_client", "description": "client-secret-text"}, status=status))
    with pytest.raises(genesys_errors.LoginError) as caught:
        client.identity()
    assert "invalid_client" in str(caught.value)
    assert "client-secret-text" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, genesys_errors.BadRequest),
        (403, genesys_errors.Forbidden),
        (404, genesys_errors.NotFound),
        (410, genesys_errors.NotFound),
        (413, genesys_errors.TooLarge),
        (501, genesys_errors.NotOffered),
        (302, genesys_errors.UnexpectedAnswer),
    ],
)
def test_permanent_answers_are_asked_once(
    api: Api, client: GenesysClient, status: int, kind: type[GenesysError]
) -> None:
    headers = {"ININ-Correlation-Id": "0f-cc", "Location": "http://127.0.0.1:1/elsewhere"}
    api.on("/api/v2/x", reply({"code": "some.code", "message": "Ms. Private"}, status=status, headers=headers))
    with pytest.raises(kind) as caught:
        client.get("/api/v2/x", secretive="value")
    text = str(caught.value)
    assert "GET /api/v2/x" in text
    assert "some.code" in text
    assert "0f-cc" in text
    assert "Private" not in text
    assert "value" not in text
    assert caught.value.permanent
    assert api.paths().count("/api/v2/x") == 1


def test_a_listing_that_repeats_its_page_is_left(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", reply({"entities": [{"id": "a"}], "nextUri": "/api/v2/x?pageNumber=2"}))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="repeats its pages"):
        list(client.entities("/api/v2/x"))
    assert api.paths().count("/api/v2/x") == 1 + genesys.MAX_REPEATED_CURSORS + 1


@pytest.mark.parametrize("body", [b"access_token=s3cr3t&token_type=bearer", b'{"token": "s3cr3t"}', b""])
def test_no_bytes_of_a_login_are_kept(api: Api, client: GenesysClient, body: bytes) -> None:
    api.on("/oauth/token", Reply(body))
    with pytest.raises(genesys_errors.LoginError) as caught:
        client.get("/api/v2/x")
    assert caught.value.body is None


def test_a_login_in_trouble_is_not_an_answer_about_what_was_asked_for(api: Api, client: GenesysClient) -> None:
    api.on("/oauth/token", Reply(status=503))
    with pytest.raises(genesys_errors.NoAnswer, match="POST /oauth/token: HTTP 503, 5 attempts") as caught:
        client.get("/api/v2/x")
    assert caught.value.status is None


@pytest.mark.parametrize("location", ["https://[x/elsewhere", "\xff"])
def test_a_redirect_to_no_address_is_an_unexpected_answer(api: Api, client: GenesysClient, location: str) -> None:
    api.on("/api/v2/x", Reply(status=302, headers={"Location": location}))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="HTTP 302"):
        client.get("/api/v2/x")


@pytest.mark.parametrize("status", [408, 421, 425, 429, 500, 502, 503, 504])
def test_passing_answers_are_retried_with_growing_waits(
    api: Api, client: GenesysClient, clock: Clock, status: int
) -> None:
    api.on("/api/v2/x", *[Reply(status=status)] * 3, Reply(b'{"ok":1}'))
    assert client.get("/api/v2/x").json() == {"ok": 1}
    assert client.counters.retries == 3
    assert clock.slept == sorted(clock.slept)
    assert len(clock.slept) >= 3


def test_patience_ends_and_the_error_says_how_often_it_was_tried(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", Reply(status=503))
    with pytest.raises(genesys_errors.ServerTrouble, match=r"HTTP 503.*5 attempts") as caught:
        client.get("/api/v2/x")
    assert not caught.value.permanent
    assert api.paths().count("/api/v2/x") == 5


def test_retry_after_is_waited_out(api: Api, client: GenesysClient, clock: Clock) -> None:
    api.on("/api/v2/x", Reply(status=429, headers={"Retry-After": "7"}), Reply())
    client.get("/api/v2/x")
    assert sum(clock.slept) == 7.0


def test_a_retry_after_of_more_than_three_minutes_is_given_up(api: Api, client: GenesysClient, clock: Clock) -> None:
    api.on("/api/v2/x", Reply(status=429, headers={"Retry-After": "181"}))
    with pytest.raises(genesys_errors.RateLimited):
        client.get("/api/v2/x")
    assert clock.slept == []


def test_retry_after_may_be_a_date(api: Api, client: GenesysClient, clock: Clock) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    api.on("/api/v2/x", Reply(status=503, headers={"Retry-After": later}))
    with pytest.raises(genesys_errors.ServerTrouble):
        client.get("/api/v2/x")
    assert clock.slept == []


def test_a_retry_after_that_is_no_number_is_ignored(api: Api, client: GenesysClient, clock: Clock) -> None:
    api.on("/api/v2/x", Reply(status=429, headers={"Retry-After": "²"}), Reply())
    client.get("/api/v2/x")
    assert clock.slept == [0.25]


def test_a_short_body_is_asked_for_again(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", Reply(b'{"half', announce=100), Reply(b'{"ok":1}'))
    assert client.get("/api/v2/x").json() == {"ok": 1}


def test_a_body_that_stays_short_is_an_error_not_a_document(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", Reply(b'{"ok":1}', announce=9))
    with pytest.raises(genesys_errors.ShortBody):
        client.get("/api/v2/x")


ZIPPED = gzip.compress(b'{"ok":1}')


@pytest.mark.parametrize("cut", [ZIPPED[:-1], ZIPPED[:-8], ZIPPED[:12], b"{}", ZIPPED[:-8] + bytes(8)])
def test_a_compressed_body_without_its_end_is_asked_for_again(api: Api, client: GenesysClient, cut: bytes) -> None:
    headers = {"Content-Encoding": "gzip"}
    api.on("/api/v2/x", Reply(cut, headers=headers), Reply(ZIPPED, headers=headers))
    assert client.get("/api/v2/x").body == b'{"ok":1}'
    assert api.asked[-1].headers["Accept-Encoding"] == "gzip"


def test_an_encoding_that_was_not_asked_for_is_no_document(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", Reply(headers={"Content-Encoding": "br"}))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="encoding that was not asked for"):
        client.get("/api/v2/x")


@pytest.mark.parametrize(
    ("domain", "name", "value"),
    [
        ("http://127.0.0.1:1", "http_proxy", "socks5://127.0.0.1:1"),
        ("http://127.0.0.1:1", "http_proxy", "http://u:s3cr3t@127.0.0.1:99999"),
        ("https://127.0.0.1:1", "REQUESTS_CA_BUNDLE", "/nowhere"),
        ("https://gateway..example", "unused", ""),
    ],
)
def test_what_stands_between_is_named(
    settings: Callable[..., Settings], clock: Clock, monkeypatch: pytest.MonkeyPatch, domain: str, name: str, value: str
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv(name, value)
    between = settings(genesys_domain=domain, genesys_client_id="i", genesys_client_secret="s")
    with (
        GenesysClient(between, sleep=clock.sleep, clock=clock) as client,
        pytest.raises(genesys_errors.NoAnswer, match="REQUESTS_CA_BUNDLE") as caught,
    ):
        client.get("/api/v2/x")
    assert "s3cr3t" not in str(caught.value)


def test_no_connection_is_retried_then_named(settings: Callable[..., Settings], clock: Clock, api: Api) -> None:
    gone = settings(genesys_domain=api.url, genesys_client_id="i", genesys_client_secret="s")
    api.stop()
    with (
        GenesysClient(gone, sleep=clock.sleep, clock=clock) as client,
        pytest.raises(genesys_errors.NoAnswer) as caught,
    ):
        client.get("/api/v2/x")
    assert caught.value.attempts == 5
    assert "CUSTODY_GENESYS_DOMAIN" in str(caught.value)


def test_a_body_that_is_not_json_is_named(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", Reply(b"<html>proxy login</html>"))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="not JSON"):
        client.get("/api/v2/x").json()


def test_only_api_paths_are_called(client: GenesysClient) -> None:
    with pytest.raises(ValueError, match="not an API path"):
        client.get("https://elsewhere.example/api/v2/x")


def test_no_secret_reaches_the_log(api: Api, client: GenesysClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.on("/api/v2/x", Reply(status=503), Reply(status=401), Reply())
    client.get("/api/v2/x", phone="+15551234567")
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("custody_pipeline"))
    assert "503" in ours
    for secret in ("token-1", "token-2", "client-secret-text", "15551234567", "Basic", "Bearer"):
        assert secret not in ours


def test_identity_says_whose_token_it_is(api: Api, client: GenesysClient) -> None:
    api.on(
        "/api/v2/tokens/me",
        reply({"organization": {"id": "o", "name": "Org"}, "OAuthClient": {"id": "c", "name": "Custody"}}),
    )
    assert str(client.identity()) == "Custody (c)"
    assert client.identity().organization_id == "o"


def test_an_empty_page_is_not_the_end(api: Api, client: GenesysClient) -> None:
    api.on(
        "/api/v2/list",
        reply({"entities": [1], "nextUri": "/api/v2/list?pageNumber=2", "pageCount": 3}),
        reply({"entities": [], "nextUri": "/api/v2/list?pageNumber=3", "pageCount": 3}),
        reply({"entities": [2], "pageCount": 3}),
    )
    assert [page.json()["entities"] for page in client.pages("/api/v2/list", pageSize=1)] == [[1], [], [2]]
    assert [asked.query.get("pageNumber") for asked in api.asked[1:]] == [None, "2", "3"]


@pytest.mark.parametrize("page", [{"total": 0, "pageSize": 100}, {"pageCount": 0}, {"entities": []}])
def test_a_listing_may_say_that_it_has_nothing(api: Api, client: GenesysClient, page: dict[str, object]) -> None:
    api.on("/api/v2/list", reply(page))
    assert list(client.entities("/api/v2/list")) == []


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"entities": None, "pageCount": 1},
        {"entities": None, "total": 0},
        {"pageSize": 100},
        {"total": 7},
        {"entities": 5},
    ],
)
def test_a_listing_without_a_list_is_not_an_empty_one(api: Api, client: GenesysClient, page: dict[str, object]) -> None:
    api.on("/api/v2/list", reply(page))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="no list of entities"):
        list(client.entities("/api/v2/list"))


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (b'{"entities":[{"id":"a"}],"entities":[],"total":1}', "no list of entities"),
        (b'{"entities":[],"entities":[{"id":"a"}],"total":1}', "no list of entities"),
        (b'{"entities":[{"id":"a"}],"cursor":"more","cursor":null}', "the next page is named twice"),
        (
            b'{"entities":[{"id":"a"}],"nextUri":"/api/v2/list?pageNumber=2","nextUri":""}',
            "the next page is named twice",
        ),
    ],
)
def test_of_two_lists_or_two_next_pages_nobody_knows_which_counts(
    api: Api, client: GenesysClient, page: bytes, told: str
) -> None:
    api.on("/api/v2/list", Reply(page))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match=told):
        list(client.entities("/api/v2/list"))


def test_a_name_inside_an_item_does_not_stand_twice(api: Api, client: GenesysClient) -> None:
    inner = {"id": "a", "entities": [], "cursor": "x", "nextUri": "y", "note": '"entities": "cursor":'}
    api.on("/api/v2/list", reply({"entities": [inner, inner | {"id": "b"}], "cursor": None, "total": 2}))
    assert len(list(client.entities("/api/v2/list"))) == 2


@pytest.mark.parametrize("numbered", [False, True])
def test_a_token_of_any_name_in_the_next_address_is_followed(api: Api, client: GenesysClient, numbered: bool) -> None:
    """The SDK's `get_orphanrecordings` has `pageNumber` and `nextPage`; which of them counts is unconfirmed."""
    number = "&pageNumber=2" if numbered else ""
    api.on(
        "/api/v2/orphanrecordings",
        reply({"entities": [{"id": "a"}], "nextUri": f"/api/v2/orphanrecordings?pageSize=1&nextPage=t%2F1{number}"}),
        reply({"entities": [{"id": "b"}], "total": 2}),
    )
    assert len(list(client.entities("/api/v2/orphanrecordings", pageSize=1))) == 2
    expected = {"pageSize": "1", "nextPage": "t/1"} | ({"pageNumber": "2"} if numbered else {})
    assert api.asked[-1].query == expected


@pytest.mark.parametrize("token", ["after=a", "cursor=a", "nextPage=a&x=1"])
def test_a_listing_that_repeats_its_token_is_left(api: Api, client: GenesysClient, token: str) -> None:
    api.on("/api/v2/x", reply({"entities": [], "nextUri": f"/api/v2/x?{token}"}))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="repeats its cursor"):
        list(client.entities("/api/v2/x"))


def test_a_full_page_that_does_not_say_how_it_goes_on_is_not_the_last(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/x", reply({"entities": [{"id": "a"}, {"id": "b"}]}))
    came: list[bytes] = []
    with pytest.raises(genesys_errors.ShortList, match="does not say that it is the last"):
        came += client.entities("/api/v2/x", pageSize=2)
    assert len(list(client.entities("/api/v2/x", pageSize=3))) == 2
    api.on("/api/v2/y", reply({"entities": [1], "cursor": "a"}), reply({"entities": [2]}))
    assert len(list(client.entities("/api/v2/y", pageSize=1))) == 2


def test_a_cursor_that_stands_only_in_the_next_address_is_followed(api: Api, client: GenesysClient) -> None:
    following = "https://elsewhere.example.com/api/v2/list?pageSize=2&cursor=a%2Fb%3D"
    api.on("/api/v2/list", reply({"entities": [1], "nextUri": following}), reply({"entities": [2]}))
    assert list(client.entities("/api/v2/list", pageSize=2)) == [b"1", b"2"]
    assert [asked.query for asked in api.asked[1:]] == [{"pageSize": "2"}, {"pageSize": "2", "cursor": "a/b="}]


def test_a_cursor_that_repeats_for_ever_is_an_error(api: Api, client: GenesysClient) -> None:
    api.on("/api/v2/list", reply({"entities": [], "cursor": "same"}))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="cursor"):
        list(client.pages("/api/v2/list"))


def test_the_ceiling_holds_in_any_minute(clock: Clock) -> None:
    limiter = RateLimiter(3, sleep=clock.sleep, clock=clock)
    times = []
    for _ in range(7):
        limiter.acquire()
        times.append(clock.now - 1000.0)
    assert times == [0, 0, 0, 61, 61, 61, 122]


def test_the_headers_lower_the_ceiling_until_their_reset(clock: Clock) -> None:
    limiter = RateLimiter(1000, sleep=clock.sleep, clock=clock)
    limiter.acquire()
    limiter.heed({"inin-ratelimit-count": "298", "inin-ratelimit-allowed": "300", "inin-ratelimit-reset": "20"})
    times = []
    for _ in range(4):
        limiter.acquire()
        times.append(clock.now - 1000.0)
    assert times == [0, 0, 21, 21]


@pytest.mark.parametrize("reset", ["inf", "1e9"])
def test_no_reset_lasts_longer_than_a_window(clock: Clock, reset: str) -> None:
    limiter = RateLimiter(1000, sleep=clock.sleep, clock=clock)
    limiter.heed({"inin-ratelimit-count": "300", "inin-ratelimit-allowed": "300", "inin-ratelimit-reset": reset})
    limiter.acquire()
    assert clock.now == 1061.0


def test_a_late_answer_does_not_give_budget_back(clock: Clock) -> None:
    limiter = RateLimiter(1000, sleep=clock.sleep, clock=clock)
    headers = {"inin-ratelimit-allowed": "300", "inin-ratelimit-reset": "20"}
    limiter.heed({**headers, "inin-ratelimit-count": "299"})
    limiter.acquire()
    limiter.heed({**headers, "inin-ratelimit-count": "290"})
    limiter.acquire()
    assert clock.now == 1021.0


def test_a_body_without_end_is_not_read_to_its_end(
    api: Api, client: GenesysClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genesys, "MAX_BODY_BYTES", 1_000)
    api.on("/api/v2/x", Reply(b" " * 1_000), Reply(b" " * 1_001))
    assert client.get("/api/v2/x").body == b" " * 1_000
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="more than 1,000 bytes"):
        client.get("/api/v2/x")


@pytest.mark.parametrize(
    "pages",
    [
        [{"entities": [{"id": "a"}], "total": 2}],
        [{"entities": [{"id": "a"}], "total": 2, "pageCount": 2}, {"entities": [{"id": "a"}], "total": 2}],
        [{"entities": [], "total": 3}],
        # An element was deleted meanwhile: another one may have moved to a page that was read before.
        [{"entities": [{"id": "a"}], "total": 3, "pageCount": 2}, {"entities": [{"id": "c"}], "total": 2}],
        [{"entities": [{"id": "a"}], "total": 2, "pageCount": 2}, {"entities": [], "total": 0}],
    ],
)
def test_a_listing_that_states_more_than_came_is_not_whole(api: Api, client: GenesysClient, pages: list[Any]) -> None:
    api.on("/api/v2/list", *map(reply, pages))
    came: list[bytes] = []
    with pytest.raises(genesys_errors.ShortList, match=r"entities came"):
        came += client.entities("/api/v2/list")


@pytest.mark.parametrize("total", [None, 0, 1, 2])
def test_a_listing_may_state_less_than_came(api: Api, client: GenesysClient, total: int | None) -> None:
    # Something was deleted while the pages were read; a repeated element counts once.
    api.on("/api/v2/list", reply({"entities": [{"id": "a"}, {"id": "b"}, {"id": "a"}], "total": total}))
    assert len(list(client.entities("/api/v2/list"))) == 3


@pytest.mark.parametrize("odd", [{"total": "many"}, {"cursor": 0}, {"cursor": []}, {"nextUri": False}])
def test_a_page_that_tells_oddly_how_it_goes_on_is_not_the_last(
    api: Api, client: GenesysClient, odd: dict[str, Any]
) -> None:
    api.on("/api/v2/list", reply({"entities": [], **odd}))
    with pytest.raises(genesys_errors.UnexpectedAnswer, match="unexpected shape"):
        list(client.entities("/api/v2/list"))
