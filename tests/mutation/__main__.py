"""How many mutants of the examples their own tests find: ``python -m tests.mutation [FILE.test.yaml…]``.

A mutant that the language refuses is none. One that no test finds is listed, with whether any run of any
test, with every failure, went another way with it; one that ``explained`` does not know is a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.explained import UNFOUND
from tests.mutation.hunt import EXAMPLES, Verdict, hunt

TARGET = 95
"""Of 100 mutants that change what runs do, how many must be found."""


def main(files: Sequence[str]) -> int:
    everything: list[Verdict] = []
    for file in map(Path, files) if files else sorted(EXAMPLES.glob("*/*.test.yaml")):
        verdicts = list(hunt(file))
        everything += verdicts
        print(f"{file.name}: {_score(verdicts)}")
        for verdict in verdicts:
            if verdict.fate in ("changed", "unchanged"):
                print(f"  {verdict.fate}: {verdict.document}: {verdict.what}")
    print(_score(everything))
    unfound = {
        (each.document, each.what): each.fate for each in everything if each.fate in ("changed", "unchanged")
    }
    unknown = [each for each in unfound.items() if each not in UNFOUND.items()]
    for (document, what), fate in unknown:
        print(f"not explained: {document}: {what} ({fate})")
    return 1 if unknown or _rate(everything) < TARGET else 0


def _rate(verdicts: Sequence[Verdict]) -> float:
    fates = [verdict.fate for verdict in verdicts]
    found, changed = fates.count("found"), fates.count("changed")
    return 100 * found / (found + changed) if found + changed else 100.0


def _score(verdicts: Sequence[Verdict]) -> str:
    fates = [verdict.fate for verdict in verdicts]
    found, changed = fates.count("found"), fates.count("changed")
    of = found + changed
    return (
        f"{found} of {of} that change what runs do are found ({_rate(verdicts):.1f} %);"
        f" {fates.count('unchanged')} change nothing, {fates.count('refused')} are refused"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
