"""Settings come from one table: a wrong or unknown variable is named with what is accepted, and the docs agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline.settings.reading import all_settings, settings_document, unknown_variables
from custody_pipeline.settings.table import SECTIONS


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(f"CUSTODY_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    return str(refused.value)


def test_the_document_is_that_of_the_table() -> None:
    written = (PACKAGE_DIR.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == settings_document(), "run: make docs"


def test_every_setting_is_in_a_section_and_says_what_it_is() -> None:
    rows = list(all_settings())
    assert {row["variable"] for row in rows} == {f"CUSTODY_{name.upper()}" for name in Settings.model_fields}
    assert len(rows) == len(Settings.model_fields)
    assert [row["variable"] for row in rows if not row["description"]] == []
    assert [section.__name__ for section in SECTIONS if not section.__doc__] == []


def test_a_wrong_value_is_named_with_what_was_found_and_what_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(monkeypatch, LOCK_DAYS="0", CSV_COMPRESSION="zip", EXPORT_URL="acme")
    assert sorted(told.splitlines()) == [
        "CUSTODY_CSV_COMPRESSION is 'zip': expected 'none' or 'gzip'",
        "CUSTODY_EXPORT_URL is 'acme': expected s3://bucket or s3://bucket/prefix, "
        "for example s3://acme-call-exports/genesys",
        "CUSTODY_LOCK_DAYS is '0': expected a number greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("FIRST_NIGHT", "2.11.2026", "a day, for example 2026-11-02"),
        ("LANDING_DAYS", "a month", "a whole number"),
        ("LEGAL_HOLD", "perhaps", "true or false"),
    ],
)
def test_what_is_accepted_is_said_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, accepted: str
) -> None:
    monkeypatch.setenv(f"CUSTODY_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value) == f"CUSTODY_{name} is {value!r}: expected {accepted}"


@pytest.mark.parametrize("name", ["LANDING_URL", "CAPTURE_URL", "NIGHT_KEYS_URL"])
@pytest.mark.parametrize("place", ["file:///srv/custody", "gs://acme", "https://s3.amazonaws.com/acme", "s3://"])
def test_a_place_is_a_folder_or_in_s3_and_no_other_address_becomes_a_folder(
    monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    assert f"CUSTODY_{name} is {place!r}: expected " in refusal(monkeypatch, **{name: place})


def test_a_place_in_s3_is_one_however_its_scheme_is_written() -> None:
    settings = Settings(landing_url="S3://acme/landing/", export_url="S3://acme-exports", capture_url="/srv/captures/")
    assert (settings.landing, settings.export_url) == ("s3://acme/landing", "s3://acme-exports")
    assert settings.captures == "/srv/captures"
    assert Settings(landing_url="landing/").landing == str(Path("landing").absolute())


@pytest.mark.parametrize("variable", [name.upper() for name in Settings.model_fields])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_setting_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    refused = refusal(monkeypatch, **{variable: value}).splitlines()
    assert refused[0] == f"CUSTODY_{variable} is empty; unset it, or give it a value"


@pytest.mark.parametrize("value", [" s3://acme", "s3://acme ", "s3://acme\n", '"s3://acme"', "'s3://acme'"])
@pytest.mark.parametrize("variable", ["PUBLISH_URL", "LANDING_URL", "HOME", "OPERATOR", "GENESYS_CLIENT_SECRET"])
def test_what_a_file_or_a_shell_left_around_a_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    refused = refusal(monkeypatch, **{variable: value}).splitlines()
    why = "has quotes around" if value[0] in "'\"" else "begins or ends with a space"
    assert refused[0].startswith(f"CUSTODY_{variable} {why}")


def test_the_line_break_after_a_secret_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_SALT_SECRET", "ab" * 32 + "\n")
    monkeypatch.setenv("CUSTODY_WEBHOOK_SECRETS", "k1:a-secret-of-enough-letters\n")
    assert load_settings().webhook_keys == {"k1": b"a-secret-of-enough-letters"}


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HOME", "~/custody", "~ is a name for your shell alone"),
        ("LANDING_URL", "~/landing", "~ is a name for your shell alone"),
        ("LANDING_URL", "s3:/acme/landing", "expected s3://bucket"),
        ("LANDING_URL", "S3:acme", "expected s3://bucket"),
        ("PUBLISH_URL", "s3://acme//prod", "expected s3://bucket"),
        ("S3_ENDPOINT_URL", "minio:9000", "expected an address such as"),
        ("S3_ENDPOINT_URL", "http://", "expected an address such as"),
        ("TIMESTAMP_URL", "timestamp.digicert.com", "expected an address such as"),
        ("TIMESTAMP_URL", "http://timestamp digicert.com", "expected an address such as"),
        ("EVENT_QUEUE_URL", "arn:aws:sqs:eu-west-1:1:q", "expected an address such as"),
        ("FIRST_NIGHT", "86400", "expected a day"),
        ("FIRST_NIGHT", "2026-11-02T00:00:00", "expected a day"),
        ("DUCKDB_MEMORY_LIMIT", "2", "expected a size"),
        ("DUCKDB_MEMORY_LIMIT", "none", "expected a size"),
        ("DUCKDB_MEMORY_LIMIT", "80%", "expected a size"),
        ("ALERT_WEBHOOK_KEY_ID", "k 1", "up to 32 letters"),
        ("LOCK_DAYS", "0", "greater than or equal to 1"),
        ("LOCK_DAYS", "3000000", "less than or equal to 36500"),
        ("AUDIT_DAYS", "9" * 30, "less than or equal to 36500"),
        ("LANDING_DAYS", "9" * 30, "less than or equal to 36500"),
        ("RUNS_DAYS", "9" * 30, "less than or equal to 36500"),
        ("ALERT_REASONS", "TAG_NEVER_SET", "expected JSON"),
        ("ALERT_REASONS", "null", 'a JSON list of texts, for example ["one", "two"]'),
    ],
)
def test_a_value_of_another_form_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    (refused,) = refusal(monkeypatch, **{variable: value}).splitlines()
    assert refused.startswith(f"CUSTODY_{variable} is ")
    assert says in refused


@pytest.mark.parametrize("owner", ["legal", "team:", "team: ", "ann@example", "ann@example.accountants", "a b@c.de"])
def test_owners_are_teams_and_addresses_that_dagster_takes(monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    told = refusal(monkeypatch, OWNERS=f"team:legal,{owner},ann@example.com")
    assert told.startswith(f"CUSTODY_OWNERS is {owner.strip()!r}: " if "@" not in owner else "CUSTODY_OWNERS: ")
    assert "expected team:NAME or an e-mail address" in told


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALERT_WEBHOOK_SECRET", "shibboleth"),
        ("ALERT_SLACK_WEBHOOK_URL", "shibboleth"),
        ("WEBHOOK_SECRETS", "shibboleth"),
        ("GENESYS_DOMAIN", "ftp://user:shibboleth@gateway.example.com"),
    ],
)
def test_a_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    told = refusal(monkeypatch, **{variable: value})
    assert told.startswith(f"CUSTODY_{variable}: ")
    assert "shibboleth" not in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("LOCK_MOD", "CUSTODY_LOCK_MOD is no setting; the nearest is CUSTODY_LOCK_MODE"),
        ("PUBLISHURL", "CUSTODY_PUBLISHURL is no setting; the nearest is CUSTODY_PUBLISH_URL"),
        ("XYZ", "CUSTODY_XYZ is no setting; custody env lists all settings"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    assert refusal(monkeypatch, **{name: "COMPLIANCE"}) == told


def test_the_variables_that_kubernetes_sets_for_a_service_are_no_settings_and_are_passed_over() -> None:
    names = [
        "PORT",
        "PORT_80_TCP",
        "PORT_80_TCP_ADDR",
        "S3_PORT_8333_TCP_PROTO",
        "SERVICE_HOST",
        "S3_SERVICE_PORT_HTTP",
    ]
    assert unknown_variables({f"CUSTODY_{name}": "x" for name in names}) == []


def test_an_argument_that_is_no_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lock_mod"):
        Settings(home=tmp_path, lock_mod="COMPLIANCE")  # type: ignore[call-arg]


def test_a_missing_setting_is_named_with_an_example() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings().require("publish_url")
    example = "export CUSTODY_PUBLISH_URL=s3://acme-custody/prod"
    assert str(refused.value) == f"CUSTODY_PUBLISH_URL is not set; for example: {example}"


KEYS = {"night_key_file": "night.key"}


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        (KEYS, None),
        ({**KEYS, "night_keys_url": "s3://keys", "capture_url": "s3://captures"}, None),
        ({"capture_url": "s3://captures"}, None),
        (
            {**KEYS, "capture_url": "s3://captures"},
            "CUSTODY_CAPTURE_URL is on S3, and so must be",
        ),
        ({**KEYS, "landing_url": "s3://landing", "night_keys_url": "keys"}, "CUSTODY_LANDING_URL is on S3"),
        ({**KEYS, "night_key_kms": "arn:aws:kms:eu-central-1:1:key/k"}, "set one of CUSTODY_NIGHT_KEY_FILE"),
        ({"night_keys_url": "s3://keys"}, "needs CUSTODY_NIGHT_KEY_FILE or CUSTODY_NIGHT_KEY_KMS"),
    ],
)
def test_keys_of_nights_are_where_everybody_finds_them(values: dict[str, str], refused: str | None) -> None:
    if refused is None:
        assert Settings.model_validate(values)
        return
    with pytest.raises(ValidationError, match=refused):
        Settings.model_validate(values)


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ("https://api.mypurecloud.com.au", "expected mypurecloud.com.au"),
        ("https://mypurecloud.ie", "expected mypurecloud.ie"),
        ("https://LOGIN.euw2.pure.cloud/", "expected euw2.pure.cloud"),
        ("https://gateway.example.com?x=1", "base URL"),
        ("https://gateway.example.com#x", "base URL"),
        ("https://user:secret@gateway.example.com", "base URL"),
        ("https://:443", "base URL"),
        ("https://gateway.example.com:99999", "[Pp]ort"),
        ("http://gateway.example.com", "would travel in clear"),
        ("http://127.0.0.1.example.com", "would travel in clear"),
        ("https://gateway.example.com ", "expected"),
    ],
)
def test_an_address_that_is_no_gateways_is_refused(domain: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(genesys_domain=domain, genesys_client_id="i", genesys_client_secret="s")


@pytest.mark.parametrize(
    "domain", ["https://gateway.example.com:8443", "http://[::1]:8080", "https://notmypurecloud.ie"]
)
def test_a_gateways_address_is_taken_as_it_is(domain: str) -> None:
    made = Settings(genesys_domain=domain, genesys_client_id="i", genesys_client_secret="s")
    assert (made.api_url, made.login_url) == (domain, domain)
