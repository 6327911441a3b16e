"""Reading the control API's lists."""

from __future__ import annotations

from typing import Any

from gateway.cli.client import ControlClient

PAGE = 500


def items(answer: Any, name: str) -> list[dict[str, Any]]:
    """The rows of a list answer: the list itself, or the member ``name`` of an object."""
    rows = answer.get(name, []) if isinstance(answer, dict) else answer
    return [row for row in rows or [] if isinstance(row, dict)]


def walk(
    client: ControlClient,
    path: str,
    columns: tuple[str, str],
    params: dict[str, str | int],
    *,
    limit: int,
    cursor: str = "after",
) -> list[dict[str, Any]]:
    """Read a list page by page until ``limit`` rows or its end.

    ``columns`` names the member that holds the rows and the column they are in order of, whose last
    value goes into the query parameter ``cursor`` of the next page.
    """
    name, key = columns
    rows: list[dict[str, Any]] = []
    after = ""
    while len(rows) < limit:
        wanted = min(PAGE, limit - len(rows))
        query: dict[str, str | int] = {**params, "limit": wanted}
        if after:
            query[cursor] = after
        page = items(client.get(path, query), name)
        # An API that ignores `after` must not make this endless.
        fresh = [row for row in page if str(row.get(key, "")) > after]
        rows.extend(fresh[:wanted])
        if len(page) < wanted or not fresh:
            break
        after = str(fresh[-1].get(key, ""))
    return rows
