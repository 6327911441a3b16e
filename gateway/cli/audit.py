"""``waypost audit``: who changed what, when, from where."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeAlias

import typer

from gateway.cli.listing import PAGE, items
from gateway.cli.output import CliError, done, table
from gateway.cli.session import Session, examples, online
from gateway.cli.text import moment, size

TenantOption: TypeAlias = Annotated[
    str, typer.Option("--tenant", help="Only changes of this tenant's things.")
]
ActorOption: TypeAlias = Annotated[
    str, typer.Option("--actor", help="Only what the token of this id did.")
]
ActionOption: TypeAlias = Annotated[
    str, typer.Option("--action", help="Only this, such as script.deploy.")
]
TargetOption: TypeAlias = Annotated[
    str, typer.Option("--target", help="Only to this: production/acme-shop.")
]
SinceOption: TypeAlias = Annotated[
    str, typer.Option("--since", help="Only since then: 2030-01-31, 2030-01-31T12:00:00Z.")
]
UntilOption: TypeAlias = Annotated[str, typer.Option("--until", help="Only before then.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode="rich")
    group.callback(
        invoke_without_command=True,
        epilog=examples("waypost audit", "waypost audit --tenant acme --limit 5000 --json"),
    )(audit)
    group.command(
        "export",
        epilog=examples(
            "waypost audit export > audit.jsonl",
            "waypost audit export --format csv --since 2030-01-01 --output audit.csv",
        ),
    )(export)
    app.add_typer(group, name="audit", rich_help_panel="Operate")


@online
def audit(  # noqa: PLR0913 — one parameter an option
    session: Session,
    context: typer.Context,
    tenant: TenantOption = "",
    actor: ActorOption = "",
    action: ActionOption = "",
    target: TargetOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 50,
) -> None:
    """Show the audit log: every change, and what a token was not allowed to change."""
    if context.invoked_subcommand is not None:
        _insist_on_none(context)
        return
    query: dict[str, str | int] = {**_given(tenant, actor, action, target, since, until)}
    rows: list[dict[str, Any]] = []
    with session.client() as client:
        while len(rows) < limit:
            query["limit"] = min(PAGE, limit - len(rows))
            answer = client.get("/v1/audit", query)
            rows.extend(items(answer, "entries"))
            following = answer.get("before") if isinstance(answer, dict) else None
            if not isinstance(following, int):
                break
            query["before"] = following
    session.output.result(
        rows,
        lambda: table(
            "WHEN",
            "WHO",
            "FROM",
            "WHAT",
            "TARGET",
            ">STATUS",
            rows=[
                (
                    moment(row.get("at")),
                    _who(row),
                    row.get("address", ""),
                    row.get("action", ""),
                    row.get("target", ""),
                    row.get("status", ""),
                )
                for row in rows
            ],
            empty="Nothing was changed.",
        ),
    )


@online
def export(  # noqa: PLR0913 — one parameter an option
    session: Session,
    tenant: TenantOption = "",
    actor: ActorOption = "",
    action: ActionOption = "",
    target: TargetOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    format: Annotated[str, typer.Option(help="jsonl or csv.")] = "jsonl",
    output: Annotated[Path | None, typer.Option(help="A file instead of standard output.")] = None,
) -> None:
    """Write all of the audit log down, oldest first, as JSON lines or CSV."""
    query = _given(tenant, actor, action, target, since, until)
    written = 0
    with (
        session.client() as client,
        client.download("/v1/audit/export", {**query, "format": format}) as chunks,
        _opened(output) as file,
    ):
        for chunk in chunks:
            file.write(chunk)
            written += len(chunk)
    if output is not None:
        told = {"file": str(output), "bytes": written}
        session.output.result(told, lambda: done(f"Wrote {size(written)} to {output}."))


def _insist_on_none(context: typer.Context) -> None:
    """Raise CliError where options stand before the command that they are meant for."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, kind in sources.items() if kind and kind.name == "COMMANDLINE"]
    if given:
        raise CliError(
            f"--{given[0].removesuffix('_mode')} stands before {context.invoked_subcommand!r}",
            fix=f"write it after: waypost audit {context.invoked_subcommand} …",
            status=2,
        )


def _given(
    tenant: str, actor: str, action: str, target: str, since: str, until: str
) -> dict[str, str]:
    given = {
        "tenant": tenant,
        "actor": actor,
        "action": action,
        "target": target,
        "since": since,
        "until": until,
    }
    return {name: value for name, value in given.items() if value}


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """Where to write: standard output, or a new file that only its owner may read."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", status=2) from error
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _who(row: dict[str, Any]) -> str:
    owner = row.get("actor_tenant") or "operator"
    return f"{owner} ({row.get('actor_label') or row.get('actor', '')})"
