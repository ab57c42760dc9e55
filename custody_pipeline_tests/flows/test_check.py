"""Which tags are always, sometimes or never set when a path ends."""

from __future__ import annotations

import json

import pytest

from custody_pipeline.flows.document import FlowDocument, FlowError, parse_flow
from custody_pipeline.flows.flow_check import check_flow
from custody_pipeline.flows.report import FlowEnd, FlowReport, render
from custody_pipeline.models.mapping import MappedTag
from custody_pipeline_tests.flows.builders import (
    CONSENT,
    HOLD,
    MATTER,
    TAGS,
    Action,
    attribute,
    call,
    decide,
    disconnect,
    end_task,
    flow,
    flow_yaml,
    jump,
    loop,
    of_kind,
    one_task,
    put,
    task,
    transfer,
)


def only_end(document: FlowDocument, *tags: MappedTag) -> FlowEnd:
    report = check_flow(document, tags or TAGS)
    assert len(report.ends) == 1
    return report.ends[0]


def end_named(report: FlowReport, name: str) -> FlowEnd:
    return next(end for end in report.ends if end.name == name)


def test_a_tag_put_before_the_end_is_sure_and_others_are_never() -> None:
    end = only_end(one_task(put("Legal-Hold"), disconnect()))
    assert (end.ending, end.action, end.name, end.place) == ("disconnect", "disconnect", "Bye", "task 'Start'")
    assert (end.sure, end.maybe, end.never) == (("Legal-Hold",), (), ("Consent.Recorded",))


def test_the_end_knows_its_line_in_the_export() -> None:
    start = "inboundCall:\n  startUpRef: ./tasks/task[a]\n"
    text = start + "  tasks:\n  - task:\n      refId: a\n      actions:\n      - disconnect:\n"
    assert only_end(parse_flow(text.encode(), "flow.yaml")).line == 7


def test_a_tag_put_behind_the_end_does_not_count() -> None:
    report = check_flow(one_task(disconnect(), put("Legal-Hold")), TAGS)
    assert report.ends[0].never == ("Legal-Hold", "Consent.Recorded")
    assert [note.text for note in report.unreachable] == ["setParticipantData 'Keep' in task 'Start'"]


def test_an_alias_counts_as_its_tag() -> None:
    assert only_end(one_task(put("consent"), disconnect()), CONSENT).sure == ("Consent.Recorded",)


def test_two_aliases_on_two_branches_make_the_tag_sure() -> None:
    document = one_task(decide(yes=[put("consent")], no=[put("Consent.Recorded")]), disconnect())
    assert only_end(document, CONSENT).sure == ("Consent.Recorded",)


def test_a_tag_put_on_one_branch_only_is_maybe_and_the_other_way_is_shown() -> None:
    end = only_end(one_task(decide(yes=[put("Legal-Hold")], no=[]), disconnect()), HOLD)
    assert end.maybe == ("Legal-Hold",)
    assert end.trails[0].turns == ("task 'Start'", "Open?: no")


def test_an_output_that_the_export_leaves_out_is_a_way_around() -> None:
    assert only_end(one_task(decide(yes=[put("Legal-Hold")]), disconnect()), HOLD).maybe == ("Legal-Hold",)


def test_a_data_actions_timeout_is_a_way_around_when_the_export_leaves_it_out() -> None:
    outputs = {"success": {"actions": [put("Legal-Hold")]}, "failure": {"actions": [put("Legal-Hold")]}}
    document = one_task({"callData": {"name": "Look up", "outputs": outputs}}, disconnect())
    assert only_end(document, HOLD).maybe == ("Legal-Hold",)
    outputs["timeout"] = {"actions": [put("Legal-Hold")]}
    document = one_task({"callData": {"name": "Look up", "outputs": outputs}}, disconnect())
    assert only_end(document, HOLD).sure == ("Legal-Hold",)


def test_a_disabled_output_is_no_way() -> None:
    outputs = {
        "yes": {"actions": [put("Legal-Hold")]},
        "no": {"actions": [put("Legal-Hold")]},
        "maxNoInputs": {"enabled": False, "actions": [disconnect("Never")]},
    }
    assert only_end(one_task({"askForBoolean": {"outputs": outputs}}, disconnect()), HOLD).sure == ("Legal-Hold",)


@pytest.mark.parametrize(("default", "standing"), [([put("Legal-Hold")], "sure"), ([], "maybe"), (None, "maybe")])
def test_a_switch_is_as_sure_as_its_default(default: list[Action] | None, standing: str) -> None:
    cases = [{"case": {"value": {"lit": number}, "actions": [put("Legal-Hold")]}} for number in (1, 2)]
    first_true = {"cases": cases, **({"default": {"actions": default}} if default is not None else {})}
    document = one_task({"switch": {"name": "Which", "evaluate": {"firstTrue": first_true}}}, disconnect())
    assert getattr(only_end(document, HOLD), standing) == ("Legal-Hold",)


def test_a_transfer_is_an_end_and_its_failure_goes_on() -> None:
    report = check_flow(one_task(transfer(failure=[put("Legal-Hold")]), disconnect()), [HOLD])
    assert end_named(report, "To Claims").never == ("Legal-Hold",)
    assert end_named(report, "Bye").sure == ("Legal-Hold",)


@pytest.mark.parametrize("kind", ["inboundChat", "inboundEmail", "inboundShortMessage"])
def test_a_message_has_no_way_behind_a_transfer_to_its_queue(kind: str) -> None:
    states = [{"state": {"name": "One", "refId": "s1", "actions": [decide([transfer()]), put("Legal-Hold")]}}]
    content = {kind: {"name": "Main", "startUpRef": "./states/state[s1]", "states": states}}
    report = check_flow(parse_flow(json.dumps(content).encode(), "flow.yaml"), [HOLD])
    assert [(end.ending, end.place, end.never, end.sure) for end in report.ends] == [
        ("end", "state 'One'", (), ("Legal-Hold",)),
        ("transfer", "state 'One'", ("Legal-Hold",), ()),
    ]
    states[0]["state"]["actions"] = [put("Legal-Hold"), transfer()]
    report = check_flow(parse_flow(json.dumps(content).encode(), "flow.yaml"), [HOLD])
    assert [(end.ending, end.sure) for end in report.ends] == [("transfer", ("Legal-Hold",))]


@pytest.mark.parametrize(
    "kind", ["transferToNumber", "transferToUser", "transferToGroup", "transferToFlow", "transferToVoicemail",
             "transferToFlowSecure"]
)  # fmt: skip
def test_every_kind_of_transfer_is_an_end(kind: str) -> None:
    report = check_flow(one_task({kind: {"name": "Away"}}, disconnect()), [HOLD])
    assert [(end.ending, end.action) for end in report.ends] == [("transfer", kind), ("disconnect", "disconnect")]


# -- loops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "standing"), [(3, "sure"), (0, "maybe"), ("²", "maybe"), ("1" * 5_000, "sure")])
def test_a_loops_body_is_sure_when_it_runs_at_least_once(count: int | str, standing: str) -> None:
    assert getattr(only_end(one_task(loop([put("Legal-Hold")], count), disconnect()), HOLD), standing) == (
        "Legal-Hold",
    )


def test_leaving_a_loop_early_skips_what_follows_in_it() -> None:
    body = [decide(yes=[{"loopExit": {"name": "Out"}}]), put("Legal-Hold")]
    assert only_end(one_task(loop(body), disconnect()), HOLD).maybe == ("Legal-Hold",)


def test_next_loop_skips_what_follows_in_it() -> None:
    body = [decide(yes=[{"loopNext": {"name": "Again"}}]), put("Legal-Hold")]
    assert only_end(one_task(loop(body), disconnect()), HOLD).maybe == ("Legal-Hold",)


def test_tasks_that_jump_in_a_circle_come_to_an_answer() -> None:
    document = flow(
        task("A", [decide(yes=[put("Legal-Hold"), disconnect()], no=[jump("B")])]),
        task("B", [jump("A")]),
    )
    assert only_end(document, HOLD).sure == ("Legal-Hold",)


# -- tasks -------------------------------------------------------------------------------------------------------------


def test_a_called_task_puts_tags_for_its_caller() -> None:
    document = flow(task("Start", [call("Keep"), disconnect()]), task("Keep", [put("Legal-Hold"), end_task()]))
    assert only_end(document, HOLD).sure == ("Legal-Hold",)


def test_a_task_that_runs_off_its_end_returns_to_its_caller() -> None:
    document = flow(task("Start", [call("Keep"), disconnect()]), task("Keep", [put("Legal-Hold")]))
    assert only_end(document, HOLD).sure == ("Legal-Hold",)


def test_each_path_of_a_task_leads_to_its_own_output() -> None:
    ask = task("Ask", [decide(yes=[put("consent"), end_task()], no=[end_task("Refused")])])
    start = task("Start", [call("Ask", Refused=[disconnect("Refused")]), disconnect("Agreed")])
    report = check_flow(flow(start, ask), [CONSENT])
    assert end_named(report, "Refused").never == ("Consent.Recorded",)
    assert end_named(report, "Agreed").sure == ("Consent.Recorded",)


def test_what_one_caller_has_put_does_not_leak_to_another() -> None:
    start = task("Start", [decide(yes=[put("Legal-Hold"), call("Noop"), disconnect("With")], no=[call("Noop")]),
                           disconnect("Without")])  # fmt: skip
    report = check_flow(flow(start, task("Noop", [end_task()])), [HOLD])
    assert end_named(report, "With").sure == ("Legal-Hold",)
    assert end_named(report, "Without").never == ("Legal-Hold",)


def test_an_end_within_a_called_task_is_judged_over_all_its_callers() -> None:
    start = task("Start", [decide(yes=[put("Legal-Hold"), call("Close")], no=[call("Close")])])
    end = only_end(flow(start, task("Close", [disconnect()])), HOLD)
    assert end.maybe == ("Legal-Hold",)
    assert end.trails[0].turns == ("task 'Start'", "Open?: no", "task 'Close'")


def test_a_task_that_never_returns_leaves_nothing_behind_its_call() -> None:
    report = check_flow(flow(task("Start", [call("Close"), disconnect("Late")]), task("Close", [disconnect()])), [HOLD])
    assert [end.name for end in report.ends] == ["Bye"]
    assert [note.text for note in report.unreachable] == ["disconnect 'Late' in task 'Start'"]


def test_a_task_that_calls_itself_comes_to_an_answer() -> None:
    body = [decide(yes=[put("Legal-Hold"), end_task()], no=[call("Again"), end_task()])]
    assert only_end(flow(task("Start", [call("Again"), disconnect()]), task("Again", body)), HOLD).sure == (
        "Legal-Hold",
    )


def test_tasks_that_call_each_other_come_to_an_answer() -> None:
    even = task("Even", [decide(yes=[end_task()], no=[call("Odd"), end_task()])])
    odd = task("Odd", [put("Legal-Hold"), call("Even"), end_task()])
    assert only_end(flow(task("Start", [call("Even"), disconnect()]), even, odd), HOLD).maybe == ("Legal-Hold",)


def test_the_end_of_a_task_nobody_called_disconnects() -> None:
    end = only_end(one_task(put("Legal-Hold"), end_task()), HOLD)
    assert (end.ending, end.implicit, end.sure) == ("disconnect", True, ("Legal-Hold",))


# -- menus, states, other flows ----------------------------------------------------------------------------------------


def menu_flow(*choices: Action, **menu: object) -> FlowDocument:
    main = {"name": "Main", "refId": "Main_10", "choices": list(choices), **menu}
    claims = task("Claims", [put("Legal-Hold"), disconnect()])
    return flow(claims, startUpRef="./menus/menu[Main_10]", menus=[{"menu": main}])


def test_a_menu_that_nobody_answers_is_an_end_too() -> None:
    end = only_end(menu_flow(), HOLD)
    assert (end.ending, end.implicit, end.place) == ("disconnect", True, "menu 'Main'")


def test_menu_choices_lead_to_their_tasks_transfers_and_disconnects() -> None:
    report = check_flow(
        menu_flow(
            {"menuDisconnect": {"name": "Leave", "dtmf": "digit_9"}},
            {"menuTransferToAcd": {"name": "Sales", "targetQueue": {"lit": {"name": "Sales"}}}},
            {"menuJumpToTask": {"name": "Go", "targetTaskRef": "/inboundCall/tasks/task[Claims]"}},
            {"menuTask": {"name": "Here", "task": {"actions": [put("Legal-Hold"), disconnect("Inline")]}}},
        ),
        [HOLD],
    )
    assert {end.name: end.sure for end in report.ends} == {
        "no choice made": (), "Leave": (), "Sales": (), "Bye": ("Legal-Hold",), "Inline": ("Legal-Hold",)
    }  # fmt: skip
    assert end_named(report, "Leave").trails[0].turns == ("menu 'Main'", "Leave (9)")


def test_extension_dialling_leaves_the_menu() -> None:
    report = check_flow(menu_flow(settingsMenu={"listenForExtensionDialing": {"lit": True}}), [HOLD])
    assert [end.name for end in report.ends] == ["no choice made", "extension dialled"]


def test_a_message_flow_ends_at_the_end_of_its_states() -> None:
    states = [
        {
            "state": {
                "name": "One",
                "refId": "s1",
                "actions": [{"changeState": {"targetStateRef": "./states/state[s2]"}}],
            }
        },
        {"state": {"name": "Two", "refId": "s2", "actions": [put("Legal-Hold")]}},
    ]
    end = only_end(flow(startUpRef="./states/state[s1]", states=states), HOLD)
    assert (end.ending, end.place, end.sure) == ("end", "state 'Two'", ("Legal-Hold",))


def in_queue(*actions: Action) -> FlowDocument:
    content = {"inqueueCall": {"name": "Queue", "startUpTaskActions": list(actions)}}
    return parse_flow(json.dumps(content).encode(), "flow.yaml")


def test_an_in_queue_flow_starts_with_its_task_actions() -> None:
    end = only_end(in_queue(put("Other")), HOLD)
    assert (end.ending, end.never) == ("answer", ("Legal-Hold",))


def test_an_agent_may_take_a_conversation_out_of_the_queue_before_the_flow_puts_the_tag() -> None:
    music = {"holdMusic": {"name": "Music"}}
    late = check_flow(in_queue(decide(), music, put("Legal-Hold"), disconnect()), [HOLD])
    assert [(end.ending, end.never, end.sure) for end in late.ends] == [
        ("answer", ("Legal-Hold",), ()),
        ("disconnect", (), ("Legal-Hold",)),
    ]
    assert late.ends[0].trails[0].turns == ("start", "Music: an agent")
    assert "an agent takes the conversation" in render(late)
    repeated = only_end(in_queue(music, put("Legal-Hold")), HOLD)
    assert (repeated.ending, repeated.maybe) == ("answer", ("Legal-Hold",))
    early = check_flow(in_queue(put("Legal-Hold"), music, transfer()), [HOLD])
    assert {end.sure for end in early.ends} == {("Legal-Hold",)}
    assert early.exit_status == 0


def test_conversation_data_counts_only_where_the_api_took_it() -> None:
    written = {"setConversationData": {"name": "Keep", "attributes": [attribute("Legal-Hold")]}}
    assert only_end(one_task(written, disconnect()), HOLD).maybe == ("Legal-Hold",)
    written["setConversationData"]["outputs"] = {"failure": {"actions": [disconnect("Refused")]}}  # type: ignore[assignment]
    report = check_flow(one_task(written, disconnect()), [HOLD])
    assert end_named(report, "Bye").sure == ("Legal-Hold",)
    assert end_named(report, "Refused").never == ("Legal-Hold",)


# -- what cannot be seen -----------------------------------------------------------------------------------------------


def test_a_name_that_an_expression_decides_is_unknown_not_never() -> None:
    dynamic = {"setParticipantData": {"name": "Any", "attributes": [{"attribute": {"name": {"exp": "Flow.key"}}}]}}
    report = check_flow(one_task(dynamic, disconnect()), [HOLD])
    assert report.ends[0].unknown == ("Legal-Hold",)
    assert "an expression decides" in report.ends[0].unseen[0].text
    assert report.exit_status == 2


def test_a_quoted_text_in_an_expression_is_a_name() -> None:
    quoted = {"attributes": [{"attribute": {"name": {"exp": '"Legal-Hold"'}, "value": {"lit": "x"}}}]}
    assert only_end(one_task({"setParticipantData": quoted}, disconnect()), HOLD).sure == ("Legal-Hold",)


def test_what_a_common_module_puts_is_unknown() -> None:
    report = check_flow(one_task({"callCommonModule": {"name": "Shared"}}, disconnect()), [HOLD])
    assert (report.ends[0].unknown, report.exit_status) == (("Legal-Hold",), 2)


def test_emptying_an_attribute_takes_it_back() -> None:
    emptied = {"attributes": [{"attribute": {"name": {"lit": "Legal-Hold"}, "value": {"noValue": True}}}]}
    end = only_end(one_task(put("Legal-Hold"), {"setParticipantData": emptied}, disconnect()), HOLD)
    assert end.maybe == ("Legal-Hold",)


def test_emptying_an_attribute_that_an_expression_names_is_a_problem() -> None:
    emptied = {"attributes": [{"attribute": {"name": {"exp": "Flow.key"}, "value": {"lit": ""}}}]}
    for kind in ("setParticipantData", "setConversationData"):
        report = check_flow(one_task(put("Legal-Hold"), {kind: emptied}, disconnect()), [HOLD])
        assert "which attribute is emptied" in report.problems[0].text
        assert report.exit_status == 2


def test_a_jump_that_leads_nowhere_is_a_problem_with_its_line() -> None:
    report = check_flow(one_task(put("Legal-Hold"), jump("Gone")), [HOLD])
    assert [end.ending for end in report.ends] == ["unresolved"]
    assert "which is nowhere in the file" in report.problems[0].text
    assert report.exit_status == 2


def test_an_error_handler_is_followed_but_promises_nothing() -> None:
    handling = {"errorHandling": {"jumpToTask": {"targetTaskRef": "/inboundCall/tasks/task[Sorry]"}}}
    document = flow(
        task("Start", [put("Legal-Hold"), disconnect()]),
        task("Sorry", [disconnect("Sorry")]),
        settingsErrorHandling=handling,
    )
    report = check_flow(document, [HOLD])
    assert [end.name for end in report.ends] == ["Bye"]
    assert [end.name for end in report.ends_after_error] == ["Sorry"]
    assert (report.exit_status, report.unreachable) == (0, ())


@pytest.mark.parametrize(
    "value",
    [{"lit": ""}, {"lit": " "}, {"noValue": True}, {"exp": ' "" '}, {"exp": '" "'}, {"exp": "NOT_SET"},
     {"exp": "ToString(NOT_SET)"}],
)  # fmt: skip
def test_an_empty_value_puts_no_tag(value: Action) -> None:
    put_nothing = {"setParticipantData": {"attributes": [attribute("Legal-Hold", value)]}}
    assert only_end(one_task(put_nothing, disconnect()), HOLD).never == ("Legal-Hold",)


def test_another_flow_that_goes_on_may_put_the_tag() -> None:
    away = {"transferToFlow": {"name": "On", "targetFlow": {"name": "Main"}, "outputs": {"failure": {"actions": [
        disconnect()]}}}}  # fmt: skip
    report = check_flow(one_task(away), [HOLD])
    assert end_named(report, "On").unknown == ("Legal-Hold",)
    assert end_named(report, "On").unseen[0].text == "flow 'Main' may put them: check it"
    assert end_named(report, "Bye").never == ("Legal-Hold",)


@pytest.mark.parametrize(
    ("inputs", "standing"),
    [({"attributeName": {"lit": "Legal-Hold"}}, "unknown"), ({"orderNumber": {"exp": "Flow.order"}}, "never")],
)
def test_a_data_action_about_attributes_may_put_the_tag(inputs: Action, standing: str) -> None:
    category = {"Genesys Cloud Data Actions": {"dataAction": {"Patch": {"inputs": inputs}}}}
    document = one_task({"callData": {"name": "Set", "category": category}}, disconnect())
    assert getattr(only_end(document, HOLD), standing) == ("Legal-Hold",)


def test_an_action_whose_outputs_are_not_known_makes_the_answer_unknown() -> None:
    ask = {"askSomebody": {"name": "Ask", "outputs": {
        name: {"actions": [put("Legal-Hold")]} for name in ("heads", "tails")}}}  # fmt: skip
    report = check_flow(one_task(ask, disconnect()), TAGS)
    assert (report.ends[0].unknown, report.ends[0].never) == (("Legal-Hold",), ("Consent.Recorded",))
    assert "askSomebody 'Ask' may have more outputs than" in report.problems[0].text
    assert check_flow(one_task(put("Legal-Hold"), ask, disconnect()), [HOLD]).exit_status == 0


@pytest.mark.parametrize("kind", ["callSecureData", "callDataSecure", "callBridge"])
def test_every_kind_of_data_action_may_run_out_of_time(kind: str) -> None:
    outputs = {name: {"actions": [put("Legal-Hold")]} for name in ("success", "failure")}
    assert only_end(one_task({kind: {"outputs": outputs}}, disconnect()), HOLD).maybe == ("Legal-Hold",)


def test_an_action_that_ends_a_flow_by_its_name_is_an_end_and_a_problem() -> None:
    report = check_flow(one_task({"exitNewKind": {"name": "Out"}}, put("Legal-Hold"), disconnect()), [HOLD])
    assert end_named(report, "Out").never == ("Legal-Hold",)
    assert end_named(report, "Bye").sure == ("Legal-Hold",)
    assert "'Out' is not known" in report.problems[0].text


def test_leaving_a_workitem_flow_is_an_end() -> None:
    early = decide(yes=[{"exitWorkitemFlow": {"name": "Early"}}])
    report = check_flow(of_kind("workitem", early, put("Legal-Hold"), {"exitWorkitemFlow": {"name": "Late"}}), [HOLD])
    assert end_named(report, "Early").never == ("Legal-Hold",)
    assert end_named(report, "Late").sure == ("Legal-Hold",)


def test_both_outputs_of_a_schedule_are_all_it_has() -> None:
    outputs = {name: {"actions": [put("Legal-Hold")]} for name in ("active", "inactive")}
    assert only_end(one_task({"evaluateSchedule": {"outputs": outputs}}, disconnect()), HOLD).sure == ("Legal-Hold",)


def bot(*actions: Action, **settings: Action) -> FlowDocument:
    return of_kind("digitalBot", *actions, {"exitBotFlow": {"name": "Exit"}}, settingsErrorHandling=settings)


def test_a_bot_is_left_where_it_listens() -> None:
    document = bot({"askForSlot": {"name": "Number?"}}, put("Legal-Hold"), enableAgentEscalation={"lit": True})
    report = check_flow(document, [HOLD])
    assert {end.name: end.never for end in report.ends} == {
        "not understood": ("Legal-Hold",), "asks for a person": ("Legal-Hold",), "Exit": ()
    }  # fmt: skip


def test_a_bot_that_offers_no_person_and_counts_misunderstandings_itself_is_left_at_its_end_only() -> None:
    itself: Action = {name: {"actions": []} for name in ("maxNoInputs", "maxNoMatches")}
    document = bot(put("Legal-Hold"), {"askForSlot": {"outputs": itself}}, enableAgentEscalation={"lit": False})
    assert only_end(document, HOLD).sure == ("Legal-Hold",)


def test_a_bot_that_jumps_when_it_does_not_understand_goes_on_there() -> None:
    handling = {"jump": {"targetTaskRef": "/botFlow/tasks/task[Sorry]"}}
    sorry = task("Sorry", [{"exitBotFlow": {"name": "Sorry"}}])
    document = of_kind(
        "botFlow", {"askForSlot": {}}, put("Legal-Hold"), {"exitBotFlow": {"name": "Exit"}}, tasks=[sorry],
        settingsErrorHandling={"recognitionFailureEventHandling": handling},
    )  # fmt: skip
    report = check_flow(document, [HOLD])
    assert [(end.name, end.never) for end in report.ends] == [("Exit", ()), ("Sorry", ("Legal-Hold",))]


def test_a_common_module_returns_and_its_caller_may_put_the_tag() -> None:
    output = {"stringVariable": {"name": "Common.LegalHold", "isOutput": True}}
    document = of_kind("commonModule", update(**{"Common.LegalHold": '"x"'}), end_task(), variables=[output])
    report = check_flow(document, [HOLD])
    assert (report.ends[0].ending, report.ends[0].unknown, report.exit_status) == ("return", ("Legal-Hold",), 2)
    assert report.hints == ()
    assert "the module returns to the flow that called it" in render(report)


def test_a_placeholder_is_no_name_of_a_tag() -> None:
    text = flow_yaml(task("Start", [put("Legal-Hold"), disconnect()])).replace('"Legal-Hold"', "{{tag}}")
    report = check_flow(parse_flow(text.encode(), "flow.yaml"), [HOLD])
    assert report.ends[0].unknown == ("Legal-Hold",)
    assert "{{tag}} is not filled in" in report.notes[0].text
    for name in ({"lit": "${tag}"}, {"exp": '"${tag}"'}):
        of_terraform = {"setParticipantData": {"attributes": [{"attribute": {"name": name, "value": {"lit": "x"}}}]}}
        assert check_flow(one_task(of_terraform, disconnect()), [HOLD]).ends[0].unknown == ("Legal-Hold",)
    report = check_flow(one_task(transfer("${queue}")), [MATTER])
    assert end_named(report, "To ${queue}").never == ("Matter-Number",)


# -- which tags matter where -------------------------------------------------------------------------------------------


def test_a_tag_of_agents_scripts_is_named_as_not_checked() -> None:
    disposition = MappedTag("disposition", "Disposition", purposes=("agent",))
    report = check_flow(one_task(put("Legal-Hold"), disconnect()), [HOLD, disposition])
    assert report.not_checked == {"Disposition": "set by agents' scripts"}
    assert report.exit_status == 0


def test_a_tag_for_a_queue_is_asked_for_at_transfers_to_it_only() -> None:
    document = one_task(decide(yes=[transfer("Claims")], no=[transfer("Sales")]), disconnect())
    report = check_flow(document, [HOLD, MATTER])
    assert end_named(report, "To Claims").never == ("Legal-Hold", "Matter-Number")
    assert end_named(report, "To Sales").never == ("Legal-Hold",)


def test_a_queue_that_an_expression_decides_may_be_any() -> None:
    dynamic = {"transferToAcd": {"name": "Somewhere", "targetQueue": {"exp": "Flow.queue"}}}
    report = check_flow(one_task(dynamic, disconnect()), [MATTER])
    assert end_named(report, "Somewhere").never == ("Matter-Number",)


def test_a_tag_for_other_flows_is_named_as_not_checked() -> None:
    other = MappedTag("other", "Other", purposes=("customer",), flows=("Night IVR",))
    assert "Night IVR" in check_flow(one_task(disconnect()), [other]).not_checked["Other"]


# -- hints, status, text -----------------------------------------------------------------------------------------------


def update(**variables: str) -> Action:
    statements = [{"string": {"variable": name, "value": {"exp": value}}} for name, value in variables.items()]
    return {"updateData": {"name": "Remember", "statements": statements}}


@pytest.mark.parametrize("name", ["Flow.LegalHold", "LegalHold", "LegalHold."])
def test_a_variable_that_never_reaches_participant_data_gets_the_hint(name: str) -> None:
    report = check_flow(one_task(update(**{name: '"yes"'}), disconnect()), [HOLD])
    assert "add Set Participant Data with the name 'Legal-Hold'" in report.hints[0].text


def test_a_variable_that_reaches_participant_data_through_another_gets_none() -> None:
    document = one_task(
        update(**{"Flow.a": '"1"'}), update(**{"Task.x": "Append(flow.A, 1)"}), put("Legal-Hold"), disconnect()
    )
    assert check_flow(document, [HOLD]).hints == ()


@pytest.mark.parametrize("name", ["legal_hold", "conversationDetails.participantData.Legal-Hold"])
def test_a_nearly_right_name_gets_a_hint(name: str) -> None:
    report = check_flow(one_task(put(name), disconnect()), [HOLD])
    assert report.ends[0].never == ("Legal-Hold",)
    assert f"{name!r}, the mapping expects 'Legal-Hold'" in report.hints[0].text


@pytest.mark.parametrize(
    ("actions", "tags", "status"),
    [
        ([put("Legal-Hold"), disconnect()], [HOLD], 0),
        ([disconnect()], [HOLD], 1),
        ([decide(yes=[put("Legal-Hold")]), disconnect()], [HOLD], 1),
        ([disconnect()], [], 2),
        ([loop([{"loopNext": {}}], 5), jump("Start")], [HOLD], 2),
    ],
)
def test_the_exit_status_says_whether_tags_are_missing(
    actions: list[Action], tags: list[MappedTag], status: int
) -> None:
    assert check_flow(one_task(*actions), tags).exit_status == status


def test_the_text_names_ends_tags_and_ways() -> None:
    text = render(check_flow(one_task(decide(yes=[put("Legal-Hold")]), transfer(), disconnect()), TAGS))
    assert "transferToAcd 'To Claims' to queue 'Claims' in task 'Start'" in text
    assert "not put on every path: Legal-Hold*" in text
    assert "never put: Consent.Recorded" in text
    assert "use Set Participant Data before the flow ends" in text


def test_the_report_is_plain_data_for_json() -> None:
    report = check_flow(one_task(disconnect()), TAGS).to_dict()
    assert report["exit_status"] == 1
    assert report["ends"][0]["never"] == ("Legal-Hold", "Consent.Recorded")


def test_a_flow_without_a_start_is_refused_with_its_line() -> None:
    with pytest.raises(FlowError, match=r"flow\.yaml:2: expected startUpRef"):
        check_flow(parse_flow(b"inboundCall:\n  name: x\n", "flow.yaml"), TAGS)


def test_decisions_nested_three_hundred_deep_are_read_and_checked() -> None:
    lines = ["inboundCall:", " startUpRef: ./tasks/task[a]", " tasks:", " - task:", "    refId: a", "    actions:"]
    for depth in range(300):
        indent = " " * (4 + 5 * depth)
        lines += [f"{indent}- decision:", f"{indent}   name: d", f"{indent}   outputs:", f"{indent}    yes:"]
        lines += [f"{indent}     actions:"]
    lines.append(" " * (4 + 5 * 300) + "- disconnect:")
    end, off_the_end = check_flow(parse_flow("\n".join(lines).encode(), "flow.yaml"), [HOLD]).ends[::-1]
    assert (end.action, len(end.trails[0].turns)) == ("disconnect", 301)
    assert off_the_end.implicit


def test_three_hundred_decisions_in_a_row_are_no_more_than_three_hundred_steps() -> None:
    row: list[Action] = [decide(yes=[put("consent")], no=[], name=f"d{number}") for number in range(300)]
    # 2^300 ways lead there: a check that followed each would not end.
    end = only_end(one_task(*row, put("Legal-Hold"), disconnect()))
    assert (end.sure, end.maybe) == (("Legal-Hold",), ("Consent.Recorded",))
