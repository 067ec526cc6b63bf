"""The command line: parse, call, render. One module per group of commands.

    entry         ``main``: exit codes, and what becomes of every exception
    commands      the table of commands; a command's module is imported when it is called
    options       what several commands take, and what they do with it
    inputs        data from outside: ``-i``, ``--input``, ``--payload``
    errors        exceptions as one to three lines, or as JSON
    output        standard output and standard error, whatever stands behind them
    logs          the log, for people or programs
    runs          run, resume, signal, cancel
    versions      migrate, replay
    driving       driving a run here, or saying that something was recorded
    selection     which runs: filters, and --all in place of RUN
    bulk          one command on many runs
    reading       status, list, history, diff
    projects      init
    scaffold      what it makes, from the templates
    graphs        graph
    testing       test
    documents     validate, deploy, workflows, deprecate, schema
    installation  activities, plugins, doctor

A command holds no logic of its own: what it does, a backend, a document or a plugin does, and what it shows,
``render`` shows. Modules are imported where they are used, because a command should pay only for what it
needs.
"""

from __future__ import annotations

from flowctl.cli.entry import main

__all__ = ["main"]
