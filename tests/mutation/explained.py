"""The mutants that no test of the examples finds, and why: ``docs/testing.md`` lists them."""

from __future__ import annotations

UNFOUND = {
    ("approval.yaml", "request and set 2 swapped"): "changed",
    ("approval.yaml", "review.attributes 1 and ask swapped"): "changed",
    ("image-processing.yaml", "hygiene and set 6 swapped"): "changed",
    ("report.yaml", "metrics and set 4 swapped"): "changed",
    ("onboarding-v2.yaml", "answer and set 4 swapped"): "changed",
    ("onboarding-v2.yaml", "laptop and by_role swapped"): "changed",
    ("approval.yaml", "the defaults without retry"): "unchanged",
    ("order.yaml", "the defaults without retry"): "unchanged",
    ("gift-wrapping.yaml", "the defaults without retry"): "unchanged",
    ("premium.yaml", "the defaults without retry"): "unchanged",
    ("priority-shipping.yaml", "the defaults without retry"): "unchanged",
    ("standard-shipping.yaml", "the defaults without retry"): "unchanged",
}
"""By document and mutant: whether runs went another way with it (``hunt.Verdict``)."""
