"""What tenants wrote is made safe to print, at a cost that does not hang on what it is."""

from __future__ import annotations

import json
import sys
import unicodedata
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.text import escape_controls
from sandbox import MIB

ODD = "\x7f\x80\x9f\xa0\u200d\u200e\u200f\u2010\u2027\u2028\u202e\u202f\u2065\u2066\u2069\u206a"
MOST_CALLS = 200


def is_control(character: str) -> bool:
    """Whether it moves a cursor, ends a line, or turns text around."""
    return unicodedata.category(character) in {"Cc", "Zl", "Zp"} or unicodedata.bidirectional(
        character
    ) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=50))
def test_nothing_that_moves_a_cursor_is_left_and_the_meaning_is_the_same(text: str) -> None:
    document = json.dumps(text, ensure_ascii=False).encode()
    escaped = escape_controls(document)
    assert json.loads(escaped) == text
    assert not any(is_control(character) for character in escaped.decode())


@pytest.mark.parametrize("character", ODD)
def test_a_document_of_nothing_else_takes_no_step_for_each_of_them(character: str) -> None:
    document = character.encode() * (MIB // 4)
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        escaped = escape_controls(document)
    finally:
        sys.setprofile(before)
    assert calls < MOST_CALLS
    assert json.loads(b'"%b"' % escaped) == character * (MIB // 4)
