"""``waypost tokens …``: bearer tokens, and what each may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from gateway.cli.client import segment
from gateway.cli.listing import items
from gateway.cli.output import CliError, done, table
from gateway.cli.session import Session, examples, online
from gateway.cli.text import moment, safe

app = typer.Typer(no_args_is_help=True, help="Tokens of a tenant, or the operator's.")


class Scope(StrEnum):
    """What a token may do."""

    ADMIN = "admin"
    DEPLOY = "deploy"
    READ = "read"
    TAIL = "tail"


Tenant = Annotated[
    str | None,
    typer.Argument(metavar="TENANT", help="The tenant's slug.", show_default=False),
]
Operator = Annotated[
    bool, typer.Option("--operator", help="The operator's tokens instead of a tenant's.")
]


@app.command(
    "create",
    epilog=examples(
        "waypost tokens create acme --label ci",
        "waypost tokens create acme --scope read --script acme-shop --days 30",
        "waypost tokens create --operator --scope read --label grafana",
    ),
)
@online
def create(
    session: Session,
    tenant: Tenant = None,
    operator: Operator = False,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "",
    scope: Annotated[
        Scope | None,
        typer.Option(
            help="admin: everything, tokens too; deploy: scripts, secrets, routes;"
            " read: look; tail: tail only. Default: deploy, the operator's admin.",
            show_default=False,
        ),
    ] = None,
    script: Annotated[str | None, typer.Option(help="The only script it is for.")] = None,
    days: Annotated[int | None, typer.Option(help="Days until it expires.", min=1)] = None,
) -> None:
    """Create a token. It is shown once; the node keeps only its hash."""
    body: dict[str, Any] = {"label": label}
    if scope is not None:
        body["scope"] = scope.value
    if script is not None:
        body["script"] = script
    if days is not None:
        body["expires_on"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with session.client() as client:
        made = client.post(_path(tenant, operator), body)
    _show(session, made)


@app.command("list", epilog=examples("waypost tokens list acme", "waypost tokens list --operator"))
@online
def list_tokens(session: Session, tenant: Tenant = None, operator: Operator = False) -> None:
    """List tokens, never their secret."""
    path = _path(tenant, operator)
    with session.client() as client:
        rows = items(client.get(path), "tokens")
    session.output.result(
        rows,
        lambda: table(
            "ID",
            "LABEL",
            "SCOPE",
            "SCRIPT",
            "CREATED",
            "LAST USED",
            "EXPIRES",
            rows=[_row(row) for row in rows],
            empty=f"No tokens. Make one: waypost tokens create {tenant or '--operator'}",
        ),
    )


@app.command("rotate", epilog=examples("waypost tokens rotate acme 5f0c…"))
@online
def rotate(
    session: Session,
    names: Annotated[list[str], typer.Argument(metavar="[TENANT] ID", help="Whose, and which.")],
    operator: Operator = False,
) -> None:
    """Give a token another secret; the old one is refused from now on."""
    tenant, token_id = _which(names, operator)
    with session.client() as client:
        made = client.post(f"{_path(tenant, operator)}/{segment(token_id)}/rotate", {})
    _show(session, made)


@app.command("revoke", epilog=examples("waypost tokens revoke acme 5f0c…"))
@online
def revoke(
    session: Session,
    names: Annotated[list[str], typer.Argument(metavar="[TENANT] ID", help="Whose, and which.")],
    operator: Operator = False,
) -> None:
    """Revoke a token; it is refused from now on."""
    tenant, token_id = _which(names, operator)
    with session.client() as client:
        client.delete(f"{_path(tenant, operator)}/{segment(token_id)}")
    session.output.result(
        {"id": token_id, "revoked": True},
        lambda: done(f"Revoked token {token_id} of {tenant or 'the operator'}"),
    )


def _which(names: list[str], operator: bool) -> tuple[str | None, str]:
    """Tenant and token id of the arguments; the operator's tokens need the id only."""
    if len(names) != (1 if operator else 2):
        wanted = "ID with --operator" if operator else "TENANT and ID"
        raise CliError(f"name {wanted}", fix="see `waypost tokens list`", status=2)
    return (None if operator else names[0]), names[-1]


def _path(tenant: str | None, operator: bool) -> str:
    if operator == (tenant is not None):
        raise CliError("name a tenant, or give --operator", status=2)
    return "/v1/tokens" if tenant is None else f"/v1/tenants/{segment(tenant)}/tokens"


def _show(session: Session, made: Any) -> None:
    session.output.result(made, lambda: Text(safe(made.get("token", ""))))
    session.output.note("Shown once. Keep it; the node stores only its hash.")


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    return (
        row.get("id"),
        row.get("label", ""),
        row.get("scope", ""),
        row.get("script") or "",
        moment(row.get("created_on")),
        moment(row.get("last_used_on")) if row.get("last_used_on") else "",
        moment(row.get("expires_on")) if row.get("expires_on") else "",
    )
