"""`custody retention`: the removals due by the retention policy, and erasing them.

Belongs here: arguments and printing. Does not: the policy and the erasure (forgetting).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from custody_pipeline.cli.shared import (
    A_DAY,
    INCOMPLETE,
    OK,
    Json,
    answer,
    app,
    numbered,
    say,
    settings_of_environment,
    with_servers_of_demo,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from custody_pipeline.forgetting.choices import Due
    from custody_pipeline.forgetting.keeping import PlaceDue, Planned
    from custody_pipeline.forgetting.policy import Policy, Rule
    from custody_pipeline.settings import Settings

_SHOWN = 12

retention_commands = typer.Typer(no_args_is_help=True, help="How long conversations are kept, and what is due.")
app.add_typer(retention_commands, name="retention")

Day = Annotated[datetime | None, typer.Option("--on", **A_DAY, help="As of this day; default: today, UTC.")]


def _policy(settings: Settings) -> Policy:
    from pathlib import Path

    from custody_pipeline.forgetting.policy import load_policy

    return load_policy(Path(settings.require("retention_path")))


def _day(on: datetime | None) -> date:
    return (on or datetime.now(UTC)).date()


@retention_commands.command("show")
@with_servers_of_demo
def show(on: Day = None, as_json: Json = False) -> None:
    """Show what is due, what is held and by whom, and what becomes due on which day. Nothing is removed."""
    from custody_pipeline.forgetting.due import plan

    settings = settings_of_environment()
    policy = _policy(settings)
    found = plan(settings, policy, _day(on))
    lines = [f"policy {policy.path}: {policy.authority}"]
    selected = dict(zip((rule.name for rule in policy.rules), found.selected, strict=True))
    lines += [
        f"  {rule.name}: {_times(rule)}; selects {numbered(selected[rule.name], 'conversation')}"
        for rule in policy.rules
    ]
    lines += ["due now, conversations by day:", *_table(found.due)]
    lines += [f"  held: {why}" for _, why in found.held[:_SHOWN]]
    lines += ["to come, conversations by day:", *_table(found.coming)]
    if any(rule.places for rule in policy.rules):
        lines += ["due now, other places:", *_places(found.places.due)]
        lines += [f"  held: {item.place} {item.what}: {why}" for item, why in found.places.held[:_SHOWN]]
        lines += ["to come, other places:", *_places(found.places.coming)]
    lines.append("Nothing was removed: custody retention apply --yes removes what is due.")
    answer({**_as_dict(found), "places": _as_dict(found.places), "selected": selected}, lines, as_json=as_json)


@retention_commands.command("apply")
@with_servers_of_demo
def apply(
    yes: Annotated[bool, typer.Option("--yes", help="Erase what is due.")] = False, as_json: Json = False
) -> None:
    """Erase what is due today. Exit status 2 if some of it is held."""
    from custody_pipeline.cli.erase_commands import outcome_as_dict, outcome_lines
    from custody_pipeline.forgetting.due import apply as carry_out

    if not yes:
        raise typer.BadParameter("--yes is needed: custody retention show lists what would be removed")
    settings = settings_of_environment()
    applied = carry_out(settings, _policy(settings), _day(None), say)
    outcomes = [outcome_as_dict(outcome) for outcome in applied.outcomes]
    lines = [line for outcome in applied.outcomes for line in outcome_lines(outcome)]
    lines += [f"{place}: {number} removed" for place, number in applied.places.items()]
    lines += [f"held: {why}" for why in applied.held] or ["everything that is due is erased"]
    answer({"outcomes": outcomes, "held": applied.held, "places": applied.places}, lines, as_json=as_json)
    raise typer.Exit(INCOMPLETE if applied.held else OK)


def deadlines(settings: Settings) -> list[str]:
    """The lines of `custody status` about the policy: none without a policy, or before the first night."""
    if settings.retention_path is None or not settings.analyst_path.exists():
        return []
    from custody_pipeline.forgetting.choices import by_day, due
    from custody_pipeline.forgetting.keeping import by_day_and_place, places_ending

    policy, today = _policy(settings), _day(None)
    found, near = due(settings, policy), today + timedelta(days=policy.warn_days)
    places = [item for item in places_ending(settings, policy) if item.day <= near]
    late = [item for item in found if item.day <= today]
    soon = [item for item in found if today < item.day <= near]
    are = "is" if len(late) == 1 else "are"
    lines = [f"retention: {numbered(len(late), 'conversation')} {are} due, custody retention show"] if late else []
    lines += [
        f"retention: {numbered(number, 'conversation')} become{'s' * (number == 1)} due on {day} ({rule})"
        for day, rule, number in by_day(soon)[:3]
    ]
    return lines + [f"retention: {what} go on {day} ({rule})" for day, what, rule in by_day_and_place(places)[:3]]


def _as_dict(found: Planned[Due] | Planned[PlaceDue]) -> dict[str, list[dict[str, object]]]:
    def told(item: Due | PlaceDue, **more: str) -> dict[str, object]:
        return {name: value for name, value in vars(item).items() if name != "conversations"} | more

    return {
        "due": [told(item) for item in found.due],
        "held": [told(item, by=why) for item, why in found.held],
        "coming": [told(item) for item in found.coming],
    }


def _times(rule: Rule) -> str:
    kept = [f"kept {rule.keep}"] if rule.keep else []
    return ", ".join(kept + [f"{place} {keep}" for place, keep in rule.places.items()])


def _places(items: Sequence[PlaceDue]) -> list[str]:
    lines = [f"  {item.day}  {item.place} {item.what}  {item.rule}" for item in items[:_SHOWN]] or ["  none"]
    return lines + ([f"  and {len(items) - _SHOWN} more; --json names all"] if len(items) > _SHOWN else [])


def _table(items: Iterable[Due]) -> list[str]:
    from custody_pipeline.forgetting.choices import by_day

    rows = by_day(items)
    lines = [f"  {day}  {number:>7,}  {rule}" for day, rule, number in rows[:_SHOWN]] or ["  none"]
    return lines + ([f"  and {len(rows) - _SHOWN} more days; --json names all"] if len(rows) > _SHOWN else [])
