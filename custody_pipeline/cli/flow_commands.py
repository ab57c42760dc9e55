"""`custody flow`: Architect flows against the tag mapping.

Belongs here: arguments and printing. Does not: the analysis (flows).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from custody_pipeline.cli.shared import INCOMPLETE, Json, answer, app, servers_of_demo, settings_of_environment, stop

flow_commands = typer.Typer(no_args_is_help=True, help="Architect flows against the tag mapping.")
app.add_typer(flow_commands, name="flow")


@flow_commands.command("check")
def flow_check(
    subject: Annotated[str, typer.Argument(metavar="FILE|FLOW_ID", help="An exported flow (YAML), or a flow's id.")],
    as_json: Json = False,
) -> None:
    """Show which mapped tags a flow does not put into participant data before one of its paths ends."""
    from custody_pipeline.extract.genesys import GenesysClient
    from custody_pipeline.extract.genesys_errors import GenesysError
    from custody_pipeline.flows.document import FlowError, read_flow
    from custody_pipeline.flows.export import export_flow, is_flow_id
    from custody_pipeline.flows.flow_check import check_flow
    from custody_pipeline.flows.report import render
    from custody_pipeline.models.mapping_file import load_mapping

    settings = settings_of_environment()
    try:
        if is_flow_id(subject) and not Path(subject).exists():
            with servers_of_demo():
                settings = settings_of_environment()
                settings.require("genesys_domain")
                with GenesysClient(settings) as client:
                    document = export_flow(client, subject, api_url=settings.api_url)
        else:
            document = read_flow(Path(subject))
        report = check_flow(document, load_mapping(settings.mapping_path).columns)
    except (FlowError, GenesysError, OSError) as error:
        stop(str(error), INCOMPLETE)
    answer(report.to_dict(), render(report).splitlines(), as_json=as_json)
    raise typer.Exit(report.exit_status)
