"""``waypost scripts versions`` and ``rollback``: what was deployed before, and back to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.client import ControlClient
from gateway.cli.listing import items
from gateway.cli.output import CliError, done, table
from gateway.cli.scripts import DEFAULT_NAMESPACE, Account, Name, Namespace, find_path
from gateway.cli.session import Session, examples, online
from gateway.cli.text import moment

_SHORTEST = 4
"""Characters of a version's id that stand for it, at least."""

VersionId = Annotated[
    str | None,
    typer.Argument(
        metavar="VERSION",
        help="Its id, or how that begins. Default: what served before.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to those of scripts."""
    app.command("versions", epilog=examples("waypost scripts versions hello"))(versions)
    app.command(
        "rollback",
        epilog=examples(
            "waypost scripts rollback hello", "waypost scripts rollback hello 3fa85f64"
        ),
    )(rollback)


@online
def versions(
    session: Session,
    name: Name,
    namespace: Namespace = DEFAULT_NAMESPACE,
    account: Account = None,
) -> None:
    """Show a script's versions, newest first, and which of them serve."""
    with session.client() as client:
        path = find_path(client, account, namespace, name)
        found = items(client.get(f"{path}/versions"), "items")
        serving = {share["version_id"]: share["percentage"] for share in _deployed(client, path)[0]}
    rows = [_row(version, serving.get(version.get("id"))) for version in found]
    session.output.result(
        found,
        lambda: table("VERSION", "CREATED", "BY", "SERVES", rows=rows, empty="There is none."),
    )


@online
def rollback(
    session: Session,
    name: Name,
    version: VersionId = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    account: Account = None,
) -> None:
    """Let an earlier version serve again, from the next request on."""
    with session.client() as client:
        path = find_path(client, account, namespace, name)
        shares = _named(client, path, version) if version else _before(client, path, name)
        body = {
            "strategy": "percentage",
            "versions": shares,
            "annotations": {"workers/message": "Rollback"},
        }
        answer = client.post(f"{path}/deployments", body)
    serving = ", ".join(f"{share['version_id']} at {share['percentage']} %" for share in shares)
    session.output.result(answer, lambda: done(f"{name} is served by {serving}"))


def _row(version: dict[str, Any], percentage: object) -> tuple[object, ...]:
    made = version.get("metadata") or {}
    by = (version.get("annotations") or {}).get("workers/triggered_by")
    serves = "" if percentage is None else f"{percentage} %"
    return version.get("id"), moment(made.get("created_on")), by, serves


def _deployed(client: ControlClient, path: str) -> list[list[dict[str, Any]]]:
    """The shares of each deployment, newest first."""
    found = items(client.get(f"{path}/deployments"), "deployments")
    return [items(deployment, "versions") for deployment in found] or [[]]


def _before(client: ControlClient, path: str, name: str) -> list[dict[str, Any]]:
    """The shares of the last deployment that differs from the one in force."""
    current, *earlier = _deployed(client, path)
    for shares in earlier:
        if shares != current:
            return shares
    raise CliError(
        f"nothing else served {name} before", fix=f"see them: waypost scripts versions {name}"
    )


def _named(client: ControlClient, path: str, version: str) -> list[dict[str, Any]]:
    found = [item["id"] for item in items(client.get(f"{path}/versions"), "items")]
    fitting = [one for one in found if one == version or one.startswith(version)]
    if len(fitting) != 1 or len(version) < _SHORTEST:
        raise CliError(
            f"{len(fitting) or 'no'} versions begin with {version!r}",
            fix="give more of its id: waypost scripts versions shows them",
            status=2,
        )
    return [{"version_id": fitting[0], "percentage": 100}]
