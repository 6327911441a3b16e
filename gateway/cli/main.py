"""The ``waypost`` command: every group, in one place."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import (
    audit,
    demo,
    deploy,
    doctor,
    init,
    keys,
    login,
    routes,
    schedules,
    scripts,
    serve,
    tail,
    tenants,
    tokens,
    versions,
)
from gateway.cli.session import examples

app = typer.Typer(
    name="waypost",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("waypost demo", "waypost init hello", "waypost deploy hello"),
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"waypost {__version__}")
        raise typer.Exit


@app.callback()
def waypost(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Self-hosted Workers for Platforms: your customers' Python, jailed and limited."""


init.register(app)
deploy.register(app)
tail.register(app)
versions.register(scripts.app)
app.add_typer(scripts.app, name="scripts", rich_help_panel="Build")
app.add_typer(schedules.app, name="schedules", rich_help_panel="Build")
app.add_typer(tenants.app, name="tenants", rich_help_panel="Operate")
app.add_typer(routes.app, name="routes", rich_help_panel="Operate")
app.add_typer(tokens.app, name="tokens", rich_help_panel="Operate")
audit.register(app)
app.add_typer(keys.app, name="keys", rich_help_panel="Operate")
app.command("plans", epilog=examples("waypost plans"), rich_help_panel="Operate")(scripts.plans)
serve.register(app)
demo.register(app)
doctor.register(app)
login.register(app)


def main() -> None:
    """Entry point of the ``waypost`` command."""
    app(prog_name="waypost")
