"""Cron expressions as Cloudflare reads them: five fields, UTC.

Minutes 0 to 59, hours 0 to 23, days of the month 1 to 31, months 1 to 12 or JAN to DEC, days of the
week 1 (Sunday) to 7 or SUN to SAT. ``*``, lists, ranges (which may go over the end) and steps in
each; ``L``, ``L-3``, ``15W`` and ``LW`` in days of the month; ``L``, ``6L`` and ``6#2`` in days of
the week. Where both days are restricted, either will do.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

MAX_EXPRESSION: Final = 256
"""Longest expression, characters."""
_YEARS: Final = 40
"""How far the next time is looked for: 29 February is the fifth Sunday once in 28 years."""
_MONTHS: Final = tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())
_DAYS: Final = tuple("sun mon tue wed thu fri sat".split())
_DayRule = Callable[[date], bool]


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    words: tuple[str, ...] = ()


_MINUTE: Final = _Field("minutes", 0, 59)
_HOUR: Final = _Field("hours", 0, 23)
_DAY: Final = _Field("days of the month", 1, 31)
_MONTH: Final = _Field("months", 1, 12, _MONTHS)
_WEEKDAY: Final = _Field("days of the week", 1, 7, _DAYS)
_PART: Final = re.compile(r"(?P<from>\*|[0-9a-z]+)(?:-(?P<to>[0-9a-z]+))?(?:/(?P<step>[0-9]+))?")
_FROM_END: Final = re.compile(r"l(?:-([0-9]{1,2}))?")
_WORKDAY: Final = re.compile(r"(l|[0-9]{1,2})w")
_LAST_WEEKDAY: Final = re.compile(r"([0-9a-z]+)l")
_NTH_WEEKDAY: Final = re.compile(r"([0-9a-z]+)#([0-9])")


class Schedule:
    """When an expression is due."""

    def __init__(self, fields: list[str]) -> None:
        self._minutes = _numbers(_MINUTE, fields[0])
        self._hours = _numbers(_HOUR, fields[1])
        self._months = _numbers(_MONTH, fields[3])
        days = [] if fields[2] == "*" else [_month_day(part) for part in fields[2].split(",")]
        weekdays = [] if fields[4] == "*" else [_weekday(part) for part in fields[4].split(",")]
        self._days = days + weekdays
        """One of them has to agree; none: every day."""

    def is_due(self, minute: int) -> bool:
        """Whether it is due in this minute, counted from 1970."""
        moment = datetime.fromtimestamp(minute * 60, UTC)
        return (
            moment.minute in self._minutes
            and moment.hour in self._hours
            and self._is_on(moment.date())
        )

    def next_after(self, minute: int) -> int | None:
        """The first minute after this one in which it is due; None when there is none."""
        moment = datetime.fromtimestamp((minute + 1) * 60, UTC)
        day, earliest = moment.date(), moment.hour * 60 + moment.minute
        last = day.year + _YEARS
        while day.year <= last:
            if day.month not in self._months:
                day, earliest = day.replace(day=_length(day)) + timedelta(1), 0
                continue
            if self._is_on(day):
                for hour in sorted(self._hours):
                    for at in sorted(self._minutes):
                        if hour * 60 + at >= earliest:
                            return day.toordinal() * 1440 - _EPOCH + hour * 60 + at
            day, earliest = day + timedelta(1), 0
        return None

    def _is_on(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        return not self._days or any(rule(day) for rule in self._days)


_EPOCH: Final = date(1970, 1, 1).toordinal() * 1440


@lru_cache(maxsize=4096)
def parse(expression: str) -> Schedule:
    """The schedule of an expression. Raises ValueError, saying what is wrong with which part."""
    fields = expression.lower().split() if len(expression) <= MAX_EXPRESSION else []
    if len(fields) != 5 or not expression.isascii():
        raise ValueError("expected five fields: minute, hour, day of month, month, day of week")
    return Schedule(fields)


def _numbers(field: _Field, text: str) -> frozenset[int]:
    return frozenset(number for part in text.split(",") for number in _span(field, part))


def _span(field: _Field, part: str) -> Iterator[int]:
    """The numbers of one item of a list: a number, a range, every so many of either."""
    match = _PART.fullmatch(part)
    if match is None or (match["from"] == "*" and match["to"]):
        raise ValueError(f"{part!r} is nothing that {field.name} can be")
    step = int(match["step"][:6]) if match["step"] else 1
    if step < 1:
        raise ValueError(f"{part!r}: a step is 1 or more")
    if match["from"] == "*":
        first, last = field.first, field.last
    else:
        first = _number(field, match["from"])
        last = field.last if match["step"] else first
        last = _number(field, match["to"]) if match["to"] else last
    if last < first:
        # Over the end: FRI-MON, 22-2.
        size = field.last - field.first + 1
        span = range(first, last + size + 1, step)
        return ((number - field.first) % size + field.first for number in span)
    return iter(range(first, last + 1, step))


def _number(field: _Field, text: str) -> int:
    if text in field.words:
        return field.words.index(text) + field.first
    number = int(text) if text.isdigit() and len(text) <= 2 else -1
    if not field.first <= number <= field.last:
        words = f" or {field.words[0]} to {field.words[-1]}" if field.words else ""
        raise ValueError(f"{text!r}: {field.name} are {field.first} to {field.last}{words}")
    return number


def _month_day(part: str) -> _DayRule:
    if match := _FROM_END.fullmatch(part):
        before = int(match[1] or 0)
        if before > 30:
            raise ValueError(f"{part!r}: a month has at most 31 days")
        return lambda day: day.day == _length(day) - before
    if match := _WORKDAY.fullmatch(part):
        wanted = None if match[1] == "l" else _number(_DAY, match[1])
        return lambda day: day.day == _workday(day, wanted or _length(day))
    days = frozenset(_span(_DAY, part))
    return lambda day: day.day in days


def _weekday(part: str) -> _DayRule:
    if part == "l":
        part = "7"
    if match := _NTH_WEEKDAY.fullmatch(part):
        which, count = _number(_WEEKDAY, match[1]), int(match[2])
        if not 1 <= count <= 5:
            raise ValueError(f"{part!r}: a month has at most five of each day of the week")
        return lambda day: _day_of_week(day) == which and (day.day - 1) // 7 + 1 == count
    if match := _LAST_WEEKDAY.fullmatch(part):
        which = _number(_WEEKDAY, match[1])
        return lambda day: _day_of_week(day) == which and day.day + 7 > _length(day)
    days = frozenset(_span(_WEEKDAY, part))
    return lambda day: _day_of_week(day) in days


def _day_of_week(day: date) -> int:
    """1 is Sunday."""
    return day.isoweekday() % 7 + 1


def _length(day: date) -> int:
    """Days of the month."""
    return calendar.monthrange(day.year, day.month)[1]


def _workday(day: date, wanted: int) -> int:
    """The day from Monday to Friday that is nearest to ``wanted`` within the month; 0: none."""
    length = _length(day)
    if wanted > length:
        return 0
    weekday = day.replace(day=wanted).isoweekday()
    if weekday == 6:
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == 7:
        return wanted + 1 if wanted < length else wanted - 2
    return wanted
