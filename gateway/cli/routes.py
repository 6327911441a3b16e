"""``waypost routes …``: which hostname leads to which script."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from gateway.cli.client import segment
from gateway.cli.listing import walk
from gateway.cli.output import CliError, Output, done, table
from gateway.cli.session import Session, examples, online
from gateway.cli.text import counted

app = typer.Typer(no_args_is_help=True, help="Custom hostnames and the script each leads to.")

Hostname = Annotated[str, typer.Argument(metavar="HOSTNAME", help="E.g. shop.example.com.")]

_LINES_PER_CHUNK = 1000


@app.command("list", epilog=examples("waypost routes list", "waypost routes list --prefix shop."))
@online
def list_routes(
    session: Session,
    prefix: Annotated[str, typer.Option(help="Only hostnames that start so.")] = "",
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 100,
    pending: Annotated[
        bool, typer.Option("--pending", help="Those that wait to be verified instead.")
    ] = False,
) -> None:
    """List hostnames, in order."""
    params: dict[str, str | int] = {"prefix": prefix} if prefix else {}
    if pending:
        params["status"] = "pending"
    with session.client() as client:
        rows = walk(client, "/v1/routes", ("routes", "hostname"), params, limit=limit)
    session.output.result(
        rows,
        lambda: table(
            "HOSTNAME",
            "SCRIPT",
            "TENANT",
            "NAMESPACE",
            rows=[
                tuple(row.get(name, "") for name in ("hostname", "script", "tenant", "namespace"))
                for row in rows
            ],
            empty="No custom hostnames. Add one: waypost routes add shop.example.com hello",
        ),
    )
    if len(rows) == limit:
        session.output.note(f"The first {limit:,}; see more with --limit, or narrow with --prefix.")


@app.command("add", epilog=examples("waypost routes add shop.example.com acme"))
@online
def add(
    session: Session,
    hostname: Hostname,
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="The script that answers.")],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Dispatch namespace of the script.")
    ] = None,
) -> None:
    """Lead a hostname to a script; in force for the next request."""
    body = {"script": script} | ({"namespace": namespace} if namespace else {})
    with session.client() as client:
        row = client.put(f"/v1/routes/{segment(hostname)}", body)
    session.output.result(row, lambda: _routed(row, hostname, script))


@app.command("verify", epilog=examples("waypost routes verify shop.example.com"))
@online
def verify(session: Session, hostname: Hostname) -> None:
    """Look whether a hostname that waits is shown to be yours; if so, it answers at once."""
    with session.client() as client:
        row = client.post(f"/v1/routes/{segment(hostname)}/verify", None)
    session.output.result(row, lambda: _routed(row, hostname, row.get("script", "")))


def _routed(row: dict[str, Any], hostname: str, script: str) -> RenderableType:
    """What came of it: the hostname answers, or what its tenant has to publish."""
    if row.get("status") != "pending":
        return done(f"{hostname} → {script}")
    record, file = row["ownership_verification"], row["ownership_verification_http"]
    why = row.get("verification_errors") or ["it has not been looked for yet"]
    return Text(
        f"{hostname} waits until it is shown to be yours: {why[0]}.\n"
        f"As the operator asks, publish a TXT record {record['name']} with the text\n"
        f"  {record['value']}\n"
        f"or that text at {file['http_url']}, then: waypost routes verify {hostname}"
    )


@app.command("remove", epilog=examples("waypost routes remove shop.example.com"))
@online
def remove(session: Session, hostname: Hostname) -> None:
    """Take a hostname away; it answers 404 from the next request on."""
    with session.client() as client:
        client.delete(f"/v1/routes/{segment(hostname)}")
    session.output.result(
        {"hostname": hostname, "removed": True}, lambda: done(f"Removed {hostname}")
    )


@app.command(
    "import",
    epilog=examples(
        "waypost routes import hostnames.ndjson", "cat hostnames.csv | waypost routes import -"
    ),
)
@online
def import_routes(
    session: Session,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help='Lines of JSON {"hostname", "script"}, or CSV "hostname,script". - reads stdin.',
        ),
    ],
) -> None:
    """Add many hostnames at once: all of them, or none when one is wrong."""
    count = _count_lines(file)
    with _open(file) as lines, session.client() as client:
        sent = _with_progress(session.output, _records(lines), count)
        answer = client.send(
            "POST", "/v1/routes/bulk", _chunks(sent), {"content-type": "application/x-ndjson"}
        )
    stored = answer.get("routes") if isinstance(answer, dict) else None
    session.output.result(answer, lambda: done(f"Imported {counted(stored or 0, 'hostname')}"))


@contextmanager
def _open(file: str) -> Iterator[IO[str]]:
    if file == "-":
        yield sys.stdin
        return
    try:
        with Path(file).open(encoding="utf-8") as opened:
            yield opened
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}", status=2) from error


def _count_lines(file: str) -> int | None:
    """Lines of a file, for the progress bar; None for a stream."""
    if file == "-":
        return None
    with _open(file) as lines:
        return sum(1 for line in lines if line.strip())


def _records(lines: Iterable[str]) -> Iterator[str]:
    """Each input line as one line of JSON; the first wrong one ends the import."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or (number == 1 and text.lower().startswith("hostname,")):
            continue
        yield _record(text, number)


def _record(text: str, number: int) -> str:
    try:
        record = json.loads(text) if text.startswith("{") else _from_csv(text)
        if not record["hostname"] or not record["script"]:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise CliError(
            f"line {number} names no hostname and script: {text[:80]!r}",
            fix='write {"hostname": "shop.example.com", "script": "acme"} or shop.example.com,acme',
        ) from None
    return json.dumps(record)


def _from_csv(text: str) -> dict[str, str]:
    fields = [field.strip() for field in next(csv.reader([text]))]
    if len(fields) not in (2, 3):
        raise ValueError(text)
    return dict(zip(("hostname", "script", "namespace"), fields, strict=False))


def _chunks(lines: Iterable[str]) -> Iterator[bytes]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _LINES_PER_CHUNK:
            yield ("\n".join(batch) + "\n").encode()
            batch = []
    if batch:
        yield ("\n".join(batch) + "\n").encode()


def _with_progress(output: Output, lines: Iterator[str], count: int | None) -> Iterator[str]:
    if not output.interactive:
        yield from lines
        return
    columns = (
        TextColumn("Importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.err, transient=True) as progress:
        yield from progress.track(lines, total=count)
