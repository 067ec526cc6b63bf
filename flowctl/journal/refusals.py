"""What a journal says when it refuses: in the same words, whichever journal it is."""

from __future__ import annotations

from flowctl.errors import InternalError, NotFound, RunClosed, RunIdConflict, RunNotFound, VersionTaken


def run_not_found(run_id: str) -> RunNotFound:
    return RunNotFound(f"there is no run {run_id}", hint="flowctl list shows the runs there are")


def run_closed(run_id: str, status: str) -> RunClosed:
    return RunClosed(f"the run {run_id} has ended ({status})", hint="only retry and replay go on from there")


def run_id_taken(run_id: str) -> RunIdConflict:
    return RunIdConflict(f"there is a run {run_id} already", hint="give the new one another id")


def version_taken(name: str, version: int) -> VersionTaken:
    return VersionTaken(
        f"version {version} of {name} is deployed with other content", hint="give it a new version"
    )


def not_deployed(name: str, version: int) -> NotFound:
    return NotFound(f"version {version} of {name} is not deployed", hint="flowctl workflows lists what is")


def not_claimed(run_id: str) -> InternalError:
    return InternalError(f"the run {run_id} was written to without having been claimed")


def entry_exists(path: str, kind: str, attempt: int, generation: int) -> InternalError:
    return InternalError(
        f"{kind} of {path or 'the run'} was to be written twice (attempt {attempt}, generation {generation})"
    )
