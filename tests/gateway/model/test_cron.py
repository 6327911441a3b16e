"""Cron expressions: when they are due, and which are none."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from gateway.model.cron import MAX_EXPRESSION, parse


def minute(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // 60


def following(expression: str, count: int = 3, after: str = "2026-11-21T06:30") -> list[str]:
    """The next times, as ``month-day hour:minute``."""
    schedule, at, found = parse(expression), minute(after), []
    for _ in range(count):
        after_it = schedule.next_after(at)
        assert after_it is not None
        assert schedule.is_due(after_it)
        at = after_it
        found.append(datetime.fromtimestamp(at * 60, UTC).strftime("%m-%d %H:%M"))
    return found


# 21 November 2026 is a Saturday.
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", ["11-21 06:31", "11-21 06:32", "11-21 06:33"]),
        ("*/30 * * * *", ["11-21 07:00", "11-21 07:30", "11-21 08:00"]),
        ("45 * * * *", ["11-21 06:45", "11-21 07:45", "11-21 08:45"]),
        ("50/5 6 * * *", ["11-21 06:50", "11-21 06:55", "11-22 06:50"]),
        ("0 17 * * sun", ["11-22 17:00", "11-29 17:00", "12-06 17:00"]),
        ("0 17 * * 1", ["11-22 17:00", "11-29 17:00", "12-06 17:00"]),
        ("10 7 * * MON-fri", ["11-23 07:10", "11-24 07:10", "11-25 07:10"]),
        ("10 7 * * 2-6", ["11-23 07:10", "11-24 07:10", "11-25 07:10"]),
        ("0 0 * * fri-mon", ["11-22 00:00", "11-23 00:00", "11-27 00:00"]),
        ("0 22-1 * * *", ["11-21 22:00", "11-21 23:00", "11-22 00:00"]),
        ("0 15 1 * *", ["12-01 15:00", "01-01 15:00", "02-01 15:00"]),
        ("0 0 1 JAN,jul *", ["01-01 00:00", "07-01 00:00", "01-01 00:00"]),
        ("0 18 * * 6L", ["11-27 18:00", "12-25 18:00", "01-29 18:00"]),
        ("0 18 * * friL", ["11-27 18:00", "12-25 18:00", "01-29 18:00"]),
        ("0 0 * * L", ["11-28 00:00", "12-05 00:00", "12-12 00:00"]),
        ("0 10 * * MON#2", ["12-14 10:00", "01-11 10:00", "02-08 10:00"]),
        ("59 23 LW * *", ["11-30 23:59", "12-31 23:59", "01-29 23:59"]),
        ("0 9 L * *", ["11-30 09:00", "12-31 09:00", "01-31 09:00"]),
        ("0 9 L-2 * *", ["11-28 09:00", "12-29 09:00", "01-29 09:00"]),
        ("0 0 22W * *", ["11-23 00:00", "12-22 00:00", "01-22 00:00"]),
        ("0 0 1W 5,8 *", ["05-03 00:00", "08-02 00:00", "05-01 00:00"]),
        # either day will do
        ("0 0 24 * sun", ["11-22 00:00", "11-24 00:00", "11-29 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
        ("  0   0 1,15 * *  ", ["12-01 00:00", "12-15 00:00", "01-01 00:00"]),
    ],
)
def test_when_it_is_due(expression: str, expected: list[str]) -> None:
    assert following(expression) == expected


def test_between_its_times_it_is_not_due() -> None:
    schedule = parse("*/15 6 * * sat")
    due = [at for at in range(1440) if schedule.is_due(minute("2026-11-21T00:00") + at)]
    assert due == [360, 375, 390, 405]
    assert not any(schedule.is_due(minute("2026-11-22T00:00") + at) for at in range(1440))


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@hourly",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * foo *",
        "* * * * 0",
        "* * * * 8",
        "* * * * sunday",
        "*/0 * * * *",
        "*/ * * * *",
        "1- * * * *",
        "-1 * * * *",
        "*-5 * * * *",
        "1,,2 * * * *",
        "1.5 * * * *",
        "L * * * *",
        "* * ? * *",
        "* * W * *",
        "* * 32W * *",
        "* * L-31 * *",
        "* * * * mon#0",
        "* * * * mon#6",
        "* * * * L#2",
        "* * * * 8L",
        "\u0661 * * * *",
        "* * * * *" + " " * MAX_EXPRESSION,
        "9" * 200 + " * * * *",
    ],
)
def test_what_is_none(expression: str) -> None:
    with pytest.raises(ValueError, match=r".{8}"):
        parse(expression)


def test_a_day_that_never_comes() -> None:
    assert parse("0 0 31 2,4 *").next_after(minute("2026-01-01T00:00")) is None
    assert parse("0 0 * feb sun#5").next_after(minute("2026-01-01T00:00")) == minute(
        "2032-02-29T00:00"
    )


def test_what_is_rare_is_found_without_looking_at_each_day() -> None:
    schedule = parse("0 0 * feb sun#5")
    asked: list[date] = []
    rule = schedule._days[0]

    def counted(day: date) -> bool:
        asked.append(day)
        return rule(day)

    schedule._days = [counted]
    assert schedule.next_after(minute("2032-03-01T00:00")) == minute("2060-02-29T00:00")
    assert len(asked) < 28 * 29
