"""A short form of ``python -m benchmarks.typing``: slips of the pen are found, and named where they are."""

from __future__ import annotations

import random

import pytest

from benchmarks.typing import JUDGED, Installed, Word, examples, kind_of_key, outcomes, slips, words
from flowctl.document.loader import read_tree

EXAMPLES = list(examples())
STRIDE = 9
"""Every so manieth slip is tried."""

DETECTED, EXPLAINED = 0.99, 0.98


def test_there_are_examples_to_misspell() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("installed", EXAMPLES, ids=lambda installed: installed.file.stem)
def test_nearly_every_slip_is_found_and_the_word_that_was_meant_is_named(installed: Installed) -> None:
    found = [
        outcome for outcome in outcomes(installed, seed=7, stride=STRIDE) if outcome.slip.word.kind in JUDGED
    ]
    detected = [outcome for outcome in found if outcome.detected]
    assert len(detected) >= DETECTED * len(found)
    unexplained = [outcome.slip for outcome in detected if not outcome.explained]
    assert len(unexplained) <= max(1, (1 - EXPLAINED) * len(detected)), unexplained


def test_the_words_of_a_document_are_told_apart() -> None:
    text = "dsl: 1\ninput: {properties: {n: {type: integer}}}\nsteps:\n  - {id: a, activity: x.y, with: {m: 1}}\n  - if: steps.a.status == 'failed'\n    set: {v: {w: 1}}\noutput: {o: 1}\n"  # noqa: E501
    tree, _ = read_tree(text, "t.yaml")
    kinds = {(word.kind, word.text) for word in words(tree)}
    assert {text for kind, text in kinds if kind == "own name"} == {"n", "a", "v", "w", "o"}
    assert ("argument", "m") in kinds
    assert ("step reference", "a") in kinds
    assert ("activity name", "x.y") in kinds
    assert {"dsl", "properties", "type", "id", "if"} <= {text for kind, text in kinds if kind == "key"}
    assert kind_of_key(("signals", "go", "payload", "properties", "by")) == "own name"


def test_a_slip_is_one_letter_swapped_dropped_or_doubled() -> None:
    found = {slip.written for slip in slips(Word("key", "ab_b", (1, 1)), random.Random(1), every=True)}
    assert found == {"ba_b", "b_b", "a_b", "ab_", "aab_b", "abb_b", "ab_bb"}
