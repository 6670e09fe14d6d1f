"""Reading JSON: what JavaScript writes of half a character is read, and everything else as it always was."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_framework.json_text import read_json

TEXTS = st.text(st.characters(codec=None), max_size=20)
"""Half characters, too."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"Ole\ud83d"', "Ole\ufffd"),
        (r'"Ole\uD83D\uDE00"', "Ole\U0001f600"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        # A text within a text: there is no escape before the inner one is read.
        (r'"{\"name\":\"\\ud83d\"}\ud83d"', '{"name":"\\ud83d"}\ufffd'),
        (r'"\\\ud83d"', "\\\ufffd"),
        ('{"\\udfff":["\\ud800x"]}', {"\ufffd": ["\ufffdx"]}),
    ],
)
def test_half_a_character_is_replaced(text: str, value: object) -> None:
    assert read_json(text) == read_json(text.encode()) == read_json(bytearray(text.encode())) == value


def test_half_a_character_that_is_no_escape() -> None:
    assert read_json('"\ud83d"') == "\ufffd"


@pytest.mark.parametrize("data", [b"", b"no json", b'"\xff"', '{"a":NaN}', r'"\ud83d', r'{"a":"\ud83d"', "[" * 100_000])
def test_what_is_no_json_is_told(data: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_json(data)


@given(VALUES)
def test_all_that_is_written_can_be_read(value: object) -> None:
    escaped = json.dumps(value)
    read = read_json(escaped)
    assert read == read_json(escaped.encode())
    # Whatever was whole stays, and nothing that is read refuses to be written.
    assert read == json.loads(orjson.dumps(read))
    try:
        assert orjson.loads(orjson.dumps(value)) == read
    except TypeError:
        assert "\ufffd" in json.dumps(read, ensure_ascii=False)
