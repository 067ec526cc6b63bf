"""``validate --fix``: what is certain is mended in place, and nothing else is touched."""

# ruff: noqa: E501 - a document in a string is read by the line
from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks.typing import Installed, edited, examples, slips, words
from flowctl.document import World, problems, rewrite
from flowctl.document.diagnostics import Diagnostic
from flowctl.document.fixes import Mended, mend
from flowctl.document.loader import read_tree
from flowctl.errors import UsageError
from tests.document_helpers import document

ACTIVITIES = dict.fromkeys(["shop.ship", "shop.reserve", "mail.send"])


def check(text: str) -> list[Diagnostic]:
    return problems(text, "t.yaml", world=World(ACTIVITIES))


def mended(body: str) -> Mended:
    return mend(document(body), check)


FIXED = {
    "a misspelt key": (
        "steps:\n  - sleep: 1h   # an hour\n    tiemout: 2h\n",
        "steps:\n  - sleep: 1h   # an hour\n    timeout: 2h\n",
    ),
    "a misspelt verb": ("steps: [{sleeep: 1s}]\n", "steps: [{sleep: 1s}]\n"),
    "a quoted key": ("steps: [{'slep' : 1s}]\n", "steps: [{'sleep' : 1s}]\n"),
    "a foreign word": ("steps: [{when: input.x == 1, sleep: 1s}]\n", "steps: [{if: input.x == 1, sleep: 1s}]\n"),
    "a foreign verb": ("steps: [{id: a, call: mail.send, args: {to: x}}]\n", "steps: [{id: a, activity: mail.send, with: {to: x}}]\n"),
    "a foreign word in a policy": (
        "steps: [{id: a, activity: mail.send, retry: {maxAttempts: 3, initial-interval: 1s}}]\n",
        "steps: [{id: a, activity: mail.send, retry: {attempts: 3, delay: 1s}}]\n",
    ),
    "a misspelt activity": ("steps: [{id: a, activity: shop.shp}]\n", "steps: [{id: a, activity: shop.ship}]\n"),
    "an activity in a step that had no verb": ("steps: [{id: a, activty: shop.shp}]\n", "steps: [{id: a, activity: shop.ship}]\n"),
    "a misspelt reference, each time": (
        "steps: [{id: charge, activity: mail.send}]\noutput: ${{ steps.chrage.output + steps.chrage.output }}\n",
        "steps: [{id: charge, activity: mail.send}]\noutput: ${{ steps.charge.output + steps.charge.output }}\n",
    ),
    "a misspelt field": (
        "steps: [{id: a, sleep: 1s}, {if: steps.a.staus == 'failed', sleep: 1s}]\n",
        "steps: [{id: a, sleep: 1s}, {if: steps.a.status == 'failed', sleep: 1s}]\n",
    ),
    "a misspelt input": (
        "input: {properties: {amount: {}}}\nsteps: [{if: input.amuont == 1, sleep: 1s}]\n",
        "input: {properties: {amount: {}}}\nsteps: [{if: input.amount == 1, sleep: 1s}]\n",
    ),
    "an input without its root": (
        "input: {properties: {amount: {}}}\nsteps: [{if: amount == 1, sleep: 1s}]\n",
        "input: {properties: {amount: {}}}\nsteps: [{if: input.amount == 1, sleep: 1s}]\n",
    ),
    "a misspelt signal": (
        "signals: {approve: }\nsteps: [{wait_for_signal: aprove}]\n",
        "signals: {approve: }\nsteps: [{wait_for_signal: approve}]\n",
    ),
    "what is behind another mistake": (
        "steps: [{sleep: 1s, tiemout: 2s, retyr: 3}, {sleep: 1s, timeuot: 2s}]\n",
        "steps: [{sleep: 1s, timeout: 2s, retyr: 3}, {sleep: 1s, timeout: 2s}]\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "wanted"), FIXED.values(), ids=FIXED)
def test_what_is_certain_is_mended_in_place(body: str, wanted: str) -> None:
    assert mended(body).text == document(wanted)


def test_the_changes_are_told_with_their_places() -> None:
    [change] = mended("steps:\n  - sleep: 1h\n    tiemout: 2h\n").changes
    assert (change.line, change.column, change.wrong, change.right) == (5, 5, "tiemout", "timeout")


LEFT = {
    "what could be two things": "steps: [{i: something, sleep: 1s}]\n",
    "what counts something else": "steps: [{id: a, activity: mail.send, retry: {max_retries: 3}}]\n",
    "a foreign word whose value is foreign too": "steps: [{id: a, run: npm install}]\n",
    "a word that is there already": "steps: [{sleep: 1s, timeout: 2s, tiemout: 3s}]\n",
    "a word that would make two verbs": "steps: [{id: a, activity: mail.send, delay: 5s}]\n",
    "a step of which nobody knows": "steps: [{sleep: '${{ steps.zebra.output }}'}]\n",
    "steps that are equally near": "steps: [{id: ab, sleep: 1s}, {id: ac, sleep: 1s}, {sleep: '${{ steps.ad.output }}'}]\n",
    "an activity that is no slip": "steps: [{id: a, activity: shop.unload}]\n",
    "what is no YAML": "steps: [\n",
    "what is right": "steps:\n  - sleep: 1h    # nothing to do\n",
    "what is right and misspelt in an open schema": "input: {requierd: [x], properties: {x: {}}}\nsteps: [{sleep: 1s}]\n",
}


@pytest.mark.parametrize("body", LEFT.values(), ids=LEFT)
def test_what_is_not_certain_is_left_alone(body: str) -> None:
    found = mended(body)
    assert (found.text, found.changes) == (document(body), [])
    assert found.left == check(document(body))


def test_line_ends_stay_what_they_are() -> None:
    text = document("steps:\n  - sleep: 1h\n    tiemout: 2h\n").replace("\n", "\r\n")
    assert mend(text, check).text == text.replace("tiemout", "timeout")


# --- properties


@pytest.mark.parametrize("installed", list(examples()), ids=lambda installed: installed.file.stem)
def test_a_right_document_is_never_touched(installed: Installed) -> None:
    text = installed.file.read_text(encoding="utf-8")
    assert mend(text, installed.problems).text == text


@pytest.mark.parametrize("seed", range(4))
def test_mending_makes_better_and_mending_again_changes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    originals = list(examples())
    restored = 0
    for _ in range(12):
        installed = chance.choice(originals)
        text = installed.file.read_text(encoding="utf-8")
        broken = misspelt(text, chance)
        once = mend(broken, installed.problems)
        assert errors(once.left) < errors(installed.problems(broken)) or once.text == broken
        assert mend(once.text, installed.problems).text == once.text
        restored += once.text == text
    assert restored


def misspelt(text: str, chance: random.Random) -> str:
    """A document with up to three slips."""
    for _ in range(chance.randrange(1, 4)):
        tree, _ = read_tree(text, "t.yaml")
        several = list(slips(chance.choice(list(words(tree))), chance, every=True))
        text = edited(text, chance.choice(several)) if several else text
    return text


def errors(found: list[Diagnostic]) -> int:
    return sum(one.severity == "error" for one in found)


# --- the file


def test_a_file_keeps_its_mark_its_mode_and_its_links(tmp_path: Path) -> None:
    file, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    file.write_bytes(b"\xef\xbb\xbfdsl: 1\r\n")
    file.chmod(0o640)
    link.symlink_to(file)
    rewrite(link, "dsl: 2\r\n")
    assert file.read_bytes() == b"\xef\xbb\xbfdsl: 2\r\n"
    assert (file.stat().st_mode & 0o777, link.is_symlink()) == (0o640, True)
    assert sorted(tmp_path.iterdir()) == [link, file]


def test_a_file_that_cannot_be_written_stays_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("dsl: 1\n")
    monkeypatch.setattr(os, "replace", partial(_refuse, OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match="No space left"):
        rewrite(file, "dsl: 2\n")
    assert [(entry, entry.read_text()) for entry in tmp_path.iterdir()] == [(file, "dsl: 1\n")]


def _refuse(error: OSError, *paths: object) -> Callable[..., None]:
    raise error
