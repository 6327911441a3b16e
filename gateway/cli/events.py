"""Reading server-sent events and keeping the connection alive."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from gateway.cli.client import ApiError, ConnectionLostError, ControlClient
from gateway.cli.output import CliError

SILENCE_SECONDS = 30.0
"""The node sends a heartbeat every 10 s; three missed ones are a lost connection."""
_LONGEST_PAUSE_SECONDS = 10.0


class TailEndedError(CliError):
    """The node ended the tail for good: its token was revoked, or what it listened to is gone."""


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    data: str


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Split a stream of lines into events (WHATWG HTML, "server-sent events")."""
    name = ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield Event(name or "message", "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value


def follow(
    client: ControlClient, path: str, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Yield tail events for ever, reconnecting with a word when the connection drops.

    Raises CliError when the first connection fails, whenever the node refuses, and at the end.
    """
    pause = 0.0
    connected = False
    while True:
        try:
            with client.stream(path, silence_seconds=SILENCE_SECONDS) as lines:
                tell("Reconnected." if connected else "Connected; waiting for requests.")
                connected, pause = True, 0.0
                yield from parse_items(lines, tell)
        except (ApiError, TailEndedError):
            raise
        except ConnectionLostError:
            if not connected:
                raise
        pause = min(_LONGEST_PAUSE_SECONDS, pause * 2 or 0.25)
        tell(f"The connection dropped; trying again in {pause:g} s.")
        time.sleep(pause)


def parse_items(lines: Iterable[str], tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The tail events of a stream of lines; what cannot be shown is told."""
    for event in parse(lines):
        if event.name == "end":
            raise TailEndedError(f"the tail has ended: {_field(event.data, 'reason')}")
        if event.name == "dropped":
            tell(
                f"Too many events to show them all; dropped so far: {_field(event.data, 'dropped')}"
            )
            continue
        try:
            item = json.loads(event.data)
        except ValueError:
            tell("The node sent an event that is not JSON; skipped.")
            continue
        if isinstance(item, dict):
            yield item


def _field(data: str, name: str) -> str:
    """What the node says of itself."""
    try:
        return str(json.loads(data)[name])
    except (ValueError, KeyError, TypeError):
        return "unknown"
