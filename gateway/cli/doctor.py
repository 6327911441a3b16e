"""``waypost doctor``: can this host jail untrusted code, and what to change if not."""

from __future__ import annotations

import os
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.output import CliError, Output, table
from gateway.cli.serve import ConfigOption, read_config
from gateway.cli.session import Session, examples, offline
from gateway.config import Config
from sandbox import (
    RUNGS,
    Barrier,
    Rung,
    examine_host,
    host_level,
    missing_barriers,
    reaches,
)


class Check(msgspec.Struct, frozen=True):
    """One thing besides the barriers that a node wants."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


class Findings(msgspec.Struct, frozen=True):
    """What the doctor found."""

    barriers: list[Barrier]
    level: str
    minimum_level: str
    checks: list[Check]

    @property
    def fit(self) -> bool:
        """A node so configured would run untrusted code here."""
        return reaches(self.level, self.minimum_level)

    def demands(self, barrier: Barrier) -> bool:
        """A node so configured refuses for the want of it, unless it stands on a higher level."""
        return not self.fit and self.minimum_level in barrier.levels


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "doctor", epilog=examples("waypost doctor", "waypost doctor --json"), rich_help_panel="Node"
    )(doctor)


@offline
def doctor(session: Session, config: ConfigOption = None) -> None:
    """Show each barrier of the jail on this host, what follows, and the fix.

    Ends with status 1 when a node would refuse to run untrusted code here.
    """
    settings = read_config(config, {})
    try:
        barriers = examine_host()
    except (OSError, subprocess.SubprocessError) as error:
        raise CliError(f"cannot examine this host: {error}") from error
    findings = Findings(
        barriers, host_level(barriers), settings.sandbox.minimum_level, _checks(settings)
    )
    session.output.result(_plain(findings), lambda: _render(findings))
    if not findings.fit:
        _refuse(session.output)


def _refuse(output: Output) -> None:
    if not output.json_mode:
        output.out.print(
            Text("✗ A node here would refuse to run untrusted code.", style="bold red"),
            Text("  Apply the fixes above and run `waypost doctor` again."),
            sep="\n",
        )
    raise typer.Exit(1)


def _plain(findings: Findings) -> dict[str, Any]:
    return {
        "fit": findings.fit,
        "level": findings.level,
        "minimum_level": findings.minimum_level,
        "levels": [_rung(rung, findings.barriers) for rung in RUNGS],
        "barriers": [_barrier(barrier) for barrier in findings.barriers],
        "checks": msgspec.to_builtins(findings.checks),
    }


def _rung(rung: Rung, barriers: list[Barrier]) -> dict[str, Any]:
    return {
        "level": rung.level,
        "stands_on": rung.stands_on,
        "lost": rung.lost,
        "missing": [barrier.name for barrier in missing_barriers(barriers, rung.level)],
    }


def _barrier(barrier: Barrier) -> dict[str, Any]:
    names = ("name", "available", "required", "levels", "detail", "consequence", "fix")
    return {name: getattr(barrier, name) for name in names}


def _render(findings: Findings) -> RenderableType:
    barriers = [
        (
            _mark(barrier.available, findings.demands(barrier)),
            barrier.name,
            barrier.detail,
            "" if barrier.available else barrier.consequence,
            "" if barrier.available else barrier.fix,
        )
        for barrier in findings.barriers
    ]
    checks = [
        (_mark(check.ok, False), check.name, check.detail, "" if check.ok else check.fix)
        for check in findings.checks
    ]
    style = "bold green" if findings.fit else "bold red"
    return Group(
        table(
            "", "BARRIER", "STATE", "WITHOUT IT", "FIX", rows=barriers, empty="Nothing to check."
        ),
        Text(),
        table("", "NODE", "STATE", "FIX", rows=checks, empty=""),
        Text(),
        table("", "LEVEL", "STANDS ON", "LOST", "MISSING HERE", rows=_rungs(findings), empty=""),
        Text(),
        Text.assemble(
            "Sandbox level: ",
            (findings.level, style),
            (f" (this node asks for {findings.minimum_level} at least)", "dim"),
        ),
    )


def _rungs(findings: Findings) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for rung in RUNGS:
        missing = missing_barriers(findings.barriers, rung.level)
        mark = Text("→", style="bold") if rung.level == findings.level else Text()
        names = ", ".join(barrier.name for barrier in missing)
        rows.append((mark, rung.level, rung.stands_on, rung.lost, names))
    return rows


def _mark(ok: bool, required: bool) -> Text:
    if ok:
        return Text("✓", style="green")
    return Text("✗", style="bold red") if required else Text("!", style="yellow")


def _checks(config: Config) -> list[Check]:
    return [
        *(_package(name) for name in config.runtime.packages),
        _port("tenants' port", config.listen.host, config.listen.port),
        _port("control port", config.api.host, config.api.port),
        _data_dir(Path(config.data_dir)),
        _processes(config.server.processes),
    ]


def _package(name: str) -> Check:
    try:
        return Check(f"package {name}", True, metadata.version(name))
    except metadata.PackageNotFoundError:
        fix = f"pip install {name}, or take it out of runtime.packages"
        return Check(f"package {name}", False, "not installed; tenants cannot import it", fix)


def _port(name: str, host: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        detail = f"{host}:{port}: {error.strerror}"
        return Check(name, False, detail, "stop what uses it, or choose another port")
    return Check(name, True, f"{host}:{port} is free")


def _processes(wanted: int) -> Check:
    cores = len(os.sched_getaffinity(0))
    detail = f"{wanted} for {cores} cores"
    fix = "more processes than cores only wait for each other: lower server.processes"
    return Check("processes", wanted <= cores, detail, "" if wanted <= cores else fix)


def _data_dir(path: Path) -> Check:
    existing = next(parent for parent in (path, *path.resolve().parents) if parent.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Check("data directory", True, f"{path} is writable")
    return Check("data directory", False, f"{existing} is not writable", "choose another data_dir")
