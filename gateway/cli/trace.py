"""A tail event (Cloudflare's TraceItem) as lines on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.text import Text

from gateway.cli.text import safe

_WORDS = {
    "ok": ("Ok", "green"),
    "exception": ("Exception Thrown", "red"),
    "exceededCpu": ("Exceeded CPU Limit", "red"),
    "exceededMemory": ("Exceeded Memory Limit", "red"),
    "exceededWallTime": ("Exceeded Wall Time Limit", "red"),
    "loadShed": ("Shed Under Load", "yellow"),
    "killSwitch": ("Suspended", "yellow"),
    "scriptNotFound": ("Script Not Found", "yellow"),
    "canceled": ("Canceled", "yellow"),
    "responseStreamDisconnected": ("Answer Cut Off", "red"),
    "internalError": ("Internal Error", "red"),
    "daemonDown": ("Platform Down", "red"),
    "aborted": ("Aborted", "red"),
}
_LEVELS = {"debug": "dim", "info": "blue", "log": "", "warn": "yellow", "error": "red"}


def is_failure(item: dict[str, Any]) -> bool:
    """Whether the invocation ended in anything but success."""
    return item.get("outcome") != "ok"


def render(item: dict[str, Any]) -> Text:
    """One invocation: its line, its logs indented below, its exceptions with their stack."""
    lines = [_headline(item)]
    if "message" not in _mapping(item.get("event")):
        lines += [*_logs(item), *_exceptions(item)]
    if item.get("truncated"):
        lines.append(Text("  (logs were cut at their limit)", style="dim"))
    return Text("\n").join(lines)


def _headline(item: dict[str, Any]) -> Text:
    notice = _mapping(item.get("event")).get("message")
    if isinstance(notice, str):
        when = f" @ {_clock(item.get('eventTimestamp'))}"
        return Text.assemble((safe(notice), "bold yellow"), (when, "dim"))
    outcome = str(item.get("outcome", "unknown"))
    word, style = _WORDS.get(outcome, (outcome, "red"))
    return Text.assemble(
        (_subject(item), "bold"),
        " - ",
        (safe(word), style),
        (f" @ {_clock(item.get('eventTimestamp'))} ({_figures(item)})", "dim"),
    )


def _subject(item: dict[str, Any]) -> str:
    event = _mapping(item.get("event"))
    request = _mapping(event.get("request"))
    if request:
        return safe(f"{request.get('method', '?')} {request.get('url', '?')}").replace("\n", " ")
    return f'"{safe(event["cron"])}"' if "cron" in event else "event"


def _figures(item: dict[str, Any]) -> str:
    event = _mapping(item.get("event"))
    status = _mapping(event.get("response")).get("status")
    figures = [str(status)] if isinstance(status, int) and status else []
    figures += [f"cpu {_ms(item.get('cpuTime'))}", f"wall {_ms(item.get('wallTime'))}"]
    if _mapping(item.get("waypost")).get("cold"):
        figures.append("cold start")
    return ", ".join(figures)


def _logs(item: dict[str, Any]) -> Iterator[Text]:
    for entry in _mappings(item.get("logs")):
        level = str(entry.get("level", "log"))
        message = entry.get("message")
        parts = message if isinstance(message, list) else [message]
        said = " ".join(part if isinstance(part, str) else json.dumps(part) for part in parts)
        yield Text.assemble(
            "  ", (f"({safe(level)}) ", _LEVELS.get(level, "")), _indented(said, "  ").strip()
        )


def _exceptions(item: dict[str, Any]) -> Iterator[Text]:
    for entry in _mappings(item.get("exceptions")):
        name, message = entry.get("name", "Error"), entry.get("message", "")
        yield Text.assemble("  ", ("✘ ", "red"), (safe(f"{name}: {message}").strip(), "bold red"))
        if entry.get("stack"):
            yield Text(_indented(str(entry["stack"]), "      "), style="dim")


def _indented(text: str, margin: str) -> str:
    return "\n".join(margin + line for line in safe(text).rstrip("\n").split("\n"))


def _ms(value: object) -> str:
    return f"{value:.1f} ms" if isinstance(value, int | float) else "?"


def _clock(value: object) -> str:
    if not isinstance(value, int | float):
        return "?"
    try:
        return datetime.fromtimestamp(value / 1000).astimezone().strftime("%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "?"


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
