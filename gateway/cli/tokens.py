"""``waypost tokens …``: bearer tokens that act for one tenant only."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from gateway.cli.client import segment
from gateway.cli.listing import items
from gateway.cli.output import done, table
from gateway.cli.session import Session, examples, online
from gateway.cli.tenants import Slug
from gateway.cli.text import moment, safe

app = typer.Typer(no_args_is_help=True, help="Tokens that can touch one tenant only.")


@app.command("create", epilog=examples("waypost tokens create acme --label ci"))
@online
def create(
    session: Session,
    tenant: Slug,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "",
) -> None:
    """Create a token for a tenant. It is shown once; the node keeps only its hash."""
    with session.client() as client:
        made = client.post(f"/v1/tenants/{segment(tenant)}/tokens", {"label": label})
    session.output.result(made, lambda: Text(safe(made.get("token", ""))))
    session.output.note("Shown once. Keep it; the node stores only its hash.")


@app.command("list", epilog=examples("waypost tokens list acme"))
@online
def list_tokens(session: Session, tenant: Slug) -> None:
    """List a tenant's tokens, never their secret."""
    with session.client() as client:
        rows = items(client.get(f"/v1/tenants/{segment(tenant)}/tokens"), "tokens")
    session.output.result(
        rows,
        lambda: table(
            "ID",
            "LABEL",
            "CREATED",
            rows=[
                (row.get("id"), row.get("label", ""), moment(row.get("created_on"))) for row in rows
            ],
            empty=f"No tokens. Make one: waypost tokens create {tenant}",
        ),
    )


@app.command("revoke", epilog=examples("waypost tokens revoke acme 5f0c…"))
@online
def revoke(
    session: Session,
    tenant: Slug,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, from `list`.")],
) -> None:
    """Revoke a token; it is refused from now on."""
    with session.client() as client:
        client.delete(f"/v1/tenants/{segment(tenant)}/tokens/{segment(token_id)}")
    session.output.result(
        {"id": token_id, "revoked": True}, lambda: done(f"Revoked token {token_id} of {tenant}")
    )
