"""What the tests of documents share: writing one quickly, and reading its mistakes."""

from __future__ import annotations

from typing import Any

from flowctl.document import Loaded, World, load
from flowctl.document.diagnostics import Diagnostic
from flowctl.errors import InvalidDocument

HEAD = "dsl: 1\nname: t\n"


def document(body: str) -> str:
    """A document with its first two lines; ``body`` begins on line 3."""
    return HEAD + body


def accepted(body: str, **world: Any) -> Loaded:
    return load(document(body), "t.yaml", world=World(**world))


def refused(body: str, **world: Any) -> list[Diagnostic]:
    """The errors of a document, [] if it has none."""
    try:
        accepted(body, **world)
    except InvalidDocument as error:
        return list(error.diagnostics)
    return []


def mistakes(body: str, **world: Any) -> list[str]:
    """The errors of a document as ``CODE LINE:COLUMN``."""
    return [f"{found.code} {found.line}:{found.column}" for found in refused(body, **world)]


def only(body: str, **world: Any) -> str:
    """The one error of a document, as people see it, without the excerpt."""
    found = refused(body, **world)
    assert len(found) == 1, [one.render() for one in found]
    return found[0].render().splitlines()[0]


def warned(body: str, **world: Any) -> list[str]:
    """The warnings of a document that is right, as ``CODE LINE:COLUMN``."""
    return [f"{found.code} {found.line}:{found.column}" for found in accepted(body, **world).warnings]
