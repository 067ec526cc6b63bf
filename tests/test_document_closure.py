"""The documents a run can need: its own, its children's, and theirs."""

from __future__ import annotations

from typing import Any

import pytest

from flowctl.document import closure as module
from flowctl.document.closure import Found, closure
from flowctl.errors import InvalidDocument
from flowctl.model import ChildReference
from tests.document_helpers import accepted


def found(folder: str, *children: str) -> Found[str]:
    """A document in a folder that runs ``children``."""
    steps = "".join(f"  - {{id: s{number}, workflow: {text}}}\n" for number, text in enumerate(children))
    return Found(accepted("steps:\n  - sleep: 1s\n" + steps).workflow, folder)


def resolver(table: dict[str, Found[str]], asked: list[str]) -> Any:
    def resolve(reference: ChildReference, parent: Found[str]) -> Found[str]:
        asked.append(f"{parent.origin}/{reference.text}")
        return table[asked[-1]]

    return resolve


def test_a_run_pins_its_children_and_theirs() -> None:
    root, pay, card = found("a", "pay", "./b.yaml"), found("a", "card"), found("b")
    table = {"a/pay": pay, "a/./b.yaml": card, "a/card": card}
    asked: list[str] = []
    made = closure(root, resolver(table, asked))
    assert sorted(asked) == ["a/./b.yaml", "a/card", "a/pay"]
    assert set(made.documents) == {one.workflow.digest for one in (root, pay, card)}
    assert made.pins == {
        (root.workflow.digest, "pay"): pay.workflow.digest,
        (root.workflow.digest, "./b.yaml"): card.workflow.digest,
        (pay.workflow.digest, "card"): card.workflow.digest,
    }


def test_a_document_may_run_itself() -> None:
    root = found("a", "self")
    asked: list[str] = []
    made = closure(root, resolver({"a/self": root}, asked))
    assert asked == ["a/self"]
    assert made.pins == {(root.workflow.digest, "self"): root.workflow.digest}


def test_one_document_in_two_folders_may_not_mean_two_things() -> None:
    root, same = found("a", "one", "two"), found("b", "./c.yaml")
    table = {
        "a/one": same,
        "a/two": Found(same.workflow, "c"),
        "b/./c.yaml": found("b"),
        "c/./c.yaml": found("c", "x"),
        "c/x": found("c"),
    }
    with pytest.raises(InvalidDocument, match="stands for two documents"):
        closure(root, resolver(table, []))


def test_a_registry_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 3)

    def resolve(reference: ChildReference, parent: Found[str]) -> Found[str]:
        return found("a", reference.text + "x")

    with pytest.raises(InvalidDocument, match="more than 3 documents"):
        closure(found("a", "x"), resolve)
