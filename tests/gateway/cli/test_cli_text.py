from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.cli.events import parse, parse_items
from gateway.cli.output import table
from gateway.cli.text import one_line, safe, size
from gateway.cli.trace import is_failure, render


def printed(item: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    console.print(render(item), soft_wrap=True)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


ITEM: dict[str, Any] = {
    "event": {
        "request": {"url": "http://hello.localhost/", "method": "GET"},
        "response": {"status": 200},
    },
    "eventTimestamp": 1795210770930,
    "outcome": "ok",
    "cpuTime": 1.234,
    "wallTime": 3,
    "logs": [
        {"level": "log", "message": ["hi", {"n": 1}], "timestamp": 1},
        {"level": "error", "message": ["two\nlines"], "timestamp": 1},
    ],
    "exceptions": [
        {"name": "ValueError", "message": "boom", "stack": "File entry.py, line 3\n  raise"}
    ],
    "truncated": True,
}


def test_an_invocation_is_one_line_with_its_logs_and_exceptions_below() -> None:
    lines = printed(ITEM).splitlines()
    assert lines[0].startswith("GET http://hello.localhost/ - Ok @ ")
    assert lines[0].endswith("(200, cpu 1.2 ms, wall 3.0 ms)")
    assert lines[1:] == [
        '  (log) hi {"n": 1}',
        "  (error) two",
        "  lines",
        "  ✘ ValueError: boom",
        "      File entry.py, line 3",
        "        raise",
        "  (logs were cut at their limit)",
    ]


def test_a_notice_of_the_platforms_is_one_line() -> None:
    notice = {"type": "deployment", "message": "Deployed by rollback: version \x1b[2Jv1 at 100 %"}
    logs = [{"level": "warn", "message": [notice["message"]], "timestamp": 1}]
    (line,) = printed({**ITEM, "event": notice, "logs": logs, "exceptions": [], "truncated": False}
                      ).splitlines()  # fmt: skip
    assert line.startswith("Deployed by rollback: version ")
    assert "\x1b" not in line


def test_a_tenant_cannot_drive_the_terminal_of_whoever_tails() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\x9b31m[red]x[/red]\u202eabc"
    item = {
        "event": {"request": {"url": f"http://a/{evil}", "method": evil}},
        "outcome": evil,
        "logs": [{"level": evil, "message": [evil]}],
        "exceptions": [{"name": evil, "message": evil, "stack": evil}],
    }
    text = printed(item)
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(text)
    assert "\\x1b]0;owned" in text
    assert "[red]x[/red]" in text


@given(st.text())
def test_safe_text_is_printable(text: str) -> None:
    cleaned = safe(text)
    cleaned.encode("utf-8")
    assert all(ord(char) >= 32 or char in "\n\t" for char in cleaned)
    assert "\n" not in one_line(text)


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(ITEM)), inner),
)


@given(st.dictionaries(st.sampled_from(sorted(ITEM)), _junk))
def test_any_event_can_be_shown(item: dict[str, Any]) -> None:
    assert printed(item)
    is_failure(item)


def test_server_sent_events_are_split() -> None:
    lines = [
        ": beat",
        "data: one",
        "",
        "event: dropped",
        "data: 7",
        "",
        "data: a",
        "data:b",
        "",
        "data: cut",
    ]
    assert list(parse(lines)) == [("message", "one"), ("dropped", "7"), ("message", "a\nb")]


def test_dropped_and_broken_events_are_told_not_hidden() -> None:
    told: list[str] = []
    lines = [
        "event: dropped",
        'data: {"dropped": 3}',
        "",
        "data: {",
        "",
        'data: {"outcome": "ok"}',
        "",
    ]
    assert list(parse_items(lines, told.append)) == [{"outcome": "ok"}]
    assert "3" in told[0]
    assert "not JSON" in told[1]


def test_tables_show_foreign_text_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(table("NAME", rows=[("[bold]a[/bold]\x1b[0m",)], empty=""))
    file = console.file
    assert isinstance(file, io.StringIO)
    assert "[bold]a[/bold]\\x1b[0m" in file.getvalue()


def test_sizes_read_well() -> None:
    assert [size(n) for n in (0, 1023, 2048, 5 << 20)] == ["0 B", "1023 B", "2.0 KiB", "5.0 MiB"]
