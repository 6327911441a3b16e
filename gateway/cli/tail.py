"""``waypost tail``: requests, logs and exceptions as they happen."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

import typer

from gateway.cli.client import ApiError, ControlClient, segment
from gateway.cli.events import follow
from gateway.cli.output import CliError
from gateway.cli.scripts import DEFAULT_NAMESPACE, find_path
from gateway.cli.session import Session, examples, online
from gateway.cli.trace import is_failure, render


class Format(StrEnum):
    """How events are printed."""

    PRETTY = "pretty"
    JSON = "json"


class Status(StrEnum):
    """Which invocations are shown."""

    OK = "ok"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "tail",
        epilog=examples(
            "waypost tail hello",
            "waypost tail --tenant acme --status error",
            "waypost tail hello --format json | jq .outcome",
        ),
        rich_help_panel="Build",
    )(tail)


@online
def tail(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The script's name.")] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Every script of this tenant instead.")
    ] = None,
    output_format: Annotated[
        Format, typer.Option("--format", "-f", help="json: one TraceItem a line.")
    ] = Format.PRETTY,
    status: Annotated[
        Status | None, typer.Option("--status", help="Only successes, or only failures.")
    ] = None,
) -> None:
    """Watch requests live: outcome, CPU and wall time, logs, exceptions. Ctrl-C ends it."""
    if (name is None) == (tenant is None):
        raise CliError("name one script, or a --tenant", fix="waypost tail hello", status=2)
    path = (
        f"/v1/scripts/{segment(name)}/tail" if name else f"/v1/tenants/{segment(tenant or '')}/tail"
    )
    machine = session.output.json_mode or output_format is Format.JSON
    if not machine and status is None:
        path += "?deployments=true"
    try:
        with session.client() as client:
            if name is not None:
                _tell_if_absent(session, client, name)
            for item in follow(client, path, session.output.note):
                if status is not None and is_failure(item) != (status is Status.ERROR):
                    continue
                if machine:
                    session.output.line(item)
                else:
                    session.output.out.print(render(item), soft_wrap=True)
    except KeyboardInterrupt:
        session.output.note("\nEnded.")


def _tell_if_absent(session: Session, client: ControlClient, name: str) -> None:
    """A tail may wait for a script's first deployment; whoever mistyped its name would, too."""
    try:
        client.get(find_path(client, None, DEFAULT_NAMESPACE, name))
    except ApiError as error:
        if error.http_status == HTTPStatus.NOT_FOUND and name in str(error):
            session.output.note(f"Note: {error}; its requests are shown once it is deployed.")
