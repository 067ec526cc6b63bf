"""Activities: the functions that touch the world, and everything about calling one of them once.

An **activity** is a Python function that an author declared with ``@activity``. An **attempt** is one call of
it; it ends in one **outcome**. Who tries again, and what an outcome means for a run, is decided elsewhere:
this package never looks beyond one attempt.

    definition   ``@activity`` and ``Activity``: what is declared about a function
    binding      JSON arguments to typed parameters, and results back to JSON
    context      ``ActivityContext``: what a call may know and say about itself
    attempt      ``Attempt`` and ``Outcome``: the two ends of a call, as data
    failures     exceptions as data, whatever they do to resist it
    masking      secrets: put in just before the call, kept out of everything that comes back
    resources    ``@resource``: what is opened once, shared by attempts, and closed
    performer    carries attempts out: timeouts, heartbeats, cancellation, isolation
    runners      tasks that run one coroutine after the other
    threads      threads that can be abandoned
    process      attempts in child processes; ``child`` is the other side, ``wire`` what they speak
    modules      importing a plugin's file, here and in a child
    describe     an activity for people and tools

The rule of the package: an activity may do its worst (raise ``SystemExit``, hang, return a generator, print
its secrets) and what comes out is an ``Outcome``, exactly once, on the loop that asked.
"""

from flowctl.activities.attempt import Attempt, MissingSecret, Outcome
from flowctl.activities.context import ActivityContext
from flowctl.activities.definition import Activity, activity, declared
from flowctl.activities.failures import ActivityError
from flowctl.activities.resources import Resource, declared_resource, replace_resource, resource

__all__ = [
    "Activity",
    "ActivityContext",
    "ActivityError",
    "Attempt",
    "MissingSecret",
    "Outcome",
    "Resource",
    "activity",
    "declared",
    "declared_resource",
    "replace_resource",
    "resource",
]
