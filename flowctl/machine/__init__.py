"""The machine: one run being driven. Answers the interpreter from the record, and the record from the world.

It implements ``Runtime`` once for every runtime that keeps a journal. What it cannot do by itself, time,
chance, calling activities and committing, it asks of a small ``Host``: asyncio with SQLite, or a virtual
clock in memory.

The rules:

1. Facts are made in the order in which things happen and never reordered. *Primary* facts (what the world
   answered) open an entry; *riders* (decisions, starts) join the entry that is open, so one step is one
   row.
2. Effects (attempts to start) are collected while tasks run, and released by ``committed``, after the
   facts they depend on.
3. Nothing here knows whether it is replaying: a verb looks at the record first, and acts only where the
   record ends.
4. Whatever goes wrong inside flowctl parks this run as ``blocked`` and harms no other.

The kinds of facts, and the keys of their ``data``:

=================  =========================================================================================
started            an attempt, or a wait: ``verb name input digest secrets`` or ``verb names until``;
                   ``closes`` if the child that it starts is to end with the run
completed          ``output``; of a signal ``message`` too, the inbox number of what was received;
                   ``secret_output`` if it may be that of a secret step
failed             ``error``, ``uncertain``, ``retry_at`` if another attempt follows, ``heartbeat``
cancelled          ``uncertain`` for an attempt
lost               ``count``: the worker of this attempt was lost this many times, and it runs again
timed_out          a wait or a block ran out of time; at the root: the run
condition, case, … what the interpreter decided there (``decide``)
recovered          at the root, attempt N: the N-th time that another worker found work interrupted
migrated           at the root, attempt N: ``from to``, each ``workflow version digest``
cancel_requested   at the root: ``reason principal message``
paused, unpaused   at the root, attempt N: the N-th pause; ``principal message``
withheld           a step was cancelled while a pause kept it from beginning
not_undone         a step was left as it is when the rest was undone: nothing can undo all of it
undo_skipped       the same, because a person has seen to it
reopened           at the root, begins a generation: a retry; ``principal``, ``message`` or ``skip seen``
ended              at the root: ``status output error saga secret_output``; without ``saga`` if it was
                   terminated
=================  =========================================================================================

What a run that repeats another is served of it has ``served`` besides.

Read ``machine`` first; ``calls``, ``waits``, ``deadlines`` and ``branches`` are its parts, which share a
``core``. What people do to a run is in ``requests`` and ``gate``, what a retry takes back in ``reopening``.
"""

from flowctl.machine.host import Handle, Host
from flowctl.machine.machine import Interpret, Machine, block

__all__ = ["Handle", "Host", "Interpret", "Machine", "block"]
