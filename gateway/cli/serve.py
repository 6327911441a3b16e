"""``waypost serve``: run one node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from gateway.cli.output import CliError, Output
from gateway.cli.session import Session, examples, offline
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.handover import Handover, become_manager, die_with, received
from gateway.processes.place import Place, taken
from gateway.settings import load_config
from gateway.sockets import Sockets, activated, inherited, listen_on
from sandbox import LEVELS, HostUnfit, SandboxError

if TYPE_CHECKING:
    from gateway.app import Started

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Default: routing.yaml here, if there is one."),
]
InsecureOption = Annotated[
    bool,
    typer.Option("--insecure-no-sandbox", help="Development only: run tenants' code UNJAILED."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "serve",
        epilog=examples(
            "waypost serve", "waypost serve --config routing.yaml --host 0.0.0.0 --port 80"
        ),
        rich_help_panel="Node",
    )(serve)


@offline
def serve(  # noqa: PLR0913 — one parameter an option
    session: Session,
    config: ConfigOption = None,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", help="State of the node. Default: .waypost")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address for tenants' traffic. Default: 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port for tenants' traffic. Default: 8787", min=0, max=65535)
    ] = None,
    api_port: Annotated[
        int | None, typer.Option(help="Port of the control API. Default: 8788", min=0, max=65535)
    ] = None,
    fd: Annotated[
        int | None, typer.Option(help="Inherited listening socket for tenants' traffic.", min=3)
    ] = None,
    api_fd: Annotated[
        int | None, typer.Option(help="Inherited listening socket of the control API.", min=3)
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that serve tenants. Default: 1", min=1)
    ] = None,
    insecure_no_sandbox: InsecureOption = False,
) -> None:
    """Run a node: tenants' hostnames on one port, the control API on another.

    Options win over WAYPOST_* variables, which win over routing.yaml. SIGTERM and Ctrl-C drain:
    requests in flight finish first. SIGHUP starts a new node, with the configuration and the code
    as they are then, on the same sockets: no request is lost. Sockets of systemd are taken.
    """
    place = taken(os.environ)
    if place is not None:
        die_with(place.leader_pid)
        raise typer.Exit(_follow(place))
    given = received(os.environ)
    overrides: dict[str, object] = {
        "data_dir": data_dir,
        "listen.host": host,
        "listen.port": port,
        "api.port": api_port,
        "server.processes": processes,
        "insecure_no_sandbox": insecure_no_sandbox or None,
    }
    settings = read_config(config, overrides)
    if given is None:
        become_manager(_sockets(settings, fd, api_fd))
    raise typer.Exit(_run(session.output, settings, given))


def _sockets(config: Config, fd: int | None, api_fd: int | None) -> Sockets:
    """Both listening sockets: the descriptors named, then systemd's, then bound here."""
    try:
        found = activated(os.environ)
        tenants = inherited(fd) if fd is not None else found.get("tenants")
        api = inherited(api_fd) if api_fd is not None else found.get("api")
        given = (tenants, api)
        tenants, api = tenants or listen_on(config.listen), api or listen_on(config.api)
        return Sockets(tenants, api, tuple(sock for sock in (tenants, api) if sock not in given))
    except ConfigError as error:
        raise CliError(str(error)) from error


def read_config(path: Path | None, overrides: dict[str, object]) -> Config:
    """Load the node's configuration; what is None in ``overrides`` was not given."""
    if path is not None and not path.is_file():
        raise CliError(f"{path} does not exist", fix="correct --config", status=2)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return load_config(path, os.environ, given)
    except ConfigError as error:
        raise CliError(str(error), status=2) from error


def _run(output: Output, config: Config, given: Handover) -> int:
    # Only this command needs the node; the others start faster without loading it.
    from gateway import life  # noqa: PLC0415

    def announce(started: Started) -> None:
        facts = _facts(config, started, given.lineage.manager_pid)
        if given.first:
            output.result(facts, lambda: _banner(facts))
        given.ready()

    try:
        return life.run(config, sockets=given.sockets, announce=announce, lineage=given.lineage)
    except HostUnfit as error:
        raise CliError(
            f"this host cannot jail untrusted code: {error.barrier}: {error.why}",
            fix=f"{error.fix}. `waypost doctor` shows every barrier",
        ) from error
    except ConfigError as error:
        raise CliError(str(error)) from error
    except SandboxError as error:
        raise CliError(str(error), fix="see `waypost doctor`") from error
    except OSError as error:
        raise CliError(
            f"cannot start: {error}", fix="choose other ports with --port and --api-port"
        ) from error


def _follow(place: Place) -> int:
    from gateway import life  # noqa: PLC0415

    try:
        return life.follow(place)
    except (ConfigError, OSError, SandboxError) as error:
        raise CliError(f"a process of the node cannot start: {error}") from error


def _facts(config: Config, started: Any, pid: int) -> dict[str, Any]:
    """What a node says when it is up."""
    return {
        "tenants": f"http://{_authority(config.listen.host)}:{started.tenant_port}",
        "scripts": f"http://{{script}}.{config.routing.base_domain}:{started.tenant_port}",
        "api": f"http://{_authority(config.api.host)}:{started.api_port}",
        "operator_token": started.operator_token,
        "data_dir": config.data_dir,
        "processes": config.server.processes,
        "sandbox": started.level,
        "insecure": started.insecure,
        "missing_packages": list(started.missing_packages),
        "pid": pid,
    }


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _colour(facts: dict[str, Any]) -> str:
    if facts["insecure"]:
        return "bold red"
    return "green" if facts["sandbox"] == LEVELS[-1] else "yellow"


def _banner(facts: dict[str, Any]) -> RenderableType:
    lines: list[RenderableType] = []
    if facts["insecure"]:
        lines.append(_alarm())
    lines += [
        Text.assemble(("Waypost", "bold"), " is serving. Ctrl-C drains and stops."),
        _pair("Tenants", facts["scripts"], "cyan"),
        _pair("Control API", facts["api"], "cyan"),
        _pair("Sandbox", facts["sandbox"], _colour(facts)),
        _pair("Data", facts["data_dir"]),
        _pair("Processes", facts["processes"]),
    ]
    if facts["missing_packages"]:
        missing = ", ".join(facts["missing_packages"])
        lines.append(
            _pair("Missing", f"{missing} (tenants cannot import them; install them)", "yellow")
        )
    if facts["operator_token"]:
        lines.append(_pair("Token", facts["operator_token"], "bold"))
        lines.append(
            Text(
                "  The operator's token is shown once; only its hash is kept. Log in with it:\n"
                f"  waypost login --api {facts['api']}",
                style="dim",
            )
        )
    return Group(*lines)


def _alarm() -> RenderableType:
    return Panel(
        Text(
            "NO SANDBOX: tenants' code runs with all the rights of this process.\n"
            "Anything uploaded can read your files and reach your network. Development only.",
            style="bold white",
        ),
        title="INSECURE",
        style="on red",
        border_style="bold white",
    )


def _pair(label: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"  {label:<12}", "dim"), (str(value), style))
