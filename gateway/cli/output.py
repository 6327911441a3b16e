"""Where the command line prints: results on standard output, messages on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.cli.text import safe

_WIDTH_WITHOUT_TERMINAL = 160


class CliError(Exception):
    """What went wrong, said to a person, and what to do about it; ends the command."""

    def __init__(self, message: str, *, fix: str = "", status: int = 1, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.status = status
        self.code = code


class Output:
    """Prints for a person, or with ``json_mode`` one JSON value for a program."""

    def __init__(self, *, json_mode: bool = False) -> None:
        self.json_mode = json_mode
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    @property
    def interactive(self) -> bool:
        """A person watches, so that animations and colour make sense."""
        return self.err.is_terminal and not self.json_mode

    def result(self, value: Any, render: Callable[[], RenderableType]) -> None:
        """Print the outcome of a command: ``value`` for programs, ``render()`` for people."""
        if self.json_mode:
            print(json.dumps(value, indent=2 if sys.stdout.isatty() else None), flush=True)
        else:
            self.out.print(render())

    def line(self, value: Any) -> None:
        """Print one JSON value on one line of standard output, ASCII only."""
        print(json.dumps(value), flush=True)

    def note(self, message: str) -> None:
        """Tell a person something that is not the result."""
        self.err.print(Text(safe(message), style="dim"))

    def warn(self, message: str) -> None:
        """Tell a person something that may go against their wish."""
        self.err.print(Text.assemble(("Warning: ", "bold yellow"), safe(message)))

    def failure(self, error: CliError) -> None:
        """Print an error: what, and the fix."""
        if self.json_mode:
            body = {"message": error.message, "fix": error.fix, "code": error.code}
            given = {name: text for name, text in body.items() if text}
            print(json.dumps({"error": given}), file=sys.stderr, flush=True)
            return
        self.err.print(Text.assemble(("Error: ", "bold red"), safe(error.message)))
        if error.fix:
            self.err.print(Text.assemble(("Fix: ", "bold"), safe(error.fix)))


def done(message: str) -> Text:
    """A short success, with its tick."""
    return Text.assemble(("✓ ", "green"), safe(message))


def table(*columns: str, rows: Sequence[Sequence[object]], empty: str) -> RenderableType:
    """A borderless table of safe text; ``empty`` says what to do when there are no rows."""
    if not rows:
        return Text(empty, style="dim")
    grid = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        numeric = column.startswith(">")
        grid.add_column(
            column.removeprefix(">"),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
        )
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(safe(cell)) for cell in row))
    return grid


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)
