"""`custody serve-webhook`, `events` and `triggers`: live capture.

Belongs here: arguments and printing. Does not: the receiver and the worker (capture).
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from custody_pipeline.cli.shared import (
    FINDINGS,
    INCOMPLETE,
    OK,
    USAGE,
    Json,
    answer,
    app,
    end_when_stdin_closes,
    say,
    settings_of_environment,
    stop,
)


@app.command("serve-webhook")
def serve_webhook(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")] = 8787,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Receive signed events, until Ctrl-C or SIGTERM. The answer 202 means that the event is stored durably."""
    from custody_pipeline.capture.queues import open_queue
    from custody_pipeline.capture.receiver import serve

    if private_key and not certificate:
        raise typer.BadParameter("--private-key needs --certificate, which it is the key of")
    settings = settings_of_environment()
    if until_stdin_closes:
        end_when_stdin_closes()
    with closing(open_queue(settings)) as queue, suppress(KeyboardInterrupt):
        serve(
            settings,
            queue,
            host=host,
            port=port,
            certificate=str(certificate) if certificate else None,
            private_key=str(private_key) if private_key else None,
            on_ready=say,
        )
    say("stopped: every event that was accepted is in the queue")


event_commands = typer.Typer(no_args_is_help=True, help="The queue of received events.")
app.add_typer(event_commands, name="events")


@event_commands.command("drain")
def events_drain(
    seconds: Annotated[float, typer.Option(min=1, help="Start no conversation after this time.")] = 60,
    as_json: Json = False,
) -> None:
    """Read the conversations of the waiting events, and keep the documents.

    Exit status 1 if events were set aside, 2 if events could not be read now and wait.
    """
    from dataclasses import asdict

    from custody_pipeline.capture.assembly import drain_queue

    result = asdict(drain_queue(settings_of_environment(), max_seconds=seconds))
    report, waiting = result["report"], result["queue"]["depth"]
    lines = [f"{report['events']} events, {report['captures']} captures; {waiting} still waiting"]
    lines += [f"set aside, {reason}: {number} events" for reason, number in report["set_aside"].items()]
    if dead := result["queue"]["dead"]:
        lines.append(f"dead letters: {dead} events; custody events retry puts them back")
    late = report["released"] > 0 and report["stopped"] != "time"
    if late:
        lines.append(f"to be read later: {report['released']} events ({report['stopped'] or 'not readable yet'})")
    answer(result, lines, as_json=as_json)
    raise typer.Exit(INCOMPLETE if late else FINDINGS if report["set_aside"] else OK)


@event_commands.command("retry")
def events_retry(
    limit: Annotated[int | None, typer.Option(min=1, help="At most this number.")] = None, as_json: Json = False
) -> None:
    """Put dead letters back into the queue, oldest first."""
    from custody_pipeline.capture.queues import open_queue

    with closing(open_queue(settings_of_environment())) as queue:
        number = queue.retry_dead(limit)
    answer({"events": number}, [f"{number} events"], as_json=as_json)


@app.command()
def triggers(
    action: Annotated[
        Literal["plan", "install", "remove"], typer.Argument(help="plan shows the changes that install would make.")
    ],
    url: Annotated[str | None, typer.Option(help="Public https:// URL of serve-webhook.")] = None,
    definitions: Annotated[Path | None, typer.Option(help="Folder for the definitions to import.")] = None,
    as_json: Json = False,
) -> None:
    """Show, install or remove the process-automation triggers of live capture; write the definitions to import."""
    from custody_pipeline.capture import installation
    from custody_pipeline.extract.genesys import GenesysClient
    from custody_pipeline.extract.genesys_errors import GenesysError
    from custody_pipeline.settings.table import variable

    if (url is None) != (definitions is None):
        raise typer.BadParameter("--definitions FOLDER needs --url, the address that the definitions send events to")
    settings = settings_of_environment()
    written: list[Path] = []
    try:
        if definitions is not None and url is not None:
            for relative, text in installation.definitions(url).items():
                path = definitions / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                written.append(path)
        needed = {name: getattr(settings, name) for name in ("genesys_domain", "trigger_workflow_id")}
        if written and action == "plan" and None in needed.values():
            # A first installation: the workflow has an id once these files are imported.
            unset = ", ".join(variable(name) for name, value in needed.items() if value is None)
            answer({"definitions": written, "changes": None}, map(str, written), as_json=as_json)
            say(f"import these files; with {unset} set, plan shows the triggers that install would change")
            return
        settings.require("genesys_domain")
        with GenesysClient(settings) as client:
            if action == "remove":
                changes = installation.remove(client)
            else:
                run = installation.plan if action == "plan" else installation.install
                changes = run(client, settings.require("trigger_workflow_id"))
    except (GenesysError, ValueError) as error:
        stop(str(error), INCOMPLETE if isinstance(error, GenesysError) else USAGE)
    done = list(map(str, changes))
    answer({"definitions": written, "changes": done}, [*map(str, written), *done], as_json=as_json)
