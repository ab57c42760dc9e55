"""The retention policy: what is refused, and which conversations are due when."""

from __future__ import annotations

from datetime import date, datetime
from functools import partial
from pathlib import Path

import duckdb
import pytest

from custody_pipeline.forgetting.choices import _choices, by_day, due
from custody_pipeline.forgetting.coming import deadlines, removals_near
from custody_pipeline.forgetting.policy import Keep, load_policy
from custody_pipeline.io.yaml_file import RefusedFileError
from custody_pipeline.settings import Settings
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.publish.nights import insert

RULES = """
version: 1
authority: records schedule 2026-03
rules:
  - name: held calls
    keep: 7 years
    select: {tags: [Legal-Hold = yes]}
  - name: screens
    keep: 90 days
    select: {media: [screen]}
  - name: everything else
    keep: 1 month
    select: {media: [call]}
"""


def test_a_policy_says_how_long(tmp_path: Path) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text(RULES)
    policy = load_policy(path)
    assert [(rule.name, str(rule.keep)) for rule in policy.rules] == [
        ("held calls", "7 years"), ("screens", "90 days"), ("everything else", "1 month"),
    ]  # fmt: skip
    assert (policy.authority, policy.reason, policy.warn_days) == (
        "records schedule 2026-03", "end of the retention period", 30,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keep", "day", "after"),
    [
        (Keep(90, "day"), date(2026, 11, 2), date(2027, 2, 1)),
        (Keep(1, "month"), date(2027, 1, 31), date(2027, 3, 1)),
        (Keep(14, "month"), date(2026, 12, 31), date(2028, 3, 1)),
        (Keep(1, "year"), date(2028, 2, 29), date(2029, 3, 1)),
        (Keep(99_999, "year"), date(2028, 2, 29), date.max),
    ],
)
def test_a_time_ends_with_its_last_day_and_a_month_without_that_day_with_its_own(
    keep: Keep, day: date, after: date
) -> None:
    assert keep.after(day) == after


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("version: 1", "version: 2", 2, "expected 'version: 1'"),
        ("authority: records schedule 2026-03\n", "", 2, "expected 'authority:'"),
        ("7 years", "seven years", 6, "'90 days'"),
        ("7 years", "0 days", 6, "'7 years'"),
        ("screens", "held calls", 5, "is there twice"),
        ("keep: 90 days", "until: 90 days", 9, "unknown field 'until'"),
        ("{media: [screen]}", "{ids: [x]}", 10, "unknown field 'ids'"),
        ("{media: [screen]}", "{from: 2026-11-01}", 10, "unknown field 'from'"),
        ("{media: [screen]}", "{}", 10, "the selection is empty"),
        ("rules:", "warn_days: soon\nrules:", 4, "expected a number of days"),
        ("rules:", "rule:", 4, "unknown field 'rule'"),
    ],
)
def test_a_wrong_policy_is_refused_with_line_and_accepted_form(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text(RULES.replace(old, new, 1))
    with pytest.raises(RefusedFileError) as refused:
        load_policy(path)
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert says in str(refused.value)


def test_the_longest_rule_counts_and_what_no_rule_selects_is_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ready_warehouse.put(settings.analyst_path)
    rows = [
        ("a", "1", "Call", None, '{"Legal-Hold": "yes"}', []),
        ("b", "2", "Call", None, "{}", []),
        ("b", "3", "Call", "Screen", "{}", []),
        ("c", "4", "Chat", None, "{}", []),
        ("d", "5", "Call", None, "{}", ["ERASED"]),
        # Nobody could read their tags: the hold may be on them. A rule that may select one keeps, and never removes.
        ("e", "6", "Call", None, None, []),
        ("f", "7", "Chat", None, None, []),
        # Its tags are of an earlier load. The document that named its agents and queues is gone.
        ("g", "8", "Call", None, "{}", ["CONVERSATION_FETCH_FAILED"]),
    ]
    with duckdb.connect(str(settings.analyst_path)) as con:
        for conversation, recording, media, subtype, tags, reasons in rows:
            insert(
                con,
                "custody.chain_of_custody",
                partition_date=date(2026, 11, 2),
                conversation_id=conversation,
                recording_id=recording,
                media_type=media,
                media_subtype=subtype,
                custom_data=tags,
                custom_data_state="unavailable" if tags is None else "present",
                gap_reasons=reasons,
            )
    path = tmp_path / "retention.yaml"
    path.write_text(RULES)

    found = due(settings, load_policy(path))

    assert [(item.conversation_id, str(item.day), item.rule) for item in found] == [
        ("b", "2027-02-01", "screens"),
        ("a", "2033-11-03", "held calls"),
        ("e", "2033-11-03", "held calls (not known)"),
        ("g", "2033-11-03", "held calls (not known)"),
    ]
    assert by_day(found) == [
        (date(2027, 2, 1), "screens", 1),
        (date(2033, 11, 3), "held calls", 1),
        (date(2033, 11, 3), "held calls (not known)", 2),
    ]

    # A night's page says it of the night.
    with duckdb.connect(str(settings.analyst_path), read_only=True) as con:
        assert deadlines(Settings(home=tmp_path, retention_path=path), con, date(2026, 11, 2)) == [
            "1 conversation of 2026-11-02 until 2027-02-01 (screens)",
            "1 conversation of 2026-11-02 until 2033-11-03 (held calls)",
            "2 conversations of 2026-11-02 until 2033-11-03 (held calls (not known))",
        ]
        assert deadlines(Settings(home=tmp_path, retention_path=path), con, date(2026, 11, 3)) == []
        assert deadlines(settings, con, date(2026, 11, 2)) == []

    # What becomes due within 30 days is an alert of its night.
    settings = Settings(home=tmp_path, retention_path=path)
    assert removals_near(settings, date(2027, 1, 1)) == []
    [alert] = removals_near(settings, date(2027, 1, 2)) or []
    assert (alert.night, alert.recoverable_until) == (date(2026, 11, 2), datetime(2027, 2, 1))
    assert alert.sentence == (
        "1 conversation of this night reaches the end of retention (screens), the first on 2027-02-01."
    )
    path.write_text("version: 2")
    assert removals_near(settings, date(2027, 1, 1)) is None
    settings.analyst_path.unlink()
    assert removals_near(settings, date(2027, 1, 1)) is None


def test_what_may_be_of_a_rules_kind_of_media_is_kept_by_it_and_not_erased(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ready_warehouse.put(settings.analyst_path)
    with duckdb.connect(str(settings.analyst_path)) as con:
        for conversation, media in (("lost", None), ("chat", "Chat"), ("call", "Call")):
            insert(
                con,
                "custody.chain_of_custody",
                partition_date=date(2026, 11, 2),
                conversation_id=conversation,
                recording_id="1",
                media_type=media,
                custom_data_state="present",
                gap_reasons=[],
            )
    path = tmp_path / "retention.yaml"
    rules = "[{name: calls, keep: 7 years, select: {media: [call]}}, {name: rest, keep: 1 month}]"
    path.write_text(f"version: 1\nauthority: x\nrules: {rules}\n")
    assert [(item.conversation_id, str(item.day), item.rule) for item in due(settings, load_policy(path))] == [
        ("chat", "2026-12-03", "rest"),
        ("call", "2033-11-03", "calls"),
        ("lost", "2033-11-03", "calls (not known)"),
    ]


@pytest.mark.parametrize("kind", ["agents", "queues", "divisions"])
def test_a_conversation_whose_agent_queue_or_division_has_no_known_name_is_kept_by_a_rule_that_names_one(
    tmp_path: Path, kind: str
) -> None:
    """The client may read conversations, and list no users, queues or divisions."""
    settings = Settings(home=tmp_path)
    ready_warehouse.put(settings.analyst_path)
    one = f"{1:08}-0000-4000-8000-000000000000"
    with duckdb.connect(str(settings.analyst_path)) as con:
        for name, known in (("unknown", None), ("sales", "Sales"), ("claims", "Claims")):
            of_night = {"partition_date": date(2026, 11, 2), "conversation_id": name}
            ids = {"queue_ids": [one], "queue_names": [known] if known else [], "user_ids": [name]}
            insert(con, "custody.chain_of_custody", **of_night, recording_id="1", gap_reasons=[], **ids)
            insert(con, "custody.divisions", **of_night, division_id=one, division_name=known)
            insert(con, "custody.agents", partition_date=date(2026, 11, 2), user_id=name, user_name=known)
    path = tmp_path / "retention.yaml"
    for named, kept in (("Claims", {"claims", "unknown"}), (one.replace("1", "2"), set())):
        rules = f"[{{name: claims, keep: 7 years, select: {{{kind}: [{named}]}}}}, {{name: rest, keep: 1 month}}]"
        path.write_text(f"version: 1\nauthority: x\nrules: {rules}\n")
        found = due(settings, load_policy(path))
        assert {item.conversation_id for item in found if item.day == date(2033, 11, 3)} == kept
        assert len(found) == 3


def test_a_night_that_the_snapshot_leaves_out_makes_no_division_of_another_unknown(tmp_path: Path) -> None:
    for number in (1, 2):
        ready_warehouse.put(tmp_path / f"{number}.duckdb")
        with duckdb.connect(str(tmp_path / f"{number}.duckdb")) as con:
            of_night = {"partition_date": date(2026, 11, number), "conversation_id": f"c{number}"}
            insert(con, "custody.chain_of_custody", **of_night, recording_id="r", gap_reasons=[])
            insert(con, "custody.divisions", **of_night, division_id="d", division_name="Home")
    path = tmp_path / "retention.yaml"
    rules = "[{name: home, keep: 1 month, select: {divisions: [Home]}}]"
    path.write_text(f"version: 1\nauthority: x\nrules: {rules}\n")
    opened = [partial(duckdb.connect, str(tmp_path / f"{number}.duckdb"), read_only=True) for number in (1, 2)]
    found = _choices(load_policy(path), opened)
    assert found.perhaps == found.chosen == {f"c{number}": {0: date(2026, 11, number)} for number in (1, 2)}
