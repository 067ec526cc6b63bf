"""What a step and a run make Python do: instructions of its interpreter, by room.

Times on a busy machine say little; these counts are the same on every one, to a few in a hundred. They are
no times: an instruction takes 10 to 20 nanoseconds with all that it calls, SQLite and hashes included.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import flowctl
from benchmarks.steps import flowctl_at_once

RUNS = 100
FEW, MANY = 1, 11
"""Steps of a run: the difference is that of so many steps, and the rest of the former is the run's."""

_HERE = Path(flowctl.__file__).parent


def count(steps: int) -> Counter[str]:
    """Instructions by room, for one run of so many steps."""
    codes: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        codes[frame.f_code] += event == "opcode"
        return trace

    tracers = iter((trace, None))
    with tempfile.TemporaryDirectory() as folder:
        flowctl_at_once(Path(folder), RUNS, steps, lambda: sys.settrace(next(tracers)))
    rooms: Counter[str] = Counter()
    for code, instructions in codes.items():
        rooms[_room(code.co_filename)] += instructions
    return Counter({room: instructions // RUNS for room, instructions in rooms.items()})


def _room(filename: str) -> str:
    path = Path(filename)
    return path.relative_to(_HERE).parts[0] if path.is_relative_to(_HERE) else "asyncio and others"


def main() -> None:
    """Print the table."""
    count(FEW)  # what is imported or made once is not the run's
    few, many = count(FEW), count(MANY)
    step = {room: (many[room] - few[room]) // (MANY - FEW) for room in many}
    run = {room: few[room] - FEW * step[room] for room in many}
    print(f"{'instructions':24} {'a step':>8} {'a run besides':>14}")
    for room in sorted(many, key=lambda room: step[room], reverse=True):
        if step[room] or run[room]:
            print(f"{room:24} {step[room]:8,} {run[room]:14,}")
    print(f"{'all':24} {sum(step.values()):8,} {sum(run.values()):14,}")


if __name__ == "__main__":
    main()
