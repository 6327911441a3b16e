"""``waypost deploy``: put a project online."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.syntax import Syntax
from rich.text import Text

from gateway.cli.bundle import collect, total_bytes
from gateway.cli.client import ApiError
from gateway.cli.output import CliError, Output, done
from gateway.cli.project import Project, load_project
from gateway.cli.scripts import Account, Namespace, find_path
from gateway.cli.session import Session, examples, online
from gateway.cli.text import counted, safe, size
from gateway.cli.upload import Progress, Upload, send

_PLACE = re.compile(r"^\s*at ([^\n:]+):(\d+)", re.MULTILINE)
_CONTEXT_LINES = 2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "deploy",
        epilog=examples(
            "waypost deploy",
            "waypost deploy hello --var GREETING=Servus --secret API_KEY=s3cret",
            "waypost deploy app.py --name acme-shop",
        ),
        rich_help_panel="Build",
    )(deploy)


@online
def deploy(
    session: Session,
    project: Annotated[
        Path, typer.Argument(metavar="DIR|FILE.py", help="The project, or its only file.")
    ] = Path("."),
    name: Annotated[
        str | None, typer.Option("--name", help="Script's name; default: the configuration's.")
    ] = None,
    namespace: Namespace = "production",
    account: Account = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE, or KEY alone to read it from the environment.", metavar="KEY"
        ),
    ] = None,
    var: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE; wins over the configuration's vars.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Upload a project; the next request is served by it.

    The node really starts the code in its jail first. If it does not start, the error is shown with
    your file and line, and what was deployed before keeps serving.
    """
    loaded = load_project(project, name)
    _tell_ignored(session.output, loaded)
    upload = Upload(
        project=loaded,
        modules=collect(loaded),
        secrets=dict(_pair(text, from_environment=True) for text in secret or []),
        variables=dict(_pair(text, from_environment=False) for text in var or []),
    )
    with session.client() as client:
        path = find_path(client, account, namespace, loaded.name)
        try:
            with _progress(session.output) as progress:
                result = send(client, path, upload, progress)
        except ApiError as error:
            raise _explained(session.output, error, loaded) from None
        for note in client.notes:
            session.output.warn(note)
        crons = loaded.config.triggers.crons
        if crons is not None:
            client.put(f"{path}/schedules", [{"cron": cron} for cron in crons])
            for note in client.notes:
                session.output.warn(note)
    session.output.result(result, lambda: _summary(loaded.name, upload, result))


def urls(result: dict[str, Any]) -> list[str]:
    """Where a deployed script answers, as the API says."""
    ours = result.get("waypost")
    found = ours.get("urls") if isinstance(ours, dict) else None
    return [str(url) for url in found] if isinstance(found, list) else []


def _tell_ignored(output: Output, project: Project) -> None:
    for key in project.ignored:
        hint = "; use `waypost routes add`" if key in ("route", "routes") else ""
        output.warn(f"{key!r} in the configuration is not served by this platform yet{hint}")


def _pair(text: str, *, from_environment: bool) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if key and equals:
        return key, value
    if key and from_environment and key in os.environ:
        return key, os.environ[key]
    wanted = (
        "KEY=VALUE, or a KEY that is set in the environment" if from_environment else "KEY=VALUE"
    )
    raise CliError(f"cannot read {key!r}", fix=f"write {wanted}", status=2)


@contextmanager
def _progress(output: Output) -> Iterator[Progress]:
    if not output.interactive:
        yield lambda sent, total: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
    )
    with ProgressBar(*columns, console=output.err, transient=True) as bar:
        task = bar.add_task("Uploading")

        def advance(sent: int, total: int) -> None:
            starting = sent == total
            bar.update(
                task,
                completed=sent,
                total=total,
                description="Starting it in the jail" if starting else "Uploading",
            )

        yield advance


def _summary(name: str, upload: Upload, result: dict[str, Any]) -> RenderableType:
    what = f"{counted(len(upload.modules), 'file')}, {size(total_bytes(upload.modules))}"
    started = result.get("startup_time_ms")
    took = f", started in {started} ms" if started is not None else ""
    lines: list[RenderableType] = [done(f"Deployed {name} ({what}{took})")]
    lines += [Text("  " + safe(url), style="bold cyan") for url in urls(result)]
    return Group(*lines)


def _explained(output: Output, error: ApiError, project: Project) -> CliError:
    """The refusal with its code, after showing the line of the tenant's own file it names."""
    code = f" ({error.code})" if error.code else ""
    place = _PLACE.search(error.message)
    if place and not output.json_mode:
        _show_source(output, project.root, place.group(1), int(place.group(2)))
    fix = error.fix
    if error.code == "10021":
        fix = "correct it and deploy again; what was deployed before keeps serving"
    return CliError(
        f"the node refused {project.name}{code}: {error.message}", fix=fix, code=error.code
    )


def _show_source(output: Output, root: Path, file: str, line: int) -> None:
    path = (root / file).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        return
    first = max(1, line - _CONTEXT_LINES)
    excerpt = Syntax(
        safe(path.read_text(encoding="utf-8", errors="replace")),
        "python",
        theme="ansi_dark",
        background_color="default",
        line_numbers=True,
        line_range=(first, line + _CONTEXT_LINES),
        highlight_lines={line},
    )
    output.err.print(Text(f"{path}:{line}", style="bold"))
    output.err.print(excerpt)
