"""Runs on Temporal: the same machine, inside a Temporal workflow, with Temporal's history as what is durable.

What is where:

- A chain of runs is one Temporal workflow, its id the *workflow id*, its type the document's name. Temporal's
  own run ids are never shown.
- The workflow's input is a journal in memory (``journal.moving``), with the run accepted in it and the
  documents that it pins. What happens is recorded in that journal; Temporal's history, replayed, makes the
  same journal again. So a run that has become long simply takes its journal along (continue as new).
- An attempt is a Temporal activity that Temporal itself never retries: whether a worker was lost, which does
  not count, or the attempt failed, which does, only we can tell, and pauses, budgets and chance are ours.
- Messages are signals. Names that begin with ``_`` are ours, all others are the document's.
- A child is a Temporal child workflow.

``begin`` what a workflow is started with · ``host`` the machine's world inside a workflow · ``kindred`` what
runs ask of each other there · ``workflow`` the workflow · ``wire`` attempts and outcomes across the network ·
``attempts`` the activity · ``working`` a worker · ``connection`` addresses and clients
"""
