"""``waypost keys …``: the keys that tenants' secrets are encrypted with."""

from __future__ import annotations

import typer

from gateway.cli.listing import items
from gateway.cli.output import done, table
from gateway.cli.session import Session, examples, online

app = typer.Typer(no_args_is_help=True, help="Keys that tenants' secrets are encrypted with.")


@app.command("list", epilog=examples("waypost keys list"))
@online
def list_keys(session: Session) -> None:
    """List the keys in use by their id, never the keys."""
    with session.client() as client:
        rows = items(client.get("/v1/keys"), "keys")
    session.output.result(
        rows,
        lambda: table(
            "ID",
            ">VERSIONS",
            "CURRENT",
            rows=[
                (row.get("id"), row.get("versions", 0), "yes" if row.get("current") else "")
                for row in rows
            ],
            empty="No keys.",
        ),
    )


@app.command("rotate", epilog=examples("waypost keys rotate"))
@online
def rotate(session: Session) -> None:
    """Encrypt all secrets again under a new key. Requests go on meanwhile.

    Where WAYPOST_SECRETS_KEY gives the keys: put the new one in front, restart, then run this.
    """
    with session.client() as client:
        answer = client.post("/v1/keys/rotate", {})
    sealed = answer.get("sealed", 0) if isinstance(answer, dict) else 0
    session.output.result(
        answer, lambda: done(f"Secrets of {sealed} versions are encrypted under the new key")
    )
    session.output.note("Back the key file up again.")
