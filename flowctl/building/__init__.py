"""Documents written in Python: ``Workflow`` has a method for every verb, and is the same document as
the YAML::

    vocabulary   the words of the language as types, for editors and type checkers
    steps        ``Steps``: a list of steps, one method a verb
    workflow     ``Workflow``: the document around them
    sites        where in a program each part was written, so that a mistake is shown there
    data         from what was said to JSON

Nothing about the language is decided here: what is said is put into a document word by word, and the document
is checked as one that was read from a file.
"""

from flowctl.building.steps import Steps, expr
from flowctl.building.workflow import Workflow

__all__ = ["Steps", "Workflow", "expr"]
