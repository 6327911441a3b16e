"""``waypost login`` and ``waypost logout``."""

from __future__ import annotations

import os
import sys
from getpass import getpass

import typer

from gateway.cli.client import ControlClient
from gateway.cli.credentials import (
    Target,
    credentials_path,
    load_credentials,
    save_credentials,
)
from gateway.cli.output import CliError, done
from gateway.cli.session import Session, examples, online


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "login",
        epilog=examples("waypost login", "waypost login --api https://node:8788 --token wp_…"),
        rich_help_panel="Node",
    )(login)
    app.command("logout", epilog=examples("waypost logout"), rich_help_panel="Node")(logout)


@online
def login(session: Session) -> None:
    """Check a token and remember it for this node.

    The token is stored in ~/.config/waypost/credentials.json, readable by you only. `waypost serve`
    prints the operator's token once, at its first start.
    """
    target = session.target
    token = target.token or _ask()
    with ControlClient(Target(target.api, token)) as client:
        client.get("/client/v4/user/tokens/verify")
    path = credentials_path(os.environ)
    credentials = load_credentials(path)
    credentials.nodes[target.api] = token
    credentials.current = target.api
    save_credentials(path, credentials)
    session.output.result(
        {"api": target.api, "stored": str(path)},
        lambda: done(f"Logged in to {target.api}; the token is in {path}"),
    )


@online
def logout(session: Session) -> None:
    """Forget the token stored for this node."""
    path = credentials_path(os.environ)
    api = session.target.api
    credentials = load_credentials(path)
    known = credentials.nodes.pop(api, None) is not None
    if credentials.current == api:
        credentials.current = next(iter(credentials.nodes), "")
    if known:
        save_credentials(path, credentials)
    said = f"Forgot the token for {api}" if known else f"No token was stored for {api}"
    session.output.result({"api": api, "removed": known}, lambda: done(said))


def _ask() -> str:
    if not sys.stdin.isatty():
        raise CliError("no token given", fix="give it with --token or WAYPOST_TOKEN", status=2)
    token = getpass("Token: ").strip()
    if not token:
        raise CliError("no token given", status=2)
    return token
