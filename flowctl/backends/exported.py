"""Reading what ``export`` has written: a run as a file, held against documents without its journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from flowctl.backends.export import FORMAT
from flowctl.errors import UsageError
from flowctl.interpreter import execute
from flowctl.journal import Entry, Fact, Run
from flowctl.machine.fitting import Fitting, Misfit
from flowctl.model import Workflow

MAX_BYTES = 1 << 28
"""Bytes of an exported run."""


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """An exported run. ``redacted`` says of what secret data was left out: the path of the first such
    entry, or ``the run``.
    """

    path: Path
    run: Run
    entries: list[Entry]
    redacted: str | None

    def misfit(self, workflow: Workflow) -> Misfit | None:
        """None if the document fits the run, else the first step that does not."""
        fitting = Fitting(workflow, lambda run: partial(execute, workflow, run.input))
        found = fitting.misfit(self.run, self.entries)
        if found is not None and self.redacted is not None:
            reason = f"{found.reason} (secret data of {self.redacted} is not in the export, which may be why)"
            return Misfit(found.path, reason)
        return found


def read_history(path: Path) -> History:
    """Read an exported run. ``UsageError`` if that is not what the file is."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is over the limit of {MAX_BYTES:,} bytes")
        first, *lines = path.read_bytes().splitlines()
        header = msgspec.json.decode(first)
        if not isinstance(header, dict) or header.get("flowctl") != "run":
            raise ValueError("its first line is not the header of one")
        if header["format"] > FORMAT:
            raise ValueError(f"it has the format {header['format']}, and this flowctl reads up to {FORMAT}")
        decoded = [msgspec.json.decode(line) for line in lines]
        redacted = next((line["path"] for line in decoded if line.get("redacted")), None)
        if header.get("redacted"):
            redacted = "the run"
        return History(path, _run(header["run"]), [_entry(line) for line in decoded], redacted)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        hint = "`flowctl history RUN --export FILE` writes one"
        raise UsageError(f"{path} is no exported run: {error}", hint=hint) from None


def _run(row: Mapping[str, Any]) -> Run:
    return msgspec.convert({**row, "head": bytes.fromhex(row["head"])}, Run)


def _entry(line: Mapping[str, Any]) -> Entry:
    fact = msgspec.convert(line, Fact)
    riders = [msgspec.convert(each, Fact) for each in line["then"]]
    return Entry(fact, riders, line["seq"], bytes.fromhex(line["hash"]))
