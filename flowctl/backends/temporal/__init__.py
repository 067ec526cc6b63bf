"""The backend of a cluster: runs are Temporal workflows, executed by workers anywhere.

What the engine does on one machine with a journal, it does here on the journal that a run's history amounts
to (``runtimes.temporal.remote``): start, retry and replay prepare a run in a journal in memory, which is then
sent off as a workflow; what is read of one run is folded from the same, what is read of many is on their
cards (``runtimes.temporal.card``).

``backend`` the whole: it answers one after the other what its parts know on their loop · ``sending`` runs on
their way · ``driving`` them, and working · ``listing`` many of them · ``last`` the one started last from here
· ``news`` what is told of them
"""
