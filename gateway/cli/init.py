"""``waypost init``: a project to start from."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from gateway.cli.output import CliError, done
from gateway.cli.project import check_name
from gateway.cli.session import Session, examples, offline

_SUFFIX = ".tmpl"


class Template(StrEnum):
    """The kinds of project that can be made."""

    WORKER = "worker"
    FASTAPI = "fastapi"
    FLASK = "flask"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "init",
        epilog=examples("waypost init hello", "waypost init acme-shop --template fastapi"),
        rich_help_panel="Build",
    )(init)


@offline
def init(
    session: Session,
    name: Annotated[
        Path, typer.Argument(metavar="NAME", help="Directory to make; its name names the script.")
    ],
    template: Annotated[
        Template, typer.Option("--template", "-t", help="What to start from.")
    ] = Template.WORKER,
) -> None:
    """Make a project: configuration, a sample that works, a README."""
    script = check_name(name.resolve().name)
    _refuse_occupied(name)
    words = {"name": script, "date": datetime.now(UTC).date().isoformat()}
    source = resources.files("gateway.cli") / "templates" / template.value
    written = _copy(source, name, words)
    session.output.result(
        {"directory": str(name), "name": script, "template": template, "files": written},
        lambda: Group(
            done(f"Made {name} with {', '.join(written)}"),
            Text(f"\nNext:\n  waypost deploy {name}\n  waypost tail {script}"),
        ),
    )


def _refuse_occupied(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CliError(f"{directory} exists and is not empty", fix="choose another name")


def _copy(source: Traversable, target: Path, words: dict[str, str], prefix: str = "") -> list[str]:
    """Write a template's files below ``target``; returns their names."""
    written: list[str] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for entry in sorted(source.iterdir(), key=lambda item: item.name):
            name = entry.name.removesuffix(_SUFFIX)
            if entry.is_dir():
                written += _copy(entry, target / name, words, f"{prefix}{name}/")
            elif entry.name.endswith(_SUFFIX):
                (target / name).write_text(_fill(entry.read_text("utf-8"), words), "utf-8")
                written.append(prefix + name)
    except OSError as error:
        raise CliError(f"cannot write {target}: {error.strerror}") from error
    return written


def _fill(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text
