"""Paths are baked into journals and keys for ever."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl.path import KEY_LIMIT, ROOT, Path, reserved

ids = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True)


def test_a_path_is_built_from_segments() -> None:
    assert ROOT / "checkout" / "left" / "reserve" == "checkout.left.reserve"
    assert (ROOT / "each_item").iteration(2) / "pack" == "each_item[2].pack"
    assert (ROOT / "charge").undo == "charge.undo"


@given(st.lists(st.tuples(ids, st.none() | st.integers(0, 10**6)), min_size=1, max_size=8))
def test_every_path_that_is_built_can_be_read_back(segments: list[tuple[str, int | None]]) -> None:
    path = ROOT
    for name, index in segments:
        path = path / name if index is None else (path / name).iteration(index)
    assert Path.parse(str(path)) == path


@pytest.mark.parametrize(
    "text", ["", "A", "a.", ".a", "a..b", "a[", "a[-1]", "a[x]", "a b", "../a", "a\n", "é"]
)
def test_what_does_not_follow_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a step path"):
        Path.parse(text)


def test_the_key_of_a_step_is_run_and_path() -> None:
    assert Path("charge").idempotency_key("order-1") == "order-1/charge"


def test_a_long_key_is_its_sha256() -> None:
    path = Path("a" * KEY_LIMIT)
    assert path.idempotency_key("r") == hashlib.sha256(f"r/{path}".encode()).hexdigest()
    assert len(Path("a" * (KEY_LIMIT - 2)).idempotency_key("r")) == KEY_LIMIT


@pytest.mark.parametrize("word", ["else", "try", "finally", "undo", "case_1", "catch_12"])
def test_clause_words_are_reserved(word: str) -> None:
    assert reserved(word)


@pytest.mark.parametrize("word", ["case", "case_x", "undo_it", "tries", "catch_"])
def test_other_words_are_not(word: str) -> None:
    assert not reserved(word)
