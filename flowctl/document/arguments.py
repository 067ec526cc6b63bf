"""Arguments, held against the signature of what they are given to: their names, their types, none missing.

What is written out is judged as it will be when the call is made. Of an expression, its type is, as far as it
is known; a secret is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl.document.diagnostics import Report, shown
from flowctl.document.inference import Resolve, template_type
from flowctl.document.places import Pointer
from flowctl.document.sentences import where
from flowctl.document.signatures import Parameter, Signature
from flowctl.document.spelling import certain, did_you_mean, nearest
from flowctl.document.texts import is_literal
from flowctl.document.types import UNKNOWN, described, misfit


def check_arguments(
    report: Report, written: Any, place: Pointer, to: Signature, resolve: Resolve, *, caller: Pointer
) -> None:
    """Report what is wrong with the arguments of a call. ``caller`` is where it is written what is called:
    what is missing is missing there if nothing is given at all.
    """
    given: Mapping[str, Any] = written if isinstance(written, dict) else {}
    if isinstance(written, str):
        whole = template_type(written, resolve)
        if "object" not in whole.kinds:
            message = f"{shown(place[-1])} must be a mapping, not {described(whole.kinds)}"
            report.error("BadArgument", place, message)
        if not whole.is_mapping or whole.others != "none":
            return
        given = dict.fromkeys(whole.fields, None)
    elif not isinstance(written, dict):
        return
    misspelt = {nearest(name, to.parameters) for name in _unknown(report, given, place, to, written)}
    missing = [n for n, parameter in to.parameters.items() if parameter.required and n not in given]
    if missing and not misspelt.issuperset(missing):
        names = ", ".join(shown(name) for name in missing if name not in misspelt)
        message = f"{to.name} needs the argument{'s' if names.count(',') else ''} {names}"
        report.error("MissingArgument", place if given else caller, message)
    if given is written:
        for name in given.keys() & to.parameters.keys():
            _check(report, given[name], (*place, name), name, to.parameters[name], resolve, to.name)


def _unknown(
    report: Report, given: Mapping[str, Any], place: Pointer, to: Signature, written: Any
) -> list[str]:
    unknown = [] if to.open else [name for name in given if name not in to.parameters]
    for name in unknown:
        free = to.parameters.keys() - given.keys()
        hint = did_you_mean(name, free or to.parameters, "it takes") or "it takes none"
        message = f"{to.name} takes no argument {shown(name)}"
        where = (*place, name) if given is written else place
        instead = certain(name, free)
        fix = (name, instead) if instead is not None and given is written else None
        report.error("UnknownArgument", where, message, hint=hint, key=True, fix=fix)
    return unknown


def _check(
    report: Report, value: Any, place: Pointer, name: str, wanted: Parameter, resolve: Resolve, to: str
) -> None:
    """One argument: a literal by what would convert it, anything else by its type."""
    if isinstance(value, str) and wanted.type is UNKNOWN and not is_literal(value):
        return
    found = misfit(template_type(value, resolve), wanted.type)
    if found is None and is_literal(value):
        problem = wanted.refusal(value)
        found = ((), f"does not fit: {problem}") if problem is not None else None
    if found is not None:
        relative, what = found
        message = f"the argument {shown(where(relative, name))} of {to} {what}"
        report.error("BadArgument", place + relative, message)
