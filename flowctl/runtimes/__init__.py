"""Where runs are executed: hosts for the machine, and runtimes of other engines.

embedded     asyncio and a journal: what ``flowctl run`` and workers use
virtual      a clock that jumps and scripted activities: for tests; an hour of waiting costs nothing
"""
