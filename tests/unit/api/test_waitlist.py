"""What names a waitlist's slot in a path."""

from __future__ import annotations

import pytest

from api.problems import Problem
from api.waitlist import named


@pytest.mark.parametrize("text", ["slot-4711", "a b", "ñ", "0b5c7e1e-3f0a-5d2c-9a41-6f6f2f0d1c11", "x" * 200])
def test_what_may_be_an_id(text: str) -> None:
    assert named(text) == text


@pytest.mark.parametrize("text", ["", "a\x00", "\x00", "\n", "\udc80", "x" * 201])
def test_what_can_be_none_is_nobodys_slot(text: str) -> None:
    with pytest.raises(Problem) as refused:
        named(text)
    assert refused.value.status == 404
