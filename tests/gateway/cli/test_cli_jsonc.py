from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import jsonc


def test_comments_and_trailing_commas_are_dropped() -> None:
    text = """{
      // a comment, with "quotes" and a comma,
      "name": "hello", /* another
      one */ "list": [1, 2, ], // the last
    }"""
    assert jsonc.loads(text) == {"name": "hello", "list": [1, 2]}


def test_strings_keep_what_looks_like_comments_and_commas() -> None:
    text = r'{"url": "http://a/*b*/ // c", "odd": ",]", "escaped": "\\", "quote": "\"//\","}'
    assert jsonc.loads(text) == {
        "url": "http://a/*b*/ // c",
        "odd": ",]",
        "escaped": "\\",
        "quote": '"//",',
    }


def test_an_error_names_the_line_of_the_file() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        jsonc.loads('{\n // one\n /* two\n three */\n "a": ?\n}')
    assert (caught.value.lineno, caught.value.colno) == (5, 7)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_plain)
def test_plain_json_reads_as_json(value: object) -> None:
    assert jsonc.loads(json.dumps(value)) == value
    assert jsonc.loads(json.dumps(value, indent=1, ensure_ascii=False)) == value
