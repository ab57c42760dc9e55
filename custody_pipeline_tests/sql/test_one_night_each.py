"""One recording has one row in one night, in whichever order nights are run."""

from __future__ import annotations

import random
from datetime import datetime, time, timedelta

import pytest

from custody_pipeline.models.pending_reads import known_conversations
from custody_pipeline_tests.sql.conftest import NIGHT, Night

LATER = NIGHT + timedelta(days=1)


def lists(night: Night) -> None:
    """What the organisation lists on any day. Given days are counted from the night of `night`."""
    first, second = ("02", "03") if night.day == NIGHT else ("01", "02")
    night.rows["orphan_recordings"] = [
        {"orphan_id": "o1", "recording_id": "late", "start_time": f"2026-11-{first}T23:59:00.000+0000",
         "created_time": f"2026-11-{second} 05:00:00"},
        {"orphan_id": "o2", "recording_id": "after midnight", "conversation_id": "c1",
         "start_time": f"2026-11-{second}T00:05:00.000Z"},
        {"orphan_id": "o3", "created_time": f"2026-11-{second} 05:00:00"},
        {"orphan_id": "o4", "recording_id": "without a time"},
        {"orphan_id": "o5", "recording_id": "of another year", "start_time": "2025-01-01T00:00:00.000Z"},
    ]  # fmt: skip
    night.rows["export_failures"] = [
        {"job_id": "j1", "conversation_id": "c1", "recording_id": "failed"},
        {"job_id": "j1", "conversation_id": "nobody", "recording_id": "failed and unknown"},
    ]
    night.rows["export_manifests"] = [{"export_id": "e1", "conversation_id": "c2", "recording_id": "r2"}]


def recordings(night: Night) -> set[str]:
    return {row["recording_id"] for row in night.table("chain_of_custody")}


def model(night: Night) -> None:
    """Bring what other nights see of a night up to date now."""
    night.model()
    night.check("one_night_each")


def run(first: Night, second: Night) -> None:
    """Each knows of the other what was there when it was run."""
    for night in (first, second):
        night.load()
        model(night)


@pytest.fixture
def later(night: Night) -> Night:
    """The night after `night`, in the same warehouse, with a call of its own."""
    later = Night(night.con, night.models, night.mapping, night.scratch, LATER)
    later.call("c2", "r2")
    lists(later)
    night.call()
    return later


def test_a_recording_is_in_one_night_whichever_was_run_first(night: Night, later: Night) -> None:
    lists(night)
    run(later, night)
    assert {(row["recording_id"], row["other_night"], row["finding"]) for row in night.check("one_night_each")} == {
        (name, LATER, "in both nights") for name in ("after midnight", "without a time", "failed", "failed and unknown")
    }
    model(later)
    assert night.check("one_night_each") == later.check("one_night_each") == []
    assert recordings(night) == {"r1", "late", "after midnight", "without a time", "failed", "failed and unknown"}
    assert recordings(later) == {"r2", "orphan:o3"}
    before = night.sha256()
    night.model()
    assert night.sha256() == before


def test_an_orphan_of_a_night_that_does_not_have_it_yet_is_named(night: Night, later: Night) -> None:
    run(night, later)
    found = {(row["recording_id"], row["other_night"], row["finding"]) for row in later.check("one_night_each")}
    assert found == {(name, NIGHT, "in no night") for name in ("late", "after midnight", "failed")}


@pytest.mark.parametrize("resource", ["export_failures", "export_manifests", "conversation_events"])
def test_what_names_a_recording_of_another_night_gives_no_row_and_is_named_until_that_night_has_one(
    night: Night, later: Night, resource: str
) -> None:
    later.rows["orphan_recordings"].clear()
    later.rows["export_failures"].clear()
    named = {"conversation_id": "c1", "recording_id": "r9"}
    later.rows[resource].append(named)
    run(night, later)
    assert recordings(later) == {"r2"}
    assert [(row["recording_id"], row["finding"]) for row in later.check("one_night_each")] == [("r9", "in no night")]
    night.rows[resource].append(named)
    run(night, later)
    assert (recordings(night), recordings(later)) == ({"r1", "r9"}, {"r2"})
    assert night.check("one_night_each") == later.check("one_night_each") == []


def collect_list(night: Night, calls: list[tuple[str, datetime, datetime, str]]) -> None:
    """Load for `night` what it keeps of the list of all recordings, and the single reads, and model it."""
    end = datetime.combine(night.day, time()) + timedelta(days=1)
    night.load()  # the job is read before the list
    here = known_conversations(night.con, night.day, {call for call, *_ in calls})
    night.rows["listed_recordings"], night.rows["conversations"] = [], []
    for call, began, created, source in calls:
        if created < end - timedelta(days=1) or (created >= end and call not in here):
            continue
        # Given days are counted from NIGHT.
        back = night.day - NIGHT
        night.listed(f"of {call}", call, creation_time=str(created - back))
        if source == "read":
            night.single(call, agent={})["start_time"] = str(began - back)
    night.run()
    night.query("SELECT 1 FROM staging.recording_nights, staging.placed_ids LIMIT 1")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_listed_recording_is_in_the_night_in_which_its_call_began_in_whichever_order_nights_run(
    night: Night, order: tuple[int, int]
) -> None:
    chance = random.Random(repr(order))
    nights = (night, Night(night.con, night.models, night.mapping, night.scratch, LATER))
    midnight, calls = datetime.combine(LATER, time()), []
    for number in range(60):
        began = midnight + timedelta(minutes=chance.randint(-90, 90))
        created = began + timedelta(minutes=chance.choice((0, 1, 30, 100)))
        calls.append((f"l{number}", began, created, source := chance.choice(("job", "read", "hidden"))))
        if source == "job":
            of = nights[began >= midnight]
            of.rows["conversation_details"].append(
                {"conversation_id": f"l{number}", "conversation_start": "2026-11-02 10:00:00", "participants": []}
            )
    # The third run is the one that the check asks for.
    for place in (*order, order[0]):
        collect_list(nights[place], calls)
    # Of a hidden call nobody knows when it began: the time of the recording decides.
    expected = {
        (f"of {call}", nights[(created if source == "hidden" else began) >= midnight].day)
        for call, began, created, source in calls
    }
    sql = "SELECT recording_id, partition_date FROM staging.recording_keys WHERE recording_id LIKE 'of %'"
    found = [(row["recording_id"], row["partition_date"]) for row in night.query(sql)]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert [one.check("one_night_each") for one in nights] == [[], []]


def test_a_listed_recording_whose_call_began_the_night_before_is_named_until_that_night_is_run_again(
    night: Night, later: Night
) -> None:
    midnight = datetime.combine(LATER, time())
    calls = [("l1", midnight - timedelta(minutes=2), midnight + timedelta(minutes=5), "read")]
    for one in (night, later):
        collect_list(one, calls)
    found = {
        row["other_night"]: row["finding"] for row in later.check("one_night_each") if row["recording_id"] == "of l1"
    }
    assert found == {NIGHT: "in no night"}
    collect_list(night, calls)
    assert "of l1" not in {row["recording_id"] for row in later.check("one_night_each")}
    assert night.query("SELECT partition_date FROM staging.recording_nights WHERE recording_id = 'of l1'") == [
        {"partition_date": NIGHT}
    ]
