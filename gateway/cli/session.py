"""What every command shares: ``--api``, ``--token``, ``--json``, and how errors end it."""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

import typer

from gateway.cli.client import ControlClient
from gateway.cli.credentials import DEFAULT_API, Target, find_target
from gateway.cli.output import CliError, Output

P = ParamSpec("P")

_PANEL = "Which node"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

ApiOption = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL",
        help=f"Control API of the node, or WAYPOST_API. Default: the login's, else {DEFAULT_API}.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Bearer token, or WAYPOST_TOKEN. Default: the one that `waypost login` stored.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print machine-readable JSON.", show_default=False),
]


class Session:
    """One run of a command: whom it talks to and how it prints."""

    def __init__(self, *, api: str | None, token: str | None, json_mode: bool) -> None:
        self.output = Output(json_mode=json_mode)
        self._api = api
        self._token = token

    @property
    def target(self) -> Target:
        """The node that this command talks to."""
        return find_target(self._api, self._token, os.environ)

    def client(self) -> ControlClient:
        """A client of the control API."""
        target = self.target
        parts = urlsplit(target.api)
        if target.token and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            self.output.warn(f"the token travels unencrypted to {target.api}; use https")
        return ControlClient(target)


def online(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Give a command ``--api``, ``--token`` and ``--json``; it receives them as its session."""
    return _wrap(command, {"api": (ApiOption, None), "token": (TokenOption, None)})


def offline(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Give a command that talks to no node ``--json``; it receives it as its session."""
    return _wrap(command, {})


def _wrap(
    command: Callable[Concatenate[Session, P], None], extra: dict[str, tuple[Any, Any]]
) -> Callable[..., None]:
    extra = {**extra, "json_mode": (JsonOption, False)}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        shared = {"api": None, "token": None} | {name: values.pop(name) for name in extra}
        session = Session(**shared)
        try:
            command(session, **values)  # type: ignore[call-arg]
        except CliError as error:
            session.output.failure(error)
            raise typer.Exit(error.status) from None

    hints = typing.get_type_hints(command, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in extra.items()
    ]
    resolved = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own
    ]
    # Typer builds a command from its function's signature: what it sees is the union.
    signature = inspect.Signature([*resolved, *added], return_annotation=None)
    del run.__wrapped__
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {
        parameter.name: parameter.annotation for parameter in signature.parameters.values()
    } | {"return": None}
    return run


def examples(*commands: str) -> str:
    """The examples below a command's help."""
    lines = [f"[cyan]{command.replace('[', chr(92) + '[')}[/cyan]" for command in commands]
    return "\n".join(["[bold]Examples[/bold]", *lines])
