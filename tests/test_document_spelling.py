"""Slips of the pen: the nearest word, and whether it is certain."""

from __future__ import annotations

import pytest

from flowctl.document.spelling import certain, closest, did_you_mean, nearest, normalised

KEYS = ["activity", "attempts", "id", "if", "optional", "output", "retry", "timeout", "with"]

SLIPS = {
    "swapped": ("tiemout", "timeout"),
    "dropped": ("timout", "timeout"),
    "doubled": ("tiimeout", "timeout"),
    "mistaken": ("timeour", "timeout"),
    "two of them": ("tmieoutt", "timeout"),
    "in a short word": ("iid", "id"),
    "swapped in a short word": ("di", "id"),
    "a hump": ("Timeout", "timeout"),
    "a word that shares letters": ("activityname", "activity"),
    "nothing like it": ("zebra", None),
    "nothing at all": ("", None),
}


@pytest.mark.parametrize(("word", "meant"), SLIPS.values(), ids=SLIPS)
def test_the_nearest_word_is_the_one_with_the_fewest_slips(word: str, meant: str | None) -> None:
    assert nearest(word, KEYS) == meant


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("timout", KEYS, "timeout"),
        ("i", KEYS, None),  # id or if
        ("activityname", KEYS, None),  # alike, and not a slip
        ("abcd", ["abcx", "abcy"], None),
        ("charge", ["charge"], "charge"),
        ("max-attempts", ["max_attempts"], "max_attempts"),
        ("cat", ["dog"], None),
    ],
)
def test_only_the_one_word_that_can_be_meant_is_certain(
    word: str, known: list[str], meant: str | None
) -> None:
    assert certain(word, known) == meant


def test_of_equally_near_words_the_one_with_the_same_first_letter_comes_first() -> None:
    assert closest("bat", ["cat", "bar"]) == ["bar", "cat"]


def test_short_words_are_not_near_because_they_are_short() -> None:
    assert closest("ab", ["cd", "xy"]) == []
    assert closest("tell", ["fall", "hotel"]) == []


def test_words_are_compared_without_case_hyphens_and_humps() -> None:
    assert (
        normalised("maxAttempts")
        == normalised("max-attempts")
        == normalised("Max Attempts")
        == "max_attempts"
    )


def test_a_hint_names_the_nearest_word_or_else_the_known_ones() -> None:
    assert did_you_mean("retyr", KEYS) == "did you mean 'retry'?"
    assert did_you_mean("zebra", ["b", "a"]) == "known are a, b"
    assert did_you_mean("zebra", []) is None
    many = did_you_mean("zebra", [f"{letter}x" for letter in "bcdefghijk"])
    assert many == "known are bx, cx, dx, ex, fx, gx, hx, ix, …"


def test_many_long_words_are_compared_quickly_enough_to_be_compared_at_all() -> None:
    known = [f"step_{number:05}" for number in range(5_000)]
    assert nearest("stpe_00042", known) == "step_00042"
    assert nearest("x" * 10_000, ["y" * 10_000]) is None
