"""The short form of the search; ``fuzz_documents`` is the long one."""

from __future__ import annotations

from tests.fuzz.fuzz_documents import search


def test_spoiled_documents_expressions_and_inputs_are_right_or_refused() -> None:
    counts, failures = search(2026, range(2_000))
    assert failures == []
    assert {kind.split()[0] for kind in counts} == {"documents", "expressions", "inputs"}
    assert counts["documents right"]
    assert counts["expressions right"]
    assert counts["inputs right"]
